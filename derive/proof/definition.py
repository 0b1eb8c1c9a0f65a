"""Matrix expressions by their definitions: entry by entry, and no rule of calculus; what proofs compare with."""

from collections.abc import Callable
from itertools import product

import numpy
from sympy import (
    Add,
    Basic,
    BlockDiagMatrix,
    BlockMatrix,
    Determinant,
    DiagMatrix,
    DiagonalMatrix,
    DiagonalOf,
    DotProduct,
    Expr,
    HadamardPower,
    HadamardProduct,
    Identity,
    Integer,
    Inverse,
    KroneckerProduct,
    MatAdd,
    MatMul,
    MatPow,
    Matrix,
    MatrixBase,
    MatrixExpr,
    MatrixSymbol,
    OneMatrix,
    Sum,
    Symbol,
    Trace,
    Transpose,
    ZeroMatrix,
    exp,
    log,
)
from sympy.matrices.exceptions import NonInvertibleMatrixError
from sympy.matrices.expressions.adjoint import Adjoint
from sympy.matrices.expressions.applyfunc import ElementwiseApplyFunction
from sympy.matrices.expressions.matexpr import MatrixElement
from sympy.matrices.expressions.slice import MatrixSlice
from sympy.polys.matrices import DomainMatrix
from sympy.polys.matrices.exceptions import DMNonInvertibleMatrixError

from derive.programs import BlockSum, Elementwise, RowLogSumExp

Environment = dict[Basic, object]
DIGITS = 150  # of numbers that are not rational
LARGEST = 4  # determinant that is written out


class TooManyTerms(Exception):
    """What is not written out, for its length."""


def scalar(node: Expr, given: Environment) -> Expr:
    """The number that a scalar expression, or a 1 x 1 matrix, is for given entries of its symbols."""
    if isinstance(node, MatrixExpr | MatrixBase):
        return entries(node, given)[0, 0]
    if isinstance(node, int):
        return Integer(node)
    if isinstance(node, Symbol):
        return given.get(node, node)
    if isinstance(node, Trace):
        return Add(*entries(node.arg, given).diagonal())
    if isinstance(node, Determinant):
        return determinant(entries(node.arg, given))
    if isinstance(node, DotProduct):
        return Add(*(a * b for a, b in zip(*(entries(part, given).flat for part in node.args), strict=True)))
    if isinstance(node, MatrixElement):
        return entries(node.parent, given)[tuple(int(scalar(index, given)) for index in (node.i, node.j))]
    if isinstance(node, Sum):
        indices = [limit[0] for limit in node.limits]
        ranges = [range(int(scalar(low, given)), int(scalar(high, given)) + 1) for _, low, high in node.limits]
        places = [dict(zip(indices, map(Integer, place), strict=True)) for place in product(*ranges)]
        return Add(*(scalar(node.function, {**given, **place}) for place in places))
    return node.func(*(scalar(argument, given) for argument in node.args)) if node.args else node


