"""Matrix expressions as text to read: functions of entries by their names, sums by their words, .* entry by entry."""

from collections.abc import Iterable
from itertools import count

from sympy import (
    Add,
    Basic,
    DiagMatrix,
    DiagonalMatrix,
    DiagonalOf,
    Eq,
    Expr,
    HadamardPower,
    HadamardProduct,
    Identity,
    Integer,
    KroneckerProduct,
    Lambda,
    MatAdd,
    MatMul,
    MatrixBase,
    MatrixExpr,
    MatrixSymbol,
    Mul,
    Ne,
    Not,
    OneMatrix,
    Piecewise,
    Pow,
    Rational,
    S,
    Symbol,
    Trace,
    Transpose,
    ZeroMatrix,
    exp,
    fraction,
    preorder_traversal,
    true,
)
from sympy.core.relational import Relational
from sympy.logic.boolalg import Boolean, to_nnf
from sympy.matrices.expressions.applyfunc import ElementwiseApplyFunction
from sympy.printing.precedence import PRECEDENCE, precedence
from sympy.printing.str import StrPrinter

from derive.programs.coefficients import flat, is_total, rational, sum_in, with_fewer_signs, with_root_below
from derive.programs.forms import chain, flat_product, transposed
from derive.programs.nodes import Elementwise, RowSoftmax
from derive.programs.notation import unused


