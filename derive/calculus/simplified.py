"""Closed forms as textbooks write them: numbers in front, equal terms as one, no ones where a product says it."""

from collections.abc import Iterable, Sequence
from functools import reduce
from itertools import pairwise

from sympy import (
    Add,
    DiagMatrix,
    DiagonalOf,
    Expr,
    HadamardPower,
    HadamardProduct,
    Identity,
    Integer,
    Inverse,
    Lambda,
    MatAdd,
    MatrixExpr,
    MatrixSymbol,
    Mul,
    OneMatrix,
    Trace,
    Transpose,
    ZeroMatrix,
    gcd,
)
from sympy.matrices.expressions.applyfunc import ElementwiseApplyFunction

from derive.calculus.alike import key, length, product_key, turned
from derive.programs import atom, bars, chain, flat_product

ScaledProduct = tuple[Expr, list[MatrixExpr]]
MOST_MULTIPLIED_OUT, LONGEST_MULTIPLIED_OUT = 6, 150  # terms and symbols of a sum that is tried in two forms


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
    number, kept = without_totals(without_inverses(without_ones(kept)))
    scale *= number
    for place, factor in enumerate(kept):
        if isinstance(factor, MatAdd) and len(kept) > 1:
            common, kept[place] = in_front(factor)
            scale *= common
        elif isinstance(factor, Transpose) and isinstance(factor.arg, MatAdd):
            common, inner = in_front(factor.arg)
            kept[place], scale = Transpose(inner), scale * common
    if scale.could_extract_minus_sign():
        for place, factor in enumerate(kept):
            if isinstance(factor, MatAdd) and len(kept) > 1 and mostly_negative(factor):
                scale, kept[place] = -scale, negated(factor)
                break
    return flat_product(scale, kept)


def mostly_negative(total: MatAdd) -> bool:
    negative = sum(chain(term)[0].could_extract_minus_sign() for term in total.args)
    return 2 * negative > len(total.args) or chain(total.args[0])[0].could_extract_minus_sign()


def in_front(total: MatAdd) -> tuple[Expr, MatrixExpr]:
    """What all terms of a sum have in common as a number, and the sum without it."""
    scales, parts = zip(*map(chain, total.args), strict=True)
    contents = [scale.as_content_primitive()[0] if scale.is_Add else scale.as_coeff_Mul()[0] for scale in scales]
    common = reduce(gcd, map(abs, contents)) if all(content.is_Rational for content in contents) else Integer(1)
    shared = set.intersection(
        *({factor for factor in Mul.make_args(scale) if not factor.is_Rational} for scale in scales)
    )
    common *= Mul(*shared)
    if all(scale.could_extract_minus_sign() for scale in scales):
        common = -common
    if common == 1:
        return common, total
    return common, MatAdd(*(flat_product(scale / common, inner) for scale, inner in zip(scales, parts, strict=True)))


def negated(total: MatAdd) -> MatAdd:
    return ordered([flat_product(-scale, inner) for scale, inner in map(chain, total.args)])


def ordered(terms: list[MatrixExpr]) -> MatrixExpr:
    """Their sum, what is subtracted last."""
    terms = sorted(terms, key=lambda term: chain(term)[0].could_extract_minus_sign())
    return MatAdd(*terms) if len(terms) > 1 else terms[0]


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
            found = shorter if length(shorter) < length(found) else found
    return found


def multiplied_out(terms: list[ScaledProduct]) -> list[ScaledProduct]:
    """The terms, those of a sum times one matrix or a number one by one, also entry by entry."""
    found: list[ScaledProduct] = []
    for scale, factors in terms:
        place = next((k for k, factor in enumerate(factors) if isinstance(factor, MatAdd)), None)
        if place is not None:
            parts = [[*factors[:place], part, *factors[place + 1 :]] for part in factors[place].args]
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
    for scale, factors in terms:
        if isinstance(factors[0], ZeroMatrix):
            continue
        number, alike = product_key(scale, factors)
        coefficients[alike] = coefficients.get(alike, Integer(0)) + number
        written.setdefault(alike, (scale / number, factors))
    kept = [(written[alike][0] * number, written[alike][1]) for alike, number in coefficients.items() if number != 0]
    found = [term for term in (multiplied(*term) for term in collected(kept)) if not isinstance(term, ZeroMatrix)]
    return ordered(found) if found else ZeroMatrix(*shape)


