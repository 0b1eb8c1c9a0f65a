"""What a module computes, as equations between named tensors, each of which knows how a gradient goes back through it.

A size is known at two sizes of the module's arguments, so that one that changes is told from one that does not.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from keyword import iskeyword, issoftkeyword
from math import prod
from typing import Any

from derive.backends import Attribute, Group, Index, Infix, Literal, Name, Source, chained, method
from derive.modules import Refused, Step

TAKEN = re.compile(r"F|G\d*|math|torch|saved|forward|backward|PARAMETERS")  # names that the text has for itself


@dataclass(frozen=True)
class Size:
    """The size of an axis in the example, and in one of other sizes."""

    here: int
    there: int

    @property
    def known(self) -> int | None:
        """The size, if it is the same in both."""
        return self.here if self.here == self.there else None


ADJOINT = "adjoint of a linear map"  # the rules by which gradients go back
ONE = Size(1, 1)
Shape = tuple[Size, ...]


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor by its name in the text; whether a gradient goes through it."""

    name: str
    shape: Shape
    moves: bool
    kind: str = "float"

    @property
    def source(self) -> Source:
        return Name(self.name)


Pulled = Iterator[tuple[Value, Source]]
Pull = Callable[..., Pulled]


@dataclass(frozen=True, eq=False)
class Equation:
    """Values and what computes them; `pull` gives of cotangents, one for each, what they send to the operands.

    `why` says by which rule, and `step` is the operation of the module that it is part of.
    """

    values: tuple[Value, ...]
    code: Source
    operands: tuple[Value, ...]
    pull: Pull | None
    why: str
    step: Step


def at_both(function: Callable[..., Sequence[int]], *shapes: Shape) -> Shape:
    """The shape that comes of others, at both sizes."""
    here = function(*(tuple(size.here for size in shape) for shape in shapes))
    there = function(*(tuple(size.there for size in shape) for shape in shapes))
    return tuple(map(Size, here, there))


def axes(shape: Shape, dims: Iterable[int] | int | None) -> list[int]:
    """The places of axes, all of them where none is named."""
    if dims is None or dims == ():
        return list(range(len(shape)))
    found = [dims] if isinstance(dims, int) else dims
    return sorted(dim % len(shape) for dim in found) if shape else []


def reduced(shape: Shape, dims: Sequence[int], keepdim: bool) -> Shape:
    kept = ((ONE if axis in dims else size) for axis, size in enumerate(shape) if keepdim or axis not in dims)
    return tuple(kept)


def listed(places: Sequence[int], rank: int) -> Source:
    """One axis, or several; the last is -1."""
    if len(places) == 1:
        return Literal(str(-1 if places[0] == rank - 1 else places[0]))
    return Group(tuple(Literal(str(place)) for place in places))


def summed(source: Source, shape: Shape, to: Shape) -> Source:
    """The sum over all axes along which what has this shape was repeated."""
    lead = len(shape) - len(to)
    if lead:
        source = method(source, "sum", *([listed(range(lead), len(shape))] if to else []))
    rows = [axis for axis, size in enumerate(to) if size == ONE and shape[lead + axis] != ONE]
    return method(source, "sum", listed(rows, len(to)), keepdim=Literal("True")) if rows else source


NOTHING = Step("", "", {})