class TextPrinter(StrPrinter):
    """Prints as SymPy does, but for what SymPy has no short word for; the identity by a name that no matrix has."""

    def __init__(self, identity: str) -> None:
        super().__init__()
        self.identity = identity

    def _print_Identity(self, expr: Identity) -> str:
        return self.identity

    def _print_OneMatrix(self, expr: OneMatrix) -> str:
        return f"ones({self._print(expr.shape[0])}, {self._print(expr.shape[1])})"

    def _print_Add(self, expr: Add, order: str | None = None) -> str:
        return self.sum_of(self._as_ordered_terms(expr, order=order))

    def _print_Mul(self, expr: Mul) -> str:
        """Minus a product that is a number needs no brackets."""
        number, rest = expr.as_coeff_Mul()
        if number == -1 and isinstance(rest, Trace) and binding(rest.arg) >= PRECEDENCE["Mul"]:
            return f"-{self._print(rest)}"
        return super()._print_Mul(expr)

    def _print_MatAdd(self, expr: MatAdd) -> str:
        """What is subtracted comes last, and before it numbers."""
        return self.sum_of(with_numbers(expr.args) or sorted(expr.args, key=are_ones))

    def parenthesize(self, item: Expr, level: int, strict: bool = False) -> str:
        """In brackets where it binds less; a sum as the transpose of one that has fewer bars."""
        if isinstance(item, MatAdd) and is_flipped(item):
            return f"({self._print(transposed(item))}).T"
        return in_brackets(self._print(item), binding(item), level, strict)

    def sum_of(self, terms: list[Expr]) -> str:
        """What is subtracted comes last."""
        (sign, first), *rest = sorted(map(self.signed, terms), key=lambda written: written[0])
        return sign + first + "".join(f" {sign or '+'} {text}" for sign, text in rest)

    def signed(self, term: Expr) -> tuple[str, str]:
        """The minus in front of a term, if it has one, and the rest."""
        if isinstance(term, MatMul):
            return self.signed_product(term)
        number, rest = (Integer(1), term) if isinstance(term, MatrixExpr) else term.as_coeff_Mul()
        if not number.is_negative:
            return "", self.parenthesize(term, PRECEDENCE["Add"], strict=True)
        return "-", self._print(rest if number == -1 else Mul(-number, rest, evaluate=rest == 1))

    def _print_MatMul(self, expr: MatMul) -> str:
        return "".join(self.signed_product(expr))

    def signed_product(self, expr: MatMul) -> tuple[str, str]:
        """Numbers in front, what divides behind, and ones at the ends of a product as the sums that they make."""
        scale, factors = flat(expr)
        number, rest = with_fewer_signs(*rational(scale))
        sign, number = ("-", -number) if number < 0 else ("", number)
        above, below = fraction(rest, exact=True)
        above, whole = with_root_below(above, Integer(number.q))
        parts = [str(number.p)] * (number.p != 1) + [self.number(above)] * (above != 1)
        text = "*".join([*parts, *filter(None, [self.factors_of(factors)])]) or (self.identity if factors else "1")
        below = Mul(whole, below, evaluate=not below.is_Add or whole == 1)
        return sign, text if below == 1 else f"{text}/{self.number(below, strict=True)}"

    def number(self, number: Expr, strict: bool = False) -> str:
        """A factor, or with `strict` what divides."""
        return self.parenthesize(number, PRECEDENCE["Mul"], strict=not (strict and isinstance(number, Mul)))

    def factors_of(self, factors: list[MatrixExpr]) -> str:
        """A product of matrices, nothing for the identity of one entry."""
        left, word, inner, right = sum_in(factors)
        if word:
            text = f"{word}({self._print(flat_product(Integer(1), inner))})"
        else:
            text = "*".join(self.parenthesize(factor, PRECEDENCE["Mul"]) for factor in inner)
        return "*".join([*map(self._print, left), *filter(None, [text]), *map(self._print, right)])

    def _print_Transpose(self, expr: Transpose) -> str:
        if isinstance(expr.arg, RowSoftmax) and expr.shape[1] == 1 and is_flipped(expr.arg.args[0]):
            return f"{expr.arg.word}({self._print(transposed(expr.arg.args[0]))})"
        return f"{self.parenthesize(expr.arg, PRECEDENCE['Pow'])}.T"

    def _print_MatrixBase(self, expr: MatrixBase) -> str:
        rows = ", ".join(f"[{', '.join(map(self.block, row))}]" for row in expr.tolist())
        return f"Matrix([{rows}])"

    def block(self, part: Expr) -> str:
        zeros = isinstance(part, ZeroMatrix) and part.shape != (1, 1)
        return f"zeros({', '.join(map(self._print, part.shape))})" if zeros else self._print(part)

    _print_ImmutableDenseMatrix = _print_ImmutableMatrix = _print_MatrixBase

    def _print_polygamma(self, expr: Expr) -> str:
        order, argument = expr.args
        return f"digamma({self._print(argument)})" if order == 0 else f"polygamma({order}, {self._print(argument)})"

    def _print_Relational(self, expr: Relational) -> str:
        """What is bounded first, then the bound."""
        turned = expr.lhs.is_Atom and not expr.rhs.is_Atom and not isinstance(expr, Eq | Ne)
        return super()._print_Relational(expr.reversed if turned else expr)

    def _print_Trace(self, expr: Trace) -> str:
        scale, factors = flat(expr.arg)
        if is_total(factors):
            inner = [factor for factor in factors if not isinstance(factor, OneMatrix)]
            text = f"total({self._print(flat_product(Integer(1), inner))})"
            return text if scale == 1 else f"{self.number(scale)}*{text}"
        return self._print(expr.arg) if tuple(expr.arg.shape) == (1, 1) else f"tr({self._print(expr.arg)})"

    def _print_Determinant(self, expr: Expr) -> str:
        return f"det({self._print(expr.arg)})"

    def _print_HadamardProduct(self, expr: HadamardProduct) -> str:
        """Symbols first, and what divides last; ones in a sum as the number 1."""
        below = list(map(reciprocal_of, expr.args))
        below = below if None in below else [*below[:-1], None]
        above = sorted((part for part, of in zip(expr.args, below, strict=True) if of is None), key=rank)
        return " ./ ".join([" .* ".join(map(self.factor, above)), *map(self.factor, filter(None, below))])

    def factor(self, part: MatrixExpr, level: int = PRECEDENCE["Mul"]) -> str:
        """What is multiplied entry by entry, or at another level a base; ones in a sum as a number."""
        if isinstance(part, MatAdd) and any(map(are_ones, part.args)):
            others = [term for term in part.args if not are_ones(term)]
            return f"({self.sum_of([*others, *(chain(term)[0] for term in part.args if are_ones(term))])})"
        return self.parenthesize(part, level, strict=isinstance(part, Transpose))

    def _print_HadamardPower(self, expr: HadamardPower) -> str:
        exponent = self.parenthesize(expr.exp, PRECEDENCE["Pow"], strict=True)
        return f"{self.factor(expr.base, PRECEDENCE['Pow'])}.^{exponent}"

    def _print_DiagMatrix(self, expr: DiagMatrix) -> str:
        return f"diag({self._print(expr.args[0])})"

    def _print_DiagonalMatrix(self, expr: DiagonalMatrix) -> str:
        return f"{self.identity} .* {self.parenthesize(expr.arg, PRECEDENCE['Mul'], strict=True)}"

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
        return self.entrywise(formula, operands)

    def entrywise(self, formula: Expr, operands: dict[Expr, Expr]) -> str:
        """The formula with matrices for its letters; with letters where it has branches or would be long.

        A mask, 1 where a condition holds and else 0, is the condition.
        """
        mask = condition_of(formula)
        if mask is not None and is_short_in_full(mask, operands):
            return f"({EntriesPrinter(operands, self.identity).doprint(mask)})"
        if is_short_in_full(formula, operands):
            return EntriesPrinter(operands, self.identity).doprint(formula)
        own = unused((f"t{n or ''}" for n in count()), formula.free_symbols.difference(operands))
        names = {letter: Symbol(name, **letter.assumptions0) for letter, name in zip(operands, own, strict=False)}
        letters, matrices = map(str, names.values()), map(self._print, operands.values())
        return f"apply({', '.join(letters)} -> {self._print(formula.xreplace(names))}, {', '.join(matrices)})"


