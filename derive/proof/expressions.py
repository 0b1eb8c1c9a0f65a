"""The proof of a matrix derivation: the emitted source, run exactly, against SymPy's derivative of the scalar loss.

The loss is written out by the definitions of its nodes at small sizes, with a symbol for each entry; what is emitted
must be identical to it and to its derivatives. Where that is too large to expand, or holds what the algebra does not
know, numbers stand for the entries: along a random line through a random point the loss is a function of one variable
t, and its derivative by t, or where it is long a difference quotient of 150-digit numbers, must be the sum of the
gradient's entries times the direction's.
"""

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice, permutations
from math import prod
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
    Mul,
    Pow,
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

from derive.proof.algebra import Algebra
from derive.proof.definition import DIGITS, TooManyTerms, entries, scalar
from derive.proof.grammar import check
from derive.proof.judge import NotProved
from derive.proof.source import run_source
from derive.proof.tensor import read_only

MOST_SYMBOLS = 40
MOST_ON_A_LINE = 400  # entries of what is moved along a line, if the loss on it is to be written out
MOST_ENTRIES = 20_000
MOST_TERMS = 60_000  # of all that is compared, if every product in it were multiplied out
ORDERS = 6
POINTS = 2
SHOWN = 45  # digits that must agree
STEP = Rational(1, 10**50)  # its square is the error of a difference quotient, and DIGITS leave as much beside it
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
    check(source, source, "the emitted source")
    function = run_source(source, "the emitted source")["value_and_grad"]
    sizes = with_symbols(subject, function)
    if sizes is not None and next(defined_points(subject), None):
        method = "exact: identical, with a symbol for each entry,"
    else:
        method, sizes = evaluated(subject, function)
    return Certificate(
        loss=str(subject.loss),
        variables=tuple(map(str, subject.variables)),
        sizes={str(symbol): int(size) for symbol, size in sizes.items()},
        method=method,
        sha256=hashlib.sha256(source.encode()).hexdigest(),
    )


def with_symbols(subject, function) -> dict | None:
    """The sizes at which all was shown to be identical; None where it was not shown."""
    for sizes in islice(chosen_sizes(subject), ORDERS):
        try:
            return sizes if identical(subject, function, sizes) else None
        except (NonInvertibleMatrixError, ZeroDivisionError):
            continue  # as X.T * X is with more columns than rows
    return None


def identical(subject, function, sizes: dict) -> bool:
    """Whether value, gradients and closed forms are shown to be the loss and its derivatives in every entry."""
    if count(subject, sizes) > MOST_SYMBOLS:
        return False
    point = symbolic_point(subject, sizes)
    try:
        loss = scalar(subject.loss, point)
    except TooManyTerms:
        return False
    if terms(loss) * sum(numpy.size(point[variable]) for variable in subject.variables) ** 2 > MOST_TERMS:
        return False
    try:
        value, gradients = run(function, subject, point)
    except NotProved:
        return False
    pairs = [(value, loss)]
    for variable in subject.variables:
        for mine, closed, entry in zip(*gradient_in(subject, variable, gradients, point), strict=True):
            slope = diff(loss, entry)
            pairs += [(mine, slope), (closed, slope)]
    if sum(terms(expr) for pair in pairs for expr in pair) > MOST_TERMS:
        return False
    return any(all_identical(pairs, Algebra(open_functions)) for open_functions in (False, True))


def all_identical(pairs: list[tuple[Expr, Expr]], algebra: Algebra) -> bool:
    try:
        return all(algebra.identical(sympify(mine), sympify(other)) for mine, other in pairs)
    except ValueError:
        return False


def terms(expr: Expr, known: dict[Expr, int] | None = None) -> int:
    """How many terms the expression has at most when it is multiplied out, those inside of functions included."""
    known = {} if known is None else known
    if expr not in known:
        parts = [terms(part, known) for part in sympify(expr).args]
        if isinstance(expr, Mul):
            known[expr] = min(prod(parts), 10 * MOST_TERMS)
        elif isinstance(expr, Pow) and expr.exp.is_Rational:
            known[expr] = min(parts[0] ** max(abs(int(expr.exp)), 1), 10 * MOST_TERMS)
        else:
            known[expr] = max(sum(parts), 1)
    return known[expr]


def evaluated(subject, function) -> tuple[str, dict]:
    """How it was shown at random points, and for which sizes."""
    exact, shown = True, 0
    for sizes, point, value in defined_points(subject):
        try:
            emitted_value, gradients = run(function, subject, point)
        except NonInvertibleMatrixError:
            continue
        exact &= same(emitted_value, value, "the value")
        for variable in subject.variables:
            exact &= check_gradient(subject, variable, gradients, point, Random(shown))
        shown += 1
        if shown == POINTS:
            how = "exact, in rational numbers" if exact else f"to {SHOWN} digits"
            return f"{how}, at {POINTS} random points and along random lines through them", sizes
    raise NotProved(f"{subject.loss}: found no point at which it is defined and real")


