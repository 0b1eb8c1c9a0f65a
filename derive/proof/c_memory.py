"""The memory of emitted C: an access outside of an array, or of what nothing has set, is an error."""

from dataclasses import dataclass
from typing import Any

import sympy

from derive.proof.judge import NotProved
from derive.proof.tensor import named

MATRICES = "matrices"  # where each equation puts what it computes, which the proof has names for


class Array:
    """So many entries of memory, that nothing has set yet."""

    def __init__(self, name: str, entries: list[Any]) -> None:
        self.name, self.entries = name, entries

    def place(self, start: int, size: int) -> slice:
        if not 0 <= start <= start + size <= len(self.entries):
            raise NotProved(f"network.c: {self.name}[{start}] lies outside of its {len(self.entries)} entries")
        return slice(start, start + size)


@dataclass(frozen=True)
class Pointer:
    """A place in an array, at which `lanes` entries are read at once; 0 of them are one by itself."""

    array: Array
    at: int
    lanes: int = 0

    def moved(self, by: int) -> "Pointer":
        return Pointer(self.array, self.at + by * (self.lanes or 1), self.lanes)

    def load(self) -> Any:
        found = self.array.entries[self.array.place(self.at, self.lanes or 1)]
        if any(entry is None for entry in found):
            raise NotProved(f"network.c: reads {self.array.name}[{self.at}], which nothing has set")
        return tuple(found) if self.lanes else found[0]

    def store(self, value: Any) -> None:
        value = value if isinstance(value, tuple) else (value,)
        if len(value) != (self.lanes or 1):
            raise NotProved(f"network.c: {self.array.name}[{self.at}] is given {len(value)} entries")
        entries = list(map(sympy.sympify, value))
        kept = named(entries).entries if self.array.name == MATRICES else entries
        self.array.entries[self.array.place(self.at, len(value))] = kept


class Returned(Exception):
    """The end of a function."""


class Scope(dict[str, Any]):
    """Names and their values; those of the block around it are seen and changed."""

    def __init__(self, outer: "Scope | None" = None) -> None:
        super().__init__()
        self.outer = outer

    def owner(self, name: str) -> "Scope":
        scope: Scope | None = self
        while scope is not None and name not in scope:
            scope = scope.outer
        if scope is None:
            raise NotProved(f"network.c: emitted C knows no {name}")
        return scope


def made(sizes: list[int]) -> list[Any]:
    """An array of arrays, nothing of which is set."""
    first, *others = sizes
    return [made(others) if others else None for _ in range(first)]


def checked(index: int, array: list[Any]) -> int:
    if not 0 <= index < len(array):
        raise NotProved(f"network.c: entry {index} lies outside of an array of {len(array)}")
    return index
