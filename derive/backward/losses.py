"""Losses that torch has as one operation, as equations of linear maps and formulas."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from sympy import Expr, Integer

from derive.backends import Index, Infix, Literal, Minus, Source, call, method
from derive.backward.formulas import applied_along, entrywise, formula
from derive.backward.maps import averaged, linear, masked, summed_along
from derive.backward.tape import ONE_LONG, Handler, Tape, Value, axes, reduced_shape, zeros_like_value
from derive.modules import Refused, exactly

NO_TERM = Integer(0)


def reduction_of(t: Tape, losses: Callable[[str], Value], reduction: int, weights: Value | None = None) -> Value:
    """All of them, their mean, over the sum of their weights if they have any, or their sum, as torch numbers these."""
    if reduction == 0:
        return losses("")
    each = losses("_each")
    dims, total = axes(each.shape, None), method(each.source, "sum")
    if reduction == 1 and weights is not None:
        return summed_along(t, each, dims, False, Infix("/", total, weights.source), (), over=weights.source)
    if reduction == 1:
        return averaged(t, each, dims, False, method(each.source, "mean"), ())
    return summed_along(t, each, dims, False, total, ())


def loss_of_pairs(name: str, t: Tape, x: Value, target: Value, reduction: int = 1, **more: Any) -> Value:
    """A loss of entries and targets in the same places."""

    def losses(suffix: str) -> Value:
        return entrywise(t, lambda u, y: formula(name)(u, y, 0, **more), (x, target), suffix=suffix)

    return reduction_of(t, losses, reduction)


@dataclass(frozen=True)
class Classes:
    """The classes of rows along an axis: their places, which rows are ignored, their weights, and the sum of these.

    A row of class -100 is ignored by default, as torch ignores it, where somebody gives the classes; each weighs 1.
    """

    axis: int
    places: Source
    ignored: Source | None
    weights: Value | None
    total: Value | None


def classes_of(t: Tape, x: Value, target: Value, weight: Value | None, ignore_index: int) -> Classes:
    axis = 1 if len(x.shape) > 1 else 0
    if weight is not None and weight.moves:
        raise Refused("weights of classes that are to have a gradient, which torch does not give; register a buffer")
    known, ignored, weights, zero = target, None, None, Literal("0")
    total: Source | None = None
    if "ignore_index" in t.current[0].passed or any(one.kind == "int64" for one in t.inputs):
        hit = Infix("==", target.source, Literal(str(ignore_index)))
        ignored = t.data(target.shape, hit, "_ignored", "bool").source
        known = t.data(target.shape, method(target.source, "masked_fill", ignored, zero), "_known", "int64")
        total = method(call("torch.logical_not", ignored), "sum")
    column = (*target.shape[:axis], ONE_LONG, *target.shape[axis:])
    places = t.data(column, method(known.source, "unsqueeze", Literal(str(axis))), "_classes", "int64")
    if weight is not None:
        weights = t.data(target.shape, Index(weight.source, (known.source,)), "_weights", "float")
        shown = weights.source if ignored is None else method(weights.source, "masked_fill", ignored, Literal("0.0"))
        total = method(shown, "sum")
    whole = t.data((), total, "_total", "float") if total is not None else None
    return Classes(axis, places.source, ignored, weights, whole)


def nll_loss(t: Tape, x: Value, target: Value, weight: Value | None, reduction: int, ignore_index: int) -> Value:
    return by_classes(t, x, classes_of(t, x, target, weight, ignore_index), reduction)


def by_classes(t: Tape, x: Value, classes: Classes, reduction: int, smooth: Expr = NO_TERM) -> Value:
    """Minus the entry of each row's class, of which a part is spread over all."""
    axis, dim, shape = classes.axis, Literal(str(classes.axis)), reduced_shape(x.shape, [classes.axis], False)
    plain = smooth == 0 and classes.weights is None

    def chosen(suffix: str) -> Value:
        def adjoint(g: Source) -> Source:
            there = method(g, "unsqueeze", dim)
            return method(zeros_like_value(x), "scatter_add", dim, classes.places, Minus(there) if plain else there)

        code = method(method(x.source, "gather", dim, classes.places), "squeeze", dim)
        return linear(t, x, shape, Minus(code) if plain else code, adjoint, suffix)

    def formula_of(*entries: Any) -> Any:
        found = -(1 - smooth) * entries[0] - (smooth * entries[1] if smooth != 0 else 0)
        return found if classes.weights is None else found * entries[-1]

    def losses(suffix: str) -> Value:
        inside = f"{suffix}_shown" if classes.ignored is not None else suffix
        if plain:
            found = chosen(inside)
        else:
            parts = [chosen("_chosen")]
            if smooth != 0:
                parts.append(averaged(t, x, [axis], False, method(x.source, "mean", dim), shape, "_mean"))
            parts += [classes.weights] if classes.weights is not None else []
            found = entrywise(t, formula_of, parts, suffix=inside)
        if classes.ignored is None:
            return found
        code = method(found.source, "masked_fill", classes.ignored, Literal("0.0"))
        return masked(t, found, classes.ignored, code, shape, suffix)

    return reduction_of(t, losses, reduction, classes.total)


