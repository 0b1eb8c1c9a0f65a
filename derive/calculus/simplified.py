"""Closed forms as textbooks write them: numbers in front, equal terms as one, no ones where a product says it."""

import operator
from collections.abc import Iterable, Sequence
from functools import lru_cache, reduce
from itertools import pairwise

from sympy import (
    Add,
    DiagonalOf,
    Expr,
    HadamardPower,
    HadamardProduct,
    Identity,
    Integer,
    Inverse,
    Lambda,
    MatAdd,
    MatPow,
    MatrixBase,
    MatrixExpr,
    MatrixSymbol,
    Mul,
    OneMatrix,
    Trace,
    Transpose,
    ZeroMatrix,
    powsimp,
)
from sympy.matrices.expressions.applyfunc import ElementwiseApplyFunction

from derive.calculus.alike import barred, key, length, product_key, turned
from derive.calculus.fronts import in_front, in_front_of, mostly_negative, negated, ordered, over_one_line
from derive.calculus.ones import (
    entry_by_entry,
    in_a_row,
    others,
    sideways,
    without_inverses,
    without_ones,
    without_softmax,
)
from derive.programs import RowSoftmax, bars, chain, flat_product

ScaledProduct = tuple[Expr, list[MatrixExpr]]
MOST_MULTIPLIED_OUT, LONGEST_MULTIPLIED_OUT = 6, 150  # terms and symbols of a sum that is tried in two forms
SIGN = 1  # of the length: a minus that is in a bracket or before it


def multiplied(scale: Expr, factors: Iterable[Expr]) -> MatrixExpr:
    """The product, with what sums have in common in front of it, and sums of rows as products where they are."""
    kept: list[MatrixExpr] = []
    for factor in factors:
        if not isinstance(factor, MatrixExpr) and not hasattr(factor, "shape"):
            scale *= factor
            continue
        number, inner = chain(factor)
        scale *= number
        kept += inner
    number, kept = summed_up(without_softmax(without_inverses(without_ones(kept))))
    rest, kept = without_totals(kept)
    scale *= number * rest
    for place, factor in enumerate(kept):
        if isinstance(factor, MatAdd) and (len(kept) > 1 or not scale.is_Rational):
            common, kept[place] = in_front(factor)
            scale *= common
        elif isinstance(factor, Transpose) and isinstance(factor.arg, MatAdd):
            common, inner = in_front(factor.arg)
            kept[place], scale = Transpose(inner), scale * common
    if any(part.is_Pow and not part.exp.is_number for part in Mul.make_args(scale)):
        scale = powsimp(scale, combine="exp")
    scale = over_one_line(scale)
    if scale.could_extract_minus_sign():
        for place, factor in enumerate(kept):
            if isinstance(factor, MatAdd) and len(kept) > 1 and mostly_negative(factor):
                scale, kept[place] = -scale, negated(factor)
                break
    return flat_product(scale, kept)


def summed_up(factors: list[MatrixExpr]) -> ScaledProduct:
    """A product, with a sum beside ones term by term where ones make a number of one, and projections once."""
    factors = without_projections(factors)
    for place, (left, right) in enumerate(pairwise(factors)):
        behind = isinstance(right, OneMatrix)
        total, ones = (left, right) if behind else (right, left)
        if not (isinstance(total, MatAdd) and isinstance(ones, OneMatrix)) or ones.shape[0 if behind else 1] == 1:
            continue
        ends = [chain(term)[1][-1] if behind else turned(chain(term)[1][0]) for term in total.args]
        if not any(isinstance(end, OneMatrix | RowSoftmax) for end in ends):
            continue
        column, row = OneMatrix(ones.shape[0], 1), OneMatrix(1, ones.shape[1])
        parts = [multiplied(Integer(1), [term, column] if behind else [row, term]) for term in total.args]
        whole = added(list(map(trace_of, parts)) if tuple(parts[0].shape) == (1, 1) else parts)
        before = flat_product(Integer(1), [total, column] if behind else [row, total])
        if any(isinstance(end, RowSoftmax) for end in ends) or length(whole) < length(before):
            number, whole = (Integer(1), whole) if isinstance(whole, MatrixExpr) else (whole, OneMatrix(1, 1))
            done = [part for part in ([whole, row] if behind else [column, whole]) if part != OneMatrix(1, 1)]
            rest = [*factors[:place], *done, *factors[place + 2 :]] or [Identity(1)]
            return chain(multiplied(number, rest))
    return Integer(1), factors


