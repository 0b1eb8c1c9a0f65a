"""Products of two or more tensors, linear in each: with the adjoint in each, which the proof of the lines holds."""

from collections.abc import Sequence
from functools import partial
from math import prod
from string import ascii_letters
from typing import Any

import numpy

from derive.backends import Attribute, Group, Infix, Literal, Source, call, method
from derive.backward.formulas import entrywise
from derive.backward.maps import averaged, linear, reshaped
from derive.backward.tape import (
    BatchRows,
    Handler,
    Pull,
    Pulled,
    RowsPull,
    RowsPulled,
    Size,
    Tape,
    TensorShape,
    Value,
    at_both,
    in_turn,
    linear_in,
    listed,
    pushed,
    summed_to,
)
from derive.modules import Refused, exactly, per_axis

PRODUCT_RULE = "product rule"


def mT(x: Source) -> Source:
    return Attribute(x, "mT")


def rows(x: Source, rank: int) -> Source:
    """All rows of a stack of matrices under one another."""
    return method(x, "flatten", Literal("0"), Literal("-2")) if rank > 2 else x


def product(t: Tape, x: Value, other: Value, turn: bool = False, suffix: str = "") -> Value:
    """x @ other, or x @ other.mT."""
    n, m = len(x.shape), len(other.shape)
    there = (*other.shape[:-2], other.shape[-1], other.shape[-2]) if turn else other.shape
    shape = at_both(product_shape, x.shape, there)
    stack = shape[: len(shape) - (n > 1) - (m > 1)]

    def pull(g: Source) -> Pulled:
        if n == 1 or m == 1:
            yield from with_vectors(x, other, g)
            return
        yield x, summed_to(Infix("@", g, other.source if turn else mT(other.source)), (*stack, *x.shape[-2:]), x.shape)
        left, right = (g, x.source) if turn else (x.source, g)
        if m == 2 and n > 2:
            yield other, Infix("@", mT(rows(left, n)), rows(right, n))
        else:
            yield other, summed_to(Infix("@", mT(left), right), (*stack, *other.shape[-2:]), other.shape)

    def by_row(by: BatchRows, g: Source) -> RowsPulled:
        left, right = (g, x.source) if turn else (x.source, g)
        if n > 1 and m == 2 and by.axis < n - 1:
            yield other, outer_of_rows(by, n, left, right)
        elif n > 1 and m > 1 and by.axis < len(stack):
            yield other, by.summed(Infix("@", mT(left), right), (*stack, *other.shape[-2:]), other.shape)
            back = Infix("@", g, other.source if turn else mT(other.source))
            yield x, by.summed(back, (*stack, *x.shape[-2:]), x.shape)

    def code(left: Source, right: Source) -> Source:
        return Infix("@", left, mT(right) if turn else right)

    push = pushed(in_turn(code, (x, other)))
    return t.add(shape, code(x.source, other.source), [x, other], pull, PRODUCT_RULE, suffix, push=push, rows=by_row)


def outer_of_rows(by: BatchRows, rank: int, left: Source, right: Source) -> Source:
    """For each row of the batch the sum of the products of all pairs of entries of two lines."""
    between = "..." if rank + by.together > 2 else ""
    return call("torch.einsum", Literal(f'"n{between}i, n{between}j -> nij"'), by.first(left), by.first(right))


def with_vectors(x: Value, other: Value, g: Source) -> Pulled:
    """The adjoint of a product where one of both is a vector."""
    n, m = len(x.shape), len(other.shape)
    if n == m:
        yield x, Infix("*", g, other.source)
        yield other, Infix("*", g, x.source)
    elif m == 1:
        column = method(g, "unsqueeze", Literal("-1"))
        yield x, call("torch.outer", g, other.source) if n == 2 else Infix("*", column, other.source)
        yield (
            other,
            Infix("@", g, x.source) if n == 2 else summed_to(Infix("*", column, x.source), x.shape, other.shape),
        )
    else:
        row = method(g, "unsqueeze", Literal("-2"))
        yield other, Infix("*", method(x.source, "unsqueeze", Literal("-1")), row)
        each = method(Infix("*", other.source, row), "sum", Literal("-1"))
        yield x, Infix("@", other.source, g) if m == 2 else summed_to(each, other.shape[:-1], x.shape)


def product_shape(left: Sequence[int], right: Sequence[int]) -> tuple[int, ...]:
    row, column = left[-2:-1], right[-1:] if len(right) > 1 else ()
    return (*numpy.broadcast_shapes(left[:-2], right[:-2]), *row, *column)


