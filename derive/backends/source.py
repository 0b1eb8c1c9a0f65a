"""Python source as a tree until it is written: brackets follow from precedence, and long lines break at their parts."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

WIDTH = 120  # of a line of emitted code
ATOM, POWER, NEGATIVE, PRODUCT, SUM, AND, OR, COMPARISON, BOTH, EITHER, CONDITIONAL = range(11, 0, -1)  # how tightly
LEVELS = {
    "**": POWER,
    "*": PRODUCT,
    "/": PRODUCT,
    "//": PRODUCT,
    "%": PRODUCT,
    "@": PRODUCT,
    "+": SUM,
    "-": SUM,
    "&": AND,
    "|": OR,
    **dict.fromkeys(("<", "<=", ">", ">=", "==", "!="), COMPARISON),
    "&&": BOTH,
    "||": EITHER,
}


@dataclass(frozen=True)
class Source:
    """An expression."""

    @property
    def level(self) -> int:
        return ATOM

    @property
    def parts(self) -> tuple["Source", ...]:
        return tuple(sources_in(getattr(self, one.name) for one in fields(self)))

    @property
    def text(self) -> str:
        raise NotImplementedError

    @property
    def names(self) -> frozenset[str]:
        """The names that are used."""
        return names_in(self.parts)

    def renamed(self, sources: Mapping[str, "Source"]) -> "Source":
        """With other sources in the place of some names."""
        return self.changed(lambda part: sources.get(part.name, part) if isinstance(part, Name) else part)

    def changed(self, change: Callable[["Source"], "Source"]) -> "Source":
        """With what the change makes of each part, and then of the whole."""

        def of(part: Any) -> Any:
            if isinstance(part, Source):
                return part.changed(change)
            return tuple(map(of, part)) if isinstance(part, tuple) else part

        return change(replace(self, **{one.name: of(getattr(self, one.name)) for one in fields(self)}))

    def divides_by(self, name: str) -> bool:
        """Whether something that the name is in stands under a division line."""
        below = isinstance(self, Infix) and self.operator == "/" and name in self.right.names
        return below or any(part.divides_by(name) for part in self.parts)

    def at(self, level: int) -> str:
        """The text, in brackets where it binds less than is needed there."""
        return self.text if self.level >= level else f"({self.text})"


@dataclass(frozen=True)
class Name(Source):
    name: str

    @property
    def text(self) -> str:
        return self.name

    @property
    def names(self) -> frozenset[str]:
        return frozenset({self.name})


@dataclass(frozen=True)
class Literal(Source):
    """A number or a string, as Python writes it."""

    value: str

    @property
    def text(self) -> str:
        return self.value


@dataclass(frozen=True)
class Attribute(Source):
    of: Source
    name: str

    @property
    def text(self) -> str:
        return f"{self.of.at(ATOM)}.{self.name}"


@dataclass(frozen=True)
class Call(Source):
    function: Source
    arguments: tuple[Source, ...] = ()
    keywords: tuple[tuple[str, Source], ...] = ()

    @property
    def items(self) -> list[str]:
        return [*(part.text for part in self.arguments), *(f"{name}={value.text}" for name, value in self.keywords)]

    @property
    def text(self) -> str:
        return f"{self.function.at(ATOM)}({', '.join(self.items)})"


@dataclass(frozen=True)
class Index(Source):
    of: Source
    items: tuple[Source, ...]

    @property
    def text(self) -> str:
        return f"{self.of.at(ATOM)}[{', '.join(item.text for item in self.items)}]"


@dataclass(frozen=True)
class Range(Source):
    """From the first up to and without the second, inside an index; all of an axis where there is neither."""

    start: Source = Literal("")
    stop: Source = Literal("")

    @property
    def text(self) -> str:
        return f"{self.start.text}:{self.stop.text}"


@dataclass(frozen=True)
class Group(Source):
    """A tuple or a list."""

    items: tuple[Source, ...]
    brackets: str = "()"

    @property
    def text(self) -> str:
        opening, closing = self.brackets[0], self.brackets[1]
        comma = "," if len(self.items) == 1 and opening == "(" else ""
        return f"{opening}{', '.join(item.text for item in self.items)}{comma}{closing}"


@dataclass(frozen=True)
class Infix(Source):
    """Two operands; of equal operators the left one comes first."""

    operator: str
    left: Source
    right: Source

    @property
    def level(self) -> int:
        return LEVELS[self.operator]

    @property
    def text(self) -> str:
        return self.after("")

    def after(self, minus: str) -> str:
        """The text behind a minus, where formatters put a power in brackets."""
        left = self.left
        if isinstance(left, Infix) and left.level == self.level and self.level != POWER:
            before = left.after(minus)
        elif minus and isinstance(left, Infix) and left.level == POWER:
            before = f"{minus}({left.text})"
        else:
            before = minus + left.at(self.level + (self.level in (POWER, COMPARISON, AND, OR)))
        close = self.operator == "**" and is_simple(left) and isinstance(self.right, Literal)
        between = self.operator if close else f" {self.operator} "
        last = ATOM if isinstance(self.right, Minus) and self.level != COMPARISON else self.level + 1
        return f"{before}{between}{self.right.at(last)}"


@dataclass(frozen=True)
class Minus(Source):
    of: Source

    @property
    def level(self) -> int:
        return PRODUCT if self.of.level == PRODUCT else NEGATIVE

    @property
    def text(self) -> str:
        if isinstance(self.of, Infix) and self.of.level == PRODUCT:
            return self.of.after("-")
        return f"-{self.of.at(ATOM)}"


@dataclass(frozen=True)
class Choice(Source):
    """One of two, by a condition."""

    condition: Source
    then: Source
    otherwise: Source

    @property
    def level(self) -> int:
        return CONDITIONAL

    @property
    def text(self) -> str:
        return f"{self.then.text} if {self.condition.text} else {self.otherwise.text}"


def sources_in(values: Iterable[Any]) -> Iterator[Source]:
    """The sources among the fields of a source, also those in tuples."""
    for value in values:
        if isinstance(value, Source):
            yield value
        elif isinstance(value, tuple):
            yield from sources_in(value)


def names_in(sources: Iterable[Source]) -> frozenset[str]:
    return frozenset().union(*(source.names for source in sources))


def is_simple(source: Source) -> bool:
    """Whether formatters leave no blanks round a power of it."""
    return isinstance(source, Name | Literal) or (isinstance(source, Attribute) and is_simple(source.of))


def chained(operator: str, operands: Iterable[Source]) -> Source:
    """The operands, from left to right."""
    result, *rest = operands
    for operand in rest:
        result = Infix(operator, result, operand)
    return result


def plus(left: Source, right: Source) -> Source:
    """A sum; one on the right is added term by term, and what is negative there is taken away."""
    if isinstance(right, Minus):
        return Infix("-", left, right.of)
    if isinstance(right, Infix) and right.level == SUM:
        before = plus(left, right.left)
        return plus(before, right.right) if right.operator == "+" else Infix("-", before, right.right)
    return Infix("+", left, right)


def call(function: str, *arguments: Source, **keywords: Source) -> Call:
    return Call(dotted(function), arguments, tuple(keywords.items()))


def method(of: Source, name: str, *arguments: Source, **keywords: Source) -> Call:
    return Call(Attribute(of, name), arguments, tuple(keywords.items()))


def dotted(path: str) -> Source:
    """torch.nn.functional.linear, say."""
    first, *rest = path.split(".")
    result: Source = Name(first)
    for name in rest:
        result = Attribute(result, name)
    return result


def signed_terms(source: Source) -> Iterator[str]:
    """The terms of a sum, each with its operator in front."""
    if isinstance(source, Infix) and source.level == SUM:
        yield from signed_terms(source.left)
        yield f"{source.operator} {source.right.at(PRODUCT)}"
    else:
        yield source.at(SUM)


def assigned(target: str, value: Source, width: int) -> list[str]:
    """The assignment as a line, or as lines of its own parts where it is longer than the width."""
    line = f"{target} = {value.text}"
    if len(line) <= width:
        return [line]
    if isinstance(value, Call) and is_simple(value.function):
        opening, whole = f"{target} = {value.function.text}(", ", ".join(value.items)
        many = [f"{item}," for item in value.items]
    else:
        opening, whole, many = f"{target} = (", value.text, list(signed_terms(value))
    body = [whole] if len(whole) + 8 <= WIDTH else many
    return [opening, *(f"    {part}" for part in body), ")"]
