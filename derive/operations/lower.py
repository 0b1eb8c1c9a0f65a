"""From a matrix expression of a program to the operation that it is."""

from collections.abc import Callable
from functools import singledispatch
from typing import Any

from sympy import (
    BlockMatrix,
    Determinant,
    Expr,
    Identity,
    ImmutableDenseMatrix,
    Integer,
    Inverse,
    KroneckerProduct,
    MatAdd,
    MatMul,
    MatPow,
    MatrixExpr,
    MatrixSymbol,
    Mul,
    OneMatrix,
    Trace,
    Transpose,
    ZeroMatrix,
    sympify,
)
from sympy.matrices.expressions.matexpr import MatrixElement
from sympy.matrices.expressions.slice import MatrixSlice

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
    Shape,
    Slice,
    Sum,
    Transposed,
)
from derive.programs import (
    Arange,
    BlockSum,
    Elementwise,
    LogAbsDet,
    LogDet,
    RowLogSumExp,
    RowMax,
    Scalar,
    SignDet,
    chain,
)

ROW, COLUMN = 0, 1
ONE_BY_ONE = Integer(1), Integer(1)
DETERMINANTS = {Determinant: "det", LogDet: "logdet", LogAbsDet: "logabsdet", SignDet: "signdet"}


def sizes_of(value: MatrixExpr) -> Shape:
    rows, columns = value.shape
    return sympify(rows), sympify(columns)


@singledispatch
def lower(value: Expr) -> Operation:
    """The operation that an expression is.

    Raises ValueError for a node that is none.
    """
    raise ValueError(f"no operation is known for {type(value).__name__}: {value}")


def of_sum(value: MatAdd) -> Operation:
    """The only product, with a row that is repeated, is an affine map; what else is added comes after it."""
    terms = tuple(map(lower, value.args))
    products = [term for term in terms if isinstance(term, Product)]
    for bias in terms if len(products) == 1 else ():
        match products[0], bias:
            case Product(factors=(NamedMatrix() as input, Transposed(of=NamedMatrix() as weight))), Repeated(
                of=NamedMatrix() as row
            ):
                if row.shape[0] == 1 and bias.shape[1] == row.shape[1]:
                    affine = Affine(sizes_of(value), input, weight, row)
                    others = tuple(term for term in terms if term not in (products[0], bias))
                    return Sum(affine.shape, (affine, *others)) if others else affine
    return Sum(sizes_of(value), terms)


def of_product(value: MatMul) -> Operation:
    """Ones at the ends of a product repeat what they stand beside, or add its rows, its columns or all entries."""
    scale, matrices = chain(value)
    return with_scale(scale, of_factors(matrices))


def with_scale(scale: Expr, operation: Operation) -> Operation:
    return operation if scale == 1 else Scaled(operation.shape, scale, operation)


def of_factors(matrices: list[MatrixExpr]) -> Operation:
    if len(matrices) == 1:
        return lower(matrices[0])
    shape = sympify(matrices[0].shape[0]), sympify(matrices[-1].shape[1])
    if all(isinstance(matrix, OneMatrix) for matrix in matrices):
        return with_scale(Mul(*(matrix.shape[0] for matrix in matrices[1:])), Constant(shape, "ones"))
    left, right = (isinstance(end, OneMatrix) for end in (matrices[0], matrices[-1]))
    if not left and not right:
        return of_two(matrices) if shape == ONE_BY_ONE else Product(shape, tuple(map(lower, matrices)))
    result = of_factors(matrices[left : len(matrices) - right])
    rows, columns = result.shape
    result = reduction("sum", left and rows != 1, right and columns != 1, result)
    return result if result.shape == shape else Repeated(shape, result)


def reduction(kind: str, rows: bool, columns: bool, of: Operation) -> Operation:
    """The reduction over rows, columns or both; what comes out as one number is reduced over both."""
    if not rows and not columns:
        return of
    shape = (Integer(1) if rows else of.shape[0], Integer(1) if columns else of.shape[1])
    axis = None if shape == (1, 1) else ROW if rows else COLUMN
    return Reduction(shape, kind, axis, of)


