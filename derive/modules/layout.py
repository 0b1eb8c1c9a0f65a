"""Operations that move entries, or take some of them, by their definitions."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy

from derive.modules.entries import Array, ByDefinition, choice, each, floats, is_float, lifted
from derive.modules.refusal import Refused

ENDLESS = 2**60  # where a slice ends that has no end


def flatten(x: Array, start_dim: int = 0, end_dim: int = -1) -> Array:
    first, last = start_dim % max(x.ndim, 1), end_dim % max(x.ndim, 1)
    return x.reshape((*x.shape[:first], -1, *x.shape[last + 1 :])) if x.ndim else x.reshape(1)


def unflatten(x: Array, dim: int, sizes: Sequence[int]) -> Array:
    dim %= x.ndim
    return x.reshape((*x.shape[:dim], *sizes, *x.shape[dim + 1 :]))


def expand(x: Array, size: Sequence[int]) -> Array:
    old = (1,) * (len(size) - x.ndim) + x.shape
    return numpy.broadcast_to(x, [there if new == -1 else new for new, there in zip(size, old, strict=True)])


def squeeze(x: Array, dim: int | Sequence[int] | None = None) -> Array:
    dims = range(x.ndim) if dim is None else [dim] if isinstance(dim, int) else dim
    return numpy.squeeze(x, tuple(d for d in dims if x.shape[d] == 1))


def part(x: Array, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Array:
    return x[at_axis(x, dim, slice(start, None if end is None or end >= ENDLESS else end, step))]


def at_axis(x: Array, dim: int, index: Any) -> tuple[Any, ...]:
    """An index along one axis, and all along the others."""
    parts: list[Any] = [slice(None)] * x.ndim
    parts[dim] = index
    return tuple(parts)


def select(x: Array, dim: int, index: int) -> Array:
    return x[(*at_axis(x, dim, index), ...)]


def split(x: Array, split_size: int | Sequence[int], dim: int = 0) -> list[Array]:
    length = x.shape[dim]
    if isinstance(split_size, int):
        split_size = [min(split_size, length - start) for start in range(0, length, split_size)] or [0]
    return numpy.split(x, [int(stop) for stop in numpy.cumsum(split_size)][:-1], axis=dim)


def chunk(x: Array, chunks: int, dim: int = 0) -> list[Array]:
    return split(x, -(-x.shape[dim] // chunks), dim)


def together(tensors: Sequence[Array], dim: int = 0) -> Array:
    some = [floats(one) for one in tensors] if any(map(is_float, tensors)) else tensors
    return numpy.concatenate([one for one in some if one.shape != (0,)], axis=dim)


def stack(tensors: Sequence[Array], dim: int = 0) -> Array:
    return numpy.stack([floats(one) for one in tensors] if any(map(is_float, tensors)) else tensors, axis=dim)


def pixel_shuffle(x: Array, upscale_factor: int) -> Array:
    """Channels as the pixels of squares of this size."""
    *before, channels, height, width = x.shape
    r = upscale_factor
    parts = x.reshape(*before, channels // r**2, r, r, height, width)
    axes = len(before)
    moved = numpy.transpose(parts, (*range(axes + 1), axes + 3, axes + 1, axes + 4, axes + 2))
    return moved.reshape(*before, channels // r**2, height * r, width * r)


def triangle(keep: Callable[[Array, int], Array], x: Array, diagonal: int = 0) -> Array:
    kept = keep(numpy.ones(x.shape[-2:], dtype=bool), diagonal)
    return numpy.where(kept, x, lifted(0) if is_float(x) else x.dtype.type(0))


def pad(x: Array, pad: Sequence[int], mode: str = "constant", value: Any = None) -> Array:
    if mode != "constant" or any(size < 0 for size in pad):
        raise Refused(f"mode={mode!r}, pad={pad}")
    around = [(0, 0)] * (x.ndim - len(pad) // 2)
    around += [(pad[i], pad[i + 1]) for i in range(len(pad) - 2, -1, -2)]
    return numpy.pad(floats(x), around, constant_values=lifted(value or 0))


def filled(shape: Sequence[int], value: Any, kind: str | None) -> Array:
    """A tensor of one number; of floats unless it says something else."""
    if kind in (None, "float"):
        found = numpy.empty(tuple(shape), dtype=object)
        found[...] = floats(value)
        return found
    return numpy.full(tuple(shape), value, dtype=bool if kind == "bool" else numpy.int64)


def kind_of(x: Array, dtype: str | None) -> str:
    return dtype or ("float" if is_float(x) else "bool" if x.dtype == bool else "int64")


def full(size: Sequence[int], fill_value: Any, dtype: str | None = None) -> Array:
    kind = "bool" if isinstance(fill_value, bool) else "int64" if isinstance(fill_value, int) else "float"
    return filled(size, fill_value, dtype or kind)


def arange(start: int, end: int, step: int = 1, dtype: str | None = None) -> Array:
    whole = numpy.arange(start, end, step)
    if whole.dtype != numpy.int64:
        raise Refused("of steps that are no whole numbers")
    return converted(whole, dtype)


def eye(n: int, m: int | None = None, dtype: str | None = None) -> Array:
    return converted(numpy.eye(n, m, dtype=numpy.int64), dtype or "float")


def converted(x: Array, dtype: str | None = None) -> Array:
    """Rounding is not followed, so that floats of all sizes are one."""
    if dtype is None or dtype == "float":
        return x if dtype is None else floats(x)
    if is_float(x):
        raise Refused(f"floats as {dtype}")
    return x.astype(bool if dtype == "bool" else numpy.int64)


def whole(index: Array) -> Array:
    """Places, which must be known."""
    if is_float(index):
        raise Refused("places that are no whole numbers")
    if index.dtype == object:
        raise Refused("places that truth values say which are not known")
    return index


def along(x: Array, dim: int, index: Array) -> tuple[Array, ...]:
    """The places that the index says along one axis, in its own along the others."""
    places = numpy.indices(index.shape)
    return tuple(whole(index) if axis == dim % x.ndim else places[axis] for axis in range(x.ndim))


def indexed(indices: Sequence[Array | None]) -> tuple[Any, ...]:
    return tuple(slice(None) if one is None else whole(one) for one in indices)


def added_at(x: Array, at: tuple[Any, ...], src: Array) -> Array:
    """Each entry of src added in its place; several may go to the same."""
    result = x.copy()
    numpy.add.at(result, at, src)
    return result


def embedding(weight: Array, indices: Array, padding_idx: int = -1) -> Array:
    """Rows by their numbers. The gradient in the row padding_idx is 0 by torch's rule, which no definition says."""
    if padding_idx >= 0:
        raise Refused("padding_idx, a row that has no gradient by decree")
    return weight[whole(indices)]


