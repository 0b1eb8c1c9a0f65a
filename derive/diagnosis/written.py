"""Gradients as people write them down: arrays behind headers, and what one unit of the last digit is in each number.

Read are brackets and `tensor(...)`, commas or blanks between numbers, rows without brackets, headers in any order and
of many forms: dLdw3, dL/dW3, W3.grad, fc3.weight, First hidden layer w. Nothing that a file holds is run.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy
from numpy import ndarray

from derive.system import content, decoded

MOST_BYTES = 2**26  # bytes
NUMBER = r"[-+]?(?:inf|nan|(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?![\w.])"
_TOKEN = re.compile(rf"\s+|[\[\],;]|{NUMBER}")
_ROW = re.compile(rf"\s*(?:{NUMBER}[\s,;]*)+", re.ASCII)
_ALONE = re.compile(rf"(?P<header>.*\w.*?)[=:]\s*(?P<number>{NUMBER})[\s,;]*", re.ASCII)
_WRAPPERS = re.compile(r"(?:\b(?:numpy|np|torch|jnp)\.)?\b(?:array|[tT]ensor|Parameter|matrix|float32|float64)\(")
_OPTIONS = re.compile(
    r",?\s*\b(?:dtype|device|requires_grad|grad_fn|size)\s*=\s*(?:<[^>]*>|'[^']*'|\"[^\"]*\"|[\w.]+(?:\([^)]*\))?)"
)
_ARRAY = re.compile(r"(?<![\w^{])\[(?=[\[\s]*(?:[-+.\d\]in]|$))|(?<=\w)\[(?=[\[\s]*[-+]?\d*[.\s,\[])")
_ORDINALS = {"first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5}
MOST_FLOAT32 = 9  # significant digits that numbers of float32 have at most
ParameterPlace = tuple[str, int | str]  # w or b, and the number of the layer, or "last", or "only"


@dataclass(frozen=True)
class Written:
    """Numbers as they stand in a file: their header and its line, and one unit of the last digit of each."""

    header: str
    line: int
    values: ndarray
    units: ndarray
    decimals: int
    significant: int


def written_arrays(path: Path) -> list[Written]:
    """The arrays of a file.

    Raises OSError, or ValueError with file, line and reason.
    """
    text = decoded(path, content(path, MOST_BYTES))
    try:
        return with_decimals(list(arrays(text)))
    except Misread as error:
        raise ValueError(f"{path}:{error.line}: {error}") from None


def with_decimals(arrays: list[Written]) -> list[Written]:
    """With the file's decimals where an array shows fewer than three: 0.5 and 0. stand for all digits that others have.

    Where 0.0187 stands beside 0.001234, each may have four digits. Whole numbers alone are exact.
    """
    most = max((array.decimals for array in arrays), default=0)
    if not most:
        return [replace(one, units=numpy.zeros_like(one.units)) for one in arrays]
    digits = max(array.significant for array in arrays)
    return [
        replace(one, units=numpy.maximum(one.units, last_of(one.significant, one.values)))
        if one.decimals >= min(3, most)
        else replace(one, units=numpy.maximum(numpy.minimum(one.units, 10.0**-most), last_of(digits, one.values)))
        for one in arrays
    ]


def last_of(digits: int, values: ndarray) -> ndarray:
    """One unit of the last of so many significant digits of each number."""
    with numpy.errstate(divide="ignore"):
        place = numpy.floor(numpy.log10(abs(values))) + 1 - digits
    return numpy.where(numpy.isfinite(place), 10.0**place, 0.0)


class Misread(ValueError):
    """A line and what is wrong there."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


