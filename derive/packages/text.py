"""Parts of emitted Python: literals that fit their lines, imports, constants, sizes."""

from collections.abc import Container, Iterable

from derive.backends import WIDTH
from derive.backends.torch import ONE, Line


def spec_lines(field: str, value: str | tuple[str | int, ...]) -> list[str]:
    """An item of a dict literal, on one line where it fits."""
    line = f'"{field}": {value!r},'.replace("'", '"')
    if len(line) <= WIDTH - 4:
        return [line]
    if isinstance(value, str):
        parts = pieces(value, WIDTH - 10)
    else:
        parts = [line for item in value for line in item_lines(item)]
    return [f'"{field}": (', *(f"    {part}" for part in parts), "),"]


def item_lines(item: str | int) -> list[str]:
    """An item of a tuple that has a line for each."""
    line = f"{item!r},".replace("'", '"')
    return [line] if len(line) <= WIDTH - 8 else ["(", *(f"    {part}" for part in pieces(str(item), WIDTH - 14)), "),"]


def pieces(text: str, width: int) -> list[str]:
    """A long text as literals that Python joins."""
    return [f'"{text[start : start + width]}"' for start in range(0, len(text), width)]


def unpack_lines(names: list[str], source: str) -> list[str]:
    """The tensors of a sequence as names of their own, eight a line where there are many."""
    if len(names) <= 12:
        return [f"{unpacked_into(names)} = {source}"]
    parts = [(start, names[start : start + 8]) for start in range(0, len(names), 8)]
    return [f"{unpacked_into(part)} = {source}[{start}:{start + len(part)}]" for start, part in parts]


def unpacked_into(names: list[str]) -> str:
    return ", ".join(names) if len(names) > 1 else f"({names[0]},)"


def names(body: Iterable[Line]) -> set[str]:
    """The names that the lines use."""
    return set().union(*(line.value.names for line in body))


def imports(used: Container[str]) -> list[str]:
    """The imports that lines with these names need beside torch."""
    return ["import math"] if "math" in used else []


def constant_lines(body: list[Line]) -> list[str]:
    """A 1 that is a tensor, where the lines need one."""
    line = f'{ONE} = torch.ones((), device="cpu")  # as a tensor: with the number 1, torch takes three times as long'
    return ["", line] if ONE in names(body) else []


def size_lines(body: list[Line]) -> list[str]:
    """N, where a line needs it; a mean over no rows is refused."""
    return ["N = x.shape[0]", *no_rows_lines(body)] if "N" in names(body) else []


def function_lines(body: list[Line], taken: Iterable[str]) -> list[str]:
    """What a function does with what it has taken: N, if a line needs it, and the lines that are derived."""
    return [*taken, *size_lines(body), *written_lines(body)]


def written_lines(body: Iterable[Line]) -> list[str]:
    """Each with its shape, and what it is."""
    return [text for line in body for text in line.written(line.comment)]


def shaped_lines(body: Iterable[Line]) -> list[str]:
    """Each with its shape."""
    return [text for line in body for text in line.written(line.shape)]


def no_rows_lines(body: list[Line]) -> list[str]:
    """The refusal of no rows, where a line divides by their number."""
    if not any(line.value.divides_by("N") for line in body):
        return []
    refusal = 'raise ValueError("x: expected at least 1 row, got 0: a mean over no rows is 0 / 0")'
    return ["if N == 0:", f"    {refusal}"]
