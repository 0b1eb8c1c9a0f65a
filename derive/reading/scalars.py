"""What a number is read as, and a matrix of one entry."""

import sys

import sympy
from sympy.core.function import AppliedUndef
from sympy.logic.boolalg import Boolean
from sympy.matrices.expressions.adjoint import Adjoint
from sympy.matrices.expressions.applyfunc import ElementwiseApplyFunction
from sympy.matrices.expressions.matexpr import MatrixElement
from sympy.matrices.expressions.slice import MatrixSlice

from derive.formulas import absolute, rewritten, root
from derive.programs import PLAIN, Arange, BlockSum, Elementwise, RowLogSumExp, RowMax, RowSoftmax, entry
from derive.reading.determinants import logarithm
from derive.reading.matrices import solved, split_product
from derive.reading.reader import NUMBER_RULES, Reader
from derive.reading.sums import read_sum

LARGEST_FLOAT = int(sys.float_info.max)
WORKED_OUT = (sympy.Derivative, sympy.Integral, sympy.Limit)
ONE_INSIDE = (sympy.Transpose, Adjoint, sympy.DiagMatrix, sympy.DiagonalMatrix, sympy.DiagonalOf)


def any_other(read: Reader, node: sympy.Basic) -> sympy.Expr:
    """A function of numbers, as that function of what they are read as; or a number itself."""
    if isinstance(node, sympy.Abs):
        return absolute(read.scalar(node.args[0]))
    if node.args:
        return rooted(read, rewritten(node.func(*map(read.scalar, node.args))))
    if not isinstance(node, sympy.Expr | Boolean):
        raise read.refuse(node, "a loss is a scalar expression")
    if node is sympy.nan or getattr(node, "is_real", True) is False or getattr(node, "is_finite", True) is False:
        raise read.refuse(node, "only real, finite numbers are supported")
    if node.is_Rational and abs(node) > LARGEST_FLOAT:
        raise read.refuse(node, "a number of torch is at most 1.8e308")
    return node


def rooted(read: Reader, formula: sympy.Expr) -> sympy.Expr:
    """The root of a sum of squares of symbols as a function of its own, for its slope at 0."""
    if not isinstance(formula, sympy.Pow) or formula.exp != sympy.Rational(1, 2) or read.notation is not PLAIN:
        return formula
    squares = sympy.Add.make_args(formula.base)
    return root(formula.base) if all(read.is_square(part) for part in squares) else formula


def variable(read: Reader, node: sympy.Symbol) -> sympy.Expr:
    known = {**read.sizes, **read.bound}
    return known[node] if node in known else entry(read.input(node))


def worked_out(read: Reader, node: sympy.Expr) -> sympy.Expr:
    """A derivative, an integral, a limit, as what SymPy finds for it."""
    try:
        done = node.doit()
    except (NotImplementedError, ValueError):
        done = node
    if done.has(*WORKED_OUT):
        raise read.refuse(node, "work it out first, or write the loss itself")
    return read.scalar(done)


def open_function(read: Reader, node: sympy.Expr) -> sympy.Expr:
    raise read.refuse(node, "give the function a formula, such as sin(t) or log(1 + exp(t))")


def determinant(read: Reader, node: sympy.Determinant) -> sympy.Expr:
    """The determinant; of one entry it is the entry, and of a power that power of the determinant."""
    if read.shape(node.arg) == (1, 1):
        return read.scalar(node.arg)
    if isinstance(node.arg, sympy.MatPow) and node.arg.exp.is_Integer:
        return determinant(read, sympy.Determinant(node.arg.base)) ** node.arg.exp
    return read.number(node.func(read.matrix(node.arg)))


def read_trace(read: Reader, node: sympy.MatrixExpr) -> sympy.Expr:
    if read.shape(node)[0] != read.shape(node)[1]:
        raise read.refuse(node, "only a square matrix has a trace; total(...) adds all entries")
    if isinstance(node, sympy.MatAdd):
        return sympy.Add(*(read_trace(read, part) for part in node.args))
    if isinstance(node, sympy.MatMul):
        return traced(read, node)
    return read.scalar(node) if read.shape(node) == (1, 1) else read.trace_of(solved(read, [node]))


