"""Operations on numbers, as numpy has them: what the worked example shows."""

from collections.abc import Callable, Iterable
from functools import reduce

import numpy
from numpy import ndarray
from sympy import Expr, Lambda, MatrixSymbol, Symbol, sympify

from derive.formulas import over_entries
from derive.operations.lower import lower
from derive.operations.operations import (
    Affine,
    Blocks,
    Constant,
    Contraction,
    Entry,
    Entrywise,
    Inner,
    Kronecker,
    NamedMatrix,
    Number,
    Operation,
    Power,
    Product,
    Reduction,
    Repeated,
    Scaled,
    Slice,
    Sum,
    Transposed,
)
from derive.programs import Equation

LAST_PLACE = float(numpy.finfo(float).eps)
FILLED: dict[str, Callable[..., ndarray]] = {"ones": numpy.ones, "zeros": numpy.zeros}
REDUCED: dict[str, Callable[..., ndarray]] = {
    "sum": numpy.sum,
    "logsumexp": numpy.logaddexp.reduce,
    "amax": numpy.max,
}
OF_SQUARE: dict[str, Callable[[ndarray], float]] = {
    "trace": numpy.trace,
    "det": numpy.linalg.det,
    "logdet": lambda matrix: numpy.log(numpy.linalg.slogdet(matrix)[0]) + numpy.linalg.slogdet(matrix)[1],
    "logabsdet": lambda matrix: numpy.linalg.slogdet(matrix)[1],
    "signdet": lambda matrix: numpy.linalg.slogdet(matrix)[0],
}


def evaluate(
    equations: Iterable[Equation],
    inputs: dict[MatrixSymbol, ndarray],
    finite: bool = True,
    rounded: Callable[[ndarray], ndarray] | None = None,
) -> dict[MatrixSymbol, ndarray]:
    """The value of each symbol, inputs included, one equation after the other; each an array of its two dimensions.

    What is computed may be `rounded` before it is used. Raises ValueError that names the first symbol without a real
    and finite value, unless that is allowed.
    """
    numbers = Numbers(inputs)
    for equation in equations:
        operation = lower(equation.value)
        try:
            with numpy.errstate(all="ignore"):
                value = numbers.of(operation)
        except (ArithmeticError, ValueError, TypeError):
            value = numpy.array([[numpy.nan]])
        if finite and not numpy.isfinite(value).all():
            raise ValueError(f"{equation.target} has no real and finite value")
        numbers.values[equation.target] = rounded(value) if rounded else value
    return numbers.values


def in_last_place(value: ndarray, draw: numpy.random.Generator, eps: float = LAST_PLACE) -> ndarray:
    """Each number as it is, or moved by a unit in the last of so many places."""
    return value * (1 + eps * draw.integers(-1, 2, value.shape))


class Numbers:
    """The values of symbols, and with them those of operations."""

    def __init__(self, values: dict[MatrixSymbol, ndarray]) -> None:
        self.values = dict(values)
        pairs = [zip(symbol.shape, array.shape, strict=True) for symbol, array in values.items()]
        self.sizes = {size: n for pair in pairs for size, n in pair if isinstance(size, Symbol)}

    def size(self, expr: Expr) -> int:
        return int(sympify(expr).xreplace(self.sizes))

    def of(self, operation: Operation) -> ndarray:
        match operation:
            case NamedMatrix(symbol=symbol):
                return self.values[symbol]
            case Constant(kind="entries", entries=entries):
                return numpy.array([[float(entry) for entry in row] for row in entries])
            case Constant(kind="identity"):
                return numpy.eye(self.size(operation.shape[0]))
            case Constant(kind="arange"):
                return numpy.arange(float(self.size(operation.shape[0])))[:, None]
            case Constant(kind=kind):
                return FILLED[kind](tuple(map(self.size, operation.shape)))
            case Transposed(of=of):
                return self.of(of).T
            case Power(of=of, exponent=exponent):
                return numpy.linalg.matrix_power(self.of(of), int(exponent))
            case Product(factors=factors):
                return reduce(numpy.matmul, map(self.of, factors))
            case Scaled(scale=scale, of=of):
                return float(scale.xreplace(self.sizes)) * self.of(of)
            case Sum(terms=terms):
                return sum(map(self.of, terms), start=numpy.zeros(()))
            case Affine(input=X, weight=W, bias=b):
                return self.of(X) @ self.of(W).T + self.of(b)
            case Entrywise(formula=formula, operands=operands):
                function = over_entries(Lambda(tuple(u for u, _ in operands), formula.xreplace(self.sizes)))
                values = [self.of(operand) for _, operand in operands]
                shape = numpy.broadcast_shapes(*(value.shape for value in values))
                return numpy.broadcast_to(function(*values), shape)
            case Reduction(kind=kind, axis=axis, of=of) if kind in REDUCED:
                return REDUCED[kind](self.of(of), axis=(0, 1) if axis is None else axis, keepdims=True)
            case Repeated(of=of):
                return numpy.broadcast_to(self.of(of), tuple(map(self.size, operation.shape)))
            case Inner(left=left, right=right):
                return numpy.sum(self.of(left) * self.of(right), keepdims=True)
            case Number(kind=kind, of=of) if kind in OF_SQUARE:
                return numpy.full((1, 1), OF_SQUARE[kind](self.of(of)))
            case Entry(of=of, row=row, column=column):
                return numpy.full((1, 1), self.of(of)[self.size(row), self.size(column)])
            case Kronecker(left=left, right=right):
                return numpy.kron(self.of(left), self.of(right))
            case Contraction(blocks=blocks, factor=factor, inner=inner):
                (m, n), (p, q) = self.of(factor).shape, map(self.size, operation.shape)
                shape, pattern = ((m, p, n, q), "kilj,kl->ij") if inner else ((p, m, q, n), "ikjl,kl->ij")
                return numpy.einsum(pattern, self.of(blocks).reshape(shape), self.of(factor))
            case Slice(of=of, rows=rows, columns=columns):
                return self.of(of)[slice(*map(self.size, rows)), slice(*map(self.size, columns))]
            case Blocks(rows=rows):
                return numpy.block([list(map(self.of, row)) for row in rows])
        raise NotImplementedError(f"no numbers are known for {type(operation).__name__}: {operation}")
