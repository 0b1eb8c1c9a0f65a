"""Equations as torch source. A strict printer: what torch has no name for here is an error, at build time."""

from dataclasses import dataclass

from sympy import (
    Expr,
    Integer,
    MatAdd,
    MatMul,
    MatrixExpr,
    MatrixSymbol,
    Mul,
    OneMatrix,
    Rational,
    Symbol,
    Transpose,
    true,
)
from sympy.core.parameters import distribute
from sympy.printing.codeprinter import CodePrinter
from sympy.printing.precedence import PRECEDENCE

from derive.notation import factors, terms
from derive.program import Elementwise, Equation, Program, RowLogSumExp

KERNELS = {
    "Abs": "torch.abs",
    **{
        name: f"torch.{name}" for name in ("cos", "erf", "exp", "log", "relu", "selu", "sigmoid", "sign", "sin", "tanh")
    },
    **{
        name: f"torch.nn.functional.{name}"
        for name in (
            "celu",
            "elu",
            "gelu",
            "hardsigmoid",
            "hardswish",
            "hardtanh",
            "leaky_relu",
            "logsigmoid",
            "mish",
            "relu6",
            "silu",
            "softplus",
            "softsign",
            "tanhshrink",
        )
    },
}
MOST_READABLE = 10**6  # a fraction with a larger denominator is written as a decimal
OPTIONS = {"gelu_tanh": ("torch.nn.functional.gelu", 'approximate="tanh"')}


@dataclass(frozen=True)
class Line:
    """One assignment of the emitted code: `code` assigns a tensor of `shape`; `meaning` says what it is."""

    code: str
    shape: str
    meaning: str


