"""What an equation computes, in words that every output shares: about a dozen operations on matrices.

`lower` says it of an expression; code, numbers and pages read these, and nothing else. Shapes are (rows, columns).
"""

from dataclasses import dataclass

from sympy import Expr, MatrixSymbol, Symbol

Shape = tuple[Expr, Expr]


@dataclass(frozen=True)
class Operation:
    shape: Shape


@dataclass(frozen=True)
class NamedMatrix(Operation):
    """A matrix that has a name."""

    symbol: MatrixSymbol


@dataclass(frozen=True)
class Constant(Operation):
    """Ones, zeros, the identity, the column 0, 1, ..., or `entries` row by row."""

    kind: str
    entries: tuple[tuple[Expr, ...], ...] = ()


@dataclass(frozen=True)
class Transposed(Operation):
    of: Operation


@dataclass(frozen=True)
class Power(Operation):
    """A square matrix times itself; the inverse is the power -1."""

    of: Operation
    exponent: Expr


@dataclass(frozen=True)
class Product(Operation):
    """The matrix product of two or more factors."""

    factors: tuple[Operation, ...]


@dataclass(frozen=True)
class Scaled(Operation):
    """A number, in which sizes may be, times a matrix."""

    scale: Expr
    of: Operation


@dataclass(frozen=True)
class Sum(Operation):
    terms: tuple[Operation, ...]


@dataclass(frozen=True)
class Affine(Operation):
    """input weight^T + 1 bias, each row of the input by itself."""

    input: NamedMatrix
    weight: NamedMatrix
    bias: NamedMatrix


@dataclass(frozen=True)
class Entrywise(Operation):
    """A scalar formula at each entry; each of its symbols runs over the entries of an operand."""

    formula: Expr
    operands: tuple[tuple[Symbol, Operation], ...]


@dataclass(frozen=True)
class Reduction(Operation):
    """Sum, logarithm of the sum of exp, or largest, over the rows (axis 0), the columns (axis 1) or both (None)."""

    kind: str
    axis: int | None
    of: Operation


@dataclass(frozen=True)
class Repeated(Operation):
    """A row, a column or a number, repeated to the shape."""

    of: Operation


@dataclass(frozen=True)
class Inner(Operation):
    """The sum of the products of the entries of two matrices of one shape: tr(left^T right), a number."""

    left: Operation
    right: Operation


@dataclass(frozen=True)
class Number(Operation):
    """Trace or determinant of a square matrix, or the log of the determinant, the log of its size, or its sign."""

    kind: str
    of: Operation


@dataclass(frozen=True)
class Entry(Operation):
    of: Operation
    row: Expr
    column: Expr


@dataclass(frozen=True)
class Kronecker(Operation):
    left: Operation
    right: Operation


@dataclass(frozen=True)
class Contraction(Operation):
    """A sum of products of entries, as the derivative of a Kronecker product has it.

    Entry i, j sums block i, j of the matrix times the factor, whose size the blocks have; with `inner` it sums the
    entries i, j of all blocks, each times the entry of the factor for that block.
    """

    blocks: Operation
    factor: Operation
    inner: bool


@dataclass(frozen=True)
class Slice(Operation):
    """Rows and columns from the first, up to and without the second of two numbers."""

    of: Operation
    rows: tuple[Expr, Expr]
    columns: tuple[Expr, Expr]


@dataclass(frozen=True)
class Blocks(Operation):
    """Blocks in rows, side by side."""

    rows: tuple[tuple[Operation, ...], ...]
