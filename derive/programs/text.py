"""Matrix expressions as text to read: functions of entries by their names, sums by their words, .* entry by entry."""

from sympy import (
    Add,
    DiagMatrix,
    DiagonalMatrix,
    DiagonalOf,
    Expr,
    HadamardPower,
    HadamardProduct,
    Identity,
    Integer,
    MatAdd,
    MatMul,
    MatrixExpr,
    Mul,
    OneMatrix,
    Rational,
    Trace,
    Transpose,
    fraction,
    preorder_traversal,
)
from sympy.matrices.expressions.applyfunc import ElementwiseApplyFunction
from sympy.printing.precedence import PRECEDENCE, precedence
from sympy.printing.str import StrPrinter

from derive.programs.forms import chain, flat_product, transposed
from derive.programs.nodes import Elementwise


class TextPrinter(StrPrinter):
    """Prints as SymPy does, but for what SymPy has no short word for."""

    def _print_OneMatrix(self, expr: OneMatrix) -> str:
        return f"ones({self._print(expr.shape[0])}, {self._print(expr.shape[1])})"

    def _print_Add(self, expr: Add, order: str | None = None) -> str:
        """What is subtracted comes last."""
        return self.sum_of(self._as_ordered_terms(expr, order=order))

    def _print_MatAdd(self, expr: MatAdd) -> str:
        """What is subtracted comes last, and before it numbers."""
        return self.sum_of(sorted(expr.args, key=lambda term: isinstance(term, OneMatrix)))

    def parenthesize(self, item: Expr, level: int, strict: bool = False) -> str:
        """In brackets where it binds less; a sum as the transpose of one that has fewer bars."""
        if isinstance(item, MatAdd) and is_flipped(item):
            return f"({self._print(transposed(item))}).T"
        own = binding(item)
        return f"({self._print(item)})" if own < level or (not strict and own <= level) else self._print(item)

    def sum_of(self, terms: list[Expr]) -> str:
        texts = sorted((self.parenthesize(term, PRECEDENCE["Add"], strict=True) for term in terms), key=is_negative)
        first, *rest = texts
        return first + "".join(f" - {text[1:]}" if is_negative(text) else f" + {text}" for text in rest)

    def _print_MatMul(self, expr: MatMul) -> str:
        """Numbers in front, what divides behind, and ones at the ends of a product as the sums that they make."""
        scale, factors = flat(expr)
        number, rest = rational(scale)
        sign, number = ("-", -number) if number < 0 else ("", number)
        above, below = fraction(rest)
        above, whole = with_root_below(above, Integer(number.q))
        parts = [str(number.p)] * (number.p != 1) + [self.number(above)] * (above != 1)
        text = "*".join([*parts, *filter(None, [self.factors_of(factors)])]) or ("I" if factors else "1")
        below = whole * below
        return f"{sign}{text}" if below == 1 else f"{sign}{text}/{self.number(below, strict=True)}"

    def number(self, number: Expr, strict: bool = False) -> str:
        """A factor, or with `strict` what divides."""
        return self.parenthesize(number, PRECEDENCE["Mul"], strict=not (strict and isinstance(number, Mul)))

    def factors_of(self, factors: list[MatrixExpr], single: bool = False) -> str:
        """A product of matrices, nothing for the identity of one entry; a `single` number is a total."""
        factors = [factor for factor in factors if factor != Identity(1)]
        split = [
            part
            for factor in factors
            for part in (
                (OneMatrix(factor.shape[0], 1), OneMatrix(1, factor.shape[1]))
                if isinstance(factor, OneMatrix) and 1 not in factor.shape and len(factors) > 1
                else (factor,)
            )
        ]
        places = [place for place, factor in enumerate(split) if not isinstance(factor, OneMatrix)]
        if not places:
            return "*".join(map(self._print, factors))
        left, inner, right = split[: places[0]], split[places[0] : places[-1] + 1], split[places[-1] + 1 :]
        columns, rows = bool(left) and left[-1].shape[0] == 1, bool(right) and right[0].shape[1] == 1
        word = {(True, True): "total", (True, False): "column_sum", (False, True): "row_sum"}.get((columns, rows), "")
        if word:
            word = "total" if single else word
            left, right = left[: len(left) - columns], right[rows:]
            text = f"{word}({self._print(flat_product(Integer(1), inner))})"
        else:
            text = "*".join(self.parenthesize(factor, PRECEDENCE["Mul"]) for factor in inner)
        return "*".join([*map(self._print, left), text, *map(self._print, right)])

    def _print_Transpose(self, expr: Transpose) -> str:
        return f"{self.parenthesize(expr.arg, PRECEDENCE['Pow'])}.T"

    def _print_Trace(self, expr: Trace) -> str:
        scale, factors = flat(expr.arg)
        if len(factors) > 1 and any(isinstance(end, OneMatrix) for end in (factors[0], factors[-1])):
            inside = [factor for factor in factors if not isinstance(factor, OneMatrix)]
            if len(inside) == 1 and len(factors) == 1 + sum(side != 1 for side in inside[0].shape):
                text = self.factors_of(factors, single=True)
                return text if scale == 1 else f"{self.number(scale)}*{text}"
            if factors[0].shape[0] == 1 and all(isinstance(end, OneMatrix) for end in (factors[0], factors[-1])):
                text = self.factors_of(factors)
                return text if scale == 1 else f"{self.number(scale)}*{text}"
        if scale == 1 and len(factors) == 1 and factors[0].shape == (1, 1) and not isinstance(factors[0], MatAdd):
            return self._print(factors[0])
        return f"tr({self._print(expr.arg)})"

    def _print_Determinant(self, expr: Expr) -> str:
        return f"det({self._print(expr.arg)})"

    def _print_HadamardProduct(self, expr: HadamardProduct) -> str:
        first, *rest = expr.args
        texts = [self.parenthesize(first, PRECEDENCE["Mul"], strict=True)]
        return " .* ".join([*texts, *(self.parenthesize(part, PRECEDENCE["Mul"]) for part in rest)])

    def _print_HadamardPower(self, expr: HadamardPower) -> str:
        base, exponent = (self.parenthesize(part, PRECEDENCE["Pow"], strict=True) for part in expr.args)
        return f"{base}.^{exponent}"

    def _print_DiagMatrix(self, expr: DiagMatrix) -> str:
        return f"diag({self._print(expr.args[0])})"

    def _print_DiagonalMatrix(self, expr: DiagonalMatrix) -> str:
        return f"I .* {self.parenthesize(expr.arg, PRECEDENCE['Mul'], strict=True)}"

    def _print_DiagonalOf(self, expr: DiagonalOf) -> str:
        return f"diagonal({self._print(expr.arg)})"

    def _print_ElementwiseApplyFunction(self, expr: ElementwiseApplyFunction) -> str:
        (variable,), formula = expr.function.variables, expr.function.expr
        return self.function_of(formula, {variable: expr.expr})

    def _print_Elementwise(self, expr: Elementwise) -> str:
        return self.function_of(expr.formula, expr.operands)

    def function_of(self, formula: Expr, operands: dict[Expr, Expr]) -> str:
        """f(A) of a function with a name, else the formula with what its letters are."""
        if formula.args == tuple(operands) and formula.is_Function:
            return f"{formula.func.__name__}({', '.join(map(self._print, operands.values()))})"
        (letter, operand), *others = operands.items()
        if not others and formula.is_Pow and formula.base == letter and not formula.exp.has(letter):
            root = f"sqrt({self._print(operand)})"
            return self._print(HadamardPower(operand, formula.exp)) if is_power_of_letter(formula, letter) else root
        if not others and formula.is_Function and len(formula.args) == 1:
            scale, inner = formula.args[0].as_independent(letter, as_Add=False)
            if inner == letter:
                return f"{formula.func.__name__}({self._print(MatMul(scale, operand))})"
        letters = ", ".join(map(str, operands))
        return f"apply({letters} -> {self._print(formula)}, {', '.join(map(self._print, operands.values()))})"


