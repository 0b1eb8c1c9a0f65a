"""Sums over indices, as sums over matrices whose rows and columns are the indices."""

from collections.abc import Iterable

from sympy import Determinant, Dummy, Expr, Integer, MatrixExpr, Mul, OneMatrix, Sum, Symbol, Trace, sympify
from sympy.matrices.expressions.matexpr import MatrixElement

from derive.operations import Shape
from derive.programs import repeated, transposed
from derive.reading.reader import Reader

Indices = tuple[Symbol, Symbol]
WITH_MATRICES = "write it with matrices: A*x, total(...), Trace(...)"
WHOLE_AXIS = "each index of a Sum runs over a whole row or column"


def summed(read: Reader, node: Sum) -> Expr:
    """A sum over entries as one over the matrix of its terms."""
    *inner, second = node.limits
    if inner:
        *inner, first = inner
        body = Sum(node.function, *inner) if inner else node.function
        indices, shape = (first[0], second[0]), lengths(read, node, [first, second])
    else:
        body, indices, shape = node.function, (second[0], Dummy()), (*lengths(read, node, [second]), Integer(1))
    return read.trace_of([OneMatrix(1, shape[0]), matrix_of_terms(read, body, indices, shape), OneMatrix(shape[1], 1)])


def lengths(read: Reader, node: Sum, limits: Iterable[tuple[Symbol, Expr, Expr]]) -> tuple[Expr, ...]:
    if any(low != 0 for _, low, _ in limits):
        raise read.refuse(node, "a sum runs from 0 to the size minus 1; total(...) and Trace are sums")
    return tuple((high + 1).xreplace(read.sizes) for _, _, high in limits)


def matrix_of_terms(read: Reader, body: Expr, indices: Indices, shape: Shape) -> MatrixExpr:
    """The matrix of the terms of a sum."""
    return read.entries(term(read, body, indices, shape), shape)


def term(read: Reader, node: Expr, indices: Indices, shape: Shape) -> Expr:
    """A term of a sum: the entries that it is made of are views of that shape, rows and columns its indices."""
    with read.at(node):
        if not set(indices) & node.free_symbols:
            return read.scalar(node)
        if isinstance(node, MatrixElement):
            return of_entry(read, node, indices, shape)
        if isinstance(node, Sum):
            return contracted(read, node, indices, shape)
        if isinstance(node, Symbol | Trace | Determinant):
            raise read.refuse(node, WITH_MATRICES)
        return node.func(*(term(read, argument, indices, shape) for argument in node.args))


def contracted(read: Reader, node: Sum, indices: Indices, shape: Shape) -> Expr:
    """A sum inside a sum, as the product of a matrix over its first index and one over its second."""
    (k, *_), *others = node.limits
    body = Sum(node.function, *others) if others else node.function
    (length,) = lengths(read, node, [node.limits[0]])
    (i, j), (rows, columns), factors = indices, shape, Mul.make_args(body)
    outside = Mul(*(factor for factor in factors if not factor.has(k)))
    left = Mul(*(factor for factor in factors if factor.has(k) and not factor.has(j)))
    right = Mul(*(factor for factor in factors if factor.has(k) and factor.has(j)))
    if right.has(i):
        raise read.refuse(node, WITH_MATRICES)
    if right == 1:
        L = matrix_of_terms(read, left, (i, k), (rows, length))
        view = repeated(read.multiplied([L, OneMatrix(length, 1)]), shape)
    elif left.has(i):
        L = matrix_of_terms(read, left, (i, k), (rows, length))
        view = read.multiplied([L, matrix_of_terms(read, right, (k, j), (length, columns))])
    else:
        R = matrix_of_terms(read, left * right, (k, j), (length, columns))
        view = repeated(read.multiplied([OneMatrix(1, length), R]), shape)
    return term(read, outside, indices, shape) * read.viewed(view)


def of_entry(read: Reader, node: MatrixElement, indices: Indices, shape: Shape) -> Expr:
    matrix = read.matrix(node.parent)
    place: list[int | None] = []
    for axis, index in enumerate((node.i, node.j)):
        if index in indices:
            place.append(along := indices.index(index))
            if matrix.shape[axis] != shape[along]:
                raise read.refuse(node, WHOLE_AXIS)
        elif set(indices) & sympify(index).free_symbols:
            raise read.refuse(node, WHOLE_AXIS)
        else:
            place.append(None)
            if matrix.shape[axis] != 1:
                i = sympify(index).xreplace(read.sizes)
                whole = [(Integer(0), size, Integer(1)) for size in matrix.shape]
                whole[axis] = (i, i + 1, Integer(1))
                matrix = read.sliced(matrix, *whole)
    if place == [0, 0] or place == [1, 1]:
        matrix = read.multiplied([read.entries(*read.on_diagonal(matrix)), OneMatrix(matrix.shape[0], 1)])
        place = [place[0], None]
    if place in ([1, 0], [1, None], [None, 0]):
        matrix = transposed(matrix)
    return read.viewed(repeated(matrix, shape))
