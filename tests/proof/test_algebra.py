"""What the algebra finds identical: logs and roots of products, halves of angles, branches inside functions."""

import pytest
from sympy import Abs, Piecewise, Rational, Rel, cos, diff, exp, log, sign, sin, sqrt, symbols, tanh

from derive.formulas import FUNCTIONS, opened, parse, sigmoid, stable, y, z
from derive.proof import NotProved
from derive.proof.algebra import algebras, with_sigmoids
from derive.proof.judge import Judge
from derive.proof.polynomials import monomials_summed
from derive.system import limited

LETTERS = symbols("a:6", real=True)
FORMULAS = [
    *("log(1 - tanh(z)**2)", "sqrt(exp(z) + exp(-z))", "sqrt(exp(2*z) + 1) - exp(z)", "sqrt(1 + exp(z))"),
    *("(1 - cos(z))/z**2", "sin(z)*cos(z) + sin(3*z)", "sqrt(2 + cos(z))", "log(2 + sin(z)*cos(2*z))"),
    *("abs(z)*z", "sqrt(softplus(z))", "log(softplus(z) + sigmoid(z))", "(exp(z) + 1)**(1/3)", "sqrt(sigmoid(z))"),
    *("sqrt(sigmoid(z)*(1 - sigmoid(z)))", "log(exp(z) + exp(2*z) + exp(-z))", "(z**2 + 1)**(1/3)", "sqrt(erfc(z))"),
]
LONG = 1 / (1 + sum(LETTERS)) + 1 / (1 + exp(z))
SAME = {
    "a log of a long sum of quotients": (log(2 * LONG), log(2) + log(LONG)),
    "a log of a product": (log(sigmoid(z) * (1 + z**2)), log(sigmoid(z)) + log(1 + z**2)),
    "a root of a quotient": (sqrt(exp(z) / (1 + exp(z))), exp(z / 2) / sqrt(1 + exp(z))),
    "a quarter of an exponent": (sqrt(sqrt(exp(z))), exp(z / 4)),
    "half an angle": (1 - cos(z), 2 * sin(z / 2) ** 2),
    "a third of an angle": (sin(z), 3 * sin(z / 3) - 4 * sin(z / 3) ** 3),
    "a size": (z * sign(z), Abs(z)),
    "a root of branches": (sqrt(Piecewise((z, z > 1), (4, True))), Piecewise((sqrt(z), z > 1), (2, True))),
}
DIFFERENT = {
    "a log of factors that may both be negative": (log(z * (z - 1)), log(z) + log(z - 1)),
    "a root of a square": (sqrt(z**2), z),
    "exp of half a log of a square": (exp(log(z**2) / 2), z),
    "a root of factors that may both be negative": (sqrt(z**2 - z) * sqrt(z), z * sqrt(z - 1)),
    "an angle of another sign": (sin(-z), sin(z)),
    "another slope of a narrow bump": (z * exp(-((z - y) ** 2) * 10**20), 2 * z * exp(-((z - y) ** 2) * 10**20)),
    "another multiple": (sin(2 * z), 2 * sin(z)),
    "another kink": (Piecewise((z, z > 0), (0, True)), Piecewise((z, z >= 0), (0, True))),
    "another threshold": (Piecewise((z, z > 20), (0, True)), Piecewise((z, z > 21), (0, True))),
    "what a root is 0 on": (z, Piecewise((z, sqrt(FUNCTIONS["relu"].subs(z, z + 1)) > 0), (2 * z, True))),
    "the slope at a kink": (sign(z), Piecewise((1, z > 0), (-1, True))),
}


def identical(left, right) -> bool:
    return any(algebra.identical(left, right) for algebra in algebras())


@pytest.mark.parametrize("formula", FORMULAS)
def test_stable_forms_are_identical_to_what_was_typed_and_so_are_their_slopes(formula):
    typed = parse("activation", formula, (z,))
    for _ in range(2):
        assert identical(stable(typed), opened(typed))
        assert not identical(stable(typed) * (1 + tanh(z) / 10**9), opened(typed))
        typed = diff(typed, z)


