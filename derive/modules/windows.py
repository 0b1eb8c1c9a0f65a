"""Convolution and pooling, by their definitions: what is computed of each window that slides over the last axes."""

from collections.abc import Sequence
from functools import partial, wraps
from math import prod
from typing import Any

import numpy
from numpy.lib.stride_tricks import sliding_window_view

from derive.modules.entries import Array, ArrayEntry, ByDefinition, floats, inner, lifted
from derive.modules.refusal import Refused
from derive.modules.sums import along_axes, mean_of, most

WindowSizes = int | Sequence[int]


def per_axis(numbers: WindowSizes, rank: int) -> list[int]:
    given = [numbers] if isinstance(numbers, int) else list(numbers)
    return given * rank if len(given) == 1 else given


def bordered(x: Array, around: Sequence[Any], value: ArrayEntry) -> Array:
    """With so many more at both ends of the last axes, or at each of them."""
    sides = [(0, 0)] * (x.ndim - len(around)) + [size if isinstance(size, tuple) else (size, size) for size in around]
    return numpy.pad(x, sides, constant_values=value)


def windows(x: Array, kernel: Sequence[int], step: Sequence[int], wide: Sequence[int]) -> Array:
    """All windows of the last axes, so far apart, with entries so far apart: axes of places, and then of entries."""
    reach = tuple(w * (k - 1) + 1 for k, w in zip(kernel, wide, strict=True))
    found = sliding_window_view(x, reach, tuple(range(-len(reach), 0)), writeable=True)
    places: tuple[Any, ...] = tuple(slice(None, None, by) for by in (*step, *wide))
    return found[(..., *places)]