def without_projections(factors: list[MatrixExpr]) -> list[MatrixExpr]:
    """The factors of a product, each that is its own square once."""
    found: list[MatrixExpr] = []
    for factor in factors:
        power = isinstance(factor, MatPow) and not isinstance(factor, Inverse) and factor.exp.is_positive
        matrix = factor.base if power else factor
        if not is_projection(matrix):
            found.append(factor)
        elif not found or found[-1] != matrix:
            found.append(matrix)
    return found


@lru_cache
def is_projection(matrix: MatrixExpr) -> bool:
    """Whether it is I - 1 1'/n, or another sum of these two that is its own square."""
    parts = [chain(term)[1] for term in matrix.args] if isinstance(matrix, MatAdd) else []
    if len(parts) != 2 or not all(len(inner) == 1 and isinstance(inner[0], Identity | OneMatrix) for inner in parts):
        return False
    square = [multiplied(Integer(1), [left, right]) for left in matrix.args for right in matrix.args]
    return key(added(square)) == key(matrix)


def added(parts: list[MatrixExpr]) -> MatrixExpr:
    """The sum, with equal terms as one, and what terms have in common before or behind a bracket; of numbers one."""
    if not all(isinstance(part, MatrixExpr) for part in parts):
        return Add(*map(trace_of, parts))
    terms = [chain(multiplied(Integer(1), [term])) for part in parts for term in MatAdd.make_args(part)]
    found = sum_of_terms(terms, parts[0].shape)
    if len(terms) <= MOST_MULTIPLIED_OUT and length(found) <= LONGEST_MULTIPLIED_OUT:
        other = multiplied_out(terms)
        if len(terms) < len(other) <= 2 * MOST_MULTIPLIED_OUT:
            shorter = sum_of_terms(other, parts[0].shape)
            found = shorter if length(shorter) + SIGN < length(found) else found
    return found


def multiplied_out(terms: list[ScaledProduct]) -> list[ScaledProduct]:
    """The terms, those of a sum times one matrix or a number one by one, also entry by entry."""
    found: list[ScaledProduct] = []
    for scale, factors in terms:
        place = next((k for k, factor in enumerate(factors) if isinstance(factor, MatAdd)), None)
        if place is not None:
            parts = [[*factors[:place], part, *factors[place + 1 :]] for part in factors[place].args]
        elif len(factors) == 1 and isinstance(factors[0], Transpose) and isinstance(factors[0].arg, MatAdd):
            parts = [[barred(part)] for part in factors[0].arg.args]
        elif len(factors) == 1 and isinstance(factors[0], HadamardProduct):
            parts = [[part] for part in one_by_one(factors[0])]
        else:
            parts = [factors]
        found += [chain(multiplied(scale, part)) for part in parts]
    return found


def one_by_one(whole: HadamardProduct) -> list[MatrixExpr]:
    """Products entry by entry whose sum it is."""
    for part in whole.args:
        summands: list[MatrixExpr] = list(part.args) if isinstance(part, MatAdd) else []
        if isinstance(part, ElementwiseApplyFunction) and part.function.expr.is_Add:
            variables = part.function.variables
            number, rest = part.function.expr.as_independent(*variables)
            scale, function = rest.as_coeff_Mul()
            ones = flat_product(number, [OneMatrix(*part.shape)])
            summands = [ones, flat_product(scale, [part.expr.applyfunc(Lambda(variables, function))])] if number else []
        if summands:
            return [entry_by_entry([others(whole, part), summand]) for summand in summands]
    return [whole]


