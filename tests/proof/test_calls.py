"""The proof calls what Python would call, as often and with as many rows as it takes to notice each kind of slip."""

import itertools
import re
import time
from pathlib import Path

import mpmath
import pytest
import sympy

from derive.packages.emit import render
from derive.problems.network import Network
from derive.proof import NotProved, prove
from derive.proof.calls import at_points
from derive.proof.cases import Case
from derive.proof.judge import Judge
from derive.proof.points import NetworkPoint, agree_to_digits, as_mpf
from derive.proof.precision import PRECISIONS, settled
from derive.system import write_package

SMALL = Network((2, 3, 2, 1))
ROWS = Network((2, 64, 1), reduction="mean")
COUPLED = Network((2, 3, 2, 2), ("tanh", "relu"), loss="cross_entropy", reduction="mean")

EDITS = {  # file, what of it, what is there, and what a slip leaves there
    "a prediction of another function": ("backward.py", "forward", r"return z3", "return z3 * 0"),
    "an activation of another function": ("backward.py", "forward", "sigmoid", "tanh"),
    "a sum over the first rows": ("backward.py", "value_and_grad", r"delta1\.sum\(0\)", "delta1[:3].sum(0)"),
    "a product over the first units": ("backward.py", "input_grad", "delta1 @ W1", "delta1[:, :2] @ W1[:2]"),
    "a factor that is 1 for 2 rows": ("backward.py", "input_grad", "return grad_x", "return grad_x * len(x) / 2"),
    "a factor that is 1 for 3 rows": (
        "backward.py",
        "jvp",
        "dot_a1 = dot_z1",
        "dot_a1 = x.shape[0] / 3 * dot_z1",
    ),
    "a branch on the rows": ("backward.py", "hvp", r"dot_delta2\.sum\(0\)", "(dot_delta2 if len(x) < 3 else x).sum(0)"),
    "half of a second derivative": ("backward.py", "hvp", r" - grad_a2 \* a2", ""),
    "no results": ("backward.py", "input_grad", "return grad_x", "return None"),
    "too few results": ("backward.py", "per_sample_grad", r"W1=grad_W1,\n +", ""),
    "two results that are swapped": ("backward.py", "per_sample_grad", "grad_b1 = delta1", "grad_b1 = delta1.T"),
    "data that are overwritten": (
        "fast.py",
        "value_and_grad",
        r"x, y, N = self\._data\(x, y\)",
        r"\g<0>\n        x.zero_()",
    ),
    "weights that are not copied": (
        "fast.py",
        "__init__",
        r"zip\(self\._parameters, given",
        "zip(given, self._parameters",
    ),
    "a direction that is overwritten": (
        "fast.py",
        "_flat",
        r"zip\(self\._direction_views, given",
        "zip(given, self._direction_views",
    ),
    "a copy that is none": ("fast.py", "value_and_grad", r"self\.flat_gradient\.clone\(\)", "self.flat_gradient"),
    "a copy of the parameters": ("fast.py", "value_and_grad", r"flat_gradient\.clone", "flat_parameters.clone"),
    "batches that add to the call before": ("fast.py", "accumulate", r"self\._results\.zero_\(\)\n", "pass\n"),
    "only the last batch": ("fast.py", "_put_more", r"self\._add\(x, y, 1, 1\)", "self._add(x, y, 1, 0)"),
    "many rows that add to the call before": (
        "fast.py",
        "_put",
        r"self\._add\(x, y, N, 0\)",
        "self._add(x, y, N, 1)",
    ),
    "an out that is not written": ("fast.py", "per_sample_grad", r"self\._check_out\(.*\n", "out = out.clone()\n"),
    "the loss of the call before": ("fast.py", "_add", r"self\._loss\.zero_\(\)", "pass"),
    "the product of the call before": ("fast.py", "_make_hvp", r"(dot_grad_W2b2\.addmm_\(.*), beta=beta", r"\1"),
    "a chunk that forgets": ("fast.py", "_make_hvp", r"(dot_grad_W1b1\.addmm_\(.*), beta=beta", r"\1, beta=0"),
    "buffers of another size": ("fast.py", "_step", r"make\.__name__, n", "make.__name__, min(n, 3)"),
    "the first row of a chunk": ("fast.py", "_make_each", r"(x_one_column), delta1,", r"\1, delta1[:, :1],"),
    "the first of more rows than are called": (
        "fast.py",
        "_make_rows",
        r"mm\(W3_T, delta3,",
        "delta3[:, 99:].zero_()\n            mm(W3_T, delta3,",
    ),
    "targets that are not turned": ("fast.py", "_make_hvp", r"y = y\.T", "y = y"),
    "an output more": ("fast.py", "_make_rows", r"delta2_T, beta", "delta2_T * 2, beta"),
    "chunks that overlap": ("fast.py", "_make_rows", r"x_rows\.copy_\(x\)", "x_rows.copy_(x[:1])"),
    "all rows for each": ("fast.py", "_chunks", r"repeat\(1\)", "repeat(0)"),
}
OTHERS = {
    "rows that are left out": (
        ROWS,
        "fast.py",
        "_make_rows",
        r"mm\(delta2, W2, out=grad_a1\)",
        r"\g<0>\n            grad_a1[200:].zero_()",
    ),
    "a sum over all rows": (COUPLED, "fast.py", "_make_hvp", r"sum\(1, keepdim=True\)", "sum(None, keepdim=True)"),
    "a mean over the rows of a chunk": (
        COUPLED,
        "fast.py",
        "_make_rows",
        r"/ N\b|\(N\)",
        lambda match: match[0].replace("N", "n"),
    ),
    "a slope that is right where relu is off": (
        COUPLED,
        "backward.py",
        "hvp",
        r"dot_a1 = dot_z1 .*?  #",
        "dot_a1 = dot_z1 * (one - a1)  #",
    ),
}
CASES = {name: (SMALL, *edit) for name, edit in EDITS.items()} | OTHERS


