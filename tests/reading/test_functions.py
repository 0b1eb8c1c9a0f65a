"""Functions that SymPy has a name for, in matrix expressions: against differences of 60 digits, and those refused."""

import pytest
import torch
from sympy import (
    LambertW,
    MatrixSymbol,
    Mod,
    Rational,
    Symbol,
    acos,
    acosh,
    acot,
    acoth,
    acsc,
    acsch,
    asec,
    asech,
    asin,
    asinh,
    atan,
    atanh,
    besseli,
    beta,
    binomial,
    cbrt,
    cos,
    cosh,
    cot,
    coth,
    csc,
    csch,
    digamma,
    erf,
    erfc,
    erfi,
    erfinv,
    exp,
    factorial,
    frac,
    gamma,
    log,
    loggamma,
    polygamma,
    sec,
    sech,
    sin,
    sinc,
    sinh,
    tan,
    tanh,
    trigamma,
)

from derive import derivation
from derive.matrix import total
from tests.helpers.expressions import computed

x, t = MatrixSymbol("x", 4, 1), Symbol("t", real=True)
ANYWHERE, POSITIVE, SMALL, LARGE = (-1.3, -0.4, 0.3, 2.6), (0.2, 0.7, 1.9, 30.5), (-0.9, -0.2, 0.1, 0.8), (1.1, 2, 3, 9)
FUNCTIONS = {
    **dict.fromkeys(
        (
            *(acot, asinh, atan, cos, cosh, cot, coth, csc, csch, acsch, erf, erfc, exp, frac, gamma, sec, sech, sin),
            *(sinc, sinh, tan, tanh),
        ),
        ANYWHERE,
    ),
    **dict.fromkeys((cbrt, digamma, factorial, log, loggamma, trigamma), POSITIVE),
    **dict.fromkeys((acos, asin, atanh, erfinv), SMALL),
    **dict.fromkeys((acosh, acoth, acsc, asec), LARGE),
    asech: (0.1, 0.3, 0.5, 0.9),
}
FORMULAS = {
    besseli(0, t): ANYWHERE,
    besseli(1, t): ANYWHERE,
    besseli(2, t): POSITIVE,
    besseli(1, t) / besseli(0, t): POSITIVE,
    beta(t, Rational(5, 2)): POSITIVE,
    binomial(t, Rational(3, 2)): POSITIVE,
    log(beta(t, 3)): (*POSITIVE[:3], 500),
    log(factorial(t)): (*POSITIVE[:3], 500),
    log(gamma(t) / (t**2 * gamma(2 * t))): (*POSITIVE[:3], 500),
    Mod(t, Rational(2, 3)): ANYWHERE,
    polygamma(2, t): POSITIVE,
}
ALL = {f(t): points for f, points in FUNCTIONS.items()} | FORMULAS


STEP = Rational(1, 10**20)


def at(formula, number):
    return formula.xreplace({t: number}).evalf(60)


@pytest.mark.parametrize("formula", ALL, ids=str)
def test_a_function_that_sympy_and_torch_have_is_right_and_proved(formula):
    derived = derivation(total(x.applyfunc(lambda u: formula.xreplace({t: u}))), [x])
    given = torch.tensor(ALL[formula], dtype=torch.float64)[:, None]
    value, gradients = computed(derived, x=given)
    exact = [Rational(number) for number in given.flatten().tolist()]
    assert value.item() == pytest.approx(float(sum(at(formula, u) for u in exact)), rel=1e-12)
    slopes = [(at(formula, u + STEP) - at(formula, u - STEP)) / (2 * STEP) for u in exact]
    assert gradients.x.flatten().tolist() == pytest.approx([float(slope) for slope in slopes], rel=1e-11, abs=1e-12)


@pytest.mark.parametrize("function", [erfi, LambertW])
def test_a_function_that_torch_cannot_compute_is_named(function):
    with pytest.raises(ValueError, match=f"torch has no function for {function.__name__}, as in .*; it has "):
        derivation(total(x.applyfunc(function)), [x])
