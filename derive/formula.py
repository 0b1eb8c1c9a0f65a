"""A formula that a person types, as SymPy: read against a list of what is allowed, never evaluated."""

import ast
import difflib
from collections.abc import Callable

from sympy import (
    Abs,
    Expr,
    I,
    Integer,
    Piecewise,
    Rational,
    Symbol,
    cos,
    erf,
    exp,
    log,
    nan,
    oo,
    pi,
    piecewise_fold,
    sin,
    sqrt,
    tanh,
    zoo,
)

from derive.functions import FUNCTIONS, z
from derive.losses import logsumexp

LONGEST, MOST_NODES, DEEPEST, LARGEST_EXPONENT, LARGEST_NUMBER = 300, 200, 40, 64, 10**12


def _log_softmax(u: Expr) -> Expr:
    return u - logsumexp(u)


ELEMENTWISE: dict[str, Callable[..., Expr]] = {
    **{name: lambda u, row=row: row.xreplace({z: u}) for name, row in FUNCTIONS.items()},
    "abs": Abs,
    "cos": cos,
    "erf": erf,
    "exp": exp,
    "log": log,
    "max": lambda a, b: Piecewise((a, a > b), (b, True)),
    "min": lambda a, b: Piecewise((a, a < b), (b, True)),
    "sin": sin,
    "sqrt": sqrt,
    "tanh": tanh,
    "where": lambda condition, a, b: Piecewise((a, condition), (b, True)),
}
ROW_COUPLED: dict[str, Callable[..., Expr]] = {
    "logsumexp": logsumexp,
    "log_softmax": _log_softmax,
    "softmax": lambda u: exp(_log_softmax(u)),
}
ARGUMENTS = {"max": 2, "min": 2, "where": 3}
CONSTANTS = {"pi": pi}
OPERATORS = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
}
COMPARISONS = {ast.Lt: "__lt__", ast.LtE: "__le__", ast.Gt: "__gt__", ast.GtE: "__ge__"}


def parse(field: str, text: str, variables: tuple[Symbol, ...], coupled: bool = False) -> Expr:
    """The formula in these variables; with `coupled`, functions of a whole row are allowed.

    Raises ValueError that names the field, what is not allowed there and what is.
    """
    if len(text) > LONGEST or not text.isascii() or not text.isprintable():
        raise ValueError(f"{field}: expected a formula of at most {LONGEST} plain characters, got {text[:40]!r}")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"{field}: {text!r} is no formula: {error.args[0]}") from None
    if sum(1 for _ in ast.walk(tree)) > MOST_NODES:
        raise ValueError(f"{field}: a formula of more than {MOST_NODES} parts")
    functions = {**ELEMENTWISE, **(ROW_COUPLED if coupled else {})}
    formula = piecewise_fold(_Reader(field, variables, functions).read(tree, 0))
    if formula.has(zoo, oo, -oo, nan):
        raise ValueError(f"{field}: {text!r} divides by zero")
    if formula.has(I):
        raise ValueError(f"{field}: {text!r} must be real")
    if variables[0] not in formula.free_symbols:
        raise ValueError(f"{field}: {text!r} has no {variables[0]}, so its gradient would be zero")
    return formula


class _Reader:
    def __init__(self, field: str, variables: tuple[Symbol, ...], functions: dict[str, Callable[..., Expr]]) -> None:
        self.field = field
        self.names = {**{symbol.name: symbol for symbol in variables}, **CONSTANTS}
        self.functions = functions

    def read(self, node: ast.AST, depth: int) -> Expr:
        if depth > DEEPEST:
            raise ValueError(f"{self.field}: a formula nested more than {DEEPEST} deep")
        below = depth + 1
        match node:
            case ast.Constant(value=int() | float()) if not isinstance(node.value, bool):
                return self.number(node.value)
            case ast.Name(id=name) if name in self.names:
                return self.names[name]
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self.read(operand, below)
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return self.read(operand, below)
            case ast.BinOp(op=ast.Pow(), left=left, right=right):
                return self.power(self.read(left, below), self.read(right, below))
            case ast.BinOp(op=op, left=left, right=right) if type(op) in OPERATORS:
                return OPERATORS[type(op)](self.read(left, below), self.read(right, below))
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in COMPARISONS:
                return getattr(self.read(left, below), COMPARISONS[type(op)])(self.read(right, below))
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in self.functions:
                expected = ARGUMENTS.get(name, 1)
                if len(arguments) != expected:
                    raise ValueError(f"{self.field}: {name} takes {expected} arguments, got {len(arguments)}")
                return self.functions[name](*(self.read(argument, below) for argument in arguments))
        raise ValueError(f"{self.field}: not allowed here: {ast.unparse(node)[:60]}{self.hint(node)}")

    def number(self, value: float) -> Expr:
        if not abs(value) <= LARGEST_NUMBER:
            raise ValueError(f"{self.field}: a number of at most {LARGEST_NUMBER} is expected, got {value!r:.40}")
        return Integer(value) if isinstance(value, int) else Rational(repr(value))

    def power(self, base: Expr, exponent: Expr) -> Expr:
        if not exponent.is_Rational or abs(exponent) > LARGEST_EXPONENT:
            raise ValueError(f"{self.field}: an exponent is a number from -{LARGEST_EXPONENT} to {LARGEST_EXPONENT}")
        if base.is_number and abs(exponent) > 8:
            raise ValueError(f"{self.field}: a power of a number that large is not allowed")
        return base**exponent

    def hint(self, node: ast.AST) -> str:
        known = [*self.names, *self.functions]
        name = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else None
        name = node.id if isinstance(node, ast.Name) else name
        near = difflib.get_close_matches(name, known, 1) if name else []
        if near:
            return f"; did you mean {near[0]}?"
        return f"; allowed: numbers, {', '.join(self.names)}, + - * / **, {', '.join(self.functions)}"