def affine_map(t: Tape, input: Value, weight: Value, bias: Value | None = None, suffix: str = "") -> Value:
    """input weight' + bias, each row by itself."""
    rank, shape = len(input.shape), (*input.shape[:-1], weight.shape[0])

    def pull(g: Source) -> Pulled:
        yield input, Infix("@", g, weight.source)
        if rank == 1:
            yield weight, call("torch.outer", g, input.source)
        else:
            yield weight, Infix("@", mT(rows(g, rank)), rows(input.source, rank))
        if bias is not None:
            yield bias, summed_to(g, shape, bias.shape)

    def by_row(by: BatchRows, g: Source) -> RowsPulled:
        if rank > 1:
            yield weight, outer_of_rows(by, rank, g, input.source)
        if bias is not None:
            yield bias, by.summed(g, shape, bias.shape)

    if len(weight.shape) != 2:
        raise Refused("a weight that is no matrix")
    return with_bias(t, "linear", (input, weight, bias), {}, shape, pull, by_row, suffix)


def with_bias(
    t: Tape,
    name: str,
    given: tuple[Value, Value, Value | None],
    options: dict[str, Source],
    shape: TensorShape,
    pull: Pull,
    rows: RowsPull,
    suffix: str = "",
) -> Value:
    """A function that is linear in its input, and in weights and a bias, if there is one, together."""
    operands = [one for one in given if one is not None]

    def code(of: Sequence[Value]) -> Source:
        return call(f"torch.nn.functional.{name}", *(one.source for one in of), **options)

    push = pushed([linear_in(operands[:1], code(operands[:2])), linear_in(operands[1:], code(operands))])
    return t.add(shape, code(operands), operands, pull, PRODUCT_RULE, suffix, push=push, rows=rows)


def entrywise_plus(t: Tape, left: Value, right: Value, suffix: str = "") -> Value:
    return entrywise(t, lambda a, b: a + b, (left, right), Infix("+", left.source, right.source), suffix)


def entrywise_times(t: Tape, left: Value, right: Value, suffix: str = "") -> Value:
    return entrywise(t, lambda a, b: a * b, (left, right), Infix("*", left.source, right.source), suffix)


def addmm(t: Tape, x: Value, mat1: Value, mat2: Value, beta: Any = 1, alpha: Any = 1) -> Value:
    found = product(t, mat1, mat2, suffix="_product")
    return entrywise(t, lambda a, b: exactly(beta) * a + exactly(alpha) * b, (x, found))


def outer(t: Tape, x: Value, vec2: Value) -> Value:
    column = reshaped(t, x, (*x.shape, Size(1, 1)), "_column")
    return entrywise_times(t, column, vec2)


def einsum(t: Tape, equation: str, tensors: Sequence[Value], suffix: str = "") -> Value:
    """Each adjoint is a product of the same kind, of the cotangent and the other factors."""
    left, _, right = equation.replace(" ", "").partition("->")
    parts = left.split(",")
    if any(letter not in ascii_letters for part in parts for letter in part) or "->" not in equation:
        raise Refused(f"einsum of {equation}, expected letters, and what the result has")
    if any(len(set(part)) < len(part) for part in parts):
        raise Refused(f"einsum of {equation}, with a letter twice in one tensor")

    def pull(g: Source, letter: str = "") -> Pulled:
        for place, (part, one) in enumerate(zip(parts, tensors, strict=True)):
            factors = [
                (right, g),
                *((p, v.source) for i, (p, v) in enumerate(zip(parts, tensors, strict=True)) if i != place),
            ]
            if set(part) - set("".join(letters for letters, _ in factors)):
                factors.append((part, call("torch.ones_like", one.source)))
            words = ", ".join(letters for letters, _ in factors)
            yield one, call("torch.einsum", Literal(f'"{words} -> {letter}{part}"'), *(source for _, source in factors))

    def by_row(by: BatchRows, g: Source) -> RowsPulled:
        letter = right[by.axis]
        if not by.together:
            found = zip(parts, pull(g, letter), strict=True)
            yield from ((one, None if letter in part else source) for part, (one, source) in found)

    def code(*sources: Source) -> Source:
        return call("torch.einsum", Literal(f'"{equation}"'), *sources)

    push, whole = pushed(in_turn(code, tensors)), code(*(one.source for one in tensors))
    return t.add(t.shape, whole, tensors, pull, PRODUCT_RULE, suffix, push=push, rows=by_row)