def traced(read: Reader, node: sympy.MatMul) -> sympy.Expr:
    scales, matrices = split_product(read, node)
    return sympy.Mul(*scales) * (read.trace_of(solved(read, matrices)) if matrices else 1)


def dot(read: Reader, node: sympy.DotProduct) -> sympy.Expr:
    x, y = (v if v.shape[1] == 1 else v.T for v in node.args)
    return read_trace(read, x.T * y)


def element(read: Reader, parent: sympy.MatrixExpr, i: sympy.Expr, j: sympy.Expr) -> sympy.Expr:
    if isinstance(parent, sympy.MatrixBase):
        return read.scalar(parent[i, j])
    if read.shape(parent) == (1, 1):
        return read.scalar(parent)
    i, j = (sympy.sympify(index).xreplace(read.sizes) for index in (i, j))
    if i.is_negative or j.is_negative:
        raise read.refuse(parent[i, j], "entries are counted from 0 on, and the last of n is n - 1")
    matrix = read.matrix(parent)
    if isinstance(matrix, sympy.OneMatrix | sympy.ZeroMatrix):
        return sympy.Integer(isinstance(matrix, sympy.OneMatrix))
    if isinstance(matrix, sympy.Transpose):
        matrix, i, j = matrix.arg, j, i
    if not (i.free_symbols | j.free_symbols) <= set(read.sizes.values()):
        raise read.refuse(parent[i, j], "an index is a number, or bound by a Sum over a whole row or column")
    return sympy.Integer(i == j) if isinstance(matrix, sympy.Identity) else read.number(MatrixElement(matrix, i, j))


def read_logsumexp(read: Reader, node: RowLogSumExp) -> sympy.Expr:
    (inner,) = node.args
    return read.scalar(inner) if read.shape(inner) == (1, 1) else entry(read.logsumexp(read.matrix(inner)))


NUMBER_RULES |= {
    sympy.Basic: any_other,
    sympy.MatrixExpr: Reader.unknown,
    sympy.Symbol: variable,
    **dict.fromkeys(WORKED_OUT, worked_out),
    sympy.Permanent: Reader.unknown,
    AppliedUndef: open_function,
    sympy.Sum: read_sum,
    sympy.log: logarithm,
    sympy.Determinant: determinant,
    sympy.Trace: lambda read, node: read_trace(read, node.arg),
    sympy.DotProduct: dot,
    MatrixElement: lambda read, node: element(read, node.parent, node.i, node.j),
    sympy.MatrixSymbol: lambda read, node: read.number(sympy.Trace(read.input(node))),
    sympy.MatrixBase: lambda read, node: read.scalar(node[0, 0]),
    sympy.MatAdd: lambda read, node: sympy.Add(*map(read.scalar, node.args)),
    **dict.fromkeys(
        (sympy.HadamardProduct, sympy.KroneckerProduct), lambda read, node: sympy.Mul(*map(read.scalar, node.args))
    ),
    sympy.MatMul: traced,
    sympy.MatPow: lambda read, node: sympy.Pow(read.scalar(node.base), read.scalar(node.exp)),
    sympy.HadamardPower: lambda read, node: sympy.Pow(*map(read.scalar, node.args)),
    **dict.fromkeys(ONE_INSIDE, lambda read, node: read.scalar(node.args[0])),
    ElementwiseApplyFunction: lambda read, node: read.applied(node.function, [read.scalar(node.expr)]),
    Elementwise: lambda read, node: read.applied(node.args[0], map(read.scalar, node.args[1:])),
    **dict.fromkeys((sympy.Identity, sympy.OneMatrix, RowSoftmax), lambda read, node: sympy.Integer(1)),
    **dict.fromkeys((sympy.ZeroMatrix, Arange), lambda read, node: sympy.Integer(0)),
    MatrixSlice: lambda read, node: element(read, node.parent, node.rowslice[0], node.colslice[0]),
    RowLogSumExp: read_logsumexp,
    RowMax: lambda read, node: read.scalar(node.args[0]) if read.shape(node.args[0]) == (1, 1) else read.unknown(node),
    sympy.BlockMatrix: lambda read, node: read.scalar(node.blocks[0, 0]),
    BlockSum: lambda read, node: read_trace(read, node.matrix.T * node.factor),
}
