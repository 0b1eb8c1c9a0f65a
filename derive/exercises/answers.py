"""What somebody has filled in, judged line by line: what a line computes must be what the right line does.

On symbols, with the pre-activations of narrow layers as unknowns, the prover decides; at numbers, with layers as wide
as they are, the slip is found that gives the same. Nothing that a file holds is run: lines are read, operation by
operation.
"""

import ast
import operator
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from random import Random
from typing import Any

import numpy
from numpy import ndarray
from sympy import E, Expr, Float, Integer, MatrixSymbol, Rational, exp, log, pi, sqrt

from derive.backends.torch import ONE, lines, spell
from derive.calculus import derive
from derive.diagnosis import Diagnostician, drawn_point, relation_words
from derive.exercises.sheet import BLANK
from derive.exercises.spellings import BUILT_IN, CALLS, CONVERSIONS, FUNCTIONS_OF, choice_of
from derive.formulas import opened
from derive.operations import evaluate
from derive.problems import N, Network
from derive.programs import Derivation, SymbolKind, readable
from derive.proof import BOOL, Judge, NotProved, Tensor, symbols, torch_stand_in
from derive.reading import forward

LINE = re.compile(r"^\s*([A-Za-z_]\w*)\s*=(?!=)\s*([^#]*?)\s*(?:#.*)?$")
NARROW_ANSWER, WIDE_ANSWER, ROWS_TRIED, LONGEST_ANSWER = 2, 12, (5, 7, 11, 13, 17), 2_000
OF_TORCH = re.compile(r"torch(\.\w+)*")
NO_SIGN = r"[\w)] +\w|\d[A-Za-z_(]|\)\w"  # between two factors
SAME_TO, HIGHEST = 1e-9, 64
SCALES_OF_ANSWER = Rational(1, 10**15), Rational(1, 16), Integer(4), Integer(32)
DRAWN_OF_SCALE, ANSWER_PARTS, ANSWER_DIGITS = 12, 10_007, 80
NO_SIGN_WORDS = "a * is missing between two factors, or a @ between matrices"
READ = "arithmetic, @, .T, .sum(0) and functions of torch"
PYTHON_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.MatMult: operator.matmul,
    ast.Pow: operator.pow,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


class Unreadable(ValueError):
    """A line that computes nothing here, and why."""


@dataclass(frozen=True)
class Answer:
    """The verdict of a step: its number, the name that its line gives a value to, and what is wrong."""

    step: str
    name: str
    right: bool
    words: str

    def __str__(self) -> str:
        return f"{self.step:>4}  {self.name:10} {'right' if self.right else self.words}"


def filled_lines(text: str) -> dict[str, str]:
    """The right side of each line name = ..., by its name; of several with one name the last."""
    found = (LINE.match(line) for line in text.split("\n"))
    return {match[1]: match[2] for match in found if match}


