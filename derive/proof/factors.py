"""Factors of rational functions of atoms, so that the log and the roots of a product are those of its factors.

That holds of factors that are not negative. The others stay together: what a log or a root is taken of is not negative,
and so neither is what the others are together.
"""

from dataclasses import dataclass
from math import prod

from sympy import Add, Expr, Integer, Mul, Poly, Pow, Rational, Symbol, expand, factor_list, fraction, together

MOST_FACTORED, MOST_LETTERS_FACTORED = 24, 6  # of what is factored


@dataclass(frozen=True)
class Factors:
    """A positive number, powers of factors that are not negative, and what the others are together."""

    number: Rational
    powers: dict[Expr, int]
    rest: Expr


def factored(expr: Expr, reciprocals: dict[Symbol, Expr], positive: set[Symbol]) -> Factors:
    """The factors of a polynomial in atoms, of which some are reciprocals and some not negative.

    Where it is long, those that all of its terms have.
    """
    given = expr
    if not is_short(given):
        return common_factors(given, positive)
    while below := expr.free_symbols & reciprocals.keys():
        expr = expr.xreplace({symbol: 1 / reciprocals[symbol] for symbol in below})
        if not is_short(expr):
            break
    above, below = fraction(together(expr))
    if not (is_short(above) and is_short(below)):
        return common_factors(given, positive)
    number, powers = Integer(1), dict[Expr, int]()
    for part, sign in ((above, 1), (below, -1)):
        content, found = factor_list(part)
        number *= content**sign
        for factor, power in found:
            powers[factor] = powers.get(factor, 0) + sign * power
    rest = Integer(1)
    for factor in list(powers):
        if is_nonnegative(-factor, positive):
            number, powers[-factor] = number * (-1) ** powers[factor], powers.pop(factor)
        elif not is_nonnegative(factor, positive):
            minus = factor.could_extract_minus_sign()
            rest *= (-factor if minus else factor) ** powers[factor]
            number *= (-1) ** (powers.pop(factor) * minus)
    if number < 0:
        number, rest = -number, -rest
    return Factors(number, {factor: power for factor, power in powers.items() if power}, rest)


def common_factors(expr: Expr, positive: set[Symbol]) -> Factors:
    """The number and the powers of what is not negative that all terms have."""
    number, expr = expand(expr).as_content_primitive()
    terms = [term.as_powers_dict() for term in Add.make_args(expr)]
    powers = {symbol: min(term.get(symbol, 0) for term in terms) for symbol in expr.free_symbols & positive}
    powers = {symbol: int(power) for symbol, power in powers.items() if power}
    return Factors(number, powers, expand(expr / Mul(*(symbol**power for symbol, power in powers.items()))))


def is_short(expr: Expr) -> bool:
    """Whether it is factored in no time, when it is multiplied out."""
    if len(expr.free_symbols) > MOST_LETTERS_FACTORED or expr.count_ops() > 8 * MOST_FACTORED:
        return False
    if any(abs(power.exp) > MOST_FACTORED for power in expr.atoms(Pow)):
        return False
    factors = [power.as_base_exp() for power in Mul.make_args(expr)]
    lengths = [len(Add.make_args(base)) ** min(abs(int(power)), 9) for base, power in factors if power.is_Integer]
    return len(lengths) == len(factors) and prod(lengths) <= MOST_FACTORED


def is_nonnegative(polynomial: Expr, positive: set[Symbol]) -> bool:
    """Whether no term of it can be negative, as each has a positive number and squares beside what is not negative."""
    if not polynomial.free_symbols:
        return bool(polynomial > 0)
    found = Poly(polynomial)
    return all(
        number > 0 and all(s in positive or power % 2 == 0 for s, power in zip(found.gens, powers, strict=True))
        for powers, number in found.terms()
    )
