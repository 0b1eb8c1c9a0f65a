"""Of a network that is too wide for its proof a narrow twin is proved, and what the two share is said."""

import json
import re

import pytest

from derive import prove
from derive.packages import render
from derive.problems.network import Network
from derive.proof import networks
from derive.system import write_package


@pytest.fixture
def package(tmp_path, monkeypatch):
    for module in (prove, networks):
        monkeypatch.setattr(module, "MOST_PROVED", 15)
    write_package(tmp_path / "wide", render(Network((2, 5, 1), "tanh")))
    return tmp_path / "wide"


def test_the_twin_is_proved_and_what_is_shared_is_named(package, capsys):
    assert prove.main([str(package)]) == 0
    said = capsys.readouterr().out
    assert "21 weights and biases are more than the 15" in said
    assert re.search(
        r"functions of backward\.py are, [^:]*: forward, value_and_grad, .*hvp.*\. Lines of the other", said
    )
    assert "proved: the package twin, 2-3-1, tanh" in said
    assert "network.c" not in said.partition("proved: the package")[0]


def test_for_machines_too_it_is_the_certificate_of_a_twin(package, capsys):
    assert prove.main([str(package), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["network"]["layers"] == [2, 3, 1]
    assert found["twin_of"]["network"]["layers"] == [2, 5, 1] and found["twin_of"]["package"] == "wide"
    assert "hvp" in found["twin_of"]["same"]["backward.py"]


EDITS = {
    "a line": ("backward.py", "delta2 = 2 * (z2 - y)", "delta2 = 3 * (z2 - y)", "not what is derived for 2-5-1"),
    "a line of C": ("network.c", "delta2[k] = 2 *", "delta2[k] = 3 *", "not what is derived for 2-5-1"),
    "a pointer": ("native.py", "given.x, given.y", "given.y, given.x", "not what is derived for 2-5-1"),
    "what comes first": ("__init__.py", '"""\n', '"""\nimport torch as tanh\n', "holds more than a docstring"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_package_that_is_not_as_derived_has_no_twin(edit, package, capsys):
    name, before, after, reason = EDITS[edit]
    text = (package / name).read_text()
    assert text.count(before) >= 1
    (package / name).write_text(text.replace(before, after))
    assert prove.main([str(package)]) == 1
    assert f"{package / name}: {reason}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("network", "layers"),
    [
        (Network((60, 40, 10), "tanh", reduction="mean"), (3, 3, 10)),
        (Network((60, 10, 40, 10), reduction="mean", skip=((1, 3),)), (3, 10, 3, 10)),
        (Network((60, 40, 10), "tanh"), (3, 3, 3)),
        (Network((60, 40, 1000), "tanh", reduction="mean"), (3, 3, 3)),
    ],
    ids=str,
)
def test_a_twin_has_as_many_outputs_as_a_mean_is_divided_by(network, layers):
    twin = prove.twin_of(network)
    assert twin.layers == layers
    wide, narrow = (render(one, ["backward.py"])["backward.py"] for one in (network, twin))
    assert ("value_and_grad" in prove.in_common(wide, narrow)) == (network.layers[-1] < 1000)


def test_functions_are_shared_to_the_letter():
    one = (
        'def f(x):\n    """Of 3."""\n    return 2 * x  # 3\n\n\ndef g(x):\n    return x\n\n\ndef _h():\n    return 1\n'
    )
    other = (
        'def f(x):\n    """Of 4."""\n    return 2 * x\n\n\ndef g(x):\n    return x + 0\n\n\ndef _h():\n    return 1\n'
    )
    assert prove.in_common(one, other) == ["f"]
