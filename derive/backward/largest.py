"""What is largest of entries, to which alone a cotangent goes back."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from derive.backends import Attribute, Index, Infix, Literal, Source, call, method
from derive.backward.maps import linear, reshaped
from derive.backward.places import gathered
from derive.backward.products import group
from derive.backward.tape import Handler, Pulled, Tape, Value, axes, listed, reduced_shape, zeros_like_value
from derive.backward.written import spelled
from derive.modules import per_axis


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
    places = t.add(kept, code, [], None, "", "_places", kind="int64")
    values = gathered(t, x, dim, places, method(x.source, "gather", place, places.source), kept, "_values")
    if keepdim:
        return [values, places]
    shape = reduced_shape(x.shape, [axis], False)
    flat = method(places.source, "squeeze", place)
    return [reshaped(t, values, shape), t.add(shape, flat, [], None, "", "_flat", kind="int64")]


def max_pool2d(t: Tape, x: Value, kernel_size: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1) -> Value:
    """The largest of each window; its cotangent goes to its place in the image, as torch numbers these."""
    shape, flat = t.shape, (Literal("-2"),)
    options = {"stride": stride or kernel_size, "padding": padding, "dilation": dilation}
    given = {key: group(per_axis(value, 2)) for key, value in options.items()}
    path, size = "torch.nn.functional.max_pool2d", group(per_axis(kernel_size, 2))
    code = Index(call(path, x.source, size, **given, return_indices=Literal("True")), (Literal("1"),))
    places = t.add(shape, code, [], None, "", "_places", kind="int64")
    where = method(places.source, "flatten", *flat)
    taken = method(method(x.source, "flatten", *flat), "gather", Literal("-1"), where)

    def adjoint(g: Source) -> Source:
        zeros = method(zeros_like_value(x), "flatten", *flat)
        return t.shaped(method(zeros, "scatter_add", Literal("-1"), where, method(g, "flatten", *flat)), x.shape)

    return linear(t, x, shape, t.shaped(taken, shape), adjoint)


LARGEST_HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(("amax", "amin", "max", "min"), line_extremes),
    "max.dim": partial(extremes_with_places, "max"),
    "max_pool2d": max_pool2d,
    "min.dim": partial(extremes_with_places, "min"),
}
