"""The multiplications on the page are those that are made."""

import re

import pytest
from sympy import Symbol, sympify

from derive.packages.emit import subject_of
from derive.paper.blocks import Table
from derive.paper.cost import cost_section
from derive.problems.network import Network

NETWORKS = {
    "default": (Network(), 130, 240),
    "one layer": (Network((3, 2)), 6, 6),
    "wide": (Network((784, 1024, 10), "relu"), 784 * 1024 + 10240, 784 * 1024 + 2 * 10240),
    "no biases": (Network((3, 4, 2), "tanh", bias="none"), 20, 28),
    "a skip, a penalty": (Network((2, 4, 4, 1), penalty="w**2", skip=((1, 2),)), 28, 48),
}


@pytest.mark.parametrize(("network", "forward", "backward"), NETWORKS.values(), ids=NETWORKS)
def test_products_are_counted(network, forward, backward):
    (table,) = (block for block in cost_section(subject_of(network).derived).blocks if isinstance(block, Table))
    found = [
        sympify(re.sub(r"[$\\,]", "", row[1]).replace("  ", "*").strip(), {"N": Symbol("N")}) for row in table.rows[:2]
    ]
    assert found == [forward * Symbol("N"), backward * Symbol("N")]
    assert float(table.rows[2][1]) == pytest.approx(backward / forward, abs=0.006)