@dataclass
class Tape:
    """Equations in the order in which they are computed, the names that they use, and the sizes by their names."""

    equations: list[Equation] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    sizes: dict[Size, str] = field(default_factory=dict)
    inputs: list[Value] = field(default_factory=list)
    owners: dict[Size, list[tuple[Value, int]]] = field(default_factory=dict)
    computed: dict[Size, tuple[Value, int]] = field(default_factory=dict)  # of sizes that no input has
    parts: dict[int, str] = field(default_factory=dict)  # what several values of a step are to be called
    wanted: str = ""  # what the value of the step that is read is to be called
    current: tuple[Step, Mapping[str, Any]] = (NOTHING, {})  # that step, and its arguments
    shapes: list[Shape] = field(default_factory=list)  # of what it gives

    @property
    def first(self) -> Value:
        """A tensor whose dtype and device others take."""
        return next(value for value in self.inputs if value.kind == "float")

    @property
    def shape(self) -> Shape:
        """Of the one tensor that the step gives."""
        return self.shapes[0]

    def fresh(self, wanted: str) -> str:
        """This name, or the first of wanted1, wanted2, ... that is free."""
        wanted = wanted if wanted.isidentifier() and not (iskeyword(wanted) or issoftkeyword(wanted)) else f"{wanted}_"
        tried = chain((wanted,), (f"{wanted}{count}" for count in range(1, 10**6)))
        found = next(name for name in tried if name not in self.names and not TAKEN.fullmatch(name))
        self.names |= {found, f"grad_{found}"}
        return found

    def given(self, name: str, shape: Shape, moves: bool, kind: str) -> Value:
        """A tensor that the function takes.

        Raises Refused where the text needs its name for something else.
        """
        if TAKEN.fullmatch(name) or name in self.names:
            raise Refused(f"{name}: the text needs this name for something else; call the argument something else")
        value = Value(name, shape, moves, kind)
        self.inputs.append(value)
        self.names |= {name, f"grad_{name}"}
        for axis, size in enumerate(shape):
            if size.known is None:
                self.owners.setdefault(size, []).append((value, axis))
        return value

    def add(
        self,
        shape: Shape,
        code: Source,
        operands: Sequence[Value],
        pull: Pull | None,
        why: str,
        suffix: str = "",
        kind: str = "",
    ) -> Value:
        """The value of a new equation."""
        return self.add_all([shape], code, operands, pull, why, suffix, kind)[0]

    def add_all(
        self,
        shapes: Sequence[Shape],
        code: Source,
        operands: Sequence[Value],
        pull: Pull | None,
        why: str,
        suffix: str = "",
        kind: str = "",
    ) -> list[Value]:
        kind = kind or self.current[0].kind or "float"
        moves = kind == "float" and pull is not None and any(operand.moves for operand in operands)
        names = self.parts if len(shapes) > 1 and not suffix else {}
        wanted = f"{self.wanted}{suffix}"
        values = [Value(self.fresh(names.get(place, wanted)), shape, moves, kind) for place, shape in enumerate(shapes)]
        for value in values:
            for axis, size in enumerate(value.shape):
                self.computed.setdefault(size, (value, axis))
        self.equations.append(
            Equation(tuple(values), code, tuple(operands), pull if moves else None, why, self.current[0])
        )
        return values

    def size(self, size: Size | int) -> Source:
        """A size as a number, by the name of an axis of what is given, as a product of these, or as one of a value.

        Raises Refused where it is none.
        """
        if isinstance(size, int):
            return Literal(str(size))
        if size.known is not None:
            return Literal(str(size.known))
        if size in self.owners:
            if size not in self.sizes:
                letter = "N" if self.owners[size][0][1] == 0 else "T"
                self.sizes[size] = self.fresh(letter)
            return Name(self.sizes[size])
        for one in self.owners:
            if size.here % one.here == 0 == size.there % one.there:
                rest = Size(size.here // one.here, size.there // one.there)
                if rest.known is not None or rest in self.owners:
                    return Infix("*", *sorted((self.size(rest), self.size(one)), key=lambda s: isinstance(s, Name)))
        if size in self.computed:
            value, axis = self.computed[size]
            return Index(Attribute(value.source, "shape"), (Literal(str(axis)),))
        raise Refused(
            f"the size {size.here}, which is {size.there} at other sizes, is no product of sizes of arguments"
        )

    def count(self, shape: Shape, dims: Sequence[int]) -> Source:
        """How many entries there are along some axes."""
        factors = [shape[dim] for dim in dims]
        fixed = prod(size.known for size in factors if size.known is not None)
        parts = [self.size(size) for size in factors if size.known is None]
        return chained("*", [*([Literal(str(fixed))] if fixed != 1 or not parts else []), *parts])

    def shaped(self, source: Source, shape: Shape) -> Source:
        return method(source, "reshape", *map(self.size, shape))

    def spread(self, source: Source, to: Shape, dims: Sequence[int], keepdim: bool) -> Source:
        """What is left of axes, repeated along them."""
        if not keepdim and len(dims) < len(to):
            for dim in dims:
                source = method(source, "unsqueeze", listed([dim], len(to)))
        return method(source, "expand", *map(self.size, to))
