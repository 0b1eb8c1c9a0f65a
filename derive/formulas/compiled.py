"""Formulas as functions of Python numbers."""

from collections.abc import Callable
from functools import cache, lru_cache

from sympy import Lambda, lambdify

from derive.formulas.functions import FUNCTIONS
from derive.formulas.stable import NamedFunction, z


@lru_cache
def compiled(formula: Lambda) -> Callable[..., float]:
    """The formula as a Python function."""
    return lambdify(formula.variables, formula.expr, [kernels(), "math"])


@cache
def kernels() -> dict[str, Callable[[float], float]]:
    """The named functions as Python functions, by their definitions."""
    known: dict[str, Callable[[float], float]] = {}
    for row in FUNCTIONS.values():
        if isinstance(row, NamedFunction):
            known[type(row).__name__] = lambdify(z, row.definition, [dict(known), "math"])
    return known