def written(x: Array, src: Array, at: tuple[Any, ...]) -> Array:
    result = (floats(x) if is_float(src) else x).copy()
    result[at] = src if src.ndim else src.item()  # an array would become an entry itself
    return result


def index_put(x: Array, indices: Sequence[Array | None], values: Array, accumulate: bool = False) -> Array:
    """Values in these places, or one number where truth values say so, which may depend on symbols."""
    holds = indices[0]
    open_one = holds is not None and holds.dtype == object and holds.shape == x.shape and values.ndim == 0
    if open_one and is_float(x) and not accumulate:
        return each(choice, holds, floats(values), x)
    return added_at(x, indexed(indices), values) if accumulate else written(x, values, indexed(indices))


SHAPES: dict[str, ByDefinition] = {
    "flatten": flatten,
    "movedim": lambda x, source, destination: numpy.moveaxis(x, source, destination),
    "permute": lambda x, dims: numpy.transpose(x, dims),
    "reshape": lambda x, shape: x.reshape(shape),
    "squeeze": squeeze,
    "t": lambda x: x.T,
    "mT": lambda x: numpy.swapaxes(x, -1, -2),
    "numpy_T": lambda x: x.T,
    "reshape_as": lambda x, other: x.reshape(other.shape),
    "swapaxes": lambda x, axis0, axis1: numpy.swapaxes(x, axis0, axis1),
    "transpose": lambda x, dim0, dim1: numpy.swapaxes(x, dim0, dim1) if x.ndim else x,
    "unflatten": unflatten,
    "unsqueeze": lambda x, dim: numpy.expand_dims(x, dim),
    "view_as": lambda x, other: x.reshape(other.shape),
    "view": lambda x, size: x.reshape(size),
}


def unset(shape: Sequence[int], kind: str | None) -> Array:
    """Memory that nobody has written to."""
    return filled(shape, float("nan") if kind in (None, "float") else 0, kind)


