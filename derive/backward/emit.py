"""The text of a layer: its forward and backward pass, and the function of autograd around them."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from textwrap import wrap
from typing import Any

from derive.backends import WIDTH, Name, Source, assigned, dotted, names_in
from derive.backward.reading import Reading
from derive.backward.sweep import Sweep, SweepLine, tangent
from derive.backward.tape import Tape, TensorShape, Value, zeros_like_value
from derive.backward.written import authors_text
from derive.modules import Refused
from derive.packages import imports, page


@dataclass(frozen=True)
class Texts:
    """What goes into the functions of a text: back, back for each row or why not, and along tangents."""

    sweep: Sweep
    tangents: tuple[SweepLine, ...]
    by_row: Sweep | None = None
    without: str = ""

    @property
    def backs(self) -> dict[str, Sweep]:
        """What goes back, by the names of the functions."""
        return {"backward": self.sweep} | ({"backward_per_sample": self.by_row} if self.by_row else {})

    @property
    def names(self) -> dict[str, dict[str, str]]:
        """By which name a function has the gradient, or the tangent, of a value."""
        backs = {
            function: {value.name: source.text for value, source in sweep.gradients.items()}
            for function, sweep in self.backs.items()
        }
        moved = (value for line in self.tangents for value in line.through[0].values)
        return backs | {"jvp": {value.name: tangent(value).name for value in moved}}


FUNCTIONAL_PATH = dotted("torch.nn.functional")


def short(value: Source) -> Source:
    """The code as people write it, who import torch.nn.functional as F."""
    return value.changed(lambda part: Name("F") if part == FUNCTIONAL_PATH else part)


def code(target: str, value: Source, comment: str) -> list[str]:
    """An assignment and what is said of it, which stands above where both do not fit on a line."""
    first, *more = assigned(target, short(value), WIDTH - 4)
    if comment and not more and len(first) + len(comment) + 8 <= WIDTH:
        return [f"{first}  # {comment}"]
    return [*([f"# {comment}"] if comment else []), first, *more]


def shape_text(tape: Tape, shape: TensorShape) -> str:
    """The shape as far as its sizes have names."""

    def size_text(size: Any) -> str:
        try:
            return tape.size(size).text
        except Refused:
            return "..."

    comma = "," if len(shape) == 1 else ""
    return f"({', '.join(map(size_text, shape))}{comma})"


def forward_lines(reading: Reading, tangents: tuple[SweepLine, ...] = ()) -> list[str]:
    """Each equation, under the statement of the author that it is of, and the tangents of its values after it."""
    found: list[str] = []
    after = {line.through[0]: line for line in tangents}
    for statement, equations in groupby(reading.equations, key=lambda one: authors_text(one.step.line)):
        found += [f"# {statement}"[: WIDTH - 4]] if statement else []
        for one in equations:
            target, shape = ", ".join(value.name for value in one.values), shape_text(reading.tape, one.values[0].shape)
            found += code(target, one.code, "" if tangents else shape)
            if line := after.get(one):
                found += code(line.name, line.code, f"{shape} {one.why}")
    return found


def backward_lines(reading: Reading, sweep: Sweep) -> list[str]:
    found: list[str] = []
    for statement, lines in groupby(sweep.lines, key=statement_of):
        found += [f"# back through: {statement}"[: WIDTH - 4]] if statement else []
        for line in lines:
            found += code(line.name, line.code, f"{gradient_shape(reading, sweep, line.value)} {reasons_comment(line)}")
    return found


def gradient_shape(reading: Reading, sweep: Sweep, value: Value) -> str:
    """With the rows first where there is a gradient for each."""
    each = sweep.rows is not None and value not in sweep.rows
    return shape_text(reading.tape, (reading.outputs[0].shape[0], *value.shape) if each else value.shape)


def statement_of(line: SweepLine) -> str:
    return authors_text(line.through[0].step.line) if line.through else ""


def reasons_comment(line: SweepLine) -> str:
    rules = ", ".join(dict.fromkeys(equation.why for equation in line.through))
    return f"dL/d{line.value.name}{f': {rules}' if rules else ''}"


def used_sizes(reading: Reading, used: frozenset[str], within: list[Value]) -> list[str]:
    """Each size that is used, read from the first tensor that has it."""
    found = []
    for size, name in reading.tape.sizes.items():
        if name in used:
            value, axis = next((v, a) for v, a in reading.tape.owners[size] if v in within)
            found.append(f"{name} = {value.name}.shape[{axis}]")
    return found


def saved(reading: Reading, used: frozenset[str]) -> list[Value]:
    """What backward takes of forward: what its lines use, and a tensor for each size that they use."""
    values = [*reading.tape.inputs, *(value for one in reading.equations for value in one.values)]
    found = [value for value in values if value.name in used]
    for size, name in reading.tape.sizes.items():
        owners = [value for value, _ in reading.tape.owners[size]]
        if name in used and not any(owner in found for owner in owners):
            found.append(owners[0])
    return [value for value in values if value in found]


def layer_page(reading: Reading, texts: Texts, title: str, paths: dict[str, str]) -> dict[str, Any]:
    """What goes into the holes of the text."""
    tape, moving = reading.tape, [value for value in reading.tape.inputs if value.moves]
    used_back = frozenset[str]().union(*(sweep.used for sweep in texts.backs.values()))
    kept = saved(reading, used_back)
    used = names_in(one.code for one in reading.equations)
    used_ahead = used | names_in(line.code for line in texts.tangents)
    forward, ahead = forward_lines(reading), forward_lines(reading, texts.tangents)
    cotangents = dict(zip(texts.sweep.cotangents, reading.outputs, strict=True))
    sent = cotangents | {value.name: value for value in kept}
    taken, tangents = {one.name: one for one in tape.inputs}, {tangent(one).name: one for one in moving}
    tables = [
        ("SHAPES", "of what forward takes", taken),
        ("TANGENTS", "of what jvp takes besides", tangents),
        ("BACK", "of what backward takes", sent),
    ]
    check_back = check_lines("BACK", sent)
    back = [back_page(reading, sweep, name, kept, check_back) for name, sweep in texts.backs.items()]
    return {
        "title": title,
        "without": ["", *wrap(f"{texts.without}.", WIDTH)] if texts.without else [],
        "imports": imports(used_ahead | used_back),
        "paths": [{"name": one.name, "path": paths[one.name]} for one in tape.inputs if one.name in paths],
        "inputs": [value_row(tape, value) for value in tape.inputs],
        "tables": [shape_table(tape, *row) for row in tables],
        "check": check_lines("SHAPES", taken),
        "check_ahead": check_lines("SHAPES | TANGENTS", [*taken, *tangents]),
        "moving": [value_row(tape, value) for value in moving],
        "saved": [value_row(tape, value) for value in kept],
        "forward": [*used_sizes(reading, used, tape.inputs), *forward],
        "back": back,
        "ahead": [*used_sizes(reading, used_ahead, tape.inputs), *ahead],
        "output": as_target([value.name for value in reading.outputs]),
        "tangent": as_target([tangent_of(value) for value in reading.outputs]),
        "annotation": annotation(reading),
        "cotangents": texts.sweep.cotangents,
        "taken": ", ".join(texts.sweep.cotangents),
        "owned": "_own(output)" if len(reading.outputs) == 1 else "tuple(map(_own, output))",
    }


def back_page(reading: Reading, sweep: Sweep, name: str, kept: list[Value], check: list[str]) -> dict[str, Any]:
    """One function that goes back."""
    lines = [*unpacked(kept), *check, *used_sizes(reading, sweep.used, kept), *backward_lines(reading, sweep)]
    gradients = [
        {"name": value.name, "shape": gradient_shape(reading, sweep, value), "source": sweep.gradients[value].text}
        for value in reading.tape.inputs
        if value.moves
    ]
    return {"name": name, "about": ABOUT[name], "lines": lines, "gradients": gradients}


ABOUT = {
    "backward": "dL/d of each, from the output back to what it is made of.",
    "backward_per_sample": "The same for each row of the batch alone: of what rows share, one a row, on a first axis.",
}


def tangent_of(value: Value) -> str:
    return tangent(value).name if value.moves else zeros_like_value(value).text


def as_target(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"({', '.join(names)})"


def unpacked(kept: list[Value]) -> list[str]:
    """What backward takes of forward, by the names that it has there."""
    names = [value.name for value in kept]
    line = f"{', '.join(names)}{',' if len(names) == 1 else ''} = saved"
    return (
        []
        if not names
        else [line]
        if len(line) <= WIDTH - 4
        else ["(", *(f"    {name}," for name in names), ") = saved"]
    )


def value_row(tape: Tape, value: Value) -> dict[str, str]:
    return {"name": value.name, "shape": shape_text(tape, value.shape)}


def shape_table(tape: Tape, name: str, about: str, values: dict[str, Value]) -> dict[str, Any]:
    """The shapes of these by name, with sizes as numbers and names."""

    def row(name: str, value: Value) -> dict[str, str]:
        sizes = tuple(tape.size(size).text if size.known is None else size.known for size in value.shape)
        return {"name": name, "sizes": repr(sizes).replace("'", '"')}

    return {"name": name, "about": about, "rows": [row(*one) for one in values.items()]}


def check_lines(shapes: str, values: Iterable[str]) -> list[str]:
    names = ", ".join([shapes, *values])
    line = f"_check({names})"
    more = wrap(names, WIDTH - 4, initial_indent="    ", subsequent_indent="    ")
    return [line] if len(line) <= WIDTH - 4 else ["_check(", *more, ")"]


def annotation(reading: Reading) -> str:
    count = len(reading.outputs)
    return "torch.Tensor" if count == 1 else f"tuple[{', '.join(['torch.Tensor'] * count)}]"


LAYER_TEMPLATES = {
    "layer.py": "layer.py.j2",
    "function.py": "layer_function.py.j2",
    "reference.py": "layer_reference.py.j2",
}


def layer_files(
    reading: Reading, texts: Texts, title: str, paths: dict[str, str], names: Iterable[str] = LAYER_TEMPLATES
) -> dict[str, str]:
    """The text, the same as a function of autograd, and what it is compared with, or some of these, by their files."""
    filled = layer_page(reading, texts, title, paths)
    return {name: page(LAYER_TEMPLATES[name], filled) for name in names}
