"""What a module computes, as equations between named tensors, each of which knows how a gradient goes back through it.

A size is known at two sizes of the module's arguments, so that one that changes is told from one that does not.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from itertools import chain
from keyword import iskeyword, issoftkeyword
from math import prod
from typing import Any

from derive.backends import Attribute, Group, Index, Infix, Literal, Name, Source, call, chained, method, plus
from derive.modules import Refused, Step

RESERVED = re.compile(
    r"F|G\d*|math|torch|saved|row|zip|forward|backward|backward_per_sample|jvp|PARAMETERS|SHAPES|TANGENTS|BACK|_check"
)


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
ONE_LONG = Size(1, 1)
TensorShape = tuple[Size, ...]
Handler = Callable[..., Any]  # writes an operation's equation on a tape


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor by its name in the text; whether a gradient goes through it."""

    name: str
    shape: TensorShape
    moves: bool
    kind: str = "float"

    @property
    def source(self) -> Source:
        return Name(self.name)


Pulled = Iterator[tuple[Value, Source]]
Pull = Callable[..., Pulled]
RowsPulled = Iterator[tuple[Value, Source | None]]
RowsPull = Callable[..., RowsPulled]
Push = Callable[[Mapping[Value, Source]], Source]
LinearPart = tuple[Sequence[Value], Callable[..., Source]]  # what is linear in these together, of tangents of theirs


@dataclass(frozen=True, eq=False)
class TapeEquation:
    """Values and what computes them; `pull` gives of cotangents, one for each, what they send to the operands.

    `push` gives their tangents, of those of the operands that move, and `rows` of a cotangent, where its rows are, what
    each row sends to operands that rows share; None where nothing shorter is known than `pull` of each row. `why` says
    by which rule, and `step` is the operation of the module that it is part of.
    """

    values: tuple[Value, ...]
    code: Source
    operands: tuple[Value, ...]
    pull: Pull | None
    push: Push
    rows: RowsPull | None
    why: str
    step: Step


def zeros_like_value(value: Value) -> Source:
    return call("torch.zeros_like", value.source)


def linear_in(values: Sequence[Value], code: Source) -> LinearPart:
    names = [value.name for value in values]
    return values, lambda *tangents: code.renamed(dict(zip(names, tangents, strict=True)))


def in_turn(code: Callable[..., Source], operands: Sequence[Value]) -> list[LinearPart]:
    """Of what is linear in each of several operands."""
    sources = [operand.source for operand in operands]

    def turn(place: int) -> LinearPart:
        return [operands[place]], lambda tangent: code(*sources[:place], tangent, *sources[place + 1 :])

    return [turn(place) for place in range(len(operands))]


def pushed(parts: Sequence[LinearPart]) -> Push:
    """The sum over all parts that move, where what stands still has the tangent 0."""

    def push(tangents: Mapping[Value, Source]) -> Source:
        moving = (part for part in parts if any(value in tangents for value in part[0]))
        return reduce(
            plus,
            (of(*(tangents.get(value) or zeros_like_value(value) for value in values)) for values, of in moving),
        )

    return push


def at_both(function: Callable[..., Sequence[int]], *shapes: TensorShape) -> TensorShape:
    """The shape that comes of others, at both sizes."""
    here = function(*(tuple(size.here for size in shape) for shape in shapes))
    there = function(*(tuple(size.there for size in shape) for shape in shapes))
    return tuple(map(Size, here, there))


def axes(shape: TensorShape, dims: Iterable[int] | int | None) -> list[int]:
    """The places of axes, all of them where none is named."""
    if dims is None or dims == ():
        return list(range(len(shape)))
    found = [dims] if isinstance(dims, int) else dims
    return sorted(dim % len(shape) for dim in found) if shape else []


def reduced_shape(shape: TensorShape, dims: Sequence[int], keepdim: bool) -> TensorShape:
    kept = ((ONE_LONG if axis in dims else size) for axis, size in enumerate(shape) if keepdim or axis not in dims)
    return tuple(kept)