class Examiner:
    """Knows the right lines of a network, and judges those of others."""

    def __init__(self, network: Network) -> None:
        self.network = network
        small, wide = map(network.with_widths_to, (NARROW_ANSWER, WIDE_ANSWER))
        rows = next(rows for rows in ROWS_TRIED if rows not in wide.layers)
        self.doctor = Diagnostician(wide, drawn_point(wide, rows))
        self.exact = KnownLines(small, None)
        inputs = {s: self.doctor.point.right[s] for s in self.doctor.derivation.program.inputs}
        self.numeric = KnownLines(wide, inputs)

    def answers(self, filled: Mapping[str, str]) -> list[Answer]:
        """The verdict of each step of the backward pass, in order."""
        derivation = self.doctor.derivation
        return [
            Answer(derivation.labels[symbol], name, not words, words)
            for symbol in (e.target for e in derivation.backward)
            for name in [spell(derivation.program, symbol)]
            for words in [self.wrong(symbol, name, filled.get(name))]
        ]

    def wrong(self, symbol: MatrixSymbol, name: str, text: str | None) -> str:
        """What is wrong in a line; nothing where it is right."""
        if text is None:
            return "is not there"
        if BLANK in text or not text:
            return "is not filled in"
        try:
            right, wanted = self.numeric.right[name], self.exact.right[name]
            got = without_row(self.numeric.computed(text, name), right)
            if got.shape != right.shape:
                note, rows = "", (self.numeric.rows, *right.shape)
                if got.shape[::-1] == right.shape and same_numbers(as_floats(got).T, as_floats(right)):
                    note = "; it is transposed"
                elif got.shape == rows and same_numbers(as_floats(got).sum(0), as_floats(right)):
                    note = "; the sum over the points is left out"
                return f"has shape {self.numeric.sized(got.shape)} where it is {self.numeric.sized(right.shape)}{note}"
            if not numpy.isfinite(as_floats(got)).all():
                return "is not finite"
            exact = without_row(self.exact.computed(text, name), wanted)
        except Unreadable as error:
            return str(error)
        if not same_numbers(as_floats(got), as_floats(right)):
            return self.slip(symbol, as_floats(got), as_floats(right))
        if exact.shape == wanted.shape and self.identical(exact, wanted, name):
            return ""
        return "is the same at random numbers, but not everywhere"

    def identical(self, got: Tensor, right: Tensor, name: str) -> bool:
        """Whether each entry is, as the prover decides, else at numbers of many digits and where branches meet.

        A pre-activation is a number of its own, or what it is of the layer before, where a line writes that out.
        """
        judge, written_out = Judge(), self.exact.written_out

        def proved(one: Expr, other: Expr) -> bool:
            try:
                return judge.show(name, one, other, name)
            except (NotProved, ValueError):
                return False

        return all(
            proved(one, other)
            or same_at_points(one, other)
            or proved(one.xreplace(written_out), other.xreplace(written_out))
            for one, other in zip(got.entries.flat, right.entries.flat, strict=True)
        )

    def slip(self, symbol: MatrixSymbol, got: ndarray, right: ndarray) -> str:
        """The slip that gives the same numbers, in words; else how the two differ."""
        point = self.doctor.point
        index = point.targets.index(symbol)
        for change in point.slips.of(index, point.operations[index]):
            try:
                made = point.numbers.of(change.operation)
            except (ArithmeticError, ValueError, TypeError, IndexError, KeyError):
                continue
            if made.size == got.size and same_numbers(made.reshape(got.shape), got):
                return change.words
        two = (array.reshape(1, -1) if array.ndim < 2 else array for array in (got, right))
        return f"differs: {relation_words(*two)}"


class KnownLines:
    """The names that a line can use, with their values: symbols, or numbers where there are inputs."""

    def __init__(self, network: Network, inputs: Mapping[MatrixSymbol, ndarray] | None) -> None:
        self.derivation: Derivation = readable(derive(forward(network)))
        program = self.derivation.program
        rows = self.rows = 2 if inputs is None else len(inputs[program.data[0]])
        self.right: dict[str, Any] = {"N": Integer(rows), ONE: Integer(1)}
        values = None if inputs is None else evaluate(self.derivation.equations, dict(inputs))
        for symbol in program.inputs:
            shape = tuple(int(size.xreplace({N: rows})) for size in program.shape(symbol))
            value = symbols(symbol.name, shape) if values is None else given(values[symbol], shape)
            if values is None and symbol == program.data[1] and network.criterion().distribution:
                first = value.entries[:, :-1]
                value = Tensor(numpy.column_stack([first, 1 - first.sum(1)]))
            self.right[spell(program, symbol)] = value
        self.written_out: dict[Expr, Expr] = {}  # what pre-activations are of data and weights
        code = lines(program, self.derivation.equations, ONE)
        for equation, line in zip(self.derivation.equations, code, strict=True):
            value = self.computed(line.value.text, line.target)
            kind = program.notation.kind(equation.target.name)
            if kind is SymbolKind.PRE_ACTIVATION and values is None:
                fresh = symbols(line.target, value.shape)
                found = [entry.xreplace(self.written_out) for entry in value.entries.flat]
                self.written_out |= dict(zip(fresh.entries.flat, found, strict=True))
                value = fresh
            self.right[line.target] = value

    def sized(self, shape: tuple[int, ...]) -> str:
        """A shape as the sheet has it; no layer is as wide as there are rows."""
        sizes = ["N" if size == self.rows else f"{size}" for size in shape]
        return f"({sizes[0]},)" if len(sizes) == 1 else f"({', '.join(sizes)})"

    def computed(self, text: str, name: str) -> Tensor:
        """What a line's right side computes from what is known before it.

        Raises Unreadable that says why it is nothing.
        """
        known = takewhile(lambda other: other != name, self.right)
        if len(text) > LONGEST_ANSWER:
            raise Unreadable(f"is longer than {LONGEST_ANSWER} characters")
        try:
            tree = ast.parse(text, mode="eval").body
        except (SyntaxError, ValueError, RecursionError):
            formula = not text.isascii() or set(text) & {"\\", "$"}
            hint = "code is read here, as A.T @ B" if formula else NO_SIGN_WORDS * bool(re.search(NO_SIGN, text))
            raise Unreadable(f"cannot be read: {text[:60]}{hint and '; '}{hint}") from None
        value = Evaluator({n: self.right[n] for n in known}, self.right.keys(), self.sized).of(tree)
        if isinstance(value, Expr):
            value = Tensor(value)
        if not isinstance(value, Tensor):
            raise Unreadable("is no tensor")
        return value


