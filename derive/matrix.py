"""Words for what SymPy has none for, to write losses with: totals, row sums, formulas of several matrices, softmax."""

from collections.abc import Callable
from itertools import count

from sympy import (
    DiagonalOf,
    Dummy,
    Expr,
    Function,
    Lambda,
    MatMul,
    MatrixBase,
    MatrixExpr,
    MatrixSymbol,
    OneMatrix,
    ShapeError,
    Symbol,
    Trace,
    sympify,
)

from derive.formulas import FUNCTIONS
from derive.programs import Elementwise, RowLogSumExp, RowSoftmax, unused


def total(matrix: MatrixExpr) -> Expr:
    """The sum of all entries, a scalar."""
    check_matrix("total", matrix)
    return Trace(row_sum(column_sum(matrix)))


def row_sum(matrix: MatrixExpr) -> MatrixExpr:
    """The sum of each row, a column (m, 1)."""
    check_matrix("row_sum", matrix)
    return MatMul(matrix, OneMatrix(matrix.shape[1], 1))


def column_sum(matrix: MatrixExpr) -> MatrixExpr:
    """The sum of each column, a row (1, n)."""
    check_matrix("column_sum", matrix)
    return MatMul(OneMatrix(1, matrix.shape[0]), matrix)


def apply(function: Callable[..., Expr], *matrices: MatrixExpr) -> MatrixExpr:
    """A scalar function of the entries of matrices of one shape, entry by entry: apply(lambda a, b: a * exp(b), A, B).

    Raises ShapeError where the shapes differ, and TypeError where the function gives no SymPy expression.
    """
    if not matrices or not callable(function):
        raise TypeError("apply: expected a function, and at least one matrix")
    for matrix in matrices:
        check_matrix("apply", matrix)
    letters = [Dummy(real=True) for _ in matrices]
    try:
        formula = function(*letters)
    except TypeError as error:
        raise TypeError(f"apply: the function fails on symbols; sympy.exp, not numpy's or torch's: {error}") from error
    if not isinstance(formula, Expr | int | float):
        raise TypeError(f"apply: expected a function that gives a SymPy expression, got {type(formula).__name__}")
    formula = sympify(formula)
    names = unused((f"u{number}" for number in count()), formula.free_symbols)
    variables = {letter: Symbol(name, real=True) for letter, name in zip(letters, names, strict=False)}
    return Elementwise(Lambda(tuple(variables.values()), formula.xreplace(variables)), *matrices)


def relu(matrix: MatrixExpr | Expr) -> MatrixExpr | Expr:
    """Each entry, or 0 where it is negative; the slope at 0 is 0, as torch's, where that of Max(t, 0) is 1/2.

    Of a number it is one, for formulas of `apply`.
    """
    return of_each("relu", matrix)


def sigmoid(matrix: MatrixExpr | Expr) -> MatrixExpr | Expr:
    """1 / (1 + exp(-t)) of each entry t; of a number it is one."""
    return of_each("sigmoid", matrix)


def of_each(name: str, matrix: MatrixExpr | Expr) -> MatrixExpr | Expr:
    function = FUNCTIONS[name].func
    if not isinstance(matrix, Expr):
        check_matrix(name, matrix)
    return matrix.applyfunc(function) if isinstance(matrix, MatrixExpr) else function(matrix)


def logsumexp(matrix: MatrixExpr) -> MatrixExpr:
    """The log of each row's sum of exp, a column (m, 1); finite wherever the entries are.

    Raises ShapeError for a column, whose rows have one entry each.
    """
    check_rows("logsumexp", matrix, "logsumexp({}.T) is the number")
    return RowLogSumExp(matrix)


def log_softmax(matrix: MatrixExpr) -> MatrixExpr:
    """Each row minus the log of its sum of exp; raises ShapeError for a column."""
    check_rows("log_softmax", matrix, "log_softmax({}.T).T is the column")
    return matrix - RowLogSumExp(matrix) * OneMatrix(1, matrix.shape[1])


def softmax(matrix: MatrixExpr) -> MatrixExpr:
    """exp of the entries over the sum of exp of their row; raises ShapeError for a column."""
    check_rows("softmax", matrix, "softmax({}.T).T is the column")
    return RowSoftmax(matrix)


def check_matrix(name: str, matrix: object, advice: str = "") -> None:
    """Raises TypeError for what is no matrix, with that advice if there is no better."""
    if not isinstance(matrix, MatrixExpr | MatrixBase):
        kind = type(matrix).__name__
        if isinstance(matrix, Function) and any(isinstance(part, MatrixExpr) for part in matrix.args):
            advice = f"; X.applyfunc({kind}) is {kind} of each entry"
        hint = "; sympy.Matrix(...) of it is one" if type(matrix).__module__ == "numpy" else advice
        raise TypeError(f"{name}: expected a matrix expression, got {kind}{hint}")


def check_rows(name: str, matrix: MatrixExpr, right: str) -> None:
    check_matrix(name, matrix)
    if matrix.shape[1] == 1 != matrix.shape[0]:
        text = str(matrix) if isinstance(matrix, MatrixSymbol) else f"({matrix})"
        raise ShapeError(f"{name} is along rows, and {matrix} is a column {matrix.shape}; {right.format(text)}")


def diagonal(matrix: MatrixExpr) -> MatrixExpr:
    """The diagonal of a square matrix, a column (n, 1)."""
    check_matrix("diagonal", matrix)
    if matrix.shape[0] != matrix.shape[1]:
        raise ShapeError(f"diagonal: expected a square matrix, got {matrix.shape}")
    return DiagonalOf(matrix)
