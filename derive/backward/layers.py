"""Layers and losses that torch has as one operation, as equations of products, linear maps and formulas."""

from collections.abc import Mapping, Sequence
from functools import partial, wraps
from math import prod
from typing import Any

from sympy import Integer, sqrt

from derive.backends import Group, Index, Infix, Literal, Minus, Range, Source, call, chained, dotted, method
from derive.backward.formulas import DEGREES, EPSILON, applied_along, entrywise, formula
from derive.backward.maps import ALL_OF_AXIS, cut_in, linear, masked, reshaped
from derive.backward.products import PRODUCT_RULE, affine_map, entrywise_plus, entrywise_times, product
from derive.backward.tape import ONE_LONG, Handler, Pulled, Size, Tape, TensorShape, Value, at_both, axes
from derive.backward.written import spelled
from derive.modules import DROPOUT, RMS_EPSILON, Refused, exactly


def weighed(t: Tape, x: Value, weight: Value | None, bias: Value | None) -> Value:
    """x * weight + bias, in one equation; x itself where there is neither."""
    if weight is not None and bias is not None:
        code = Infix("+", Infix("*", x.source, weight.source), bias.source)
        return entrywise(t, lambda u, w, b: u * w + b, (x, weight, bias), code)
    scaled = x if weight is None else entrywise_times(t, x, weight)
    return scaled if bias is None else entrywise_plus(t, scaled, bias)


def shaped_by_channel(t: Tape, x: Value | None, rank: int, suffix: str) -> Value | None:
    return x if x is None or rank < 3 else reshaped(t, x, (*x.shape, *[ONE_LONG] * (rank - 2)), suffix)


def weighed_by_channel(t: Tape, x: Value, weight: Value | None, bias: Value | None) -> Value:
    shaped = (shaped_by_channel(t, one, len(x.shape), f"_{name}") for name, one in (("weight", weight), ("bias", bias)))
    return weighed(t, x, *shaped)


def standardized(t: Tape, x: Value, dims: Sequence[int], eps: Any, suffix: str, kind: str = "standardized") -> Value:
    """x less its mean, over its deviation, both along these axes; or over the root of the mean of its squares."""
    return applied_along(t, kind, x, list(dims), suffix=suffix, constants={EPSILON: Literal(repr(eps))})


def hat(weight: Value | None, bias: Value | None = None) -> str:
    return "_hat" if weight is not None or bias is not None else ""


def layer_norm(
    t: Tape,
    input: Value,
    normalized_shape: Sequence[int],
    weight: Value | None = None,
    bias: Value | None = None,
    eps: Any = 1e-5,
) -> Value:
    dims = range(len(input.shape) - len(normalized_shape), len(input.shape))
    return weighed(t, standardized(t, input, dims, eps, hat(weight, bias)), weight, bias)


def rms_norm(
    t: Tape, input: Value, normalized_shape: Sequence[int], weight: Value | None = None, eps: Any = None
) -> Value:
    dims = range(len(input.shape) - len(normalized_shape), len(input.shape))
    small = RMS_EPSILON if eps is None else eps
    return weighed(t, standardized(t, input, dims, small, hat(weight), "rms"), weight, None)