def listed(places: Sequence[int], rank: int) -> Source:
    """One axis, or several; the last is -1."""
    if len(places) == 1:
        return Literal(str(-1 if places[0] == rank - 1 else places[0]))
    return Group(tuple(Literal(str(place)) for place in places))


def summed_to(source: Source, shape: TensorShape, to: TensorShape) -> Source:
    """The sum over all axes along which what has this shape was repeated."""
    lead = len(shape) - len(to)
    if lead:
        source = method(source, "sum", *([listed(range(lead), len(shape))] if to else []))
    rows = [axis for axis, size in enumerate(to) if size == ONE_LONG and shape[lead + axis] != ONE_LONG]
    return method(source, "sum", listed(rows, len(to)), keepdim=Literal("True")) if rows else source


@dataclass(frozen=True)
class BatchRows:
    """Where the rows of a batch are in a tensor: along an axis, alone, or with another one inside or outside."""

    tape: "Tape"
    count: Source
    axis: int
    inside: bool
    outside: bool

    @property
    def together(self) -> bool:
        return self.inside or self.outside

    def apart(self, source: Source) -> Source:
        """With an axis for the rows alone."""
        parts = (Literal("-1"), self.count) if self.outside else (self.count, Literal("-1"))
        return method(source, "unflatten", Literal(str(self.axis)), Group(parts)) if self.together else source

    def first(self, source: Source) -> Source:
        return moved_first(self.apart(source), self.axis + self.outside)

    def summed(self, source: Source, shape: TensorShape, to: TensorShape) -> Source | None:
        """The sum over all axes along which what has this shape was repeated, but the rows; None if these are not."""
        lead = len(shape) - len(to)
        gone = [axis for axis in range(len(shape)) if axis < lead or (to[axis - lead] == ONE_LONG != shape[axis])]
        if self.axis not in gone:
            return None
        over = [axis + (self.together and axis > self.axis) for axis in gone if axis != self.axis]
        over = sorted([*over, *([self.axis + self.inside] if self.together else [])])
        source, rank = self.apart(source), len(shape) + self.together
        place = self.axis + self.outside
        source = method(source, "sum", listed(over, rank)) if over else source
        source = moved_first(source, place - sum(axis < place for axis in over))
        same = len(shape) - len(gone) == len(to)
        return source if same else method(source, "reshape", self.count, *map(self.tape.size, to))

    def spread(self, source: Source, rank: int) -> Source:
        """For each row the tensor with 0 in all others."""
        like = {name: Attribute(source, name) for name in ("dtype", "device")}
        one = call("torch.eye", self.count, **like)
        if self.together:
            often = Infix("//", Index(Attribute(source, "shape"), (Literal(str(self.axis)),)), self.count)
            again = ("repeat_interleave", often, Literal("1")) if self.inside else ("repeat", Literal("1"), often)
            one = method(one, *again)
        if rank > 1:
            sides = [self.count, *(Literal("-1" if axis == self.axis else "1") for axis in range(rank))]
            one = method(one, "reshape", *sides)
        return Infix("*", one, source)


def moved_first(source: Source, axis: int) -> Source:
    """With an axis as the first."""
    return method(source, "movedim", Literal(str(axis)), Literal("0")) if axis else source


def beside(name: str) -> set[str]:
    """The name of a value, of its gradient and of its tangent."""
    return {name, f"grad_{name}", f"d_{name}"}


NO_STEP = Step("", "", {})


