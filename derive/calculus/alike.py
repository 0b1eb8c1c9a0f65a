"""When two closed forms are one: whatever the order of sums and entry by entry products, and where bars stand."""

from collections import Counter
from collections.abc import Hashable
from functools import lru_cache

from sympy import (
    DiagMatrix,
    DiagonalMatrix,
    Dummy,
    Expr,
    HadamardPower,
    HadamardProduct,
    Integer,
    Inverse,
    MatAdd,
    MatMul,
    MatrixBase,
    MatrixExpr,
    MatrixSymbol,
    Transpose,
)
from sympy.matrices.expressions.applyfunc import ElementwiseApplyFunction

from derive.programs import bars, chain, flat_product, transposed

Key = tuple[Expr, Hashable]  # a number, and what it multiplies
ANY = Dummy("any", real=True)


@lru_cache(maxsize=65536)
def key(expr: MatrixExpr) -> Key:
    """The same for forms that are equal but for order; twice the number for twice the form."""
    if isinstance(expr, Transpose):
        opened = barred(expr.arg)
        return key(opened) if opened != expr else (Integer(1), expr)
    if isinstance(expr, MatMul):
        number, factors = chain(expr)
        return product_key(number, factors)
    if isinstance(expr, HadamardProduct):
        number, parts = Integer(1), Counter[Hashable]()
        for scale, part in map(key, expr.args):
            number *= scale
            parts[part] += 1
        return number, ("entry by entry", frozenset(parts.items()))
    if isinstance(expr, MatAdd):
        coefficients: dict[Hashable, Expr] = {}
        for scale, part in map(key, expr.args):
            coefficients[part] = coefficients.get(part, Integer(0)) + scale
        first = coefficients[min(coefficients, key=hash)]  # any of them, as long as it is always the same
        if first == 0:
            return Integer(1), expr
        return first, ("sum", frozenset((part, scale / first) for part, scale in coefficients.items()))
    if isinstance(expr, ElementwiseApplyFunction):
        return Integer(1), (expr.function(ANY), key(expr.expr))
    if isinstance(expr, Inverse):
        return Integer(1), ("inverse", key(expr.arg))
    if isinstance(expr, HadamardPower):
        return Integer(1), ("power", key(expr.base), expr.exp)
    return Integer(1), ("entries", expr) if isinstance(expr, MatrixBase) else expr


def product_key(number: Expr, factors: list[MatrixExpr]) -> Key:
    """The key of a product."""
    parts = []
    for scale, part in map(key, factors):
        number *= scale
        parts.append(part)
    return number, parts[0] if len(parts) == 1 else tuple(parts)


def barred(matrix: MatrixExpr) -> MatrixExpr:
    """The transpose with its bars at the symbols."""
    if isinstance(matrix, MatMul):
        scale, factors = chain(matrix)
        return flat_product(scale, [barred(factor) for factor in reversed(factors)])
    if isinstance(matrix, MatAdd | HadamardProduct):
        return matrix.func(*map(barred, matrix.args))
    if isinstance(matrix, ElementwiseApplyFunction):
        return barred(matrix.expr).applyfunc(matrix.function)
    if isinstance(matrix, HadamardPower):
        return HadamardPower(barred(matrix.base), matrix.exp)
    return matrix if isinstance(matrix, DiagMatrix | DiagonalMatrix) else transposed(matrix)


@lru_cache(maxsize=65536)
def length(expr: Expr) -> int:
    """How many symbols and numbers are written in it."""
    return sum(map(length, expr.args)) if expr.args and not isinstance(expr, MatrixSymbol) else 1


@lru_cache(maxsize=4096)
def turned(matrix: MatrixExpr) -> MatrixExpr:
    """The transpose with as few bars as there can be: that of a sum over it, those of a product's at its factors."""
    if isinstance(matrix, MatMul):
        scale, factors = chain(matrix)
        return flat_product(scale, [turned(factor) for factor in reversed(factors)])
    opened = barred(matrix)
    if key(opened) == key(matrix):
        return matrix
    composite = isinstance(matrix, MatAdd | HadamardProduct | ElementwiseApplyFunction | HadamardPower)
    return Transpose(matrix) if composite and bars(opened) > bars(matrix) else opened
