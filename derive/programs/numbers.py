"""The equations of a derivation on plain numbers: lists of rows in, lists of rows out, for the worked example."""

from collections.abc import Callable
from functools import cache, lru_cache
from math import exp, isfinite, log, nan

from sympy import Expr, Lambda, MatAdd, MatMul, MatrixExpr, MatrixSymbol, OneMatrix, Symbol, Transpose, lambdify

from derive.formulas import FUNCTIONS, NamedFunction, z
from derive.programs.program import Elementwise, Equation, RowLogSumExp, RowMax

Matrix = list[list[float]]


def evaluate(equations: tuple[Equation, ...], inputs: dict[MatrixSymbol, Matrix]) -> dict[str, Matrix]:
    """The value of each symbol by name, inputs and targets, one equation after the other.

    Raises ValueError that names the first symbol without a real and finite value.
    """
    arithmetic = Arithmetic(inputs)
    for equation in equations:
        try:
            value = arithmetic.value(equation.value)
        except UnknownNode:
            raise
        except (ArithmeticError, ValueError, TypeError):
            value = [[nan]]
        if not all(isfinite(number) for row in value for number in row):
            raise ValueError(f"{equation.target} has no real and finite value")
        arithmetic.values[equation.target.name] = value
    return arithmetic.values


class UnknownNode(ValueError):
    """What is no operation of a network."""


class Arithmetic:
    def __init__(self, inputs: dict[MatrixSymbol, Matrix]) -> None:
        self.values: dict[str, Matrix] = {}
        self.sizes: dict[Expr, int] = {}
        for symbol, rows in inputs.items():
            self.values[symbol.name] = rows
            self.sizes.update({symbol.shape[0]: len(rows), symbol.shape[1]: len(rows[0])})

    def number(self, expr: Expr) -> float:
        return float(expr.xreplace({size: number for size, number in self.sizes.items() if isinstance(size, Symbol)}))

    def value(self, expr: MatrixExpr) -> Matrix:
        if isinstance(expr, MatrixSymbol):
            return self.values[expr.name]
        if isinstance(expr, Transpose):
            return [list(row) for row in zip(*self.value(expr.arg), strict=True)]
        if isinstance(expr, OneMatrix):
            rows, columns = (int(self.number(size)) for size in expr.shape)
            return [[1.0] * columns for _ in range(rows)]
        if isinstance(expr, MatAdd):
            return [
                [sum(entries) for entries in zip(*rows, strict=True)]
                for rows in zip(*map(self.value, expr.args), strict=True)
            ]
        if isinstance(expr, MatMul):
            return self.product(expr)
        if isinstance(expr, Elementwise):
            return self.formula(expr)
        if isinstance(expr, RowLogSumExp):
            return [[log(sum(map(exp, row)))] for row in self.value(expr.args[0])]
        if isinstance(expr, RowMax):
            return [[max(row)] for row in self.value(expr.args[0])]
        raise UnknownNode(f"no numbers here for {type(expr).__name__}: {expr}")

    def product(self, expr: MatMul) -> Matrix:
        scale, matrices = expr.as_coeff_matrices()
        result, *rest = map(self.value, matrices)
        for matrix in rest:
            columns = list(zip(*matrix, strict=True))
            result = [[sum(a * b for a, b in zip(row, column, strict=True)) for column in columns] for row in result]
        factor = self.number(scale)
        return result if factor == 1 else [[factor * number for number in row] for row in result]

    def formula(self, expr: Elementwise) -> Matrix:
        function = compiled(Lambda(expr.args[0].variables, expr.formula.xreplace(self.sizes)))
        operands = [self.value(operand) for operand in expr.args[1:]]
        return [[float(function(*each)) for each in zip(*rows, strict=True)] for rows in zip(*operands, strict=True)]


@lru_cache
def compiled(formula: Lambda) -> Callable[..., float]:
    """The formula as a Python function."""
    return lambdify(formula.variables, formula.expr, [kernels(), "math"])


@cache
def kernels() -> dict[str, Callable[[float], float]]:
    """The named functions as Python functions, by their definitions."""
    known: dict[str, Callable[[float], float]] = {}
    for row in FUNCTIONS.values():
        if isinstance(row, NamedFunction):
            known[type(row).__name__] = lambdify(z, row.definition, [dict(known), "math"])
    return known
