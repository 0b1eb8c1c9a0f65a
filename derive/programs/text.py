"""Matrix expressions as text to read: functions of entries by their names, sums by their words, .* entry by entry."""

from sympy import Expr, HadamardPower, HadamardProduct, Integer, MatMul, OneMatrix, Trace
from sympy.matrices.expressions.applyfunc import ElementwiseApplyFunction
from sympy.printing.precedence import PRECEDENCE
from sympy.printing.str import StrPrinter

from derive.programs.forms import chain, product
from derive.programs.program import Elementwise, RowLogSumExp


class TextPrinter(StrPrinter):
    """Prints as SymPy does, but for what SymPy has no short word for."""

    def _print_OneMatrix(self, expr: OneMatrix) -> str:
        return f"ones({self._print(expr.shape[0])}, {self._print(expr.shape[1])})"

    def _print_MatMul(self, expr: MatMul) -> str:
        """Ones at the ends of a product as the sums that they make."""
        scale, factors = chain(expr)
        columns = len(factors) > 1 and isinstance(factors[0], OneMatrix) and factors[0].shape[0] == 1
        rows = len(factors) > 1 and isinstance(factors[-1], OneMatrix) and factors[-1].shape[1] == 1
        word = {(True, True): "total", (True, False): "column_sum", (False, True): "row_sum"}.get((columns, rows))
        inner = factors[columns : len(factors) - rows]
        if word is None or not inner:
            return super()._print_MatMul(expr)
        text = f"{word}({self._print(product(Integer(1), inner))})"
        return text if scale == 1 else f"{self.parenthesize(scale, PRECEDENCE['Mul'])}*{text}"

    def _print_Trace(self, expr: Trace) -> str:
        scale, factors = chain(product(Integer(1), [expr.arg]))
        if len(factors) > 2 and all(isinstance(end, OneMatrix) for end in (factors[0], factors[-1])):
            return self._print(product(scale, factors))
        return f"tr({self._print(expr.arg)})"

    def _print_HadamardProduct(self, expr: HadamardProduct) -> str:
        return " .* ".join(self.parenthesize(part, PRECEDENCE["Mul"], strict=True) for part in expr.args)

    def _print_HadamardPower(self, expr: HadamardPower) -> str:
        base, exponent = (self.parenthesize(part, PRECEDENCE["Pow"], strict=True) for part in expr.args)
        return f"{base}.^{exponent}"

    def _print_RowLogSumExp(self, expr: RowLogSumExp) -> str:
        return f"logsumexp({self._print(expr.args[0])})"

    def _print_ElementwiseApplyFunction(self, expr: ElementwiseApplyFunction) -> str:
        (variable,), formula = expr.function.variables, expr.function.expr
        return self.function_of(formula, {variable: expr.expr})

    def _print_Elementwise(self, expr: Elementwise) -> str:
        return self.function_of(expr.formula, expr.operands)

    def function_of(self, formula: Expr, operands: dict[Expr, Expr]) -> str:
        """f(A) of a function with a name, else the formula with what its letters are."""
        if formula.args == tuple(operands) and formula.is_Function:
            return f"{formula.func.__name__}({', '.join(map(self._print, operands.values()))})"
        letters = ", ".join(map(str, operands))
        return f"apply({letters} -> {self._print(formula)}, {', '.join(map(self._print, operands.values()))})"


def as_text(expr: Expr) -> str:
    return TextPrinter().doprint(expr)
