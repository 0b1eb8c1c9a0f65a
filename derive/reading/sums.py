"""Sums over indices, as sums over matrices whose rows and columns are the indices."""

from dataclasses import dataclass

from sympy import (
    Add,
    Determinant,
    Dummy,
    Expr,
    Identity,
    Integer,
    KroneckerDelta,
    MatrixExpr,
    Mul,
    OneMatrix,
    Piecewise,
    Rational,
    Sum,
    Symbol,
    Trace,
    expand,
    sympify,
)
from sympy.matrices.expressions.matexpr import MatrixElement

from derive.programs import Arange, repeated, transposed
from derive.reading.reader import Reader

WITH_MATRICES = "write it with matrices: A*x, total(...), Trace(...)"
INDICES_TAKEN = "an index of an entry is one of the sum's, or that and a number"


@dataclass(frozen=True)
class SumIndex:
    """An index of a sum: its symbol, its least value, and how many it has."""

    symbol: Symbol
    low: Expr
    length: Expr


Indices = tuple[SumIndex, SumIndex]  # of the rows and of the columns
ONLY = SumIndex(Dummy(), Integer(0), Integer(1))


def read_sum(read: Reader, node: Sum) -> Expr:
    """A sum over entries as one over the matrix of its terms."""
    *inner, last = with_fixed_ends(node).limits
    body = with_fixed_ends(node).function
    columns = index_of(read, node, last)
    if inner:
        *inner, first = inner
        body = Sum(body, *inner) if inner else body
        rows, columns = index_of(read, node, first), columns
    else:
        rows, columns = columns, ONLY
    terms = matrix_of_terms(read, body, (rows, columns))
    return read.trace_of([OneMatrix(1, rows.length), terms, OneMatrix(columns.length, 1)])


def with_fixed_ends(node: Sum) -> Sum:
    """The sum with ends that are no other index: what is left out by such an end is 0 instead."""
    symbols, limits, kept = set(node.variables), [], []
    for place, (symbol, low, high) in enumerate(node.limits):
        outer = {s: ends for s, *ends in node.limits[place + 1 :]}
        if symbols & low.free_symbols:
            kept.append(symbol > low - Rational(1, 2))  # no point is on its edge
            low = min_of(low, outer, 0)
        if symbols & high.free_symbols:
            kept.append(symbol < high + Rational(1, 2))
            high = min_of(high, outer, 1)
        limits.append((symbol, low, high))
    function = node.function
    for condition in kept:
        function = Piecewise((function, condition), (0, True))
    return Sum(function, *limits) if kept else node


def min_of(end: Expr, outer: dict[Symbol, list[Expr]], side: int) -> Expr:
    """The farthest that an end i + c reaches, over the values of i."""
    return end.xreplace({symbol: ends[side] for symbol, ends in outer.items()})


def index_of(read: Reader, node: Sum, limit: tuple[Symbol, Expr, Expr]) -> SumIndex:
    symbol, low, high = limit
    if {symbol for symbol, *_ in node.limits} & (low.free_symbols | high.free_symbols):
        raise read.refuse(node, WITH_MATRICES)
    return SumIndex(symbol, low.xreplace(read.sizes), (high - low + 1).xreplace(read.sizes))


def matrix_of_terms(read: Reader, body: Expr, indices: Indices) -> MatrixExpr:
    """The matrix of the terms of a sum."""
    return read.entries(term(read, body, indices), shape_of_indices(indices))


def shape_of_indices(indices: Indices) -> tuple[Expr, Expr]:
    return indices[0].length, indices[1].length


def term(read: Reader, node: Expr, indices: Indices) -> Expr:
    """A term of a sum: the entries that it is made of are views of that shape, rows and columns its indices."""
    with read.at(node):
        if not {index.symbol for index in indices} & node.free_symbols:
            return read.scalar(node)
        if isinstance(node, MatrixElement):
            return of_entry(read, node, indices)
        if isinstance(node, Sum):
            return contracted(read, with_fixed_ends(node), indices)
        if isinstance(node, Symbol):
            return index_as_number(read, node, indices)
        if isinstance(node, KroneckerDelta):
            return delta(read, node, indices)
        if isinstance(node, Trace | Determinant):
            raise read.refuse(node, WITH_MATRICES)
        return node.func(*(term(read, argument, indices) for argument in node.args))


