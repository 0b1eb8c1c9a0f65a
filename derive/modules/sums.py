"""Sums and products of entries, and what is largest of them, by their definitions."""

from collections.abc import Callable, Sequence
from functools import cache, partial, reduce, wraps
from operator import mul
from typing import Any

import numpy
from sympy import Expr, Symbol

from derive.modules.entries import (
    Array,
    ArrayEntry,
    ByDefinition,
    each,
    entries_sum,
    exp,
    floats,
    inner,
    is_float,
    is_larger,
    lifted,
    log,
    root_of,
)
from derive.modules.refusal import Refused

LARGEST_WITH_MINORS = 5  # rows of a matrix of which minors are taken
Dims = int | Sequence[int] | None


def along_axes(function: Callable[[list[Any]], Any], x: Array, dim: Dims = None, keepdim: bool = False) -> Array:
    """The function of the entries along some axes, all of them where none is named."""
    x = floats(x)
    dims = range(x.ndim) if dim is None or dim == () else [dim] if isinstance(dim, int) else dim
    gone = {d % x.ndim for d in dims} if x.ndim else set()
    kept = [d for d in range(x.ndim) if d not in gone]
    rows = numpy.transpose(x, (*kept, *sorted(gone))).reshape(*(x.shape[d] for d in kept), -1)
    found = numpy.empty(rows.shape[:-1], dtype=object)
    for place in numpy.ndindex(*found.shape):
        found[place] = function(list(rows[place]))
    return found.reshape([1 if d in gone else x.shape[d] for d in range(x.ndim)]) if keepdim else found


def each_line(function: Callable[[list[ArrayEntry]], list[Any]], x: Array, dim: int) -> Array:
    """The function of each line of entries along one axis, which has as many."""
    lines = numpy.moveaxis(floats(x), dim, -1) if x.ndim else floats(x).reshape(1)
    found = numpy.empty(lines.shape, dtype=object)
    for place in numpy.ndindex(*lines.shape[:-1]):
        found[place] = function(list(lines[place]))
    return numpy.moveaxis(found, -1, dim) if x.ndim else found.reshape(())


def summed(x: Array, dim: Dims = None, keepdim: bool = False) -> Array:
    if not is_float(x):
        axes = None if dim is None or dim == () else dim if isinstance(dim, int) else tuple(dim)
        return numpy.asarray(numpy.sum(x, axis=axes, keepdims=keepdim))
    return along_axes(entries_sum, x, dim, keepdim)


def mean_of(entries: list[ArrayEntry]) -> ArrayEntry:
    return entries_sum(entries) / len(entries)


def variance_of(entries: list[ArrayEntry], correction: int = 0) -> ArrayEntry:
    """The mean of squares of what differs from the mean, or their sum over n - correction."""
    middle = mean_of(entries)
    return entries_sum((entry - middle) ** 2 for entry in entries) / (len(entries) - correction)


def var(x: Array, dim: Dims = None, correction: Any = None, keepdim: bool = False, unbiased: bool = True) -> Array:
    less = int(unbiased if correction is None else correction)
    return along_axes(lambda entries: variance_of(entries, less), x, dim, keepdim)


@wraps(var)
def deviation(*given: Any, **named: Any) -> Array:
    return each(root_of, var(*given, **named))


def product_of_entries(entries: list[Any]) -> Any:
    return reduce(mul, entries)


def accumulated_along(of: Callable[[list[ArrayEntry]], ArrayEntry], x: Array, dim: int) -> Array:
    """What a function is of the entries of each line up to each of them."""
    return each_line(lambda line: [of(line[: place + 1]) for place in range(len(line))], x, dim)


def sorted_of(x: Array, dim: int, descending: bool, count: int | None = None) -> tuple[Array, Array]:
    """The largest, or the smallest, of each line in order, and their places."""

    def order(line: list[ArrayEntry]) -> list[int]:
        left, found = list(range(len(line))), []
        while left:
            found.append(left.pop(most([line[place] for place in left], 1 if descending else -1)))
        return found

    kept = range(x.shape[dim] if count is None else count)
    places = numpy.take(each_line(order, x, dim), kept, dim).astype(numpy.int64)
    return numpy.take_along_axis(floats(x), places, dim), places


def det(x: Array) -> Array:
    """By minors of the first row."""

    def of_matrix(matrix: Array) -> ArrayEntry:
        if len(matrix) == 1:
            return matrix[0, 0]
        minors = (of_matrix(numpy.delete(matrix[1:], column, 1)) for column in range(len(matrix)))
        return entries_sum((-1) ** column * matrix[0, column] * minor for column, minor in enumerate(minors))

    if x.shape[-1] > LARGEST_WITH_MINORS:
        raise Refused(f"a matrix with {x.shape[-1]} rows")
    found = numpy.empty(x.shape[:-2], dtype=object)
    for place in numpy.ndindex(*found.shape):
        found[place] = of_matrix(x[place])
    return found


def inverse(x: Array) -> Array:
    """Cofactors over the determinant."""
    n, whole = x.shape[-1], det(x)
    found = numpy.empty(x.shape, dtype=object)
    for i, j in numpy.ndindex(n, n):
        minor = numpy.delete(numpy.delete(x, j, -2), i, -1)
        found[..., i, j] = (-1) ** (i + j) * (det(minor) if n > 1 else lifted(1)) / whole
    return found


def most(entries: list[ArrayEntry], sign: int = 1) -> int:
    """Where the largest is, the first of those that are equal; with sign -1 the smallest."""
    best = 0
    for place, entry in enumerate(entries):
        if is_larger(sign * entry, sign * entries[best]):
            best = place
    return best


