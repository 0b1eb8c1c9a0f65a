"""Formulas and products of decimals of many digits, by mpmath: SymPy takes many times as long for each number."""

from collections.abc import Callable
from functools import cache, lru_cache

import numpy
from mpmath import fdot, isfinite, mp, mpf
from sympy import Expr, Float, Integer, nan

from derive.formulas import in_mpmath, z

SPARE = 60  # bits, for what is lost on the way
MOST_CACHED = 20_000  # values; those of the forward pass are asked for again and again


@cache
def numerically(formula: Expr) -> Callable[[Float], Expr]:
    """The formula in z at a decimal, to the digits that this has; nan where it is not real and finite."""
    compiled = in_mpmath((z,), formula)

    @lru_cache(MOST_CACHED)
    def at(number: tuple[int, ...], precision: int) -> Expr:
        with mp.workprec(precision + SPARE):
            try:
                value = mp.convert(compiled(mpf(number)))
            except (ZeroDivisionError, ValueError):
                return nan
            finite = isinstance(value, mpf) and isfinite(value)
        return Float(value, precision=precision) if finite else nan

    return lambda number: at(number._mpf_, number._prec)


def decimal_product(left: numpy.ndarray, right: numpy.ndarray) -> numpy.ndarray | None:
    """The product of matrices, or with a vector, of decimals and whole numbers; None where they are anything else."""
    entries = [*left.flat, *right.flat]
    if not (left.ndim == 2 and right.ndim in (1, 2) and left.shape[1] == right.shape[0]):
        return None
    precision = max((entry._prec for entry in entries if isinstance(entry, Float)), default=0)
    if not precision or not all(isinstance(entry, Float | Integer) for entry in entries):
        return None
    with mp.workprec(precision + SPARE):
        in_mpmath = numpy.frompyfunc(lambda entry: mpf(entry._mpf_ if isinstance(entry, Float) else int(entry)), 1, 1)
        rows, columns = in_mpmath(left), in_mpmath(right).reshape(right.shape[0], -1).T
        found = [[Float(fdot(row, column), precision=precision) for column in columns] for row in rows]
    return numpy.array(found, dtype=object).reshape(left.shape[:1] + right.shape[1:])
