"""Formulas as functions of Python numbers, and of numpy's arrays entry by entry."""

import math
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any

import numpy
from sympy import Expr, Lambda, Piecewise, Symbol, lambdify
from sympy.core.function import Application

from derive.formulas.functions import FUNCTIONS
from derive.formulas.stable import NamedFunction, erfcx, in_powers_of, log_ndtr, stable, z

OF_MATH: dict[str, Callable[..., Any]] = {
    **{name: numpy.vectorize(getattr(math, name), otypes=[float]) for name in ("erf", "erfc")},
    "logsigmoid": lambda z: -numpy.logaddexp(0, -z),
}
IN_NUMPY = {  # by these names or in forms that SymPy writes for it
    *("acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cos", "cosh", "exp", "expm1", "log", "log1p"),
    *("Abs", "Heaviside", "Max", "Min", "Piecewise", "ceiling", "floor", "sign", "sin", "sinh", "tan", "tanh"),
}


@lru_cache
def compiled(formula: Lambda) -> Callable[..., float]:
    """The formula as a Python function."""
    return lambdify(formula.variables, formula.expr, [kernels("math"), "math"])


def in_mpmath(variables: Sequence[Symbol], formula: Expr) -> Callable[..., Any]:
    """The formula as a function of mpmath's numbers, in which named functions keep their digits far from 0."""
    function: Callable[..., Any] = lambdify(variables, formula, [kernels("mpmath"), "mpmath"])
    return function


@lru_cache(2**12)
def over_entries(formula: Lambda) -> Callable[..., numpy.ndarray]:
    """The formula as a function of arrays of one shape; a constant comes out as one number."""
    formula = Lambda(formula.variables, in_powers_of(formula.expr))
    names = {type(part).__name__ for part in formula.expr.atoms(Application, Piecewise) if not part.is_Boolean}
    if names <= IN_NUMPY | kernels("numpy").keys():
        return lambdify(formula.variables, formula.expr, [kernels("numpy"), "numpy"])
    one = in_mpmath(formula.variables, formula.expr)
    return numpy.vectorize(lambda *numbers: float(one(*map(float, numbers))), otypes=[float])


@cache
def kernels(module: str) -> dict[str, Callable[..., Any]]:
    """The named functions as Python functions, by their definitions, from which equals are not subtracted."""
    known = dict(OF_MATH) if module == "numpy" else {}
    tails = (erfcx(z), log_ndtr(z)) if module == "mpmath" else ()  # elsewhere a definition loses their digits
    for row in (*FUNCTIONS.values(), *tails):
        if isinstance(row, NamedFunction) and type(row).__name__ not in known:
            safe = stable(row.definition)
            definition = row.definition if safe.has(type(row)) else safe
            known[type(row).__name__] = lambdify(z, definition, [dict(known), module])
    return known