NEW_TENSORS: dict[str, ByDefinition] = {
    "empty": lambda size, dtype=None: unset(size, dtype),
    "empty_like": lambda x, dtype=None: unset(x.shape, kind_of(x, dtype)),
    "new_empty": lambda x, size, dtype=None: unset(size, kind_of(x, dtype)),
    "arange": lambda end, dtype=None: arange(0, end, 1, dtype),
    "arange.start": arange,
    "arange.start_step": arange,
    "eye": eye,
    "eye.m": eye,
    "full": full,
    "full_like": lambda x, fill_value, dtype=None: filled(x.shape, fill_value, kind_of(x, dtype)),
    "new_full": lambda x, size, fill_value, dtype=None: filled(size, fill_value, kind_of(x, dtype)),
    "new_ones": lambda x, size, dtype=None: filled(size, 1, kind_of(x, dtype)),
    "new_zeros": lambda x, size, dtype=None: filled(size, 0, kind_of(x, dtype)),
    "ones": lambda size, dtype=None: filled(size, 1, dtype),
    "ones_like": lambda x, dtype=None: filled(x.shape, 1, kind_of(x, dtype)),
    "scalar_tensor": lambda s, dtype=None: full((), s, dtype),
    "zeros": lambda size, dtype=None: filled(size, 0, dtype),
    "zeros_like": lambda x, dtype=None: filled(x.shape, 0, kind_of(x, dtype)),
}
LAYOUT_OPERATIONS: dict[str, ByDefinition] = {
    **SHAPES,
    **NEW_TENSORS,
    **dict.fromkeys(("alias", "clone", "contiguous", "detach", "lift_fresh_copy", "positive"), lambda x: x),
    "_to_copy": converted,
    "broadcast_tensors": lambda tensors: numpy.broadcast_arrays(*tensors),
    "cat": together,
    "chunk": chunk,
    "copy": lambda x, src: numpy.broadcast_to(src, x.shape),
    "diagonal": lambda x, offset=0, dim1=0, dim2=1: numpy.diagonal(x, offset, dim1, dim2),
    "embedding": embedding,
    "expand": expand,
    "expand_as": lambda x, other: numpy.broadcast_to(x, other.shape),
    "fill": lambda x, value: filled(x.shape, value, kind_of(x, None)),
    "flip": lambda x, dims: numpy.flip(x, dims),
    "gather": lambda x, dim, index: x[along(x, dim, index)],
    "getitem": lambda x, place: x[place],
    "index": lambda x, indices: x[indexed(indices)],
    "index_add": lambda x, dim, index, source, alpha=1: added_at(
        floats(x), at_axis(x, dim, whole(index)), floats(source) * lifted(alpha)
    ),
    "index_copy": lambda x, dim, index, source: written(x, source, at_axis(x, dim, whole(index))),
    "index_put": index_put,
    "index_select": lambda x, dim, index: numpy.take(x, whole(index), axis=dim),
    "narrow": lambda x, dim, start, length: part(x, dim, start, start + length),
    "one_hot": lambda x, num_classes: (x[..., None] == numpy.arange(num_classes)).astype(numpy.int64),
    "pad": pad,
    "pixel_shuffle": pixel_shuffle,
    "repeat": lambda x, repeats: numpy.tile(x, repeats),
    "repeat_interleave.self_int": lambda x, repeats, dim=None: numpy.repeat(x, repeats, axis=dim),
    "roll": lambda x, shifts, dims=(): numpy.roll(x, shifts, dims) if dims else numpy.roll(x, shifts[0]),
    "scatter_add": lambda x, dim, index, src: added_at(
        floats(x), along(x, dim, index), floats(src)[tuple(map(slice, index.shape))]
    ),
    "select": select,
    "select_scatter": lambda x, src, dim, index: written(x, src, at_axis(x, dim, index)),
    "slice": part,
    "slice_scatter": lambda x, src, dim=0, start=None, end=None, step=1: written(
        x, src, at_axis(x, dim, slice(start, None if end is None or end >= ENDLESS else end, step))
    ),
    "split": split,
    "split_with_sizes": lambda x, split_sizes, dim=0: split(x, split_sizes, dim),
    "stack": stack,
    "to": converted,
    "type_as": lambda x, other: converted(x, kind_of(other, None)),
    "tril": partial(triangle, numpy.tril),
    "triu": partial(triangle, numpy.triu),
    "unbind": lambda x, dim=0: list(numpy.moveaxis(x, dim, 0)),
}
