"""Elementwise functions as scalar SymPy formulas; SymPy gives each its slope.

To add one, add a row to FUNCTIONS. A kink is policy: the condition of the branch says which slope holds there, and it
is torch's.
"""

from functools import cached_property, lru_cache

from sympy import (
    Expr,
    Function,
    Piecewise,
    Poly,
    Symbol,
    diff,
    exp,
    interpolate,
    lambdify,
    nsimplify,
    simplify,
    tanh,
)
from sympy.core.cache import cacheit

z = Symbol("z", real=True)


class NamedFunction(Function):
    """A function that torch has a kernel for: kept whole in a formula, and differentiated through its definition."""

    nargs = 1
    definition: Expr

    def _eval_is_extended_real(self) -> bool:
        return True

    @cached_property
    def free_symbols(self) -> set[Symbol]:
        """Kept, as SymPy asks for it at every step of a derivative."""
        return super().free_symbols

    @cacheit
    def _eval_derivative(self, symbol: Symbol) -> Expr:
        return self.fdiff() * diff(self.args[0], symbol)

    def fdiff(self, argindex: int = 1) -> Expr:
        return slope(type(self)).xreplace({z: self.args[0], type(self)(z): self})

    def _eval_evalf(self, precision):
        return self.expanded()._eval_evalf(precision)

    def expanded(self) -> Expr:
        """The definition at this argument."""
        return self.definition.xreplace({z: self.args[0]})


def _function(name: str, definition: Expr) -> type[NamedFunction]:
    return type(name, (NamedFunction,), {"definition": definition})


sigmoid = _function("sigmoid", 1 / (1 + exp(-z)))

FUNCTIONS = {
    "identity": z,
    "sigmoid": sigmoid(z),
    "tanh": tanh(z),
    "relu": _function("relu", Piecewise((0, z <= 0), (z, True)))(z),
}


@lru_cache
def slope(function: type[NamedFunction]) -> Expr:
    """d function / dz, written in the function's own output where SymPy confirms it, else in z."""
    derivative = diff(function.definition, z)
    fitted = in_output(function, derivative)
    return derivative if fitted is None else fitted


def in_output(function: type[NamedFunction], derivative: Expr) -> Expr | None:
    """The slope as c0 + c1 f + c2 f^2, or None. Three numeric points suggest the numbers, SymPy confirms them."""
    if derivative.has(Piecewise):
        return None
    a = function(z)
    f, df = (lambdify(z, e, "mpmath") for e in (function.definition, derivative))
    suggestion = Poly(interpolate([(f(t), df(t)) for t in (-1.5, -0.25, 1.25)], z), z)
    c0, c1, c2 = (nsimplify(suggestion.coeff_monomial(z**k), rational=True, tolerance=1e-9) for k in range(3))
    fitted = a * (c1 + c2 * a) if c0 == 0 else c0 + c1 * a + c2 * a**2
    difference = fitted.xreplace({a: function.definition}) - derivative
    return fitted if simplify(difference.rewrite(exp)) == 0 else None
