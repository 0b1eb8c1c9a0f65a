"""Layers and losses that torch has as one operation, by their definitions."""

from collections.abc import Callable, Sequence
from functools import partial, wraps
from math import prod
from typing import Any

import numpy

from derive.modules.entries import (
    Array,
    ArrayEntry,
    ByDefinition,
    choice,
    each,
    entries_sum,
    exp,
    floats,
    is_condition,
    lifted,
    of,
    root_of,
)
from derive.modules.refusal import DROPOUT, Refused
from derive.modules.sums import each_line, einsum, linear, matmul, mean_of, variance_of

RMS_EPSILON = 2.220446049250313e-16  # which rms_norm of float64 adds where it is given none


def times_plus(x: Array, weight: Array | None, bias: Array | None) -> Array:
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


def layer_norm(
    input: Array,
    normalized_shape: Sequence[int],
    weight: Array | None = None,
    bias: Array | None = None,
    eps: Any = 1e-5,
) -> Array:
    """Each part of this shape less its mean, over the root of its variance and eps."""
    lines = input.reshape(*input.shape[: input.ndim - len(normalized_shape)], prod(normalized_shape))
    return times_plus(standardized_lines(lines, eps).reshape(input.shape), weight, bias)


def standardized_lines(lines: Array, eps: Any) -> Array:
    """Along the last axis."""
    small = lifted(eps)

    def of_line(line: list[ArrayEntry]) -> list[ArrayEntry]:
        middle, root = mean_of(line), root_of(variance_of(line) + small)
        return [(entry - middle) / root for entry in line]

    return each_line(of_line, lines, -1)


def rms_norm(input: Array, normalized_shape: Sequence[int], weight: Array | None = None, eps: Any = None) -> Array:
    """Each part of this shape over the root of the mean of its squares and eps."""
    small = lifted(RMS_EPSILON if eps is None else eps)
    lines = input.reshape(*input.shape[: input.ndim - len(normalized_shape)], prod(normalized_shape))
    found = each_line(lambda line: [e / root_of(mean_of([u * u for u in line]) + small) for e in line], lines, -1)
    return times_plus(found.reshape(input.shape), weight, None)


def group_norm(
    input: Array, num_groups: int, weight: Array | None = None, bias: Array | None = None, eps: Any = 1e-5
) -> Array:
    found = standardized_lines(input.reshape(input.shape[0], num_groups, -1), eps).reshape(input.shape)
    return times_plus(found, per_channel(weight, input), per_channel(bias, input))


def per_channel(x: Array | None, input: Array) -> Array | None:
    return None if x is None else x.reshape(-1, *[1] * (input.ndim - 2))


def instance_norm(
    input: Array,
    weight: Array | None,
    bias: Array | None,
    running_mean: Array | None,
    running_var: Array | None,
    use_input_stats: bool,
    eps: Any,
) -> Array:
    if not use_input_stats:
        return batch_norm(input, weight, bias, running_mean, running_var, False, eps)
    return group_norm(input, input.shape[1], weight, bias, eps)


def batch_norm(
    input: Array,
    weight: Array | None,
    bias: Array | None,
    running_mean: Array | None,
    running_var: Array | None,
    training: bool,
    eps: Any,
) -> Array:
    """In training by mean and variance of each channel; else by those that are given. Running ones are not updated."""
    if training:
        channels = numpy.moveaxis(input, 1, 0)
        lines = standardized_lines(channels.reshape(len(channels), -1), eps)
        found = numpy.moveaxis(lines.reshape(channels.shape), 0, 1)
    else:
        small = lifted(eps)
        root = each(lambda u: root_of(u + small), floats(running_var))
        found = (input - per_channel(floats(running_mean), input)) / per_channel(root, input)
    return times_plus(found, per_channel(weight, input), per_channel(bias, input))


@wraps(batch_norm)
def batch_norm_functional(*given: Any, **named: Any) -> list[Any]:
    """As a module that writes into memory has it; what comes besides is for running statistics, which nothing reads."""
    return [batch_norm(*given, **named), None, None, None, None]


