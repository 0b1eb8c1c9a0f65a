r"""Equations as LaTeX: matrices bold, \odot entry by entry, sums and products in the order of the code.

Only amsmath and amssymb are needed, and only what GitHub renders is used (no \operatorname, no \bm).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from sympy import (
    Abs,
    Add,
    Expr,
    Integer,
    MatAdd,
    MatMul,
    MatrixExpr,
    MatrixSymbol,
    Mul,
    OneMatrix,
    Piecewise,
    Pow,
    Rational,
    Symbol,
    Transpose,
    exp,
    true,
)
from sympy.core.function import Application
from sympy.core.parameters import distribute
from sympy.core.relational import Relational
from sympy.matrices.expressions.hadamard import HadamardPower, HadamardProduct
from sympy.printing.latex import LatexPrinter

from derive.notation import FUNCTION_SIGNS, PLAIN, Notation, factors, terms
from derive.program import Derivation, Elementwise, Equation, Program, RowLogSumExp

SUM, PRODUCT, SCALED, FRACTION, ATOM = range(5)
RELATIONS = {"<": "<", "<=": r"\le", ">": ">", ">=": r"\ge", "==": "=", "!=": r"\ne"}
WIDEST_CASE = 44
MOST_READABLE = 10**6  # a fraction with a larger denominator is written as a decimal, as in the code
PREFIXES = {"grad_": r"\frac{{\partial L}}{{\partial {0}}}", "diff_": "d{0}", "dot_": r"\dot{{{0}}}"}
SIZES = ("", r"\bigl", r"\Bigl", r"\biggl")
BRACKET = re.compile(r"(?:\\left|\\right|\\(?:big|Big|bigg|Bigg)[lr])?(?<!\\)([()])")


@dataclass(frozen=True)
class Piece:
    """A printed part and how tightly it holds together: a sum, a product, a number times an atom, ..., an atom."""

    tex: str
    level: int

    def at(self, level: int) -> str:
        """The text, in brackets if it holds together less tightly than that."""
        return self.tex if self.level >= level else f"({self.tex})"


class FormulaPrinter(LatexPrinter):
    """Any SymPy matrix expression as LaTeX. Brackets come out plain; `latex` gives them their sizes."""

    def __init__(self, notation: Notation, in_line: bool = False) -> None:
        super().__init__()
        self.notation, self.in_line = notation, in_line

    def piece(self, expr: Expr) -> Piece:
        if isinstance(expr, Elementwise):
            names = {scalar: self.piece(operand) for scalar, operand in expr.operands.items()}
            nested = self.in_line or any(not isinstance(operand, MatrixSymbol) for operand in expr.args[1:])
            return FormulaWriter(self, names, matrix=True, in_line=nested).piece(expr.formula)
        if isinstance(expr, MatAdd | Add):
            return Piece(self._print(expr), SUM)
        if isinstance(expr, MatMul | Mul | HadamardProduct):
            return Piece(self._print(expr), PRODUCT)
        if isinstance(expr, MatrixSymbol) and expr.name.startswith(("grad_", "diff_")):
            return Piece(self._print(expr), FRACTION)
        return Piece(self._print(expr), ATOM)

    def _print_Elementwise(self, expr: Elementwise) -> str:
        return self.piece(expr).tex

    def _print_Rational(self, expr: Rational) -> str:
        """A fraction of large numbers as the decimal that it was made from."""
        return super()._print_Rational(expr) if expr.q <= MOST_READABLE else repr(float(expr))

    def _print_Identity(self, expr: MatrixExpr) -> str:
        return rf"\boldsymbol{{I}}_{{{self._print(expr.shape[0])}}}"

    def _print_ZeroMatrix(self, expr: MatrixExpr) -> str:
        return r"\boldsymbol{0}"

    def _print_LogDet(self, expr: Expr) -> str:
        return rf"\log \det({self._print(expr.arg)})"

    def _print_Scalar(self, expr: MatrixExpr) -> str:
        """A number as a 1 x 1 matrix."""
        return self._print(expr.number)

    def _print_RowLogSumExp(self, expr: RowLogSumExp) -> str:
        return rf"\mathrm{{logsumexp}}({self._print(expr.args[0])})"

    def _print_MatrixSymbol(self, expr: MatrixSymbol) -> str:
        return self.notation.latex(expr.name)

    def _print_OneMatrix(self, expr: OneMatrix) -> str:
        rows, columns = expr.shape
        if columns == 1:
            return rf"\boldsymbol{{1}}_{{{self._print(rows)}}}"
        if rows == 1:
            return rf"\boldsymbol{{1}}_{{{self._print(columns)}}}^{{\top}}"
        return rf"\boldsymbol{{1}}_{{{self._print(rows)} \times {self._print(columns)}}}"

    def _print_Transpose(self, expr: Transpose) -> str:
        return rf"{self.piece(expr.arg).at(ATOM)}^{{\top}}"

    def _print_MatMul(self, expr: MatMul) -> str:
        scale, matrices = expr.as_coeff_matrices()
        sign = ""
        if scale.could_extract_minus_sign():
            sign, scale = "-", -scale
        number = [] if scale == 1 else [Piece(self._print(scale), SUM if scale.is_Add else ATOM).at(PRODUCT)]
        first, *rest = (self.piece(matrix) for matrix in matrices)
        product = " ".join([first.at(SCALED), *(piece.at(FRACTION) for piece in rest)])
        return sign + r" \, ".join([*number, product])

    def _print_MatAdd(self, expr: MatAdd) -> str:
        """A row that is broadcast comes last, as a bias does."""
        first, *rest = (self._print(part) for part in sorted(expr.args, key=lambda term: term.has(OneMatrix)))
        return first + "".join(f" - {part[1:]}" if part.startswith("-") else f" + {part}" for part in rest)

    def _print_HadamardProduct(self, expr: HadamardProduct) -> str:
        return r" \odot ".join(self.piece(part).at(ATOM) for part in expr.args)

    def _print_HadamardPower(self, expr: HadamardPower) -> str:
        return rf"{self.piece(expr.base).at(ATOM)}^{{\odot {self._print(expr.exp)}}}"


class FormulaWriter:
    """A scalar formula, over whole matrices (entry by entry) or over single entries."""

    def __init__(
        self, printer: FormulaPrinter, names: dict[Symbol, Piece], matrix: bool, in_line: bool = False
    ) -> None:
        self.printer, self.names, self.matrix, self.in_line = printer, names, matrix, in_line
        self.dot = r" \odot " if matrix else r" \, "

    def piece(self, expr: Expr) -> Piece:
        if expr in self.names:
            return self.names[expr]
        if self.is_constant(expr):
            return Piece(self.printer._print(expr), SUM if expr.is_Add or expr.could_extract_minus_sign() else ATOM)
        for kind, method in (
            (Add, self.sum),
            (Mul, self.product),
            (exp, self.call),
            (Pow, self.power),
            (Piecewise, self.cases),
            (Relational, self.relation),
            (Abs, self.modulus),
            (Application, self.call),
        ):
            if isinstance(expr, kind):
                return method(expr)
        return Piece(self.printer._print(expr), ATOM)

    def is_constant(self, expr: Expr) -> bool:
        return not expr.free_symbols & self.names.keys()

    def sum(self, expr: Add) -> Piece:
        first, *rest = terms(expr)
        text = self.term(first, SUM)
        for term in rest:
            negative = term.could_extract_minus_sign()
            text += f" - {self.term(-term, PRODUCT)}" if negative else f" + {self.term(term, SUM)}"
        return Piece(text, SUM)

    def term(self, expr: Expr, level: int) -> str:
        """A number in a sum of matrices stands for a matrix full of it."""
        text = self.piece(expr).at(level)
        if self.matrix and self.is_constant(expr):
            return r"\boldsymbol{1}" if expr == 1 else rf"{text} \, \boldsymbol{{1}}"
        return text

    def product(self, expr: Mul) -> Piece:
        """Numbers and sizes as one factor in front, then left to right as the code multiplies."""
        if expr.could_extract_minus_sign():
            return Piece(f"-{self.piece(-expr).at(PRODUCT)}", SUM)
        scale, over, under = Integer(1), [], []
        for factor in factors(expr, self.printer.notation):
            if self.is_constant(factor):
                scale *= factor
            elif factor.is_Pow and factor.exp.is_number and factor.exp.is_negative:
                under.append(self.piece(1 / factor))
            else:
                over.append(self.piece(factor))
        front = "" if scale == 1 else self.piece(scale).at(PRODUCT)
        if not self.matrix and under:
            numerator = self.joined([piece.at(PRODUCT) for piece in over], front) or front or "1"
            return Piece(rf"\frac{{{numerator}}}{{{self.joined([p.at(PRODUCT) for p in under], '')}}}", PRODUCT)
        one = len(over) == 1 and not under
        level = SCALED if self.matrix else PRODUCT
        text = self.joined([piece.at(level) for piece in over], front)
        if under:
            text = text or (rf"{front} \, \boldsymbol{{1}}" if front else r"\boldsymbol{1}")
            text += "".join(rf" \oslash {piece.at(ATOM)}" for piece in under)
        return Piece(text, SCALED if one else PRODUCT)

    def joined(self, parts: list[str], front: str) -> str:
        text = self.dot.join(parts)
        if front and text:
            return front + ("" if text.startswith("(") else r" \, ") + text
        return text

    def power(self, expr: Pow) -> Piece:
        base, exponent = expr.as_base_exp()
        if not self.matrix and exponent == Rational(1, 2):
            return Piece(rf"\sqrt{{{self.piece(base).tex}}}", ATOM)
        if not self.matrix and exponent.is_number and exponent.is_negative:
            return Piece(rf"\frac{{1}}{{{self.piece(base**-exponent).tex}}}", PRODUCT)
        mark = r"\odot " if self.matrix else ""
        return Piece(f"{self.piece(base).at(ATOM)}^{{{mark}{self.piece(exponent).tex}}}", ATOM)

    def call(self, expr: Expr) -> Piece:
        name = type(expr).__name__
        sign = FUNCTION_SIGNS.get(name) or rf"\mathrm{{{escape_math(name)}}}"
        return Piece(f"{sign}({', '.join(self.piece(argument).tex for argument in expr.args)})", ATOM)

    def modulus(self, expr: Abs) -> Piece:
        return Piece(rf"\lvert {self.piece(expr.args[0]).tex} \rvert", ATOM)

    def cases(self, expr: Piecewise) -> Piece:
        """Branches under one another, or in line where(condition, value, otherwise), as torch has it."""
        if self.in_line:
            (value, condition), *rest = expr.args
            parts = [self.condition(condition), self.piece(value).tex, self.piece(Piecewise(*rest)).tex]
            return Piece(rf"\mathrm{{where}}({', '.join(parts)})", ATOM)
        rows = []
        for value, condition in expr.args:
            when = r"\text{otherwise}" if condition is true else rf"\text{{where }} {self.condition(condition)}"
            rows.append(rf"{self.piece(value).tex} & {when}")
        if max(map(width, rows)) > WIDEST_CASE:
            self.in_line = True
            return self.cases(expr)
        return Piece(r"\begin{cases} " + r" \\ ".join(rows) + r" \end{cases}", PRODUCT)

    def condition(self, condition: Expr) -> str:
        if isinstance(condition, Relational):
            return self.piece(condition).tex
        joint = r" \text{ and } " if type(condition).__name__ == "And" else r" \text{ or } "
        return joint.join(self.condition(part) for part in sorted(condition.args, key=str))

    def relation(self, expr: Relational) -> Piece:
        return Piece(f"{self.piece(expr.lhs).tex} {RELATIONS[expr.rel_op]} {self.piece(expr.rhs).tex}", SUM)


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


def latex(program: Program | None, expr: Expr, in_line: bool = False) -> str:
    """The expression as LaTeX, in the program's notation; `in_line` writes its branches so that lines can break."""
    return written(program.notation if program else PLAIN, expr, in_line)


