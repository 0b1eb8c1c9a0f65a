"""The two drawings of a derivation: the network's units, and the computation forward and backward.

Coordinates are in points, y upwards; pages.py draws them as SVG or in LaTeX's picture environment. Slopes of lines are
those that the latter knows: whole numbers up to 6 over 6.
"""

import re
from dataclasses import dataclass

from sympy import MatrixSymbol

from derive.paper.breaking import inline
from derive.paper.latex import latex, shape_latex
from derive.problems import Network
from derive.programs import Derivation, Notation, Program, Role, greek

GAP, RADIUS, SLOTS, MOST_COLUMNS = 28, 8, 4, 7
STEP, MOST_NODES = 56, 9
PLAINLY = {Role.COTANGENT: "\u2202L/\u2202{0}", Role.TANGENT: "{0}\u0307", Role.DIFFERENTIAL: "d{0}"}
SUBSCRIPTS = str.maketrans("0123456789", "\u2080\u2081\u2082\u2083\u2084\u2085\u2086\u2087\u2088\u2089")


@dataclass(frozen=True)
class Circle:
    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class Line:
    """From one point to another, with a tip at the end if it is an arrow."""

    x1: float
    y1: float
    x2: float
    y2: float
    arrow: bool = False


@dataclass(frozen=True)
class Label:
    """A formula centred at a point, and the same in plain characters; `symbol` is the name of what it stands for."""

    x: float
    y: float
    tex: str
    text: str
    symbol: str = ""


@dataclass(frozen=True)
class Figure:
    """A drawing, and in words what it shows."""

    name: str
    caption: str
    width: float
    height: float
    parts: tuple[Circle | Line | Label, ...]


def network_figure(network: Network, program: Program) -> Figure:
    """Units as circles, a layer a column; large layers and deep networks have their middle left out."""
    columns = shown(list(range(network.depth + 1)), MOST_COLUMNS)
    height = SLOTS * GAP + 3 * GAP / 2
    middle = height - SLOTS * GAP / 2
    parts: list[Circle | Line | Label] = []
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
        parts += [Line(*between(x - 3 * GAP, y1, x, y2)) for y1 in before or () for y2 in units]
        symbol = last_symbol(program, layer)
        parts += named(program, symbol, x, GAP * 0.9)
        before = units
    sizes = "-".join(map(str, network.layers))
    return Figure(
        "network",
        f"The network {sizes}: every unit feeds every unit of the next layer. Below each layer, what it holds for all "
        "points, and its shape; middles of large layers are left out.",
        GAP * 3 * len(columns),
        height,
        tuple(parts),
    )


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
    return Label(x, y, inline(latex(program, symbol)), characters(program.notation, symbol.name), symbol.name)


def named(program: Program, symbol: MatrixSymbol, x: float, y: float) -> list[Label]:
    """A symbol and its shape below it."""
    shape = shape_latex(program, symbol)
    plain = shape.replace(r"\times", "\u00d7").replace(" ", "")
    return [symbol_label(program, symbol, x, y), Label(x, y - 15, rf"\scriptstyle {shape}", plain)]


def characters(notation: Notation, name: str) -> str:
    """A symbol without markup."""
    role, other = notation.role(name)
    if role is not None:
        return PLAINLY[role].format(characters(notation, other))
    letters, index = notation.sign(name)
    word = re.fullmatch(r"\\mathrm\{(.*)\}", letters)
    if word:
        letters = word[1].replace(r"\_", "_")
    elif letters.startswith("\\"):
        letters = greek(letters[1:])
    return letters + index.translate(SUBSCRIPTS)


def last_symbol(program: Program, layer: int) -> MatrixSymbol:
    """What a layer hands on: its activation, or its pre-activation where it has none."""
    if layer == 0:
        return program.inputs[0]
    targets = {e.target.name: e.target for e in program.equations}
    return targets.get(f"A{layer}", targets[f"Z{layer}"])


def shown(items: list, most: int) -> list:
    """All of them, or the first and the last with None between."""
    return items if len(items) <= most else [*items[: most // 2], None, *items[-(most - most // 2 - 1) :]]


def computation_figure(derivation: Derivation) -> Figure:
    """A column an equation: parameters above, values in the middle, what the loss sends back below."""
    program = derivation.program
    back = {e.variable: e.target for e in derivation.backward}
    chain = [program.inputs[0], *(e.target for e in program.equations)]
    parameters = {e.target: [s for s in e.uses if s in program.parameters] for e in program.equations}
    top, forward, backward, bottom = 158, 108, 52, 8
    parts: list[Circle | Line | Label] = []
    before = None
    columns = shown(chain, MOST_NODES)
    for place, value in enumerate(columns):
        x = STEP * (place + 0.5)
        if value is None:
            parts += [Label(x, y, r"\cdots", "\u22ef") for y in (forward, backward)]
            before = None
            continue
        parts += named(program, value, x, forward)
        if place:
            parts.append(Line(x - STEP + 12, forward, x - 12, forward, arrow=True))
        if value in back:
            parts.append(symbol_label(program, back[value], x, backward))
            if before in back:
                start, end = (22 if program.notation.role(back[v].name)[0] else 9 for v in (value, before))
                parts.append(Line(x - start, backward, x - STEP + end, backward, arrow=True))
        for side, parameter in zip((-1, 1), parameters.get(value, ()), strict=False):
            parts.append(symbol_label(program, parameter, x + 9 * side, top))
            parts.append(Line(x + 9 * side, top - 9, x + 9 * side, forward + 9, arrow=True))
            parts.append(Line(x + 9 * side, backward - 9, x + 9 * side, bottom + 10, arrow=True))
            parts.append(symbol_label(program, back[parameter], x + 22 * side, bottom))
        before = value
    return Figure(
        "computation",
        "The computation. Middle row: the forward pass, left to right, with parameters from above. Lower row: the "
        "errors, right to left; below them the gradients.",
        STEP * len(columns),
        top + 12,
        tuple(parts),
    )
