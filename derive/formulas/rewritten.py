"""Functions that no target has a call for, written by those that one has."""

from collections.abc import Callable

from sympy import (
    Expr,
    Mod,
    Ne,
    Piecewise,
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
    cos,
    cosh,
    cot,
    coth,
    csc,
    csch,
    exp,
    factorial,
    floor,
    frac,
    gamma,
    loggamma,
    pi,
    sec,
    sech,
    sin,
    sinc,
    sinh,
    tan,
    tanh,
)
from sympy import (
    erfc as sympy_erfc,
)

from derive.formulas.stable import erfc


def _gamma(u: Expr) -> Expr:
    """By its logarithm, which torch has; where u is negative by the reflection formula."""
    return Piecewise((exp(loggamma(u)), u > 0), (pi / (sin(pi * u) * exp(loggamma(1 - u))), True))


def _besseli(order: Expr, u: Expr) -> Expr:
    """Of a larger order by the two before: I(k + 1) = I(k - 1) - 2 k/u I(k)."""
    if order.is_Integer and order > 1:
        return _besseli(order - 2, u) - 2 * (order - 1) / u * _besseli(order - 1, u)
    return besseli(order, u)


LOGARITHMS: dict[type[Expr], Callable[..., Expr]] = {  # of what may overflow where its logarithm does not
    beta: lambda a, b: loggamma(a) + loggamma(b) - loggamma(a + b),
    binomial: lambda n, k: loggamma(n + 1) - loggamma(k + 1) - loggamma(n - k + 1),
    factorial: lambda n: loggamma(n + 1),
    gamma: loggamma,
}
REWRITTEN: dict[type[Expr], Callable[..., Expr]] = {
    Mod: lambda u, v: u - v * floor(u / v),
    acot: lambda u: atan(1 / u),
    acoth: lambda u: atanh(1 / u),
    acsc: lambda u: asin(1 / u),
    acsch: lambda u: asinh(1 / u),
    asec: lambda u: acos(1 / u),
    asech: lambda u: acosh(1 / u),
    besseli: _besseli,
    beta: lambda a, b: _gamma(a) * _gamma(b) / _gamma(a + b),
    binomial: lambda n, k: _gamma(n + 1) / (_gamma(k + 1) * _gamma(n - k + 1)),
    cot: lambda u: 1 / tan(u),
    coth: lambda u: 1 / tanh(u),
    csc: lambda u: 1 / sin(u),
    csch: lambda u: 1 / sinh(u),
    sympy_erfc: erfc,
    factorial: lambda u: _gamma(u + 1),
    frac: lambda u: u - floor(u),
    gamma: _gamma,
    sec: lambda u: 1 / cos(u),
    sech: lambda u: 1 / cosh(u),
    sinc: lambda u: Piecewise((sin(u) / u, Ne(u, 0)), (1, True)),
}


def rewritten(expr: Expr) -> Expr:
    """The expression with each such function as what it is."""
    for function, formula in REWRITTEN.items():
        expr = expr.replace(function, formula) if expr.has(function) else expr
    return expr
