"""Numbers of a person's own in TOML: W1, b1, ..., x and y, each of them or some."""

import difflib
import math
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from derive.system.command import content, decoded, one_line

LARGEST_NUMBERS = 2**26  # bytes
IGNORED = -100  # the class of a point that torch's cross_entropy ignores
LAYOUTS = "out x in", "in x out"  # of weights: as torch.nn.Linear stores them, and the other way


@dataclass(frozen=True)
class Given:
    """What a file gives: lists of rows, weights out x in however the file has them, biases as plain lists."""

    values: dict[str, list[Any]] = field(default_factory=dict)
    layout: str = LAYOUTS[0]


def given_numbers(
    path: Path, shapes: dict[str, tuple[int, ...]], inputs: int, outputs: int, classes: bool = False
) -> Given:
    """The numbers of a file, once each array is known to have the shape of that name.

    `layout = "in x out"` says that weights are stored so. x and y have one row a point; a point alone, or points of one
    number each, may stand without inner brackets, one number without any. With `classes`, y may be the numbers of
    classes, from 0; a point whose class is -100 is left out, as torch ignores it.
    Raises OSError, or ValueError with file, line and reason.
    """
    table, lines = table_of(path)
    known = [*shapes, "x", "y", "layout"]
    layout = table.pop("layout", LAYOUTS[0])
    if layout not in LAYOUTS:
        expected = " or ".join(map(repr, LAYOUTS))
        raise ValueError(f"{path}:{lines['layout']}: layout: expected {expected}, got {layout!r}")
    if not table:
        raise ValueError(f"{path}: no numbers; keys are {', '.join(known)}, as x = [[0.05, 0.1]]")
    values, ignored = {}, set()
    for name, value in sorted(table.items(), key=lambda item: item[0] == "y"):
        where = f"{path}:{lines.get(name, 1)}: {name}"
        if name not in known:
            raise ValueError(f"{one_line(where)}: no such array; {likely_meant(name, known)}known: {', '.join(known)}")
        width = {"x": inputs, "y": 1 if classes else outputs}.get(name) or math.prod(shapes[name])
        if width == 1 and isinstance(value, int | float) and not isinstance(value, bool):
            value = [value]
        if name in shapes:
            values[name] = weights_of(where, value, shapes[name], layout)
            continue
        alone = isinstance(value, list) and not any(isinstance(item, list) for item in value)
        one_point = isinstance(table.get("x"), list) and len(values.get("x", ())) == 1
        if name == "y" and classes and alone and not (one_point and len(value) == outputs):
            ignored = {row for row, item in enumerate(value) if item == IGNORED}
            value = one_hot(where, value, outputs)
        values[name] = points_of(where, value, inputs if name == "x" else outputs)
    leave_out_ignored(f"{path}:{lines.get('y', 1)}", values, ignored)
    return Given(values, layout)