class TorchPrinter(CodePrinter):
    """Spells matrix expressions and scalar formulas; sizes become numbers where the program knows them."""

    language = "torch"

    def __init__(self, program: Program) -> None:
        super().__init__()
        self.program = program

    def equation(self, equation: Equation) -> str:
        return f"{self._print(equation.target)} = {self._print(equation.value)}"

    def emptyPrinter(self, expr):
        raise ValueError(f"torch has no name here for {type(expr).__name__}: {expr}")

    def _print_not_supported(self, expr):
        self.emptyPrinter(expr)

    def _print_MatrixSymbol(self, expr: MatrixSymbol) -> str:
        return self.program.notation.torch(expr.name)

    def _print_Symbol(self, expr: Symbol) -> str:
        if expr.is_integer:
            return self._print(self.program.sizes[expr]) if expr in self.program.sizes else expr.name
        return self.program.notation.torch(expr.name)

    def _print_Transpose(self, expr: Transpose) -> str:
        return f"{self.parenthesize(expr.arg, PRECEDENCE['Atom'], strict=True)}.T"

    def _print_Elementwise(self, expr: Elementwise) -> str:
        with distribute(False):
            return self._print(expr.formula.xreplace(self.program.sizes))

    def _print_RowLogSumExp(self, expr: RowLogSumExp) -> str:
        return f"torch.logsumexp({self._print(expr.args[0])}, 1, keepdim=True)"

    def _print_MatAdd(self, expr: MatAdd) -> str:
        """A row that is broadcast comes last, as a bias does."""
        parts = sorted(expr.args, key=lambda term: term.has(OneMatrix))
        return " + ".join(self._print(part) for part in parts)

    def _print_MatMul(self, expr: MatMul) -> str:
        """Ones on the left are a broadcast of a row or a sum over rows, ones on both sides the sum of all entries."""
        scale, matrices = expr.as_coeff_matrices()
        left, *rest = matrices
        if isinstance(left, OneMatrix) and isinstance(rest[-1], OneMatrix):
            text = f"{self._operand(rest[:-1])}.sum()"
        elif isinstance(left, OneMatrix) and left.shape[1] == 1:
            text = self._product(rest)
        elif isinstance(left, OneMatrix):
            text = f"{self._operand(rest)}.sum(0)"
        elif isinstance(matrices[-1], OneMatrix) and matrices[-1].shape[1] == 1:
            text = f"{self._operand(matrices[:-1])}.sum(1, keepdim=True)"
        else:
            text = self._product(matrices)
        return self._scaled(scale.xreplace(self.program.sizes), text)

    def _product(self, matrices: list[MatrixExpr]) -> str:
        return " @ ".join(self._factor(matrix) for matrix in matrices)

    def _operand(self, matrices: list[MatrixExpr]) -> str:
        if len(matrices) == 1:
            return self.parenthesize(matrices[0], PRECEDENCE["Atom"], strict=True)
        return f"({self._product(matrices)})"

    def _factor(self, expr: Expr) -> str:
        return self.parenthesize(expr, PRECEDENCE["Mul"], strict=True)

    def _divisor(self, expr: Expr) -> str:
        return self.parenthesize(expr, PRECEDENCE["Mul"])

    def _scaled(self, scale: Expr, text: str) -> str:
        """scale * text with the number in front, but a division by it where it is one over a number."""
        if scale.is_Rational and scale.q > MOST_READABLE:
            return f"{self._print(scale)} * {text}"
        numerator, denominator = scale.as_numer_denom()
        if numerator == 1:
            return text if denominator == 1 else f"{text} / {self._divisor(denominator)}"
        ratio = (
            self._factor(numerator) if denominator == 1 else f"{self._factor(numerator)} / {self._divisor(denominator)}"
        )
        return f"{ratio} * {text}"

    def _print_Add(self, expr: Expr, order=None) -> str:
        first, *rest = terms(expr)
        text = self._print(first)
        for term in rest:
            text += f" - {self._print(-term)}" if term.could_extract_minus_sign() else f" + {self._print(term)}"
        return text

    def _print_Mul(self, expr: Expr) -> str:
        """Left to right, numbers and sizes as one factor in front: 2 / N * (p - y)."""
        if expr.could_extract_minus_sign():
            return f"-{self._factor(-expr)}"
        scale, over, under = Integer(1), [], []
        for factor in factors(expr, self.program.notation):
            if is_number(factor):
                scale *= factor
            elif factor.is_Pow and factor.exp.is_number and factor.exp.is_negative:
                under.append(1 / factor)
            else:
                over.append(factor)
        if not over and not under:
            numbers, denominator = expr.as_numer_denom()
            text = " * ".join(map(self._factor, Mul.make_args(numbers)))
            return text if denominator == 1 else f"{text} / {self._divisor(denominator)}"
        text = self._scaled(scale, " * ".join(map(self._factor, over))) if over else self._factor(scale)
        return " / ".join([text, *map(self._divisor, under)])

    def _print_Pow(self, expr: Expr, rational=False) -> str:
        base, exponent = expr.as_base_exp()
        if exponent.is_number and exponent.is_negative:
            return f"1 / {self._divisor(base**-exponent)}"
        if exponent == Rational(1, 2):
            return f"{'math' if is_number(base) else 'torch'}.sqrt({self._print(base)})"
        power = "**" if base.is_Atom and exponent.is_Integer else " ** "
        return power.join(self.parenthesize(part, PRECEDENCE["Pow"]) for part in (base, exponent))

    def _print_Function(self, expr: Expr) -> str:
        name = type(expr).__name__
        kernel, *options = OPTIONS[name] if name in OPTIONS else (KERNELS.get(name),)
        if kernel is None or is_number(expr):
            self.emptyPrinter(expr)
        return f"{kernel}({', '.join([*map(self._print, expr.args), *options])})"

    _print_Abs = _print_erf = _print_exp = _print_log = _print_sign = _print_sin = _print_cos = _print_tanh = (
        _print_Function
    )

    def _print_Piecewise(self, expr: Expr) -> str:
        """Nested torch.where; of numbers alone torch would make a tensor of its default dtype."""
        *branches, (text, condition) = [(self._print(value), condition) for value, condition in expr.args]
        if condition is not true:
            raise ValueError(f"torch needs a value where no condition holds: {expr}")
        for value, condition in reversed(branches):
            text = f"torch.where({self._print(condition)}, {value}, {text})"
        if any(not is_number(branch) for branch, _ in expr.args):
            return text
        return f"{text}.to({self._print(min(expr.free_symbols - set(self.program.sizes), key=str))}.dtype)"

    def _print_Relational(self, expr: Expr) -> str:
        return f"{self._print(expr.lhs)} {expr.rel_op} {self._print(expr.rhs)}"

    def _print_And(self, expr: Expr) -> str:
        return " & ".join(f"({self._print(part)})" for part in expr.args)

    def _print_Or(self, expr: Expr) -> str:
        return " | ".join(f"({self._print(part)})" for part in expr.args)

    def _print_Integer(self, expr: Expr) -> str:
        return str(expr.p)

    def _print_Rational(self, expr: Expr) -> str:
        if expr.q > MOST_READABLE:
            return repr(expr.p / expr.q)
        return f"{expr.p} / {expr.q}"

    def _print_Pi(self, expr: Expr) -> str:
        return "math.pi"

    def _print_Exp1(self, expr: Expr) -> str:
        return "math.e"


def is_number(expr: Expr) -> bool:
    """Whether the value is one number for the whole batch: no entry of a matrix is in it, only sizes may be."""
    return all(symbol.is_integer for symbol in expr.free_symbols)


def lines(program: Program, equations: tuple[Equation, ...]) -> list[Line]:
    """The equations as lines of a function body."""
    printer = TorchPrinter(program)
    return [Line(printer.equation(e), shape_text(program.shape(e.target)), e.meaning) for e in equations]


def summands(program: Program, equation: Equation) -> Line:
    """A gradient that is a sum over the rows, as the rows' own terms: the last sum left undone."""
    left, right = equation.value.args
    if isinstance(left, OneMatrix):
        code = spell(program, right)
    else:
        code = f"{spell(program, left.arg)}.unsqueeze(2) * {spell(program, right)}.unsqueeze(1)"
    shape = shape_text((left.shape[1], *program.shape(equation.target)))
    return Line(f"{spell(program, equation.target)} = {code}", shape, f"each row's {equation.meaning}")


def spell(program: Program, expr: MatrixExpr) -> str:
    """One expression as torch source."""
    return TorchPrinter(program)._print(expr)


def shape_text(shape: tuple[Expr, ...]) -> str:
    """A shape as Python writes it: (N, 10), (10,), and () for a scalar."""
    return f"({shape[0]},)" if len(shape) == 1 else f"({', '.join(map(str, shape))})"
