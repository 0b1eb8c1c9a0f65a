"""Matrix expressions by their definitions: entry by entry, and no rule of calculus; what proofs compare with."""

from collections.abc import Callable, Iterable
from copy import copy
from functools import reduce
from itertools import combinations
from typing import Any

import numpy
from sympy import (
    Abs,
    Add,
    Basic,
    BlockDiagMatrix,
    BlockMatrix,
    Derivative,
    Determinant,
    DiagMatrix,
    DiagonalMatrix,
    DiagonalOf,
    DotProduct,
    Expr,
    Float,
    HadamardPower,
    HadamardProduct,
    Heaviside,
    Identity,
    Integer,
    Integral,
    Inverse,
    KroneckerProduct,
    Lambda,
    Limit,
    MatAdd,
    MatMul,
    MatPow,
    Matrix,
    MatrixBase,
    MatrixExpr,
    MatrixSymbol,
    Max,
    Min,
    OneMatrix,
    Piecewise,
    Sum,
    Symbol,
    Trace,
    Transpose,
    ZeroMatrix,
    ceiling,
    exp,
    false,
    floor,
    log,
    sign,
    true,
)
from sympy.core.relational import Relational
from sympy.logic.boolalg import Boolean
from sympy.matrices.exceptions import NonInvertibleMatrixError
from sympy.matrices.expressions.adjoint import Adjoint
from sympy.matrices.expressions.applyfunc import ElementwiseApplyFunction
from sympy.matrices.expressions.matexpr import MatrixElement
from sympy.matrices.expressions.slice import MatrixSlice
from sympy.polys.matrices import DomainMatrix
from sympy.polys.matrices.exceptions import DMNonInvertibleMatrixError

from derive.formulas import NamedFunction, z
from derive.programs import Arange, BlockSum, Elementwise, RowLogSumExp, RowSoftmax
from derive.proof.precision import decimals

Environment = dict[Basic, Any]  # a number, or entries
LARGEST_WRITTEN_OUT = 4  # determinant that is written out
KINKED_AT_0 = (Abs, sign, Heaviside)  # have a kink where their argument is 0


class TooManyTerms(Exception):
    """What is not written out, for its length."""


class OnKink(ArithmeticError):
    """A point at which a condition is an equality, so that there may be no derivative."""


def as_decimal(number: Expr) -> Expr:
    """A number that is not rational as a decimal of many digits."""
    return number.evalf(decimals()) if number.is_number and not number.is_Rational and not number.is_Float else number


