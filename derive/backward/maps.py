"""Linear maps: each with its adjoint, which the proof of the lines holds against what the map is by definition."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy

from derive.backends import Group, Index, Infix, Literal, Name, Range, Source, call, method
from derive.backward.tape import (
    ADJOINT,
    ONE_LONG,
    BatchRows,
    Handler,
    Pulled,
    Push,
    RowsPull,
    RowsPulled,
    Size,
    Tape,
    TensorShape,
    Value,
    at_both,
    axes,
    linear_in,
    listed,
    pushed,
    summed_to,
    zeros_like_value,
)
from derive.backward.written import dtype_of_step, spelled
from derive.modules import ENDLESS, Refused

Adjoint = Callable[[Source], Source]
ALL_OF_AXIS = Name(":")


def linear(
    t: Tape,
    x: Value,
    shape: TensorShape,
    code: Source,
    adjoint: Adjoint,
    suffix: str = "",
    push: Push | None = None,
    rows: RowsPull | None = None,
) -> Value:
    def pull(g: Source) -> Pulled:
        yield x, adjoint(g)

    return t.add(shape, code, [x], pull, ADJOINT, suffix, push=push, rows=rows)


def spelled_map(adjoint: Callable[..., Source], t: Tape, x: Value, **given: Any) -> Value:
    """A linear map as its author calls it; the adjoint is of the tape, x, the cotangent and what else was given."""
    return linear(t, x, t.shape, spelled(t), lambda g: adjoint(t, x, g, **given))


def to_kind(t: Tape, x: Value, **_: Any) -> Value:
    """Floats as they are; whole numbers and truth values as floats of the dtype that others have."""
    kind = t.current[0].kind
    return x if x.kind == kind else t.data(t.shape, method(x.source, "to", dtype_of_step(t)), "", kind)


def reshaped(t: Tape, x: Value, shape: TensorShape, suffix: str = "") -> Value:
    return linear(t, x, shape, t.shaped(x.source, shape), lambda g: t.shaped(g, x.shape), suffix)


def view(t: Tape, x: Value, **arguments: Any) -> Value:
    return x if t.shape == x.shape else reshaped(t, x, t.shape)


def transpose(t: Tape, x: Value, dim0: int = -2, dim1: int = -1) -> Value:
    if len(x.shape) < 2:
        return x
    return linear(t, x, t.shape, swapped(x.source, dim0, dim1), lambda g: swapped(g, dim0, dim1))


def swapped(x: Source, dim0: int, dim1: int) -> Source:
    return method(x, "transpose", Literal(str(dim0)), Literal(str(dim1)))


def permute(t: Tape, x: Value, dims: Sequence[int]) -> Value:
    there = [dim % len(x.shape) for dim in dims]
    back = [there.index(axis) for axis in range(len(there))]
    return linear(t, x, t.shape, permuted(x.source, there), lambda g: permuted(g, back))


def permuted(x: Source, dims: Sequence[int]) -> Source:
    return method(x, "permute", *(Literal(str(dim)) for dim in dims))


def expanded(t: Tape, x: Value, shape: TensorShape) -> Value:
    """x along new axes, and along those of size 1."""
    if x.shape == shape:
        return x
    code = method(x.source, "expand", *map(t.size, shape))

    def by_row(rows: BatchRows, g: Source) -> RowsPulled:
        yield x, rows.summed(g, shape, x.shape)

    return linear(t, x, shape, code, lambda g: summed_to(g, shape, x.shape), rows=by_row)


def reduced_over(of: Callable[..., Value], t: Tape, x: Value, dim: Any = None, keepdim: bool = False) -> Value:
    return of(t, x, axes(x.shape, dim), keepdim, spelled(t), t.shape)


def averaged(
    t: Tape, x: Value, dims: Sequence[int], keepdim: bool, code: Source, shape: TensorShape, suffix: str = ""
) -> Value:
    return summed_along(t, x, dims, keepdim, code, shape, suffix, t.count(x.shape, dims))


def summed_along(
    t: Tape,
    x: Value,
    dims: Sequence[int],
    keepdim: bool,
    code: Source,
    shape: TensorShape,
    suffix: str = "",
    over: Source | None = None,
) -> Value:
    """The sum along some axes, over a number where there is one."""

    def adjoint(g: Source) -> Source:
        return t.spread(g if over is None else Infix("/", g, over), x.shape, dims, keepdim)

    return linear(t, x, shape, code, adjoint, suffix)


def cat(t: Tape, tensors: Sequence[Value], dim: int = 0) -> Value:
    some = [one for one in tensors if one.shape != (Size(0, 0),)]
    axis = dim % len(some[0].shape)

    def part(g: Source, place: Source, number: Source) -> Source:
        sizes = Group(tuple(t.size(one.shape[axis]) for one in some))
        return Index(method(g, "split", sizes, place), (number,))

    return joined_along("cat", t, some, dim, part)


def stack(t: Tape, tensors: Sequence[Value], dim: int = 0) -> Value:
    return joined_along("stack", t, tensors, dim, lambda g, place, number: method(g, "select", place, number))


def joined_along(
    name: str, t: Tape, tensors: Sequence[Value], dim: int, part: Callable[[Source, Source, Source], Source]
) -> Value:
    """Tensors put together along an axis; which part of a cotangent is of which is given."""
    place = Literal(str(dim))

    def pull(g: Source) -> Pulled:
        return ((one, part(g, place, Literal(str(number)))) for number, one in enumerate(tensors))

    code = call(f"torch.{name}", Group(tuple(one.source for one in tensors)), place)
    return t.add(t.shape, code, tensors, pull, ADJOINT)


def in_pieces(join: str, t: Tape, x: Value, dim: int = 0, **_: Any) -> list[Value]:
    """A tensor in parts along an axis, which are put together again by torch.cat or torch.stack."""
    return cut_as(t, x, t.shapes, spelled(t), join, dim)


def cut_as(
    t: Tape, x: Value, shapes: Sequence[TensorShape], code: Source, join: str, dim: int, suffix: str = ""
) -> list[Value]:
    def pull(*cotangents: Source | None) -> Pulled:
        parts = zip(values, cotangents, strict=True)
        found = tuple(zeros_like_value(value) if g is None else g for value, g in parts)
        yield x, call(f"torch.{join}", Group(found), Literal(str(dim)))

    values = t.add_all(shapes, code, [x], pull, ADJOINT, suffix)
    return values


def cut_in(t: Tape, x: Value, count: int, dim: int, suffix: str) -> list[Value]:
    """Parts of one size."""
    place = dim % len(x.shape)
    size = Size(x.shape[place].here // count, x.shape[place].there // count)
    shape = (*x.shape[:place], size, *x.shape[place + 1 :])
    code = method(x.source, "chunk", Literal(str(count)), Literal(str(dim)))
    return cut_as(t, x, [shape] * count, code, "cat", dim, suffix)


def select(t: Tape, x: Value, dim: int, index: Any) -> Value:
    return scattered("select_scatter", t, x, spelled(t), dim, index=t.size(index))


def scattered(name: str, t: Tape, x: Value, code: Source, dim: int, **more: Source) -> Value:
    """A part of a tensor, whose cotangent goes to its place among zeros."""
    place = Literal(str(dim))
    return linear(t, x, t.shape, code, lambda g: method(zeros_like_value(x), name, g, dim=place, **more))


def cut_part(t: Tape, x: Value, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Value:
    """A slice, as people write it."""
    if t.shape == x.shape and step == 1:
        return x
    first = Literal("") if start in (None, 0) else t.size(start)
    last = Literal("") if end is None or (isinstance(end, int) and end >= ENDLESS) else t.size(end)
    parts = Range(first, last) if step == 1 else Literal(f"{first.text}:{last.text}:{step}")
    code = Index(x.source, (*[ALL_OF_AXIS] * (dim % len(x.shape)), parts))
    named = {"start": first, "end": last, "step": Literal("" if step == 1 else str(step))}
    given = {name: source for name, source in named.items() if source.text}
    return scattered("slice_scatter", t, x, code, dim, **given)


def narrow(t: Tape, x: Value, dim: int, start: Any, length: Any) -> Value:
    if not isinstance(start, int) or not isinstance(length, int):
        raise Refused("a part whose place changes with the sizes")
    return cut_part(t, x, dim, start, start + length)


def pad(t: Tape, x: Value, pad: Sequence[int], mode: str = "constant", value: Any = None) -> Value:
    if mode != "constant" or any(size < 0 for size in pad):
        raise Refused(f"mode={mode!r}, pad={pad}")

    def adjoint(g: Source) -> Source:
        for number, axis in enumerate(range(len(x.shape) - 1, len(x.shape) - 1 - len(pad) // 2, -1)):
            before = pad[2 * number]
            if before or pad[2 * number + 1]:
                g = method(g, "narrow", Literal(str(axis)), Literal(str(before)), t.size(x.shape[axis]))
        return g

    sides = Group(tuple(Literal(str(size)) for size in pad))
    zeros = linear_in([x], call("torch.nn.functional.pad", x.source, sides))
    return linear(t, x, t.shape, spelled(t), adjoint, push=pushed([zeros]))


def accumulated_back(t: Tape, x: Value, g: Source, dim: int) -> Source:
    return flipped(t, x, method(flipped(t, x, g, [dim]), "cumsum", Literal(str(dim))), [dim])


def flipped(t: Tape, x: Value, g: Source, dims: Sequence[int]) -> Source:
    return method(g, "flip", *(Literal(str(dim)) for dim in dims))


def rolled_back(t: Tape, x: Value, g: Source, shifts: Sequence[int], dims: Sequence[int] = ()) -> Source:
    parts = ([-shift for shift in shifts], dims) if dims else ([-shift for shift in shifts],)
    return method(g, "roll", *(Group(tuple(Literal(str(number)) for number in part)) for part in parts))


def repeat(t: Tape, x: Value, repeats: Sequence[Any]) -> Value:
    """Each axis so often: its copies are another axis before it, over which the adjoint sums."""
    sizes = [ONE_LONG] * (len(repeats) - len(x.shape)) + list(x.shape)

    def adjoint(g: Source) -> Source:
        shape = [part for often, size in zip(repeats, sizes, strict=True) for part in (often, size)]
        places = range(0, len(shape), 2)
        summed_up = method(method(g, "reshape", *map(t.size, shape)), "sum", listed(list(places), len(shape)))
        return t.shaped(summed_up, x.shape) if len(sizes) > len(x.shape) else summed_up

    code = method(x.source, "repeat", *map(t.size, repeats))
    return linear(t, x, t.shape, code, adjoint)


def repeat_interleave(t: Tape, x: Value, repeats: int, dim: int | None = None) -> Value:
    if dim is None:
        raise Refused("without an axis")
    place = dim % len(x.shape)

    def adjoint(g: Source) -> Source:
        shape: list[Size | int] = [*x.shape[: place + 1], repeats, *x.shape[place + 1 :]]
        return method(method(g, "reshape", *map(t.size, shape)), "sum", listed([place + 1], len(shape)))

    return linear(t, x, t.shape, spelled(t), adjoint)


def where(t: Tape, condition: Value, x: Any, other: Any) -> Value:
    """One of two in each place, where each part of the cotangent goes to."""
    sides = [side for side in (x, other) if isinstance(side, Value)]

    def pull(g: Source) -> Pulled:
        for side, pair in ((x, (g, Literal("0"))), (other, (Literal("0"), g))):
            if isinstance(side, Value):
                yield side, summed_to(call("torch.where", condition.source, *pair), shape, side.shape)

    shape = t.shape
    parts = (side.source if isinstance(side, Value) else Literal("0.0") for side in (x, other))
    zeros = linear_in(sides, call("torch.where", condition.source, *parts))
    return t.add(shape, spelled(t), sides, pull, ADJOINT, push=pushed([zeros]))


def masked_fill(t: Tape, x: Value, mask: Value, value: Any) -> Value:
    return masked(t, x, mask.source, spelled(t), t.shape)


def masked(t: Tape, x: Value, mask: Source, code: Source, shape: TensorShape, suffix: str = "") -> Value:
    if shape != x.shape:
        raise Refused("a mask of a larger shape than what it fills")

    def shown(g: Source) -> Source:
        return method(g, "masked_fill", mask, Literal("0.0"))

    return linear(t, x, shape, code, shown, suffix, pushed([([x], shown)]))


def detached(t: Tape, x: Value, **_: Any) -> Value:
    """What is detached has no gradient."""
    return t.add(t.shape, method(x.source, "detach"), [x], None, "")


def broadcast(t: Tape, tensors: Sequence[Value]) -> list[Value]:
    shape = at_both(lambda *shapes: numpy.broadcast_shapes(*shapes), *(one.shape for one in tensors))
    return [expanded(t, one, shape) for one in tensors]


MAPS: dict[str, Handler] = {
    **dict.fromkeys(("alias", "clone", "contiguous", "lift_fresh_copy", "positive"), lambda t, x, **arguments: x),
    **dict.fromkeys(("to", "_to_copy", "type_as"), to_kind),
    **dict.fromkeys(("view", "reshape", "reshape_as", "view_as"), view),
    **dict.fromkeys(
        ("flatten", "unflatten", "squeeze", "unsqueeze"),
        partial(spelled_map, lambda t, x, g, **arguments: t.shaped(g, x.shape)),
    ),
    **dict.fromkeys(("expand", "expand_as"), lambda t, x, **arguments: expanded(t, x, t.shape)),
    **dict.fromkeys(("chunk", "split", "split_with_sizes"), partial(in_pieces, "cat")),
    "broadcast_tensors": broadcast,
    "cat": cat,
    "cumsum": partial(spelled_map, accumulated_back),
    "detach": detached,
    "flip": partial(spelled_map, flipped),
    "masked_fill": masked_fill,
    "mean": partial(reduced_over, averaged),
    "mT": transpose,
    "narrow": narrow,
    "numpy_T": transpose,
    "pad": pad,
    "permute": permute,
    "repeat": repeat,
    "repeat_interleave.self_int": repeat_interleave,
    "roll": partial(spelled_map, rolled_back),
    "select": select,
    "slice": cut_part,
    "stack": stack,
    "sum": partial(reduced_over, summed_along),
    "swapaxes": lambda t, x, axis0, axis1: transpose(t, x, axis0, axis1),
    "t": transpose,
    "transpose": transpose,
    "tril": partial(spelled_map, lambda t, x, g, diagonal: method(g, "tril", Literal(str(diagonal)))),
    "triu": partial(spelled_map, lambda t, x, g, diagonal: method(g, "triu", Literal(str(diagonal)))),
    "unbind": partial(in_pieces, "stack"),
    "where": where,
}
