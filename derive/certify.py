"""The proof of a matrix derivation: the emitted source, run exactly, against SymPy's derivative of the scalar loss.

The loss is written out by the definitions of its nodes at small sizes. Along a random line through a random point it is
a function of one variable t, and its derivative by t must be the sum of the gradient's entries times the direction's.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, permutations
from random import Random

import numpy
from sympy import (
    Basic,
    Dummy,
    Expr,
    Float,
    Integer,
    MatrixExpr,
    MatrixSymbol,
    Rational,
    Symbol,
    ceiling,
    diff,
    floor,
    nan,
    oo,
    sign,
    sympify,
    zoo,
)
from sympy.matrices.exceptions import NonInvertibleMatrixError
from sympy.matrices.expressions.matexpr import MatrixElement
from sympy.matrices.expressions.slice import MatrixSlice

from derive.definition import entries, scalar
from derive.prove import NotProved
from derive.symbolic import Tensor, run_source

POINTS = 2
DIGITS = 60
TOLERANCE = Float(f"1e-{DIGITS - 15}", DIGITS)
t = Dummy("t", real=True)


@dataclass(frozen=True)
class Certificate:
    """What was shown, of the source with this hash."""

    loss: str
    variables: tuple[str, ...]
    sizes: dict[str, int]
    method: str
    sha256: str

    def __str__(self) -> str:
        sizes = ", ".join(f"{name} = {size}" for name, size in self.sizes.items())
        return (
            f"proved: the value and the gradient in {', '.join(self.variables)} of {self.loss}\n"
            f"{self.method}{f' at {sizes}' if sizes else ''}\n"
            f"source sha256 {self.sha256}"
        )


def certify(subject) -> Certificate:
    """The certificate of a matrix derivation.

    Raises NotProved where value or gradient differ, or where no point is found at which the loss is defined.
    """
    source = subject.torch()
    function = run_source(source, "the emitted source")["value_and_grad"]
    exact, shown = True, 0
    for sizes, point in points(subject):
        try:
            value = scalar(subject.loss, point)
        except (ZeroDivisionError, NonInvertibleMatrixError):
            continue
        if not is_real(value):
            continue
        if not value.is_Rational:
            point = {given: with_digits(part) for given, part in point.items()}
            value = scalar(subject.loss, point)
        try:
            emitted_value, gradients = run(function, subject, point)
        except NonInvertibleMatrixError:
            continue
        exact &= same(emitted_value, value, "the value")
        for variable in subject.variables:
            emitted = getattr(gradients, subject.inputs[variable].name).entries
            exact &= check_gradient(subject, variable, emitted, point, Random(shown))
        shown += 1
        if shown == POINTS:
            method = "exact, in rational numbers" if exact else f"to {DIGITS - 15} digits"
            return Certificate(
                loss=str(subject.loss),
                variables=tuple(map(str, subject.variables)),
                sizes={str(symbol): int(size) for symbol, size in sizes.items()},
                method=f"{method}, at {POINTS} random points and along random lines through them",
                sha256=hashlib.sha256(source.encode()).hexdigest(),
            )
    raise NotProved(f"{subject.loss}: found no point at which it is defined and real")


def check_gradient(subject, variable: Basic, emitted: numpy.ndarray, point: dict, random: Random) -> bool:
    """Whether all was rational; the slope along a random line and the closed form, against the emitted gradient."""
    place = point[variable]
    if isinstance(variable, MatrixSymbol):
        direction = numpy.array([Integer(random.choice((-3, -2, -1, 1, 2, 3))) for _ in place.flat], dtype=object)
        direction = direction.reshape(place.shape)
        along = numpy.sum(emitted * direction)
        closed = entries(subject.gradients[variable], point)
    else:
        direction, along = Integer(1), emitted.item()
        closed = numpy.array(scalar(subject.gradients[variable], point), dtype=object)
    if emitted.shape != numpy.shape(place) or closed.shape != emitted.shape:
        raise NotProved(f"the gradient in {variable} has shape {emitted.shape}, closed form {closed.shape}")
    line = scalar(subject.loss, {**point, variable: place + t * direction})
    line = line.xreplace({step: step.xreplace({t: Integer(0)}) for step in line.atoms(floor, ceiling, sign)})
    slope = diff(line, t).xreplace({t: Integer(0)})
    exact = same(along, slope, f"the gradient in {variable}")
    for mine, other in zip(emitted.flat, closed.flat, strict=True):
        exact &= same(mine, other, f"the closed form of the gradient in {variable}")
    return exact


def run(function, subject, point: dict):
    """What the emitted source gives at a point."""
    tensors = {symbol.name: Tensor(point[given]) for symbol, given in subject.original.items()}
    try:
        value, gradients = function(**tensors)
    except NonInvertibleMatrixError:
        raise
    except Exception as error:
        raise NotProved(f"the emitted source fails on exact numbers: {type(error).__name__}: {error}") from error
    return value.entries.item(), gradients


def same(mine: Expr, other: Expr, what: str) -> bool:
    """True where both are the same rational number, False where they agree to many digits.

    Raises NotProved where they differ.
    """
    mine, other = sympify(mine), sympify(other)
    if mine.is_Rational and other.is_Rational and mine == other:
        return True
    mine, other = mine.evalf(DIGITS), other.evalf(DIGITS)
    if not (mine.is_Float or mine.is_Rational) or not abs(mine - other) <= (1 + abs(other)) * TOLERANCE:
        raise NotProved(f"{what} came out as {mine.evalf(12)} where it is {other.evalf(12)}")
    return False


def with_digits(part: object) -> object:
    """Numbers as decimals of many digits; sizes stay whole."""
    if isinstance(part, numpy.ndarray):
        return numpy.frompyfunc(lambda number: Float(number, DIGITS), 1, 1)(part)
    return part if sympify(part).is_Integer else Float(part, DIGITS)


def is_real(value: Expr) -> bool:
    """Whether the loss is defined here."""
    if sympify(value).has(nan, oo, zoo):
        return False
    number = sympify(value).evalf(20)
    return number.is_number and number.is_real is not False and abs(number.as_real_imag()[1]) == 0


def chosen_sizes(subject) -> Iterator[dict[Symbol, Integer]]:
    """Small, pairwise different numbers for the sizes that are symbols, large enough for every index; then others."""
    least = 2
    for node in subject.loss.atoms(MatrixElement) | subject.loss.atoms(MatrixSlice):
        numbers = (part for part in node.atoms(Integer))
        least = max([least, *(int(number) + 1 for number in numbers)])
    symbols = sorted(subject.sizes, key=str)
    for order in permutations(range(len(symbols))):
        yield {given: Integer(least + place) for given, place in zip(symbols, order, strict=True)}


def points(subject) -> Iterator[tuple[dict, dict]]:
    """Sizes and random rational points: of both signs, positive, and positive with a large diagonal."""
    random = Random(0)
    for sizes in islice(chosen_sizes(subject), 6):
        for low, high, diagonal in ((-9, 9, 0), (-9, 9, 0), (1, 9, 0), (1, 9, 0), (1, 9, 3), (1, 9, 3)):
            yield sizes, dict(sizes) | random_point(subject, sizes, random, low, high, diagonal)


def random_point(subject, sizes: dict, random: Random, low: int, high: int, diagonal: int) -> dict:
    """Entries in tenths for each input."""
    point = {}
    for given in subject.original.values():
        if isinstance(given, MatrixExpr):
            shape = tuple(int(sympify(size).xreplace(sizes)) for size in given.shape)
            values = numpy.empty(shape, dtype=object)
            for i, j in numpy.ndindex(*shape):
                values[i, j] = Rational(random.randint(low, high) or 1, 10) + (diagonal if i == j else 0)
            point[given] = values
        else:
            point[given] = Rational(random.randint(low, high) or 1, 10)
    return point
