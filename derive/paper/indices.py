"""Equations entry by entry as LaTeX: each entry as a sum over indices of products of numbers."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from sympy import Expr, Integer, MatAdd, MatMul, MatrixExpr, MatrixSymbol, OneMatrix, Transpose, sympify

from derive.paper.breaking import sized
from derive.paper.formulas import ATOM, DIFFERENTIAL, PRODUCT, SUM, FormulaWriter, Piece
from derive.paper.latex import TexPrinter, level_of
from derive.programs import MADE, Elementwise, Equation, Notation, Program, RowLogSumExp

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


class IndexWriter:
    """The entries of a matrix expression: sums over indices of products of numbers.

    i and j count the rows and columns of the `first` matrix, and letters stay with the sizes that they were first given
    to. None is a name that is taken.
    """

    def __init__(self, notation: Notation, taken: Iterable[str], first: MatrixSymbol) -> None:
        self.notation, self.printer = notation, TexPrinter(notation)
        self.free = [letter for letter in INDEX_LETTERS if letter not in set(taken)]
        self.letters: dict[str, Expr] = {}
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

    def symbol(self, name: str, row: str, column: str) -> str:
        role, other = self.notation.role(name)
        if role is not None:
            return MADE[role].format(self.symbol(other, row, column))
        letters, number = self.notation.sign(name)
        below = ";".join(part for part in (number, ",".join(filter(None, (row, column)))) if part)
        return f"{letters}_{{{below}}}" if below else letters

    def terms(self, expr: MatrixExpr, row: str, column: str) -> list[Term]:
        """A sum of products.

        Raises NotImplementedError for an operation that has no such form.
        """
        if isinstance(expr, MatrixSymbol):
            return [Term([], [Piece(self.symbol(expr.name, row, column), level_of(self.notation, expr))])]
        if isinstance(expr, Transpose):
            return self.terms(expr.arg, column, row)
        if isinstance(expr, OneMatrix):
            return [Term()]
        if isinstance(expr, MatAdd):
            return [term for part in expr.args for term in self.terms(part, row, column)]
        if isinstance(expr, Elementwise):
            return [Term([], [self.formula(expr, row, column)])]
        if isinstance(expr, RowLogSumExp):
            along = self.index(expr.args[0].shape[1])
            terms = self.terms(expr.args[0], row, along)
            value = rf"\log({self.sums([along])}\exp({self.spelled(terms).tex}))"
            return [Term([], [Piece(value, ATOM)])]
        if isinstance(expr, MatMul):
            return self.product_terms(expr, row, column)
        raise NotImplementedError(type(expr).__name__)

    def product_terms(self, expr: MatMul, row: str, column: str) -> list[Term]:
        scale, matrices = expr.as_coeff_matrices()
        inner = [self.index(matrix.shape[1]) for matrix in matrices[:-1]]
        ways = [Term([i for i in inner if i], [], scale)]
        for matrix, left, right in zip(matrices, [row, *inner], [*inner, column], strict=True):
            ways = [way * more for way in ways for more in self.terms(matrix, left, right)]
        return ways

    def formula(self, expr: Elementwise, row: str, column: str) -> Piece:
        names_of = {}
        for scalar, operand in expr.operands.items():
            (term, *others) = self.terms(operand, row, column)
            if others or term.sums or len(term.factors) != 1 or term.scale != 1:
                raise NotImplementedError("a sum inside a formula")
            names_of[scalar] = term.factors[0]
        return FormulaWriter(self.printer, names_of, matrix=False, in_line=True).piece(expr.formula)

    def spelled(self, terms: list[Term]) -> Piece:
        """The terms as text, each with its sign."""
        (negative, first), *others = [self.signed(term) for term in terms]
        text = ("-" if negative else "") + first.tex
        text += "".join(f" {'-' if minus else '+'} {piece.tex}" for minus, piece in others)
        return Piece(text, SUM if negative or others or terms[0].sums else first.level)

    def signed(self, term: Term) -> tuple[bool, Piece]:
        """Whether a term is subtracted, and what: a number, the sums, their factors; a differential is the last."""
        negative = term.scale.could_extract_minus_sign()
        scale = -term.scale if negative else term.scale
        number = [] if scale == 1 else [Piece(self.printer._print(scale), SUM if scale.is_Add else ATOM)]
        factors = sorted(term.factors, key=lambda piece: piece.level == DIFFERENTIAL)
        if len(factors) == 1 and not number:
            level = PRODUCT if term.sums else SUM
            return negative, Piece(self.sums(term.sums) + factors[0].at(level), factors[0].level)
        product = [part.at(PRODUCT) for part in factors]
        if term.sums:
            product = [self.sums(term.sums) + (r" \, ".join(product) or "1")]
        before = [part.at(PRODUCT) for part in number]
        return negative, Piece(r" \, ".join([*before, *product]) or "1", PRODUCT)

    def sums(self, indices: list[str]) -> str:
        """One sign of summation; a single index shows its range."""
        if len(indices) > 1:
            return rf"\sum_{{{', '.join(indices)}}} "
        return "".join(rf"\sum_{{{i}=1}}^{{{self.printer._print(self.letters[i])}}} " for i in indices)


def names_of(matrices: Iterable[MatrixSymbol]) -> set[str]:
    """What an index may not be called: matrices, and the letters of their sizes."""
    sizes = (sympify(size) for matrix in matrices for size in matrix.shape)
    return {matrix.name for matrix in matrices} | {str(letter) for size in sizes for letter in size.free_symbols}


def writer_of(program: Program, equation: Equation) -> IndexWriter:
    """What writes the entries of an equation; of a backward one with the indices of what it goes back through."""
    matrices = (*program.inputs, *(equation.target for equation in program.equations))
    return IndexWriter(program.notation, names_of(matrices), (equation.through or equation).target)


def entry_latex(program: Program, equation: Equation) -> str | None:
    """target_ij = sum over k of ..., or None where the operation has no such form."""
    writer = writer_of(program, equation)
    left, row, column = writer.target(equation.target)
    try:
        return sized(f"{left} = {writer.spelled(writer.terms(equation.value, row, column)).tex}")
    except NotImplementedError:
        return None


def index_proof(
    writer: IndexWriter, cotangent: MatrixSymbol, change: MatrixExpr, gradient: MatrixExpr, variation: MatrixSymbol
) -> list[str] | None:
    """<G, dF> as a sum over all indices, and the same sum with dV taken out, or None where there is no such form."""
    g, row, column = writer.target(cotangent)
    try:
        outer = Term([i for i in (row, column) if i], [Piece(g, level_of(writer.notation, cotangent))])
        lines = [writer.spelled([outer * term for term in writer.terms(change, row, column)]).tex]
        dv, row, column = writer.target(variation)
        inner = writer.spelled(writer.terms(gradient, row, column))
    except NotImplementedError:
        return None
    over = [i for i in (row, column) if i]
    lines.append(rf"{writer.sums(over)}{inner.at(PRODUCT)} \, {dv}")
    return [sized(line) for line in lines]
