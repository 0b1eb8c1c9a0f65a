"""Losses that torch has as one operation, by their definitions."""

from collections.abc import Callable
from functools import partial
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
    lifted,
    log,
)
from derive.modules.entrywise import at_least
from derive.modules.refusal import Refused
from derive.modules.sums import along_axes, length_of, log_softmax, mean_of

LEAST_LOG = -100  # of a probability, in binary_cross_entropy


def reduced(entries: Array, reduction: int) -> Array:
    """All of them, their mean, or their sum, as torch numbers these."""
    if reduction == 0:
        return entries
    return numpy.asarray(mean_of(list(entries.flat)) if reduction == 1 else entries_sum(entries.flat), dtype=object)


def of_pairs(
    function: Callable[[ArrayEntry, ArrayEntry], ArrayEntry], x: Array, target: Array, reduction: int = 1
) -> Array:
    return reduced(each(function, floats(x), floats(target)), reduction)


def log_of_probability(entry: ArrayEntry) -> ArrayEntry:
    return at_least(log(entry), lifted(LEAST_LOG))


def huber_loss(x: Array, target: Array, reduction: int = 1, delta: Any = 1.0) -> Array:
    bound = lifted(delta)

    def entry(u: ArrayEntry, y: ArrayEntry) -> ArrayEntry:
        distance = abs(u - y)
        return choice(distance <= bound, distance**2 / 2, bound * (distance - bound / 2))

    return of_pairs(entry, x, target, reduction)


def smooth_l1_loss(x: Array, target: Array, reduction: int = 1, beta: Any = 1.0) -> Array:
    return huber_loss(x, target, reduction, beta) / lifted(beta)


def kl_div(x: Array, target: Array, reduction: int = 1, log_target: bool = False) -> Array:
    def entry(u: ArrayEntry, y: ArrayEntry) -> ArrayEntry:
        return exp(y) * (y - u) if log_target else y * (log(y) - u)

    return of_pairs(entry, x, target, reduction)


def cosine_similarity(x1: Array, x2: Array, dim: int = 1, eps: Any = 1e-8) -> Array:
    """The inner product of lines over both of their lengths, which are eps at least."""
    one, other = numpy.broadcast_arrays(floats(x1), floats(x2))
    least = lifted(eps)

    def length(entries: list[ArrayEntry]) -> ArrayEntry:
        return at_least(length_of(entries), least)

    return along_axes(entries_sum, one * other, dim) / (along_axes(length, one, dim) * along_axes(length, other, dim))


def nll_loss(x: Array, target: Array, weight: Array | None, reduction: int, ignore_index: int) -> Array:
    """Minus the entry of each row's class, times its weight; the mean is over the weights of those that count."""
    rows = numpy.moveaxis(x, 1, -1) if x.ndim > 1 else x
    return by_class(lambda row, label: -row[label], rows, target, weight, reduction, ignore_index)


def by_class(
    loss: Callable[[Array, int], ArrayEntry],
    rows: Array,
    target: Array,
    weight: Array | None,
    reduction: int,
    ignore_index: int,
) -> Array:
    losses, counts = (numpy.full(target.shape, lifted(0), dtype=object) for _ in range(2))
    for place in numpy.ndindex(*target.shape):
        label = int(target[place])
        if label != ignore_index:
            counts[place] = lifted(1) if weight is None else weight[label]
            losses[place] = loss(rows[place], label) * counts[place]
    if reduction == 0:
        return losses
    return numpy.asarray(entries_sum(losses.flat) / (entries_sum(counts.flat) if reduction == 1 else 1), dtype=object)


def cross_entropy_loss(
    x: Array,
    target: Array,
    weight: Array | None = None,
    reduction: int = 1,
    ignore_index: int = -100,
    label_smoothing: Any = 0.0,
) -> Array:
    """By classes or by probabilities of classes, of which some may be spread over all."""
    axis = 1 if x.ndim > 1 else 0
    classes, smooth, logs = x.shape[axis], lifted(label_smoothing), log_softmax(x, axis)
    rows = numpy.moveaxis(logs, axis, -1)
    if weight is not None and (target.dtype == object or label_smoothing != 0):
        raise Refused("weights of classes whose probabilities are given")
    if target.dtype != object and label_smoothing == 0:
        return nll_loss(logs, target, weight, reduction, ignore_index)
    if target.dtype != object:

        def spread(row: Array, label: int) -> ArrayEntry:
            return -(1 - smooth) * row[label] - smooth * entries_sum(row) / classes

        return by_class(spread, rows, target, None, reduction, ignore_index)
    wanted = numpy.moveaxis(target * (1 - smooth) + smooth / classes, axis, -1)
    return reduced(along_axes(entries_sum, -rows * wanted, -1), reduction)


LOSS_OPERATIONS: dict[str, ByDefinition] = {
    "binary_cross_entropy": partial(
        of_pairs, lambda u, y: -y * log_of_probability(u) - (1 - y) * log_of_probability(1 - u)
    ),
    "binary_cross_entropy_with_logits": partial(of_pairs, lambda u, y: log(1 + exp(u)) - y * u),
    "cosine_similarity": cosine_similarity,
    "cross_entropy_loss": cross_entropy_loss,
    "huber_loss": huber_loss,
    "kl_div": kl_div,
    "l1_loss": partial(of_pairs, lambda u, y: abs(u - y)),
    "mse_loss": partial(of_pairs, lambda u, y: (u - y) ** 2),
    "nll_loss_nd": nll_loss,
    "smooth_l1_loss": smooth_l1_loss,
}
