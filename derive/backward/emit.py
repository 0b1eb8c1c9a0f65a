"""The text of a layer: its forward and backward pass, and the function of autograd around them."""

from itertools import groupby
from typing import Any

from derive.backends import WIDTH, Source, assigned
from derive.backward.reading import Reading
from derive.backward.sweep import Line, Sweep
from derive.backward.tape import Shape, Tape, Value
from derive.backward.written import authors_text
from derive.modules import Refused
from derive.packages import page

LONG, SHORT = "torch.nn.functional.", "F."


def code(target: str, value: Source, comment: str) -> list[str]:
    """An assignment and what is said of it, which stands above where both do not fit on a line."""
    text = assigned(target, value, WIDTH - 4).replace(LONG, SHORT)
    if comment and "\n" not in text and len(text) + len(comment) + 8 <= WIDTH:
        return [f"{text}  # {comment}"]
    return [*([f"# {comment}"] if comment else []), *(line.removeprefix("    ") for line in text.split("\n"))]


def shape_text(tape: Tape, shape: Shape) -> str:
    """The shape as far as its sizes have names."""

    def size_text(size: Any) -> str:
        try:
            return tape.size(size).text
        except Refused:
            return "..."

    comma = "," if len(shape) == 1 else ""
    return f"({', '.join(map(size_text, shape))}{comma})"


def forward_lines(reading: Reading) -> list[str]:
    """Each equation, under the statement of the author that it is of."""
    found: list[str] = []
    for statement, equations in groupby(reading.equations, key=lambda one: authors_text(one.step.line)):
        found += [f"# {statement}"[: WIDTH - 4]] if statement else []
        for one in equations:
            target = ", ".join(value.name for value in one.values)
            found += code(target, one.code, shape_text(reading.tape, one.values[0].shape))
    return found


def backward_lines(reading: Reading, sweep: Sweep) -> list[str]:
    found: list[str] = []
    for statement, lines in groupby(sweep.lines, key=statement_of):
        found += [f"# back through: {statement}"[: WIDTH - 4]] if statement else []
        for line in lines:
            found += code(line.name, line.code, f"{shape_text(reading.tape, line.value.shape)} {why(line)}")
    return found


def statement_of(line: Line) -> str:
    return authors_text(line.through[0].step.line) if line.through else ""


def why(line: Line) -> str:
    rules = ", ".join(dict.fromkeys(equation.why for equation in line.through))
    return f"dL/d{line.value.name}{f': {rules}' if rules else ''}"


def used_sizes(reading: Reading, sources: list[Source], within: list[Value]) -> list[str]:
    """Each size that is used, read from the first tensor that has it."""
    names = frozenset().union(*(source.names for source in sources)) if sources else frozenset()
    found = []
    for size, name in reading.tape.sizes.items():
        if name in names:
            value, axis = next((v, a) for v, a in reading.tape.owners[size] if v in within)
            found.append(f"{name} = {value.name}.shape[{axis}]")
    return found


def saved(reading: Reading, sweep: Sweep) -> list[Value]:
    """What backward takes of forward: what its lines use, and a tensor for each size that they use."""
    values = [*reading.tape.inputs, *(value for one in reading.equations for value in one.values)]
    used = sweep.used
    found = [value for value in values if value.name in used]
    for size, name in reading.tape.sizes.items():
        owners = [value for value, _ in reading.tape.owners[size]]
        if name in used and not any(owner in found for owner in owners):
            found.append(owners[0])
    return [value for value in values if value in found]


def layer_page(reading: Reading, sweep: Sweep, title: str, paths: dict[str, str]) -> dict[str, Any]:
    """What goes into the holes of the text."""
    tape = reading.tape
    kept = saved(reading, sweep)
    forward, backward = forward_lines(reading), backward_lines(reading, sweep)
    ends = [line.code for line in sweep.lines] + list(sweep.gradients.values())
    text = "\n".join((*forward, *backward))
    return {
        "title": title,
        "imports": [line for word, line in IMPORTS.items() if word in text],
        "paths": [{"name": one.name, "path": paths[one.name]} for one in tape.inputs if one.name in paths],
        "inputs": [described(tape, value) for value in tape.inputs],
        "saved": [described(tape, value) for value in kept],
        "gradients": [
            {**described(tape, value), "source": sweep.gradients[value].text} for value in tape.inputs if value.moves
        ],
        "forward": [*used_sizes(reading, [one.code for one in reading.equations], tape.inputs), *forward],
        "backward": [*unpacked(kept), *used_sizes(reading, ends, kept), *backward],
        "output": output_text(reading),
        "annotation": annotation(reading),
        "cotangents": sweep.cotangents,
    }


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


IMPORTS = {"math.": "import math"}


def described(tape: Tape, value: Value) -> dict[str, str]:
    return {"name": value.name, "shape": shape_text(tape, value.shape)}


def output_text(reading: Reading) -> str:
    names = [value.name for value in reading.outputs]
    return names[0] if len(names) == 1 else f"({', '.join(names)})"


def annotation(reading: Reading) -> str:
    count = len(reading.outputs)
    return "torch.Tensor" if count == 1 else f"tuple[{', '.join(['torch.Tensor'] * count)}]"


def layer_text(reading: Reading, sweep: Sweep, title: str, paths: dict[str, str]) -> str:
    return page("layer.py.j2", layer_page(reading, sweep, title, paths))


def function_text(reading: Reading, sweep: Sweep, title: str, paths: dict[str, str]) -> str:
    return page("layer_function.py.j2", layer_page(reading, sweep, title, paths))