class Evaluator:
    """Computes an expression of Python, operation by operation: arithmetic, transposes, sums, functions of torch."""

    def __init__(self, names: Mapping[str, Any], later: Collection[str], sized: Callable[..., str]) -> None:
        self.names, self.later, self.sized, self.torch = names, later, sized, torch_stand_in()

    def of(self, node: ast.expr) -> Any:
        try:
            return self.value(node)
        except Unreadable:
            raise
        except KeyError:  # einsum reads few patterns
            raise Unreadable(f"{ast.unparse(node)[:60]} is not read here; {READ} are") from None
        except (ValueError, TypeError, RuntimeError, ArithmeticError, AttributeError, IndexError, RecursionError):
            raise Unreadable(f"cannot be computed: {ast.unparse(node)[:60]}{self.shapes(node)}") from None

    def value(self, node: ast.expr) -> Any:
        match node:
            case ast.BinOp(left=left, op=op, right=right) if type(op) in PYTHON_OPERATORS:
                one, other = self.of(left), self.of(right)
                if not isinstance(op, ast.BitAnd | ast.BitOr):
                    one, other = of_truth(one), of_truth(other)
                if isinstance(op, ast.Pow) and not (isinstance(other, Expr) and abs(other) <= HIGHEST):
                    raise Unreadable(f"{ast.unparse(node)[:60]}: powers up to {HIGHEST} are read here")
                return PYTHON_OPERATORS[type(op)](one, other)
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in PYTHON_OPERATORS:
                return PYTHON_OPERATORS[type(op)](self.of(left), self.of(right))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self.of(operand)
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return self.of(operand)
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                return Rational(str(number))
            case ast.Name(id=name):
                if name not in self.names:
                    why = "is not known yet" if name in self.later else f"is no name here; there are {self.known()}"
                    raise Unreadable(f"{name} {why}")
                return self.names[name]
            case ast.Attribute(value=ast.Name(id="math"), attr="pi" | "e" as name):
                return {"pi": pi, "e": E}[name]
            case ast.Attribute(value=of, attr="T" | "mT"):
                return self.of(of).T
            case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in BUILT_IN:
                return BUILT_IN[name](self.of(argument))
            case ast.Subscript(value=ast.Attribute(value=of, attr="shape"), slice=ast.Constant(value=int() as axis)):
                return Integer(self.of(of).shape[axis])
            case ast.Subscript(value=of, slice=ast.Tuple(elts=places)):
                return Tensor(self.of(of).entries[tuple(map(place_of, places))])
            case ast.Call(func=ast.Attribute(value=of, attr=method), args=args, keywords=keywords):
                return self.called(of, method, args, keywords)
            case ast.Call(func=func) if not isinstance(func, ast.Name) or func.id in self.names:
                raise Unreadable(f"{ast.unparse(node)[:60]}: {NO_SIGN_WORDS}")
        raise Unreadable(f"{ast.unparse(node)[:60]} is not read here; {READ} are")

    def called(self, of: ast.expr, method: str, args: list[ast.expr], keywords: list[ast.keyword]) -> Any:
        options = {{"axis": "dim"}.get(k.arg or "", k.arg or ""): ast.literal_eval(k.value) for k in keywords}
        path = ast.unparse(of)
        path = FUNCTIONS_OF.get(path, path)
        if path == "math" and method in ("sqrt", "exp", "log"):
            return {"sqrt": sqrt, "exp": exp, "log": log}[method](*map(self.of, args))
        of_torch = bool(OF_TORCH.fullmatch(path))
        if method in CONVERSIONS and not of_torch:
            return of_truth(self.of(of))
        function: Any = CALLS.get(method)
        if function is None:
            function = self.torch
            for name in [*path.split(".")[1:], method] if of_torch else [method]:
                function = getattr(function, name, None)
        if function is None:
            raise Unreadable(f"{ast.unparse(of)}.{method} is no function that is known here")
        before = [] if of_torch else [self.of(of)]
        if method in ("sum", "mean"):
            before += [self.of(args[0])] if of_torch else []
            return function(*before, *(ast.literal_eval(arg) for arg in args[int(of_torch) :]), **options)
        return function(*before, *map(self.argument, args), **options)

    def argument(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Tuple | ast.List):
            return tuple(map(self.argument, node.elts))
        if isinstance(node, ast.Constant) and not isinstance(node.value, float):
            return node.value
        return self.of(node)

    def known(self) -> str:
        return ", ".join(name for name in self.names if name not in ("N", ONE))

    def shapes(self, node: ast.expr) -> str:
        names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(self.names.get(n.id), Tensor)}
        shown = (f"{name} is {self.sized(self.names[name].shape)}" for name in sorted(names))
        return f", where {', '.join(shown)}" if names else ""


