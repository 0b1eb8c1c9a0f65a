"""One point through a small network in pictures: its values forwards, its errors backwards, and a step downhill."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial

from numpy import ndarray
from sympy import MatrixSymbol

from derive.calculus import derive
from derive.operations import evaluate
from derive.paper.blocks import Block, Paragraph, Picture, Section
from derive.paper.figures import Circle, Figure, Label, Segment, last_symbol, symbol_label
from derive.paper.prose import prose
from derive.paper.worked import SHOWN_AS_DRAWN, Drawn, Shown, decimal_text, inputs_shown
from derive.problems import Network
from derive.programs import Derivation, Program, SymbolKind
from derive.reading import forward

# between layers; radius of a unit; half of a number's width; at both sides
APART, UNIT_RADIUS, LABEL, EDGE = 164, 21, 19, 25
HEADING, ABOVE, LEAST_DECIMAL = 46, 26, 2e-3
FORWARD, AFTER = ("forward_tex", "forward_text"), ("after_tex", "after_text")  # headings
MOST_UNITS, MOST_COLUMNS_OF_UNITS = 3, 4  # that can be drawn with all their numbers
STEPS = (1, 0.5, 0.1, 0.01, 0.001)  # of descent, of which the best is taken
NUMBER_HEIGHT, ENOUGH = 10.0, 14.0  # of a number on an edge; and room beside it, beyond which more is no better
PLACES = sorted((t / 50 for t in range(14, 36)), key=lambda t: abs(t - 0.32))  # on an edge, where its number may stand
TARGET_ASIDE = 46  # of the last units


@dataclass(frozen=True)
class PanelNumbers:
    """What a panel shows: its heading, each layer's numbers in, above and below the units, and those on its edges."""

    heading: tuple[str, str]
    inside: list[ndarray]
    above: list[ndarray | None]
    below: list[ndarray | None]
    edges: list[ndarray]
    targets: ndarray | None = None
    backward: bool = False


def pictured_sections(network: Network, shown: Shown = SHOWN_AS_DRAWN) -> list[Section]:
    """The section with the picture; none where a number of it is not finite, or an error has no name."""
    small = drawn_network(network)
    picture = Picturing(small, shown if small == network else SHOWN_AS_DRAWN).figure()
    if picture is None:
        return []
    like = "" if small == network else prose("pictured.like", sizes="-".join(map(str, small.layers)))
    like += f" {prose('pictured.without_skips')}" if network.skip and not small.skip else ""
    blocks: tuple[Block, ...] = (Paragraph(f"{prose('pictured.note')} {like}".strip()), Picture(picture))
    return [Section("One point in a picture", "picture", blocks)]


def drawn_network(network: Network) -> Network:
    """The network itself where it is small, else one like it with one hidden layer at most."""
    if max(network.layers) <= MOST_UNITS and len(network.layers) <= MOST_COLUMNS_OF_UNITS:
        return network
    first, *hidden, last = network.layers
    layers = (min(first, 2), *(min(width, MOST_UNITS) for width in hidden[:1]), min(last, 2))
    return replace(network, layers=layers, activation=network.activation_of(1) if hidden else "identity", skip=())