def convolution(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: WindowSizes = 1,
    padding: WindowSizes | str = 0,
    dilation: WindowSizes = 1,
    groups: int = 1,
) -> Array:
    rank = weight.ndim - 2
    step, wide = per_axis(stride, rank), per_axis(dilation, rank)
    batch = floats(input) if input.ndim == rank + 2 else floats(input)[None]
    if padding == "same":
        gaps = [w * (k - 1) for w, k in zip(wide, weight.shape[2:], strict=True)]
        around: list[Any] = [(gap // 2, gap - gap // 2) for gap in gaps]
    else:
        around = per_axis(0 if isinstance(padding, str) else padding, rank)
    seen = windows(bordered(batch, around, lifted(0)), weight.shape[2:], step, wide)
    found = numpy.empty((len(batch), len(weight), *seen.shape[2 : 2 + rank]), dtype=object)
    inside, outside = weight.shape[1], len(weight) // groups
    for sample, channel, *place in numpy.ndindex(*found.shape):
        first = channel // outside * inside
        entry = inner(seen[(sample, slice(first, first + inside), *place)].flat, weight[channel].flat)
        found[(sample, channel, *place)] = entry if bias is None else entry + bias[channel]
    return found if input.ndim == rank + 2 else found[0]


def transposed_convolution(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: WindowSizes = 1,
    padding: WindowSizes = 0,
    output_padding: WindowSizes = 0,
    groups: int = 1,
    dilation: WindowSizes = 1,
) -> Array:
    """Each entry times the weights, added where its window is."""
    rank = weight.ndim - 2
    step, around, more, wide = (per_axis(one, rank) for one in (stride, padding, output_padding, dilation))
    axes = zip(input.shape[2:], weight.shape[2:], step, wide, more, strict=True)
    sizes = [(n - 1) * s + w * (k - 1) + 1 + m for n, k, s, w, m in axes]
    inside, outside = input.shape[1] // groups, weight.shape[1]
    found = numpy.full((len(input), outside * groups, *sizes), lifted(0), dtype=object)
    there = windows(found, weight.shape[2:], step, wide)
    for sample, channel, *place in numpy.ndindex(*input.shape):
        first = channel // inside * outside
        there[(sample, slice(first, first + outside), *place)] += input[(sample, channel, *place)] * weight[channel]
    kept = tuple(slice(a, size - a) for a, size in zip(around, sizes, strict=True))
    found = found[(slice(None), slice(None), *kept)]
    return found if bias is None else found + bias.reshape(-1, *[1] * rank)


def columns(
    x: Array, kernel_size: WindowSizes, dilation: WindowSizes = 1, padding: WindowSizes = 0, stride: WindowSizes = 1
) -> Array:
    """The windows of an image as columns."""
    kernel, wide, around, step = (per_axis(one, 2) for one in (kernel_size, dilation, padding, stride))
    found = numpy.moveaxis(windows(bordered(floats(x), around, lifted(0)), kernel, step, wide), (-2, -1), (2, 3))
    return found.reshape(len(x), prod(found.shape[1:4]), -1)


def image(
    x: Array,
    output_size: WindowSizes,
    kernel_size: WindowSizes,
    dilation: WindowSizes = 1,
    padding: WindowSizes = 0,
    stride: WindowSizes = 1,
) -> Array:
    """Columns added where their windows are."""
    size, kernel, wide, around, step = (
        per_axis(one, 2) for one in (output_size, kernel_size, dilation, padding, stride)
    )
    channels = x.shape[1] // (kernel[0] * kernel[1])
    whole = [n + 2 * a for n, a in zip(size, around, strict=True)]
    found = numpy.full((len(x), channels, *whole), lifted(0), dtype=object)
    there = windows(found, kernel, step, wide)
    for number, (i, j) in enumerate(numpy.ndindex(*there.shape[2:4])):
        there[:, :, i, j] += x[..., number].reshape(len(x), channels, *kernel)
    return found[:, :, around[0] : whole[0] - around[0], around[1] : whole[1] - around[1]]


def adaptive_average_pool(rank: int, x: Array, output_size: WindowSizes) -> Array:
    """Means of as many parts, which overlap where they are not of one size."""
    count = per_axis(output_size, rank)
    found = numpy.empty((*x.shape[:-rank], *count), dtype=object)
    for place in numpy.ndindex(*count):
        axes = zip(place, x.shape[-rank:], count, strict=True)
        part = tuple(slice(p * n // c, -(-(p + 1) * n // c)) for p, n, c in axes)
        window = floats(x)[(slice(None),) * (x.ndim - rank) + part]
        for before in numpy.ndindex(*x.shape[:-rank]):
            found[(*before, *place)] = mean_of(list(window[before].flat))
    return found


def nearest(input: Array, output_size: Sequence[int] | None, scale_factors: Sequence[ArrayEntry] | None) -> Array:
    """Each entry of a larger image is the one that it lies in."""
    rank = input.ndim - 2
    if output_size is None:
        if scale_factors is None or any(factor != int(factor) for factor in scale_factors):
            raise Refused("a scale that is no whole number")
        output_size = [n * int(factor) for n, factor in zip(input.shape[2:], scale_factors, strict=True)]
    for axis, (n, size) in enumerate(zip(input.shape[2:], output_size, strict=True), input.ndim - rank):
        input = numpy.take(input, [place * n // size for place in range(size)], axis=axis)
    return input


def average_pool(
    rank: int, x: Array, kernel_size: WindowSizes, stride: WindowSizes = (), padding: WindowSizes = 0
) -> Array:
    kernel, step, around = (per_axis(one, rank) for one in (kernel_size, stride or kernel_size, padding))
    seen = windows(bordered(floats(x), around, lifted(0)), kernel, step, [1] * rank)
    return along_axes(mean_of, seen, range(-rank, 0))


def max_pool(
    rank: int,
    x: Array,
    kernel_size: WindowSizes,
    stride: WindowSizes = (),
    padding: WindowSizes = 0,
    dilation: WindowSizes = 1,
) -> tuple[Array, ...]:
    """The largest of each window, and where it is among all entries of its image."""
    kernel, step, around, wide = (
        per_axis(one, rank) for one in (kernel_size, stride or kernel_size, padding, dilation)
    )
    numbered = numpy.arange(prod(x.shape[-rank:])).reshape(x.shape[-rank:])
    pair = bordered(floats(x), around, lifted(float("-inf"))), bordered(numbered, around, -1)
    seen, numbers = (windows(one, kernel, step, wide) for one in pair)
    seen, numbers = (one.reshape(*one.shape[:-rank], -1) for one in (seen, numbers))
    best = along_axes(most, seen, -1, True).astype(numpy.int64)
    return tuple(numpy.take_along_axis(one, best, -1)[..., 0] for one in numpy.broadcast_arrays(seen, numbers))


@wraps(max_pool)
def largest_of_windows(*given: Any, **named: Any) -> Array:
    return max_pool(*given, **named)[0]


WINDOW_OPERATIONS: dict[str, ByDefinition] = {
    "adaptive_avg_pool1d": partial(adaptive_average_pool, 1),
    "adaptive_avg_pool2d": partial(adaptive_average_pool, 2),
    "avg_pool1d": partial(average_pool, 1),
    "avg_pool2d": partial(average_pool, 2),
    **dict.fromkeys(("conv1d", "conv2d"), convolution),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d"), transposed_convolution),
    **dict.fromkeys(("upsample_nearest1d", "upsample_nearest2d"), nearest),
    "col2im": image,
    "im2col": columns,
    "max_pool1d": partial(largest_of_windows, 1),
    "max_pool2d": partial(largest_of_windows, 2),
    "max_pool2d_with_indices": partial(max_pool, 2),
}
