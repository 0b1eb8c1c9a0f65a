"""The proof of matrix expressions: where it looks, what it says, and what it lets pass."""

import numpy
import pytest
import torch
from sympy import (
    ITE,
    Abs,
    Determinant,
    Eq,
    Float,
    HadamardPower,
    HadamardProduct,
    Heaviside,
    Integer,
    Limit,
    MatrixSymbol,
    Max,
    Min,
    Ne,
    Not,
    OneMatrix,
    Piecewise,
    Rational,
    Sum,
    Symbol,
    Trace,
    acosh,
    asin,
    ceiling,
    erf,
    erfc,
    erfinv,
    exp,
    floor,
    log,
    pi,
    sign,
    sin,
    sqrt,
    symbols,
)

from derive import derivation
from derive.formulas import FUNCTIONS
from derive.matrix import apply, logsumexp, softmax, total
from derive.matrix_derivation import MatrixDerivation
from derive.proof import NotProved
from derive.proof import expressions as certify
from derive.proof.algebra import Algebra
from derive.proof.definition import Evaluation, OnKink
from derive.proof.trials import decimals_of
from tests.helpers.expressions import computed, draw_inputs

A, B = MatrixSymbol("A", 3, 4), MatrixSymbol("B", 1, 2)
x, b, y, z = (MatrixSymbol(*given) for given in (("x", 4, 1), ("b", 3, 1), ("y", 6, 1), ("z", 6, 1)))
p, t1 = symbols("p t1", real=True)

DOMAINS = {
    "a barrier": -total((b - A * x).applyfunc(log)),
    "log(x - 5)": total(x.applyfunc(lambda t: log(t - 5))),
    "acosh": total(x.applyfunc(acosh)),
    "a ball": sqrt(1 - Trace(y.T * y)),
    "differences": total(apply(lambda u, v: (u - v) ** Rational(3, 2) + log(u - v), y, z)),
    "asin": total(x.applyfunc(lambda t: asin(2 * t))),
    "erfinv": erfinv(2 * p - 1) + Trace(x.T * x),
    "negative": log(-Symbol("q", negative=True)) * Trace(x.T * x),
}


@pytest.mark.parametrize("name", DOMAINS)
def test_a_point_is_found_wherever_there_is_a_domain(name):
    loss = DOMAINS[name]
    derivation(loss, sorted(loss.atoms(MatrixSymbol), key=str))


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (
            sqrt(-Trace(x.T * x)),
            r"found no point .*: sqrt\(-x.T\*x\) has no value at the first \(it is .*I\); prove=False derives",
        ),
        (total(apply(log, -HadamardProduct(x, x))), r"log\(.*x.*\) has no value at the first \(it is .*I\)"),
        (log(Determinant(HadamardProduct(x * x.T, x * x.T))), r"det\(.*\) has no value at the first"),
        (erfinv(2 + Trace(x.T * x)), r"erfinv\(.*x.T\*x.*\) has no value at the first .*; prove=False"),
    ],
    ids=["a root", "a log of each", "a determinant", "erfinv"],
)
def test_what_is_defined_nowhere_is_named(loss, words):
    with pytest.raises(NotProved, match=words):
        derivation(loss, [x])


N, D, H, C = symbols("N D H C", integer=True, positive=True)  # the letters of CS231n
i, j, q = *symbols("i j", integer=True), MatrixSymbol("q", N, 1)
X, W1, b1, W2, b2, Y = (
    MatrixSymbol(*given) for given in (("X", N, D), ("W1", D, H), ("b1", 1, H), ("W2", H, C), ("b2", 1, C), ("Y", N, C))
)
hidden = apply(lambda u: Piecewise((u, u > 0), (0, True)), X * W1 + OneMatrix(N, 1) * b1)
scores = hidden * W2 + OneMatrix(N, 1) * b2
KINKS = {
    "a ReLU network": (total(logsumexp(scores)) - total(HadamardProduct(Y, scores))) / N
    + p * total(HadamardPower(W1, 2)),
    "a tie": exp(sin(Max(t1, total(B)))),
    "a jump": exp(30 * Piecewise((t1, t1 > total(B)), (5, True))),
    "a floor": floor(total(B)) * total(B),
    "a sign": sign(total(B) - t1) * total(B) ** 2,
    "an entry beside itself": Sum(Abs(q[i, 0] - q[j, 0]), (i, 0, N - 1), (j, 0, N - 1)),
    "a column beside itself": Sum(Max(q[i, 0], q[j, 0]), (i, 0, N - 1), (j, 0, N - 1)),
    "the limit of a difference": Limit((sin(p) - p) / p, p, 0) + total(B),
}


@pytest.mark.parametrize("name", KINKS)
def test_no_point_is_on_a_kink(name):
    loss = KINKS[name]
    derivation(loss, sorted(loss.atoms(MatrixSymbol), key=str))


AT_ZERO = [Abs(p), sign(p), Heaviside(p), Max(p, 0), Min(p, -p), floor(p), ceiling(p), FUNCTIONS["relu"].func(p)]
AT_ZERO += [Piecewise((p, p > 0), (0, True)), Piecewise((1, Eq(p, 0)), (2, True)), Piecewise((1, Ne(p, 0)), (2, True))]


