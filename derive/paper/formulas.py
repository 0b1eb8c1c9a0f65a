"""Scalar formulas as LaTeX, of single entries or of whole matrices entry by entry, and what is in brackets in them."""

from collections.abc import Mapping
from dataclasses import dataclass

from sympy import Abs, Add, And, Expr, Integer, Mul, Or, Piecewise, Pow, Rational, Symbol, exp, sign, to_nnf, true
from sympy.core.function import Application
from sympy.core.relational import Relational
from sympy.printing.latex import LatexPrinter

from derive.formulas import in_powers_of, over, root
from derive.paper.breaking import width
from derive.programs import factors, ordered_terms

SUM_TEX, PRODUCT_TEX, DIFFERENTIAL, SCALED, FRACTION, POWER_TEX, ATOM_TEX = range(7)
RELATION_SIGNS = {"<": "<", "<=": r"\le", ">": ">", ">=": r"\ge", "==": "=", "!=": r"\ne"}
WIDEST_CASE = 44


@dataclass(frozen=True)
class Piece:
    """A printed part and how tightly it holds together: a sum, a product, dV, a number times an atom, ..., an atom."""

    tex: str
    level: int

    def at(self, level: int) -> str:
        """The text, in brackets if it holds together less tightly than that."""
        return self.tex if self.level >= level else f"({self.tex})"

    def last(self, level: int) -> str:
        """The text as the last factor of a product, where nothing stands behind a d that could seem to belong to it."""
        return self.tex if self.level == DIFFERENTIAL else self.at(level)


