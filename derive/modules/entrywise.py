"""Operations entry by entry, by their definitions."""

import operator
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy
import sympy
from mpmath import mp, mpf
from sympy import Expr

from derive.formulas import FUNCTIONS
from derive.modules.entries import (
    AT_AN_END,
    Array,
    ArrayEntry,
    ByDefinition,
    choice,
    each,
    exp,
    floats,
    is_condition,
    is_float,
    lifted,
    log,
    of,
    root_of,
)
from derive.modules.refusal import Refused


def pair(function: Callable[[ArrayEntry, ArrayEntry], ArrayEntry], x: Any, other: Any) -> Array:
    """Of two tensors, or of one and a number."""
    return each(function, floats(x), floats(other))


def arithmetic(function: Callable[[Any, Any], Any], x: Any, other: Any) -> Array:
    """Of whole numbers as numpy has it."""
    return pair(function, x, other) if is_float(x) or is_float(other) else numpy.asarray(function(x, other))


def with_alpha(function: Callable[[Any, Any], Any], x: Any, other: Any, alpha: Any = 1) -> Array:
    """A sum or a difference, of which the second part is taken `alpha` times."""
    return arithmetic(function, x, other if alpha == 1 else arithmetic(operator.mul, other, alpha))


def power(base: ArrayEntry, exponent: ArrayEntry) -> ArrayEntry:
    """A power; of a negative number only with a whole exponent."""
    if isinstance(base, mpf):
        whole = exponent == int(exponent)
        if base == 0 and 0 < exponent < 1:
            AT_AN_END.append("pow")
        if base == 0 > exponent:
            return over_zero(lifted(1))
        return base ** (int(exponent) if whole else exponent) if whole or base >= 0 else mp.nan
    return base**exponent


def division(x: Any, other: Any, rounding_mode: str | None = None) -> Array:
    if rounding_mode is None:
        return pair(ratio, x, other)
    if rounding_mode == "floor" and not is_float(x) and not is_float(other):
        return numpy.asarray(x) // other
    raise Refused(f"rounding_mode={rounding_mode!r}")


def ratio(entry: ArrayEntry, other: ArrayEntry) -> ArrayEntry:
    return entry / other if other != 0 or not isinstance(other, mpf) else over_zero(entry)


def over_zero(entry: ArrayEntry) -> ArrayEntry:
    return mp.nan if entry == 0 or mp.isnan(entry) else mp.inf * mp.sign(entry)


def entrywise_function(formula: Callable[[ArrayEntry], ArrayEntry]) -> ByDefinition:
    return lambda x: each(formula, floats(x))


def relation(holds: Callable[[Any, Any], Any], x: Any, other: Any) -> Array:
    return truths(arithmetic(holds, x, other))


def truths(conditions: Array) -> Array:
    """Truth values that are known as such."""
    known = [isinstance(holds, bool | numpy.bool_) or holds in (sympy.true, sympy.false) for holds in conditions.flat]
    return conditions.astype(bool) if all(known) else conditions


def connective(known: Callable[..., Any], open_ones: Callable[..., Any], x: Array, other: Array | None = None) -> Array:
    operands = [x] if other is None else [x, other]
    if not all(is_condition(operand) for operand in operands):
        raise Refused("of what are no truth values")
    if all(operand.dtype == bool for operand in operands):
        return known(*operands)
    return truths(each(open_ones, *operands))


def where(condition: Array, x: Any, other: Any) -> Array:
    if not is_condition(condition):
        raise Refused("of what are no truth values")
    if not is_float(x) and not is_float(other):
        return numpy.where(condition, x, other)
    return each(choice, condition, floats(x), floats(other))


def at_least(entry: ArrayEntry, bound: ArrayEntry) -> ArrayEntry:
    return choice(entry <= bound, bound, entry)


def at_most(entry: ArrayEntry, bound: ArrayEntry) -> ArrayEntry:
    return choice(entry >= bound, bound, entry)


def clamp(x: Array, min: Any = None, max: Any = None) -> Array:
    if not any(map(is_float, (x, min, max))):
        return numpy.clip(x, min, max)
    x = floats(x)
    x = x if min is None else each(at_least, x, floats(min))
    return x if max is None else each(at_most, x, floats(max))


def sign(entry: ArrayEntry) -> ArrayEntry:
    if isinstance(entry, Expr):
        return sympy.sign(entry)
    return choice(entry > 0, lifted(1), choice(entry < 0, lifted(-1), lifted(0)))


def gelu(x: Array, approximate: str = "none") -> Array:
    return each(of("gelu_tanh" if approximate == "tanh" else "gelu"), floats(x))


def softplus(x: Array, beta: Any = 1, threshold: Any = 20) -> Array:
    beta, threshold = lifted(beta), lifted(threshold)
    return each(lambda u: choice(u * beta > threshold, u, log(1 + exp(u * beta)) / beta), floats(x))