def group_norm(
    t: Tape, input: Value, num_groups: int, weight: Value | None = None, bias: Value | None = None, eps: Any = 1e-5
) -> Value:
    batch, channels, *rest = input.shape
    inside = Size(channels.here // num_groups, channels.there // num_groups)
    grouped = reshaped(t, input, (batch, Size(num_groups, num_groups), inside, *rest), "_groups")
    found = standardized(t, grouped, range(2, len(grouped.shape)), eps, "_normal")
    return weighed_by_channel(t, reshaped(t, found, input.shape, hat(weight, bias)), weight, bias)


def batch_norm(
    t: Tape,
    input: Value,
    weight: Value | None,
    bias: Value | None,
    running_mean: Value | None,
    running_var: Value | None,
    training: bool,
    eps: Any,
) -> Value:
    rank = len(input.shape)
    if training:
        dims = [axis for axis in range(rank) if axis != 1]
        return weighed_by_channel(t, standardized(t, input, dims, eps, hat(weight, bias)), weight, bias)
    mean, var = shaped_by_channel(t, running_mean, rank, "_mean"), shaped_by_channel(t, running_var, rank, "_var")
    if mean is None or var is None:
        raise Refused("no running statistics")
    scale = entrywise(t, lambda v: 1 / formula("sqrt")(v + exactly(eps)), (var,), suffix="_rstd")
    found = entrywise(t, lambda u, m, s: (u - m) * s, (input, mean, scale), suffix=hat(weight, bias))
    return weighed_by_channel(t, found, weight, bias)


@wraps(batch_norm)
def batch_norm_updating(*given: Any, **named: Any) -> list[Value | None]:
    """What comes besides is only for running statistics."""
    return [batch_norm(*given, **named), *[None] * 4]


def instance_norm(
    t: Tape,
    input: Value,
    weight: Value | None,
    bias: Value | None,
    running_mean: Value | None,
    running_var: Value | None,
    use_input_stats: bool,
    eps: Any,
) -> Value:
    if not use_input_stats:
        return batch_norm(t, input, weight, bias, running_mean, running_var, False, eps)
    found = standardized(t, input, range(2, len(input.shape)), eps, hat(weight, bias))
    return weighed_by_channel(t, found, weight, bias)


def along_lines(kind: str, t: Tape, x: Value, dim: Any = None, keepdim: bool = False) -> Value:
    return applied_along(t, kind, x, axes(x.shape, dim), spelled(t), keepdim)


def norm(t: Tape, x: Value, ord: Any = 2, dim: Any = None, keepdim: bool = False) -> Value:
    if ord not in (None, 2):
        raise Refused(f"a norm with p={ord}")
    return along_lines("norm", t, x, dim, keepdim)


def variance(
    kind: str, t: Tape, x: Value, dim: Any = None, correction: Any = None, keepdim: bool = False, unbiased: bool = True
) -> Value:
    less = int(unbiased) if correction is None else int(correction)
    dims = axes(x.shape, dim)
    count = t.count(x.shape, dims)
    degrees = Infix("-", count, Literal(str(less))) if less else count
    return applied_along(t, kind, x, dims, spelled(t), keepdim, constants={DEGREES: degrees})


def product_of_lines(t: Tape, x: Value, dim: int | None = None, keepdim: bool = False) -> Value:
    """The product of entries along an axis, or of all; to each goes the product of those before and those after it."""
    if not x.moves:
        return t.data(t.shape, spelled(t), "", t.current[0].kind)
    if dim is None:
        count = at_both(lambda sizes: (prod(sizes),), x.shape)
        flat = linear(t, x, count, method(x.source, "flatten"), lambda g: t.shaped(g, x.shape), "_entries")
        return product_of_lines(t, flat, 0)
    kept, axis = {"keepdim": Literal("True")} if keepdim else {}, dim % len(x.shape)
    place = Literal(str(axis))
    first, most, rest = (
        Index(x.source, (*[ALL_OF_AXIS] * axis, Range(Literal(start), Literal(stop))))
        for start, stop in (("", "1"), ("", "-1"), ("1", ""))
    )
    one = call("torch.ones_like", first)
    ahead = method(call("torch.cat", Group((one, most)), place), "cumprod", place)
    back = method(call("torch.cat", Group((rest, one)), place), "flip", place)
    before = t.add(x.shape, ahead, [x], None, "", "_before")
    after = t.add(x.shape, method(method(back, "cumprod", place), "flip", place), [x], None, "", "_after")

    def times_others(source: Source) -> Source:
        return chained("*", (source, before.source, after.source))

    def pull(g: Source) -> Pulled:
        yield x, times_others(g if keepdim else method(g, "unsqueeze", place))

    def push(tangents: Mapping[Value, Source]) -> Source:
        return method(times_others(tangents[x]), "sum", place, **kept)

    return t.add(t.shape, call("torch.prod", x.source, place, **kept), [x], pull, PRODUCT_RULE, push=push)


def scaled_dot_product_attention(
    t: Tape,
    query: Value,
    key: Value,
    value: Value,
    attn_mask: Value | None = None,
    dropout_p: Any = 0.0,
    is_causal: bool = False,
    scale: Any = None,
    enable_gqa: bool = False,
) -> Value:
    """softmax(Q K' / sqrt(d) + mask) V."""
    if dropout_p or enable_gqa:
        raise Refused(DROPOUT if dropout_p else "enable_gqa; repeat the heads of keys and values")
    scores = product(t, query, key, turn=True, suffix="_products")
    width = query.shape[-1].known
    if scale is None and width is None:
        raise Refused("heads whose width changes with the sizes")
    factor = 1 / sqrt(Integer(width or 1)) if scale is None else exactly(scale)
    scores = entrywise(t, lambda u: u * factor, (scores,), suffix="_scores")
    dims = [len(scores.shape) - 1]
    if is_causal or (attn_mask is not None and attn_mask.kind == "bool"):
        scores = hidden(t, scores, None if is_causal else attn_mask)
    elif attn_mask is not None:
        scores = entrywise_plus(t, scores, attn_mask, "_masked")
    weights = applied_along(
        t, "softmax", scores, dims, call("torch.softmax", scores.source, Literal("-1")), suffix="_weights"
    )
    return product(t, weights, value)


def hidden(t: Tape, scores: Value, shown: Value | None) -> Value:
    """The scores with -inf for what a mask, or a later key, hides."""
    if shown is None:
        ones = method(
            scores.source, "new_ones", Group(tuple(map(t.size, scores.shape[-2:]))), dtype=dotted("torch.bool")
        )
        code: Source = method(ones, "triu", Literal("1"))
        shape: TensorShape = scores.shape[-2:]
    else:
        code, shape = call("torch.logical_not", shown.source), shown.shape
    mask = t.data(shape, code, "_hidden", "bool")
    filled = method(scores.source, "masked_fill", mask.source, Minus(dotted("math.inf")))
    return masked(t, scores, mask.source, filled, scores.shape, "_masked")


def dropout(t: Tape, input: Value, p: Any, train: bool) -> Value:
    if train and p:
        raise Refused(DROPOUT)
    return input


def gate_terms(
    t: Tape, input: Value, hidden: Value, weights: Sequence[Value | None], count: int
) -> tuple[list[Value], list[Value]]:
    """What comes from the input and from the state, for each gate."""
    w_ih, w_hh, b_ih, b_hh = weights
    if w_ih is None or w_hh is None:
        raise Refused("a cell without weights")
    given = affine_map(t, input, w_ih, b_ih, "_from_input")
    kept = affine_map(t, hidden, w_hh, b_hh, "_from_state")
    return cut_in(t, given, count, -1, "_i"), cut_in(t, kept, count, -1, "_h")


def gate(name: str, t: Tape, terms: Sequence[Value], suffix: str = "") -> Value:
    return entrywise(t, lambda a, b: formula(name)(a + b), terms, suffix=suffix)


def lstm_cell(
    t: Tape, input: Value, hx: Sequence[Value], w_ih: Value, w_hh: Value, b_ih: Any = None, b_hh: Any = None
) -> list[Value]:
    given, kept = gate_terms(t, input, hx[0], (w_ih, w_hh, b_ih, b_hh), 4)
    pairs = list(zip(given, kept, strict=True))
    i, f, o = (gate("sigmoid", t, pairs[place], suffix) for place, suffix in ((0, "_i"), (1, "_f"), (3, "_o")))
    g = gate("tanh", t, pairs[2], "_g")
    cell = entrywise(t, lambda f, c, i, g: f * c + i * g, (f, hx[1], i, g), suffix="_cell")
    state = entrywise(t, lambda o, c: o * formula("tanh")(c), (o, cell), suffix="_state")
    return [state, cell]


def gru_cell(t: Tape, input: Value, hx: Value, w_ih: Value, w_hh: Value, b_ih: Any = None, b_hh: Any = None) -> Value:
    given, kept = gate_terms(t, input, hx, (w_ih, w_hh, b_ih, b_hh), 3)
    reset = gate("sigmoid", t, (given[0], kept[0]), "_reset")
    update = gate("sigmoid", t, (given[1], kept[1]), "_update")
    new = entrywise(t, lambda n, r, k: formula("tanh")(n + r * k), (given[2], reset, kept[2]), suffix="_new")
    return entrywise(t, lambda z, n, h: (1 - z) * n + z * h, (update, new, hx))


def recurrent_cell(
    name: str, t: Tape, input: Value, hx: Value, w_ih: Value, w_hh: Value, b_ih: Any = None, b_hh: Any = None
) -> Value:
    given, kept = affine_map(t, input, w_ih, b_ih, "_from_input"), affine_map(t, hx, w_hh, b_hh, "_from_state")
    return gate(name, t, (given, kept))


def glu(t: Tape, x: Value, dim: int = -1) -> Value:
    return entrywise(t, lambda u, v: u * formula("sigmoid")(v), cut_in(t, x, 2, dim, "_half"))


def prelu(t: Tape, x: Value, weight: Value) -> Value:
    return entrywise(t, formula("prelu"), (x, shaped_by_channel(t, weight, len(x.shape), "")), spelled(t))


LAYERS: dict[str, Handler] = {
    "_native_batch_norm_legit_functional": batch_norm_updating,
    "batch_norm": batch_norm,
    "dropout": dropout,
    "glu": glu,
    "group_norm": group_norm,
    "gru_cell": gru_cell,
    "instance_norm": instance_norm,
    "layer_norm": layer_norm,
    "linalg_vector_norm": norm,
    "log_softmax": partial(along_lines, "log_softmax"),
    "logsumexp": partial(along_lines, "logsumexp"),
    "lstm_cell": lstm_cell,
    "prelu": prelu,
    "prod": product_of_lines,
    "rms_norm": rms_norm,
    "rnn_relu_cell": partial(recurrent_cell, "relu"),
    "rnn_tanh_cell": partial(recurrent_cell, "tanh"),
    "scaled_dot_product_attention": scaled_dot_product_attention,
    "softmax": partial(along_lines, "softmax"),
    "std": partial(variance, "std"),
    "std.correction": partial(variance, "std"),
    "var": partial(variance, "var"),
    "var.correction": partial(variance, "var"),
}