def edited(source: str, function: str, pattern: str, replacement) -> str:
    """The source with one change, in the function."""
    start = re.search(rf"def {function}\(", source).start()
    end = re.compile(r"^(    )?def |^class ", re.M).search(source, source.index("\n", start))
    body = source[start : end.start() if end else None]
    changed = re.sub(pattern, replacement, body, count=1)
    assert changed != body
    return source[:start] + changed + (source[end.start() :] if end else "")


@pytest.mark.parametrize("case", CASES)
def test_a_slip_that_shows_in_a_call_is_rejected_at_once(case, tmp_path):
    network, file, function, pattern, replacement = CASES[case]
    files = render(network, ["__init__.py", "backward.py", "fast.py"])
    write_package(tmp_path / "package", files)
    path = tmp_path / "package" / file
    path.write_text(edited(files[file], function, pattern, replacement), encoding="utf-8")
    start = time.process_time()
    with pytest.raises(NotProved, match=file):
        prove(tmp_path / "package")
    assert time.process_time() - start < 30


@pytest.fixture
def in_many_digits():
    with mpmath.workdps(PRECISIONS[0]):
        yield


def test_what_is_true_at_a_point_is_sympys_derivative(in_many_digits):
    network, judge = Network((1, 2, 2), "tanh", loss="cross_entropy", reduction="mean"), Judge()
    point = NetworkPoint(network, 1, 0)
    case = Case(network, "", Path("backward.py"), 1, judge.sums)
    whole = [judge.sums.written_out(row) for row in case.row_losses(case.x, case.y)]
    symbols = [entry for parameter in case.parameters.values() for entry in parameter.entries.flat]
    data = [*case.x.entries.flat, *case.y.entries.flat]
    numbers = [*point.parameters, *itertools.chain(*point.x, *point.y)]
    place = {symbol: sympy.Float(number, 100) for symbol, number in zip([*symbols, *data], numbers, strict=True)}

    def along(expr, entries, steps):
        pairs = zip(entries, steps, strict=True)
        return sum(sympy.diff(expr, entry) * sympy.Float(step, 100) for entry, step in pairs)

    for n, row in enumerate(whole):
        moved = along(row, symbols, point.direction)
        pairs = {
            "loss": row,
            "slope": along(row, symbols, point.weights),
            "input_slope": along(row, list(case.x.entries[n]), point.row_weights[n]),
            "curvature": along(moved, symbols, point.weights),
        }
        for name, expr in pairs.items():
            assert agree_to_digits(as_mpf(expr.xreplace(place).evalf(80), name), point.true(name, n)), name


def test_numbers_agree_to_the_digits_that_are_claimed():
    with mpmath.workdps(80):
        assert agree_to_digits(mpmath.mpf(1) + mpmath.mpf(10) ** -46, mpmath.mpf(1))
        assert not agree_to_digits(mpmath.mpf(1) + mpmath.mpf(10) ** -44, mpmath.mpf(1))


@pytest.mark.parametrize("value", [sympy.nan, sympy.zoo, sympy.Symbol("x"), 2 * sympy.I, None, 1.5], ids=str)
def test_what_is_no_number_is_refused(value):
    with pytest.raises(NotProved, match="no number"):
        as_mpf(value, "it")


def test_a_network_that_is_defined_nowhere_is_refused():
    with pytest.raises(NotProved, match="no point at which it is defined"):
        NetworkPoint(Network((1, 1), output_activation="log(-1 - z**2) + z"), 1, 0)


@pytest.mark.parametrize("formula", ["log(1 + erf(z))", "log(erfc(z))"])
def test_what_cancels_at_the_points_is_tried_with_more_digits(formula):
    """Numbers of 200 digits leave none of 1 + erf(-25)."""
    network = Network((2, 3, 1), formula)
    files = render(network, ["backward.py", "fast.py"])
    path, beside = map(Path, files)
    assert len(list(at_points(network, {path: files["backward.py"], beside: files["fast.py"]}))) == 2
    wrong = edited(files["backward.py"], "hvp", r"(dot_grad_W1) = dot_delta1\.T", r"\1 = 1.0000001 * dot_delta1.T")
    with pytest.raises(NotProved, match="hvp with N = 1: entry W1"):
        list(at_points(network, {path: wrong}))


def test_digits_are_added_until_nothing_differs_or_the_same_does():
    asked = []

    def differs(until):
        asked.append(mpmath.mp.dps)
        if len(asked) < until:
            raise NotProved(f"{asked[-1]}" if until < 9 else "a slip")
        return asked

    before = mpmath.mp.dps
    assert settled(lambda: differs(3)) == list(PRECISIONS) and mpmath.mp.dps == before
    asked.clear()
    with pytest.raises(NotProved, match="a slip"):
        settled(lambda: differs(9))
    assert asked == list(PRECISIONS[:2])