@lru_cache(maxsize=4096)
def written(notation: Notation, expr: Expr, in_line: bool) -> str:
    """SymPy forgets all that it knows when told how to multiply out: only formulas need it told."""
    if not expr.has(Elementwise):
        return sized(FormulaPrinter(notation, in_line).piece(expr).tex)
    with distribute(False):
        return sized(FormulaPrinter(notation, in_line).piece(expr).tex)


def scalar_latex(expr: Expr, notation: Notation = PLAIN) -> str:
    """A scalar formula, as sigma'(z) = sigma(z) (1 - sigma(z)); its variables are written as they come."""
    printer = FormulaPrinter(notation)
    names = {symbol: Piece(printer._print(symbol), ATOM) for symbol in expr.free_symbols}
    with distribute(False):
        return sized(FormulaWriter(printer, names, matrix=False).piece(expr).tex)


def sized(tex: str) -> str:
    r"""The brackets as large as what they hold: plain, \bigl, \Bigl, \biggl."""
    tex = tex.replace(r"\operatorname", r"\mathrm")
    tokens, opened, pairs = list(BRACKET.finditer(tex)), [], {}
    for token in tokens:
        if token[1] == "(":
            opened.append(token)
        elif opened:
            start = opened.pop()
            inside = tex[start.end() : token.start()]
            held = [pairs[t.start()] for t in tokens if start.end() <= t.start() < token.start() and t.start() in pairs]
            tall = 3 if "cases" in inside or "matrix" in inside else 2 if r"\frac" in inside or r"\sum" in inside else 0
            pairs[start.start()] = pairs[token.start()] = min(3, max(tall, 1 + max(held) if held else 0))
    size = {at: SIZES[height] for at, height in pairs.items()}

    def resize(token: re.Match) -> str:
        mark = size.get(token.start(), "")
        return (mark[:-1] + ("l" if token[1] == "(" else "r") if mark else "") + token[1]

    return BRACKET.sub(resize, tex)


