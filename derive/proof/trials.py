"""Where a loss is tried: sizes, a symbol for each entry, and random points at which it is real and smooth."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice, permutations
from math import prod
from random import Random
from typing import Protocol

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
    Lambda,
    MatrixBase,
    MatrixExpr,
    MatrixSymbol,
    Max,
    Min,
    NumberSymbol,
    Piecewise,
    Pow,
    Rational,
    Sum,
    Symbol,
    ceiling,
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
from derive.programs import Program, RowLogSumExp, RowSoftmax, as_text
from derive.proof.certificate import NotProved
from derive.proof.definition import Environment, Evaluation, OnKink
from derive.proof.precision import decimals

MOST_PROVED_ENTRIES = 20_000
SAME_EVERYWHERE = 4  # points, of both signs and positive ones, at which what is compared is the same
MOST_SEARCHED = 300  # tried in search of one at which the loss is defined, beside the first of each order
TRIED_MAGNITUDES = ("1/100", "1/10", 1, 10, 100)
DENOMINATOR = 1_000_003
ORDERS = 6
UNDEFINED = (ArithmeticError, NonInvertibleMatrixError, ValueError, TypeError, IndexError)
Sizes = dict[Symbol, Integer]


class DerivedLoss(Protocol):
    """A matrix derivation: a loss of some inputs, and its gradient in some of these, which `torch` emits.

    `original` maps what the code takes to what it is in the loss, `inputs` the other way; `sizes` are symbols, and in
    `symmetric` are the matrices whose entries i, j and j, i are one variable.
    """

    loss: Expr
    program: Program
    variables: tuple[Basic, ...]
    original: dict[MatrixSymbol, Basic]
    inputs: dict[Basic, MatrixSymbol]
    sizes: dict[Symbol, Symbol]
    symmetric: tuple[MatrixSymbol, ...]

    @property
    def title(self) -> str: ...

    @property
    def gradients(self) -> dict[Basic, Expr]: ...

    def torch(self) -> str: ...


def smallest_undefined(subject: DerivedLoss) -> str:
    """What is not defined at the first points, by the smallest part of the loss that is not."""
    for _, point in islice(points(subject), 1):
        definition = Evaluation(decimals_of(point))
        for node in postorder_traversal(subject.loss):
            bound = node.free_symbols - subject.loss.free_symbols
            blocks = isinstance(node, MatrixBase) and any(isinstance(part, MatrixExpr) for part in node.flat())
            if not isinstance(node, Expr) or isinstance(node, Lambda) or not node.args or bound or blocks:
                continue
            try:
                is_matrix = isinstance(node, MatrixExpr)
                values = definition.entries(node).flat if is_matrix else [definition.scalar(node)]
            except UNDEFINED as error:
                return f": {as_text(node)} has no value at the first ({error})"
            if unreal := [value for value in values if not is_real(value)]:
                return f": {'an entry of ' * is_matrix}{as_text(node)} is {unreal[0].evalf(6)} at the first"
    return ""


def decimals_of(point: Environment) -> Environment:
    """Numbers as decimals of many digits; sizes stay whole."""

    def one(part: object) -> object:
        if isinstance(part, numpy.ndarray):
            return numpy.frompyfunc(lambda number: Float(number, decimals()), 1, 1)(part)
        return part if sympify(part).is_Integer else Float(part, decimals())

    return {given: one(part) for given, part in point.items()}


def is_real(value: Expr) -> bool:
    """Whether it is a finite real number."""
    if sympify(value).has(nan, oo, zoo):
        return False
    number = sympify(value).evalf(20)
    return number.is_number and number.is_real is not False and abs(number.as_real_imag()[1]) == 0


def chosen_sizes(subject: DerivedLoss) -> Iterator[Sizes]:
    """Small, pairwise different numbers for the sizes that are symbols, large enough for every index; then others."""
    least = 2
    for node in subject.loss.atoms(MatrixElement, MatrixSlice, Sum):
        numbers = (part for part in node.atoms(Integer))
        least = max([least, *(int(number) + 1 for number in numbers)])
    symbols = sorted(subject.sizes, key=str)
    for order in permutations(range(len(symbols))):
        yield {given: Integer(least + place) for given, place in zip(symbols, order, strict=True)}


def points(subject: DerivedLoss) -> Iterator[tuple[Sizes, Environment]]:
    """Sizes and random rational points: of both signs, positive, and with a large diagonal; then of many magnitudes."""
    random = Random(0)
    for sizes in islice(chosen_sizes(subject), ORDERS):
        if number_of_entries(subject, sizes) > MOST_PROVED_ENTRIES:
            raise NotProved(
                f"{subject.title}: {number_of_entries(subject, sizes)} entries are too many to be proved one by one; "
                "sizes that are symbols are proved at small numbers, and prove=False derives without a proof"
            )
        for least, diagonal in ((-1, 0), (-1, 0), (0, 0), (0, 0), (0, 3), (0, 3)):
            magnitudes = dict.fromkeys(subject.original.values(), Integer(1))
            yield sizes, sizes | random_point(subject, sizes, random, magnitudes, least, diagonal)
    sizes = next(chosen_sizes(subject))
    for number in range(MOST_SEARCHED):
        magnitudes = {given: Rational(random.choice(TRIED_MAGNITUDES)) for given in subject.original.values()}
        yield sizes, sizes | random_point(subject, sizes, random, magnitudes, -(number % 2), number % 3)


def defined_points(subject: DerivedLoss) -> Iterator[tuple[Sizes, Evaluation, Expr]]:
    """Those at which the loss is real and smooth, and its value: a fraction, or a decimal of many digits.

    What is compared and the same at each of the first points, as the two entries of x[i] - x[i], is so everywhere.
    """
    kinks = 0
    for number, (sizes, point) in enumerate(points(subject)):
        everywhere = number >= SAME_EVERYWHERE == kinks
        with suppress(*UNDEFINED):
            definition = Evaluation(point if is_rational(subject.loss) else decimals_of(point), everywhere)
            try:
                value = definition.scalar(subject.loss)
            except OnKink:
                kinks += 1
                continue
            if not is_real(value):
                continue
            if not value.is_Rational and not value.is_Float:
                definition = Evaluation(decimals_of(point), everywhere)
                value = definition.scalar(subject.loss)
            yield sizes, definition, value


def is_rational(loss: Expr) -> bool:
    """Whether it is made of rational operations alone, and of comparisons."""
    return not any(
        isinstance(node, NumberSymbol | RowLogSumExp | RowSoftmax | NamedFunction)
        or (isinstance(node, Function) and not isinstance(node, Abs | sign | Max | Min | Piecewise | floor | ceiling))
        or (isinstance(node, Pow | HadamardPower) and not node.exp.is_Integer)
        for node in preorder_traversal(loss)
    )


def symbolic_point(subject: DerivedLoss, sizes: Sizes) -> Environment:
    """A symbol of its own for each entry of each input."""
    point = dict(sizes)
    for given in subject.original.values():
        if isinstance(given, MatrixExpr):
            point[given] = entries_of(subject, given, sizes, lambda X, i, j: Dummy(f"{X}[{i}, {j}]", real=True))
        else:
            point[given] = Dummy(given.name, real=True, positive=given.is_positive)
    return point


def entries_of(
    subject: DerivedLoss, given: MatrixExpr, sizes: Sizes, entry: Callable[[MatrixExpr, int, int], Expr]
) -> numpy.ndarray:
    """The entries of an input; one that is symmetric has at i, j and j, i the same."""
    values = numpy.empty(shape_at(given, sizes), dtype=object)
    for i, j in numpy.ndindex(*values.shape):
        mirrored = given in subject.symmetric and j < i
        values[i, j] = values[j, i] if mirrored else entry(given, i, j)
    return values


def number_of_entries(subject: DerivedLoss, sizes: Sizes) -> int:
    """How many entries the inputs have."""
    return sum(prod(shape_at(g, sizes)) if isinstance(g, MatrixExpr) else 1 for g in subject.original.values())


def shape_at(given: MatrixExpr, sizes: Sizes) -> tuple[int, ...]:
    return tuple(int(sympify(size).xreplace(sizes)) for size in given.shape)


def random_point(
    subject: DerivedLoss, sizes: Sizes, random: Random, magnitudes: dict[Basic, Rational], least: int, diagonal: int
) -> Environment:
    """Entries that no sum of products of a few makes 0: odd numbers over a large prime, times a magnitude.

    `least` is -1 for entries of both signs, and 0 for positive ones; a number is of the sign that it is declared to be.
    """

    def entry(given: Basic) -> Expr:
        size = Rational(2 * random.randrange(DENOMINATOR // 20, DENOMINATOR // 2) + 1, DENOMINATOR) * magnitudes[given]
        signed = size * random.choice((1, -1)) if least < 0 else size
        return -size if given.is_negative else size if given.is_positive else signed

    point = {}
    for given in subject.original.values():
        point[given] = entry(given)
        if isinstance(given, MatrixExpr):
            point[given] = entries_of(
                subject, given, sizes, lambda X, i, j: entry(X) + diagonal * (i == j) * magnitudes[X]
            )
    return point
