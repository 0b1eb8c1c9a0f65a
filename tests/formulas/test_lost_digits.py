"""Formulas of which no way to write them is known that keeps their digits: the build says where they are lost."""

import json
import re

import mpmath
import pytest
import torch
from sympy import (
    MatrixSymbol,
    Symbol,
    Trace,
    cos,
    cosh,
    diff,
    erf,
    exp,
    floor,
    lambdify,
    log,
    sin,
    sqrt,
)

from derive import derivation
from derive.build import main
from derive.formulas import FUNCTIONS, LOSSES
from derive.gradient import main as gradient_main
from derive.matrix import total
from derive.packages import lost_digits, render
from derive.packages.digits import RESULTS
from derive.problems import Network, warnings
from derive.proof import prove
from derive.system import write_package

LOST = {  # value, first and second derivative at 0 by their series, which are right near it, too
    "z/(exp(z) - 1)": (1.0, -1 / 2, 1 / 6),
    "(1 - exp(-z))/z": (1.0, -1 / 2, 1 / 3),
    "tanh(z)/z": (1.0, 0.0, -2 / 3),
}
KEPT = [
    "z*sigmoid(z)",
    "1/(1 + exp(-z))",
    "log(1 + exp(z)) - z",
    "exp(-exp(-z))",
    "sqrt(exp(z) + 1)",
    "log(1 + z**2)",
    "exp(exp(exp(z)))",
]


@pytest.mark.parametrize("formula", LOST)
def test_what_is_lost_is_said_and_is_so(formula, emitted):
    (warning,) = lost_digits(Network((2, 2, 1), formula))
    found = re.fullmatch(
        r"activation: '.*' loses digits: in float64 at z = (\S+) its (.*) is (\S+) where .* (\S+)", warning
    )
    point, order, got, truth = float(found[1]), RESULTS.index(found[2]), float(found[3]), float(found[4])
    assert truth == pytest.approx(LOST[formula][order], rel=0.01, abs=1e-7) and abs(got - truth) > abs(truth) / 2
    module = emitted(Network((1, 1), output_activation=formula, loss="p*y"))
    zero, one, b = (torch.full((1, 1), value, dtype=torch.float64) for value in (0.0, 1.0, point))
    _, gradient = module.value_and_grad([zero, b[0]], zero, one)
    curved = module.hvp([zero, b[0]], zero, one, [zero, one[0]]).b1
    assert abs([gradient.b1, curved][order - 1].item() - truth) > 0.1 * abs(truth)


def test_what_a_penalty_loses_is_said_and_where_formulas_are_undefined():
    (warning,) = lost_digits(Network((2, 2, 1), penalty="(1 - cos(w))/w**2"))
    assert re.match(r"penalty: '.*' loses digits: in float64 at w = ", warning), warning
    assert [line for line in warnings(Network((2, 2, 1), penalty="log(w)")) if line.startswith("penalty: 'log(w)'")]
    (warning,) = warnings(Network((2, 1), loss="log(p) - y"))
    assert warning.startswith("loss: 'log(p) - y' is undefined for p <= 0; ")
    for point in ("1", "-1", "1/2", "3"):  # where formulas have their poles
        (warning,) = warnings(Network((2, 1, 1), f"1/(z - ({point}))"))
        assert "is undefined for" in warning
    for penalty in ("0.05*w**2", "0.01*abs(w)", "log(1 + w**2)", "sqrt(w**2 + 1)"):
        assert not (lost_digits(network := Network((2, 2, 1), penalty=penalty)) + warnings(network)), penalty


def test_what_keeps_its_digits_is_not_warned_of():
    for formula in (*KEPT, *FUNCTIONS):
        assert lost_digits(Network((2, 2, 1), formula)) == [], formula
    for loss in (*LOSSES, "log(1 + exp(-y*p))", "abs(p - y)**3", "y*softplus(-p) + (1 - y)*softplus(p)"):
        assert lost_digits(Network((2, 2, 2), output_activation="sigmoid", loss=loss)) == [], loss


def test_a_build_says_it(tmp_path, capsys):
    command = ["--layers", "1-1-1", "--activation", "(1 - exp(-z))/z", "--out", str(tmp_path / "package")]
    assert main(command) == 0
    assert "warning: activation: '(1 - exp(-z))/z' loses digits: in float64 at z = " in capsys.readouterr().err


def test_of_a_loss_it_says_at_which_target_and_a_certificate_says_it_too(tmp_path):
    network = Network((1, 1), loss="1 - sqrt(1 - sin(p - y)**2)")
    (warning,) = lost_digits(network)
    assert re.fullmatch(r"loss: '.*' loses digits: in float64 at p = -?1e-08, y = 0 its value is .*", warning), warning
    write_package(tmp_path / "package", render(network, ["__init__.py", "backward.py"]))
    certificate = prove(tmp_path / "package")
    assert certificate.digits == (warning,) and warning in str(certificate).splitlines()
    assert json.loads(certificate.json())["digits"] == [warning]


t, a, x = Symbol("t"), Symbol("a", positive=True), MatrixSymbol("x", 3, 1)


@pytest.mark.parametrize(
    ("loss", "variable"),
    [
        ((exp(t) - 1) / t, t),
        (sin(t) / t, t),
        ((1 - cos(t)) / t**2, t),
        (log(cosh(t)), t),
        (sqrt(1 + t**2) - t, t),
        (sqrt(exp(2 * t) + 1) - exp(t), t),
        (Trace(x.T * x) * total(x.applyfunc(lambda u: (exp(u) - 1) / u)), x),
    ],
)
def test_of_an_expression_the_certificate_says_it(loss, variable):
    derived = derivation(loss, [variable])
    (warning,) = derived.prove().digits
    found = re.search(r"in float64 at . = (\S+) its (value|derivative) is (\S+) where it should be (\S+)", warning)
    point, got, truth = (float(found[group]) for group in (1, 3, 4))
    assert abs(got - truth) > 1e-8 * abs(truth) and warning in str(derived.prove())
    if variable is t:
        value, gradients = derived.numpy(t=point)
        assert [value, gradients["t"]][RESULTS.index(found[2])] == pytest.approx(got, rel=1e-7)
        formula = lambdify(t, loss if found[2] == "value" else diff(loss, t), "mpmath")
        with mpmath.workdps(60):
            assert truth == pytest.approx(float(formula(mpmath.mpf(point))), rel=1e-7)


def test_an_expression_that_keeps_its_digits_is_not_warned_of():
    for loss in (log(1 + exp(t)), t**2 - t, log(a) + a * exp(t), 1 / (1 + t**2), floor(t) * t, erf(t) + abs(t)):
        assert derivation(loss, [t], prove=False).prove().digits == (), loss


def test_typed_text_is_warned_of_with_a_proof_and_without(capsys):
    for more in ([], ["--no-proof"]):
        assert gradient_main(["sum(sin(x)./x)", *more]) == 0
        printed = capsys.readouterr()
        assert re.fullmatch(
            r"python -m derive.gradient: warning: M1 = .* loses digits: in float64 at x = .*\n", printed.err
        )
        assert ("loses digits" in printed.out) == (not more)
