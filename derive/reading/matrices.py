"""What a matrix is read as: its entries as a formula, or itself as an operation."""

import sympy
from sympy.matrices.expressions.adjoint import Adjoint
from sympy.matrices.expressions.applyfunc import ElementwiseApplyFunction
from sympy.matrices.expressions.slice import MatrixSlice

from derive.programs import (
    PLAIN,
    Arange,
    BlockSum,
    Elementwise,
    RowLogSumExp,
    RowMax,
    RowSoftmax,
    chain,
    flat_product,
    repeated,
    scaled,
    transposed,
)
from derive.reading.logsumexp import joined
from derive.reading.reader import DEFINITION_RULES, ENTRY_RULES, MATRIX_RULES, Reader

MOST_FACTORS = 50  # of a matrix power; SymPy differentiates it factor by factor


def split_product(read: Reader, node: sympy.MatMul) -> tuple[list[sympy.Expr], list[sympy.MatrixExpr]]:
    """The numbers of a product, 1 x 1 matrices among them, and its other factors."""
    scales, matrices = [], []
    for factor in node.args:
        if not isinstance(factor, sympy.MatrixExpr | sympy.MatrixBase) or read.shape(factor) == (1, 1):
            scales.append(read.scalar(factor))
        elif isinstance(factor, sympy.Inverse) and isinstance(factor.arg, sympy.DiagMatrix):
            matrices.append(sympy.DiagMatrix(sympy.HadamardPower(factor.arg.args[0], -1)))
        elif isinstance(factor, sympy.OneMatrix) and 1 not in read.shape(factor):
            matrices += [sympy.OneMatrix(factor.shape[0], 1), sympy.OneMatrix(1, factor.shape[1])]
        elif isinstance(factor, sympy.MatMul):
            inner_scales, inner = split_product(read, factor)
            scales, matrices = [*scales, *inner_scales], [*matrices, *inner]
        else:
            matrices.append(factor)
    return scales, matrices


def solved(read: Reader, matrices: list[sympy.MatrixExpr]) -> list[sympy.MatrixExpr]:
    """Factors as symbols; an inverse stays an inverse, and what it is applied to is solved for once."""
    factors = [factor_of(read, matrix) for matrix in matrices]
    for index in reversed(range(len(factors) - 1)):
        if isinstance(factors[index], sympy.Inverse):
            factors[index:] = [read.multiplied(factors[index:])]
    return factors


def factor_of(read: Reader, node: sympy.MatrixExpr) -> sympy.MatrixExpr:
    if isinstance(node, sympy.Transpose):
        return transposed(factor_of(read, node.arg))
    if isinstance(node, sympy.Inverse) or (isinstance(node, sympy.MatPow) and node.exp == -1):
        inner = read.matrix(node.args[0])
        return inner if isinstance(inner, sympy.Identity) else sympy.Inverse(inner)
    return read.matrix(node)


def entry_of_product(read: Reader, node: sympy.MatMul) -> sympy.Expr:
    """An entry of a product, with diagonal factors at its ends, and what ones only repeat, entry by entry."""
    scales, matrices = split_product(read, node)
    scale, shape = sympy.Mul(*scales), read.shape(node)
    if not matrices:
        return scale
    first, *rest = matrices
    *start, last = matrices
    if not rest:
        return scale * read.formula(first)
    if isinstance(first, sympy.DiagMatrix):
        return scale * read.viewed(repeated(read_diagonal(read, first), shape)) * read.formula(joined(rest))
    if isinstance(last, sympy.DiagMatrix):
        row = transposed(read_diagonal(read, last))
        return scale * read.formula(joined(start)) * read.viewed(repeated(row, shape))
    if isinstance(first, sympy.OneMatrix) and first.shape[1] == 1:
        return scale * read.viewed(repeated(read.matrix(joined(rest)), shape))
    if isinstance(last, sympy.OneMatrix) and last.shape[0] == 1:
        return scale * read.viewed(repeated(read.matrix(joined(start)), shape))
    number, parts = chain(flat_product(sympy.Integer(1), solved(read, matrices)))
    if isinstance(parts[0], sympy.ZeroMatrix):
        return sympy.Integer(0)
    return scale * number * read.viewed(read.multiplied(parts))