def scaled_dot_product_attention(
    query: Array,
    key: Array,
    value: Array,
    attn_mask: Array | None = None,
    dropout_p: Any = 0.0,
    is_causal: bool = False,
    scale: Any = None,
    enable_gqa: bool = False,
) -> Array:
    """softmax(Q K' / sqrt(d) + mask) V; what a mask of truth values or of -inf leaves out counts nothing."""
    if dropout_p:
        raise Refused(DROPOUT)
    if enable_gqa:  # each head of keys and values is for several of queries
        key, value = (numpy.repeat(one, query.shape[-3] // one.shape[-3], axis=-3) for one in (key, value))
    factor = 1 / root_of(lifted(query.shape[-1])) if scale is None else lifted(scale)
    scores = matmul(query, numpy.swapaxes(key, -1, -2)) * factor
    if is_causal:
        attn_mask = numpy.tril(numpy.ones(scores.shape[-2:], dtype=bool))
    shown = added = None
    if attn_mask is not None:
        mask = numpy.broadcast_to(attn_mask, scores.shape)
        shown, added = (mask, None) if is_condition(mask) else (None, floats(mask))
    weights = numpy.empty(scores.shape, dtype=object)
    for place in numpy.ndindex(*scores.shape[:-1]):
        row = scores[place] if added is None else scores[place] + added[place]
        powers = [lifted(0) if shown is not None and not shown[place][j] else exp(s) for j, s in enumerate(row)]
        whole = entries_sum(powers)
        weights[place] = [power / whole for power in powers]
    return matmul(weights, value)


def dropout(input: Array, p: Any, train: bool) -> Array:
    if train and p:
        raise Refused(DROPOUT)
    return input


def gates(input: Array, hidden: Array, w_ih: Array, w_hh: Array, b_ih: Any, b_hh: Any, count: int) -> list[list[Array]]:
    """What comes from the input and from the state, for each gate."""
    return [numpy.split(linear(one, w, b), count, axis=-1) for one, w, b in ((input, w_ih, b_ih), (hidden, w_hh, b_hh))]


def lstm_cell(
    input: Array, hx: Sequence[Array], w_ih: Array, w_hh: Array, b_ih: Array | None = None, b_hh: Array | None = None
) -> tuple[Array, Array]:
    given, kept = gates(input, hx[0], w_ih, w_hh, b_ih, b_hh, 4)
    i, f, g, o = (a + b for a, b in zip(given, kept, strict=True))
    cell = each(sigmoid, f) * hx[1] + each(sigmoid, i) * each(tanh, g)
    return each(sigmoid, o) * each(tanh, cell), cell


def gru_cell(
    input: Array, hx: Array, w_ih: Array, w_hh: Array, b_ih: Array | None = None, b_hh: Array | None = None
) -> Array:
    (r, z, n), (r_kept, z_kept, n_kept) = gates(input, hx, w_ih, w_hh, b_ih, b_hh, 3)
    reset, update = each(sigmoid, r + r_kept), each(sigmoid, z + z_kept)
    new = each(tanh, n + reset * n_kept)
    return (1 - update) * new + update * hx


def rnn_cell(
    function: Callable[[ArrayEntry], ArrayEntry],
    input: Array,
    hx: Array,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None = None,
    b_hh: Array | None = None,
) -> Array:
    return each(function, linear(input, w_ih, b_ih) + linear(hx, w_hh, b_hh))


def bilinear(input1: Array, input2: Array, weight: Array, bias: Array | None = None) -> Array:
    found = einsum("...i,oij,...j->...o", (input1, weight, input2))
    return found if bias is None else found + bias


def glu(x: Array, dim: int = -1) -> Array:
    first, gate = numpy.split(x, 2, axis=dim)
    return first * each(sigmoid, gate)


sigmoid, tanh = of("sigmoid"), of("tanh")
LAYER_OPERATIONS: dict[str, ByDefinition] = {
    "_native_batch_norm_legit_functional": batch_norm_functional,
    "batch_norm": batch_norm,
    "bilinear": bilinear,
    "dropout": dropout,
    "glu": glu,
    "group_norm": group_norm,
    "gru_cell": gru_cell,
    "instance_norm": instance_norm,
    "layer_norm": layer_norm,
    "lstm_cell": lstm_cell,
    "prelu": lambda x, weight: each(
        lambda u, slope: choice(u > 0, u, slope * u), x, weight if x.ndim < 2 else per_channel(weight, x)
    ),
    "rms_norm": rms_norm,
    "rnn_relu_cell": partial(rnn_cell, of("relu")),
    "rnn_tanh_cell": partial(rnn_cell, tanh),
    "scaled_dot_product_attention": scaled_dot_product_attention,
}
