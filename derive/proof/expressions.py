"""The proof of a matrix derivation: the emitted source, run exactly, against SymPy's derivative of the scalar loss.

The loss is written out by the definitions of its nodes at small sizes, with a symbol for each entry; what is emitted
must be identical to it and to its derivatives. Where that is too large to expand, or holds what the algebra does not
know, it is no proof but a check: numbers stand for the entries, along a random line through a random point the loss is
a function of one variable t, and its derivative by t, or where it is long a difference quotient of numbers with many
digits, must be the sum of the gradient's entries times the direction's.
"""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import islice
from math import prod
from random import Random
from typing import Any

import numpy
from sympy import (
    Basic,
    Dummy,
    Expr,
    Integer,
    MatrixSymbol,
    Mul,
    Pow,
    Rational,
    ceiling,
    diff,
    floor,
    sign,
    sympify,
)
from sympy.matrices.exceptions import NonInvertibleMatrixError

from derive.packages import lost_digits_of
from derive.proof.algebra import Algebra, algebras, with_sigmoids
from derive.proof.certificate import Certificate, Evidence, NotProved
from derive.proof.contexts import naming
from derive.proof.definition import Environment, Evaluation, OnKink, TooManyTerms
from derive.proof.grammar import check_grammar
from derive.proof.polynomials import TooLarge
from derive.proof.precision import decimals, differing_digits, settled
from derive.proof.source import run_source
from derive.proof.tensor import Tensor, read_only
from derive.proof.trials import (
    ORDERS,
    UNDEFINED,
    DerivedLoss,
    Sizes,
    chosen_sizes,
    defined_points,
    number_of_entries,
    shape_at,
    smallest_undefined,
    symbolic_point,
)
from derive.system import progress

OF_SOURCE = "the emitted source"
MOST_SYMBOLS = 40  # with which identity is decided in seconds
MOST_ON_A_LINE = 400  # entries of what is moved along a line, if the loss on it is to be written out
MOST_EXPANDED_TERMS = 60_000  # of all that is compared, if every product in it were multiplied out
RANDOM_POINTS = 2
AGREEING_DIGITS = 45  # digits that must agree
ROUNDING = 90  # decimals; what is smaller beside the loss than this is rounding
t = Dummy("t", real=True)


Emitted = Callable[..., tuple[Tensor, Any]]  # value_and_grad


def certify(subject: DerivedLoss) -> Certificate:
    """The certificate of a matrix derivation.

    Raises NotProved where value or gradient differ, or where no point is found at which the loss is defined.
    """
    source = subject.torch()
    check_grammar(source, source, OF_SOURCE)
    function = run_source(source, OF_SOURCE)["value_and_grad"]
    sizes, how = with_symbols(subject, function), "identical, with a symbol for each entry"
    exact = sizes is not None and next(defined_points(subject), None) is not None
    if sizes is None or not exact:
        how, sizes = settled(partial(with_values, subject, function))
    entries = 1 + sum(prod(shape_at(v, sizes)) if isinstance(v, MatrixSymbol) else 1 for v in subject.variables)
    named_sizes = {str(symbol): int(size) for symbol, size in sizes.items()}
    identical_entries, checked = (entries, 0) if exact else (0, entries)
    loss, variables = str(subject.loss), [str(variable) for variable in subject.variables]
    return Certificate(
        subject=f"the value and the gradient in {', '.join(variables)} of {subject.title}",
        about={"loss": loss, "variables": variables},
        shown=(Evidence(OF_SOURCE, ("value_and_grad",), how, (), (), identical_entries, checked, named_sizes),),
        sha256={OF_SOURCE: hashlib.sha256(source.encode()).hexdigest()},
        digits=tuple(lost_digits_of(subject.program)),
    )