def sum_of_products(read: Reader, node: sympy.MatAdd | sympy.MatMul) -> sympy.MatrixExpr:
    """A sum of products of symbols."""
    terms = []
    for term in sympy.MatAdd.make_args(node):
        scales, matrices = split_product(read, term) if isinstance(term, sympy.MatMul) else ([], [term])
        terms.append(scaled(sympy.Mul(*scales), flat_product(sympy.Integer(1), solved(read, matrices))))
    return sympy.MatAdd(*terms) if len(terms) > 1 else terms[0]


def read_diagonal(read: Reader, node: sympy.DiagMatrix) -> sympy.MatrixExpr:
    """The diagonal as a column."""
    column = read.matrix(node.args[0])
    return column if column.shape[1] == 1 else transposed(column)


def spread(read: Reader, node: sympy.DiagMatrix) -> sympy.Expr:
    rows, columns = read.shape(node)
    return read.viewed(repeated(read_diagonal(read, node), (rows, columns))) * read.viewed(sympy.Identity(rows))


def kronecker(read: Reader, node: sympy.KroneckerProduct) -> sympy.MatrixExpr:
    """Two by two; a 1 x 1 factor is a number."""
    numbers = [read.scalar(part) for part in node.args if read.shape(part) == (1, 1)]
    result, *others = (read.matrix(part) for part in node.args if read.shape(part) != (1, 1))
    for other in others:
        result = read.define(sympy.KroneckerProduct(result, other))
    return read.entries(sympy.Mul(*numbers) * read.viewed(result), read.shape(node)) if numbers else result


def read_power(read: Reader, node: sympy.MatPow) -> sympy.MatrixExpr:
    if not node.exp.is_Integer:
        root = "; of a root R of X, X = R*R, the gradient in R is derived" if node.exp.is_Rational else ""
        why = f"a matrix power needs a whole number, as X**3; HadamardPower is the power entry by entry{root}"
        raise read.refuse(node, why)
    if abs(node.exp) > MOST_FACTORS:
        raise read.refuse(node, f"powers from -{MOST_FACTORS} to {MOST_FACTORS} are derived")
    base = read.matrix(node.base)
    if isinstance(base, sympy.Identity) or node.exp == 0:
        return sympy.Identity(base.shape[0])
    positive = base if abs(node.exp) == 1 else read.define(sympy.MatPow(base, abs(node.exp)))
    return positive if node.exp > 0 else read.multiplied([sympy.Inverse(positive)])


def main_diagonal(read: Reader, node: sympy.DiagonalOf) -> sympy.MatrixExpr:
    inner = read.matrix(node.arg)
    return read.multiplied([read.entries(*read.on_diagonal(inner)), sympy.OneMatrix(inner.shape[1], 1)])


def blocks(read: Reader, node: sympy.BlockMatrix) -> sympy.MatrixExpr:
    rows, columns = map(range, node.blockshape)
    return read.define(sympy.BlockMatrix([[read.matrix(node.blocks[i, j]) for j in columns] for i in rows]))


def read_slice(read: Reader, node: MatrixSlice) -> sympy.MatrixExpr:
    sides = (node.rowslice, node.colslice)
    if any(step != 1 for _, _, step in sides):
        raise read.refuse(node, "slices with a step are not supported")
    rows, columns = (tuple(sympy.sympify(part).xreplace(read.sizes) for part in side) for side in sides)
    return read.sliced(read.matrix(node.parent), rows, columns)


def read_softmax(read: Reader, node: RowSoftmax) -> sympy.Expr:
    Z = node.args[0]
    return sympy.exp(read.formula(Z) - read.viewed(repeated(read.matrix(RowLogSumExp(Z)), read.shape(Z))))