def extremes(sign: int, x: Array, dim: Dims = None, keepdim: bool = False) -> Array:
    def extreme(entries: list[ArrayEntry]) -> ArrayEntry:
        open_ones = any(isinstance(entry, Expr) for entry in entries)
        return extreme_of(sign, *entries) if open_ones else entries[most(entries, sign)]

    return along_axes(extreme, x, dim, keepdim)


class Extreme(Symbol):
    """Of symbols any number, the same for the same entries: what holds whichever it is, holds for the largest."""


@cache
def extreme_of(sign: int, *entries: ArrayEntry) -> Extreme:
    return Extreme(f"extreme of {extreme_of.cache_info().misses}", real=True)


def with_place(sign: int, x: Array, dim: int, keepdim: bool = False) -> tuple[Array, Array]:
    return extremes(sign, x, dim, keepdim), place_of_largest(sign, x, dim, keepdim)


def place_of_largest(sign: int, x: Array, dim: Dims = None, keepdim: bool = False) -> Array:
    return along_axes(lambda entries: most(entries, sign), x, dim, keepdim).astype(numpy.int64)


def softmax_of(entries: list[ArrayEntry]) -> list[ArrayEntry]:
    powers = [exp(entry) for entry in entries]
    return [power / entries_sum(powers) for power in powers]


def logsumexp_of(entries: list[ArrayEntry]) -> ArrayEntry:
    return log(entries_sum(map(exp, entries)))


def log_softmax(x: Array, dim: int) -> Array:
    return each_line(lambda line: [entry - logsumexp_of(line) for entry in line], x, dim)


def length_of(entries: list[ArrayEntry]) -> ArrayEntry:
    return root_of(entries_sum(entry * entry for entry in entries))


def norm(x: Array, ord: Any = 2, dim: Dims = None, keepdim: bool = False) -> Array:
    if ord not in (None, 2):
        raise Refused(f"a norm with p={ord}")
    return along_axes(length_of, x, dim, keepdim)


def matmul(x: Array, other: Array) -> Array:
    """Products of rows and columns; axes before the last two are repeated as torch repeats them."""
    left, right = floats(x), floats(other)
    first, second = left.ndim == 1, right.ndim == 1
    left, right = left[None] if first else left, right[:, None] if second else right
    stack = numpy.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    left = numpy.broadcast_to(left, (*stack, *left.shape[-2:]))
    right = numpy.broadcast_to(right, (*stack, *right.shape[-2:]))
    found = numpy.empty((*stack, left.shape[-2], right.shape[-1]), dtype=object)
    for *place, i, j in numpy.ndindex(*found.shape):
        found[(*place, i, j)] = inner(left[(*place, i)], right[(*place, slice(None), j)])
    found = found[..., 0, :] if first else found
    return found[..., 0] if second else found


def linear(input: Array, weight: Array, bias: Array | None = None) -> Array:
    found = matmul(input, numpy.swapaxes(weight, -1, -2))
    return found if bias is None else found + bias


def addmm(x: Array, mat1: Array, mat2: Array, beta: Any = 1, alpha: Any = 1) -> Array:
    return floats(x) * lifted(beta) + matmul(mat1, mat2) * lifted(alpha)


def outer(x: Array, vec2: Array) -> Array:
    return floats(x)[:, None] * floats(vec2)[None, :]


def einsum(equation: str, tensors: Sequence[Array]) -> Array:
    """Sums of products over the letters that the result has not; ... stands for all axes that have no letter."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    dots = "..." if arrow and "..." in left and "..." not in right else ""  # which torch sums over, and numpy does not
    found = numpy.einsum(f"{left}{arrow}{dots}{right}", *map(floats, tensors), optimize=False)
    return (
        along_axes(entries_sum, found, range(found.ndim - len(right))) if dots else numpy.asarray(found, dtype=object)
    )


SUM_OPERATIONS: dict[str, ByDefinition] = {
    "addmm": addmm,
    "amax": partial(extremes, 1),
    "amin": partial(extremes, -1),
    "argmax": partial(place_of_largest, 1),
    "argmin": partial(place_of_largest, -1),
    "baddbmm": lambda x, batch1, batch2, beta=1, alpha=1: addmm(x, batch1, batch2, beta, alpha),
    **dict.fromkeys(("bmm", "mm"), lambda x, mat2: matmul(x, mat2)),
    "cumprod": partial(accumulated_along, product_of_entries),
    "cumsum": partial(accumulated_along, entries_sum),
    "linalg_det": lambda A: det(A),
    "linalg_inv": lambda A: inverse(A),
    "linalg_solve": lambda A, B, left=True: matmul(inverse(A), B) if left else matmul(B, inverse(A)),
    "logdet": lambda x: each(log, det(x)),
    "dot": lambda x, tensor: matmul(x, tensor),
    "einsum": einsum,
    "linalg_vector_norm": norm,
    "linear": linear,
    "log_softmax": log_softmax,
    "logsumexp": partial(along_axes, logsumexp_of),
    "matmul": matmul,
    "max": partial(extremes, 1),
    "max.dim": partial(with_place, 1),
    "mean": partial(along_axes, mean_of),
    "min": partial(extremes, -1),
    "min.dim": partial(with_place, -1),
    "mv": lambda x, vec: matmul(x, vec),
    "outer": outer,
    "prod": partial(along_axes, product_of_entries),
    "softmax": partial(each_line, softmax_of),
    **dict.fromkeys(("std", "std.correction"), deviation),
    "sort": lambda x, dim=-1, descending=False: sorted_of(x, dim, descending),
    "sum": summed,
    "topk": lambda x, k, dim=-1, largest=True: sorted_of(x, dim, largest, k),
    **dict.fromkeys(("var", "var.correction"), var),
}
