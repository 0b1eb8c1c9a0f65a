"""The two drawings of a derivation: the network's units, and the computation forward and backward.

Coordinates are in points, y upwards; pages.py draws them as SVG or in LaTeX's picture environment. Slopes of lines are
those that the latter knows: whole numbers up to 6 over 6.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from sympy import MatAdd, MatrixSymbol

from derive.calculus import of_parameters_alone, reachable
from derive.paper.latex import shape_latex, symbol_in_line
from derive.paper.prose import prose
from derive.problems import Network
from derive.programs import GREEK, Derivation, Notation, Program, Role, SymbolKind, greek

GAP, RADIUS, SLOTS, MOST_COLUMNS = 28, 8, 4, 7
SPACING, WIDE_SPACING, MOST_DRAWN = 64, 96, 11
SKIP_ABOVE, PLUS_ASIDE = 10, 7  # of arrows over layers, the space above them; beside their tip the sign
PLAINLY = {  # what stands before and behind what a symbol is made of
    Role.COTANGENT: ("\u2202L/\u2202", ""),
    Role.TANGENT: ("", "\u0307"),
    Role.DIFFERENTIAL: ("d", ""),
    Role.SLOPE: ("", "'"),
}
T = TypeVar("T")

SUBSCRIPTS = str.maketrans("0123456789", "\u2080\u2081\u2082\u2083\u2084\u2085\u2086\u2087\u2088\u2089")


@dataclass(frozen=True)
class Circle:
    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class Segment:
    """From one point to another, with a tip at the end if it is an arrow."""

    x1: float
    y1: float
    x2: float
    y2: float
    arrow: bool = False


@dataclass(frozen=True)
class Label:
    """A formula centred at a point, and the same in plain characters; `symbol` is the name of what it stands for.

    The text of a symbol is what stands before its letters, these letters, and its index.
    """

    x: float
    y: float
    tex: str
    text: str
    symbol: str = ""
    sign: tuple[str, str, str] = ("", "", "")


@dataclass(frozen=True)
class Curve:
    """A line through points."""

    points: tuple[tuple[float, float], ...]
    dashed: bool = False


@dataclass(frozen=True)
class MarkedPoint:
    """A point that is marked, a line through it, and what is said of it."""

    mark: Circle
    line: tuple[tuple[float, float], ...]
    text: str


Part = Circle | Segment | Label | Curve


@dataclass(frozen=True)
class Figure:
    """A drawing, and in words what it shows.

    Of its readings one is drawn, that `at` a place among them; where a page can be moved, a slider with a label goes
    through them all. Where it is of several panels of one height above one another, pages may break between them.
    """

    name: str
    caption: str
    width: float
    height: float
    parts: tuple[Part, ...]
    readings: tuple[MarkedPoint, ...] = ()
    at: int = 0
    slider: str = ""
    panels: int = 1

    @property
    def drawn(self) -> tuple[Part, ...]:
        reading = self.readings[self.at : self.at + 1]
        return (*self.parts, *(part for r in reading for part in (r.mark, Curve(r.line))))


def network_figure(network: Network, program: Program) -> Figure:
    """Units as circles, a layer a column; large layers and deep networks have their middle left out."""
    columns = abridged(list(range(network.depth + 1)), MOST_COLUMNS)
    top = SLOTS * GAP + 3 * GAP / 2
    middle = top - SLOTS * GAP / 2
    skips = [pair for pair in network.skip if set(pair) <= set(columns)]
    parts: list[Circle | Segment | Label] = []
    before: list[float] | None = None
    for place, layer in enumerate(columns):
        x = GAP * 1.5 + place * 3 * GAP
        if layer is None:
            parts.append(Label(x, middle, r"\cdots", "\u22ef"))
            before = None
            continue
        units, dots = positions(network.layers[layer], middle)
        parts += [Circle(x, y, RADIUS) for y in units]
        parts += [Label(x, y, r"\vdots", "\u22ee") for y in dots]
        parts += [Segment(*between(x - 3 * GAP, y1, x, y2)) for y1 in before or () for y2 in units]
        symbol = last_symbol(program, layer)
        parts += labels_of(program, symbol, x, GAP * 0.9)
        before = units
    for lift, ends in enumerate(skips):
        start, end = (GAP * 1.5 + columns.index(layer) * 3 * GAP for layer in ends)
        parts += [
            *arc(start + 5, end - 5, top, top + SKIP_ABOVE * (1 + lift)),
            plus_sign(end - 5 - PLUS_ASIDE, top + 5),
        ]
    sizes = "-".join(map(str, network.layers))
    dotted = any(isinstance(part, Label) and "dots" in part.tex for part in parts)
    sentences = [prose("figures.network", sizes=sizes)]
    sentences += skips_in_words(network)
    sentences += [prose("figures.below")] + [prose("figures.dots")] * dotted
    return Figure(
        "network",
        " ".join(sentences),
        GAP * 3 * len(columns),
        top + (SKIP_ABOVE * len(skips) + 4 if skips else 0),
        tuple(parts),
    )


def skips_in_words(network: Network) -> list[str]:
    sentences = {True: "figures.skip", False: "figures.skipping_inputs"}
    return [prose(sentences[start > 0], start=start, end=end) for start, end in network.skip]


def positions(size: int, middle: float) -> tuple[list[float], list[float]]:
    """Heights of a column's units, and of the dots that stand for the others."""
    slots = min(size, SLOTS)
    heights = [middle + GAP * ((slots - 1) / 2 - i) for i in range(slots)]
    return (heights, []) if size <= SLOTS else ([*heights[:2], heights[3]], [heights[2]])


