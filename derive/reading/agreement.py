"""What SymPy lets pass and no program can be made of: shapes that do not agree, symbols that are no real number."""

from collections.abc import Iterable, Iterator
from itertools import pairwise

from sympy import (
    Add,
    Basic,
    Determinant,
    DiagonalMatrix,
    DiagonalOf,
    Expr,
    HadamardPower,
    HadamardProduct,
    Indexed,
    IndexedBase,
    Integer,
    Inverse,
    MatAdd,
    MatMul,
    MatPow,
    MatrixBase,
    MatrixExpr,
    OneMatrix,
    Symbol,
    Trace,
    Transpose,
    preorder_traversal,
    sympify,
)
from sympy.tensor.indexed import Idx

from derive.programs import Elementwise

EVERY_ENTRY = (MatAdd, HadamardProduct, HadamardPower, Elementwise)
SQUARE = (Trace, Determinant, Inverse, MatPow, DiagonalOf, DiagonalMatrix)


def check_agreement(loss: Basic, variables: Iterable[Basic]) -> None:
    """Raises ValueError that names the part without a meaning, of several the shortest, and what would have one."""
    found = [problem for node in (*preorder_traversal(loss), *variables) for problem in problems(node)]
    found += [problem for symbol in {*loss.free_symbols, *variables} for problem in unreal(symbol)]
    if found:
        raise ValueError(min(found, key=lambda text: (len(text), text)))


def problems(node: Basic) -> Iterator[str]:
    if isinstance(node, Indexed | IndexedBase | Idx):
        yield f"{node}: {type(node).__name__} is not supported; x[i, 0] is an entry of a MatrixSymbol x"
    if isinstance(node, MatrixExpr | MatrixBase) and any(sympify(size).is_positive is False for size in node.shape):
        yield f"{shape_words(node)}: a matrix needs at least one row and one column"
    matrices = [part for part in node.args if isinstance(part, MatrixExpr | MatrixBase)]
    for first, second in pairwise(matrices):
        if isinstance(node, EVERY_ENTRY) and not same_shape(first.shape, second.shape):
            yield f"{node}: {shape_words(first)} and {shape_words(second)}; {repeating(node, first, second)}"
        if isinstance(node, MatMul) and not same_shape(first.shape[1:], second.shape[:1]):
            needed = "the first needs as many columns as the second has rows"
            yield f"{node}: {shape_words(first)} and {shape_words(second)}; {needed}"
    if isinstance(node, SQUARE) and not same_shape(matrices[0].shape[:1], matrices[0].shape[1:]):
        hint = "; total(...) adds all entries" if isinstance(node, Trace) else ""
        yield f"{node}: {type(node).__name__} needs a square matrix, and {shape_words(matrices[0])}{hint}"
    elif isinstance(node, Determinant | Inverse):
        rank, rows = highest_rank(matrices[0]), matrices[0].shape[0]
        if sympify(rank - rows).is_negative:
            words = f"{matrices[0]} has at most rank {rank} of {rows}"
            yield f"{node}: {words}, so that its determinant is 0 everywhere and it has no inverse"


def highest_rank(matrix: MatrixExpr) -> Expr:
    """What the rank is at most, by the shapes of what the matrix is made of."""
    parts = [highest_rank(part) for part in matrix.args if isinstance(part, MatrixExpr | MatrixBase)]
    bounds = [sympify(size) for size in matrix.shape]
    if isinstance(matrix, MatMul | Transpose):
        bounds += parts
    elif isinstance(matrix, MatAdd):
        bounds.append(Add(*parts))
    elif isinstance(matrix, OneMatrix):
        bounds.append(Integer(1))
    return min((bound for bound in bounds if bound.is_Integer), default=bounds[0])


def unreal(symbol: Basic) -> Iterator[str]:
    if isinstance(symbol, Symbol) and (
        symbol.is_commutative is False or symbol.is_real is False or (symbol.is_complex and not symbol.is_real)
    ):
        yield f"{symbol}: expected a real number, but the symbol is declared to be of another kind"


def same_shape(shape: Iterable[Expr], other: Iterable[Expr]) -> bool:
    return all(sympify(size - second).expand() == 0 for size, second in zip(shape, other, strict=True))


def shape_words(matrix: MatrixExpr) -> str:
    return f"{matrix} is {tuple(matrix.shape)}"


def repeating(node: Basic, first: MatrixExpr, second: MatrixExpr) -> str:
    """What would give the two one shape: a row or a column is repeated by a product with ones."""
    small, (rows, columns) = (first, second.shape) if 1 in first.shape else (second, first.shape)
    does = "adds {} to" if isinstance(node, MatAdd) else "repeats {} in"
    text = f"({small})" if isinstance(small, MatAdd) else str(small)
    if tuple(small.shape) == (1, 1):
        return f"Trace({small})*OneMatrix({rows}, {columns}) {does.format('it')} every entry"
    if small.shape[0] == 1:
        return f"OneMatrix({rows}, 1)*{text} {does.format('the row')} every row"
    if small.shape[1] == 1:
        return f"{text}*OneMatrix(1, {columns}) {does.format('the column')} every column"
    return "one shape is needed"
