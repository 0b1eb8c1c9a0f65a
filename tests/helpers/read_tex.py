"""Reads the formulas of the document back and computes them with numpy: what a reader with a calculator would do.

Knows nothing of SymPy or of derive: matrices multiply where they stand side by side, \\odot goes entry by entry, a
sum runs over the indices under its sign.
"""

import operator
import re
from collections.abc import Callable
from functools import partial
from itertools import product

import numpy

TOKEN = re.compile(
    r"\\frac\{\\partial L\}\{\\partial (?:[^{}]|\{[^{}]*\})*\}"
    r"|\\partial L / \\partial \\?[A-Za-z]+(?:_\{[^}]*\})?"
    r"|d?\\boldsymbol\{(?:[^{}]|\{[^}]*\})*\}(?:_\{(?:[^{}]|\{[^}]*\})*\})?"
    r"|d?(?:\\Delta|[A-Z])_\{[^}]*\}|b_\{[^}]*\}|db_\{[^}]*\}|n_\{\d+\}"
    r"|\\sum_\{[^}]*\}(?:\^\{(?:[^{}]|\{[^}]*\})*\})?"
    r"|\\begin\{cases\}|\\end\{cases\}|\\text\{[^}]*\}|\\mathrm\{[^}]*\}|\\\\|\\[A-Za-z]+|\\,|\d+(?:\.\d+)?|\S"
)
SILENT = ("\\,", r"\cdot", "\\bigl", "\\bigr", "\\Bigl", "\\Bigr", "\\biggl", "\\biggr")
FUNCTIONS = {
    r"\sigma": lambda z: 1 / (1 + numpy.exp(-z)),
    r"\tanh": numpy.tanh,
    r"\exp": numpy.exp,
    "f": numpy.sin,
    "f'": numpy.cos,
    r"\log": numpy.log,
    r"\sin": numpy.sin,
    r"\cos": numpy.cos,
    r"\mathrm{tr}": numpy.trace,
    r"\mathrm{relu}": lambda z: numpy.maximum(z, 0),
    r"\mathrm{hardswish}": lambda z: z * numpy.clip(z + 3, 0, 6) / 6,
    r"\mathrm{logsigmoid}": lambda z: -numpy.log1p(numpy.exp(-z)),
    r"\mathrm{mish}": lambda z: z * numpy.tanh(numpy.log1p(numpy.exp(z))),
    r"\mathrm{gelu\_tanh}": lambda z: z * (1 + numpy.tanh(numpy.sqrt(2 / numpy.pi) * (z + 0.044715 * z**3))) / 2,
    r"\mathrm{sign}": numpy.sign,
    r"\mathrm{logsumexp}": lambda z: numpy.log(numpy.exp(z).sum(1, keepdims=True)),
}
COMPARISONS = {r"\le": numpy.less_equal, r"\ge": numpy.greater_equal, "<": numpy.less, ">": numpy.greater}
ENDS = (r"\rvert", "+", "-", ")", ",", "}", "&", "\\\\", r"\odot", r"\oslash", r"\rangle", r"\end{cases}")
Value = Callable[[dict[str, int]], numpy.ndarray]


def compute(tex: str, values: dict[str, numpy.ndarray], at: dict[str, int] | None = None) -> numpy.ndarray:
    """The value of a formula; `values` by name (Z1, grad_W2, diff_b1, N, n3), `at` the indices of an entry."""
    reader = Reader(tex, values)
    result = reader.sum()
    assert reader.at == len(reader.tokens), f"stops before {reader.tokens[reader.at :]} in {tex}"
    return result(at or {})


def each(operation: Callable, inner: Value) -> Value:
    return lambda at: operation(inner(at))


def both(operation: Callable, left: Value, right: Value) -> Value:
    return lambda at: operation(left(at), right(at))


def name(token: str) -> tuple[str, list[str] | None]:
    """The name of a symbol, and its indices if it is an entry."""
    gradient = re.fullmatch(r"\\frac\{\\partial L\}\{\\partial (.*)\}|\\partial L / \\partial (.*)", token)
    if gradient:
        inner, indices = name(gradient[1] or gradient[2])
        return f"grad_{inner}", indices
    if token.startswith("d"):
        inner, indices = name(token[1:])
        return f"diff_{inner}", indices
    bold = re.fullmatch(r"\\boldsymbol\{\\?(?:mathrm\{)?([\w\\]+)\}{1,2}(?:_\{([^}]*)\})?", token)
    if bold:
        return bold[1].replace("\\", "") + (bold[2] or ""), None
    plain = re.fullmatch(r"\\?([A-Za-z]+)_\{(?:(\d+),?)?([a-z ]*)\}", token)
    return plain[1] + (plain[2] or ""), plain[3].split()