def with_symbols(subject: DerivedLoss, function: Emitted) -> Sizes | None:
    """The sizes at which all was shown to be identical; None where it was not shown."""
    for sizes in islice(chosen_sizes(subject), ORDERS):
        try:
            return sizes if identical(subject, function, sizes) else None
        except (NonInvertibleMatrixError, ZeroDivisionError, IndexError):
            continue  # as X.T * X is with more columns than rows, or x[n, 0] with no more than n
    return None


def identical(subject: DerivedLoss, function: Emitted, sizes: Sizes) -> bool:
    """Whether value, gradients and closed forms are shown to be the loss and its derivatives in every entry."""
    if number_of_entries(subject, sizes) > MOST_SYMBOLS:
        return False
    point = symbolic_point(subject, sizes)
    definition = Evaluation(point, everywhere=True)
    try:
        loss = with_sigmoids(definition.scalar(subject.loss))
    except (TooManyTerms, ValueError):
        return False
    if most_terms(loss) * sum(numpy.size(point[variable]) for variable in subject.variables) ** 2 > MOST_EXPANDED_TERMS:
        return False
    try:
        value, gradients = emitted_at(function, subject, point)
    except NotProved:
        return False
    pairs = [(value, loss)]
    for variable in subject.variables:
        for mine, closed, entry in zip(*gradient_in(subject, variable, gradients, definition), strict=True):
            slope = diff(loss, entry)
            pairs += [(mine, slope), (closed, slope)]
    if sum(most_terms(expr) for pair in pairs for expr in pair) > MOST_EXPANDED_TERMS:
        return False
    return any(all_identical(pairs, algebra) for algebra in algebras())


def all_identical(pairs: list[tuple[Expr, Expr]], algebra: Algebra) -> bool:
    of_all = progress(pairs, "entries that are compared", len(pairs))
    try:
        return all(algebra.identical(sympify(mine), sympify(other), MOST_EXPANDED_TERMS) for mine, other in of_all)
    except (TooLarge, ValueError, RecursionError):  # SymPy compares the parts of some Max without an end
        return False


def most_terms(expr: Expr, known: dict[Expr, int] | None = None) -> int:
    """How many terms the expression has at most when it is multiplied out, those inside of functions included."""
    known = {} if known is None else known
    if expr not in known:
        parts = [most_terms(part, known) for part in sympify(expr).args]
        if isinstance(expr, Mul):
            known[expr] = min(prod(parts), 10 * MOST_EXPANDED_TERMS)
        elif isinstance(expr, Pow) and expr.exp.is_Rational:
            known[expr] = min(parts[0] ** max(abs(int(expr.exp)), 1), 10 * MOST_EXPANDED_TERMS)
        else:
            known[expr] = max(sum(parts), 1)
    return known[expr]


def with_values(subject: DerivedLoss, function: Emitted) -> tuple[str, Sizes]:
    """What at_random_points says.

    Raises NotProved where it finds no number of so many digits.
    """
    try:
        return at_random_points(subject, function)
    except UNDEFINED as error:
        why = f"in numbers of {decimals()} digits the gradient has no value where the loss has one: {error}"
        raise NotProved(f"{subject.title}: {why}") from error


def at_random_points(subject: DerivedLoss, function: Emitted) -> tuple[str, Sizes]:
    """How it was shown at random points, and for which sizes."""
    exact, shown = True, 0
    for sizes, definition, value in defined_points(subject):
        try:
            emitted_value, gradients = emitted_at(function, subject, definition.given)
            along = progress(subject.variables, f"slopes along lines, point {shown + 1}", len(subject.variables))
            slopes = {v: line_slope(subject, v, definition, Random(shown)) for v in along}
        except (NonInvertibleMatrixError, OnKink):
            continue
        floor = (1 + abs(value.evalf(decimals()))) / 10**ROUNDING
        exact &= agrees(emitted_value, value, "the value", floor)
        for variable in subject.variables:
            exact &= check_gradient(subject, variable, gradients, definition, slopes[variable], floor)
        shown += 1
        if shown == RANDOM_POINTS:
            how = "exact, in rational numbers" if exact else f"to {AGREEING_DIGITS} digits"
            return f"{how}, at {RANDOM_POINTS} random points and along random lines through them", sizes
    raise NotProved(
        f"{subject.title}: found no point at which it is defined, real and smooth{smallest_undefined(subject)}; "
        "prove=False derives without a proof"
    )