class Evaluation:
    """What expressions are for given entries of their symbols; each part is worked out once.

    Where a given entry is a decimal, every number that is not rational is one, too. Raises OnKink where numbers meet a
    condition in an equality, unless they do `everywhere`, ValueError or ZeroDivisionError where there is no value.
    """

    def __init__(self, given: Environment, everywhere: bool = False) -> None:
        self.given, self.everywhere = given, everywhere
        numbers = [number for part in given.values() for number in numpy.ravel(part)]
        self.number = as_decimal if any(getattr(number, "is_Float", False) for number in numbers) else lambda n: n
        self.known: dict[Basic, Any] = {}

    def within(self, more: Environment) -> "Evaluation":
        """With the bound symbols of a sum or a function."""
        inner = copy(self)
        inner.given, inner.known = {**self.given, **more}, {}
        return inner

    def scalar(self, node: Expr | int) -> Expr:
        if node not in self.known:
            self.known[node] = self.number(self._scalar(node))
        return self.known[node]

    def entries(self, node: MatrixExpr | MatrixBase) -> numpy.ndarray:
        if node not in self.known:
            found = self._entries(node)
            self.known[node] = numpy.frompyfunc(self.number, 1, 1)(found) if self.number is as_decimal else found
        return self.known[node]

    def _scalar(self, node: Expr) -> Expr:
        if isinstance(node, MatrixExpr | MatrixBase):
            return self.entries(node)[0, 0]
        if isinstance(node, int):
            return Integer(node)
        if isinstance(node, Symbol):
            return self.given.get(node, node)
        if isinstance(node, Trace):
            return Add(*self.entries(node.arg).diagonal())
        if isinstance(node, Determinant):
            return determinant_of(self.entries(node.arg))
        if isinstance(node, DotProduct):
            return Add(*(a * b for a, b in zip(*(self.entries(part).flat for part in node.args), strict=True)))
        if isinstance(node, MatrixElement):
            return self.entries(node.parent)[tuple(int(self.scalar(index)) for index in (node.i, node.j))]
        if isinstance(node, Sum):
            *inner, (index, low, high) = node.limits
            body = Sum(node.function, *inner) if inner else node.function
            places = range(int(self.scalar(low)), int(self.scalar(high)) + 1)
            return Add(*(self.within({index: Integer(place)}).scalar(body) for place in places))
        if not node.args:
            return node
        if isinstance(node, Piecewise):
            return self.branches(node)
        if isinstance(node, Derivative | Integral | Limit):
            return self.scalar(node.doit())
        if not isinstance(node, Expr | Boolean):
            raise ValueError(f"no definition of {type(node).__name__} is known to the proof: {node}")
        arguments = [self.scalar(argument) for argument in node.args]
        if all(argument.is_number for argument in arguments):
            if not self.everywhere:
                check_smooth(node, arguments)
            if isinstance(node, NamedFunction):
                return self.within({z: arguments[0]}).scalar(node.definition)
        value = node.func(*arguments)
        if value.is_number and value.is_extended_real is False:
            raise ValueError(f"it is {value.evalf(6)}")
        return value

    def branches(self, node: Piecewise) -> Expr:
        """The branch that holds; all that may hold, where conditions are of symbols."""
        open_branches = []
        for value, condition in node.args:
            holds = condition if condition in (true, false) else self.scalar(condition)
            if holds == false:
                continue
            open_branches.append((self.scalar(value), holds))
            if holds == true:
                break
        return Piecewise(*open_branches)

    def _entries(self, node: MatrixExpr | MatrixBase) -> numpy.ndarray:
        given = self.given
        if isinstance(node, MatrixSymbol):
            return given[node]
        if isinstance(node, MatrixBase):
            return array_of(node.shape, lambda i, j: self.scalar(node[i, j]))
        if isinstance(node, MatrixSlice):
            rows, columns = (slice(*(int(self.scalar(p)) for p in side)) for side in (node.rowslice, node.colslice))
            return self.entries(node.parent)[rows, columns]
        if isinstance(node, Elementwise):
            return self.applied(node.args[0], list(node.operands.values()))
        if isinstance(node, ElementwiseApplyFunction):
            return self.applied(node.function, [node.expr])
        if isinstance(node, BlockMatrix | BlockDiagMatrix):
            rows, columns = node.blockshape
            return numpy.block([[self.entries(node.blocks[i, j]) for j in range(columns)] for i in range(rows)])
        height, width = (int(self.scalar(size)) for size in node.shape)
        shape = height, width
        if isinstance(node, Arange):
            return array_of(shape, lambda i, j: Integer(i))
        if isinstance(node, OneMatrix | ZeroMatrix | Identity):
            diagonal, other = {OneMatrix: (1, 1), ZeroMatrix: (0, 0)}.get(type(node), (1, 0))
            return array_of(shape, lambda i, j: Integer(diagonal if i == j else other))
        if isinstance(node, BlockSum):
            return block_sum(self.entries(node.matrix), self.entries(node.factor), node.inner, shape)
        if not isinstance(node, DEFINED):
            raise ValueError(f"no definition of {type(node).__name__} is known to the proof: {node}")
        parts = [self.entries(a) if isinstance(a, MatrixExpr | MatrixBase) else self.scalar(a) for a in node.args]
        if isinstance(node, MatAdd):
            return sum(parts[1:], parts[0])
        if isinstance(node, MatMul):
            return product_of_parts(parts)
        if isinstance(node, HadamardProduct):
            return numpy.prod(numpy.stack(parts), axis=0)
        if isinstance(node, HadamardPower | MatPow) and (shape == (1, 1) or isinstance(node, HadamardPower)):
            return parts[0] ** parts[1]
        if isinstance(node, Transpose | Adjoint):
            return parts[0].T
        if isinstance(node, Inverse):
            return inverse_of_entries(parts[0])
        if isinstance(node, MatPow):
            return matrix_to_the(inverse_of_entries(parts[0]) if parts[1] < 0 else parts[0], abs(int(parts[1])))
        if isinstance(node, DiagMatrix):
            return array_of(shape, lambda i, j: parts[0].flat[i] if i == j else Integer(0))
        if isinstance(node, DiagonalMatrix):
            return array_of(shape, lambda i, j: parts[0][i, j] if i == j else Integer(0))
        if isinstance(node, DiagonalOf):
            return array_of(shape, lambda i, j: parts[0][i, i])
        if isinstance(node, KroneckerProduct):
            return reduce(numpy.kron, parts)
        if isinstance(node, RowSoftmax):
            return array_of(shape, lambda i, j: exp(parts[0][i, j] - log(Add(*map(exp, parts[0][i])))))
        return array_of(shape, lambda i, j: log(Add(*map(exp, parts[0][i]))))

    def applied(self, function: Lambda, operands: list[MatrixExpr]) -> numpy.ndarray:
        """A function of entries, entry by entry."""
        matrices = [self.entries(operand) for operand in operands]

        def entry(i: int, j: int) -> Expr:
            values = (matrix[i, j] for matrix in matrices)
            return self.within(dict(zip(function.variables, values, strict=True))).scalar(function.expr)

        return array_of(matrices[0].shape, entry)


DEFINED = (
    *(MatAdd, MatMul, HadamardProduct, HadamardPower, MatPow, Transpose, Adjoint, Inverse),
    *(DiagMatrix, DiagonalMatrix, DiagonalOf, KroneckerProduct, RowLogSumExp, RowSoftmax),
)


