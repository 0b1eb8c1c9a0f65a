"""Equations entry by entry as LaTeX: each entry as a sum over indices of products of numbers."""

from sympy import Expr, MatAdd, MatMul, MatrixExpr, MatrixSymbol, OneMatrix, Transpose

from derive.paper.breaking import sized
from derive.paper.latex import ATOM, FRACTION, PRODUCT, SCALED, SUM, FormulaPrinter, FormulaWriter, Piece
from derive.programs import Elementwise, Notation, Program, RowLogSumExp

PREFIXES = {"grad_": r"\frac{{\partial L}}{{\partial {0}}}", "diff_": "d{0}", "dot_": r"\dot{{{0}}}"}


class IndexWriter:
    """The entries of a matrix expression: sums over indices of products of numbers."""

    def __init__(self, notation: Notation) -> None:
        self.notation, self.printer = notation, FormulaPrinter(notation)
        self.letters: dict[str, Expr] = {}

    def index(self, size: Expr) -> str:
        """A letter that is free: n for a row of the batch, else j, k, i, m, ..., the same for the same size if free."""
        if size == 1:
            return ""
        preferred = [letter for letter, other in self.letters.items() if other == size]
        for letter in [*preferred, *("n" if str(size) == "N" else ""), *"jkimpqrstuvw"]:
            if letter not in self.used:
                self.letters.setdefault(letter, size)
                if self.letters[letter] == size:
                    self.used.add(letter)
                    return letter
        raise NotImplementedError("more indices than letters")

    def target(self, matrix: MatrixSymbol) -> tuple[str, str, str]:
        """An entry of a symbol, and the two letters of its indices."""
        self.used: set[str] = set()
        row, column = (self.index(size) for size in matrix.shape)
        return self.symbol(matrix, row, column), row, column

    def symbol(self, matrix: MatrixSymbol, row: str, column: str) -> str:
        name = matrix.name
        for prefix, form in PREFIXES.items():
            if name.startswith(prefix):
                return form.format(self.symbol(MatrixSymbol(name.removeprefix(prefix), *matrix.shape), row, column))
        letters, number = self.notation.sign(name)
        below = ",".join(part for part in (number, f"{row} {column}".strip()) if part)
        return f"{letters}_{{{below}}}" if below else letters

    def terms(self, expr: MatrixExpr, row: str, column: str) -> list[tuple[list[str], list[Piece]]]:
        """A sum of products: of each the indices to sum over, and the factors.

        Raises NotImplementedError for an operation that has no such form.
        """
        if isinstance(expr, MatrixSymbol):
            level = FRACTION if expr.name.startswith(("grad_", "diff_")) else ATOM
            return [([], [Piece(self.symbol(expr, row, column), level)])]
        if isinstance(expr, Transpose):
            return self.terms(expr.arg, column, row)
        if isinstance(expr, OneMatrix):
            return [([], [])]
        if isinstance(expr, MatAdd):
            return [term for part in expr.args for term in self.terms(part, row, column)]
        if isinstance(expr, Elementwise):
            return [([], [self.formula(expr, row, column)])]
        if isinstance(expr, RowLogSumExp):
            along = self.index(expr.args[0].shape[1])
            terms = self.terms(expr.args[0], row, along)
            value = rf"\log({self.sums([along])}\exp({self.spelled(terms).tex}))"
            return [([], [Piece(value, ATOM)])]
        if isinstance(expr, MatMul):
            return self.product_terms(expr, row, column)
        raise NotImplementedError(type(expr).__name__)

    def product_terms(self, expr: MatMul, row: str, column: str) -> list[tuple[list[str], list[Piece]]]:
        scale, matrices = expr.as_coeff_matrices()
        inner = [self.index(matrix.shape[1]) for matrix in matrices[:-1]]
        ways: list[tuple[list[str], list[Piece]]] = [([i for i in inner if i], [])]
        if scale != 1:
            ways[0][1].append(Piece(self.printer._print(scale), ATOM))
        for matrix, left, right in zip(matrices, [row, *inner], [*inner, column], strict=True):
            ways = [
                (sums + more, factors + others)
                for sums, factors in ways
                for more, others in self.terms(matrix, left, right)
            ]
        return ways

    def formula(self, expr: Elementwise, row: str, column: str) -> Piece:
        names = {}
        for scalar, operand in expr.operands.items():
            terms = self.terms(operand, row, column)
            if len(terms) != 1 or terms[0][0] or len(terms[0][1]) != 1:
                raise NotImplementedError("a sum inside a formula")
            names[scalar] = terms[0][1][0]
        return FormulaWriter(self.printer, names, matrix=False, in_line=True).piece(expr.formula)

    def spelled(self, terms: list[tuple[list[str], list[Piece]]], inner: bool = False) -> Piece:
        """The terms as text: sums, then their factors."""
        texts = []
        for sums, parts in terms:
            body = " \\, ".join(part.at(PRODUCT) for part in parts) or "1"
            if len(parts) == 1 and not sums:
                body = parts[0].tex
            texts.append(self.sums(sums) + body)
        single = len(terms) == 1 and not terms[0][0]
        level = SUM if len(terms) > 1 or not single else (PRODUCT if len(terms[0][1]) != 1 else terms[0][1][0].level)
        return Piece(" + ".join(texts), level)

    def sums(self, indices: list[str]) -> str:
        """One sign of summation; a single index shows its range."""
        if len(indices) > 1:
            return rf"\sum_{{{', '.join(indices)}}} "
        return "".join(rf"\sum_{{{i}=1}}^{{{self.printer._print(self.letters[i])}}} " for i in indices)


def entry_latex(program: Program, target: MatrixSymbol, value: MatrixExpr) -> str | None:
    """target_jk = sum over n of ..., or None where the operation has no such form."""
    writer = IndexWriter(program.notation)
    left, row, column = writer.target(target)
    try:
        return sized(f"{left} = {writer.spelled(writer.terms(value, row, column)).tex}")
    except NotImplementedError:
        return None


def index_proof(
    notation: Notation, cotangent: MatrixSymbol, change: MatrixExpr, gradient: MatrixExpr, variation: MatrixSymbol
) -> list[str] | None:
    """<G, dF> as a sum over all indices, and the same sum with dV taken out, or None where there is no such form."""
    writer = IndexWriter(notation)
    g, row, column = writer.target(cotangent)
    try:
        first = writer.terms(change, row, column)
        outer = [i for i in (row, column) if i]
        lines = [writer.spelled([(outer + sums, [Piece(g, SCALED), *parts]) for sums, parts in first]).tex]
        dv, row, column = writer.target(variation)
        inner = writer.spelled(writer.terms(gradient, row, column))
    except NotImplementedError:
        return None
    outer = [i for i in (row, column) if i]
    lines.append(f"{writer.sums(outer)}{inner.at(PRODUCT)} \\, {dv}")
    return [sized(line) for line in lines]
