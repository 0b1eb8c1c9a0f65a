"""A formula that a person types, as SymPy: read against a list of what is allowed, never evaluated."""

import ast
import difflib
import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache
from math import prod
from reprlib import Repr

from sympy import (
    Abs,
    DiracDelta,
    Dummy,
    Expr,
    I,
    Integer,
    Piecewise,
    Rational,
    Symbol,
    cos,
    diff,
    erf,
    exp,
    log,
    nan,
    oo,
    pi,
    piecewise_fold,
    sign,
    sin,
    sqrt,
    tanh,
    zoo,
)

from derive.formulas.functions import FUNCTIONS, clipped
from derive.formulas.losses import OfRow, largest, logsumexp
from derive.formulas.rewritten import with_tails
from derive.formulas.stable import NamedFunction, erfc, expm1, log1p, opened, z

MOST_LETTERS, MOST_NODES, DEEPEST, LARGEST_EXPONENT, LARGEST_NUMBER = 300, 200, 40, 64, 10**12
MOST_CALLS, MOST_BRANCHES = 6, 16  # calls inside one another; branches, those of all parts combined


class _Short(Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 60

    def repr_int(self, number: int, level: int) -> str:
        return repr(number) if number.bit_length() < 200 else f"a number of {number.bit_length()} bits"


shortened = _Short().repr  # for messages: what was given, cut where it is long


def _log_softmax(u: Expr) -> Expr:
    return u - logsumexp(u)


def comparison_of(method: str, a: Expr, b: Expr) -> Expr:
    """Which of the two is larger; of sums by their difference, as SymPy turns some comparisons round without end."""
    one, other = (a - b, Integer(0)) if a.is_Add and b.is_Add else (a, b)
    return getattr(one, method)(other)


def _chosen(a: Expr, b: Expr, first: str, other: str) -> Expr:
    """The one of which the first holds; beside a number what may be nan comes last, so that nan it stays."""
    if b.is_number:
        return Piecewise((b, comparison_of(other, a, b)), (a, True))
    return Piecewise((a, comparison_of(first, a, b)), (b, True))


def absolute(u: Expr) -> Expr:
    """Abs, or as its branches where it is of what is not real everywhere, as log(p): SymPy's slope is then complex."""
    if u.is_extended_real or not all(letter.is_extended_real for letter in u.free_symbols):
        return Abs(u)
    below, at = (comparison_of(sign_of, u, Integer(0)) for sign_of in ("__lt__", "__le__"))
    return Piecewise((-u, below), (0, at), (u, True))


ELEMENTWISE: dict[str, Callable[..., Expr]] = {
    **{name: lambda u, row=row: row.xreplace({z: u}) for name, row in FUNCTIONS.items()},
    "abs": absolute,
    "clamp": clipped,
    "clip": clipped,
    "cos": cos,
    "cosh": lambda u: (exp(u) + exp(-u)) / 2,
    "erf": erf,
    "erfc": erfc,
    "exp": exp,
    "expm1": expm1,
    "log": log,
    "log1p": log1p,
    "max": lambda a, b: _chosen(a, b, "__gt__", "__le__"),
    "min": lambda a, b: _chosen(a, b, "__lt__", "__ge__"),
    "sign": sign,
    "sin": sin,
    "sinh": lambda u: (exp(u) - exp(-u)) / 2,
    "sqrt": sqrt,
    "square": lambda u: u**2,
    "tan": lambda u: sin(u) / cos(u),
    "tanh": tanh,
    "where": lambda condition, a, b: Piecewise((a, condition), (b, True)),
}
ROW_COUPLED: dict[str, Callable[..., Expr]] = {
    "logsumexp": logsumexp,
    "log_softmax": _log_softmax,
    "softmax": lambda u: exp(_log_softmax(u)),
    "max": largest,
    "min": lambda u: -largest(-u),
}
ARGUMENTS = {"clamp": 3, "clip": 3, "max": 2, "min": 2, "where": 3}
BRANCHES = {
    name: len(row.func.definition.args)
    for name, row in FUNCTIONS.items()
    if isinstance(row, NamedFunction) and isinstance(row.func.definition, Piecewise)
}
CONSTANTS = {"pi": pi}
OPERATORS: dict[type[ast.operator], Callable[[Expr, Expr], Expr]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
}
COMPARISONS = {ast.Lt: "__lt__", ast.LtE: "__le__", ast.Gt: "__gt__", ast.GtE: "__ge__"}


def check_count(name: str, given: int, before: str = "", beside: str = "") -> None:
    """Raises ValueError where a function of numbers does not take so many arguments; of several, `beside` adds one."""
    expected = ARGUMENTS.get(name, 1)
    if given != expected:
        takes = "1 argument" if expected == 1 else f"{expected} arguments{beside}"
        raise ValueError(f"{before}{name} takes {takes}, got {given}")


@lru_cache(maxsize=1024)
def parse(field: str, text: str, variables: tuple[Symbol, ...], coupled: bool = False) -> Expr:
    """The formula in these variables; with `coupled`, it is a loss, and functions of a whole row are allowed.

    Raises ValueError that names the field, what is not allowed there and what is.
    """
    if len(text) > MOST_LETTERS or not text.isascii() or not text.isprintable():
        raise ValueError(
            f"{field}: expected a formula of at most {MOST_LETTERS} plain characters, got {shortened(text)}"
        )
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"{field}: {text!r} is no formula: {error.args[0]}") from None
    if "#" in text:
        raise ValueError(f"{field}: {text!r}: a formula has no comment; leave out # and what follows")
    if sum(1 for _ in ast.walk(tree)) > MOST_NODES:
        raise ValueError(f"{field}: a formula of more than {MOST_NODES} parts")
    check_size(field, tree)
    try:
        formula = folded(with_tails(_Reader(field, variables, ROW_COUPLED if coupled else {}).read(tree, 0)))
        slope = diff(formula, variables[0]).replace(DiracDelta, lambda *_: Integer(0))
        without_values = any(opened(part).has(zoo, nan, oo, -oo) for part in (formula, slope))
    except TypeError as error:  # SymPy's, where what is compared is not real
        raise ValueError(f"{field}: {text!r} must be real: {error}") from None
    if without_values:
        raise ValueError(f"{field}: {text!r} has no value or no slope on a whole interval, as 1/relu(z) below 0")
    if formula.has(I):
        raise ValueError(f"{field}: {text!r} must be real")
    if variables[0] not in formula.free_symbols:
        raise ValueError(f"{field}: {text!r} has no {variables[0]}, so its gradient would be zero")
    if slope == 0:
        raise ValueError(f"{field}: {text!r} is constant but for jumps, so its gradient would be zero")
    if coupled and not slope.free_symbols:
        raise ValueError(
            f"{field}: {text!r} has the slope {slope} everywhere; a loss is least somewhere, as (p - y)**2"
        )
    return formula