def without_row(tensor: Tensor, like: Tensor) -> Tensor:
    """A row of a matrix, as pages have biases, as a vector where code has one."""
    return Tensor(tensor.entries[0]) if tensor.shape == (1, *like.shape) else tensor


def place_of(node: ast.expr) -> slice | None:
    """A whole axis, or a new one of size 1."""
    match node:
        case ast.Slice(lower=None, upper=None, step=None):
            return slice(None)
        case ast.Constant(value=None):
            return None
    raise Unreadable(f"{ast.unparse(node)[:60]} is not read as an index here; : and None are")


def of_truth(value: Any) -> Any:
    """1 and 0 for truth values, as torch computes with them."""
    if not isinstance(value, Tensor) or value.dtype != BOOL:
        return value
    return choice_of(value, 1, 0)


def same_at_points(one: Expr, other: Expr) -> bool:
    """Whether the two are the same to many digits at numbers of many magnitudes, and where branches may meet."""
    pair = [opened(expr) for expr in (one, other)]
    for point in answer_points(sorted(set().union(*(expr.free_symbols for expr in pair)), key=str)):
        got, wanted = (expr.xreplace(point).evalf(ANSWER_DIGITS) for expr in pair)
        if wanted.is_finite and not abs(got - wanted) <= (1 + abs(wanted)) / Integer(10) ** (ANSWER_DIGITS // 2):
            return False
    return True


def answer_points(unknown: list[Expr]) -> Iterator[dict[Expr, Expr]]:
    """Numbers of many magnitudes, with each unknown 0 once, and whole ones."""
    random = Random(0)

    def drawn(scale: Rational) -> dict[Expr, Expr]:
        return {
            symbol: scale * Rational(random.randint(-ANSWER_PARTS, ANSWER_PARTS), ANSWER_PARTS) for symbol in unknown
        }

    for scale in SCALES_OF_ANSWER:
        yield from (drawn(scale) for _ in range(DRAWN_OF_SCALE))
    yield from ({**drawn(Integer(1)), symbol: Integer(0)} for symbol in unknown)
    for _ in range(DRAWN_OF_SCALE):
        yield {symbol: Integer(random.randint(-1, 1)) for symbol in unknown}


def given(values: ndarray, shape: tuple[int, ...]) -> Tensor:
    return Tensor(numpy.frompyfunc(Float, 1, 1)(values.reshape(shape)))


def as_floats(tensor: Tensor) -> ndarray:
    return numpy.array(tensor.entries, dtype=float)


def same_numbers(one: ndarray, other: ndarray) -> bool:
    return one.shape == other.shape and bool((abs(one - other) <= SAME_TO * (abs(other).max() + SAME_TO)).all())
