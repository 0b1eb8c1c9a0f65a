"""Nodes that SymPy has none for."""

from typing import Any, ClassVar

from sympy import Basic, Expr, Integer, Lambda, MatrixExpr, MatrixSymbol, ShapeError, Symbol, sympify
from sympy.matrices.expressions.matexpr import MatrixElement
from sympy.printing.precedence import PRECEDENCE


class Node(MatrixExpr):
    """A matrix that stays as it is: SymPy works nothing out in it, and knows no formula of its entries."""

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:
        return MatrixElement(self, i, j)

    def doit(self, **hints: Any) -> "Node":
        return self


class Elementwise(Node):
    """A scalar formula applied entry by entry to matrices of one shape.

    The formula's bound variables carry the names of the matrices that they run over, so that two formulas over the same
    matrices can be added as scalars. An operand is a matrix symbol or a view of one (a broadcast, a transpose).
    """

    def __new__(cls, formula: Lambda, *operands: MatrixExpr) -> "Elementwise":
        if any(operand.shape != operands[0].shape for operand in operands):
            shapes = ", ".join(f"{operand}: {operand.shape}" for operand in operands)
            raise ShapeError(f"entry by entry needs one shape, got {shapes}")
        return Basic.__new__(cls, formula, *operands)

    precedence = PRECEDENCE["Add"]

    @property
    def formula(self) -> Expr:
        return self.args[0].expr

    @property
    def operands(self) -> dict[Symbol, MatrixExpr]:
        """Each bound variable and the matrix it runs over."""
        return dict(zip(self.args[0].variables, self.args[1:], strict=True))

    @property
    def shape(self) -> tuple[Expr, Expr]:
        return self.args[1].shape

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:
        return self.formula.xreplace({u: operand[i, j] for u, operand in self.operands.items()})


class OfRows(Node):
    """A column with a number of each row of a matrix; `word` is what it is called in text."""

    word: ClassVar[str]

    def __new__(cls, operand: MatrixExpr) -> "OfRows":
        return Basic.__new__(cls, operand)

    @property
    def shape(self) -> tuple[Expr, Expr]:
        return self.args[0].shape[0], Integer(1)

    def _sympystr(self, printer: Any) -> str:
        return f"{self.word}({printer._print(self.args[0])})"


class RowLogSumExp(OfRows):
    """The column of log(sum over the row of exp(entry))."""

    word = "logsumexp"


class RowMax(OfRows):
    """The column of the largest entry of each row.

    No derivative goes through it. It is subtracted before exp, so that nothing overflows and no digit is lost, where
    any number would give the same results; or it says which entries are the largest, which changes at ties alone.
    """

    word = "amax"


class RowSoftmax(OfRows):
    """exp of each entry over the sum of exp of its row, a matrix of the same shape."""

    word = "softmax"

    @property
    def shape(self) -> tuple[Expr, Expr]:
        return self.args[0].shape


class Scalar(Node):
    """A number of a matrix, a trace or a determinant, as the 1 x 1 matrix that holds it."""

    def __new__(cls, number: Expr) -> "Scalar":
        return Basic.__new__(cls, sympify(number))

    @property
    def number(self) -> Expr:
        return self.args[0]

    @property
    def shape(self) -> tuple[Expr, Expr]:
        return Integer(1), Integer(1)

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:
        return self.number


class BlockSum(Node):
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
    def word(self) -> str:
        return "overblocks" if self.inner else "inblocks"

    def _sympystr(self, printer: Any) -> str:
        return f"{self.word}({printer._print(self.matrix)}, {printer._print(self.factor)})"

    @property
    def shape(self) -> tuple[Expr, Expr]:
        (m, n), (p, q) = self.matrix.shape, self.factor.shape
        return m / p, n / q


class PositiveNumber(MatrixSymbol):
    """A number that is declared to be positive, as a 1 x 1 matrix."""


class Symmetric(MatrixSymbol):
    """A square matrix that is its own transpose."""


class Arange(Node):
    """The column 0, 1, ..., n - 1."""

    def __new__(cls, length: Expr) -> "Arange":
        return Basic.__new__(cls, sympify(length))

    @property
    def shape(self) -> tuple[Expr, Expr]:
        return self.args[0], Integer(1)

    def _sympystr(self, printer: Any) -> str:
        return f"arange({printer._print(self.args[0])})"

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:
        return i


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
