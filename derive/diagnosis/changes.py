"""Other operations in the place of right ones: symbols exchanged, terms put in, formulas with one thing changed."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

from sympy import Add, Expr, Integer, MatrixSymbol, Mul, Piecewise, Pow, Rational, Symbol

from derive.operations import Entrywise, NamedMatrix, Operation, Scaled, Sum, Transposed

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


def parts_of(part: Any) -> Iterator[Operation]:
    """An operation and all that it is made of."""
    if isinstance(part, Operation):
        yield part
        part = tuple(getattr(part, field.name) for field in fields(part))
    for item in part if isinstance(part, tuple) else ():
        yield from parts_of(item)


def values_in(operation: Operation) -> Iterator[MatrixSymbol]:
    """The symbols that an operation reads."""
    return (part.symbol for part in parts_of(operation) if isinstance(part, NamedMatrix))


def put(part: Any, old: Operation, new: Operation) -> Any:
    """The operation with something else in the place of a part of it, wherever that stands."""
    if part == old:
        return new
    if isinstance(part, tuple):
        return tuple(put(item, old, new) for item in part)
    if not isinstance(part, Operation):
        return part
    made = replace(part, **{field.name: put(getattr(part, field.name), old, new) for field in fields(part)})
    return made.of.of if isinstance(made, Transposed) and isinstance(made.of, Transposed) else made


def exchanged(operation: Operation, symbol: MatrixSymbol, other: Operation) -> Any:
    """The operation with another one in the place of a symbol."""
    return put(operation, NamedMatrix(symbol.shape, symbol), other)


def operands(operation: Operation) -> tuple[tuple[Symbol, Operation], ...]:
    return operation.operands if isinstance(operation, Entrywise) else ()


def terms_of(operation: Operation) -> tuple[Operation, ...]:
    """What is added, or the operation alone."""
    return operation.terms if isinstance(operation, Sum) else (operation,)


def with_term(operation: Operation, old: Operation, new: Operation) -> Operation:
    """The operation, or the sum of which `old` is a term, with `new` in its place."""
    if operation == old:
        return new
    return Sum(operation.shape, tuple(new if term == old else term for term in terms_of(operation)))


def scalings(operation: Operation, factors: Iterable[tuple[Expr, str]]) -> Iterator[Change]:
    """The operation times each factor, with what that is called, besides 1/2, 2 and -1."""
    usual = ((Rational(1, 2), "a factor 2 is missing"), (Integer(2), "a factor 2 is too many"))
    for factor, kind in (*usual, (Integer(-1), "the sign is the other"), *factors):
        yield Change(kind, kind, Scaled(operation.shape, factor, operation))


def of_terms(
    operation: Operation, names: Callable[[Operation], tuple[str, str]], sizes: Iterable[Expr]
) -> Iterator[Change]:
    """Of terms that are added, one is left out, or taken twice, by half, with the other sign, over or times a size.

    `names` has for a term what it is called, and what it is called whatever it reads.
    """
    terms = operation.terms if isinstance(operation, Sum) else ()
    scales = [(Integer(2), "twice"), (Rational(1, 2), "half of"), (Integer(-1), "minus")]
    for size in sizes:
        scales += [(1 / size, f"1/{size} of"), (size, f"{size} times")]
    for index, term in enumerate(terms):
        (what, general), (before, after) = names(term), (terms[:index], terms[index + 1 :])
        rest = (*before, *after)
        left = rest[0] if len(rest) == 1 else Sum(operation.shape, rest)
        yield Change(f"{general} is left out", f"{what} is left out", left)
        for factor, words in scales:
            made = Sum(operation.shape, (*before, Scaled(term.shape, factor, term), *after))
            yield Change(f"{words} {general} is taken", f"{words} {what} is taken", made)


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