def binding(item: Expr) -> int:
    """How tightly the operator of an expression binds; SymPy multiplies a product of matrices out to find its sign."""
    if isinstance(item, MatMul):
        return PRECEDENCE["Add" if chain(item)[0].could_extract_minus_sign() else "Mul"]
    if isinstance(item, MatAdd):
        return PRECEDENCE["Add"]
    if isinstance(item, Elementwise | ElementwiseApplyFunction):
        lambda_of = item.args[0]
        return PRECEDENCE["Pow" if is_power_of_letter(lambda_of.expr, *lambda_of.variables) else "Atom"]
    return precedence(item)


def is_power_of_letter(formula: Expr, *letters: Expr) -> bool:
    """Whether it is a power of its one letter, and no root, which has a name."""
    base, exponent = formula.as_base_exp()
    return letters == (base,) and exponent not in (1, Rational(1, 2)) and not exponent.has(base)


def flat(expr: MatrixExpr) -> tuple[Expr, list[MatrixExpr]]:
    """The coefficient and the factors of a product of products."""
    scale, factors = chain(flat_product(Integer(1), [expr]))
    found: list[MatrixExpr] = []
    for factor in factors:
        inner_scale, inner = flat(factor) if isinstance(factor, MatMul) else (Integer(1), [factor])
        scale, found = scale * inner_scale, [*found, *inner]
    return scale, found


def rational(scale: Expr) -> tuple[Rational, Expr]:
    """The rational factor of a number, also of the sums that are its factors, and the others."""
    number, others = Integer(1), []
    for factor in Mul.make_args(scale):
        content, rest = factor.as_content_primitive() if factor.is_Add else factor.as_coeff_Mul()
        if rest.is_Add and rest.could_extract_minus_sign():
            content, rest = -content, -rest
        number *= content
        others.append(rest)
    return number, Mul(*others)


def with_root_below(above: Expr, below: Expr) -> tuple[Expr, Expr]:
    """1/sqrt(2) for sqrt(2)/2, which SymPy makes of it."""
    for part in Mul.make_args(above):
        if part.is_Pow and part.exp == Rational(1, 2) and part.base.is_Integer:
            whole, rest = below.as_coeff_Mul()
            if whole.is_Integer and whole % part.base == 0:
                return above / part, part * (whole // part.base) * rest
    return above, below


def is_flipped(total: MatAdd) -> bool:
    """Whether the transpose of the sum has fewer bars."""
    return bars(transposed(total)) < bars(total)


def bars(matrix: MatrixExpr) -> int:
    """How many transposes are written in it."""
    return sum(isinstance(part, Transpose) for part in preorder_traversal(matrix))


def is_negative(text: str) -> bool:
    return text.startswith("-")


def as_text(expr: Expr) -> str:
    return TextPrinter().doprint(expr)