def table_of(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """What a file says, and the line of each key."""
    text = decoded(path, content(path, LARGEST_NUMBERS)).replace("\r\n", "\n")
    lines: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if key := re.match(r"""\s*["']?(\w+)["']?\s*=""", line):
            if key[1] in lines:
                raise ValueError(f"{path}:{number}: {key[1]} stands twice, first in line {lines[key[1]]}")
            lines[key[1]] = number
    try:
        return tomllib.loads(text), lines
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"\(at line (\d+)", str(error))
        line = f":{place[1]}" if place else ""
        what = one_line(str(error).partition(" (at ")[0])
        raise ValueError(f"{path}{line}: {what}; numbers stand as x = [[0.05, 0.1]]") from None
    except (RecursionError, ValueError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else "a number of too many digits"
        raise ValueError(f"{path}: {reason}") from None


def likely_meant(name: str, known: list[str]) -> str:
    """What somebody may have meant."""
    near = [key for key in known if key.lower() == name.lower()] or difflib.get_close_matches(name, known, 1, 0.5)
    return f"did you mean {near[0]!r}? " if near else ""


def leave_out_ignored(where: str, values: dict[str, list[Any]], ignored: set[int]) -> None:
    """Raises ValueError where x and y are of different points; those that are ignored are left out."""
    rows = {name: len(values[name]) for name in ("x", "y") if name in values}
    if len(set(rows.values())) > 1:
        raise ValueError(f"{where}: y: {rows['y']} rows, but x has {rows['x']}")
    for name in rows if ignored else ():
        values[name] = [value for row, value in enumerate(values[name]) if row not in ignored]
        if not values[name]:
            raise ValueError(f"{where}: y: no points that are not ignored")


def weights_of(where: str, value: Any, shape: tuple[int, ...], layout: str) -> list[Any]:
    """A weight as rows out x in, a bias as a list."""
    if len(shape) == 1:
        flat = value
        if isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):
            flat = value[0]
        return numbers_of(where, flat, shape[0], f"({shape[0]},)", shape_of(value))
    stored = shape if layout == LAYOUTS[0] else shape[::-1]
    found = shape_of(value)
    if found != stored:
        hint = f"; layout = {LAYOUTS[1]!r} is for weights stored so" if found == stored[::-1] else ""
        raise ValueError(f"{where}: expected shape {stored}, got {found or shown(value)}{hint}")
    rows = [numbers_of(where, row, stored[1], str(stored), found) for row in value]
    return rows if layout == LAYOUTS[0] else [list(column) for column in zip(*rows, strict=True)]


def points_of(where: str, value: Any, width: int) -> list[list[float]]:
    """Rows of so many numbers, at least one."""
    if isinstance(value, list) and value and not any(isinstance(item, list) for item in value):
        value = [[item] for item in value] if width == 1 else [value]
    found, expected = shape_of(value), f"rows of {width} number{'s' * (width != 1)}"
    if len(found) != 2 or found[1] != width or not found[0]:
        hint = "; points are rows, not columns" if len(found) == 2 and found[0] == width else ""
        raise ValueError(
            f"{where}: expected {expected}, got {shown(value) if value == [] else found or shown(value)}{hint}"
        )
    return [numbers_of(where, row, width, expected, found) for row in value]


def one_hot(where: str, value: list[Any], outputs: int) -> list[list[int]]:
    """A row for each number of a class, of zeros for one to be ignored."""
    for item in value:
        if isinstance(item, bool) or not isinstance(item, int) or not (0 <= item < outputs or item == IGNORED):
            expected = f"rows of {outputs} numbers, or classes from 0 to {outputs - 1}"
            raise ValueError(f"{where}: expected {expected}, got {shown(item)}")
    return [[int(item == output) for output in range(outputs)] for item in value]


def shape_of(value: Any) -> tuple[int, ...]:
    """The shape of lists of one length in a list; empty where they are of several, or it is no list."""
    if not isinstance(value, list):
        return ()
    if not any(isinstance(item, list) for item in value):
        return (len(value),)
    lengths = {len(item) if isinstance(item, list) else -1 for item in value}
    return (len(value), lengths.pop()) if len(lengths) == 1 else ()


def numbers_of(where: str, value: Any, count: int, expected: str, found: tuple[int, ...]) -> list[float]:
    if not isinstance(value, list) or len(value) != count:
        raise ValueError(f"{where}: expected shape {expected}, got {found or shown(value)}")
    for item in value:
        if isinstance(item, bool) or not isinstance(item, int | float):
            raise ValueError(f"{where}: expected numbers, got {shown(item)}")
        if (isinstance(item, int) and abs(item) > 10**300) or not math.isfinite(item):
            raise ValueError(f"{where}: expected finite numbers, got {shown(item)}")
    return [float(item) for item in value]


def shown(value: Any) -> str:
    if isinstance(value, list):
        return "rows of different lengths" if value else "an empty list"
    text = repr(value)
    return one_line(text if len(text) <= 40 else f"{text[:37]}...")
