"""Other operations in the place of right ones: symbols exchanged, terms put in, formulas with one thing changed."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from sympy import Add, Expr, MatrixSymbol, Mul, Piecewise, Pow, Symbol

from derive.operations import Entrywise, Operation, Sum, Value

MOST_CHANGES = 60  # of a formula


@dataclass(frozen=True)
class Change:
    """One operation in the place of another."""

    kind: str
    words: str
    operation: Operation


@dataclass(frozen=True)
class Slip:
    """Other operations in the place of right ones, by the numbers of their equations; what was done, in words.

    `kind` is what was done whatever the layer.
    """

    kind: str
    words: str
    changes: tuple[tuple[int, Operation], ...]


def values_in(part: Any) -> Iterator[MatrixSymbol]:
    """The symbols that an operation reads."""
    if isinstance(part, Value):
        yield part.symbol
    elif isinstance(part, tuple):
        for item in part:
            yield from values_in(item)
    elif isinstance(part, Operation):
        for field in fields(part):
            yield from values_in(getattr(part, field.name))


def exchanged(part: Any, symbol: MatrixSymbol, other: Operation) -> Any:
    """The operation with another one in the place of a symbol, wherever that is read."""
    if isinstance(part, Value):
        return other if part.symbol == symbol else part
    if isinstance(part, tuple):
        return tuple(exchanged(item, symbol, other) for item in part)
    if is_dataclass(part) and isinstance(part, Operation):
        return replace(part, **{f.name: exchanged(getattr(part, f.name), symbol, other) for f in fields(part)})
    return part


def operands(operation: Operation) -> tuple[tuple[Symbol, Operation], ...]:
    return operation.operands if isinstance(operation, Entrywise) else ()


def parts(operation: Operation) -> tuple[Operation, ...]:
    return operation.terms if isinstance(operation, Sum) else (operation,)


def put(operation: Operation, old: Operation, new: Operation) -> Operation:
    """The operation, or the sum of which `old` is a term, with `new` in its place."""
    if operation == old:
        return new
    return Sum(operation.shape, tuple(new if term == old else term for term in parts(operation)))


def changed(formula: Expr) -> list[tuple[str, Expr]]:
    """The formula with one slip: a term or a factor left out, a sign, a square, a case."""
    found: dict[Expr, str] = {}
    for words, other in changes(formula):
        if other != formula and not other.has(Symbol("nan")):
            found.setdefault(other, words)
    return [(words, other) for other, words in list(found.items())[:MOST_CHANGES]]


def changes(formula: Expr) -> Iterator[tuple[str, Expr]]:
    if isinstance(formula, Add):
        for term in formula.args:
            yield f"the term {term} is left out", formula - term
            yield f"the sign of the term {term} is the other", formula - 2 * term
    elif isinstance(formula, Mul):
        for factor in formula.args:
            yield f"the factor {factor} is left out", Mul(*(other for other in formula.args if other != factor))
    elif isinstance(formula, Pow) and formula.exp == 2:
        yield f"the square of {formula.base} is left out", formula.base
    elif isinstance(formula, Piecewise) and len(formula.args) == 2:
        (one, condition), (other, _) = formula.args
        yield "the two cases are exchanged", Piecewise((other, condition), (one, True))
        yield f"the case {one} is taken always", one
        yield f"the case {other} is taken always", other
    if isinstance(formula, Add | Mul | Pow):
        for index, part in enumerate(formula.args):
            for words, other in changes(part):
                yield words, formula.func(*formula.args[:index], other, *formula.args[index + 1 :])