class Picturing:
    """Computes the numbers of one point, and places them."""

    def __init__(self, network: Network, shown: Shown) -> None:
        self.network = network
        self.derivation: Derivation = derive(forward(network))
        self.program: Program = self.derivation.program
        self.inputs = self.first_point(shown)
        self.layers = range(1, network.depth + 1)
        self.tallest = max(network.layers)
        self.width = APART * network.depth + 2 * EDGE + TARGET_ASIDE
        self.height = HEADING + (self.tallest - 1) * APART / 2 + 2 * (UNIT_RADIUS + ABOVE)

    def first_point(self, shown: Shown) -> Drawn:
        inputs = inputs_shown(self.program, self.network, shown.own)
        return {s: value[:1] if s in self.program.data else value for s, value in inputs.items()}

    @cached_property
    def entering(self) -> list[MatrixSymbol]:
        """What enters each layer's units."""
        kind = self.program.notation.kind
        return [e.target for e in self.program.equations if kind(e.target.name) is SymbolKind.PRE_ACTIVATION]

    def figure(self) -> Figure | None:
        """The panels above one another; None where a number is not finite or an error has no name."""
        try:
            values = evaluate(self.derivation.equations, self.inputs)
        except ValueError:
            return None
        if any(delta not in values for delta in self.errors()):
            return None
        before = values[self.program.output].item()
        panels = [self.ahead(values, before, FORWARD), self.back(values)]
        after = {step: self.after(values, step) for step in STEPS}
        losses = {step: new[self.program.output].item() for step, new in after.items() if new}
        best = min(losses, key=lambda step: losses[step], default=None)
        if best is not None and losses[best] < before and (new := after[best]):
            panels.append(self.ahead(new, losses[best], AFTER, best))
        parts = [
            part for place, panel in enumerate(reversed(panels)) for part in self.panel(panel, place * self.height)
        ]
        caption = [prose("pictured.forward"), prose("pictured.backward")]
        caption += [prose("pictured.penalty")] * bool(self.network.penalty)
        caption += [prose("pictured.skips", start=start, end=end) for start, end in self.network.skip]
        caption += [prose("pictured.after")] * (len(panels) > 2)
        height = self.height * len(panels)
        return Figure("numbers", " ".join(caption), self.width, height, tuple(parts), panels=len(panels))

    def after(self, values: Drawn, step: float) -> Drawn | None:
        gradients = self.derivation.gradients
        moved = {s: values[s] - step * values[g] for s, g in gradients.items()}
        try:
            return evaluate(self.program.equations, {**self.inputs, **moved})
        except ValueError:
            return None

    def ahead(self, values: Drawn, loss: float, heading: tuple[str, str], step: float | None = None) -> PanelNumbers:
        handed = [values[last_symbol(self.program, layer)][0] for layer in (0, *self.layers)]
        biases = {self.program.notation.layer(b.name): values[b].reshape(-1) for b in self.program.biases}
        pre = [values[Z][0] for Z in self.entering]
        has_own = [last_symbol(self.program, layer) not in self.entering for layer in self.layers]
        return PanelNumbers(
            (
                prose(f"pictured.{heading[0]}", step=step, loss=f"{loss:.4g}"),
                prose(f"pictured.{heading[1]}", step=step, loss=f"{loss:.4g}"),
            ),
            handed,
            [None, *(z if own else None for z, own in zip(pre, has_own, strict=True))],
            [None, *(biases.get(layer) for layer in self.layers)],
            [values[W] for W in self.program.weights],
            values[self.program.data[1]][0],
        )

    def errors(self) -> list[MatrixSymbol]:
        return [self.program.notation.cotangent(Z) for Z in self.entering]

    def back(self, values: Drawn) -> PanelNumbers:
        handed = [last_symbol(self.program, layer) for layer in self.layers]
        sent = {e.variable: e.target for e in self.derivation.backward}
        above = [None if A in self.entering or A not in sent else values[sent[A]][0] for A in handed]
        deltas = [values[delta][0] for delta in self.errors()]
        return PanelNumbers(
            (prose("pictured.backward_tex"), prose("pictured.backward_text")),
            [values[self.program.data[0]][0], *deltas],
            [None, *above],
            [None] * (self.network.depth + 1),
            [values[self.derivation.gradients[W]] for W in self.program.weights],
            backward=True,
        )

    def place(self, layer: int, unit: int, units: int) -> tuple[float, float]:
        """The centre of a unit."""
        middle = (self.tallest - 1) * APART / 4 + UNIT_RADIUS + ABOVE
        return EDGE + APART * layer, middle + APART / 2 * ((units - 1) / 2 - unit)

    def panel(self, shown: PanelNumbers, base: float) -> Iterator[Circle | Segment | Label]:
        yield Label(self.width / 2, base + self.height - 12, *shown.heading)
        for layer, inside in enumerate(shown.inside):
            symbol = last_symbol(self.program, layer)
            if shown.backward and layer:
                symbol = self.errors()[layer - 1]
            for unit, value in enumerate(inside):
                x, y = self.place(layer, unit, len(inside))
                if unit == 0:
                    beside = shown.above[layer] is not None
                    yield symbol_label(self.program, symbol, x, base + y + UNIT_RADIUS + (22 if beside else 11))
                yield Circle(x, base + y, UNIT_RADIUS)
                yield small_label(x, base + y, value)
                for column, up in ((shown.above[layer], 1), (shown.below[layer], -1)):
                    if column is not None:
                        yield small_label(x, base + y + up * (UNIT_RADIUS + 8), column[unit])
        for layer, weights in enumerate(shown.edges):
            starts, ends = (
                [self.place(at, unit, units) for unit in range(units)]
                for at, units in zip((layer, layer + 1), reversed(weights.shape), strict=True)
            )
            places = free_places([(start, end) for end in ends for start in starts])
            for (start, end), at, value in zip(places, places.values(), weights.ravel(), strict=True):
                yield from edge((start[0], base + start[1]), (end[0], base + end[1]), at, value, shown.backward)
        for unit, value in enumerate(() if shown.targets is None else shown.targets):
            x, y = self.place(self.network.depth, unit, len(shown.inside[-1]))
            if unit == 0:
                yield symbol_label(self.program, self.program.data[1], x + TARGET_ASIDE, base + y + UNIT_RADIUS + 11)
            yield small_label(x + TARGET_ASIDE, base + y, value)


