"""Long closed forms with names for what stands in them several times, as books write them: where P = softmax(S)."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from sympy import (
    Basic,
    Determinant,
    Expr,
    Integer,
    Lambda,
    MatMul,
    MatrixBase,
    MatrixExpr,
    MatrixSymbol,
    Symbol,
    Trace,
    Transpose,
)

from derive.calculus.alike import key
from derive.programs import as_text, chain, flat_product

LONGEST_AS_IT_IS = 100  # characters of a form in which nothing is named
SHORTEST_NAMED, LEAST_SAVED, MOST_NAMED = 10, 16, 12  # characters, characters, parts


class Abbreviation(NamedTuple):
    """A name and what it stands for."""

    symbol: Expr
    meaning: Expr


def abbreviated(
    forms: Iterable[Expr], known: Iterable[tuple[str, Expr]], taken: Iterable[str]
) -> tuple[list[Expr], list[Abbreviation]]:
    """The forms with names for parts that stand in them several times, and these in the order of what they need.

    A part that is a value of `known` has its name there, others T1, T2, ... but for the names that are `taken`.
    """
    forms, named = list(forms), list[Abbreviation]()
    if not any(len(as_text(form)) > LONGEST_AS_IT_IS for form in forms):
        return forms, named
    while len(named) < MOST_NAMED and (part := most_repeated([*forms, *(one.meaning for one in named)])) is not None:
        symbol = symbol_of_part(f"part {len(named)}", part)
        forms = [with_name(form, part, symbol) for form in forms]
        named = [Abbreviation(one.symbol, with_name(one.meaning, part, symbol)) for one in named]
        named.append(Abbreviation(symbol, part))
    return with_readable_names(forms, in_order(named), [*known], {*taken})


def with_readable_names(
    forms: list[Expr], named: list[Abbreviation], known: list[tuple[str, Expr]], taken: set[str]
) -> tuple[list[Expr], list[Abbreviation]]:
    """The same with names to read, and what has become short in its place again."""
    names = {alike_to(value): name for name, value in reversed(known) if is_part(value)}
    free = (name for name in (f"T{number}" for number in range(1, MOST_NAMED + len(taken) + 1)) if name not in taken)
    meanings: dict[Expr, Expr] = {}  # in full
    shown: dict[Expr, Expr] = {}  # what stands for each
    found: list[Abbreviation] = []
    for symbol, meaning in named:
        meanings[symbol] = meaning.xreplace(meanings)
        meaning = meaning.xreplace(shown)
        if len(as_text(meaning)) < SHORTEST_NAMED:
            shown[symbol] = meaning
            continue
        whole = meanings[symbol]
        name = names.get(alike_to(whole)) or next(free)
        shown[symbol] = symbol_of_part(name, whole)
        if shown[symbol] not in [one.symbol for one in found]:  # the same, written in another way
            found.append(Abbreviation(shown[symbol], meaning))
    return [form.xreplace(shown) for form in forms], found


def alike_to(part: Expr) -> object:
    if isinstance(part, Trace | Determinant):
        return type(part), key(part.arg)
    return key(part) if isinstance(part, MatrixExpr) else part


def symbol_of_part(name: str, part: Expr) -> Expr:
    return MatrixSymbol(name, *part.shape) if isinstance(part, MatrixExpr) else Symbol(name)


def nameable_parts(expr: Basic) -> Iterator[Expr]:
    """What stands in an expression and could have a name, each as often as it stands there."""
    if is_part(expr):
        yield expr
    for part in () if isinstance(expr, Lambda | MatrixSymbol | MatrixBase) else expr.args:
        yield from nameable_parts(part)


def is_part(expr: Basic) -> bool:
    if isinstance(expr, Trace | Determinant):
        return True
    shape = isinstance(expr, MatrixSymbol | Transpose) or not expr.has(MatrixSymbol)
    return isinstance(expr, MatrixExpr) and not shape


def most_repeated(forms: list[Expr]) -> Expr | None:
    """The part whose name saves most, if that is enough."""
    found: dict[object, Expr] = {}
    counts: Counter[object] = Counter()
    for part in (part for form in forms for part in nameable_parts(form) if part not in forms):
        whole = flat_product(Integer(1), chain(part)[1]) if isinstance(part, MatMul) else part
        if not is_part(whole):
            continue
        alike = key(whole)[1] if isinstance(whole, MatrixExpr) else alike_to(whole)
        found.setdefault(alike, whole)
        counts[alike] += 1
    lengths = {alike: len(as_text(found[alike])) for alike, count in counts.items() if count > 1}
    saved = {a: (counts[a] - 1) * length for a, length in lengths.items() if length >= SHORTEST_NAMED}
    best = max(saved, key=lambda alike: (saved[alike], as_text(found[alike])), default=None)
    return found[best] if best is not None and saved[best] >= LEAST_SAVED else None


def with_name(expr: Expr, part: Expr, symbol: Expr) -> Expr:
    """The expression with the symbol in the place of the part."""
    if isinstance(expr, type(part)) and alike_to(expr) == alike_to(part):
        return symbol
    if isinstance(expr, MatrixExpr) and isinstance(part, MatrixExpr) and is_part(expr):
        (number, alike), (unit, wanted) = key(expr), key(part)
        if alike == wanted:
            return flat_product(number / unit, [symbol])
    if not expr.args or isinstance(expr, Lambda | MatrixSymbol | MatrixBase):
        return expr
    args = [with_name(arg, part, symbol) for arg in expr.args]
    return expr if args == list(expr.args) else expr.func(*args)


def in_order(named: list[Abbreviation]) -> list[Abbreviation]:
    """Each behind those that it needs."""
    found: list[Abbreviation] = []
    while len(found) < len(named):
        left = [one for one in named if one not in found]
        found += [one for one in left if not any(one.meaning.has(other.symbol) for other in left if other != one)][:1]
    return found
