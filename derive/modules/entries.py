"""Entries of tensors, which are decimals of many digits or SymPy expressions, and what is computed of one or two.

A tensor is a numpy array: of such entries where torch has floats, of whole numbers or truth values where torch has
those. A truth value that depends on symbols is a SymPy condition.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import mpmath
import numpy
import sympy
from mpmath import mp, mpf
from sympy import Expr, Piecewise, lambdify
from sympy.core.relational import Relational
from sympy.logic.boolalg import BooleanAtom, BooleanFunction

from derive.formulas import FUNCTIONS, opened, z
from derive.modules.constants import meant
from derive.modules.refusal import Refused

ArrayEntry = Any  # mpf or Expr
Array = numpy.ndarray
ByDefinition = Callable[..., Any]  # what an operation of torch computes
CONDITIONS = bool, numpy.bool_, Relational, BooleanFunction, BooleanAtom


def decimal(number: Any) -> ArrayEntry:
    """An exact number to the digits that mpmath works with."""
    if number != number:
        return mpf("nan")
    exact = meant(number) if isinstance(number, float) else sympy.sympify(number)
    if exact.is_infinite:
        return mpf("inf") if exact.is_positive else mpf("-inf")
    return mpf(exact.p) / exact.q if exact.is_Rational else mpf(exact.evalf(mp.dps + 10)._mpf_)


def exactly(number: Any) -> ArrayEntry:
    """An exact number as SymPy has it."""
    if number != number:
        return sympy.nan
    return meant(number) if isinstance(number, float) else sympy.sympify(number)


ENDS = {"sqrt": 0, "asin": 1, "acos": 1, "acosh": 1}  # where functions have values and no slopes
AT_AN_END: list[str] = []  # functions that were taken there
NUMBERS: list[Callable[[Any], ArrayEntry]] = []


@contextmanager
def lifted_by(lifting: Callable[[Any], ArrayEntry]) -> Iterator[None]:
    """Numbers become entries by this function, `decimal` or `exactly`."""
    NUMBERS.append(lifting)
    try:
        yield
    finally:
        NUMBERS.pop()


def lifted(number: Any) -> ArrayEntry:
    """A number of Python or SymPy as an entry; an entry itself."""
    if isinstance(number, mpf) or (isinstance(number, Expr) and not number.is_number):
        return number
    number = number.item() if isinstance(number, numpy.generic) else number
    return NUMBERS[-1](int(number) if isinstance(number, bool) else number)


def is_float(value: Any) -> bool:
    """Whether it is a tensor of floats, or a float."""
    return isinstance(value, float | mpf | Expr) or (
        isinstance(value, numpy.ndarray) and value.dtype == object and not is_condition(value)
    )


def is_condition(value: Any) -> bool:
    """Whether it is a tensor of truth values."""
    if not isinstance(value, numpy.ndarray) or value.dtype != object:
        return isinstance(value, numpy.ndarray) and value.dtype == bool
    return value.size > 0 and isinstance(value.flat[0], CONDITIONS)


def each(function: Callable[..., Any], *operands: Any) -> Array:
    """The function of each entry, or of those in the same place, repeated as torch repeats them."""
    with numpy.errstate(invalid="ignore"):  # nan is a number here
        return numpy.asarray(numpy.frompyfunc(function, len(operands), 1)(*operands), dtype=object)


def floats(value: Any) -> Array:
    """A tensor, or a number, as one of floats."""
    if isinstance(value, numpy.ndarray) and value.dtype == object and not is_condition(value):
        return value
    if is_condition(value) and value.dtype == object:
        return each(lambda holds: choice(holds, lifted(1), lifted(0)), value)
    return each(lifted, value)


def of_data(data: Array) -> Array:
    """Entries that are given: floats as what they stand for, and all else as it is."""
    return floats(data) if data.dtype.kind == "f" else data


def of(name: str) -> Callable[[ArrayEntry], ArrayEntry]:
    """A function of one entry: of the table of functions, or one that mpmath and SymPy have under this name."""
    if name in FUNCTIONS:
        formula = FUNCTIONS[name]
        return lambda u: mp.convert(compiled_for_decimals(name)(u)) if isinstance(u, mpf) else formula.xreplace({z: u})
    numerically, exact = getattr(mpmath, name), getattr(sympy, name)

    def function(entry: ArrayEntry) -> ArrayEntry:
        if name in ENDS and abs(entry) == ENDS[name]:
            AT_AN_END.append(name)
        return numerically(entry) if isinstance(entry, mpf) else exact(entry)

    return function


@lru_cache
def compiled_for_decimals(name: str) -> Callable[[ArrayEntry], ArrayEntry]:
    """A function of the table of functions for decimals."""
    return lambdify(z, opened(FUNCTIONS[name]), "mpmath")


exp, log, root_of = of("exp"), of("log"), of("sqrt")


BRANCHES_TAKEN: set[bool] = set()  # which of two entries were taken


def choice(holds: Any, value: Any, other: Any) -> Any:
    """One of two entries, or both as branches where symbols decide."""
    if isinstance(holds, bool | numpy.bool_) or holds in (sympy.true, sympy.false):
        BRANCHES_TAKEN.add(bool(holds))
        return value if holds else other
    BRANCHES_TAKEN.update((True, False))
    return Piecewise((value, holds), (other, True))


def is_larger(left: ArrayEntry, right: ArrayEntry) -> bool:
    """Whether a decimal is larger than another.

    Raises Refused for symbols, of which that is open.
    """
    if isinstance(left, mpf) and isinstance(right, mpf):
        return left > right
    raise Refused("which of two symbols is larger")


def entries_sum(entries: Any) -> ArrayEntry:
    """The sum of entries."""
    found = list(entries)
    if all(isinstance(entry, mpf) for entry in found):
        return mpmath.fsum(found) if found else lifted(0)
    return sympy.Add(*found)


def inner(left: Any, right: Any) -> ArrayEntry:
    """The sum of the products of entries."""
    one, other = list(left), list(right)
    if one and all(isinstance(entry, mpf) for entry in (*one, *other)):
        return mpmath.fdot(one, other)
    return entries_sum(a * b for a, b in zip(one, other, strict=True))