def entries(node: MatrixExpr | MatrixBase, given: Environment) -> numpy.ndarray:
    """The entries of a matrix expression for given entries of its symbols."""
    if isinstance(node, MatrixSymbol):
        return given[node]
    if isinstance(node, MatrixBase):
        return array(node.shape, lambda i, j: scalar(node[i, j], given))
    if isinstance(node, MatrixSlice):
        rows, columns = (slice(*(int(scalar(part, given)) for part in side)) for side in (node.rowslice, node.colslice))
        return entries(node.parent, given)[rows, columns]
    if isinstance(node, Elementwise):
        operands = [entries(operand, given) for operand in node.operands.values()]
        function = node.args[0]
        return array(operands[0].shape, lambda i, j: with_numbers(function(*(o[i, j] for o in operands)), given))
    if isinstance(node, ElementwiseApplyFunction):
        inner = entries(node.expr, given)
        return array(inner.shape, lambda i, j: with_numbers(node.function(inner[i, j]), given))
    if isinstance(node, BlockMatrix | BlockDiagMatrix):
        rows, columns = node.blockshape
        return numpy.block([[entries(node.blocks[i, j], given) for j in range(columns)] for i in range(rows)])
    shape = tuple(int(scalar(size, given)) for size in node.shape)
    if isinstance(node, OneMatrix | ZeroMatrix | Identity):
        diagonal, other = {OneMatrix: (1, 1), ZeroMatrix: (0, 0)}.get(type(node), (1, 0))
        return array(shape, lambda i, j: Integer(diagonal if i == j else other))
    if isinstance(node, BlockSum):
        return block_sum(entries(node.matrix, given), entries(node.factor, given), node.inner, shape)
    parts = [entries(a, given) if isinstance(a, MatrixExpr | MatrixBase) else scalar(a, given) for a in node.args]
    if isinstance(node, MatAdd):
        return sum(parts[1:], parts[0])
    if isinstance(node, MatMul):
        return multiplied(parts)
    if isinstance(node, HadamardProduct):
        return numpy.prod(numpy.stack(parts), axis=0)
    if isinstance(node, HadamardPower | MatPow) and (shape == (1, 1) or isinstance(node, HadamardPower)):
        return parts[0] ** parts[1]
    if isinstance(node, Transpose | Adjoint):
        return parts[0].T
    if isinstance(node, Inverse):
        return inverse(parts[0])
    if isinstance(node, MatPow):
        return power(inverse(parts[0]) if parts[1] < 0 else parts[0], abs(int(parts[1])))
    if isinstance(node, DiagMatrix):
        return array(shape, lambda i, j: parts[0].flat[i] if i == j else Integer(0))
    if isinstance(node, DiagonalMatrix):
        return array(shape, lambda i, j: parts[0][i, j] if i == j else Integer(0))
    if isinstance(node, DiagonalOf):
        return array(shape, lambda i, j: parts[0][i, i])
    if isinstance(node, KroneckerProduct):
        result = parts[0]
        for part in parts[1:]:
            result = numpy.kron(result, part)
        return result
    if isinstance(node, RowLogSumExp):
        return array(shape, lambda i, j: log(Add(*map(exp, parts[0][i]))))
    raise TypeError(f"no definition of {type(node).__name__} is known to the proof")


def array(shape: tuple[int, int], entry: Callable[[int, int], Expr]) -> numpy.ndarray:
    result = numpy.empty(tuple(map(int, shape)), dtype=object)
    for i, j in numpy.ndindex(*result.shape):
        result[i, j] = entry(i, j)
    return result


def with_numbers(formula: Expr, given: Environment) -> Expr:
    """A formula of entries, with what else is in it replaced by what it is."""
    return scalar(formula, given) if formula.has(MatrixSymbol) or formula.free_symbols & given.keys() else formula


def multiplied(parts: list) -> numpy.ndarray:
    result = None
    for part in parts:
        if result is None:
            result = part
        else:
            matrices = isinstance(part, numpy.ndarray) and isinstance(result, numpy.ndarray)
            result = result @ part if matrices else result * part
    return result


def power(matrix: numpy.ndarray, exponent: int) -> numpy.ndarray:
    """In SymPy's field of its entries where it has one, else by products."""
    given = in_domain(matrix)
    if given is not None:
        return numpy.array((given**exponent).to_Matrix().tolist(), dtype=object)
    return multiplied([array(matrix.shape, lambda i, j: Integer(i == j)), *[matrix] * exponent])


def determinant(matrix: numpy.ndarray) -> Expr:
    """By elimination where SymPy has a domain of such entries, else by minors of the first row.

    Raises TooManyTerms where those are.
    """
    if len(matrix) == 0:
        return Integer(1)
    given = in_domain(matrix)
    if given is not None:
        return given.domain.to_sympy(given.det())
    if len(matrix) > LARGEST:
        raise TooManyTerms(f"the determinant of a {len(matrix)} x {len(matrix)} matrix")
    minors = (numpy.delete(matrix[1:], column, 1) for column in range(len(matrix)))
    return Add(*((-1) ** column * matrix[0, column] * determinant(minor) for column, minor in enumerate(minors)))


def inverse(matrix: numpy.ndarray) -> numpy.ndarray:
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
    whole = determinant(matrix)

    def cofactor(i: int, j: int) -> Expr:
        return (-1) ** (i + j) * determinant(numpy.delete(numpy.delete(matrix, j, 0), i, 1)) / whole

    return array(matrix.shape, cofactor)


def in_domain(matrix: numpy.ndarray) -> DomainMatrix | None:
    """The matrix in SymPy's field of its entries, if they are numbers or rational functions of one symbol."""
    if all(entry.is_number for entry in matrix.flat):
        exact = all(entry.is_Rational for entry in matrix.flat)
        return DomainMatrix.from_Matrix(Matrix(matrix) if exact else Matrix(matrix).evalf(DIGITS)).to_field()
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

    return array(shape, total)
