"""Products without what says nothing: ones that make a sum, a factor beside its inverse."""

from collections.abc import Iterable

from sympy import (
    DiagMatrix,
    DiagonalOf,
    HadamardProduct,
    Identity,
    Integer,
    Inverse,
    MatrixExpr,
    OneMatrix,
    Transpose,
)

from derive.calculus.alike import turned
from derive.calculus.fronts import in_front_of
from derive.programs import RowSoftmax, bars, chain, flat_product


def column_of(part: MatrixExpr) -> MatrixExpr | None:
    """c of c 1', a column that is repeated."""
    *factors, last = chain(part)[1]
    if not factors or not isinstance(last, OneMatrix) or last.shape[1] == 1:
        return None
    return flat_product(Integer(1), [*factors, OneMatrix(last.shape[0], 1)])


def row_of(part: MatrixExpr) -> MatrixExpr | None:
    """r of 1 r, a row that is repeated."""
    first, *factors = chain(part)[1]
    if not factors or not isinstance(first, OneMatrix) or first.shape[0] == 1:
        return None
    return flat_product(Integer(1), [OneMatrix(1, first.shape[1]), *factors])


def without_ones(factors: list[MatrixExpr]) -> list[MatrixExpr]:
    """The factors of a product, with (A o 1 r) 1 as A r', 1' (A o c 1') as c' A, and (A o I) 1 as the diagonal."""
    for place, factor in enumerate(factors):
        if isinstance(factor, Transpose) and isinstance(factor.arg, HadamardProduct):
            factor = HadamardProduct(*map(turned, factor.arg.args))
        if not isinstance(factor, HadamardProduct | DiagMatrix):
            continue
        after = factors[place + 1] if place + 1 < len(factors) else None
        before = factors[place - 1] if place else None
        if isinstance(factor, DiagMatrix):
            if isinstance(after, OneMatrix) and after.shape[1] == 1 == factor.args[0].shape[1]:
                return [*factors[:place], factor.args[0], *factors[place + 2 :]]
            continue
        if isinstance(after, OneMatrix) and after.shape[1] == 1:
            taken = [part for part in factor.args if row_of(part) is not None]
            if taken:
                left = others(factor, taken[0])
                return [*factors[:place], left, turned(row_of(taken[0])), *factors[place + 2 :]]
        if isinstance(before, OneMatrix) and before.shape[0] == 1:
            taken = [part for part in factor.args if column_of(part) is not None]
            if taken:
                right = others(factor, taken[0])
                return [*factors[: place - 1], turned(column_of(taken[0])), right, *factors[place + 1 :]]
        if any(isinstance(part, Identity) for part in factor.args):
            square = others(factor, next(part for part in factor.args if isinstance(part, Identity)))
            if isinstance(after, OneMatrix) and after.shape[1] == 1:
                return [*factors[:place], diagonal_of(square), *factors[place + 2 :]]
            if isinstance(before, OneMatrix) and before.shape[0] == 1:
                return [*factors[: place - 1], turned(diagonal_of(square)), *factors[place + 1 :]]
    return factors


def without_softmax(factors: list[MatrixExpr]) -> list[MatrixExpr]:
    """The factors of a product with ones for the sums of the rows of softmax, which are 1."""
    kept: list[MatrixExpr] = []
    for factor in factors:
        before = kept[-1] if kept else None
        rows = isinstance(factor, OneMatrix) and isinstance(before, RowSoftmax)
        columns = isinstance(factor, Transpose) and isinstance(factor.arg, RowSoftmax) and isinstance(before, OneMatrix)
        if rows or columns:
            factor = OneMatrix(kept.pop().shape[0], factor.shape[1])
        kept.append(factor)
    return kept


def diagonal_of(square: MatrixExpr) -> MatrixExpr:
    """The diagonal as a column, of the matrix or of its transpose, whichever has fewer bars."""
    if column_of(square) is not None or row_of(square) is not None:
        return column_of(square) if column_of(square) is not None else turned(row_of(square))
    return DiagonalOf(min(square, turned(square), key=bars))


def without_inverses(factors: list[MatrixExpr]) -> list[MatrixExpr]:
    """The factors of a product without those that stand beside their inverse, as A' A beside (A' A)^-1."""
    for place, factor in enumerate(factors):
        scale, inner = chain(factor.arg) if isinstance(factor, Inverse) else (Integer(0), [])
        for start in (place - len(inner), place + 1) if scale == 1 else ():
            if start >= 0 and factors[start : start + len(inner)] == inner:
                first, last = min(start, place), max(start + len(inner), place + 1)
                rest = [*factors[:first], *factors[last:]]
                return without_inverses(rest) if rest else [Identity(factor.shape[0])]
    return factors


def others(whole: HadamardProduct, part: MatrixExpr) -> MatrixExpr:
    rest = list(whole.args)
    rest.remove(part)
    return rest[0] if len(rest) == 1 else HadamardProduct(*rest)


def sideways(factors: list[MatrixExpr]) -> MatrixExpr:
    """The transpose of a product."""
    return turned(flat_product(Integer(1), factors))


def in_a_row(left: MatrixExpr, right: MatrixExpr) -> list[MatrixExpr]:
    """Factors whose trace is the sum of the products of entries."""
    if left.shape[0] == 1 or isinstance(left, Transpose):
        return [right, turned(left)] if right.shape[0] == 1 else [turned(left), right]
    return [turned(left), right]


def entry_by_entry(parts: Iterable[MatrixExpr]) -> MatrixExpr:
    """The Hadamard product, numbers in front; a repeated column times a repeated row is their product."""
    scale, kept = Integer(1), list[MatrixExpr]()
    for part in parts:
        number, inner = in_front_of(part)
        scale *= number
        kept += inner.args if isinstance(inner, HadamardProduct) else [inner]
    kept = [part for part in kept if not isinstance(part, OneMatrix)] or kept[:1]
    diagonals = [part for part in kept if isinstance(part, Identity)]
    kept = [part for part in kept if part not in diagonals] + diagonals[:1]  # I o I is I
    columns = [part for part in kept if column_of(part) is not None and row_of(part) is None]
    rows = [part for part in kept if row_of(part) is not None and column_of(part) is None]
    if columns and rows:
        outer = flat_product(Integer(1), [column_of(columns[0]), row_of(rows[0])])
        kept.remove(columns[0])
        kept.remove(rows[0])
        kept.append(outer)
    elif len(kept) == 2 and any(isinstance(part, Identity) for part in kept) and (columns or rows):
        return flat_product(scale, [DiagMatrix(column_of(columns[0]) if columns else turned(row_of(rows[0])))])
    return flat_product(scale, [kept[0] if len(kept) == 1 else HadamardProduct(*kept)])