def folded(formula: Expr) -> Expr:
    """All cases outside; those inside what is taken over a row stay there, as each entry of the row has its own."""
    rows = {part: Dummy(real=True) for part in formula.atoms(OfRow)}
    inside = {symbol: part.func(piecewise_fold(part.args[0])) for part, symbol in rows.items()}
    return piecewise_fold(formula.xreplace(rows)).xreplace(inside)


def check_size(field: str, tree: ast.AST) -> None:
    """Raises ValueError for a formula whose derivatives would grow beyond use."""
    if nested_calls(tree) > MOST_CALLS:
        raise ValueError(f"{field}: a formula with more than {MOST_CALLS} calls inside one another")
    if branches(tree) > MOST_BRANCHES:
        names = ", ".join(["max", "min", "clip", "where", *BRANCHES])
        raise ValueError(f"{field}: more than {MOST_BRANCHES} branches, counting {names} and how they combine")
    if degree(tree) > LARGEST_EXPONENT:
        raise ValueError(f"{field}: a formula of a degree above {LARGEST_EXPONENT}; powers multiply")


def nested_calls(node: ast.AST) -> int:
    return isinstance(node, ast.Call) + max(map(nested_calls, ast.iter_child_nodes(node)), default=0)


def branches(node: ast.AST) -> int:
    """Into how many cases the formula falls, if each choice of one part meets each choice of the others."""
    parts = [branches(part) for part in ast.iter_child_nodes(node)]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.func.id == "where" and len(node.args) == ARGUMENTS["where"]:
            condition, one, other = map(branches, node.args)
            return condition * (one + other)
        parts.append({"max": 2, "min": 2, "clamp": 3, "clip": 3}.get(node.func.id) or BRANCHES.get(node.func.id, 1))
    return prod(parts)