class Reader:
    def __init__(self, tex: str, values: dict[str, numpy.ndarray]) -> None:
        self.values = values
        self.tokens = [token for token in TOKEN.findall(tex) if token not in SILENT]
        self.at = 0
        self.ranges: dict[str, int] = {}

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def next(self) -> str:
        self.at += 1
        return self.tokens[self.at - 1]

    def expect(self, token: str) -> None:
        found = self.next()
        assert found == token, f"expected {token}, found {found} in {self.tokens}"

    def sum(self) -> Value:
        total = self.minus() if self.peek() == "-" else self.hadamard()
        while self.peek() in ("+", "-"):
            total = both(operator.add, total, self.minus() if self.peek() == "-" else self.plus())
        return total

    def plus(self) -> Value:
        self.expect("+")
        return self.hadamard()

    def minus(self) -> Value:
        self.expect("-")
        return each(operator.neg, self.hadamard())

    def hadamard(self) -> Value:
        result = self.product()
        while self.peek() in (r"\odot", r"\oslash"):
            operation = operator.mul if self.next() == r"\odot" else operator.truediv
            result = both(operation, result, self.product())
        return result

    def product(self) -> Value:
        factors = []
        while self.peek() and self.peek() not in ENDS and self.peek() not in COMPARISONS:
            if self.peek().startswith("\\sum"):
                factors.append(self.summation())
                break
            factors.append(self.power())
        assert factors, f"nothing to multiply at {self.at} in {self.tokens}"
        return lambda at: multiply([factor(at) for factor in factors])

    def summation(self) -> Value:
        below = re.match(r"\\sum_\{([^}]*)\}", self.next())[1]
        indices = re.findall(r"[a-z]", below.split("=")[0])
        body = self.product()
        return lambda at: sum(
            body({**at, **dict(zip(indices, place, strict=True))})
            for place in product(*(range(self.ranges[index]) for index in indices))
        )

    def power(self) -> Value:
        base = self.atom()
        while self.peek() == "^":
            self.next()
            self.expect("{")
            if self.peek() == r"\top":
                self.next()
                base = each(numpy.transpose, base)
            else:
                entrywise = self.peek() == r"\odot" and self.next()
                sign = -1 if self.peek() == "-" and self.next() else 1
                exponent = sign * int(self.next())
                base = each(partial(entry_power, exponent, bool(entrywise)), base)
            self.expect("}")
        return base

    def atom(self) -> Value:
        token = self.next()
        if token == "(":
            inside = self.sum()
            self.expect(")")
            return inside
        if token == r"\langle":
            left = self.sum()
            self.expect(",")
            right = self.sum()
            self.expect(r"\rangle")
            return lambda at: (left(at) * right(at)).sum()
        if token == r"\frac":
            parts = []
            for _ in range(2):
                self.expect("{")
                parts.append(self.sum())
                self.expect("}")
            return lambda at: parts[0](at) / parts[1](at)
        if token == r"\lvert":
            inside = self.sum()
            self.expect(r"\rvert")
            return each(numpy.abs, inside)
        if token == r"\sqrt":
            self.expect("{")
            inside = self.sum()
            self.expect("}")
            return each(numpy.sqrt, inside)
        if token == r"\pi":
            return lambda at: numpy.pi
        if token == r"\mathrm{where}":
            return self.where()
        if token == "f" and self.peek() == "'":
            token += self.next()
        if token in FUNCTIONS:
            self.expect("(")
            inside = self.sum()
            self.expect(")")
            return lambda at: FUNCTIONS[token](inside(at))
        if token == r"\begin{cases}":
            return self.cases()
        if token[0].isdigit():
            return lambda at: float(token)
        return self.symbol(token)

    def where(self) -> Value:
        self.expect("(")
        condition = self.condition()
        self.expect(",")
        yes = self.sum()
        self.expect(",")
        no = self.sum()
        self.expect(")")
        return lambda at: numpy.where(condition(at), yes(at), no(at))

    def condition(self) -> Value:
        """A chain of comparisons joined by words."""
        left = self.sum()
        compare = COMPARISONS[self.next()]
        first = both(compare, left, self.sum())
        if self.peek() not in (r"\text{ and }", r"\text{ or }"):
            return first
        joint = numpy.logical_and if self.next() == r"\text{ and }" else numpy.logical_or
        return both(joint, first, self.condition())

    def cases(self) -> Value:
        value = self.sum()
        self.expect("&")
        if self.next() == r"\text{otherwise}":
            self.expect(r"\end{cases}")
            return value
        condition = self.condition()
        self.expect("\\\\")
        rest = self.cases()
        return lambda at: numpy.where(condition(at), value(at), rest(at))

    def symbol(self, token: str) -> Value:
        if token.startswith(r"\boldsymbol{1}"):
            return self.ones(token)
        if token in ("N", "L", "z", "a") or token.startswith("n_"):
            return lambda at: self.values[re.sub(r"\W|_", "", token)]
        symbol, indices = name(token)
        value = self.values[symbol]
        if indices is None:
            return lambda at: value
        assert len(indices) == value.ndim or 1 in value.shape, token
        value = value if len(indices) == value.ndim else value.reshape(max(value.shape))
        self.ranges.update(zip(indices, value.shape, strict=True))
        return lambda at: value[tuple(at[index] for index in indices)]

    def ones(self, token: str) -> Value:
        size = re.fullmatch(r"\\boldsymbol\{1\}(?:_\{(.*)\})?", token)[1]
        if size is None:
            return lambda at: 1.0
        shape = [int(self.values[re.sub(r"\W|_", "", part)]) for part in size.split(r"\times")]
        return lambda at: numpy.ones(shape if len(shape) == 2 else (shape[0], 1))


def multiply(factors: list) -> numpy.ndarray:
    result = factors[0]
    for factor in factors[1:]:
        result = result @ factor if numpy.ndim(result) == numpy.ndim(factor) == 2 else result * factor
    return result


def entry_power(exponent: int, entrywise: bool, base: numpy.ndarray) -> numpy.ndarray:
    return base**exponent if entrywise or numpy.ndim(base) == 0 else numpy.linalg.matrix_power(base, exponent)
