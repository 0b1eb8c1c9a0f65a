"""Matrix expressions by their definitions: entry by entry, and no rule of calculus; what proofs compare with."""

from collections.abc import Callable, Iterable
from copy import copy
from functools import reduce, singledispatch
from itertools import combinations
from operator import add
from typing import Any

import numpy
from sympy import (
    Abs,
    Add,
    Basic,
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
            self.known[node] = self.number(number_by_definition(node, self))
        return self.known[node]

    def entries(self, node: MatrixExpr | MatrixBase) -> numpy.ndarray:
        if node not in self.known:
            found = entries_by_definition(node, self)
            self.known[node] = numpy.frompyfunc(self.number, 1, 1)(found) if self.number is as_decimal else found
        return self.known[node]

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

    def applied(self, function: Lambda, operands: list[MatrixExpr]) -> numpy.ndarray:
        """A function of entries, entry by entry."""
        matrices = [self.entries(operand) for operand in operands]

        def entry(i: int, j: int) -> Expr:
            values = (matrix[i, j] for matrix in matrices)
            return self.within(dict(zip(function.variables, values, strict=True))).scalar(function.expr)

        return array_of(matrices[0].shape, entry)

    def of(self, part: Basic) -> Any:
        """A number, or entries."""
        return self.entries(part) if isinstance(part, MatrixExpr | MatrixBase) else self.scalar(part)


def without_definition(node: Basic, at: Evaluation) -> Any:
    raise ValueError(f"no definition of {type(node).__name__} is known to the proof: {node}")


number_by_definition = singledispatch(without_definition)
entries_by_definition = singledispatch(without_definition)


def function_of_numbers(node: Expr | Boolean, at: Evaluation) -> Expr:
    """Of numbers, where it must be smooth, or of symbols; what is made of nothing is itself."""
    if not node.args:
        return node
    arguments = [at.scalar(argument) for argument in node.args]
    if all(argument.is_number for argument in arguments):
        if not at.everywhere:
            check_smooth(node, arguments)
        if isinstance(node, NamedFunction):
            return at.within({z: arguments[0]}).scalar(node.definition)
    value = node.func(*arguments)
    if value.is_number and value.is_extended_real is False:
        raise ValueError(f"it is {value.evalf(6)}")
    return value


def sum_over_indices(node: Sum, at: Evaluation) -> Expr:
    *inner, (index, low, high) = node.limits
    body = Sum(node.function, *inner) if inner else node.function
    places = range(int(at.scalar(low)), int(at.scalar(high)) + 1)
    return Add(*(at.within({index: Integer(place)}).scalar(body) for place in places))


def product_of_columns(node: DotProduct, at: Evaluation) -> Expr:
    return Add(*(a * b for a, b in zip(*(at.entries(part).flat for part in node.args), strict=True)))


def entry_in_place(node: MatrixElement, at: Evaluation) -> Expr:
    return at.entries(node.parent)[int(at.scalar(node.i)), int(at.scalar(node.j))]


def part_of_entries(node: MatrixSlice, at: Evaluation) -> numpy.ndarray:
    rows, columns = (slice(*(int(at.scalar(p)) for p in side)) for side in (node.rowslice, node.colslice))
    return at.entries(node.parent)[rows, columns]


def blocks_of_entries(node: BlockMatrix, at: Evaluation) -> numpy.ndarray:
    rows, columns = node.blockshape
    return numpy.block([[at.entries(node.blocks[i, j]) for j in range(columns)] for i in range(rows)])


def weighted_blocks(node: BlockSum, at: Evaluation) -> numpy.ndarray:
    matrix, factor = at.entries(node.matrix), at.entries(node.factor)
    (m, n), (p, q) = factor.shape, (int(at.scalar(size)) for size in node.shape)

    def total(i: int, j: int) -> Expr:
        of = (
            (k * p + i, ell * q + j) if node.inner else (i * m + k, j * n + ell) for k in range(m) for ell in range(n)
        )
        return Add(*(matrix[place] * weight for place, weight in zip(of, factor.flat, strict=True)))

    return array_of((p, q), total)


def power_of_entries(node: MatPow, at: Evaluation) -> numpy.ndarray:
    matrix, exponent = at.entries(node.base), at.scalar(node.exp)
    if matrix.shape == (1, 1):
        return matrix**exponent
    return matrix_to_the(inverse_of_entries(matrix) if exponent < 0 else matrix, abs(int(exponent)))


def made_by(entry: Callable[[Any, int, int], Expr]) -> Callable[[MatrixExpr, Evaluation], numpy.ndarray]:
    """A matrix whose entry is made of its place, and of the entries of the matrix that it is of, if it is of one."""

    def made(node: MatrixExpr, at: Evaluation) -> numpy.ndarray:
        height, width = (int(at.scalar(size)) for size in node.shape)
        of = at.entries(node.args[0]) if node.args and isinstance(node.args[0], MatrixExpr | MatrixBase) else None
        return array_of((height, width), lambda i, j: entry(of, i, j))

    return made


def log_of_exponentials(row: Iterable[Expr]) -> Expr:
    return log(Add(*map(exp, row)))


NUMBERS_DEFINED: dict[type, Callable[[Any, Evaluation], Expr]] = {
    int: lambda node, at: Integer(node),
    **dict.fromkeys((Expr, Boolean), function_of_numbers),
    **dict.fromkeys((MatrixExpr, MatrixBase), lambda node, at: at.entries(node)[0, 0]),
    **dict.fromkeys((Derivative, Integral, Limit), lambda node, at: at.scalar(node.doit())),
    Symbol: lambda node, at: at.given.get(node, node),
    Piecewise: lambda node, at: at.branches(node),
    Trace: lambda node, at: Add(*at.entries(node.arg).diagonal()),
    Determinant: lambda node, at: determinant_of(at.entries(node.arg)),
    DotProduct: product_of_columns,
    MatrixElement: entry_in_place,
    Sum: sum_over_indices,
}
ENTRIES_DEFINED: dict[type, Callable[[Any, Evaluation], numpy.ndarray]] = {
    MatrixSymbol: lambda node, at: at.given[node],
    MatrixBase: lambda node, at: array_of(node.shape, lambda i, j: at.scalar(node[i, j])),
    MatrixSlice: part_of_entries,
    Elementwise: lambda node, at: at.applied(node.args[0], list(node.operands.values())),
    ElementwiseApplyFunction: lambda node, at: at.applied(node.function, [node.expr]),
    BlockMatrix: blocks_of_entries,
    BlockSum: weighted_blocks,
    MatAdd: lambda node, at: reduce(add, map(at.entries, node.args)),
    MatMul: lambda node, at: product_of_parts(map(at.of, node.args)),
    HadamardProduct: lambda node, at: numpy.prod(numpy.stack([*map(at.entries, node.args)]), axis=0),
    HadamardPower: lambda node, at: at.entries(node.base) ** at.of(node.exp),
    MatPow: power_of_entries,
    Inverse: lambda node, at: inverse_of_entries(at.entries(node.arg)),
    **dict.fromkeys((Transpose, Adjoint), lambda node, at: at.entries(node.arg).T),
    KroneckerProduct: lambda node, at: reduce(numpy.kron, map(at.entries, node.args)),
    Arange: made_by(lambda _, i, j: Integer(i)),
    OneMatrix: made_by(lambda _, i, j: Integer(1)),
    ZeroMatrix: made_by(lambda _, i, j: Integer(0)),
    Identity: made_by(lambda _, i, j: Integer(i == j)),
    DiagMatrix: made_by(lambda of, i, j: of.flat[i] if i == j else Integer(0)),
    DiagonalMatrix: made_by(lambda of, i, j: of[i, j] if i == j else Integer(0)),
    DiagonalOf: made_by(lambda of, i, j: of[i, i]),
    RowSoftmax: made_by(lambda of, i, j: exp(of[i, j] - log_of_exponentials(of[i]))),
    RowLogSumExp: made_by(lambda of, i, j: log_of_exponentials(of[i])),
}
for by_definition, rules in ((number_by_definition, NUMBERS_DEFINED), (entries_by_definition, ENTRIES_DEFINED)):
    for kind, rule in rules.items():
        by_definition.register(kind, rule)


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
        raise TooManyTerms
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