def width(tex: str) -> int:
    """About how many letters wide a formula is."""
    tex = re.sub(r"\\bigg[lr]", "o", tex)
    tex = re.sub(r"\\(?:left|right|boldsymbol|mathrm|text|[bB]igg?[lr]|displaystyle)(?![A-Za-z])|[{}_^&]", "", tex)
    return len(re.sub(r"\\[A-Za-z]+", "x", tex).replace(" ", ""))


def broken(tex: str, limit: int, indent: int = 0) -> list[tuple[int, str]]:
    """The formula in lines of at most some width, each with its indent; breaks at its loosest operators first."""
    if width(tex) + 2 * indent <= limit:
        return [(indent, tex)]
    arguments = split(tex, lambda at: tex[at - 2 : at] == ", " and tex[at - 3] != "\\")
    if len(arguments) > 1:
        return [line for part in arguments for line in broken(part, limit, indent)]
    for signs in ((" + ", " - "), (r" \odot ", r" \oslash ")):
        parts = split(tex, lambda at, signs=signs: next((s for s in signs if tex.startswith(s, at)), ""))
        if len(parts) > 1:
            lines = broken(parts[0], limit, indent)
            for part in parts[1:]:
                sign, rest = part.split(" ", 2)[1:]
                (level, first), *others = broken(rest, limit, indent + 1)
                lines += [(level, f"{{}} {sign} {first}"), *others]
            return joined(lines)
    lines, start = [], 0
    for opening, closing in top_groups(tex):
        if width(tex[start : closing.end()]) + 2 * indent <= limit:
            continue
        inner = broken(tex[opening.end() : closing.start()], limit, indent + 1)
        lines += [(indent, tex[start : opening.end()]), *inner]
        start = closing.start()
    lines.append((indent, tex[start:]))
    return joined(lines)


