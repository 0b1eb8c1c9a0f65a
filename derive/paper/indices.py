"""Equations entry by entry as LaTeX: each entry as a sum over indices of products of numbers."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from sympy import Expr, Integer, MatrixExpr, MatrixSymbol, sympify

from derive.operations import (
    Affine,
    Constant,
    Entrywise,
    Inner,
    NamedMatrix,
    Number,
    Operation,
    Product,
    Reduction,
    Repeated,
    Scaled,
    Sum,
    Transposed,
    lower,
)
from derive.paper.breaking import sized
from derive.paper.formulas import ATOM_TEX, DIFFERENTIAL, PRODUCT_TEX, SUM_TEX, FormulaWriter, Piece, facing
from derive.paper.latex import TexPrinter, level_of
from derive.programs import ROLE_TEX, Equation, Notation, Program

INDEX_LETTERS = "ijkmhvwxyabcgnpqrstu"
UNIT = Integer(1)


@dataclass(frozen=True)
class Term:
    """A number times a sum over indices of a product."""

    sums: list[str] = field(default_factory=list)
    factors: list[Piece] = field(default_factory=list)
    scale: Expr = UNIT

    def __mul__(self, other: "Term") -> "Term":
        return Term(self.sums + other.sums, self.factors + other.factors, self.scale * other.scale)


def multiplied_terms(left: list[Term], right: list[Term]) -> list[Term]:
    """Two sums of terms, multiplied out."""
    return [one * other for one in left for other in right]


def present(*indices: str) -> list[str]:
    """Those indices that there are: a side of size 1 has none."""
    return [index for index in indices if index]


class IndexWriter:
    """The entries of what an operation computes: sums over indices of products of numbers.

    i and j count the rows and columns of the `first` matrix, and letters stay with the sizes that they were first given
    to; where data have `rows`, i is theirs alone. None is a name that is taken.
    """

    def __init__(self, notation: Notation, taken: Iterable[str], first: MatrixSymbol, rows: Expr | None = None) -> None:
        self.notation, self.printer = notation, TexPrinter(notation)
        self.free = [letter for letter in INDEX_LETTERS if letter not in set(taken)]
        self.letters: dict[str, Expr] = {} if rows is None else {INDEX_LETTERS[0]: rows}
        self.target(first)

    def index(self, size: Expr) -> str:
        """A letter that is not in use: one that this size has already, or a new one."""
        if size == 1:
            return ""
        for letter in sorted(self.free, key=lambda letter: self.letters.get(letter) != size):
            if letter not in self.used and self.letters.get(letter, size) == size:
                self.letters[letter] = size
                self.used.add(letter)
                return letter
        raise NotImplementedError("more indices than letters")

    def target(self, matrix: MatrixSymbol) -> tuple[str, str, str]:
        """An entry of a symbol, and the two letters of its indices."""
        self.used: set[str] = set()
        row, column = (self.index(size) for size in matrix.shape)
        return self.symbol(matrix.name, row, column), row, column

    def entry(self, symbol: MatrixSymbol, row: str, column: str) -> Piece:
        return Piece(self.symbol(symbol.name, row, column), level_of(self.notation, symbol))

    def symbol(self, name: str, row: str, column: str) -> str:
        role, other = self.notation.role(name)
        if role is not None:
            return ROLE_TEX[role].format(self.symbol(other, row, column))
        letters, number = self.notation.thin(name)
        below = ";".join(part for part in (number, ",".join(present(row, column))) if part)
        return f"{letters}_{{{below}}}" if below else letters

    def terms(self, operation: Operation, row: str, column: str) -> list[Term]:
        """A sum of products.

        Raises NotImplementedError for an operation that has no such form.
        """
        match operation:
            case NamedMatrix(symbol=symbol):
                return [Term([], [self.entry(symbol, row, column)])]
            case Constant(kind="ones"):
                return [Term()]
            case Transposed(of=of):
                return self.terms(of, column, row)
            case Scaled(scale=scale, of=of):
                return [Term(scale=scale) * term for term in self.terms(of, row, column)]
            case Sum(terms=parts):
                return [term for part in parts for term in self.apart(part, row, column)]
            case Affine(input=input, weight=weight, bias=bias):
                product = Product(operation.shape, (input, Transposed(weight.shape[::-1], weight)))
                return [*self.product_terms(product, row, column), *self.terms(bias, "", column)]
            case Product():
                return self.product_terms(operation, row, column)
            case Repeated(of=of):
                row, column = (index if size != 1 else "" for index, size in zip((row, column), of.shape, strict=True))
                return self.terms(of, row, column)
            case Inner(left=left, right=right):
                i, j = (self.index(size) for size in left.shape)
                pairs = multiplied_terms(self.terms(left, i, j), self.terms(right, i, j))
                return [Term(present(i, j)) * pair for pair in pairs]
            case Reduction(kind="sum", axis=axis, of=of):
                i, j = (self.index(size) if axis in (None, side) else "" for side, size in enumerate(of.shape))
                return [Term(present(i, j)) * term for term in self.terms(of, i or row, j or column)]
            case Number(kind="trace", of=of):
                i = self.index(of.shape[0])
                return [Term(present(i)) * term for term in self.terms(of, i, i)]
            case Reduction(kind="logsumexp", of=of):
                along = self.index(of.shape[1])
                value = rf"\log({self.sums([along])}\exp({self.spelled(self.terms(of, row, along)).tex}))"
                return [Term([], [Piece(value, ATOM_TEX)])]
            case Entrywise():
                return [Term([], [self.formula(operation, row, column)])]
        raise NotImplementedError(type(operation).__name__)

    def apart(self, operation: Operation, row: str, column: str) -> list[Term]:
        """A summand's terms, whose sums take the letters that those of others take, unless they show another range."""
        used, letters = set(self.used), dict(self.letters)
        terms = self.terms(operation, row, column)
        ranges = any(len(term.sums) == 1 for term in terms)
        self.used, self.letters = used, self.letters if ranges else letters
        return terms

    def product_terms(self, product: Product, row: str, column: str) -> list[Term]:
        inner = [self.index(factor.shape[1]) for factor in product.factors[:-1]]
        ways = [Term(present(*inner))]
        for factor, left, right in zip(product.factors, [row, *inner], [*inner, column], strict=True):
            ways = multiplied_terms(ways, self.terms(factor, left, right))
        return ways

    def formula(self, operation: Entrywise, row: str, column: str) -> Piece:
        names = {}
        for scalar, operand in operation.operands:
            (term, *others) = self.terms(operand, row, column)
            if others or term.sums or len(term.factors) != 1 or term.scale != 1:
                raise NotImplementedError("a sum inside a formula")
            names[scalar] = term.factors[0]
        return FormulaWriter(self.printer, names, matrix=False, in_line=True).piece(facing(operation.formula))

    def spelled(self, terms: list[Term]) -> Piece:
        """The terms as text, each with its sign."""
        (negative, first), *others = [self.signed(term) for term in terms]
        text = ("-" if negative else "") + first.tex
        text += "".join(f" {'-' if minus else '+'} {piece.tex}" for minus, piece in others)
        return Piece(text, SUM_TEX if negative or others or terms[0].sums else first.level)

    def signed(self, term: Term) -> tuple[bool, Piece]:
        """Whether a term is subtracted, and what: a number, the sums, their factors; a differential is the last."""
        negative = term.scale.could_extract_minus_sign()
        scale = -term.scale if negative else term.scale
        number = [] if scale == 1 else [self.printer.piece(scale).at(PRODUCT_TEX)]
        factors = sorted(term.factors, key=lambda piece: piece.level == DIFFERENTIAL)
        if len(factors) == 1 and not number:
            text = factors[0].at(PRODUCT_TEX if term.sums or negative else SUM_TEX)
            if text.startswith("-"):
                return True, Piece(text[1:], factors[0].level)
            return negative, Piece(self.sums(term.sums) + text, factors[0].level)
        product = [part.at(PRODUCT_TEX) for part in factors]
        if term.sums:
            product = [self.sums(term.sums) + (r" \, ".join(product) or "1")]
        return negative, Piece(r" \, ".join([*number, *product]) or "1", PRODUCT_TEX)

    def sums(self, indices: list[str]) -> str:
        """One sign of summation; a single index shows its range."""
        if len(indices) > 1:
            return rf"\sum_{{{', '.join(indices)}}} "
        return "".join(rf"\sum_{{{i}=1}}^{{{self.printer._print(self.letters[i])}}} " for i in indices)