Spot = tuple[float, float]


def free_places(lines: list[tuple[Spot, Spot]]) -> dict[tuple[Spot, Spot], float]:
    """Where on each line its number stands, as a share of the way: as far from other lines and numbers as it can."""
    found: dict[tuple[Spot, Spot], float] = {}

    def room(line: tuple[Spot, Spot], at: float) -> float:
        x, y = on_line(line, at)
        beside = [ENOUGH]
        for other in lines:
            (x1, y1), (x2, y2) = other
            ends = [y1 + (y2 - y1) * (x + aside - x1) / (x2 - x1) - y for aside in (-LABEL, LABEL)]
            beside += [0.0 if ends[0] * ends[1] < 0 else min(map(abs, ends))] * (other != line)
        for other, place in found.items():
            dx, dy = (abs(one - two) for one, two in zip(on_line(other, place), (x, y), strict=True))
            beside.append(max(dx - 2 * LABEL, dy - NUMBER_HEIGHT))
        return min(beside)

    for line in lines:
        found[line] = max(PLACES, key=partial(room, line))
    return found


def on_line(line: tuple[Spot, Spot], at: float) -> Spot:
    (x1, y1), (x2, y2) = line
    return x1 + (x2 - x1) * at, y1 + (y2 - y1) * at


def edge(
    start: tuple[float, float], end: tuple[float, float], at: float, value: float, backward: bool
) -> Iterator[Segment | Label]:
    """A line from unit to unit that leaves room for its number."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    rim = UNIT_RADIUS / (dx**2 + dy**2) ** 0.5
    room = min(LABEL / abs(dx), 7 / abs(dy) if dy else 1)
    x = [start[0] + dx * t for t in (rim, at - room, at + room, 1 - rim)]
    y = [start[1] + dy * t for t in (rim, at - room, at + room, 1 - rim)]
    yield small_label(start[0] + dx * at, start[1] + dy * at, value)
    if backward:
        yield Segment(x[1], y[1], x[0], y[0], arrow=True)
        yield Segment(x[3], y[3], x[2], y[2])
    else:
        yield Segment(x[0], y[0], x[1], y[1])
        yield Segment(x[2], y[2], x[3], y[3], arrow=True)


def small_label(x: float, y: float, value: float) -> Label:
    text = short_decimal(value)
    tex = text.replace("e", r"\mathrm{e}")
    return Label(x, y, rf"\scriptstyle {tex}", text.replace("-", "\u2212"))


def short_decimal(value: float) -> str:
    """Four decimals at most, or where they would be zeros two digits and the power of ten."""
    if 0 < abs(value) < LEAST_DECIMAL:
        return f"{value:.1e}".replace("e-0", "e-")
    return decimal_text(value).rstrip("0").rstrip(".")