def of_trace(value: Trace) -> Operation:
    """Of a matrix with one row and column its entry, of a product the sum of the entries of P^T times those of Q."""
    if isinstance(value.arg, MatrixSymbol) and sizes_of(value.arg) == ONE_BY_ONE:
        return Entry(ONE_BY_ONE, lower(value.arg), Integer(0), Integer(0))
    if sizes_of(value.arg) == ONE_BY_ONE:
        return lower(value.arg)
    scale, factors = chain(value.arg)
    return with_scale(scale, Number(ONE_BY_ONE, "trace", lower(factors[0])) if len(factors) == 1 else of_two(factors))


def of_two(factors: list[MatrixExpr]) -> Operation:
    """tr(P Q ...), with the two outer factors in the first place where they are the same."""
    first, *rest = factors
    if len(rest) > 1 and rest[0] == first.T and not any(isinstance(factor, Inverse) for factor in factors):
        first, rest = factors[-1], factors[:-1]
    turned = first.arg if isinstance(first, Transpose) else Transpose(first)
    return Inner(ONE_BY_ONE, lower(turned), of_factors(rest))


def of_determinant(value: MatrixExpr) -> Operation:
    return Number(ONE_BY_ONE, DETERMINANTS[type(value)], lower(value.args[0]))


def of_slice(value: MatrixSlice) -> Operation:
    if sizes_of(value) == ONE_BY_ONE:
        return Entry(ONE_BY_ONE, lower(value.parent), value.rowslice[0], value.colslice[0])
    return Slice(sizes_of(value), lower(value.parent), value.rowslice[:2], value.colslice[:2])


def of_blocks(value: BlockMatrix) -> Operation:
    rows, columns = value.blockshape
    grid = tuple(tuple(lower(value.blocks[i, j]) for j in range(columns)) for i in range(rows))
    return Blocks(sizes_of(value), grid)


OPERATION_OF: dict[type, Callable[[Any], Operation]] = {
    MatrixSymbol: lambda value: NamedMatrix(sizes_of(value), value),
    Transpose: lambda value: Transposed(sizes_of(value), lower(value.arg)),
    Inverse: lambda value: Power(sizes_of(value), lower(value.arg), sympify(-1)),
    MatPow: lambda value: Power(sizes_of(value), lower(value.base), value.exp),
    Elementwise: lambda value: Entrywise(
        sizes_of(value), value.formula, tuple((u, lower(part)) for u, part in value.operands.items())
    ),
    RowLogSumExp: lambda value: reduction("logsumexp", False, True, lower(value.args[0])),
    RowMax: lambda value: reduction("amax", False, True, lower(value.args[0])),
    Scalar: lambda value: lower(value.number),
    OneMatrix: lambda value: Constant(sizes_of(value), "ones"),
    ZeroMatrix: lambda value: Constant(sizes_of(value), "zeros"),
    Identity: lambda value: Constant(sizes_of(value), "identity"),
    Arange: lambda value: Constant(sizes_of(value), "arange"),
    ImmutableDenseMatrix: lambda value: Constant(sizes_of(value), "entries", tuple(map(tuple, value.tolist()))),
    MatrixElement: lambda value: Entry(ONE_BY_ONE, lower(value.parent), value.i, value.j),
    BlockSum: lambda value: Contraction(sizes_of(value), lower(value.matrix), lower(value.factor), value.inner),
    KroneckerProduct: lambda value: Kronecker(sizes_of(value), *map(lower, value.args)),
    MatAdd: of_sum,
    MatMul: of_product,
    Trace: of_trace,
    MatrixSlice: of_slice,
    BlockMatrix: of_blocks,
    **dict.fromkeys(DETERMINANTS, of_determinant),
}
for node, rule in OPERATION_OF.items():
    lower.register(node, rule)