def elu(x: Array, alpha: Any = 1, scale: Any = 1, input_scale: Any = 1) -> Array:
    alpha, scale, rate = map(lifted, (alpha, scale, input_scale))
    return each(lambda u: choice(u > 0, scale * u, scale * alpha * (exp(u * rate) - 1)), floats(x))


def leaky_relu(x: Array, negative_slope: Any = 0.01) -> Array:
    slope = lifted(negative_slope)
    return each(lambda u: choice(u > 0, u, slope * u), floats(x))


def threshold(x: Array, threshold: Any, value: Any) -> Array:
    bound, value = lifted(threshold), lifted(value)
    return each(lambda u: choice(u <= bound, value, u), floats(x))


OTHERWISE = {  # called by other names, with arguments, or not at all
    *("celu", "elu", "gelu", "gelu_tanh", "identity", "leaky_relu", "logsigmoid", "relu", "softplus", "softsign"),
    "tanhshrink",
}
ARITHMETIC: dict[str, ByDefinition] = {
    "add": partial(with_alpha, operator.add),
    "sub": partial(with_alpha, operator.sub),
    "rsub": lambda x, other, alpha=1: with_alpha(operator.sub, other, x, alpha),
    "mul": partial(arithmetic, operator.mul),
    "div": division,
    "pow": lambda x, exponent: pair(power, x, exponent),
    **dict.fromkeys(("maximum", "max.other"), partial(pair, at_least)),
    **dict.fromkeys(("minimum", "min.other"), partial(pair, at_most)),
}
FORMULAS: dict[str, Callable[[ArrayEntry], ArrayEntry]] = {
    "abs": abs,
    "erfc": of("erfc"),
    "expm1": lambda u: exp(u) - 1,
    "log10": lambda u: log(u) / log(lifted(10)),
    "log1p": lambda u: log(1 + u),
    "log2": lambda u: log(u) / log(lifted(2)),
    "neg": lambda u: -u,
    "reciprocal": lambda u: ratio(lifted(1), u),
    "relu": lambda u: choice(u <= 0, lifted(0), u),
    "rsqrt": lambda u: ratio(lifted(1), root_of(u)),
    "sgn": sign,
    "sign": sign,
    "sqrt": root_of,
    "square": lambda u: u * u,
    **{name: of(name) for name in ("acos", "asin", "atan", "cos", "cosh", "erf", "exp", "log", "sin", "sinh", "tan")},
    **{name: of(name) for name in ("acosh", "asinh", "atanh")},
    **{name: of(name) for name in FUNCTIONS if name not in OTHERWISE},
}
ENTRYWISE_OPERATIONS: dict[str, ByDefinition] = {
    **ARITHMETIC,
    **{name: entrywise_function(formula) for name, formula in FORMULAS.items()},
    **{name: partial(relation, getattr(operator, name)) for name in ("lt", "le", "gt", "ge")},
    "eq": partial(relation, lambda a, b: sympy.Eq(a, b) if isinstance(a, Expr) or isinstance(b, Expr) else a == b),
    "ne": partial(relation, lambda a, b: sympy.Ne(a, b) if isinstance(a, Expr) or isinstance(b, Expr) else a != b),
    "log_sigmoid": entrywise_function(of("logsigmoid")),
    "addcdiv": lambda x, tensor1, tensor2, value=1: each(
        lambda a, b, c, v: a + v * b / c, *map(floats, (x, tensor1, tensor2, value))
    ),
    "addcmul": lambda x, tensor1, tensor2, value=1: each(
        lambda a, b, c, v: a + v * b * c, *map(floats, (x, tensor1, tensor2, value))
    ),
    **dict.fromkeys(("__and__", "bitwise_and", "logical_and"), partial(connective, numpy.logical_and, sympy.And)),
    **dict.fromkeys(("__or__", "bitwise_or", "logical_or"), partial(connective, numpy.logical_or, sympy.Or)),
    **dict.fromkeys(("bitwise_not", "logical_not"), partial(connective, numpy.logical_not, sympy.Not)),
    "clamp": clamp,
    "clamp_max": lambda x, max: clamp(x, None, max),
    "clamp_min": lambda x, min: clamp(x, min),
    "celu": lambda x, alpha=1: elu(x, alpha, 1, 1 / lifted(alpha)),
    "elu": elu,
    "floor_divide": lambda x, other: division(x, other, "floor"),
    "gelu": gelu,
    "leaky_relu": leaky_relu,
    "lerp": lambda x, end, weight: each(lambda a, b, w: a + w * (b - a), *map(floats, (x, end, weight))),
    "masked_fill": lambda x, mask, value: where(mask, value, x),
    "softplus": softplus,
    "threshold": threshold,
    "where": where,
}
