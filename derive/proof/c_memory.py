"""The memory of emitted C, and its kinds of values: what is outside of an array, or not set, is an error."""

from dataclasses import dataclass
from typing import Any

from sympy import Expr, Integer

from derive.proof.certificate import NotProved
from derive.proof.tensor import with_names

C_MATRICES = "matrices"  # where each equation puts what it computes, which the proof has names for
WHOLE, REAL = ("int", "long", "whole"), ("real", "double")
STRUCTS = ("workspace", "arguments", "sgd_state", "adam_state")


class GivenArray:
    """So many entries of memory, that nothing has set yet."""

    def __init__(self, name: str, entries: list[Any], kind: str = "real") -> None:
        self.name, self.entries, self.kind = name, entries, kind

    def place(self, start: int, size: int) -> slice:
        if not 0 <= start <= start + size <= len(self.entries):
            raise NotProved(f"network.c: {self.name}[{start}] lies outside of its {len(self.entries)} entries")
        return slice(start, start + size)


class Alone:
    """What the restrict pointers of one call reach: an entry that one of them changes is of no other."""

    def __init__(self) -> None:
        self.reached: dict[tuple[int, int], tuple[str, bool]] = {}

    def reach(self, array: GivenArray, places: range, name: str, changes: bool) -> None:
        for place in places:
            other, changed = self.reached.get((id(array), place), (name, False))
            if other != name and (changes or changed):
                raise NotProved(f"network.c: {other} and {name} are restrict, and both reach {array.name}[{place}]")
            self.reached[id(array), place] = name, changes or changed


@dataclass(frozen=True)
class Pointer:
    """A place in an array, at which `lanes` entries are read at once; 0 of them are one by itself.

    `alone` and `name` are of the restrict pointer that it comes from.
    """

    array: GivenArray
    at: int
    lanes: int = 0
    alone: Alone | None = None
    name: str = ""

    def moved(self, by: int) -> "Pointer":
        return Pointer(self.array, self.at + by * (self.lanes or 1), self.lanes, self.alone, self.name)

    def of_lanes(self, lanes: int) -> "Pointer":
        return Pointer(self.array, self.at, lanes, self.alone, self.name)

    def restricted(self, alone: Alone, name: str) -> "Pointer":
        return Pointer(self.array, self.at, self.lanes, alone, name)

    def place(self, changes: bool) -> slice:
        size = self.lanes or 1
        found = self.array.place(self.at, size)
        if self.alone is not None:
            self.alone.reach(self.array, range(self.at, self.at + size), self.name, changes)
        return found

    def load(self) -> Any:
        found = self.array.entries[self.place(changes=False)]
        if any(entry is None for entry in found):
            raise NotProved(f"network.c: reads {self.array.name}[{self.at}], which nothing has set")
        return tuple(found) if self.lanes else found[0]

    def store(self, value: Any) -> None:
        value = value if isinstance(value, tuple) else (value,)
        if len(value) != (self.lanes or 1):
            raise NotProved(f"network.c: {self.array.name}[{self.at}] is given {len(value)} entries")
        entries = [CType(self.array.kind).of(entry) for entry in value]
        kept = list(with_names(entries).entries) if self.array.name == C_MATRICES else entries
        self.array.entries[self.place(changes=True)] = kept


@dataclass(frozen=True)
class CType:
    """What a variable, a parameter or a function may hold: no value is made another by being put there."""

    word: str
    pointer: bool = False
    restrict: bool = False

    @classmethod
    def read(cls, words: list[str]) -> "CType":
        (word,) = {*words} - {"const", "static", "inline", "INLINE", "*", "restrict"} or {""}
        return cls(word, "*" in words, "restrict" in words)

    def of(self, value: Any) -> Any:
        """The value; a whole number that is put where a real one is expected becomes one."""
        if self.pointer:
            fits = value is None or isinstance(value, Pointer)
            if isinstance(value, Pointer):
                fits = self.word == ("lanes" if value.lanes else value.array.kind)
            elif self.word in STRUCTS:
                fits = isinstance(value, dict)
        elif self.word in REAL:
            value = Integer(value) if isinstance(value, int) else value
            fits = isinstance(value, Expr)
        elif self.word == "lanes":
            fits = isinstance(value, tuple)
        else:
            fits = isinstance(value, int) if self.word in WHOLE else self.word == "void" and value is None
        if not fits:
            raise NotProved(f"network.c: {value} is put where a {self.word}{' pointer' * self.pointer} is expected")
        return value


class LocalArray(list[Any]):
    """An array of a function's own, of one kind, nothing of which is set; its entries may be arrays."""

    def __init__(self, kind: CType, sizes: list[int]) -> None:
        first, *others = sizes
        super().__init__(LocalArray(kind, others) if others else None for _ in range(first))
        self.kind = kind

    def checked(self, index: int) -> int:
        if not 0 <= index < len(self):
            raise NotProved(f"network.c: entry {index} lies outside of an array of {len(self)}")
        return index


class Returned(Exception):
    """The end of a function."""


class Scope(dict[str, Any]):
    """Names, their values and their kinds; those of the block around it are seen and changed."""

    def __init__(self, outer: "Scope | None" = None) -> None:
        super().__init__()
        self.outer = outer
        self.kinds: dict[str, CType] = {}

    def declare(self, name: str, kind: CType, value: Any) -> None:
        self.kinds[name] = kind
        self[name] = value if value is None or isinstance(value, LocalArray) else kind.of(value)

    def assign(self, name: str, value: Any) -> None:
        owner = self.owner(name)
        if name not in owner.kinds:
            raise NotProved(f"network.c: assigns to {name}, which is no variable")
        owner[name] = owner.kinds[name].of(value)

    def owner(self, name: str) -> "Scope":
        scope: Scope | None = self
        while scope is not None and name not in scope:
            scope = scope.outer
        if scope is None:
            raise NotProved(f"network.c: emitted C knows no {name}")
        return scope


def truth(value: Any) -> bool:
    """Of what is known when the proof runs; nothing branches on a symbol."""
    if isinstance(value, bool | int | Pointer) or value is None:
        return bool(value)
    raise NotProved(f"network.c: branches on {value}")
