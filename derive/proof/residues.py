"""Expressions modulo a prime, at random points: what differs there is not identical, and the rest is worth a proof."""

from random import Random

from sympy import (
    Abs,
    Add,
    Basic,
    DiracDelta,
    Expr,
    Integer,
    Max,
    Min,
    Mul,
    NumberSymbol,
    Piecewise,
    Pow,
    Rational,
    Symbol,
    exp,
    log,
    sign,
    tanh,
)

from derive.formulas import NamedFunction
from derive.proof.algebra import Algebra
from derive.proof.polynomials import TooLarge

PRIME = 2**61 - 1  # one more is a multiple of 4, so that a root of a square is a power of it
EXPONENT_UNIT = 5040  # exp of a term is this power of what has been drawn for the term, so that its roots are known


class NoResidue(ArithmeticError):
    """What has no residue at this point."""


class Residues:
    """What expressions are at one point: each symbol is a random residue, and each function of each residue another.

    Names are what their definitions are, exp turns sums into products, and a root is one where there is one.
    """

    def __init__(self, seed: int, definitions: dict[Symbol, Expr], algebra: Algebra) -> None:
        self.definitions, self.algebra = definitions, algebra
        self.random = Random(seed)
        self.known: dict[Basic, int | None] = {}
        self.drawn: dict[object, int] = {}

    def of(self, expr: Basic) -> int:
        """The residue.

        Raises NoResidue where there is none.
        """
        if expr not in self.known:
            try:
                self.known[expr] = self._of(expr) % PRIME
            except (NoResidue, TooLarge, ValueError):
                self.known[expr] = None
        residue = self.known[expr]
        if residue is None:
            raise NoResidue(expr)
        return residue

    def _of(self, expr: Basic) -> int:
        if isinstance(expr, Symbol):
            return self._symbol(expr)
        if isinstance(expr, Rational):
            return int(expr.p) * inverse_residue(int(expr.q))
        if isinstance(expr, Add):
            return sum(map(self.of, expr.args))
        if isinstance(expr, Mul):
            result = 1
            for factor in expr.args:
                result = result * self.of(factor) % PRIME
            return result
        if isinstance(expr, Pow) and isinstance(expr.exp, Integer):
            base, power = self.of(expr.base), int(expr.exp)
            return pow(base if power > 0 else inverse_residue(base), abs(power), PRIME)
        if isinstance(expr, Pow | exp | log | Piecewise | Max | Min):
            return self.of(self.algebra.polynomial(expr))
        if isinstance(expr, NamedFunction):
            return self.of(expr.expanded())
        if isinstance(expr, tanh):
            return self.of(expr.rewrite(exp))
        if isinstance(expr, DiracDelta):
            return 0
        if isinstance(expr, NumberSymbol):
            return self._draw(expr)
        if isinstance(expr, Expr) and expr.is_Function:
            return self._function(expr.func, tuple(map(self.of, expr.args)))
        raise NoResidue(expr)

    def _symbol(self, symbol: Symbol) -> int:
        """What a name or an atom of the algebra stands for; of others a random residue."""
        if symbol in self.definitions:
            return self.of(self.definitions[symbol])
        key = self.algebra.keys.get(symbol, symbol)
        if not isinstance(key, tuple):
            return self._draw(key)
        what, argument, *degree = key
        if what == "reciprocal":
            return inverse_residue(self.of(argument))
        if what is exp:
            power, rest = argument.as_coeff_Mul()
            if EXPONENT_UNIT % power.q:
                raise NoResidue(symbol)
            base, power = self._draw((exp, self.of(rest))), int(power * EXPONENT_UNIT)
            return pow(base if power > 0 else inverse_residue(base), abs(power), PRIME)
        if what is Pow:
            return self._root(self.of(argument), *degree)
        if isinstance(what, str):  # a condition
            return self._draw((what, self.of(argument))) % 2
        return self._function(what, tuple(map(self.of, argument)))

    def _function(self, function: object, arguments: tuple[int, ...]) -> int:
        if function is Abs:
            return self._function(sign, arguments) * arguments[0]
        if function is sign:
            first = self._draw((sign, min(arguments[0], PRIME - arguments[0])))
            return (1 if (first + (2 * arguments[0] < PRIME)) % 2 else -1) if arguments[0] else 0
        return self._draw((function, arguments))

    def _root(self, base: int, degree: int) -> int:
        """A square root; other roots, and where there is none, the same for the same number."""
        if degree == 2:
            found = pow(base, (PRIME + 1) // 4, PRIME)
            return found if found * found % PRIME == base else self._draw((Pow, base, degree))
        return self._draw((Pow, base, degree))

    def _draw(self, key: object) -> int:
        if key not in self.drawn:
            self.drawn[key] = self.random.randrange(1, PRIME)
        return self.drawn[key]


def inverse_residue(residue: int) -> int:
    if residue % PRIME == 0:
        raise NoResidue(residue)
    return pow(residue, -1, PRIME)


def fraction(residue: int) -> Rational | None:
    """The fraction of small numbers that has this residue, by Euclid's algorithm, which meets it on the way."""
    large, small, before, here = PRIME, residue % PRIME, 0, 1
    while small >= 2**28:
        quotient = large // small
        large, small, before, here = small, large - quotient * small, here, before - quotient * here
    return Rational(small, here) if 0 < abs(here) < 2**28 else None
