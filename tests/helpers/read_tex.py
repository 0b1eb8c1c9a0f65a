"""Reads the formulas of the document back and computes them with numpy: what a reader with a calculator would do.

Knows nothing of SymPy or of derive: matrices multiply where they stand side by side, \\odot goes entry by entry, a
sum runs over the indices under its sign. What could be misread is refused: an index that no sum or left side brings, or
that is bound twice, or is called like a size or a matrix; anything but the end of a product behind a d, and a d of
nothing. A letter that a number has is no function.
"""

import math
import operator
import re
from collections.abc import Callable
from functools import partial
from itertools import product

import numpy

TOKEN = re.compile(r"\\[A-Za-z]+|\\.|\d+(?:\.\d+)?|[A-Za-z]'?|\S", re.DOTALL)
SILENT = {r"\,", r"\cdot", r"\displaystyle", *(rf"\{size}{side}" for size in ("big", "Big", "bigg") for side in "lr")}
FUNCTIONS = {
    r"\sigma": lambda z: 1 / (1 + numpy.exp(-z)),
    r"\tanh": numpy.tanh,
    r"\exp": numpy.exp,
    "sigmoid": lambda z: 1 / (1 + numpy.exp(-z)),
    "f": numpy.sin,
    "f'": numpy.cos,
    r"\log": numpy.log,
    r"\sin": numpy.sin,
    r"\cos": numpy.cos,
    r"\max": numpy.maximum,
    r"\det": numpy.linalg.det,
    "tr": numpy.trace,
    "relu": lambda z: numpy.maximum(z, 0),
    "hardswish": lambda z: z * numpy.clip(z + 3, 0, 6) / 6,
    "logsigmoid": lambda z: -numpy.log1p(numpy.exp(-z)),
    "mish": lambda z: z * numpy.tanh(numpy.log1p(numpy.exp(z))),
    "gelu_tanh": lambda z: z * (1 + numpy.tanh(numpy.sqrt(2 / numpy.pi) * (z + 0.044715 * z**3))) / 2,
    "gelu": lambda z: z * numpy.vectorize(math.erfc)(-z / math.sqrt(2)) / 2,
    "erf": numpy.vectorize(math.erf),
    "erfc": numpy.vectorize(math.erfc),
    "expm1": numpy.expm1,
    "log1p": numpy.log1p,
    "selu": lambda z: 1.0507009873554805 * numpy.where(z > 0, z, 1.6732632423543772 * numpy.expm1(z)),
    "sign": numpy.sign,
    "Heaviside": numpy.heaviside,
    "rowmax": lambda z: z.max(1, keepdims=True),
    "logsumexp": lambda z: numpy.log(numpy.exp(z).sum(1, keepdims=True)),
    "softmax": lambda z: numpy.exp(z) / numpy.exp(z).sum(1, keepdims=True),
    "diag": lambda z: numpy.diagflat(z) if z.shape[1] == 1 else numpy.diagonal(z)[:, None],
    "where": numpy.where,
    "inblocks": lambda G, X: numpy.einsum("ikjl,kl->ij", blocks(G, X.shape), X),
    "overblocks": lambda G, A: numpy.einsum(
        "ikjl,ij->kl", blocks(G, [whole // part for whole, part in zip(G.shape, A.shape, strict=True)]), A
    ),
}
COMPARISONS = {r"\le": numpy.less_equal, r"\ge": numpy.greater_equal, "<": numpy.less, ">": numpy.greater}
ENTRYWISE = {r"\odot": operator.mul, r"\oslash": operator.truediv, r"\otimes": numpy.kron}
ENDS = {
    r"\rvert",
    "+",
    "-",
    ")",
    ",",
    "}",
    "&",
    r"\\",
    ":",
    r"\rangle",
    r"\end",
    r"\text",
    *ENTRYWISE,
    *COMPARISONS,
    "",
}
Value = Callable[[dict[str, int]], numpy.ndarray]


def compute(tex: str, values: dict[str, numpy.ndarray], at: dict[str, int] | None = None) -> numpy.ndarray:
    """The value of a formula; `values` by name (Z1, grad W2, diff b1, N, n3), `at` the indices of an entry."""
    reader = Reader(tex, values, set(at or {}))
    result = reader.sum()
    assert reader.at == len(reader.tokens), f"stops before {reader.tokens[reader.at :]} in {tex}"
    return result(at or {})


def name(tex: str) -> tuple[str, list[str] | None]:
    """The name of a symbol, and its indices if it is an entry."""
    reader = Reader(tex, {}, set())
    found = reader.name()
    assert reader.at == len(reader.tokens), f"more than a symbol: {tex}"
    return found


def blocks(whole: numpy.ndarray, shape: tuple[int, int]) -> numpy.ndarray:
    """Block row, row in it, block column, column in it."""
    rows, columns = shape
    return whole.reshape(whole.shape[0] // rows, rows, whole.shape[1] // columns, columns)


def each(operation: Callable, *inner: Value) -> Value:
    return lambda at: operation(*(value(at) for value in inner))


class Reader:
    def __init__(self, tex: str, values: dict[str, numpy.ndarray], scope: set[str]) -> None:
        self.values, self.scope = values, scope
        self.differential_until = -1
        self.tokens = [token for token in TOKEN.findall(tex) if token not in SILENT]
        self.at = 0
        self.ranges: dict[str, int] = {}

    def peek(self, ahead: int = 0) -> str:
        return self.tokens[self.at + ahead] if self.at + ahead < len(self.tokens) else ""

    def next(self) -> str:
        self.at += 1
        return self.tokens[self.at - 1]

    def found(self, token: str) -> bool:
        """Whether this token is the next; then it is read."""
        here = self.peek() == token
        self.at += here
        return here

    def expect(self, token: str) -> None:
        found = self.next()
        assert found == token, f"expected {token}, found {found} in {self.tokens}"

    def group(self) -> str:
        """The text in braces."""
        self.expect("{")
        start, depth = self.at, 1
        while depth:
            depth += {"{": 1, "}": -1}.get(self.next(), 0)
        return " ".join(self.tokens[start : self.at - 1])

    def inside(self) -> Value:
        self.expect("{")
        value = self.sum()
        self.expect("}")
        return value

    def sum(self) -> Value:
        total = None
        while total is None or self.peek() in ("+", "-"):
            sign = self.next() if self.peek() in ("+", "-") else "+"
            part = self.entrywise()
            part = each(operator.neg, part) if sign == "-" else part
            total = part if total is None else each(operator.add, total, part)
        return total

    def entrywise(self) -> Value:
        result = self.product()
        while self.peek() in ENTRYWISE:
            assert not self.behind_a_differential(), f"d of what stands behind it? {self.tokens}"
            result = each(ENTRYWISE[self.next()], result, self.product())
        return result

    def product(self) -> Value:
        factors = []
        while self.peek() not in ENDS:
            assert not factors or not self.behind_a_differential(), f"d of what stands behind it? {self.tokens}"
            if self.peek() == r"\sum":
                factors.append(self.summation())
                break
            factors.append(self.power())
        assert factors, f"nothing to multiply at {self.at} in {self.tokens}"
        return lambda at: multiply([factor(at) for factor in factors])

    def behind_a_differential(self) -> bool:
        """Whether a differential has just ended."""
        return self.differential_until == self.at

    def summation(self) -> Value:
        self.next()
        self.expect("_")
        below = self.group()
        indices = re.findall(r"[a-z]", below.split("=")[0])
        for index in indices:
            assert index not in self.scope, f"{index} is bound twice in {self.tokens}"
            assert index not in self.values, f"{index} is a size or a matrix, and an index in {self.tokens}"
        limit = None
        if self.found("^"):
            limit = self.inside()
        self.scope |= set(indices)
        body = self.product()
        self.scope -= set(indices)
        if limit is not None:  # an index may be in nothing that is added
            self.ranges.setdefault(indices[0], int(limit({})))
        ranges = [self.ranges.pop(index) for index in indices]
        if limit is not None:
            assert ranges == [limit({})], f"{below} runs to {ranges}"
        return lambda at: sum(
            body({**at, **dict(zip(indices, place, strict=True))}) for place in product(*map(range, ranges))
        )

    def power(self) -> Value:
        base, powers = self.atom(), 0
        while self.found("^"):
            assert not powers and self.differential_until != self.at - 1, f"a power of what? {self.tokens}"
            powers += 1
            self.expect("{")
            if self.found(r"\top"):
                base = each(numpy.transpose, base)
            else:
                entrywise = self.found(r"\odot")
                base = each(partial(to_the_power, entrywise), base, self.sum())
            self.expect("}")
        return base

    def atom(self) -> Value:
        if self.found("("):
            inside = self.sum()
            self.expect(")")
            return self.placed(inside)
        if self.found(r"\langle"):
            left = self.sum()
            self.expect(",")
            right = self.sum()
            self.expect(r"\rangle")
            return each(inner_product, left, right)
        if self.peek() == r"\frac" and self.peek(2) != r"\partial":
            self.next()
            return each(operator.truediv, self.inside(), self.inside())
        if self.found(r"\lvert"):
            inside = self.sum()
            self.expect(r"\rvert")
            return each(numpy.abs, inside)
        if self.found(r"\sqrt"):
            return each(numpy.sqrt, self.inside())
        if self.found(r"\pi"):
            return lambda at: numpy.pi
        if self.found(r"\begin"):
            return self.cases() if self.group() == "c a s e s" else self.matrix()
        if self.peek()[0].isdigit():
            number = float(self.next())
            return lambda at: number
        return self.call() or self.symbol()

    def call(self) -> Value | None:
        """A function and its arguments; None where none comes."""
        start = self.at
        word = self.word()
        if word not in FUNCTIONS or word.removeprefix("\\") in self.values or not self.found("("):
            self.at = start
            return None
        arguments = [self.condition()]
        while self.found(","):
            arguments.append(self.condition())
        self.expect(")")
        return each(FUNCTIONS[word], *arguments)

    def word(self) -> str:
        """A name: a letter, a command, or several letters in upright type."""
        token = self.next()
        return self.group().replace(" ", "").replace(r"\_", "_") if token == r"\mathrm" else token

    def condition(self) -> Value:
        """A value, or a chain of comparisons joined by words."""
        left = self.sum()
        if self.peek() not in COMPARISONS:
            return left
        first = each(COMPARISONS[self.next()], left, self.sum())
        if self.peek() != r"\text":
            return first
        self.next()
        joint = {"and": numpy.logical_and, "or": numpy.logical_or}[self.group().replace(" ", "")]
        return each(joint, first, self.condition())

    def cases(self) -> Value:
        value = self.sum()
        self.expect("&")
        self.expect(r"\text")
        if self.group().replace(" ", "") == "otherwise":
            self.expect(r"\end")
            self.group()
            return value
        condition = self.condition()
        self.expect(r"\\")
        return each(numpy.where, condition, value, self.cases())

    def matrix(self) -> Value:
        """A matrix of blocks."""
        rows = [[self.sum()]]
        while not self.found(r"\end"):
            if self.next() == "&":
                rows[-1].append(self.sum())
            else:
                rows.append([self.sum()])
        self.group()
        return lambda at: numpy.block([[numpy.atleast_2d(block(at)) for block in row] for row in rows])

    def name(self) -> tuple[str, list[str] | None]:
        """A symbol, or an entry of one with its indices; the cotangent of W1 is grad W1, its differential diff W1."""
        if self.peek() in (r"\frac", r"\partial"):
            flat = self.peek() == r"\partial"
            for token in (r"\partial L /" if flat else r"\frac { \partial L } {").split():
                self.expect(token)
            self.expect(r"\partial")
            inner, indices = self.name()
            assert flat or self.found("}")
            return f"grad {inner}", indices
        if self.peek() == "d" and self.peek(1) != "_" and self.peek(1) not in ENDS:
            self.next()
            inner, indices = self.name()
            self.differential_until = self.at
            return f"diff {inner}", indices
        bold = self.peek() == r"\boldsymbol"
        if bold:
            self.next()
            self.expect("{")
        assert bold or self.peek() != "d", f"d of what? {self.tokens}"
        letters = self.word().removeprefix("\\")
        if bold:
            self.expect("}")
        if self.peek() != "_" or letters in "10I":
            return letters, None if bold else []
        start = self.at
        self.next()
        below = self.group().replace(" ", "")
        if re.fullmatch(r"\d+", below) or (bold and re.fullmatch(r"\d+([a-z]|;.*)", below)):
            number = below.partition(";")[0]
            if number != below:  # a part of a matrix, which is read by placed()
                self.tokens[start : self.at] = ["_", "{", *TOKEN.findall(below.removeprefix(f"{number};")), "}"]
                self.at = start
            return letters + number, None if bold else []
        if bold:
            self.at = start
            return letters, None
        match = re.fullmatch(r"(?:(\d+);)?([a-z](?:,[a-z])?)", below)
        assert match, f"no indices: {below}"
        return letters + (match[1] or ""), match[2].split(",")

    def symbol(self) -> Value:
        ones = re.match(r"\\boldsymbol \{ [10I] \}", " ".join(self.tokens[self.at : self.at + 4]))
        if ones:
            return self.constant()
        start = self.at
        symbol, indices = self.name()
        assert symbol in self.values, f"{symbol} is introduced nowhere: {self.tokens[start:]}"
        value = self.values[symbol]
        if indices is None:
            return self.placed(lambda at: value)
        if not indices:
            assert numpy.size(value) == 1, f"{symbol} without indices"
            return lambda at: float(numpy.squeeze(value))
        if len(indices) < value.ndim:
            assert 1 in value.shape, f"{symbol} with indices {indices}"
            value = value.reshape(-1)
        for index, size in zip(indices, value.shape, strict=True):
            assert index in self.scope, f"{index} is free in {self.tokens}"
            assert self.ranges.setdefault(index, size) == size, f"{index} has two ranges in {self.tokens}"
        return lambda at: value[tuple(at[index] for index in indices)]

    def placed(self, matrix: Value) -> Value:
        """Rows and columns, counted from 1, of a matrix; an entry is a number."""
        if not self.found("_"):
            return matrix
        self.expect("{")
        bounds = []
        while not bounds or self.found(","):
            first = self.sum()
            bounds.append((first, self.sum() if self.found(":") else None))
        self.expect("}")

        def part(at: dict[str, int]) -> numpy.ndarray:
            whole = matrix(at)
            if bounds[0][1] is None:
                return whole[tuple(int(first(at)) - 1 for first, _ in bounds)]
            return whole[tuple(slice(int(first(at)) - 1, int(last(at))) for first, last in bounds)]

        return part

    def constant(self) -> Value:
        """Ones, zeros or an identity, of the shape below it; a bare 1 has the shape that fits."""
        self.next()
        kind = self.group()
        if not self.found("_"):
            assert kind == "1"
            return lambda at: 1.0
        parts = self.group().split(r"\times")
        shape = [int(compute(part, self.values)) for part in parts]
        if kind == "I":
            return lambda at: numpy.eye(*shape)
        return lambda at: numpy.full(shape if len(shape) == 2 else (shape[0], 1), float(kind))


def inner_product(left: numpy.ndarray, right: numpy.ndarray) -> float:
    """A number is a 1 x 1 matrix."""
    shapes = [numpy.atleast_2d(side).shape for side in (left, right)]
    assert shapes[0] == shapes[1], f"an inner product of {shapes[0]} and {shapes[1]}"
    return numpy.sum(left * right)


def multiply(factors: list) -> numpy.ndarray:
    result = factors[0]
    for factor in factors[1:]:
        result = result @ factor if numpy.ndim(result) == numpy.ndim(factor) == 2 else result * factor
    return result


def to_the_power(entrywise: bool, base: numpy.ndarray, exponent: float) -> numpy.ndarray:
    if entrywise or numpy.ndim(base) == 0:
        return base**exponent
    return numpy.linalg.matrix_power(base, int(exponent))