def gradient_in(subject, variable: Basic, gradients, point: dict) -> tuple[list[Expr], list[Expr], list[Expr]]:
    """The entries of a gradient as emitted and in closed form, and those of the variable.

    Raises NotProved where their shapes differ.
    """
    place = numpy.array(point[variable], dtype=object)
    emitted = getattr(gradients, subject.inputs[variable].name).entries
    given = subject.gradients[variable]
    closed = entries(given, point) if isinstance(variable, MatrixSymbol) else numpy.array(scalar(given, point))
    if not emitted.shape == closed.shape == place.shape:
        raise NotProved(f"the gradient in {variable} has shape {emitted.shape}, closed form {closed.shape}")
    return list(emitted.flat), list(closed.flat), list(place.flat)


def check_gradient(subject, variable: Basic, gradients, point: dict, random: Random) -> bool:
    """Whether all was rational; the slope along a random line and the closed form, against the emitted gradient."""
    emitted, closed, _ = gradient_in(subject, variable, gradients, point)
    direction = Integer(1)
    if isinstance(variable, MatrixSymbol):
        direction = numpy.array([Integer(random.choice((-3, -2, -1, 1, 2, 3))) for _ in emitted], dtype=object)
        direction = direction.reshape(point[variable].shape)
    along = sum((mine * step for mine, step in zip(emitted, numpy.ravel(direction), strict=True)), Integer(0))
    exact = same(along, slope(subject, variable, direction, point), f"the gradient in {variable}")
    for mine, other in zip(emitted, closed, strict=True):
        exact &= same(mine, other, f"the closed form of the gradient in {variable}")
    return exact


def slope(subject, variable: Basic, direction: object, point: dict) -> Expr:
    """The derivative of the loss along a line through the point, by SymPy's of the loss written out; at decimals, or
    where that has too many terms, by the difference quotient.
    """

    def at(step: Expr) -> Expr:
        return scalar(subject.loss, {**point, variable: point[variable] + step * direction})

    numbers = numpy.ravel(point[variable])
    if len(numbers) <= MOST_ON_A_LINE and not any(number.is_Float for number in numbers):
        with suppress(TooManyTerms):
            line = at(t)
            line = line.xreplace({step: step.xreplace({t: Integer(0)}) for step in line.atoms(floor, ceiling, sign)})
            return diff(line, t).xreplace({t: Integer(0)})
    return (at(STEP).evalf(DIGITS) - at(-STEP).evalf(DIGITS)) / (2 * STEP)


def run(function, subject, point: dict):
    """What the emitted source gives at a point."""
    tensors = {symbol.name: read_only(point[given]) for symbol, given in subject.original.items()}
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
    if not (mine.is_Float or mine.is_Rational) or not abs(mine - other) <= (1 + abs(other)) / 10**SHOWN:
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
    for sizes in islice(chosen_sizes(subject), ORDERS):
        if count(subject, sizes) > MOST_ENTRIES:
            raise NotProved(
                f"{subject.loss}: {count(subject, sizes)} entries are too many to be proved one by one; "
                "sizes that are symbols are proved at small numbers, and prove=False derives without a proof"
            )
        for low, high, diagonal in ((-9, 9, 0), (-9, 9, 0), (1, 9, 0), (1, 9, 0), (1, 9, 3), (1, 9, 3)):
            yield sizes, dict(sizes) | random_point(subject, sizes, random, low, high, diagonal)


def defined_points(subject) -> Iterator[tuple[dict, dict, Expr]]:
    """Those at which the loss is real, and its value there; in decimals of many digits where that is not rational."""
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
        yield sizes, point, value


def symbolic_point(subject, sizes: dict) -> dict:
    """A symbol of its own for each entry of each input."""
    point = dict(sizes)
    for given in subject.original.values():
        if isinstance(given, MatrixExpr):
            values = numpy.empty(shape_at(given, sizes), dtype=object)
            for i, j in numpy.ndindex(*values.shape):
                values[i, j] = Dummy(f"{given}[{i}, {j}]", real=True)
            point[given] = values
        else:
            point[given] = Dummy(given.name, real=True)
    return point


def count(subject, sizes: dict) -> int:
    """How many entries the inputs have."""
    return sum(prod(shape_at(g, sizes)) if isinstance(g, MatrixExpr) else 1 for g in subject.original.values())


def shape_at(given: MatrixExpr, sizes: dict) -> tuple[int, ...]:
    return tuple(int(sympify(size).xreplace(sizes)) for size in given.shape)


def random_point(subject, sizes: dict, random: Random, low: int, high: int, diagonal: int) -> dict:
    """Entries in tenths for each input."""
    point = {}
    for given in subject.original.values():
        if isinstance(given, MatrixExpr):
            values = numpy.empty(shape_at(given, sizes), dtype=object)
            for i, j in numpy.ndindex(*values.shape):
                values[i, j] = Rational(random.randint(low, high) or 1, 10) + (diagonal if i == j else 0)
            point[given] = values
        else:
            point[given] = Rational(random.randint(low, high) or 1, 10)
    return point