def between(x1: float, y1: float, x2: float, y2: float) -> tuple[float, float, float, float]:
    """From the edge of one unit to the edge of another."""
    length = ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5
    dx, dy = RADIUS * (x2 - x1) / length, RADIUS * (y2 - y1) / length
    return x1 + dx, y1 + dy, x2 - dx, y2 - dy


def symbol_label(program: Program, symbol: MatrixSymbol, x: float, y: float) -> Label:
    sign = plain_sign(program.notation, symbol.name)
    return Label(x, y, symbol_in_line(program, symbol), "".join(sign), symbol.name, sign)


def labels_of(program: Program, symbol: MatrixSymbol, x: float, y: float) -> list[Label]:
    """A symbol and its shape below it."""
    shape = shape_latex(program, symbol)
    plain = shape_latex(program, symbol, "\u00d7")
    return [symbol_label(program, symbol, x, y), Label(x, y - 15, rf"\scriptstyle {shape}", plain)]


def characters(notation: Notation, name: str) -> str:
    """A symbol without markup."""
    return "".join(plain_sign(notation, name))


def plain_sign(notation: Notation, name: str) -> tuple[str, str, str]:
    """What stands before the letters of a symbol, these letters, and its index."""
    role, other = notation.role(name)
    if role is not None:
        front, behind = PLAINLY[role]
        before, letters, index = plain_sign(notation, other)
        return front + before, letters, index + behind
    stem, index = notation.stem(name)
    return "", greek(stem) if stem in GREEK else stem, index.translate(SUBSCRIPTS)


def last_symbol(program: Program, layer: int) -> MatrixSymbol:
    """What a layer hands on: its activation, or its pre-activation where it has none."""
    if layer == 0:
        return program.data[0]
    made, notation = [equation.target for equation in program.equations], program.notation
    own = [symbol for symbol in made if notation.layer(symbol.name) == layer]
    return [s for s in own if notation.kind(s.name) in (SymbolKind.PRE_ACTIVATION, SymbolKind.ACTIVATION)][-1]


