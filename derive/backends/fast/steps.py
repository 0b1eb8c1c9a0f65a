"""What the fast module is made of: flat vectors cut into blocks, and steps, whose statements share a few buffers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sympy import MatrixSymbol

from derive.backends import Source


@dataclass(frozen=True)
class FlatPart:
    """A parameter in a flat vector: its name, its shape, and whether its transpose is what lies there."""

    name: str
    shape: tuple[int, ...]
    transposed: bool = False


@dataclass(frozen=True)
class FlatBlock:
    """A matrix in a flat vector, and the parameters in it: one as it is, W as W^T, or W and b as [W b]^T."""

    name: str
    shape: tuple[int, ...]
    parameters: tuple[str, ...]
    transposed: bool = False

    @property
    def parts(self) -> tuple[FlatPart, ...]:
        """The parameters as they lie there, one after the other."""
        first, *rest = self.parameters
        if not self.transposed:
            return (FlatPart(first, self.shape),)
        inputs, outputs = self.shape[0] - len(rest), self.shape[1]
        return (FlatPart(first, (outputs, inputs), transposed=True), *(FlatPart(name, (outputs,)) for name in rest))


@dataclass(frozen=True)
class FastStep:
    """A function for n rows: `setup` makes buffers of so many `entries` a row once, `lines` run at each call."""

    maker: str
    signature: str
    meaning: str
    setup: list[str]
    lines: list[str]
    entries: int


@dataclass(frozen=True)
class Assignment:
    """A line of code: what is computed, and the names that it gets, if any."""

    targets: tuple[str, ...]
    value: Source

    @property
    def text(self) -> str:
        return " = ".join([*self.targets, self.value.text])


@dataclass(frozen=True)
class Statement:
    """A line of code, the symbols that it reads and those that it writes; each of these has a place in a buffer.

    What it writes may take over the place of one of `over`, if nothing reads that any more; `in_place` is what the
    line is then, if that is not the same. `targets` are the names of what is no buffer.
    """

    code: Source
    reads: tuple[MatrixSymbol, ...] = ()
    writes: tuple[MatrixSymbol, ...] = ()
    over: tuple[MatrixSymbol, ...] = ()
    in_place: Source | None = None
    targets: tuple[str, ...] = ()

    def line(self, buffer: Mapping[MatrixSymbol, int]) -> Assignment:
        """The code, once it is known what lies where."""
        taken = any(buffer.get(symbol) == buffer[target] for target in self.writes for symbol in self.over)
        return Assignment(self.targets, self.in_place if self.in_place and taken else self.code)


def share(statements: list[Statement], width: Callable[[MatrixSymbol], int]) -> list[list[MatrixSymbol]]:
    """What lies in each buffer, one after the other.

    A symbol takes over a buffer of its width once no later statement reads what is there, or in the very statement that
    reads it last, where that may be written over.
    """
    last: dict[MatrixSymbol, int] = {}
    writer: dict[MatrixSymbol, int] = {}
    for index, statement in enumerate(statements):
        last.update(dict.fromkeys(statement.reads, index))
        for symbol in statement.writes:
            writer.setdefault(symbol, index)
            last.setdefault(symbol, index)
    buffers: list[list[MatrixSymbol]] = []
    for symbol, begins in writer.items():
        fitting = [buffer for buffer in buffers if width(buffer[-1]) == width(symbol)]
        over = [b for b in fitting if b[-1] in statements[begins].over and last[b[-1]] == begins]
        free = [b for b in fitting if last[b[-1]] < begins]
        if over or free:
            (over or free)[0].append(symbol)
        else:
            buffers.append([symbol])
    return buffers