class EntriesPrinter(TextPrinter):
    """A formula over entries, with matrices in the place of its letters: numbers are added to every entry."""

    def __init__(self, operands: dict[Expr, Expr], identity: str) -> None:
        super().__init__(identity)
        self.operands = operands

    def has_matrix(self, formula: Expr) -> bool:
        return formula.has(*self.operands)

    def _print_Dummy(self, expr: Symbol) -> str:
        return self._print_Symbol(expr)

    def _print_Symbol(self, expr: Symbol) -> str:
        return TextPrinter(self.identity)._print(self.operands[expr]) if expr in self.operands else str(expr)

    def _print_Function(self, expr: Expr) -> str:
        return f"{expr.func.__name__}({', '.join(map(self._print, expr.args))})"

    def _print_Pow(self, expr: Pow, rational: bool = False) -> str:
        if not self.has_matrix(expr):
            return super()._print_Pow(expr, rational)
        if expr.exp == Rational(1, 2):
            return f"sqrt({self._print(expr.base)})"
        if expr.exp.could_extract_minus_sign():
            return f"1 ./ {self.parenthesize(expr.base**-expr.exp, PRECEDENCE['Mul'])}"
        level = PRECEDENCE["Pow"]
        return f"{self.parenthesize(expr.base, level)}.^{self.parenthesize(expr.exp, level)}"

    def _print_Mul(self, expr: Mul) -> str:
        """Numbers in front, what divides last."""
        if not self.has_matrix(expr):
            return super()._print_Mul(expr)
        number, rest = expr.as_independent(*self.operands, as_Add=False)
        parts = Mul.make_args(rest)
        below = [part for part in parts if part.is_Pow and part.exp.could_extract_minus_sign()]
        rest = (part for part in parts if part not in below)
        above = sorted(rest, key=lambda part: not is_symbol(self.operands.get(part, part)))
        sign, number = ("-", -number) if number.could_extract_minus_sign() else ("", number)
        level = PRECEDENCE["Mul"]
        texts = [self.parenthesize(part, level, strict=len(parts) == 1) for part in above] or ["1"]
        number, divisor = fraction(number, exact=True)
        texts = [f"{self.parenthesize(number, level)}*{texts[0]}", *texts[1:]] if number != 1 else texts
        divisors = [self.parenthesize(1 / part, level) for part in below]
        text = sign + " ./ ".join([" .* ".join(texts), *divisors])
        return text if divisor == 1 else f"{text}/{self.parenthesize(divisor, level)}"

    def parenthesize(self, item: Expr, level: int, strict: bool = False) -> str:
        if item in self.operands:
            return TextPrinter(self.identity).parenthesize(self.operands[item], level, strict)
        own = PRECEDENCE["Mul"] if item.is_Pow and item.exp.could_extract_minus_sign() else binding_with_roots(item)
        return in_brackets(self._print(item), own, level, strict)


def condition_of(formula: Expr) -> Boolean | None:
    """Where it is 1, of a formula that is 1 or 0."""
    cases = list(formula.args) if isinstance(formula, Piecewise) else []
    if len(cases) != 2 or cases[1].cond is not true or {case.expr for case in cases} != {0, 1}:
        return None
    return cases[0].cond if cases[0].expr == 1 else to_nnf(Not(cases[0].cond))


def is_short_in_full(formula: Expr, operands: dict[Expr, Expr]) -> bool:
    """Whether it is no longer with matrices in the place of letters, and has no branches."""
    if formula.has(Piecewise) or not all(part.is_Symbol or part.args or part.is_number for part in formula.args):
        return False
    return all(is_symbol(matrix) or formula.count(letter) == 1 for letter, matrix in operands.items())


def in_brackets(text: str, own: int, level: int, strict: bool) -> str:
    """The text in brackets where it binds less."""
    return text if own > level or (strict and own == level) else f"({text})"