def abridged(items: list[T], most: int) -> list[T | None]:
    """All of them, or the first and the last with None between."""
    return [*items] if len(items) <= most else [*items[: most // 2], None, *items[-(most - most // 2 - 1) :]]


def computation_figure(derivation: Derivation) -> Figure:
    """A column an equation: what is given above, values in a row, below them what the loss sends back, and gradients.

    Each use of a value by a forward equation is an arrow, and the loss comes back through the same arrows. What a
    backward equation takes from the forward pass is named beneath it.
    """
    program = derivation.program
    penalties = of_parameters_alone(program) if program.data else None
    hidden = {e.target for e in penalties.equations[:-1]} if penalties else set()
    start = program.data[:1] or program.parameters
    chain = [*start, *(e.target for e in program.equations if e.target not in hidden)]
    return Computation(derivation, abridged(chain, MOST_DRAWN)).figure()


class Computation:
    """Places the parts of the drawing."""

    def __init__(self, derivation: Derivation, columns: list[MatrixSymbol | None]) -> None:
        self.derivation, self.program, self.columns = derivation, derivation.program, columns
        crowded = any(self.parameters(v) and self.parameters(w) for v, w in pairwise(columns))
        step = WIDE_SPACING if crowded else SPACING
        self.gap = 26 if step == SPACING else 38  # beside a gradient, where arrows begin and end
        self.x = {value: step * (place + 0.5) for place, value in enumerate(columns)}
        self.width = step * len(columns)
        below = any(self.parameters(value) for value in columns)
        self.bottom = 12 if below else -28
        self.backward, self.forward, self.top = (self.bottom + above for above in (54, 110, 164))
        self.back = {e.variable: e for e in derivation.backward}
        self.moving = reachable(self.program, self.program.parameters)

    def figure(self) -> Figure:
        penalised = bool(self.program.data) and of_parameters_alone(self.program) is not None
        left_out = [prose("figures.middle")] * (None in self.columns)
        left_out += [prose("figures.penalties")] * penalised
        pairs = [pair for pair in pairwise(self.columns) if None not in pair]
        left_out += [prose("figures.plus")] * any(self.also_added(*pair) for pair in pairs)
        return Figure(
            "computation",
            " ".join([prose("figures.computation"), *left_out]),
            self.width,
            self.top + 12,
            tuple(part for value in self.columns for part in self.column(value)),
        )

    def column(self, value: MatrixSymbol | None) -> Iterator[Circle | Segment | Label]:
        x = self.x[value]
        if value is None:
            yield from (Label(x, y, r"\cdots", "\u22ef") for y in (self.forward, self.backward))
            return
        yield from labels_of(self.program, value, x, self.forward)
        yield from self.uses(value)
        if value == self.program.output:
            yield Label(x, self.backward, "1", "1")
            yield Segment(x, self.forward - 24, x, self.backward + 9, arrow=True)
        elif value in self.moving:
            yield from self.sent_back(value, x, self.backward)
        for side, parameter in zip((-1, 1), self.parameters(value), strict=False):
            yield Segment(x + 8 * side, self.backward - 20, x + 20 * side, self.bottom + 10, arrow=True)
            yield from self.sent_back(parameter, x + 26 * side, self.bottom)

    def uses(self, value: MatrixSymbol) -> Iterator[Segment | Label]:
        """Arrows from what a value is computed from, and back to what depends on a parameter."""
        x = self.x[value]
        given = [s for s in self.operands(value) if s in self.program.inputs and s not in self.columns]
        side = self.side(value)
        for place, symbol in enumerate(given):
            below = x + 6 * side if side else x + 26 * (place - (len(given) - 1) / 2)
            above = below + 12 * side * (1 + 2 * (place if side > 0 else len(given) - 1 - place))
            yield symbol_label(self.program, symbol, above, self.top)
            yield Segment(above, self.top - 9, below, self.forward + 9, arrow=True)
        for symbol in self.operands(value):
            start = self.columns.index(symbol) if symbol in self.x else None
            between = self.columns[start : self.columns.index(value)]
            if start is not None and None not in between:  # no arrow goes over what is left out
                columns = len(between)
                lift = 4 * (self.columns.index(symbol) % 2)  # for those that would lie on one another
                yield from path(self.x[symbol], x, self.forward, columns, 12, lift)
                back = symbol in self.moving and value in self.moving
                if back:
                    yield from path(x, self.x[symbol], self.backward, columns, self.gap, lift)
                if columns == 1 and self.also_added(symbol, value):
                    yield from over_path(self.x[symbol], x, self.forward, columns, lift)
                    yield plus_sign((self.x[symbol] + x) / 2, self.forward + 19 + lift)
                    if back:
                        yield from over_path(x, self.x[symbol], self.backward, columns, lift)

    def side(self, value: MatrixSymbol) -> int:
        """On which side what is given comes in: not where an arrow leaves over the next column, or comes from there."""
        place = self.columns.index(value)
        leaves = any(value in self.operands(other) for other in self.columns[place + 2 :])
        arrives = any(other in self.operands(value) for other in self.columns[: max(place - 1, 0)] if other)
        before = self.columns[place - 1] if place else None
        return -1 if leaves else int(arrives or (before is not None and self.also_added(before, value)))

    def also_added(self, symbol: MatrixSymbol, value: MatrixSymbol) -> bool:
        """Whether a value has the symbol in a product and, as it is, as a term."""
        equation = self.derivation.steps.get(value)
        terms = MatAdd.make_args(equation.value) if equation else ()
        return symbol in terms and sum(term.has(symbol) for term in terms) > 1

    def sent_back(self, symbol: MatrixSymbol, x: float, y: float) -> Iterator[Label]:
        """The gradient in a symbol, and beneath it what its equation takes from the forward pass."""
        step, sent = self.back.get(symbol), {e.target for e in self.back.values()}
        yield symbol_label(self.program, step.target if step else self.program.notation.cotangent(symbol), x, y)
        taken = [use for use in step.uses if use not in sent] if step else []
        if taken:
            tex = ", ".join(symbol_in_line(self.program, use) for use in taken)
            plain = ", ".join(characters(self.program.notation, use.name) for use in taken)
            yield Label(x, y - 13, rf"\scriptstyle \mathrm{{with}}\ {tex}", f"with {plain}")

    def operands(self, value: MatrixSymbol | None) -> tuple[MatrixSymbol, ...]:
        return self.derivation.steps[value].uses if value in self.derivation.steps else ()

    def parameters(self, value: MatrixSymbol | None) -> list[MatrixSymbol]:
        return [s for s in self.operands(value) if s in self.program.parameters and s not in self.columns]


def path(start: float, end: float, y: float, columns: int, gap: float, lift: float) -> Iterator[Segment]:
    """An arrow to the next column, or over what lies between, the higher the further."""
    if columns == 1:
        inset = gap if end > start else -gap
        yield Segment(start + inset, y, end - inset, y, arrow=True)
    else:
        yield from over_path(start, end, y, columns, lift)


def over_path(start: float, end: float, y: float, columns: int, lift: float) -> Iterator[Segment]:
    beside = 2 + 2 * columns if end > start else -2 - 2 * columns
    yield from arc(start + beside, end - beside, y + 8, y + 10 + 3 * columns + lift)


def arc(start: float, end: float, y: float, over: float) -> Iterator[Segment]:
    """An arrow up, over what lies between, and down."""
    yield Segment(start, y, start, over)
    yield Segment(start, over, end, over)
    yield Segment(end, over, end, y, arrow=True)


def plus_sign(x: float, y: float) -> Label:
    return Label(x, y, r"\scriptstyle +", "+")