def arrays(text: str) -> Iterator[Written]:
    """The arrays of a text, each with what stands before it.

    Raises Misread.
    """
    header, started, depth = "", 1, 0
    tokens: list[str] = []
    rows: list[list[str]] = []
    for number, line in enumerate([*without_wrappers(text).split("\n"), None], 1):
        if depth == 0 and rows and (line is None or not _ROW.fullmatch(line)):
            yield array(header, started, rows if len(rows) > 1 else rows[0])
            header, rows = "", []
        if line is None:
            break
        while line.strip():
            if depth == 0:
                if _ROW.fullmatch(line):
                    started = started if header and not rows else number if not rows else started
                    rows.append(re.findall(NUMBER, line))
                    break
                opening = _ARRAY.search(line)
                alone = None if opening else _ALONE.fullmatch(line)
                if alone:
                    yield array(alone["header"], number, [alone["number"]])
                    break
                before = line[: opening.start()] if opening else line
                if re.search(r"\w", before):
                    header, started = before.strip(), number
                if opening is None:
                    break
                line, started = line[opening.start() :], started if header else number
            used, depth = take(tokens, line, number, depth)
            line = line[used:]
            if depth == 0:
                yield array(header, started, nested_lists(tokens, number))
                header, tokens = "", []
    if depth:
        raise Misread(started, f"{header[:40] or 'an array'} is not complete: a bracket is never closed")


def without_wrappers(text: str) -> str:
    """The text without what wraps arrays, line by line as it was."""
    text = text.replace("\r", "").replace("\u2212", "-").replace("\u2202", "d")
    text = _OPTIONS.sub(lambda match: "\n" * match[0].count("\n"), text)
    return re.sub(r"Parameter containing:", "", _WRAPPERS.sub("", text)).replace(")", "")


def take(tokens: list[str], line: str, number: int, depth: int) -> tuple[int, int]:
    """Takes tokens up to the end of the array or of the line: how many letters, and how deep it is then."""
    position = 0
    while position < len(line):
        match = _TOKEN.match(line, position)
        if match is None:
            found = line[position : position + 20]
            why = "shortened when it was printed; print all of it" if "..." in found[:4] else "not a number"
            raise Misread(number, f"{found!r}: {why}")
        position = match.end()
        token = match[0]
        depth += {"[": 1, "]": -1}.get(token, 0)
        if not token.isspace() and token not in ",;":
            tokens.append(token)
        if depth == 0:
            break
    return position, depth


def nested_lists(tokens: list[str], number: int) -> list[Any]:
    """Lists in lists, of texts of numbers."""
    stack: list[list[Any]] = [[]]
    for token in tokens:
        if token == "[":
            stack.append([])
        elif token == "]":
            inner = stack.pop()
            stack[-1].append(inner)
        else:
            stack[-1].append(token)
    return stack[0][0]


def array(header: str, line: int, lists: list[Any]) -> Written:
    """Raises Misread where rows differ in length, or there are no numbers."""
    try:
        texts = numpy.array(lists)
    except ValueError:
        texts = numpy.array([])
    if texts.size == 0 or texts.dtype.kind != "U":
        raise Misread(line, f"{header[:40] or 'an array'}: expected numbers in rows of one length")
    flat = [text.lower() for text in texts.ravel()]
    parts = [re.fullmatch(r"[-+]?(\d*)\.?(\d*)(?:e([-+]?\d+))?", text) for text in flat]
    known = [part for part in parts if part]
    places = {scaled: max((len(p[2]) for p in known if bool(p[3]) is scaled), default=0) for scaled in (True, False)}
    units = [float(f"1e{int(part[3] or 0) - places[bool(part[3])]}") if part else 0.0 for part in parts]
    significant = max((len((part[1] + part[2]).lstrip("0")) for part in known), default=0)
    values = numpy.array([float(text) for text in flat]).reshape(texts.shape)
    return Written(header, line, values, numpy.array(units).reshape(texts.shape), max(places.values()), significant)