def joined(lines: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """A line of opening brackets goes in front of the next, a closing bracket after another and before its operator."""
    result: list[tuple[int, str]] = []
    for indent, line in lines:
        before = result[-1][1] if result else ""
        if re.fullmatch(r"(?:\\[a-zA-Z]+l\()+", before):
            result[-1] = (result[-1][0], before + line)
        elif re.fullmatch(r"\\[a-zA-Z]+r\)", before) and line.startswith(r"{} \o"):
            result[-1] = (result[-1][0], before + line.removeprefix("{}"))
        elif re.match(r"\\[a-zA-Z]+r\)", before) and re.fullmatch(r"\\[a-zA-Z]+r\)", line):
            result[-1] = (result[-1][0], f"{before} {line}")
        else:
            result.append((indent, line))
    return result


def split(tex: str, sign_at: Callable[[int], object]) -> list[str]:
    """The text cut at each sign that stands outside of all brackets."""
    depth, parts, start = 0, [], 0
    for at, letter in enumerate(tex):
        depth += (letter in "({") - (letter in ")}")
        depth += tex.startswith(r"\begin", at) - tex.startswith(r"\end", at)
        if depth == 0 and at > start and sign_at(at):
            parts.append(tex[start:at])
            start = at
    return [*parts, tex[start:]]


def top_groups(tex: str) -> list[tuple[re.Match, re.Match]]:
    """The outermost pairs of round brackets; those within braces are left whole, as a line ends in none."""
    opened, groups = [], []
    for token in () if r"\begin" in tex else BRACKET.finditer(tex):
        before = tex[: token.start()]
        if before.count("{") > before.count("}"):
            continue
        if token[1] == "(":
            opened.append(token)
        elif opened:
            start = opened.pop()
            if not opened:
                groups.append((start, token))
    return groups


def inline(tex: str) -> str:
    """A formula for a line of text: partial derivatives with a slash."""
    return re.sub(r"\\frac\{(\\partial L)\}\{(\\partial (?:[^{}]|\{[^{}]*\})*)\}", r"\1 / \2", tex)


def shape_latex(program: Program, matrix: MatrixExpr) -> str:
    """rows x columns, numbers where they are known; 1 x 1 for the loss."""
    rows, columns = (1, 1) if matrix == program.output else (size.xreplace(program.sizes) for size in matrix.shape)
    return rf"{FormulaPrinter(PLAIN)._print(rows)} \times {FormulaPrinter(PLAIN)._print(columns)}"


def equation_latex(equation: Equation) -> str:
    """For a notebook: target = value, in the notation of plain symbols, which an equation by itself has."""
    return rf"$\displaystyle {latex(None, equation.target)} = {latex(None, equation.value)}$"


def derivation_latex(derivation: Derivation) -> str:
    """For a notebook: the equations forward and backward, one under the other."""
    program = derivation.program
    rows = [rf"{latex(program, e.target)} &= {latex(program, e.value)}" for e in derivation.equations]
    return r"$\displaystyle \begin{aligned} " + r" \\ ".join(rows) + r" \end{aligned}$"


def escape_math(name: str) -> str:
    """A name inside a formula."""
    return re.sub(r"[^A-Za-z0-9]", lambda match: r"\_" if match[0] == "_" else "", name)


# A notebook asks the object itself; program.py knows no printer, so its classes get the method here.
Equation._repr_latex_ = equation_latex
Derivation._repr_latex_ = derivation_latex