def sum_of_terms(terms: list[ScaledProduct], shape: tuple[Expr, Expr]) -> MatrixExpr:
    """The sum of terms, with equal ones as one and in brackets what several have in common."""
    coefficients: dict[object, Expr] = {}
    written: dict[object, ScaledProduct] = {}
    written_out: list[MatrixBase] = []
    for scale, factors in terms:
        if isinstance(factors[0], ZeroMatrix):
            continue
        if len(factors) == 1 and isinstance(factors[0], MatrixBase):
            written_out.append(scale * factors[0])
            continue
        number, alike = product_key(scale, factors)
        coefficients[alike] = coefficients.get(alike, Integer(0)) + number
        written.setdefault(alike, (product_key(Integer(1), factors)[0], factors))
    kept = [(number / written[alike][0], written[alike][1]) for alike, number in coefficients.items() if number != 0]
    kept += [(Integer(1), [reduce(operator.add, written_out)])] if written_out else []
    found = [term for term in (multiplied(*term) for term in collected(kept)) if not isinstance(term, ZeroMatrix)]
    return ordered(found) if found else ZeroMatrix(*shape)


def collected(terms: list[ScaledProduct]) -> list[ScaledProduct]:
    """Fewer terms, where several begin or end alike, or have a part in common entry by entry."""
    for join in (with_same_start, with_same_end, with_identity, with_same_part):
        joined = join(terms)
        if joined is not None:
            return collected(joined)
    return terms


def alike_by(keys: Sequence[object]) -> list[int]:
    """The places of the first key that stands at several."""
    for wanted in keys:
        places = [place for place, other in enumerate(keys) if other == wanted and wanted is not None]
        if len(places) > 1:
            return places
    return []


def replaced(terms: list[ScaledProduct], places: list[int], joined: MatrixExpr) -> list[ScaledProduct]:
    """The terms, with those at the places as one where the first was."""
    return [
        chain(joined) if place == places[0] else term for place, term in enumerate(terms) if place not in places[1:]
    ]


def with_same_start(terms: list[ScaledProduct]) -> list[ScaledProduct] | None:
    for count in range(max((len(factors) for _, factors in terms), default=1) - 1, 0, -1):
        keys = [product_key(Integer(1), factors[:count])[1] if len(factors) > count else None for _, factors in terms]
        if places := alike_by(keys):
            start, rest = terms[places[0]][1][:count], []
            unit = product_key(Integer(1), start)[0]
            for scale, factors in (terms[place] for place in places):
                rest.append(multiplied(scale * product_key(Integer(1), factors[:count])[0] / unit, factors[count:]))
            return replaced(terms, places, multiplied(Integer(1), [*start, added(rest)]))
    return None


def with_same_end(terms: list[ScaledProduct]) -> list[ScaledProduct] | None:
    """Only where the end is more than square matrices: S X + T X is how it is written, and (S + T) x."""
    keys = [(key(factors[-1])[1], symbolic(scale)) if len(factors) > 1 else None for scale, factors in terms]
    if not (places := alike_by(keys)):
        return None
    group = [terms[place] for place in places]
    count = 1
    while all(len(factors) > count + 1 for _, factors in group):
        if len({key(factors[-1 - count])[1] for _, factors in group}) > 1:
            break
        count += 1
    end = group[0][1][-count:]
    bare = all(1 not in part.shape and isinstance(part, MatrixSymbol | Transpose) for part in end)
    if bare and not are_transposes([factors[:-count] for _, factors in group]):
        return None
    unit = product_key(Integer(1), end)[0]
    rest = [
        multiplied(scale * product_key(Integer(1), factors[-count:])[0] / unit, factors[:-count])
        for scale, factors in group
    ]
    return replaced(terms, places, multiplied(Integer(1), [added(rest), *end]))


def are_transposes(starts: list[list[MatrixExpr]]) -> bool:
    """Whether one product with a sum in it is the transpose of the other: (S + S') X is how it is written."""
    if len(starts) != 2 or not all(flat_product(Integer(1), start).has(MatAdd) for start in starts):
        return False
    one, other = (flat_product(Integer(1), start) for start in starts)
    return key(turned(one))[1] == key(other)[1]


def with_identity(terms: list[ScaledProduct]) -> list[ScaledProduct] | None:
    """P X - X as (P - I) X, where P is softmax."""
    for place, (scale, factors) in enumerate(terms):
        for other, (number, whole) in enumerate(terms):
            if other == place or len(factors) != 1 or len(whole) != 2 or symbolic(scale) != symbolic(number):
                continue
            parts = [part.arg if isinstance(part, Transpose) else part for part in MatAdd.make_args(whole[0])]
            if key(whole[1])[1] == key(factors[0])[1] and all(isinstance(part, RowSoftmax) for part in parts):
                unit = key(factors[0])[0] / key(whole[1])[0]
                rest = added([multiplied(number, whole[:1]), multiplied(scale * unit, [Identity(whole[0].shape[0])])])
                return replaced(terms, sorted((place, other)), multiplied(Integer(1), [rest, whole[1]]))
    return None