def index_as_number(read: Reader, symbol: Symbol, indices: Indices) -> Expr:
    """The index itself as a number."""
    axis = [index.symbol for index in indices].index(symbol)
    numbers = read.define(Arange(indices[axis].length))
    column = numbers if axis == 0 else transposed(numbers)
    return indices[axis].low + read.viewed(repeated(column, shape_of_indices(indices)))


def delta(read: Reader, node: KroneckerDelta, indices: Indices) -> Expr:
    """1 where two indices are the same."""
    rows, columns = indices
    if {*node.args[:2]} == {rows.symbol, columns.symbol} and rows.low == columns.low and rows.length == columns.length:
        return read.viewed(Identity(rows.length))
    apart = term(read, node.args[0] - node.args[1], indices)
    return Piecewise((1, apart**2 < Rational(1, 4)), (0, True))


def contracted(read: Reader, node: Sum, indices: Indices) -> Expr:
    """A sum inside a sum, as the product of a matrix over its first index and one over its second."""
    (k, *_), *others = node.limits
    body = Sum(node.function, *others) if others else node.function
    inner, (rows, columns) = index_of(read, node, node.limits[0]), indices
    (i, j), shape, factors = (index.symbol for index in indices), shape_of_indices(indices), Mul.make_args(body)
    outside = Mul(*(factor for factor in factors if not factor.has(k)))
    left = Mul(*(factor for factor in factors if factor.has(k) and not factor.has(j)))
    right = Mul(*(factor for factor in factors if factor.has(k) and factor.has(j)))
    if right.has(i):
        terms = Add.make_args(expand(body))
        if len(terms) == 1:
            raise read.refuse(node, WITH_MATRICES)
        return Add(*(contracted(read, Sum(part, node.limits[0]), indices) for part in terms))
    ones = OneMatrix(inner.length, 1)
    if right == 1:
        view = repeated(read.multiplied([matrix_of_terms(read, left, (rows, inner)), ones]), shape)
    elif left.has(i):
        L = matrix_of_terms(read, left, (rows, inner))
        view = read.multiplied([L, matrix_of_terms(read, right, (inner, columns))])
    else:
        R = matrix_of_terms(read, left * right, (inner, columns))
        view = repeated(read.multiplied([transposed(ones), R]), shape)
    return term(read, outside, indices) * read.viewed(view)


def of_entry(read: Reader, node: MatrixElement, indices: Indices) -> Expr:
    matrix = read.matrix(node.parent)
    place: list[int | None] = []
    whole = [(Integer(0), length, Integer(1)) for length in matrix.shape]
    cut = list(whole)
    for axis, at in enumerate((node.i, node.j)):
        at, size = sympify(at), matrix.shape[axis]
        along = [number for number, index in enumerate(indices) if index.symbol in at.free_symbols]
        if not along:
            start = at.xreplace(read.sizes)
            ends = start, start + 1
        else:
            index = indices[along[0]]
            start = (at - index.symbol + index.low).xreplace(read.sizes)
            ends = start, start + index.length
            if len(along) > 1 or start.free_symbols - set(read.sizes.values()):
                raise read.refuse(node, INDICES_TAKEN)
        if ends[0].is_negative or (ends[1] != size and (ends[1] - size).is_nonnegative):
            raise read.refuse(node, f"the index runs from {ends[0]} to {ends[1] - 1}, and the last one is {size - 1}")
        if (ends[1] - ends[0]).is_nonpositive:
            raise read.refuse(node, f"a sum from {ends[0]} to {ends[1] - 1} has no terms")
        place.append(along[0] if along else None)
        if ends != (0, size):
            cut[axis] = (*ends, Integer(1))
    matrix = read.sliced(matrix, *cut) if cut != whole else matrix
    if place == [0, 0] or place == [1, 1]:
        matrix = read.multiplied([read.entries(*read.on_diagonal(matrix)), OneMatrix(matrix.shape[0], 1)])
        place = [place[0], None]
    if place in ([1, 0], [1, None], [None, 0]):
        matrix = transposed(matrix)
    return read.viewed(repeated(matrix, shape_of_indices(indices)))