def read_largest(read: Reader, node: RowMax) -> sympy.MatrixExpr:
    if read.notation is PLAIN:  # closed forms know it as a number that is subtracted, alone
        raise read.refuse(node, "in a network's loss it is max(p)")
    return read.largest(read.matrix(node.args[0]))


def explicit(read: Reader, node: sympy.MatrixBase) -> sympy.MatrixExpr:
    """A matrix of numbers; one of scalar expressions is a sum of its entries, each in its place."""
    if all(part == 0 for part in node):
        return sympy.ZeroMatrix(*node.shape)
    whole = getattr(node[0, 0], "parent", None)
    if isinstance(whole, sympy.MatrixSymbol) and tuple(whole.shape) == node.shape and whole.as_explicit() == node:
        return read.matrix(whole)
    if len(set(node)) == 1 and len(node) > 1:
        return read.matrix(node[0, 0] * sympy.OneMatrix(*node.shape))
    if all(part.is_number for part in node):
        return read.define(sympy.ImmutableDenseMatrix(node))
    if len(node) > 100:
        raise read.refuse(node, "use a MatrixSymbol for a matrix of so many entries")
    formula = sympy.Integer(0)
    for i in range(node.rows):
        for j in range(node.cols):
            unit = sympy.ImmutableDenseMatrix(*node.shape, lambda *place, here=(i, j): int(place == here))
            formula += read.scalar(node[i, j]) * read.viewed(read.define(unit))
    return read.entries(formula, tuple(map(sympy.Integer, node.shape)))


ENTRY_RULES |= {
    sympy.MatAdd: lambda read, node: sympy.Add(*map(read.formula, node.args)),
    sympy.HadamardProduct: lambda read, node: sympy.Mul(*map(read.formula, node.args)),
    sympy.HadamardPower: lambda read, node: sympy.Pow(*map(read.formula, node.args)),
    ElementwiseApplyFunction: lambda read, node: read.applied(node.function, [read.formula(node.expr)]),
    Elementwise: lambda read, node: read.applied(node.args[0], map(read.formula, node.args[1:])),
    sympy.MatMul: entry_of_product,
    sympy.DiagMatrix: spread,
    sympy.DiagonalMatrix: lambda read, node: read.on_diagonal(read.matrix(node.arg))[0],
    sympy.OneMatrix: lambda read, node: sympy.Integer(1),
    sympy.ZeroMatrix: lambda read, node: sympy.Integer(0),
    RowSoftmax: read_softmax,
}
DEFINITION_RULES |= {
    sympy.MatrixSymbol: Reader.matrix,
    sympy.MatAdd: sum_of_products,
    sympy.MatMul: sum_of_products,
    Elementwise: lambda read, node: read.written(read.formula(node), read.shape(node)),
    RowLogSumExp: lambda read, node: read.written(read.viewed(read.matrix(node)), read.shape(node)),
}
MATRIX_RULES |= {
    sympy.MatrixSymbol: Reader.input,
    sympy.MatrixBase: explicit,
    Arange: lambda read, node: read.define(node.xreplace(read.sizes)),
    **dict.fromkeys((sympy.OneMatrix, sympy.ZeroMatrix, sympy.Identity), lambda read, node: node.xreplace(read.sizes)),
    **dict.fromkeys((sympy.Transpose, Adjoint), lambda read, node: transposed(read.matrix(node.arg))),
    sympy.Inverse: lambda read, node: read.multiplied([factor_of(read, node)]),
    sympy.MatPow: read_power,
    sympy.DiagonalOf: main_diagonal,
    sympy.KroneckerProduct: kronecker,
    sympy.BlockMatrix: blocks,
    sympy.BlockDiagMatrix: lambda read, node: read.matrix(sympy.BlockMatrix(node.blocks)),
    MatrixSlice: read_slice,
    RowLogSumExp: lambda read, node: read.logsumexp(read.matrix(node.args[0])),
    RowMax: read_largest,
    BlockSum: lambda read, node: read.define(BlockSum(read.matrix(node.matrix), read.matrix(node.factor), node.inner)),
}