def binding_with_roots(item: Expr) -> int:
    """As SymPy has it, but that roots and Kronecker products are written as calls."""
    root = isinstance(item, Pow) and item.exp == Rational(1, 2)
    return PRECEDENCE["Atom"] if root or isinstance(item, KroneckerProduct) else precedence(item)


def binding(item: Expr) -> int:
    """How tightly the operator of an expression binds; SymPy multiplies a product of matrices out to find its sign."""
    if isinstance(item, MatMul):
        scale, factors = flat(item)
        left, word, _, right = sum_in(factors)
        if word and scale == 1 and not left and not right:
            return PRECEDENCE["Atom"]
        return PRECEDENCE["Add" if chain(item)[0].could_extract_minus_sign() else "Mul"]
    if isinstance(item, MatAdd | DiagonalMatrix):
        return PRECEDENCE["Add"]
    if isinstance(item, HadamardPower):
        return PRECEDENCE["Pow"]
    if isinstance(item, Trace):
        scale, factors = flat(item.arg)
        inside = binding(item.arg) if tuple(item.arg.shape) == (1, 1) else PRECEDENCE["Atom"]
        call = scale == 1 if is_total(factors) else inside == PRECEDENCE["Atom"]
        return PRECEDENCE["Atom" if call else "Add"]
    if isinstance(item, Elementwise | ElementwiseApplyFunction):
        formula, letters = item.args[0].expr, item.args[0].variables
        if is_power_of_letter(formula, *letters):
            return PRECEDENCE["Pow"]
        operands = item.operands if isinstance(item, Elementwise) else {letters[0]: item.expr}
        if formula.is_Function or not is_short_in_full(formula, operands):
            return PRECEDENCE["Atom"]
        power = formula.is_Pow and not formula.exp.could_extract_minus_sign()
        return binding_with_roots(formula) if power else min(precedence(formula), PRECEDENCE["Mul"])
    return binding_with_roots(item)


def are_ones(term: MatrixExpr) -> bool:
    """Whether it is a number times ones."""
    return all(isinstance(factor, OneMatrix) for factor in chain(term)[1])


def with_numbers(terms: Iterable[MatrixExpr]) -> list[Expr]:
    """The terms of a sum entry by entry, ones as the number 1; none where there are others."""
    entrywise = HadamardPower | HadamardProduct | ElementwiseApplyFunction | Elementwise
    inner = [chain(term) for term in terms]
    if all(len(factors) == 1 and isinstance(factors[0], entrywise | OneMatrix) for _, factors in inner):
        return [
            scale if isinstance(factors[0], OneMatrix) else term
            for (scale, factors), term in zip(inner, terms, strict=True)
        ]
    return []


def rank(part: MatrixExpr) -> int:
    """Where it stands among what is multiplied entry by entry: I and symbols first, sums with ones last."""
    if isinstance(part, Identity):
        return -1
    return 0 if is_symbol(part) else 2 if isinstance(part, MatAdd) and any(map(are_ones, part.args)) else 1


def reciprocal_of(part: MatrixExpr) -> MatrixExpr | None:
    """What it is one over, entry by entry."""
    if isinstance(part, HadamardPower) and part.exp.is_negative:
        return part.base if part.exp == -1 else HadamardPower(part.base, -part.exp)
    if isinstance(part, ElementwiseApplyFunction):
        base, exponent = part.function.expr.as_base_exp()
        if exponent.is_negative and not isinstance(base, exp) and base != S.Exp1:
            (letter,), below = part.function.variables, base**-exponent
            return part.expr if below == letter else part.expr.applyfunc(Lambda(letter, below))
    return None


def is_symbol(matrix: MatrixExpr) -> bool:
    return isinstance(matrix.arg if isinstance(matrix, Transpose) else matrix, MatrixSymbol)


def is_power_of_letter(formula: Expr, *letters: Expr) -> bool:
    """Whether it is a power of its one letter, and no root, which has a name."""
    base, exponent = formula.as_base_exp()
    return letters == (base,) and exponent not in (1, Rational(1, 2)) and not exponent.has(base)


def is_flipped(matrix: MatrixExpr) -> bool:
    """Whether the transpose has fewer bars."""
    return bars(transposed(matrix)) < bars(matrix)


def bars(matrix: MatrixExpr) -> int:
    """How many transposes are written in it."""
    return sum(isinstance(part, Transpose) for part in preorder_traversal(matrix))


def as_text(expr: Expr, beside: Iterable[Basic] = ()) -> str:
    """The expression, in which the identity has a name that neither a symbol in it nor one of those beside it has."""
    return TextPrinter(next(unused(("I", "eye"), [*expr.free_symbols, *beside]), "identity")).doprint(expr)
