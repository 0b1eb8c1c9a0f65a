"""Nodes that SymPy has none for."""

from typing import Any

from sympy import Basic, Expr, Integer, MatrixExpr, MatrixSymbol, sympify
from sympy.matrices.expressions.matexpr import MatrixElement


class BlockSum(MatrixExpr):
    """What a Kronecker product's derivative is made of: G is seen as blocks of the factor's size.

    Entry i, j is the sum of the entries of block i, j times those of the factor; with `inner`, entry k, l is the sum of
    the entries k, l of all blocks, each times the factor's entry for that block.
    """

    def __new__(cls, matrix: MatrixExpr, factor: MatrixExpr, inner: bool) -> "BlockSum":
        return Basic.__new__(cls, matrix, factor, sympify(bool(inner)))

    @property
    def matrix(self) -> MatrixExpr:
        return self.args[0]

    @property
    def factor(self) -> MatrixExpr:
        return self.args[1]

    @property
    def inner(self) -> bool:
        return bool(self.args[2])

    @property
    def shape(self) -> tuple[Expr, Expr]:
        (m, n), (p, q) = self.matrix.shape, self.factor.shape
        return m / p, n / q

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:
        return MatrixElement(self, i, j)

    def doit(self, **hints: Any) -> "BlockSum":
        return self


class PositiveNumber(MatrixSymbol):
    """A number that is declared to be positive, as a 1 x 1 matrix."""


class Arange(MatrixExpr):
    """The column 0, 1, ..., n - 1."""

    def __new__(cls, length: Expr) -> "Arange":
        return Basic.__new__(cls, sympify(length))

    @property
    def shape(self) -> tuple[Expr, Expr]:
        return self.args[0], Integer(1)

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:
        return i

    def doit(self, **hints: Any) -> "Arange":
        return self


class RowSoftmax(MatrixExpr):
    """exp of each entry over the sum of exp of its row."""

    def __new__(cls, operand: MatrixExpr) -> "RowSoftmax":
        return Basic.__new__(cls, operand)

    @property
    def shape(self) -> tuple[Expr, Expr]:
        return self.args[0].shape

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:
        return MatrixElement(self, i, j)

    def _sympystr(self, printer: Any) -> str:
        return f"softmax({printer._print(self.args[0])})"

    def doit(self, **hints: Any) -> "RowSoftmax":
        return self


class OfDeterminant(Expr):
    """A number of the determinant of a matrix, found without the determinant itself, which may under- or overflow."""

    def __new__(cls, arg: MatrixExpr) -> "OfDeterminant":
        return Basic.__new__(cls, arg)

    @property
    def arg(self) -> MatrixExpr:
        return self.args[0]


class LogDet(OfDeterminant):
    """log(det X)."""


class LogAbsDet(OfDeterminant):
    """log |det X|."""


class SignDet(OfDeterminant):
    """The sign of det X: 1, -1 or 0; no derivative goes through it."""
