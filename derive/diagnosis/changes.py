"""Other operations in the place of right ones: symbols exchanged, terms put in, formulas with one thing changed."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from sympy import Add, Expr, MatrixSymbol, Mul, Piecewise, Pow, Symbol

from derive.operations import Entrywise, Operation, Sum, Transposed, Value

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
        made = replace(part, **{f.name: exchanged(getattr(part, f.name), symbol, other) for f in fields(part)})
        return made.of.of if isinstance(made, Transposed) and isinstance(made.of, Transposed) else made
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


@dataclass(frozen=True)
class Changed:
    """A formula with one slip, in words with a place for the part of the formula that they are about."""

    words: str
    part: Expr
    formula: Expr

    def __str__(self) -> str:
        return self.of({})

    def of(self, letters: dict[Symbol, Symbol]) -> str:
        """In words, with letters in the place of symbols; of cases the first is named."""
        part = self.part.replace(Piecewise, lambda first, *_: first[0])
        return self.words.format(part.xreplace(letters))


def changed(formula: Expr) -> list[Changed]:
    """The formula with one slip: a term or a factor left out, a sign, a square, a case."""
    found: dict[Expr, Changed] = {}
    for change in changes(formula):
        if change.formula != formula and not change.formula.has(Symbol("nan")):
            found.setdefault(change.formula, change)
    return list(found.values())[:MOST_CHANGES]


def changes(formula: Expr) -> Iterator[Changed]:
    if isinstance(formula, Add):
        for term in formula.args:
            yield Changed("the term {} is left out", term, formula - term)
            yield Changed("the sign of the term {} is the other", term, formula - 2 * term)
    elif isinstance(formula, Mul):
        for factor in formula.args:
            others = Mul(*(other for other in formula.args if other != factor))
            yield Changed("the factor {} is left out", factor, others)
    elif isinstance(formula, Pow) and formula.exp == 2:
        yield Changed("the square of {} is left out", formula.base, formula.base)
    elif isinstance(formula, Piecewise) and len(formula.args) == 2:
        (one, condition), (other, _) = formula.args
        yield Changed("the two cases are exchanged", one, Piecewise((other, condition), (one, True)))
        yield Changed("the case {} is taken always", one, one)
        yield Changed("the case {} is taken always", other, other)
    if isinstance(formula, Add | Mul | Pow):
        for index, part in enumerate(formula.args):
            for inside in changes(part):
                whole = formula.func(*formula.args[:index], inside.formula, *formula.args[index + 1 :])
                yield replace(inside, formula=whole)
