"""The sweep back over the equations of a module: the lines that compute its gradients."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce

from derive.backends import Name, Source, names_in, plus
from derive.backward.reading import Reading
from derive.backward.tape import BatchRows, Pulled, TapeEquation, Value, zeros_like_value


@dataclass(frozen=True)
class SweepLine:
    """The line that computes a gradient, the value that it is for, and the equations that it goes back through."""

    name: str
    code: Source
    value: Value
    through: tuple[TapeEquation, ...]


@dataclass(frozen=True)
class Sweep:
    """The lines of the backward pass; the cotangents that it takes, and what each gradient is called."""

    lines: tuple[SweepLine, ...]
    cotangents: tuple[str, ...]
    gradients: dict[Value, Source]
    rows: Mapping[Value, BatchRows] | None = None  # of what is not here, there is a gradient for each row

    @property
    def used(self) -> frozenset[str]:
        """The names that the lines use."""
        return names_in([*(line.code for line in self.lines), *self.gradients.values()])


def tangent_lines(reading: Reading) -> tuple[SweepLine, ...]:
    """From the first equation to the last: how each value moves with what it is made of."""
    known: dict[Value, Source] = {value: tangent(value) for value in reading.tape.inputs if value.moves}
    lines = []
    for equation in reading.equations:
        if equation.pull is not None:
            found = equation.push({value: known[value] for value in equation.operands if value in known})
            names = ", ".join(tangent(value).name for value in equation.values)
            lines.append(SweepLine(names, found, equation.values[0], (equation,)))
            known |= {value: tangent(value) for value in equation.values}
    return tuple(lines)


def tangent(value: Value) -> Name:
    return Name(f"d_{value.name}")


def pulled(equation: TapeEquation, cotangents: list[Source | None]) -> Pulled:
    assert equation.pull is not None
    return equation.pull(*cotangents)


def swept(
    reading: Reading,
    sent: Callable[[TapeEquation, list[Source | None]], Pulled] = pulled,
    nothing: Callable[[Value], Source] = zeros_like_value,
    rows: Mapping[Value, BatchRows] | None = None,
) -> Sweep:
    """From the last equation to the first; each sends its cotangents to what it was made from.

    A gradient that is only another one has no line of its own, and one that nothing reaches is 0.
    """
    cotangents = ("G",) if len(reading.outputs) == 1 else tuple(f"G{place}" for place in range(len(reading.outputs)))
    parts: dict[Value, list[tuple[Source, TapeEquation | None]]] = {}
    for output, name in zip(reading.outputs, cotangents, strict=True):
        parts.setdefault(output, []).append((Name(name), None))
    first: dict[Value, TapeEquation] = {}
    for equation in reversed(reading.equations):
        first |= dict.fromkeys(equation.operands if equation.pull else (), equation)
    lines: list[SweepLine] = []
    gradients: dict[Value, Source] = {}

    def settle(value: Value) -> Source | None:
        found = parts.pop(value, [])
        if len(found) == 1 and isinstance(found[0][0], Name):
            gradients[value] = found[0][0]
        elif found:
            total = reduce(plus, (source for source, _ in found))
            through = tuple(dict.fromkeys(equation for _, equation in found if equation))
            lines.append(SweepLine(f"grad_{value.name}", total, value, through))
            gradients[value] = Name(lines[-1].name)
        return gradients.get(value)

    for equation in reversed(reading.equations):
        found = [settle(value) for value in equation.values]
        if equation.pull is None or not any(found):
            continue
        for operand, source in sent(equation, found):
            if operand.moves:
                parts.setdefault(operand, []).append((source, equation))
        for operand in reading.tape.inputs:
            if first.get(operand) is equation:
                settle(operand)
    wanted = [value for value in reading.tape.inputs if value.moves]
    for value in wanted:
        if value not in gradients and settle(value) is None:
            gradients[value] = nothing(value)
    return Sweep(tuple(lines), cotangents, gradients, rows)
