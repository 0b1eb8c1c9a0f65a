"""Polynomials in symbols, by sparse arithmetic that is many times faster than SymPy's expand."""

from functools import lru_cache, reduce
from math import comb

from sympy import Expr, Symbol
from sympy.polys.domains import QQ
from sympy.polys.rings import PolyElement, ring

MOST_INSIDE = 3_000  # terms of a product, inside of a function


def by_power(value: PolyElement, symbol: Symbol) -> dict[int, PolyElement]:
    """The coefficients of the powers of a symbol."""
    index = value.ring.symbols.index(symbol)
    parts: dict[int, PolyElement] = {}
    for monomial, coefficient in value.items():
        part = parts.setdefault(monomial[index], value.ring.zero)
        part[(*monomial[:index], 0, *monomial[index + 1 :])] = coefficient
    return parts


class TooLarge(Exception):
    """A polynomial that is not written out, for its length."""


def bounded_product(left: PolyElement, right: PolyElement, most: int | None) -> PolyElement:
    """The product.

    Raises TooLarge where it may have more than so many terms.
    """
    if most is not None and len(left) * len(right) > most:
        raise TooLarge
    return left * right


def to_the(base: PolyElement, power: int, most: int | None) -> PolyElement:
    """The power.

    Raises TooLarge where it may have more than so many terms.
    """
    if most is not None and len(base) > 1 and (power > most or comb(len(base) + power - 1, power) > most):
        raise TooLarge
    return base**power


def cleared(value: PolyElement, symbol: Symbol, primitive: PolyElement, most: int | None) -> PolyElement:
    """The polynomial times that power of the denominator which leaves none of the reciprocal."""
    parts = by_power(value, symbol)
    degree = max(parts, default=0)
    terms = (bounded_product(part, to_the(primitive, degree - power, most), most) for power, part in parts.items())
    return sum(terms, value.ring.zero)


def without_powers(
    value: PolyElement, symbol: Symbol, degree: int, replacement: PolyElement, most: int | None
) -> PolyElement:
    """The polynomial with symbol**degree replaced until no such power is left."""
    atom = value.ring(symbol)
    while max(parts := by_power(value, symbol), default=0) >= degree:
        value = value.ring.zero
        for power, part in parts.items():
            whole = to_the(replacement, power // degree, most)
            value += bounded_product(part * atom ** (power % degree), whole, most)
    return value


def in_ring(expr: Expr, symbols: set[Symbol], most: int | None = None) -> PolyElement:
    """The expanded polynomial, by sparse arithmetic that is many times faster than expand.

    Raises TooLarge where a product may have more than so many terms.
    """
    polynomials, *elements = ring(sorted(symbols, key=lambda symbol: symbol.name), QQ)
    known: dict[Expr, PolyElement] = dict(zip(polynomials.symbols, elements, strict=True))

    def convert(part: Expr) -> PolyElement:
        if part not in known:
            if part.is_Number:
                known[part] = polynomials(QQ(part.p, part.q))
            elif part.is_Pow:
                known[part] = to_the(convert(part.base), int(part.exp), most)
            elif part.is_Add:
                known[part] = sum(map(convert, part.args), polynomials.zero)
            else:
                factors = sorted(map(convert, part.args), key=len)
                known[part] = reduce(lambda left, right: bounded_product(left, right, most), factors, polynomials.one)
        return known[part]

    return convert(expr)


@lru_cache(maxsize=10_000)
def monomials_summed(expr: Expr) -> Expr:
    """The polynomial as a sum of products.

    Raises TooLarge where they are too many for what stands inside of a function.
    """
    return in_ring(expr, expr.free_symbols, MOST_INSIDE).as_expr() if expr.args else expr
