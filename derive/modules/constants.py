"""The numbers that constants of a graph stand for: Python has rounded them before torch.export writes them down.

0.7071067811865476 stands for sqrt(2)/2, and 0.3333333333333333 for a third; 1e-05 is a hundred-thousandth.
"""

from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from math import isfinite, isinf, pi

import sympy
from sympy import Expr, Integer, Rational, log, oo, sqrt

PLAIN_DIGITS = 12  # digits of a decimal that is meant as it stands
LARGEST_DENOMINATOR = 20_000  # denominator of a fraction, or of the square of a root
ULPS = 4.5e-16  # relative: what two operations round away


@cache
def meant(number: float) -> Expr:
    """The exact number that a float stands for: a short decimal, a fraction of small numbers, or the root of one, times
    a power of pi or not, or log 2; else the decimal that Python prints.

    Raises ValueError for nan.
    """
    if isinf(number):
        return oo if number > 0 else -oo
    if not isfinite(number):
        raise ValueError("nan is no number")
    printed = Rational(repr(number))  # of 1e40, too, which is no power of 10 as a float
    if printed.is_Integer:
        return printed
    if len(repr(abs(number)).partition("e")[0].replace(".", "").strip("0")) <= PLAIN_DIGITS:
        return printed
    close = (exact for exact in candidates(number) if abs(float(exact) - number) <= ULPS * abs(number))
    return next(close, printed)


def is_rounded(number: float) -> bool:
    """Whether it is only known to so many digits what the float stands for."""
    plain = not isfinite(number) or number == int(number) or len(repr(number)) <= PLAIN_DIGITS
    return not plain and meant(number) == Rational(repr(number))


def candidates(number: float) -> Iterator[Expr]:
    for unit in (Integer(1), sympy.pi, 1 / sympy.pi, log(2), 1 / log(2)):
        yield small_fraction(number / float(unit)) * unit
    sign = 1 if number > 0 else -1
    for power in (0, 1, -1):
        yield sign * sqrt(small_fraction(number**2 / pi**power) * sympy.pi**power)


def small_fraction(number: float) -> Expr:
    fraction = Fraction(number).limit_denominator(LARGEST_DENOMINATOR)
    return Rational(fraction.numerator, fraction.denominator)
