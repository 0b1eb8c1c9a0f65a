"""The proof of a matrix derivation: the emitted source, run exactly, against SymPy's derivative of the scalar loss.

The loss is written out by the definitions of its nodes at small sizes, with a symbol for each entry; what is emitted
must be identical to it and to its derivatives. Where that is too large to expand, or holds what the algebra does not
know, it is no proof but a check: numbers stand for the entries, along a random line through a random point the loss is
a function of one variable t, and its derivative by t, or where it is long a difference quotient of 150-digit numbers,
must be the sum of the gradient's entries times the direction's.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice, permutations
from math import prod
from random import Random
from typing import Any, Protocol

import numpy
from sympy import (
    Abs,
    Basic,
    Dummy,
    Expr,
    Float,
    Function,
    HadamardPower,
    Integer,
    MatrixExpr,
    MatrixSymbol,
    Max,
    Min,
    Mul,
    NumberSymbol,
    Piecewise,
    Pow,
    Rational,
    Symbol,
    ceiling,
    diff,
    floor,
    nan,
    oo,
    postorder_traversal,
    preorder_traversal,
    sign,
    sympify,
    zoo,
)
from sympy.matrices.exceptions import NonInvertibleMatrixError
from sympy.matrices.expressions.matexpr import MatrixElement
from sympy.matrices.expressions.slice import MatrixSlice

from derive.formulas import NamedFunction
from derive.programs import RowLogSumExp
from derive.proof.algebra import Algebra
from derive.proof.definition import DIGITS, Definition, Environment, OnKink, TooManyTerms
from derive.proof.grammar import check
from derive.proof.judge import NotProved
from derive.proof.source import run_source
from derive.proof.tensor import Tensor, naming, read_only

MOST_SYMBOLS = 40
MOST_ON_A_LINE = 400  # entries of what is moved along a line, if the loss on it is to be written out
MOST_ENTRIES = 20_000
MOST_POINTS = 300  # tried in search of one at which the loss is defined, beside the first of each order
MAGNITUDES = ("1/100", "1/10", 1, 10, 100)
PRIME = 1_000_003
MOST_TERMS = 60_000  # of all that is compared, if every product in it were multiplied out
ORDERS = 6
POINTS = 2
SHOWN = 45  # digits that must agree
SMALLEST = 90  # decimals; what is smaller beside the loss than this is rounding
STEP = Rational(1, 10**50)  # its square is the error of a difference quotient, and DIGITS leave as much beside it
UNDEFINED = (ArithmeticError, NonInvertibleMatrixError, ValueError, TypeError)
t = Dummy("t", real=True)


@dataclass(frozen=True)
class Certificate:
    """What was shown, of the source with this hash; `exact` if all is identical with a symbol for each entry."""

    loss: str
    variables: tuple[str, ...]
    sizes: dict[str, int]
    method: str
    sha256: str
    exact: bool

    def __str__(self) -> str:
        sizes = ", ".join(f"{name} = {size}" for name, size in self.sizes.items())
        shown = "proved" if self.exact else f"checked numerically to {SHOWN} digits"
        return (
            f"{shown}: the value and the gradient in {', '.join(self.variables)} of {self.loss}\n"
            f"{self.method}{f', at {sizes}' if sizes else ''}\n"
            f"source sha256 {self.sha256}"
        )


class Subject(Protocol):
    """A matrix derivation: a loss of some inputs, and its gradient in some of these, which `torch` emits.

    `original` maps what the code takes to what it is in the loss, `inputs` the other way; `sizes` are symbols.
    """

    loss: Expr
    variables: tuple[Basic, ...]
    original: dict[MatrixSymbol, Basic]
    inputs: dict[Basic, MatrixSymbol]
    sizes: dict[Symbol, Symbol]

    @property
    def gradients(self) -> dict[Basic, Expr]: ...

    def torch(self) -> str: ...


Emitted = Callable[..., tuple[Tensor, Any]]  # value_and_grad
Sizes = dict[Symbol, Integer]


def certify(subject: Subject) -> Certificate:
    """The certificate of a matrix derivation.

    Raises NotProved where value or gradient differ, or where no point is found at which the loss is defined.
    """
    source = subject.torch()
    check(source, source, "the emitted source")
    function = run_source(source, "the emitted source")["value_and_grad"]
    sizes = with_symbols(subject, function)
    exact, method = True, "exact: identical, with a symbol for each entry"
    if sizes is None or next(defined_points(subject), None) is None:
        exact, (method, sizes) = False, evaluated(subject, function)
    return Certificate(
        loss=str(subject.loss),
        variables=tuple(map(str, subject.variables)),
        sizes={str(symbol): int(size) for symbol, size in sizes.items()},
        method=method,
        sha256=hashlib.sha256(source.encode()).hexdigest(),
        exact=exact,
    )


def with_symbols(subject: Subject, function: Emitted) -> Sizes | None:
    """The sizes at which all was shown to be identical; None where it was not shown."""
    for sizes in islice(chosen_sizes(subject), ORDERS):
        try:
            return sizes if identical(subject, function, sizes) else None
        except (NonInvertibleMatrixError, ZeroDivisionError):
            continue  # as X.T * X is with more columns than rows
    return None


def identical(subject: Subject, function: Emitted, sizes: Sizes) -> bool:
    """Whether value, gradients and closed forms are shown to be the loss and its derivatives in every entry."""
    if count(subject, sizes) > MOST_SYMBOLS:
        return False
    point = symbolic_point(subject, sizes)
    definition = Definition(point)
    try:
        loss = definition.scalar(subject.loss)
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
        for mine, closed, entry in zip(*gradient_in(subject, variable, gradients, definition), strict=True):
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


def evaluated(subject: Subject, function: Emitted) -> tuple[str, Sizes]:
    """How it was shown at random points, and for which sizes."""
    exact, shown = True, 0
    for sizes, definition, value in defined_points(subject):
        try:
            emitted_value, gradients = run(function, subject, definition.given)
            slopes = {v: slope(subject, v, definition.given, Random(shown)) for v in subject.variables}
        except (NonInvertibleMatrixError, OnKink):
            continue
        floor = (1 + abs(value.evalf(DIGITS))) / 10**SMALLEST
        exact &= same(emitted_value, value, "the value", floor)
        for variable in subject.variables:
            exact &= check_gradient(subject, variable, gradients, definition, slopes[variable], floor)
        shown += 1
        if shown == POINTS:
            how = "exact, in rational numbers" if exact else f"to {SHOWN} digits"
            return f"{how}, at {POINTS} random points and along random lines through them", sizes
    raise NotProved(
        f"{subject.loss}: found no point at which it is defined, real and smooth{nearest(subject)}; "
        "prove=False derives without a proof"
    )


def nearest(subject: Subject) -> str:
    """What is not defined at the first points, by the smallest part of the loss that is not."""
    for _, point in islice(points(subject), 1):
        definition = Definition(decimal(point))
        for node in postorder_traversal(subject.loss):
            if not isinstance(node, Expr) or isinstance(node, MatrixExpr) or not node.args:
                continue
            try:
                value = definition.scalar(node)
            except UNDEFINED as error:
                return f": {node} has no value at the first ({error})"
            if not is_real(value):
                return f": {node} is {value.evalf(6)} at the first"
    return ""


def gradient_in(
    subject: Subject, variable: Basic, gradients: Any, definition: Definition
) -> tuple[list[Expr], list[Expr], list[Expr]]:
    """The entries of a gradient as emitted and in closed form, and those of the variable.

    Raises NotProved where their shapes differ.
    """
    place = numpy.array(definition.given[variable], dtype=object)
    emitted = getattr(gradients, subject.inputs[variable].name).entries
    given = subject.gradients[variable]
    matrix = isinstance(variable, MatrixSymbol)
    closed = definition.entries(given) if matrix else numpy.array(definition.scalar(given), dtype=object)
    if not emitted.shape == closed.shape == place.shape:
        raise NotProved(f"the gradient in {variable} has shape {emitted.shape}, closed form {closed.shape}")
    return list(emitted.flat), list(closed.flat), list(place.flat)


def check_gradient(
    subject: Subject,
    variable: Basic,
    gradients: Any,
    definition: Definition,
    along: tuple[list[Integer], Expr],
    floor: Expr,
) -> bool:
    """Whether all was rational; the slope along a line and the closed form, against the emitted gradient."""
    emitted, closed, _ = gradient_in(subject, variable, gradients, definition)
    steps, wanted = along
    found = sum((mine * step for mine, step in zip(emitted, steps, strict=True)), Integer(0))
    exact = same(found, wanted, f"the gradient in {variable}", floor)
    for mine, other in zip(emitted, closed, strict=True):
        exact &= same(mine, other, f"the closed form of the gradient in {variable}", floor)
    return exact


def slope(subject: Subject, variable: Basic, point: Environment, random: Random) -> tuple[list[Integer], Expr]:
    """A direction, and the derivative of the loss along it: by SymPy's of the loss written out; at decimals, or where
    that has too many terms, by the difference quotient.
    """
    numbers = numpy.ravel(numpy.array(point[variable], dtype=object))
    steps = [Integer(random.choice((-3, -2, -1, 1, 2, 3))) for _ in numbers]
    direction = (
        numpy.array(steps, dtype=object).reshape(numpy.shape(point[variable]))
        if numpy.ndim(point[variable])
        else steps[0]
    )

    def at(step: Expr) -> Expr:
        return Definition({**point, variable: point[variable] + step * direction}).scalar(subject.loss)

    if len(numbers) <= MOST_ON_A_LINE and not any(number.is_Float for number in numbers):
        with suppress(TooManyTerms):
            line = at(t)
            line = line.xreplace({step: step.xreplace({t: Integer(0)}) for step in line.atoms(floor, ceiling, sign)})
            return steps, diff(line, t).xreplace({t: Integer(0)})
    return steps, (at(STEP).evalf(DIGITS) - at(-STEP).evalf(DIGITS)) / (2 * STEP)


def run(function: Emitted, subject: Subject, point: Environment) -> tuple[Expr, Any]:
    """What the emitted source gives at a point."""
    tensors = {symbol.name: read_only(point[given]) for symbol, given in subject.original.items()}
    try:
        with naming(Definition(point).number):
            value, gradients = function(**tensors)
    except NonInvertibleMatrixError:
        raise
    except Exception as error:
        raise NotProved(
            f"the emitted source fails on exact numbers, which is a fault of this tool: {type(error).__name__}: "
            f"{error}; prove=False derives without a proof"
        ) from error
    return value.entries.item(), gradients


def same(mine: Expr, other: Expr, what: str, floor: Expr) -> bool:
    """True where both are the same rational number, False where they agree to many digits; less than the floor is 0.

    Raises NotProved where they differ.
    """
    mine, other = sympify(mine), sympify(other)
    if mine.is_Rational and other.is_Rational and mine == other:
        return True
    mine, other = mine.evalf(DIGITS), other.evalf(DIGITS)
    if not (mine.is_Float or mine.is_Rational) or not abs(mine - other) <= abs(other) / 10**SHOWN + floor:
        found, wanted = first_difference(mine, other)
        raise NotProved(f"{what} came out as {found} where it is {wanted}; prove=False derives without a proof")
    return False


def first_difference(mine: Expr, other: Expr) -> tuple[str, str]:
    """Two numbers with as many digits as show that they differ, and two more."""
    for digits in range(4, DIGITS):
        if mine.evalf(digits) != other.evalf(digits):
            return str(mine.evalf(digits + 2)), str(other.evalf(digits + 2))
    return str(mine), str(other)


def decimal(point: Environment) -> Environment:
    """Numbers as decimals of many digits; sizes stay whole."""

    def one(part: object) -> object:
        if isinstance(part, numpy.ndarray):
            return numpy.frompyfunc(lambda number: Float(number, DIGITS), 1, 1)(part)
        return part if sympify(part).is_Integer else Float(part, DIGITS)

    return {given: one(part) for given, part in point.items()}


def is_real(value: Expr) -> bool:
    """Whether it is a finite real number."""
    if sympify(value).has(nan, oo, zoo):
        return False
    number = sympify(value).evalf(20)
    return number.is_number and number.is_real is not False and abs(number.as_real_imag()[1]) == 0


def chosen_sizes(subject: Subject) -> Iterator[Sizes]:
    """Small, pairwise different numbers for the sizes that are symbols, large enough for every index; then others."""
    least = 2
    for node in subject.loss.atoms(MatrixElement) | subject.loss.atoms(MatrixSlice):
        numbers = (part for part in node.atoms(Integer))
        least = max([least, *(int(number) + 1 for number in numbers)])
    symbols = sorted(subject.sizes, key=str)
    for order in permutations(range(len(symbols))):
        yield {given: Integer(least + place) for given, place in zip(symbols, order, strict=True)}


def points(subject: Subject) -> Iterator[tuple[Sizes, Environment]]:
    """Sizes and random rational points: of both signs, positive, and with a large diagonal; then of many magnitudes."""
    random = Random(0)
    for sizes in islice(chosen_sizes(subject), ORDERS):
        if count(subject, sizes) > MOST_ENTRIES:
            raise NotProved(
                f"{subject.loss}: {count(subject, sizes)} entries are too many to be proved one by one; "
                "sizes that are symbols are proved at small numbers, and prove=False derives without a proof"
            )
        for least, diagonal in ((-1, 0), (-1, 0), (0, 0), (0, 0), (0, 3), (0, 3)):
            magnitudes = dict.fromkeys(subject.original.values(), Integer(1))
            yield sizes, sizes | random_point(subject, sizes, random, magnitudes, least, diagonal)
    sizes = next(chosen_sizes(subject))
    for number in range(MOST_POINTS):
        magnitudes = {given: Rational(random.choice(MAGNITUDES)) for given in subject.original.values()}
        yield sizes, sizes | random_point(subject, sizes, random, magnitudes, -(number % 2), number % 3)


def defined_points(subject: Subject) -> Iterator[tuple[Sizes, Definition, Expr]]:
    """Those at which the loss is real and smooth, and its value: a fraction, or a decimal of many digits."""
    for sizes, point in points(subject):
        with suppress(*UNDEFINED):
            definition = Definition(point if is_rational(subject.loss) else decimal(point))
            value = definition.scalar(subject.loss)
            if not is_real(value):
                continue
            if not value.is_Rational and not value.is_Float:
                definition = Definition(decimal(point))
                value = definition.scalar(subject.loss)
            yield sizes, definition, value


def is_rational(loss: Expr) -> bool:
    """Whether it is made of rational operations alone, and of comparisons."""
    return not any(
        isinstance(node, NumberSymbol | RowLogSumExp | NamedFunction)
        or (isinstance(node, Function) and not isinstance(node, Abs | sign | Max | Min | Piecewise | floor | ceiling))
        or (isinstance(node, Pow | HadamardPower) and not node.exp.is_Integer)
        for node in preorder_traversal(loss)
    )


def symbolic_point(subject: Subject, sizes: Sizes) -> Environment:
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


def count(subject: Subject, sizes: Sizes) -> int:
    """How many entries the inputs have."""
    return sum(prod(shape_at(g, sizes)) if isinstance(g, MatrixExpr) else 1 for g in subject.original.values())


def shape_at(given: MatrixExpr, sizes: Sizes) -> tuple[int, ...]:
    return tuple(int(sympify(size).xreplace(sizes)) for size in given.shape)


def random_point(
    subject: Subject, sizes: Sizes, random: Random, magnitudes: dict[Basic, Rational], least: int, diagonal: int
) -> Environment:
    """Entries that no sum of products of a few makes 0: odd numbers over a large prime, times a magnitude.

    `least` is -1 for entries of both signs, and 0 for positive ones; a number is of the sign that it is declared to be.
    """

    def entry(given: Basic) -> Expr:
        size = Rational(2 * random.randrange(PRIME // 20, PRIME // 2) + 1, PRIME) * magnitudes[given]
        signed = size * random.choice((1, -1)) if least < 0 else size
        return -size if given.is_negative else size if given.is_positive else signed

    point = {}
    for given in subject.original.values():
        point[given] = entry(given)
        if isinstance(given, MatrixExpr):
            values = numpy.empty(shape_at(given, sizes), dtype=object)
            for i, j in numpy.ndindex(*values.shape):
                values[i, j] = entry(given) + (diagonal * magnitudes[given] if i == j else 0)
            point[given] = values
    return point