def parameter_place(header: str) -> ParameterPlace | None:
    """w or b, and the layer's number or word, of a header; None where it is no parameter's."""
    text = re.sub(r"grad(?:ient)?s?|w\.?r\.?t\b\.?", " ", header.lower())
    text = re.sub(r"(?<![a-z])d(?:l|loss|j|c|e)?[/_ ]*d?_?(?=(?:w|b|weights?|bias)(?![a-z]))", " ", text)
    kind = re.search(r"(?<![a-z])(weights?|bias(?:es)?|w|b)(?![a-z])(?:[\W_]*(\d+))?", text)
    if kind is None:
        return None
    layer = kind[2] or next(iter(re.findall(r"\d+", text)), None)
    if layer is not None:
        return kind[1][0], int(layer)
    for word in re.findall(r"[a-z]+", text):
        if word in _ORDINALS:
            return kind[1][0], _ORDINALS[word]
        if word in ("output", "last", "out"):
            return kind[1][0], "last"
    return kind[1][0], "only"


def in_modules(arrays: list[Written], places: list[ParameterPlace | None], depth: int) -> list[ParameterPlace | None]:
    """The places with layers in the order of the file where they have the same numbers in several containers.

    So state_dicts have them, as input.0.weight and hidden.0.weight.
    """
    paths = [re.match(r"([\w.]+)\.(?:weight|bias)\b", one.header) for one in arrays]
    modules = list(dict.fromkeys(path[1] for path, place in zip(paths, places, strict=True) if path and place))
    numbers = {place[1] for place in places if place}
    if (
        len(modules) != depth
        or len(numbers) >= depth
        or not all(p for p, place in zip(paths, places, strict=True) if place)
    ):
        return places
    pairs = zip(paths, places, strict=True)
    return [(place[0], modules.index(path[1]) + 1) if path and place else None for path, place in pairs]


def named(arrays: list[Written], parameters: Mapping[tuple[str, int], str]) -> dict[str, Written]:
    """The arrays by the names of the parameters that they are gradients in, which w 1, b 1, w 2, ... have.

    Layers may be counted from 0 or as by torch's Sequential. Without headers they are those in this order.
    Raises Misread.
    """
    depth = max(layer for _, layer in parameters)
    found: dict[str, Written] = {}
    for array, place in zip(arrays, counted_from_1(arrays, places_of(arrays, parameters, depth), depth), strict=True):
        if place is None:
            continue
        kind, layer = place[0], place[1] if isinstance(place[1], int) else depth
        if (name := parameters.get((kind, layer))) is None:
            what, known = "weights" if kind == "w" else "biases", ", ".join(parameters.values())
            raise Misread(array.line, f"{array.header[:30]!r}: layer {layer} has no {what}; the network has {known}")
        if name in found:
            raise Misread(array.line, f"{name} stands twice: {found[name].header[:30]!r} and {array.header[:30]!r}")
        found[name] = array
    return found


def places_of(arrays: list[Written], parameters: Iterable[ParameterPlace], depth: int) -> list[ParameterPlace | None]:
    """What the headers say that the arrays are gradients in."""
    places: list[ParameterPlace | None] = [parameter_place(one.header) for one in arrays]
    places = [None if place and place[1] == "only" and depth > 1 else place for place in places]
    if any(places):
        return in_modules(arrays, places, depth)
    ordered = list[ParameterPlace | None](parameters)
    if len(arrays) == len(ordered) and not any(array.header for array in arrays):
        return ordered
    first = arrays[0].line if arrays else 1
    raise Misread(first, "no header names a weight or a bias; expected headers such as dLdw1, each with its numbers")


def counted_from_1(
    arrays: list[Written], places: list[ParameterPlace | None], depth: int
) -> list[ParameterPlace | None]:
    numbers = sorted({place[1] for place in places if place and isinstance(place[1], int)})
    if not numbers or 1 <= numbers[0] <= numbers[-1] <= depth:
        return places
    if len(numbers) != depth and not 0 == numbers[0] <= numbers[-1] < depth:
        line = next(a.line for a, p in zip(arrays, places, strict=True) if p and p[1] == numbers[-1])
        raise Misread(line, f"layer {numbers[-1]}: the network has {depth} layers")
    shift = {n: (n + 1 if len(numbers) != depth else numbers.index(n) + 1) for n in numbers}
    return [p and (p[0], shift[p[1]] if isinstance(p[1], int) else p[1]) for p in places]