def bilinear_layer(t: Tape, input1: Value, input2: Value, weight: Value, bias: Value | None = None) -> Value:
    lead = ascii_letters[26 : 25 + len(input1.shape)]
    suffix = "" if bias is None else "_product"
    found = einsum(t, f"{lead}i,oij,{lead}j->{lead}o", (input1, weight, input2), suffix)
    return found if bias is None else entrywise_plus(t, found, bias)


def convolution(
    transposed: bool,
    t: Tape,
    input: Value,
    weight: Value,
    bias: Value | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    output_padding: Any = 0,
) -> Value:
    """Convolution and the transposed one are each other's adjoints in the image; weights get a product with windows."""
    x, rank = input, len(weight.shape) - 2
    if len(x.shape) != rank + 2:
        raise Refused("an image without a batch")
    kernel = [size.here for size in weight.shape[2:]]
    stride, dilation = per_axis(stride, rank), per_axis(dilation, rank)
    gaps = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    if padding == "same" and any(gap % 2 for gap in gaps):
        raise Refused("padding='same' that is not the same at both ends")
    around = {"valid": [0] * rank, "same": [gap // 2 for gap in gaps]}
    padding = around[padding] if isinstance(padding, str) else per_axis(padding, rank)
    named = {"stride": stride, "padding": padding, "dilation": dilation}
    options = unusual(named)
    beyond = per_axis(output_padding, rank)
    if any(more >= step for more, step in zip(beyond, stride, strict=True)):
        raise Refused(f"output_padding={output_padding}, expected less than the stride")
    ends = {"output_padding": group(beyond)} if any(beyond) else {}
    grouped = {"groups": Literal(str(groups))} if groups > 1 else {}
    names = f"conv{rank}d", f"conv_transpose{rank}d"
    other, own = names if transposed else reversed(names)

    def in_weights(g: Source, row: str = "") -> Source:
        image, beside = (g, x.source) if transposed else (x.source, g)
        return of_windows(image, beside, kernel, named, groups, row)

    def pull(g: Source) -> Pulled:
        axes = zip(x.shape[2:], kernel, stride, padding, dilation, strict=True)
        sizes = [(size, 2 * p - d * (k - 1) - 1, s) for size, k, s, p, d in axes]
        more = {} if transposed else unreached(t, sizes)
        yield x, call(f"torch.nn.functional.{other}", g, weight.source, **options, **more, **grouped)
        yield weight, t.shaped(in_weights(g), weight.shape)
        if bias is not None:
            yield bias, method(g, "sum", listed([0, *range(2, rank + 2)], rank + 2))

    def by_row(by: BatchRows, g: Source) -> RowsPulled:
        if by.axis == 0 and not by.together:
            yield weight, method(in_weights(g, "n"), "reshape", by.count, *map(t.size, weight.shape))
            if bias is not None:
                yield bias, method(g, "sum", listed(range(2, rank + 2), rank + 2))

    return with_bias(t, own, (x, weight, bias), {**options, **ends, **grouped}, t.shape, pull, by_row)


def unreached(t: Tape, axes: Sequence[tuple[Size, int, int]]) -> dict[str, Source]:
    """How many entries at each end no window reaches: of a size, what it has more or less, and the stride."""
    left: list[Source] = []
    for size, more, stride in axes:
        here, there = ((n + more) % stride for n in (size.here, size.there))
        if here == there and (stride == 1 or size.known):
            left.append(Literal(str(here)))
        else:
            sign = Infix("-" if more < 0 else "+", t.size(size), Literal(str(abs(more))))
            left.append(Infix("%", sign if more else t.size(size), Literal(str(stride))))
    if all(source.text == "0" for source in left):
        return {}
    return {"output_padding": left[0] if len(left) == 1 else Group(tuple(left))}


def unusual(named: dict[str, list[int]]) -> dict[str, Source]:
    """What is not as it is by default."""
    return {key: group(values) for key, values in named.items() if set(values) != {int(key != "padding")}}


def group(numbers: Sequence[int]) -> Source:
    return Literal(str(numbers[0])) if len(set(numbers)) == 1 else Group(tuple(Literal(str(n)) for n in numbers))


def windows(x: Source, kernel: Sequence[int], named: dict[str, list[int]]) -> Source:
    """The windows of each image as columns; an image of one axis is one of two, of which one has one entry."""
    flat = len(kernel) == 1
    image = method(x, "unsqueeze", Literal("-1")) if flat else x
    sides = {key: [*values, int(key != "padding")] if flat else values for key, values in named.items()}
    size = group([*kernel, 1] if flat else kernel)
    return call("torch.nn.functional.unfold", image, size, **unusual(sides))


def of_windows(
    image: Source, beside: Source, kernel: Sequence[int], named: dict[str, list[int]], groups: int, row: str
) -> Source:
    """What stands beside each window times the window, over all windows of all images, or of each."""
    columns = windows(image, kernel, named)
    flat = method(beside, "flatten", Literal("2")) if len(kernel) > 1 else beside
    if groups == 1:
        return call("torch.einsum", Literal(f'"nol, nkl -> {row}ok"'), flat, columns)
    parts = Group((Literal(str(groups)), Literal("-1")))
    one, other = (method(part, "unflatten", Literal("1"), parts) for part in (flat, columns))
    return call("torch.einsum", Literal(f'"ngol, ngkl -> {row}gok"'), one, other)


def means_of_windows(rank: int, t: Tape, x: Value, kernel_size: Any, stride: Any = (), padding: Any = 0) -> Value:
    """Means of windows; each window's share of the cotangent goes back to its entries."""
    kernel, around = per_axis(kernel_size, rank), per_axis(padding, rank)
    step = per_axis(stride or kernel_size, rank)
    if len(x.shape) != rank + 2:
        raise Refused("an image without a batch")
    channels, shape = x.shape[1], t.shape

    def adjoint(g: Source) -> Source:
        ones = method(g, "new_ones", Group((t.size(channels), Literal("1"), *(Literal(str(k)) for k in kernel))))
        axes = zip(x.shape[2:], kernel, step, around, strict=True)
        options = {key: group(v) for key, v in (("stride", step), ("padding", around)) if any(v)}
        options |= unreached(t, [(size, 2 * p - k, s) for size, k, s, p in axes])
        share = Infix("/", g, Literal(str(prod(kernel))))
        path = f"torch.nn.functional.conv_transpose{rank}d"
        return call(path, share, ones, **options, groups=t.size(channels))

    options = {"stride": group(step)} if step != kernel else {}
    options |= {"padding": group(around)} if any(around) else {}
    code = call(f"torch.nn.functional.avg_pool{rank}d", x.source, group(kernel), **options)
    return linear(t, x, shape, code, adjoint)


def adaptive_average(rank: int, t: Tape, x: Value, output_size: Any) -> Value:
    if any(size != 1 for size in per_axis(output_size, rank)):
        raise Refused("an adaptive mean of several parts, expected an output_size of 1")
    dims = list(range(len(x.shape) - rank, len(x.shape)))
    code = method(x.source, "mean", listed(dims, len(x.shape)), keepdim=Literal("True"))
    return averaged(t, x, dims, True, code, t.shape)


def enlarged(rank: int, t: Tape, input: Value, output_size: Any, scale_factors: Any) -> Value:
    """Each entry, several times; what goes back to it is the sum over a window, by a mean."""
    axes = list(zip(t.shape[2:], input.shape[2:], strict=True))
    scale = [size.here // of.here for size, of in axes]
    if any((size.here, size.there) != (n * of.here, n * of.there) for (size, of), n in zip(axes, scale, strict=True)):
        raise Refused("a scale that is no whole number, or changes with the sizes")
    code = call("torch.nn.functional.interpolate", input.source, scale_factor=group(scale))

    def adjoint(g: Source) -> Source:
        return Infix("*", Literal(str(prod(scale))), call(f"torch.nn.functional.avg_pool{rank}d", g, group(scale)))

    return linear(t, input, t.shape, code, adjoint)


PRODUCTS: dict[str, Handler] = {
    **dict.fromkeys(("conv1d", "conv2d"), partial(convolution, False)),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d"), partial(convolution, True)),
    **dict.fromkeys(("mm", "bmm"), lambda t, x, mat2: product(t, x, mat2)),
    "adaptive_avg_pool1d": partial(adaptive_average, 1),
    "adaptive_avg_pool2d": partial(adaptive_average, 2),
    "addmm": addmm,
    "avg_pool1d": partial(means_of_windows, 1),
    "avg_pool2d": partial(means_of_windows, 2),
    "baddbmm": lambda t, x, batch1, batch2, beta=1, alpha=1: addmm(t, x, batch1, batch2, beta, alpha),
    "bilinear": bilinear_layer,
    "dot": lambda t, x, tensor: product(t, x, tensor),
    "einsum": einsum,
    "linear": affine_map,
    "matmul": lambda t, x, other: product(t, x, other),
    "mv": lambda t, x, vec: product(t, x, vec),
    "outer": outer,
    "upsample_nearest1d": partial(enlarged, 1),
    "upsample_nearest2d": partial(enlarged, 2),
}