def degree(node: ast.AST) -> float:
    """Of the polynomial that the formula is, or of a fraction of polynomials; a call is a variable of its own."""
    match node:
        case ast.BinOp(op=ast.Pow(), left=left, right=right):
            return min(max(1, _literal(right)), LARGEST_EXPONENT) * degree(left)
        case ast.BinOp(op=ast.Mult() | ast.Div(), left=left, right=right):
            return degree(left) + degree(right)
        case ast.Call(args=arguments):
            return max([1, *map(degree, arguments)])
        case ast.Name(id=name):
            return name not in CONSTANTS
    return max(map(degree, ast.iter_child_nodes(node)), default=0)


def _literal(node: ast.AST) -> float:
    """The size of an exponent that is written as a number, and 1 for any other."""
    if isinstance(node, ast.UnaryOp):
        return _literal(node.operand)
    return abs(node.value) if isinstance(node, ast.Constant) and isinstance(node.value, int | float) else 1


class _Reader:
    def __init__(self, field: str, variables: tuple[Symbol, ...], of_rows: dict[str, Callable[..., Expr]]) -> None:
        self.field = field
        self.names = {**{symbol.name: symbol for symbol in variables}, **CONSTANTS}
        self.of_rows, self.functions = of_rows, of_rows | ELEMENTWISE

    def read(self, node: ast.AST, depth: int) -> Expr:
        """The formula of a node; what of it is a number is real and not too large."""
        formula = self.formula(node, depth)
        try:
            value = formula.evalf(15) if formula.is_number else formula
        except ZeroDivisionError:
            value = zoo
        if value.has(zoo, oo, -oo, nan):
            raise ValueError(f"{self.field}: {ast.unparse(node)[:60]!r} divides by zero")
        if formula.is_number:
            if value.has(I):
                raise ValueError(f"{self.field}: {ast.unparse(node)[:60]!r} must be real")
            self.check_number(value)
        return formula

    def formula(self, node: ast.AST, depth: int) -> Expr:
        if depth > DEEPEST:
            raise ValueError(f"{self.field}: a formula nested more than {DEEPEST} deep")
        below = depth + 1
        match node:
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                return self.number(value)
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
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in self.functions:
                return self.call(name, arguments, below)
        raise ValueError(f"{self.field}: not allowed here: {ast.unparse(node)[:60]}{self.hint(node)}")

    def call(self, name: str, arguments: Sequence[ast.AST], depth: int) -> Expr:
        of_row = name in self.of_rows and len(arguments) == 1
        if not of_row:
            check_count(name, len(arguments), f"{self.field}: ", ", or 1, over its row" * (name in self.of_rows))
        if name == "where":
            condition, one, other = arguments
            values = [self.condition(condition, depth), self.read(one, depth), self.read(other, depth)]
        else:
            values = [self.read(argument, depth) for argument in arguments]
        if of_row and values[0].has(OfRow):
            raise ValueError(f"{self.field}: {', '.join(self.of_rows)} of rows cannot stand in one another")
        return (self.of_rows if of_row else self.functions)[name](*values)

    def condition(self, node: ast.AST, depth: int) -> Expr:
        match node:
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in COMPARISONS:
                return comparison_of(COMPARISONS[type(op)], self.read(left, depth + 1), self.read(right, depth + 1))
        text = ast.unparse(node)[:60]
        raise ValueError(f"{self.field}: not allowed here: {text}; where takes one comparison first, as z > 0")

    def number(self, value: float) -> Expr:
        self.check_number(value)
        return Integer(value) if isinstance(value, int) else Rational(repr(value))

    def check_number(self, value: float | Expr) -> None:
        if not abs(value) <= LARGEST_NUMBER:
            raise ValueError(f"{self.field}: a number of at most {LARGEST_NUMBER} is expected, got {value!s:.40}")

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
        near = [word for word in known if word.lower() == name.lower()] if name else []
        near = near or (difflib.get_close_matches(name, known, 1) if name else [])
        if near and name not in known:
            return f"; did you mean {near[0]}?"
        return f"; allowed: numbers, {', '.join(self.names)}, + - * / **, {', '.join(self.functions)}"