def taken_names(matrices: Iterable[MatrixSymbol]) -> set[str]:
    """What an index may not be called: matrices, and the letters of their sizes."""
    sizes = (sympify(size) for matrix in matrices for size in matrix.shape)
    return {matrix.name for matrix in matrices} | {str(letter) for size in sizes for letter in size.free_symbols}


def writer_of(program: Program, equation: Equation) -> IndexWriter:
    """What writes the entries of an equation; of a backward one with the indices of what it goes back through."""
    matrices = (*program.inputs, *(equation.target for equation in program.equations))
    rows = program.data[0].shape[0] if program.data else None
    return IndexWriter(program.notation, taken_names(matrices), (equation.through or equation).target, rows)


def entry_latex(program: Program, equation: Equation) -> str | None:
    """target_ij = sum over k of ..., or None where the operation has no such form."""
    writer = writer_of(program, equation)
    left, row, column = writer.target(equation.target)
    try:
        return sized(f"{left} = {writer.spelled(writer.terms(lower(equation.value), row, column)).tex}")
    except NotImplementedError:
        return None


def index_proof(
    writer: IndexWriter, cotangent: MatrixExpr, change: MatrixExpr, gradient: MatrixExpr, variation: MatrixSymbol
) -> list[str] | None:
    """<G, dF> as a sum over all indices, and the same sum with dV taken out.

    None where there is no such form, or where G is a constant, which has no name.
    """
    if not isinstance(cotangent, MatrixSymbol):
        return None
    g, row, column = writer.target(cotangent)
    try:
        outer = Term(present(row, column), [Piece(g, level_of(writer.notation, cotangent))])
        lines = [writer.spelled([outer * term for term in writer.terms(lower(change), row, column)]).tex]
        dv, row, column = writer.target(variation)
        inner = writer.spelled(writer.terms(lower(gradient), row, column))
    except NotImplementedError:
        return None
    lines.append(rf"{writer.sums(present(row, column))}{inner.at(PRODUCT_TEX)} \, {dv}")
    return [sized(line) for line in lines]
