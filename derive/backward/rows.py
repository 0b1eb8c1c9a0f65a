"""Gradients for each row of a batch: where the rows of a value are, and what each of them sends to what all share."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy

from derive.backends import Index, Literal, Name, Source, call, method
from derive.backward.instrumented import Named, instrumented, parameter_names
from derive.backward.reading import Reading
from derive.backward.sweep import Sweep, swept
from derive.backward.tape import BatchRows, Pulled, TapeEquation, Value
from derive.modules import Module, Refused

NONE, SEVERAL = -1, -2
ROW_NAME = Name("row")
NO_ROWS = "No gradients for each row"


@dataclass(frozen=True)
class ForEach(Source):
    """A stack of what is computed of each row of a tensor, or of each of several tensors."""

    of: Source
    rows: Source

    @property
    def parts(self) -> tuple[Source, ...]:
        return (self.of, self.rows)

    @property
    def text(self) -> str:
        return f"torch.stack([{self.of.text} for {ROW_NAME.text} in {self.rows.text}])"


def swept_by_row(reading: Reading, sweep: Sweep, text: str, module: Module) -> Sweep:
    """The gradients of each row's part of the loss in what all rows share; all others are those of `sweep`.

    Raises Refused where the outputs have no rows, or a row of an input moves several of them.
    """
    outputs, moving = reading.outputs, [value for value in reading.tape.inputs if value.moves]
    batch = outputs[0].shape[:1]
    if not batch or any(one.shape[:1] != batch for one in outputs) or len(module.outputs()[0]) < 2:
        raise Refused(f"{NO_ROWS}: the first axis of what comes out is no batch of two or more")
    rows = rows_of_values(reading, sweep, text, module)
    if coupled := [value.name for value in moving if value.shape[:1] == batch and value not in rows]:
        users = Counter(operand for one in reading.equations if one.pull for operand in one.operands)
        for one in reversed(reading.equations):
            mixed = [v for v in one.operands if v.moves and v not in rows and users[v] == 1]
            if mixed and all(value in rows for value in one.values):
                where = f" at {Path(one.step.line).name}" if one.step.line else ""
                raise Refused(f"{NO_ROWS}: {one.step.operation}{where} computes with several rows of {coupled[0]}")
        raise Refused(f"{NO_ROWS}: the outputs are made of several rows of {coupled[0]}")
    count = reading.tape.size(batch[0])

    def nothing(value: Value) -> Source:
        return method(value.source, "new_zeros", count, *map(reading.tape.size, value.shape))

    return swept(reading, lambda equation, found: sent(equation, found, rows), nothing, rows)


def rows_of_values(reading: Reading, sweep: Sweep, text: str, module: Module) -> dict[Value, BatchRows]:
    """Where the rows are of each value of which each entry is of one of them."""
    names = {value: source.name for value, source in sweep.gradients.items() if isinstance(source, Name)}
    length = len(module.outputs()[0])
    found = {}
    for value, of in owners(text, names, module).items():
        if (place := rows_form(of, length)) is not None:
            found[value] = BatchRows(reading.tape, reading.tape.size(reading.outputs[0].shape[0]), *place)
    for one in reversed(reading.equations):  # what is in something shared is shared itself
        if any(value in names and value not in found for value in one.values):
            for operand in one.operands:
                found.pop(operand, None)
    return found


def owners(text: str, names: Mapping[Value, str], module: Module) -> dict[Value, numpy.ndarray]:
    """For each entry of a value the row of the outputs that moves with it: none, one, or several.

    That is seen by the gradients of one row after the other.
    """
    seen: dict[str, Named] = {}
    namespace = instrumented(text, "layer.py", seen.__setitem__)
    function, tensors, outputs = namespace["forward"], module.tensors(), module.outputs()
    _, saved = function(*(tensors[name] for name in parameter_names(function)))
    found: dict[Value, numpy.ndarray] = {}
    for row in range(len(outputs[0])):
        cotangents = [output.new_zeros(output.shape) for output in outputs]
        for cotangent, output in zip(cotangents, outputs, strict=True):
            cotangent[row] = 1 + output[row].abs()
        namespace["backward"](*cotangents, saved)
        for value, name in names.items():
            moved = seen["backward"][name].numpy() != 0
            before = found.setdefault(value, numpy.full(moved.shape, NONE))
            before[moved] = numpy.where(before[moved] == NONE, row, SEVERAL)
    return found


def rows_form(of: numpy.ndarray, count: int) -> tuple[int, bool, bool] | None:
    """The axis along which the rows are, and whether another is inside or outside; None if an entry is of several."""
    for axis, size in enumerate(of.shape):
        more = size // count
        for inside in (True, False) if size and size == more * count else ():
            each = numpy.arange(size) // more if inside else numpy.arange(size) % count
            each = each.reshape([-1 if a == axis else 1 for a in range(of.ndim)])
            if numpy.all((of == NONE) | (of == each)):
                return axis, inside and more > 1, not inside and more > 1
    return None


def sent(equation: TapeEquation, found: list[Source | None], rows: Mapping[Value, BatchRows]) -> Pulled:
    """What a row sends to operands that all rows share; what it sends to its own is as without rows."""
    pull = equation.pull
    assert pull is not None
    places = [rows.get(value) if g is not None else None for value, g in zip(equation.values, found, strict=True)]
    whole = list(zip(equation.values, found, places, strict=True))
    by = places[0]
    own = list(pull(*found)) if all(place or g is None for _, g, place in whole) else []
    yield from ((operand, source) for operand, source in own if operand in rows)
    shared = {operand for operand in equation.operands if operand.moves and operand not in rows}
    if by is not None and equation.rows is not None:
        for operand, source in equation.rows(by, found[0]):
            if operand in shared and source is not None:
                yield operand, source
                shared.discard(operand)
    if shared:
        spread = [g if g is None or place is None else place.spread(g, len(value.shape)) for value, g, place in whole]
        given = [g for g in spread if g is not None]
        each = [ROW_NAME] if len(given) == 1 else [Index(ROW_NAME, (Literal(str(i)),)) for i in range(len(given))]
        left = iter(each)
        over = given[0] if len(given) == 1 else call("zip", *given)
        for operand, source in pull(*(None if g is None else next(left) for g in spread)):
            if operand in shared:
                yield operand, ForEach(source, over)