def collected(terms: list[ScaledProduct]) -> list[ScaledProduct]:
    """Fewer terms, where several begin or end alike, or have a part in common entry by entry."""
    for join in (with_same_start, with_same_end, with_same_part):
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
    if all(1 not in part.shape and isinstance(atom(part), MatrixSymbol) for part in end):
        return None
    unit = product_key(Integer(1), end)[0]
    rest = [
        multiplied(scale * product_key(Integer(1), factors[-count:])[0] / unit, factors[:-count])
        for scale, factors in group
    ]
    return replaced(terms, places, multiplied(Integer(1), [added(rest), *end]))


def symbolic(scale: Expr) -> Expr:
    """What is no rational number of a factor, up to its sign."""
    rest = scale.as_coeff_Mul()[1]
    return -rest if rest.could_extract_minus_sign() else rest


def with_same_part(terms: list[ScaledProduct]) -> list[ScaledProduct] | None:
    """A o B + A o C as A o (B + C)."""
    products = [factors[0] if len(factors) == 1 else None for _, factors in terms]
    for place, whole in enumerate(products):
        for part in whole.args if isinstance(whole, HadamardProduct) else ():
            shared = key(part)[1]
            places = [
                other
                for other, product_ in enumerate(products)
                if isinstance(product_, HadamardProduct) and any(key(p)[1] == shared for p in product_.args)
            ]
            if len(places) > 1 and places[0] == place:
                unit, rest = key(part)[0], []
                for scale, (inner,) in (terms[p] for p in places):
                    taken = next(p for p in inner.args if key(p)[1] == shared)
                    rest.append(multiplied(scale * key(taken)[0] / unit, [others(inner, taken)]))
                common, total = in_front_of(added(rest))
                return replaced(terms, places, flat_product(common, [HadamardProduct(part, total)]))
    return None


def in_front_of(matrix: MatrixExpr) -> tuple[Expr, MatrixExpr]:
    """A number and what it multiplies."""
    if isinstance(matrix, MatAdd):
        return in_front(matrix)
    scale, factors = chain(matrix)
    return scale, flat_product(Integer(1), factors)


def trace_of(value: MatrixExpr) -> Expr:
    """The trace, numbers in front; it is the entry of a 1 x 1 matrix."""
    if isinstance(value, ZeroMatrix):
        return Integer(0)
    if not isinstance(value, MatrixExpr):
        return value
    scale, factors = chain(value)
    if len(factors) == 1 and isinstance(factors[0], OneMatrix | Identity) and factors[0].shape == (1, 1):
        return scale
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
    scale, kept = Integer(1), []
    for part in parts:
        number, inner = in_front_of(part)
        scale *= number
        kept.append(inner)
    kept = [part for part in kept if not isinstance(part, OneMatrix)] or kept[:1]
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


def diagonal_of(square: MatrixExpr) -> MatrixExpr:
    """The diagonal as a column, of the matrix or of its transpose, whichever has fewer bars."""
    if column_of(square) is not None or row_of(square) is not None:
        return column_of(square) if column_of(square) is not None else turned(row_of(square))
    return DiagonalOf(min(square, turned(square), key=bars))


def without_inverses(factors: list[MatrixExpr]) -> list[MatrixExpr]:
    """The factors of a product without those that stand beside their inverse."""
    for place, (left, right) in enumerate(pairwise(factors)):
        if any(isinstance(one, Inverse) and one.arg == other for one, other in ((left, right), (right, left))):
            rest = [*factors[:place], *factors[place + 2 :]]
            return without_inverses(rest) if rest else [Identity(left.shape[0])]
    return factors


def others(whole: HadamardProduct, part: MatrixExpr) -> MatrixExpr:
    rest = list(whole.args)
    rest.remove(part)
    return rest[0] if len(rest) == 1 else HadamardProduct(*rest)
