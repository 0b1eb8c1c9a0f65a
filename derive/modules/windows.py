"""Convolution and pooling, by their definitions: what is computed of each window that slides over the last axes."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy

from derive.modules.entries import Array, Entry, floats, lifted, total
from derive.modules.refusal import Refused
from derive.modules.sums import mean_of, most

Operation = Callable[..., Any]
Sizes = int | Sequence[int]


def per_axis(numbers: Sizes, rank: int) -> list[int]:
    given = [numbers] if isinstance(numbers, int) else list(numbers)
    return given * rank if len(given) == 1 else given


def bordered(x: Array, around: Sequence[int], value: Entry) -> Array:
    sides = [(0, 0)] * (x.ndim - len(around)) + [(size, size) for size in around]
    return numpy.pad(x, sides, constant_values=value)


class Windows:
    """The windows of the last axes: how large, how far apart, and how far apart the entries in them."""

    def __init__(self, kernel: Sequence[int], step: Sequence[int], wide: Sequence[int]) -> None:
        self.kernel, self.step, self.wide = kernel, step, wide

    def sizes(self, shape: Sequence[int]) -> tuple[int, ...]:
        """How many windows there are along each axis."""
        axes = zip(shape, self.kernel, self.step, self.wide, strict=True)
        return tuple((n - w * (k - 1) - 1) // s + 1 for n, k, s, w in axes)

    def __call__(self, x: Array) -> Iterator[tuple[tuple[int, ...], Array]]:
        """The place and the entries of each window, with all that the axes before have."""
        for place in numpy.ndindex(*self.sizes(x.shape[-len(self.kernel) :])):
            axes = zip(place, self.kernel, self.step, self.wide, strict=True)
            parts = tuple(slice(p * s, p * s + w * (k - 1) + 1, w) for p, k, s, w in axes)
            yield place, x[(slice(None),) * (x.ndim - len(parts)) + parts]


def convolution(rank: int) -> Operation:
    def operation(
        input: Array,
        weight: Array,
        bias: Array | None = None,
        stride: Sizes = 1,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        groups: int = 1,
    ) -> Array:
        if isinstance(padding, str):
            raise Refused(f"padding={padding!r}")
        step, around, wide = (per_axis(one, rank) for one in (stride, padding, dilation))
        batch = floats(input) if input.ndim == rank + 2 else floats(input)[None]
        padded = bordered(batch, around, lifted(0))
        windows = Windows(weight.shape[2:], step, wide)
        found = numpy.empty((len(batch), len(weight), *windows.sizes(padded.shape[2:])), dtype=object)
        inside, outside = weight.shape[1], len(weight) // groups
        for place, window in windows(padded):
            for sample, channel in numpy.ndindex(*found.shape[:2]):
                first = channel // outside * inside
                taken = window[sample, first : first + inside]
                entry = total(a * b for a, b in zip(taken.flat, weight[channel].flat, strict=True))
                found[(sample, channel, *place)] = entry if bias is None else entry + bias[channel]
        return found if input.ndim == rank + 2 else found[0]

    return operation


def pooled(
    x: Array,
    rank: int,
    sizes: tuple[Sizes, Sizes, Sizes, Sizes],
    border: Entry,
    function: Callable[[list[Entry]], Entry],
) -> Array:
    """The function of each window, whose size, step, border and width are given."""
    kernel, step, around, wide = (per_axis(one, rank) for one in sizes)
    padded = bordered(floats(x), around, border)
    windows = Windows(kernel, step, wide)
    found = numpy.empty((*x.shape[:-rank], *windows.sizes(padded.shape[-rank:])), dtype=object)
    for place, window in windows(padded):
        for before in numpy.ndindex(*x.shape[:-rank]):
            found[(*before, *place)] = function(list(window[before].flat))
    return found


def average_pool(rank: int) -> Operation:
    def operation(x: Array, kernel_size: Sizes, stride: Sizes = (), padding: Sizes = 0) -> Array:
        return pooled(x, rank, (kernel_size, stride or kernel_size, padding, 1), lifted(0), mean_of)

    return operation


def max_pool(rank: int) -> Operation:
    def operation(x: Array, kernel_size: Sizes, stride: Sizes = (), padding: Sizes = 0, dilation: Sizes = 1) -> Array:
        sizes = kernel_size, stride or kernel_size, padding, dilation
        return pooled(x, rank, sizes, lifted(float("-inf")), lambda entries: entries[most(entries)])

    return operation


OPERATIONS: dict[str, Operation] = {
    "avg_pool1d": average_pool(1),
    "avg_pool2d": average_pool(2),
    "conv1d": convolution(1),
    "conv2d": convolution(2),
    "max_pool1d": max_pool(1),
    "max_pool2d": max_pool(2),
}
