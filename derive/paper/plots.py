"""Curves over axes, as figures of the same parts as all others, with readings that a slider goes through."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from derive.paper.figures import Circle, Curve, Figure, Label, MarkedPoint, Segment

PLOT_WIDTH, PLOT_HEIGHT, LEFT, RIGHT, BELOW, OVER_PLOT, DOT = 350, 210, 46, 12, 34, 16, 3
TICK, MOST_TICKS = 4, 6
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Touching:
    """A point of a curve with its slope there, and what a slider says of it."""

    x: float
    y: float
    slope: float
    text: str


def plot(
    name: str,
    caption: str,
    axes: Sequence[tuple[str, str]],
    curves: Sequence[Points],
    touching: Sequence[Touching] = (),
    at: int = 0,
    slider: str = "",
    names: Sequence[tuple[str, float, float]] = (),
) -> Figure:
    """Curves, all but the first dashed; of what touches the first, the tangent at a place is drawn.

    The axes have names in TeX and in plain characters.
    `names` are written above the curves, each near an x of its own and so far to the right of it.
    """
    xs, ys = ([point[axis] for curve in curves for point in curve] for axis in (0, 1))
    (x0, x1), (y0, y1) = (bounds(values) for values in (xs, ys))

    def placed(x: float, y: float) -> tuple[float, float]:
        return (
            LEFT + (x - x0) / (x1 - x0) * (PLOT_WIDTH - LEFT - RIGHT),
            BELOW + (y - y0) / (y1 - y0) * (PLOT_HEIGHT - BELOW - OVER_PLOT),
        )

    parts: list[Circle | Segment | Label | Curve] = [
        Segment(LEFT, BELOW, PLOT_WIDTH - RIGHT, BELOW),
        Segment(LEFT, BELOW, LEFT, PLOT_HEIGHT - OVER_PLOT),
        Label((LEFT + PLOT_WIDTH - RIGHT) / 2, 6, *axes[0]),
        Label(LEFT, PLOT_HEIGHT - 6, *axes[1]),
    ]
    for tick in ticks(x0, x1):
        x, _ = placed(tick, y0)
        parts += [Segment(x, BELOW, x, BELOW - TICK), Label(x, BELOW - 12, *numbered(tick))]
    for tick in ticks(y0, y1):
        _, y = placed(x0, tick)
        parts += [Segment(LEFT - TICK, y, LEFT, y), Label(LEFT - 22, y, *numbered(tick))]
    parts += [Curve(tuple(placed(*point) for point in curve), dashed=index > 0) for index, curve in enumerate(curves)]
    for (text, near, aside), curve in zip(names, curves, strict=False):
        x, y = placed(*min(curve, key=lambda point: abs(point[0] - near)))
        parts.append(Label(x + aside, y + 9, rf"\scriptstyle \text{{{text}}}", text))

    def reach(touch: Touching) -> tuple[float, float]:
        """How far the tangent goes to both sides: not beyond the axes."""
        half = (x1 - x0) / 6
        rooms = ((y1 - touch.y) / abs(touch.slope), (touch.y - y0) / abs(touch.slope)) if touch.slope else (half, half)
        down, up = (min(half, room) for room in (rooms if touch.slope < 0 else rooms[::-1]))
        return max(-down, x0 - touch.x), min(up, x1 - touch.x)

    readings = tuple(
        MarkedPoint(
            Circle(*placed(touch.x, touch.y), DOT),
            tuple(placed(touch.x + move, touch.y + move * touch.slope) for move in reach(touch)),
            touch.text,
        )
        for touch in touching
    )
    return Figure(name, caption, PLOT_WIDTH, PLOT_HEIGHT, tuple(parts), readings, at, slider)


def bounds(values: Sequence[float]) -> tuple[float, float]:
    """The ends of an axis, a little beyond what is on it."""
    low, high = min(values), max(values)
    room = (high - low) / 20 or abs(high) or 1
    return low - room, high + room


def ticks(low: float, high: float) -> list[float]:
    """Round numbers between the two."""
    step = 10.0 ** math.floor(math.log10((high - low) / MOST_TICKS))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (factor * step) <= MOST_TICKS)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [round(count * step, 12) for count in range(first, last + 1)]


def numbered(tick: float) -> tuple[str, str]:
    """What stands at a tick, in TeX and in plain characters."""
    text = f"{tick:g}"
    return rf"\scriptstyle {text}", text.replace("-", "\u2212")
