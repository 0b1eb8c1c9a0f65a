"""Closed forms as textbooks write them: numbers in front, equal terms as one, no ones where a product says it."""

from collections.abc import Iterable
from functools import reduce

from sympy import (
    Add,
    Expr,
    HadamardProduct,
    Integer,
    MatAdd,
    MatrixExpr,
    OneMatrix,
    Trace,
    ZeroMatrix,
    default_sort_key,
    gcd,
)

from derive.programs import chain, product, transposed


def multiplied(scale: Expr, factors: Iterable[MatrixExpr]) -> MatrixExpr:
    """The product, with what sums have in common in front of it, and sums of rows as products where they are."""
    kept: list[MatrixExpr] = []
    for factor in factors:
        number, inner = chain(factor)
        scale *= number
        kept += inner
    kept = without_ones(kept)
    for place, factor in enumerate(kept):
        if isinstance(factor, MatAdd) and len(kept) > 1:
            common, kept[place] = in_front(factor)
            scale *= common
    if scale.could_extract_minus_sign():
        for place, factor in enumerate(kept):
            if isinstance(factor, MatAdd) and len(kept) > 1 and str(factor).startswith("-"):
                scale, kept[place] = -scale, negated(factor)
                break
    return product(scale, kept)


def in_front(total: MatAdd) -> tuple[Expr, MatrixExpr]:
    """The number that all terms of a sum have in common, and the sum without it, its first term positive."""
    parts = [chain(term) for term in total.args]
    contents = [scale.as_content_primitive()[0] if scale.is_Add else scale.as_coeff_Mul()[0] for scale, _ in parts]
    if not all(content.is_Rational for content in contents):
        return Integer(1), total
    common = reduce(gcd, map(abs, contents))
    if common == 1:
        return common, total
    return common, MatAdd(*(product(scale / common, inner) for scale, inner in parts))


def negated(total: MatAdd) -> MatAdd:
    return MatAdd(*(product(-scale, inner) for scale, inner in map(chain, total.args)))


def key_of(factors: Iterable[MatrixExpr]) -> tuple[Expr, tuple[object, ...]]:
    """A sign, and what is the same for the same product up to that."""
    sign, found = Integer(1), []
    for factor in factors:
        if isinstance(factor, MatAdd):
            terms = sorted(factor.args, key=default_sort_key)
            if chain(terms[0])[0].could_extract_minus_sign():
                sign, terms = -sign, [product(-scale, inner) for scale, inner in map(chain, terms)]
            found.append(frozenset(terms))
        else:
            found.append(factor)
    return sign, tuple(found)


def added(parts: list[MatrixExpr]) -> MatrixExpr:
    """The sum, with equal terms as one; of numbers the number."""
    if not all(isinstance(part, MatrixExpr) for part in parts):
        return Add(*map(trace, parts))
    coefficients: dict[tuple[object, ...], Expr] = {}
    written: dict[tuple[object, ...], tuple[Expr, list[MatrixExpr]]] = {}
    for part in parts:
        for term in MatAdd.make_args(part):
            if isinstance(term, ZeroMatrix):
                continue
            scale, factors = chain(multiplied(Integer(1), [term]))
            sign, key = key_of(factors)
            coefficients[key] = coefficients.get(key, Integer(0)) + sign * scale
            written.setdefault(key, (sign, factors))
    kept = [multiplied(written[key][0] * scale, written[key][1]) for key, scale in coefficients.items() if scale != 0]
    if not kept:
        return ZeroMatrix(*parts[0].shape)
    return MatAdd(*kept) if len(kept) > 1 else kept[0]


def trace(value: MatrixExpr) -> Expr:
    """The trace, numbers in front; it is the entry of a 1 x 1 matrix."""
    if isinstance(value, ZeroMatrix):
        return Integer(0)
    if not isinstance(value, MatrixExpr):
        return value
    scale, factors = chain(value)
    if len(factors) == 1 and isinstance(factors[0], OneMatrix) and factors[0].shape == (1, 1):
        return scale
    ends = len(factors) == 3 and all(isinstance(end, OneMatrix) and 1 in end.shape for end in (factors[0], factors[2]))
    if ends and isinstance(factors[1], HadamardProduct) and len(factors[1].args) == 2:
        left, right = factors[1].args
        return trace(multiplied(scale, [transposed(left), right]))
    return scale * Trace(product(Integer(1), factors))


def entry_by_entry(parts: Iterable[MatrixExpr]) -> MatrixExpr:
    """The Hadamard product, numbers in front; a repeated column times a repeated row is their product."""
    scale, kept = Integer(1), []
    for part in parts:
        number, factors = chain(part)
        scale *= number
        kept.append(product(Integer(1), factors))
    kept = [part for part in kept if not isinstance(part, OneMatrix)] or kept[:1]
    columns = [part for part in kept if column_of(part) is not None and row_of(part) is None]
    rows = [part for part in kept if row_of(part) is not None and column_of(part) is None]
    if columns and rows:
        outer = product(Integer(1), [column_of(columns[0]), row_of(rows[0])])
        kept.remove(columns[0])
        kept.remove(rows[0])
        kept.append(outer)
    return product(scale, [kept[0] if len(kept) == 1 else HadamardProduct(*kept)])


def column_of(part: MatrixExpr) -> MatrixExpr | None:
    """c of c 1', a column that is repeated."""
    _, factors = chain(part)
    repeated = len(factors) > 1 and isinstance(factors[-1], OneMatrix) and factors[-1].shape[0] == 1
    return product(Integer(1), factors[:-1]) if repeated and factors[-1].shape[1] != 1 else None


def row_of(part: MatrixExpr) -> MatrixExpr | None:
    """r of 1 r, a row that is repeated."""
    _, factors = chain(part)
    repeated = len(factors) > 1 and isinstance(factors[0], OneMatrix) and factors[0].shape[1] == 1
    return product(Integer(1), factors[1:]) if repeated and factors[0].shape[0] != 1 else None


def without_ones(factors: list[MatrixExpr]) -> list[MatrixExpr]:
    """The factors of a product, with (A o 1 r) 1 as A r', and 1' (A o c 1') as c' A."""
    for place, factor in enumerate(factors):
        if not isinstance(factor, HadamardProduct):
            continue
        after = factors[place + 1] if place + 1 < len(factors) else None
        before = factors[place - 1] if place else None
        if isinstance(after, OneMatrix) and after.shape[1] == 1:
            taken = [part for part in factor.args if row_of(part) is not None]
            if taken:
                left = others(factor, taken[0])
                return [*factors[:place], left, transposed(row_of(taken[0])), *factors[place + 2 :]]
        if isinstance(before, OneMatrix) and before.shape[0] == 1:
            taken = [part for part in factor.args if column_of(part) is not None]
            if taken:
                right = others(factor, taken[0])
                return [*factors[: place - 1], transposed(column_of(taken[0])), right, *factors[place + 1 :]]
    return factors


def others(whole: HadamardProduct, part: MatrixExpr) -> MatrixExpr:
    rest = list(whole.args)
    rest.remove(part)
    return rest[0] if len(rest) == 1 else HadamardProduct(*rest)