def gradient_in(
    subject: DerivedLoss, variable: Basic, gradients: Any, definition: Evaluation
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
    subject: DerivedLoss,
    variable: Basic,
    gradients: Any,
    definition: Evaluation,
    along: tuple[list[Integer], Expr],
    floor: Expr,
) -> bool:
    """Whether all was rational; the slope along a line and the closed form, against the emitted gradient."""
    emitted, closed, _ = gradient_in(subject, variable, gradients, definition)
    steps, wanted = along
    found = sum((mine * step for mine, step in zip(emitted, steps, strict=True)), Integer(0))
    exact = agrees(found, wanted, f"the gradient in {variable}", floor)
    for mine, other in zip(emitted, closed, strict=True):
        exact &= agrees(mine, other, f"the closed form of the gradient in {variable}", floor)
    return exact


def line_slope(
    subject: DerivedLoss, variable: Basic, definition: Evaluation, random: Random
) -> tuple[list[Integer], Expr]:
    """A direction, and the derivative of the loss along it: by SymPy's of the loss written out; at decimals, or where
    that has too many terms, by the difference quotient.
    """
    given = definition.given[variable]
    place = numpy.array(given, dtype=object)
    numbers = numpy.ravel(place)
    direction = numpy.array([Integer(random.choice((-3, -2, -1, 1, 2, 3))) for _ in numbers]).reshape(place.shape)
    steps = list(direction.flat)
    if variable in subject.symmetric:  # each variable once
        upper = numpy.triu(direction)
        steps, direction = list(upper.flat), upper + numpy.triu(upper, 1).T
    direction = direction if place.ndim else steps[0]

    def at(step: Expr) -> Expr:
        return definition.within({variable: given + step * direction}).scalar(subject.loss)

    if len(numbers) <= MOST_ON_A_LINE and not any(number.is_Float for number in numbers):
        with suppress(TooManyTerms):
            line = at(t)
            line = line.xreplace({step: step.xreplace({t: Integer(0)}) for step in line.atoms(floor, ceiling, sign)})
            return steps, diff(line, t).xreplace({t: Integer(0)})
    h = Rational(1, 10 ** (decimals() // 4))  # its square is the error of the quotient, and as many digits are left
    return steps, (at(h).evalf(decimals()) - at(-h).evalf(decimals())) / (2 * h)


def emitted_at(function: Emitted, subject: DerivedLoss, point: Environment) -> tuple[Expr, Any]:
    """What the emitted source gives at a point."""
    tensors = {symbol.name: read_only(point[given]) for symbol, given in subject.original.items()}
    try:
        with naming(Evaluation(point).number):
            value, gradients = function(**tensors)
    except NonInvertibleMatrixError:
        raise
    except Exception as error:
        raise NotProved(
            f"the emitted source fails on exact numbers, which is a fault of this tool: {type(error).__name__}: "
            f"{error}; prove=False derives without a proof"
        ) from error
    return value.entries.item(), gradients


def agrees(mine: Expr, other: Expr, what: str, floor: Expr) -> bool:
    """True where both are the same rational number, False where they agree to many digits; less than the floor is 0.

    Raises NotProved where they differ.
    """
    mine, other = sympify(mine), sympify(other)
    if mine.is_Rational and other.is_Rational and mine == other:
        return True
    mine, other = mine.evalf(decimals()), other.evalf(decimals())
    if not (mine.is_Float or mine.is_Rational) or not abs(mine - other) <= abs(other) / 10**AGREEING_DIGITS + floor:
        found, wanted = differing_digits(mine, other)
        raise NotProved(f"{what} came out as {found} where it is {wanted}; prove=False derives without a proof")
    return False