@pytest.mark.parametrize("name", SAME)
def test_what_is_the_same_is_found_so(name):
    assert identical(*SAME[name])


@pytest.mark.parametrize("name", DIFFERENT)
def test_what_differs_anywhere_is_not(name):
    assert not identical(*DIFFERENT[name])


def test_quotients_of_exp_are_sigmoids():
    assert with_sigmoids(y * exp(z) / (1 + exp(z))) == y * sigmoid(z)
    assert with_sigmoids(exp(z) / (1 + exp(z)) ** 3 + 1 / (1 + exp(-y))) == sigmoid(z) * sigmoid(-z) ** 2 + sigmoid(y)


@pytest.mark.parametrize("relation", ["<", "<=", ">", ">="])
def test_the_longer_branch_is_written_out_once(relation):
    long = sum(LETTERS)
    for branches in ((long, y), (y, long)):
        algebra = algebras()[0]
        written = Piecewise((branches[0], Rel(z, 1, relation)), (branches[1], True))
        assert len(monomials_summed(algebra.polynomial(written)).args) == len(LETTERS) + 2


def test_what_the_algebra_does_not_know_is_compared_at_more_points_and_in_its_branches():
    judge = Judge()
    left, right = sin(sin(z) + cos(z)), sin(sin(z)) * cos(cos(z)) + cos(sin(z)) * sin(cos(z))
    assert not identical(left, right) and judge.show("it", left, right, "here") is False
    with pytest.raises(NotProved, match="it is wrong"):
        judge.show("it", left, right + sin(z) / 10**12, "here")
    for different in ("another kink", "another threshold", "the slope at a kink"):
        one, other = DIFFERENT[different]
        with pytest.raises(NotProved):
            judge.show("it", one, other, "here")


def test_what_is_too_long_has_to_fall_into_the_same_branches(monkeypatch):
    monkeypatch.setattr("derive.proof.judge.MOST_TERMS", (1,))
    judge = Judge()
    part = judge.sums.name(y + 2 * z)
    left, right = ((1 + part) ** 2 * Piecewise((part, part > limit), (0, True)) for limit in (20, 20))
    assert judge.show("it", left.expand(), right, "here") is False
    with pytest.raises(NotProved, match="could not be proved"):
        judge.show("it", left.expand(), right.xreplace({part > 20: part > 25}), "here")


@pytest.mark.parametrize(
    "long",
    [
        *(exp(sum(LETTERS) ** 30), sqrt(1 + sum(LETTERS) ** 12) * y, (1 + y) ** (10**9), log(1 + y) ** (10**9)),
        log(exp(y * Rational(10**12 + 39, 10**12)) + exp(z)),
        sin(sin(sum(LETTERS) ** 30) + cos(y)),
    ],
)
def test_what_is_too_long_to_be_multiplied_out_only_agrees_at_points_and_soon(long):
    """The other side of each is the same by a rule that no algebra here has been told."""
    judge = Judge()
    with limited(60):
        assert (
            judge.show("it", long * cos(sin(y) + 1), long * (cos(sin(y)) * cos(1) - sin(sin(y)) * sin(1)), "") is False
        )
        with pytest.raises(NotProved, match="it is wrong"):
            judge.show("it", long, long + cos(y) / 10**9, "here")


def test_numbers_at_points_have_as_many_digits_as_it_takes():
    judge = Judge()
    part = judge.sums.name(1 + y * z / 10**40)
    assert part.is_Symbol and judge.agrees("it", (part - 1) * 10**40, y * z, 0, "here")
    with pytest.raises(NotProved, match="it is wrong"):
        judge.agrees("it", (part - 1) * 10**40, y * z + y / 10**9, 0, "here")
