"""Losses that are finite where their parts are not: what torch has a function for, and norms at 0."""

import mpmath
import pytest
import torch
from sympy import (
    Abs,
    HadamardPower,
    HadamardProduct,
    MatrixSymbol,
    Max,
    Min,
    OneMatrix,
    Rational,
    Symbol,
    Trace,
    erf,
    erfc,
    exp,
    log,
    sinh,
    sqrt,
    symbols,
)

from derive import derivation
from derive.matrix import apply, row_sum, softmax, total
from tests.helpers.expressions import computed

n, m = symbols("n m", integer=True, positive=True)
x, y, X = MatrixSymbol("x", n, 1), MatrixSymbol("y", n, 1), MatrixSymbol("X", m, n)
a = Symbol("a", positive=True)
FAR = torch.tensor([-1e4, -800.0, -50.0, -3.0, 0.5, 50.0, 800.0, 1e4], dtype=torch.float64)[:, None]
PROBABILITIES = torch.tensor([0.0, 1.0, 0.3, 0.0], dtype=torch.float64)[:, None]
LOGITS = 1e4 * torch.tensor([[0.0, 1.0, -1.0], [0.5, 0.5, 0.25]], dtype=torch.float64)


def entries(function):
    return total(x.applyfunc(function))


LOSSES = {  # the loss, the variable, where, and what it is in torch
    "log of a normal tail": (
        entries(lambda t: log((1 + erf(t / sqrt(2))) / 2)),
        FAR[:5],
        lambda x: torch.special.log_ndtr(x).sum(),
    ),
    "log of erfc": (
        entries(lambda t: log(erfc(t))),
        -FAR[:5],
        lambda x: (torch.special.log_ndtr(-(2**0.5) * x) + torch.log(torch.tensor(2.0, dtype=x.dtype))).sum(),
    ),
    "log of a + exp": (
        entries(lambda t: log(a + exp(t))),
        FAR,
        lambda x: torch.logaddexp(x, torch.log(torch.tensor(0.7, dtype=x.dtype))).sum(),
    ),
    "exp over a + exp": (
        entries(lambda t: exp(t) / (a + exp(t))),
        FAR,
        lambda x: torch.sigmoid(x - torch.log(torch.tensor(0.7, dtype=x.dtype))).sum(),
    ),
    "log of exp less 1": (
        entries(lambda t: log(exp(sqrt(1 + t**2)) - 1)),
        FAR,
        lambda x: (torch.sqrt(1 + x**2) + torch.log(-torch.expm1(-torch.sqrt(1 + x**2)))).sum(),
    ),
    "log of a share of a + exp": (
        entries(lambda t: log(a / (a + exp(t)))),
        FAR,
        lambda x: torch.nn.functional.logsigmoid(torch.log(torch.tensor(0.7, dtype=x.dtype)) - x).sum(),
    ),
    "log of sinh over its argument": (
        entries(lambda t: log(sinh(sqrt(1 + t**2)) / sqrt(1 + t**2))),
        FAR,
        lambda x: (lambda u: u + torch.log(-torch.expm1(-2 * u) / (2 * u)))(torch.sqrt(1 + x**2)).sum(),
    ),
    "norm": (sqrt(Trace(x.T * x)), 0 * FAR, torch.linalg.norm),
    "norm of a difference": (sqrt(Trace((x - x).T * (x - x)) + Trace(x.T * x)), 0 * FAR, torch.linalg.norm),
    "norms of rows": (
        total(row_sum(HadamardPower(X, 2)).applyfunc(sqrt)),
        torch.tensor([[0.0, 0.0], [3.0, 4.0]], dtype=torch.float64),
        lambda X: torch.linalg.norm(X, dim=1).sum(),
    ),
    "log of softmax": (total(softmax(X).applyfunc(log)), LOGITS, lambda X: torch.log_softmax(X, 1).sum()),
    "log of exp over its sum": (
        total(apply(lambda u, s: log(exp(u) / s), X, row_sum(X.applyfunc(exp)) * OneMatrix(1, n))),
        LOGITS,
        lambda X: torch.log_softmax(X, 1).sum(),
    ),
    "logs of a softmax times it": (
        total(HadamardProduct(softmax(X), softmax(X).applyfunc(log))),
        LOGITS,
        lambda X: (torch.softmax(X, 1) * torch.log_softmax(X, 1)).sum(),
    ),
    "powers with an exponent that is a symbol": (
        total(HadamardPower(x.applyfunc(Abs), 2 * a)) + total(HadamardPower(x, a + Rational(3, 10))),
        PROBABILITIES,
        lambda x: (x.abs() ** 1.4).sum() + (x**1.0).sum(),
    ),
    "mean with the weights of a softmax": (
        total(HadamardProduct(x, x.applyfunc(exp))) / total(x.applyfunc(exp)),
        1e4 * PROBABILITIES,
        lambda x: (x * torch.softmax(x, 0)).sum(),
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_what_is_finite_in_torch_is_finite_here(name):
    loss, given, reference = LOSSES[name]
    variable = X if loss.has(X) else x
    derived = derivation(loss, [variable])
    numbers = {"a": torch.tensor(0.7, dtype=torch.float64)} if loss.has(a) else {}
    value, (mine,) = computed(derived, **{variable.name: given}, **numbers)
    leaf = given.clone().requires_grad_()
    expected = reference(leaf)
    (wanted,) = torch.autograd.grad(expected, leaf)
    torch.testing.assert_close(value, expected.detach(), rtol=1e-13, atol=0)
    torch.testing.assert_close(mine, wanted, rtol=1e-7, atol=1e-20)  # torch loses half of the digits of a tail's slope


@pytest.mark.parametrize("t", [-1e4, -50.0, -6.0, -1.0, 0.5, 5.0])
def test_the_slope_of_a_tail_has_its_digits(t):
    derived = derivation(LOSSES["log of a normal tail"][0], [x])
    _, (mine,) = computed(derived, x=torch.tensor([[t]], dtype=torch.float64))
    with mpmath.workdps(60):
        exact = mpmath.npdf(t) / (mpmath.erfc(-mpmath.mpf(t) / mpmath.sqrt(2)) / 2)
    assert mine.item() == pytest.approx(float(exact), rel=1e-14)


@pytest.mark.parametrize(
    ("formula", "reference"),
    [
        (lambda p, q: p * log(p / q), lambda p, q: torch.xlogy(p, p) - torch.xlogy(p, q)),
        (lambda p, q: -p * log(p) - (1 - p) * log(1 - p), lambda p, q: -torch.xlogy(p, p) - torch.xlogy(1 - p, 1 - p)),
    ],
    ids=["divergence", "entropy"],
)
def test_p_log_p_is_0_where_p_is(formula, reference):
    derived = derivation(total(apply(formula, x, y)), [y])
    q = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)[:, None]
    value, gradients = computed(derived, x=PROBABILITIES, y=q)
    torch.testing.assert_close(value, reference(PROBABILITIES, q).sum())
    assert gradients.y.isfinite().all()


def test_exp_inside_of_what_is_clipped_is_no_polynomial_in_it():
    def clipped(r, g):
        return Min(exp(r) * g, Max(Rational(4, 5), Min(exp(r), Rational(6, 5))) * g)

    derived = derivation(total(apply(clipped, x, y)), [x])
    ratios, gains = FAR[2:6] / 10, torch.tensor([1.0, -1.0, 2.0, -3.0], dtype=torch.float64)[:, None]
    value, gradients = computed(derived, x=ratios, y=gains)
    leaf = ratios.clone().requires_grad_()
    expected = torch.minimum(leaf.exp() * gains, leaf.exp().clamp(0.8, 1.2) * gains).sum()
    torch.testing.assert_close(value, expected.detach())
    torch.testing.assert_close(gradients.x, torch.autograd.grad(expected, leaf)[0])


def test_a_root_that_is_no_norm_has_the_slope_that_it_has():
    derived = derivation(total(x.applyfunc(sqrt)) + sqrt(Trace(x.T * y)), [x])
    zeros = torch.zeros(2, 1, dtype=torch.float64)
    assert not computed(derived, x=zeros, y=zeros + 1)[1].x.isfinite().any()
