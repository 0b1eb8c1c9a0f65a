"""Functions that no target has a call for, written by those that one has, and those that fade by what they fade as."""

from collections.abc import Callable

from sympy import (
    Expr,
    Integer,
    Mod,
    Mul,
    Ne,
    Piecewise,
    Pow,
    Wild,
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
    log,
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

from derive.formulas.functions import FUNCTIONS
from derive.formulas.stable import erfc, expm1, log1p, logsigmoid

SAME = -40  # log(1 + exp(u)) is exp(u) in float64, and exp(exp(u)) - 1


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


def with_tails(formula: Expr) -> Expr:
    """The formula with log(1 + exp(u)), exp(exp(u)) - 1 and their like as exp(u) far below 0, to the last bit.

    Where they are below a line, a root or a log or beside an exp: of exp(u) all of these are finite and have a slope.
    """

    def in_factors(product: Expr) -> Expr:
        return Mul(
            *(_with_tail(base) ** power for base, power in (factor.as_base_exp() for factor in Mul.make_args(product)))
        )

    def is_below(part: Expr) -> bool:
        return isinstance(part, Pow) and part.exp.is_number and not (part.exp.is_Integer and part.exp > 0)

    def is_beside(part: Expr) -> bool:
        return isinstance(part, Mul) and any(isinstance(factor, exp) for factor in part.args)

    formula = formula.replace(is_below, lambda part: in_factors(part.base) ** part.exp).replace(is_beside, in_factors)
    return formula.replace(log, lambda argument: log(in_factors(argument)))


def _with_tail(part: Expr) -> Expr:
    """exp(u) where it is that in float64, and itself elsewhere."""
    u, sign = Wild("u"), Integer(1)
    if isinstance(part, type(FUNCTIONS["softplus"])):
        found = {u: part.args[0]}
    elif isinstance(part, logsigmoid):
        found, sign = {u: -part.args[0]}, Integer(-1)
    else:
        found = part.match(log(1 + exp(u))) or part.match(log1p(exp(u)))
    for form, turned in ((1 - exp(-exp(u)), 1), (expm1(-exp(u)), -1), (expm1(exp(u)), 1), (exp(exp(u)) - 1, 1)):
        if not found and (found := part.match(form)):
            sign = Integer(turned)
    return Piecewise((sign * exp(found[u]), found[u] < SAME), (part, True)) if found else part