@pytest.mark.parametrize("formula", AT_ZERO, ids=str)
@pytest.mark.parametrize("at", [Integer(0), Float(0, 150)], ids=["exact", "decimal"])
def test_a_kink_is_seen_in_every_function_that_has_one(formula, at):
    with pytest.raises(OnKink):
        Evaluation({p: at}).scalar(formula)
    with pytest.raises(OnKink):
        Evaluation({B: numpy.array([[at, at]])}).entries(apply(lambda u: formula.xreplace({p: u}), B))
    Evaluation({p: at + Rational(1, 3)}).scalar(formula)


def test_beside_decimals_all_numbers_are_decimals():
    point = decimals_of({p: Rational(1, 3)})
    assert Evaluation(point).scalar(sqrt(2) * p + pi * exp(p) + sin(1)).is_Float
    assert Evaluation({p: Rational(1, 3)}).scalar(sqrt(2) * p) == sqrt(2) / 3


def test_what_is_said_many_times_is_worked_out_once():
    loss = total(x)
    for _ in range(60):  # 2**60 parts, if each were worked out by itself
        loss = (loss + sin(loss)) / 2
    definition = Evaluation({x: numpy.array([[Float(number, 150)] for number in range(4)], dtype=object)})
    assert definition.scalar(loss).is_Float


def test_attention_with_a_root_for_a_scale_is_checked_in_seconds():
    Q, K, V, S = (MatrixSymbol(*given) for given in (("Q", 4, 4), ("K", 4, 4), ("V", 4, 4), ("S", 8, 4)))
    loss = total(softmax(S * Q * (S * K).T / sqrt(2)) * S * V)
    assert "to 45 digits" in str(derivation(loss, [S]).prove())


CONDITIONS = [Eq(p, t1), Ne(p, t1), Not(p < t1), (p > 0) & (t1 > 0), (p > 0) | Eq(t1, 0), (p > 0) ^ (t1 > 0)]
CONDITIONS += [ITE(p > 1, t1 < p**2, t1 < 2 * p), ((p > 0) | (t1 > 2)) & (p < t1), ~((p > 0) & (t1 > 2))]


@pytest.mark.parametrize("condition", CONDITIONS, ids=str)
def test_conditions_of_every_kind_run_and_are_proved_and_written(condition):
    loss = total(apply(lambda u, v: Piecewise((u**2, condition.xreplace({p: u, t1: v})), (v, True)), y, z))
    derived = derivation(loss, [y, z])
    given = draw_inputs([y, z], 0)
    _, (grad_y, _) = computed(derived, **{own.name: given[s] for own, s in derived.original.items()})
    holds = [bool(condition.subs({p: float(u), t1: float(v)})) for u, v in zip(given[y], given[z], strict=True)]
    torch.testing.assert_close(grad_y, torch.where(torch.tensor(holds)[:, None], 2 * given[y], 0))
    assert "where" in derived.latex()


def test_conditions_of_every_kind_are_indicators():
    algebra = Algebra()
    for condition in CONDITIONS:
        left = Piecewise((p, condition), (t1, True))
        assert algebra.identical(left, t1 + Piecewise((p - t1, condition), (0, True)))
        assert not algebra.identical(left, p)
    assert algebra.identical(Piecewise((1, Eq(p, t1)), (0, True)), Piecewise((0, Ne(t1, p)), (1, True)))


def test_a_difference_is_shown_by_its_first_digits():
    floor_ = Rational(1, 10**90)
    with pytest.raises(NotProved, match=r"came out as 0\.3{18}\d* where it is 0\.3{18}\d*;"):
        certify.agrees(Rational(1, 3) + Rational(1, 10**20), Rational(1, 3), "the value", floor_)
    with pytest.raises(NotProved, match=r"the gradient in x came out as 2\.0+ where it is 1\.0+; prove=False derives"):
        certify.agrees(Integer(2), Integer(1), "the gradient in x", floor_)


@pytest.mark.parametrize("scale", [Integer(1), Rational(1, 10**60), Rational(10) ** 60])
def test_a_wrong_gradient_is_seen_at_any_magnitude(scale, monkeypatch):
    monkeypatch.setattr(certify, "MOST_SYMBOLS", 0)
    loss = scale * total(x.applyfunc(exp))
    derivation(loss, [x])
    wrong = MatrixDerivation(loss, [x])
    source = wrong.torch().replace("grad_x=grad_x", "grad_x=2 * grad_x").replace("x=grad_x,", "x=2 * grad_x,")
    assert source != wrong.torch()
    wrong.torch = lambda: source
    with pytest.raises(NotProved, match="the gradient in x came out as"):
        wrong.prove()


def test_a_proof_that_takes_too_long_says_what_is_not_shown():
    with pytest.raises(NotProved, match=r"after 0.01 seconds of work the value and the gradient in x are not shown"):
        derivation(log(Trace(x.T * x)) ** 7, [x], seconds=0.01)


def undecided(s, u):
    """What the algebra does not decide."""
    return (exp(s) + exp(-s) + u**2) ** Rational(1, 3)


CANCELLING = {
    "numbers of 200 digits leave none of 1 + erf(-25)": lambda s, u: log(1 + erf(100 * s - 25)) * undecided(s, u),
    "few of 1 - erf(20)": lambda s, u: log(erfc(9 * s * u + 20)) + undecided(s, u),
}


@pytest.mark.parametrize("what", CANCELLING)
def test_what_cancels_at_the_points_is_tried_with_more_digits(what):
    one, other = MatrixSymbol("x", 2, 1), MatrixSymbol("y", 2, 1)
    found = derivation(total(apply(CANCELLING[what], one, other)), [one, other])
    assert not found.prove().exact