def check_smooth(node: Basic, numbers: list[Expr]) -> None:
    """Raises OnKink where two numbers that are compared are the same, or a function jumps or bends at its argument."""
    pairs: Iterable[tuple[Expr, Expr]] = ()
    if isinstance(node, Relational):
        pairs = [tuple(numbers)]
    elif isinstance(node, KINKED_AT_0):
        pairs = [(numbers[0], Integer(0))]
    elif isinstance(node, Max | Min):
        pairs = combinations(numbers, 2)
    elif isinstance(node, floor | ceiling):
        pairs = [(numbers[0], round(numbers[0]))]
    if any(
        abs((left - right).evalf(decimals())) < nearness() for left, right in pairs if left.is_real and right.is_real
    ):
        raise OnKink(f"{node}: both sides are {numbers[0]}")


def nearness() -> Float:
    """What is smaller is rounding."""
    return Float(10, decimals()) ** (10 - decimals() // 2)


def array_of(shape: tuple[int, int], entry: Callable[[int, int], Expr]) -> numpy.ndarray:
    result = numpy.empty(tuple(map(int, shape)), dtype=object)
    for i, j in numpy.ndindex(*result.shape):
        result[i, j] = entry(i, j)
    return result


def product_of_parts(parts: Iterable[Any]) -> numpy.ndarray:
    result, *others = parts
    for part in others:
        matrices = isinstance(part, numpy.ndarray) and isinstance(result, numpy.ndarray)
        result = result @ part if matrices else result * part
    return result


def matrix_to_the(matrix: numpy.ndarray, exponent: int) -> numpy.ndarray:
    """In SymPy's field of its entries where it has one, else by products."""
    given = in_domain(matrix)
    if given is not None:
        return numpy.array((given**exponent).to_Matrix().tolist(), dtype=object)
    return product_of_parts([array_of(matrix.shape, lambda i, j: Integer(i == j)), *[matrix] * exponent])


def determinant_of(matrix: numpy.ndarray) -> Expr:
    """By elimination where SymPy has a domain of such entries, else by minors of the first row.

    Raises TooManyTerms where those are.
    """
    if len(matrix) == 0:
        return Integer(1)
    given = in_domain(matrix)
    if given is not None:
        value = given.domain.to_sympy(given.det())
        return Integer(0) if value.is_Float and abs(value) < nearness() else value
    if len(matrix) > LARGEST_WRITTEN_OUT:
        raise TooManyTerms(f"the determinant of a {len(matrix)} x {len(matrix)} matrix")
    minors = (numpy.delete(matrix[1:], column, 1) for column in range(len(matrix)))
    return Add(*((-1) ** column * matrix[0, column] * determinant_of(minor) for column, minor in enumerate(minors)))


def inverse_of_entries(matrix: numpy.ndarray) -> numpy.ndarray:
    """By elimination where SymPy has a domain of such entries, else by cofactors over the determinant.

    Raises NonInvertibleMatrixError, and TooManyTerms where a determinant does.
    """
    given = in_domain(matrix)
    if given is not None:
        try:
            numerators, denominator = given.inv_den()
        except DMNonInvertibleMatrixError:
            raise NonInvertibleMatrixError("det is 0") from None
        return numpy.array(numerators.to_Matrix().tolist(), dtype=object) / given.domain.to_sympy(denominator)
    whole = determinant_of(matrix)

    def cofactor(i: int, j: int) -> Expr:
        return (-1) ** (i + j) * determinant_of(numpy.delete(numpy.delete(matrix, j, 0), i, 1)) / whole

    return array_of(matrix.shape, cofactor)


def in_domain(matrix: numpy.ndarray) -> DomainMatrix | None:
    """The matrix in SymPy's field of its entries, if they are numbers or rational functions of one symbol."""
    if all(entry.is_number for entry in matrix.flat):
        exact = all(entry.is_Rational for entry in matrix.flat)
        return DomainMatrix.from_Matrix(Matrix(matrix) if exact else Matrix(matrix).evalf(decimals())).to_field()
    if len(set().union(*(entry.free_symbols for entry in matrix.flat))) > 1:
        return None
    given = DomainMatrix.from_Matrix(Matrix(matrix))
    rational = given.domain.is_Exact and not given.domain.is_EX and given.domain.ngens == 1
    return given.to_field() if rational else None


def block_sum(matrix: numpy.ndarray, factor: numpy.ndarray, inner: bool, shape: tuple[int, int]) -> numpy.ndarray:
    (m, n), (p, q) = factor.shape, shape

    def total(i: int, j: int) -> Expr:
        places = ((k * p + i, ell * q + j) if inner else (i * m + k, j * n + ell) for k in range(m) for ell in range(n))
        return Add(*(matrix[place] * weight for place, weight in zip(places, factor.flat, strict=True)))

    return array_of(shape, total)
