"""Entries that are taken by their places, which are data: linear maps, whose adjoints add where entries came from."""

from collections.abc import Sequence

from derive.backends import Attribute, Group, Index, Literal, Source, call, method
from derive.backward.maps import linear
from derive.backward.tape import (
    ADJOINT,
    BatchRows,
    Handler,
    Pulled,
    RowsPulled,
    Tape,
    TensorShape,
    Value,
    zeros_like_value,
)
from derive.backward.written import spelled
from derive.modules import Refused


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


def index_select(t: Tape, x: Value, dim: int, index: Value) -> Value:
    place = Literal(str(dim))
    return linear(t, x, t.shape, spelled(t), lambda g: method(zeros_like_value(x), "index_add", place, index.source, g))


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


PLACE_HANDLERS: dict[str, Handler] = {
    "embedding": embedding,
    "gather": gather,
    "index": index,
    "index_select": index_select,
    "scatter_add": scatter_add,
}
