"""What a document is made of, whatever its format, and equations as parts of it.

Text may hold formulas in $...$, code in `...` and emphasis in *...*.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from derive.calculus import operation
from derive.paper.breaking import broken, width
from derive.paper.figures import Figure
from derive.paper.latex import latex, shape_latex, symbol_in_line
from derive.paper.prose import prose
from derive.programs import Equation, Program, SymbolKind

WIDEST_LINE, WIDEST_ROW, WIDEST_CHANGE = 56, 56, 36


@dataclass(frozen=True)
class Paragraph:
    text: str


@dataclass(frozen=True)
class Bullets:
    items: tuple[str, ...]


@dataclass(frozen=True)
class Display:
    """A formula in a line of its own."""

    tex: str


@dataclass(frozen=True)
class Boxed:
    """A result."""

    tex: str


@dataclass(frozen=True)
class Broken:
    """left = a long formula in lines, each with its indent."""

    left: str
    lines: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class Row:
    """left = right, why, and its shape; no left where it goes on from the row above, no sign inside a formula."""

    left: str
    right: str
    reason: str
    shape: str
    sign: str = "="


@dataclass(frozen=True)
class Chain:
    """Equations under one another: equation, rule, shape."""

    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Values(Chain):
    """Symbols with their numbers beside one another, as many as fit on a line."""


@dataclass(frozen=True)
class Listing:
    text: str


@dataclass(frozen=True)
class Table:
    """`widths` are the columns' shares of the page."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    widths: tuple[float, ...]


@dataclass(frozen=True)
class Picture:
    figure: Figure


Block = Paragraph | Bullets | Display | Boxed | Broken | Chain | Values | Listing | Table | Picture


@dataclass(frozen=True)
class Section:
    """A heading and what follows it; `level` 2 is a section, 3 a part of one; a step is one to go through.

    `others` are the steps that are in it beside the one that it is named after.
    """

    title: str
    anchor: str
    blocks: tuple[Block, ...]
    level: int = 2
    step: bool = False
    others: tuple[str, ...] = ()


def broken_rows(left: str, right: str, reason: str, shape: str) -> list[Row]:
    """One row, or several for a formula that is too wide for one."""
    (_, first), *others = broken(right, WIDEST_ROW)
    rows = [Row("", r"\quad " * (indent + 1) + line, "", "", sign="") for indent, line in others]
    return [Row(left, first, reason, shape), *rows]


def equation_rows(program: Program, equation: Equation, reason: str, flat: bool = False) -> list[Row]:
    """The rows of an equation; `flat` with its left side on one line, where rows are to be low."""
    left = (symbol_in_line if flat else latex)(program, equation.target)
    shape = shape_latex(program, equation.target)
    return broken_rows(left, latex(program, equation.value), reason, shape)


def reason_beside(equation: Equation) -> str:
    """The reason beside an equation: its rule, or of an expression the operation."""
    return (equation.rule == "definition" and operation(equation.value)) or equation.rule


def summary(program: Program, equations: Iterable[Equation]) -> Chain:
    """Equations one under the other, each with what it is or why it holds."""

    def reason(e: Equation) -> str:
        if e.through and program.notation.kind(e.through.target.name) is SymbolKind.LOSSES:
            return prose("passes.slope_of_loss")
        return reason_beside(e) if e.through or e.meaning == e.target.name else e.meaning

    return Chain(tuple(row for e in equations for row in equation_rows(program, e, reason(e))))


def boxed(program: Program, *equations: Equation) -> Block:
    """The results side by side in a box, or under one another where they are too wide for it."""
    sides = [(latex(program, e.target), latex(program, e.value)) for e in equations]
    if sum(width(left) + width(right) for left, right in sides) <= WIDEST_LINE:
        return Boxed(r" \qquad ".join(f"{left} = {right}" for left, right in sides))
    return Chain(tuple(row for left, right in sides for row in broken_rows(left, right, "", "")))


def enumerated(parts: list[str], word: str) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} {word} {parts[-1]}"