@dataclass
class Tape:
    """Equations in the order in which they are computed, the names that they use, and the sizes by their names."""

    equations: list[TapeEquation] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    sizes: dict[Size, str] = field(default_factory=dict)
    inputs: list[Value] = field(default_factory=list)
    owners: dict[Size, list[tuple[Value, int]]] = field(default_factory=dict)
    computed: dict[Size, tuple[Value, int]] = field(default_factory=dict)  # of sizes that no input has
    parts: dict[int, str] = field(default_factory=dict)  # what several values of a step are to be called
    wanted: str = ""  # what the value of the step that is read is to be called
    current: tuple[Step, Mapping[str, Any]] = (NO_STEP, {})  # that step, and its arguments
    shapes: list[TensorShape] = field(default_factory=list)  # of what it gives

    @property
    def first(self) -> Value:
        """A tensor whose dtype and device others take."""
        return next(value for value in self.inputs if value.kind == "float")

    @property
    def shape(self) -> TensorShape:
        """Of the one tensor that the step gives."""
        return self.shapes[0]

    def fresh(self, wanted: str) -> str:
        """This name, or the first of wanted1, wanted2, ... that is free."""
        wanted = wanted if wanted.isidentifier() and not (iskeyword(wanted) or issoftkeyword(wanted)) else f"{wanted}_"
        tried = chain((wanted,), (f"{wanted}{count}" for count in range(1, 10**6)))
        found = next(name for name in tried if self.is_free(name))
        self.names |= beside(found)
        return found

    def is_free(self, name: str) -> bool:
        return self.names.isdisjoint(beside(name)) and not RESERVED.fullmatch(name)

    def given(self, name: str, shape: TensorShape, moves: bool, kind: str) -> Value:
        """A tensor that the function takes.

        Raises Refused where the text needs its name for something else.
        """
        if not self.is_free(name):
            raise Refused(f"{name}: the text needs this name for something else; call the argument something else")
        value = Value(name, shape, moves, kind)
        self.inputs.append(value)
        self.names |= beside(name)
        for axis, size in enumerate(shape):
            if size.known is None:
                self.owners.setdefault(size, []).append((value, axis))
        return value

    def add(
        self,
        shape: TensorShape,
        code: Source,
        operands: Sequence[Value],
        pull: Pull | None,
        why: str,
        suffix: str = "",
        kind: str = "",
        push: Push | None = None,
        rows: RowsPull | None = None,
    ) -> Value:
        """The value of a new equation."""
        return self.add_all([shape], code, operands, pull, why, suffix, kind, push, rows)[0]

    def add_all(
        self,
        shapes: Sequence[TensorShape],
        code: Source,
        operands: Sequence[Value],
        pull: Pull | None,
        why: str,
        suffix: str = "",
        kind: str = "",
        push: Push | None = None,
        rows: RowsPull | None = None,
    ) -> list[Value]:
        """The values of a new equation, whose tangents are what it is of tangents if nothing else is said."""
        kind = kind or self.current[0].kind or "float"
        moves = kind == "float" and pull is not None and any(operand.moves for operand in operands)
        names = self.parts if len(shapes) > 1 and not suffix else {}
        wanted = f"{self.wanted}{suffix}"
        values = [Value(self.fresh(names.get(place, wanted)), shape, moves, kind) for place, shape in enumerate(shapes)]
        for value in values:
            for axis, size in enumerate(value.shape):
                self.computed.setdefault(size, (value, axis))
        push = push or pushed([linear_in([one for one in operands if one.kind == "float"], code)])
        pull, step = pull if moves else None, self.current[0]
        self.equations.append(TapeEquation(tuple(values), code, tuple(operands), pull, push, rows, why, step))
        return values

    def data(self, shape: TensorShape, code: Source, suffix: str, kind: str) -> Value:
        """What no gradient goes through."""
        return self.add(shape, code, [], None, "", suffix, kind)

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

    def count(self, shape: TensorShape, dims: Sequence[int]) -> Source:
        """How many entries there are along some axes."""
        factors = [shape[dim] for dim in dims]
        fixed = prod(size.known for size in factors if size.known is not None)
        parts = [self.size(size) for size in factors if size.known is None]
        return chained("*", [*([Literal(str(fixed))] if fixed != 1 or not parts else []), *parts])

    def shaped(self, source: Source, shape: TensorShape) -> Source:
        return method(source, "reshape", *map(self.size, shape))

    def spread(self, source: Source, to: TensorShape, dims: Sequence[int], keepdim: bool) -> Source:
        """What is left of axes, repeated along them."""
        if not keepdim and len(dims) < len(to):
            for dim in dims:
                source = method(source, "unsqueeze", listed([dim], len(to)))
        return method(source, "expand", *map(self.size, to))