def cross_entropy_loss(
    t: Tape,
    x: Value,
    target: Value,
    weight: Value | None = None,
    reduction: int = 1,
    ignore_index: int = -100,
    label_smoothing: Any = 0.0,
) -> Value:
    axis, smooth = (1 if len(x.shape) > 1 else 0), exactly(label_smoothing)
    if weight is not None and (target.kind == "float" or smooth != 0):
        raise Refused("weights of classes with label_smoothing, or with probabilities")
    code = call("torch.log_softmax", x.source, Literal(str(axis)))
    logs = applied_along(t, "log_softmax", x, [axis], code, suffix="_logs")
    if target.kind != "float":
        return by_classes(t, logs, classes_of(t, logs, target, weight, ignore_index), reduction, smooth)
    size = x.shape[axis].known
    if smooth != 0 and size is None:
        raise Refused("label_smoothing over classes whose number changes with the sizes")
    spread = smooth / (size or 1)
    terms = entrywise(t, lambda u, y: -u * ((1 - smooth) * y + spread), (logs, target), suffix="_terms")
    shape = reduced_shape(terms.shape, [axis], False)

    def losses(suffix: str) -> Value:
        total = method(terms.source, "sum", Literal(str(axis)))
        return summed_along(t, terms, [axis], False, total, shape, suffix)

    return reduction_of(t, losses, reduction)


def cosine_similarity(t: Tape, x1: Value, x2: Value, dim: int = 1, eps: Any = 1e-8) -> Value:
    """The inner product of lines over both of their lengths, which are eps at least."""
    if len(x1.shape) != len(x2.shape):
        raise Refused("lines of tensors with different numbers of axes")
    axis = Literal(str(dim))
    both = entrywise(t, lambda u, v: u * v, (x1, x2), suffix="_products")
    dims = axes(both.shape, dim)
    total = method(both.source, "sum", axis)
    inner = summed_along(t, both, dims, False, total, reduced_shape(both.shape, dims, False), "_inner")

    def length(x: Value, suffix: str) -> Value:
        norm = applied_along(t, "norm", x, dims, call("torch.linalg.vector_norm", x.source, dim=axis), suffix=suffix)
        code = call("torch.clamp_min", norm.source, Literal(repr(eps)))
        return entrywise(t, lambda u: formula("clamp_min")(u, eps), (norm,), code, f"{suffix}_least")

    return entrywise(t, lambda s, a, b: s / (a * b), (inner, length(x1, "_length1"), length(x2, "_length2")))


LOSS_HANDLERS: dict[str, Handler] = {
    **{
        name: partial(loss_of_pairs, name)
        for name in (
            *("binary_cross_entropy", "binary_cross_entropy_with_logits", "huber_loss", "kl_div", "l1_loss"),
            *("mse_loss", "smooth_l1_loss"),
        )
    },
    "cosine_similarity": cosine_similarity,
    "cross_entropy_loss": cross_entropy_loss,
    "nll_loss_nd": nll_loss,
}