class FormulaWriter:
    """A scalar formula, over whole matrices (entry by entry) or over single entries.

    `numbers` are what those of its symbols are called that are the same for all entries, where they stand in front.
    """

    def __init__(
        self,
        printer: LatexPrinter,
        names: dict[Symbol, Piece],
        matrix: bool,
        in_line: bool = False,
        numbers: Mapping[Symbol, Piece] | None = None,
    ) -> None:
        self.printer, self.names, self.matrix, self.in_line = printer, names, matrix, in_line
        self.numbers = numbers or {}
        self.dot = r" \odot " if matrix else r" \, "

    def piece(self, expr: Expr) -> Piece:
        if expr in self.names:
            return self.names[expr]
        expr = in_powers_of(expr) if expr.has(over, root) else expr
        if self.is_constant(expr):
            return Piece(
                self.printer._print(expr), SUM_TEX if expr.is_Add or expr.could_extract_minus_sign() else ATOM_TEX
            )
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
        return Piece(self.printer._print(expr), ATOM_TEX)

    def is_constant(self, expr: Expr) -> bool:
        return not expr.free_symbols & self.names.keys()

    def sum(self, expr: Add) -> Piece:
        first, *rest = ordered_terms(expr)
        text = self.term(first, SUM_TEX)
        for term in rest:
            negative = term.could_extract_minus_sign()
            text += f" - {self.term(-term, PRODUCT_TEX)}" if negative else f" + {self.term(term, SUM_TEX)}"
        return Piece(text, SUM_TEX)

    def term(self, expr: Expr, level: int) -> str:
        """A number in a sum of matrices stands for a matrix full of it."""
        text = self.piece(expr).at(level)
        if self.matrix and self.is_constant(expr):
            return r"\boldsymbol{1}" if expr == 1 else rf"{text} \, \boldsymbol{{1}}"
        return text

    def product(self, expr: Mul) -> Piece:
        """Numbers and sizes as one factor in front, then left to right as the code multiplies."""
        if expr.could_extract_minus_sign():
            return Piece(f"-{self.piece(-expr).at(PRODUCT_TEX)}", SUM_TEX)
        scale, over, under, ahead = Integer(1), [], [], []
        parts = factors(expr, self.printer.notation)
        alone = all(self.is_constant(part) or part in self.numbers for part in parts)
        for factor in parts:
            if self.is_constant(factor):
                scale *= factor
            elif factor in self.numbers and not alone:
                ahead.append(self.numbers[factor].at(SCALED))
            elif factor.is_Pow and factor.exp.is_number and factor.exp.is_negative:
                under.append(self.piece(1 / factor))
            else:
                over.append(self.piece(factor))
        front = r" \, ".join([*([] if scale == 1 else [self.piece(scale).at(PRODUCT_TEX)]), *ahead])
        if not self.matrix and under:
            return Piece(rf"\frac{{{self.side(over, front) or '1'}}}{{{self.side(under, '')}}}", PRODUCT_TEX)
        one = len(over) == 1 and not under and not ahead
        level = SCALED if self.matrix else PRODUCT_TEX
        texts = [piece.at(level) for piece in over]
        if over and not under:
            texts[-1] = over[-1].last(level)
        text = self.joined(texts, front)
        if under:
            text = (text or r"\boldsymbol{1}") + "".join(rf" \oslash {piece.at(POWER_TEX)}" for piece in under)
        return Piece(text, SCALED if one else PRODUCT_TEX)

    def side(self, parts: list[Piece], front: str) -> str:
        """What stands above or under a line, where a single part needs no brackets."""
        return parts[0].tex if len(parts) == 1 and not front else self.joined([p.at(PRODUCT_TEX) for p in parts], front)

    def joined(self, parts: list[str], front: str) -> str:
        text = self.dot.join(parts) or front
        if front and parts:
            return front + ("" if text.startswith("(") and front[-1].isdigit() else r" \, ") + text
        return text

    def power(self, expr: Pow) -> Piece:
        base, exponent = expr.as_base_exp()
        if not self.matrix and exponent == Rational(1, 2):
            return Piece(rf"\sqrt{{{self.piece(base).tex}}}", ATOM_TEX)
        if not self.matrix and exponent.is_number and exponent.is_negative:
            return Piece(rf"\frac{{1}}{{{self.piece(base**-exponent).tex}}}", PRODUCT_TEX)
        mark = r"\odot " if self.matrix else ""
        return Piece(f"{self.piece(base).at(ATOM_TEX)}^{{{mark}{self.piece(exponent).tex}}}", POWER_TEX)

    def call(self, expr: Expr) -> Piece:
        name = type(expr).__name__
        called = self.printer.notation.function_sign(name) or rf"\mathrm{{{escape_math(name)}}}"
        return Piece(f"{called}({', '.join(self.piece(argument).tex for argument in expr.args)})", ATOM_TEX)

    def modulus(self, expr: Abs) -> Piece:
        return Piece(rf"\lvert {self.piece(expr.args[0]).tex} \rvert", ATOM_TEX)

    def cases(self, expr: Piecewise) -> Piece:
        """Branches under one another, or in line where(condition, value, otherwise), as torch has it."""
        if self.in_line:
            (value, condition), *rest = expr.args
            parts = [self.condition(condition), self.piece(value).tex, self.piece(Piecewise(*rest)).tex]
            return Piece(rf"\mathrm{{where}}({', '.join(parts)})", ATOM_TEX)
        rows = []
        for value, condition in expr.args:
            when = r"\text{otherwise}" if condition is true else rf"\text{{where }} {self.condition(condition)}"
            rows.append(rf"{self.piece(value).tex} & {when}")
        if max(map(width, rows)) > WIDEST_CASE:
            self.in_line = True
            return self.cases(expr)
        return Piece(r"\begin{cases} " + r" \\ ".join(rows) + r" \end{cases}", PRODUCT_TEX)

    def condition(self, condition: Expr) -> str:
        condition = to_nnf(condition, simplify=False)
        if isinstance(condition, Relational):
            return self.relation(condition).tex
        if not isinstance(condition, And | Or):
            raise ValueError(f"no LaTeX is known for {type(condition).__name__}: {condition}")
        joint = r" \text{ and } " if isinstance(condition, And) else r" \text{ or } "
        parts = ((part, self.condition(part)) for part in sorted(condition.args, key=str))
        return joint.join(f"({text})" if isinstance(part, And | Or) else text for part, text in parts)

    def relation(self, expr: Relational) -> Piece:
        return Piece(f"{self.piece(expr.lhs).tex} {RELATION_SIGNS[expr.rel_op]} {self.piece(expr.rhs).tex}", SUM_TEX)


def facing(formula: Expr) -> Expr:
    """The same with |y - z| and sign(y - z) as |z - y| and -sign(z - y), where z - y stands in it, too."""
    turned: dict[Expr, Expr] = {}
    for part in formula.atoms(Abs, sign):
        for other in formula.atoms(Add):
            if other + part.args[0] == 0:
                same = part.func(other, evaluate=False)
                turned[part] = same if isinstance(part, Abs) else -same
    return formula.xreplace(turned)


def escape_math(name: str) -> str:
    """A name inside a formula."""
    return name.replace("_", r"\_")
