"""No function value is computed twice in a sweep of network.c."""

import re
from collections import Counter

import pytest

from derive.backends.c.functions import C_FUNCTIONS
from derive.formulas import FUNCTIONS
from derive.packages import render
from derive.problems import Network

LONG = [name for name, function in C_FUNCTIONS.items() if function.needs or function.fits]
CALL = re.compile(rf"\b(?:{'|'.join(LONG)})(?:_of)?(?=\()")
SWEEPS = "add_gradient", "add_hvp", "each_gradient"


def calls(line: str) -> list[str]:
    """Each call of a function that takes long, with its arguments."""
    found = []
    for match in CALL.finditer(line):
        depth, end = 0, match.end()
        while depth or end == match.end():
            depth += (line[end] == "(") - (line[end] == ")")
            end += 1
        found.append(line[match.start() : end])
    return found


def sweep(source: str, name: str) -> str:
    start = source.index(f"INLINE void {name}(")
    return source[start : source.index("\n}\n", start)]


@pytest.mark.parametrize("activation", [*FUNCTIONS, "z * exp(-z**2)", "erf(z) + exp(-z**2 / 4)", "log(1 + exp(2*z))"])
def test_each_function_value_is_computed_once(activation):
    source = render(Network((2, 3, 2, 1), activation, loss="binary_cross_entropy_with_logits"), ["network.c"])[
        "network.c"
    ]
    for name in SWEEPS:
        times = Counter(call for line in sweep(source, name).splitlines() for call in calls(line))
        assert not [call for call, n in times.items() if n > 1], name


@pytest.mark.parametrize("activation", ["silu", "gelu", "mish", "tanhshrink"])
def test_a_function_of_the_table_is_written_out_where_its_slope_takes_a_value_of_it(activation):
    source = render(Network((2, 3, 1), activation), ["network.c"])["network.c"]
    assert f"{activation}_of(" not in source


@pytest.mark.parametrize("activation", ["elu", "hardswish", "softplus"])
def test_a_function_of_the_table_that_shares_nothing_has_its_name(activation):
    source = render(Network((2, 3, 1), activation), ["network.c"])["network.c"]
    assert f"a1[k] = {activation}_of(z1[k]);" in source