def symbolic(scale: Expr) -> Expr:
    """What is no rational number of a factor, up to its sign."""
    rest = scale.as_coeff_Mul()[1]
    return -rest if rest.could_extract_minus_sign() else rest


def with_same_part(terms: list[ScaledProduct]) -> list[ScaledProduct] | None:
    """A o B + A o C as A o (B + C)."""
    singles = {place: factors[0] for place, (_, factors) in enumerate(terms) if len(factors) == 1}
    products = {place: single for place, single in singles.items() if isinstance(single, HadamardProduct)}
    for place, whole in products.items():
        with_ones = any(isinstance(p, MatAdd) and any(isinstance(t, OneMatrix) for t in p.args) for p in whole.args)
        for part in whole.args:
            shared = key(part)[1]
            places = [p for p, other in products.items() if any(key(factor)[1] == shared for factor in other.args)]
            if with_ones:
                places += [other for other, single in singles.items() if key(single)[1] == shared]
            if len(places) > 1 and places[0] == place:
                unit, rest = key(part)[0], []
                for scale, (inner,) in (terms[p] for p in places):
                    taken = next((p for p in inner.args if key(p)[1] == shared), inner)
                    left = OneMatrix(*part.shape) if taken == inner else others(inner, taken)
                    rest.append(multiplied(scale * key(taken)[0] / unit, [left]))
                common, total = in_front_of(added(rest))
                return replaced(terms, places, flat_product(common, [HadamardProduct(part, total)]))
    return None


def trace_of(value: MatrixExpr) -> Expr:
    """The trace, numbers in front; it is the entry of a 1 x 1 matrix."""
    if isinstance(value, ZeroMatrix):
        return Integer(0)
    if not isinstance(value, MatrixExpr):
        return value
    scale, factors = chain(value)
    if len(factors) == 1 and isinstance(factors[0], OneMatrix | Identity) and factors[0].shape == (1, 1):
        return scale
    for place, factor in enumerate(factors[:-1], 1):
        if factor.shape[1] == 1 != factors[0].shape[0]:  # the trace of x y' is y' x
            return trace_of(flat_product(scale, [*factors[place:], *factors[:place]]))
    for place, factor in enumerate(factors[:-1]):
        if factor.shape[1] == 1 == factors[0].shape[0]:  # a number times a number
            return (
                scale
                * trace_of(flat_product(Integer(1), factors[: place + 1]))
                * trace_of(flat_product(Integer(1), factors[place + 1 :]))
            )
    inner = [factor for factor in factors if not (isinstance(factor, OneMatrix) and 1 in factor.shape)]
    ends = len(inner) == 1 and len(factors) == 1 + sum(side != 1 for side in inner[0].shape)
    if ends and isinstance(inner[0], DiagonalOf):
        return trace_of(multiplied(scale, [inner[0].arg]))
    if ends and isinstance(inner[0], HadamardPower) and inner[0].exp == 2:
        return trace_of(multiplied(scale, in_a_row(inner[0].base, inner[0].base)))
    if ends and isinstance(inner[0], HadamardProduct) and len(inner[0].args) == 2:
        return trace_of(multiplied(scale, in_a_row(*inner[0].args)))
    return scale * Trace(min(flat_product(Integer(1), factors), sideways(factors), key=bars))


def without_totals(factors: list[MatrixExpr]) -> tuple[Expr, list[MatrixExpr]]:
    """The factors of a product without the numbers that sums in it are, and these."""
    for start, first in enumerate(factors):
        for end in range(start + 1, len(factors)):
            run = factors[start : end + 1]
            whole = len(run) == len(factors)
            if (
                first.shape[0] == 1 == run[-1].shape[1]
                and not whole
                and any(isinstance(run[k], OneMatrix) for k in (0, -1))
            ):
                number, rest = without_totals([*factors[:start], *factors[end + 1 :]])
                return number * trace_of(flat_product(Integer(1), run)), rest
    return Integer(1), factors
