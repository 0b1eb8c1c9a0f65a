"""Sums that SymPy wrote out entry by entry put together again, as in (x.T*A*x)[0, 0] of matrices with given sizes."""

from functools import lru_cache
from itertools import combinations

from sympy import Add, Basic, Dummy, Expr, MatrixExpr, MatrixSymbol, Sum, Symbol, log, sympify
from sympy.matrices.expressions.matexpr import MatrixElement

from derive.reading.contractions import as_contraction, as_determinant, is_written_out

MOST_SUMMED = 2000  # of a sum that is looked at
FEWEST_ENTRIES = 2  # of a loss in which sums are looked for
MatrixSide = tuple[MatrixSymbol, int]  # the rows (0) or the columns (1) of a matrix


def rolled(expr: Basic) -> Basic:
    """The same number with a Sum over an index wherever terms are what one term gives for each value of that index."""
    if len(fixed_entries(expr)) < FEWEST_ENTRIES:
        return expr
    return put_together(expr)


def fixed_entries(expr: Basic) -> set[MatrixElement]:
    """Its entries of given matrices, in a row or a column that is a number."""
    found = expr.atoms(MatrixElement)
    return {
        e
        for e in found
        if isinstance(e.parent, MatrixSymbol) and any(sympify(place).is_Integer for place in (e.i, e.j))
    }


def put_together(expr: Basic) -> Basic:
    if isinstance(expr, MatrixExpr | MatrixElement | Sum) or not expr.args:
        return expr
    if isinstance(expr, log) and (whole := as_determinant(expr.args[0])) is not None:
        return log(whole)  # a determinant alone stays a polynomial, whose slope is finite where it is 0, too
    parts = [put_together(part) for part in expr.args]
    if not isinstance(expr, Add):
        return expr.func(*parts)
    whole = with_sums(parts)
    if not is_written_out(whole):
        return whole
    done = [part for part in parts if not is_written_out(part)]
    left = [given for given, part in zip(expr.args, parts, strict=True) if part not in done]
    contraction = as_contraction(Add(*left))
    return whole if contraction is None else Add(contraction, *done)


def with_sums(terms: list[Expr]) -> Expr:
    """The sum of the terms, those that belong together as one Sum."""
    if len(terms) > MOST_SUMMED:
        return Add(*terms)
    left, done = list(dict.fromkeys(Add.make_args(Add(*terms)))), []
    index = index_at(1 + max(map(depth, left)))
    for term in left.copy():
        if term in left and (found := whole_sum(term, left, index)) is not None:
            whole, members = found
            done.append(whole)
            left = [other for other in left if other not in members]
    return with_sums([*left, *done]) if done else Add(*left)


def whole_sum(term: Expr, terms: list[Expr], index: Symbol) -> tuple[Sum, set[Expr]] | None:
    """The sum that begins with this term, and the terms that it is made of, if all of them are there."""
    axes = {axis for e in fixed_entries(term) for axis in axes_at_first(e)}
    known = set(terms)
    for size in sorted({int(matrix.shape[side]) for matrix, side in axes}, reverse=True):
        alike = sorted((axis for axis in axes if axis[0].shape[axis[1]] == size), key=str)
        for count in range(len(alike), 0, -1):
            for chosen in combinations(alike, count):
                general = term.xreplace({e: entry_along(e, chosen, index) for e in fixed_entries(term)})
                members = [general.xreplace({index: sympify(place)}) for place in range(size)]
                if len({*members}) == size and known.issuperset(members):
                    return Sum(general, (index, 0, size - 1)), {*members}
    return None


def axes_at_first(e: MatrixElement) -> list[MatrixSide]:
    """The axes along which it is the first, of those with more than one."""
    sides = enumerate(zip((e.i, e.j), e.parent.shape, strict=True))
    return [(e.parent, side) for side, (place, size) in sides if place == 0 and size.is_Integer and size > 1]


def entry_along(e: MatrixElement, axes: tuple[MatrixSide, ...], index: Symbol) -> MatrixElement:
    """The entry with the index in the place of the first along these axes."""
    places = [index if place == 0 and (e.parent, side) in axes else place for side, place in enumerate((e.i, e.j))]
    return MatrixElement(e.parent, *places)


def depth(expr: Basic) -> int:
    """How many sums stand in one another."""
    inside = max(map(depth, expr.args), default=0)
    return inside + isinstance(expr, Sum)


@lru_cache
def index_at(level: int) -> Symbol:
    return Dummy(f"k{level}", integer=True)
