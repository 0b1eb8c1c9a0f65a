"""Entries that are taken by their places, which are data, or that are largest: adjoints add where they came from."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from derive.backends import Attribute, Group, Index, Infix, Literal, Source, call, method
from derive.backward.maps import linear, reshaped, spelled_map
from derive.backward.products import group
from derive.backward.tape import (
    ADJOINT,
    BatchRows,
    Handler,
    Pulled,
    RowsPulled,
    Tape,
    TensorShape,
    Value,
    axes,
    listed,
    reduced_shape,
    zeros_like_value,
)
from derive.backward.written import spelled
from derive.modules import Refused, per_axis


def embedding(t: Tape, weight: Value, indices: Value, padding_idx: int = -1) -> Value:
    if padding_idx >= 0:
        raise Refused("padding_idx, a row that has no gradient by decree")
    width = t.size(weight.shape[1])
    code = call("torch.nn.functional.embedding", indices.source, weight.source)

    def adjoint(g: Source) -> Source:
        rows = method(g, "reshape", Literal("-1"), width)
        places = method(indices.source, "reshape", Literal("-1"))
        return method(zeros_like_value(weight), "index_add", Literal("0"), places, rows)

    def by_row(by: BatchRows, g: Source) -> RowsPulled:
        own = call("torch.arange", by.count, device=Attribute(indices.source, "device"))
        own = method(own, "reshape", Literal("-1"), *[Literal("1")] * (len(indices.shape) - 1 + by.together))
        zeros = method(weight.source, "new_zeros", by.count, *map(t.size, weight.shape))
        places = Group((own, by.first(indices.source)))
        yield weight, method(zeros, "index_put", places, by.first(g), accumulate=Literal("True"))

    return linear(t, weight, t.shape, code, adjoint, rows=by_row)


def gather(t: Tape, x: Value, dim: int, index: Value) -> Value:
    return gathered(t, x, dim, index, spelled(t), t.shape)


def gathered(t: Tape, x: Value, dim: int, index: Value, code: Source, shape: TensorShape, suffix: str = "") -> Value:
    place = Literal(str(dim))
    return linear(
        t, x, shape, code, lambda g: method(zeros_like_value(x), "scatter_add", place, index.source, g), suffix
    )


def scatter_add(t: Tape, x: Value, dim: int, index: Value, src: Value) -> Value:
    def pull(g: Source) -> Pulled:
        yield x, g
        yield src, method(g, "gather", Literal(str(dim)), index.source)

    if index.shape != src.shape:
        raise Refused("an index of another shape than what it scatters")
    return t.add(t.shape, spelled(t), [x, src], pull, ADJOINT)


def index(t: Tape, x: Value, indices: Sequence[Value | None]) -> Value:
    if any(one is None for one in indices) or any(one and one.kind == "bool" for one in indices):
        raise Refused("by truth values, or along some axes alone")
    places = Group(tuple(one.source for one in indices if one))
    code = Index(x.source, tuple(one.source for one in indices if one))

    def adjoint(g: Source) -> Source:
        return method(zeros_like_value(x), "index_put", places, g, accumulate=Literal("True"))

    return linear(t, x, t.shape, code, adjoint)


def line_extremes(t: Tape, x: Value, dim: Any = None, keepdim: bool = False) -> Value:
    """The largest of lines, or the smallest, whose cotangent goes to those that are as large, in equal parts."""
    dims = axes(x.shape, dim)

    def share(source: Source) -> Source:
        """The source at what is largest, over how many that are."""
        places = Infix("==", x.source, t.spread(made.source, x.shape, dims, keepdim))
        hit = method(places, "to", Attribute(x.source, "dtype"))
        count = method(hit, "sum", listed(dims, len(x.shape)), keepdim=Literal("True"))
        return Infix("/", Infix("*", source, hit), count)

    def pull(g: Source) -> Pulled:
        yield x, share(t.spread(g, x.shape, dims, keepdim))

    def push(tangents: Mapping[Value, Source]) -> Source:
        return method(share(tangents[x]), "sum", listed(dims, len(x.shape)), keepdim=Literal(str(keepdim)))

    made = t.add(t.shape, spelled(t), [x], pull, "as large as the largest", push=push)
    return made


def extremes_with_places(name: str, t: Tape, x: Value, dim: int, keepdim: bool = False) -> list[Value]:
    """The largest of each line, or the smallest, and its place, to which the cotangent goes."""
    place, axis = Literal(str(dim)), dim % len(x.shape)
    kept = reduced_shape(x.shape, [axis], True)
    code = method(x.source, f"arg{name}", place, keepdim=Literal("True"))
    places = t.data(kept, code, "_places", "int64")
    values = gathered(t, x, dim, places, method(x.source, "gather", place, places.source), kept, "_values")
    if keepdim:
        return [values, places]
    shape = reduced_shape(x.shape, [axis], False)
    flat = method(places.source, "squeeze", place)
    return [reshaped(t, values, shape), t.data(shape, flat, "_flat", "int64")]


def max_pool2d(t: Tape, x: Value, kernel_size: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1) -> Value:
    """The largest of each window; its cotangent goes to its place in the image, as torch numbers these."""
    shape, flat = t.shape, (Literal("-2"),)
    options = {"stride": stride or kernel_size, "padding": padding, "dilation": dilation}
    given = {key: group(per_axis(value, 2)) for key, value in options.items()}
    path, size = "torch.nn.functional.max_pool2d", group(per_axis(kernel_size, 2))
    code = Index(call(path, x.source, size, **given, return_indices=Literal("True")), (Literal("1"),))
    places = t.data(shape, code, "_places", "int64")
    where = method(places.source, "flatten", *flat)
    taken = method(method(x.source, "flatten", *flat), "gather", Literal("-1"), where)

    def adjoint(g: Source) -> Source:
        zeros = method(zeros_like_value(x), "flatten", *flat)
        return t.shaped(method(zeros, "scatter_add", Literal("-1"), where, method(g, "flatten", *flat)), x.shape)

    return linear(t, x, shape, t.shaped(taken, shape), adjoint)


PLACE_HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(("amax", "amin", "max", "min"), line_extremes),
    "embedding": embedding,
    "gather": gather,
    "index": index,
    "index_select": partial(
        spelled_map,
        lambda t, x, g, dim, index: method(zeros_like_value(x), "index_add", Literal(str(dim)), index.source, g),
    ),
    "max.dim": partial(extremes_with_places, "max"),
    "max_pool2d": max_pool2d,
    "min.dim": partial(extremes_with_places, "min"),
    "scatter_add": scatter_add,
}
