"""Where a network has no value, no gradient or no least loss, tried at a few points, to warn of it."""

from collections.abc import Callable, Iterator
from itertools import pairwise, product
from math import inf, isfinite
from typing import Any

from sympy import Expr, Integer, Lambda, Pow, Rational, Symbol, diff, log, preorder_traversal, simplify

from derive.formulas import FUNCTIONS, LOSSES, OfRow, compiled, p, shortened, w, y, z
from derive.problems.network import Network

FAR = (0.0, 0.5, 1.0, 3.0, 8.0, 100.0, 200.0, 400.0, 600.0)
TRIED = (-100.0, -8.0, -3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0, 8.0, 100.0)


def warnings(network: Network) -> list[str]:
    """A line for each formula of the network that is undefined somewhere, and for a loss that says nothing."""
    return no_gradient(network) + [
        f"{field}: {text!r} is undefined for {' or '.join(requirements)}; there the results are nan or infinite"
        for (field, text), (formula, variables) in typed_formulas(network).items()
        if (requirements := undefined(formula.replace(OfRow, lambda u: u), variables))
    ]


def typed_formulas(network: Network) -> dict[tuple[str, str], tuple[Expr, tuple[Symbol, ...]]]:
    """What of the network is in no table: its field and text, and the formula with its variables."""
    found: dict[tuple[str, str], tuple[Expr, tuple[Symbol, ...]]] = {}
    for layer in range(1, network.depth + 1):
        text, field = network.activation_of(layer), "output_activation" if layer == network.depth else "activation"
        if text not in FUNCTIONS:
            found[field, text] = network.function(layer), (z,)
    if network.loss not in LOSSES:
        found["loss", network.loss] = network.criterion().formula, (p, y)
    if network.penalty:
        found["penalty", network.penalty] = network.weight_penalty(), (w,)
    return found


def no_gradient(network: Network) -> list[str]:
    """That a loss over the entries of a row, of which there is one, is the same whatever is predicted."""
    formula = network.criterion().formula
    alone = diff(formula.replace(OfRow, lambda u: u), p)
    if network.layers[-1] > 1 or not formula.has(OfRow) or simplify(alone) != 0:
        return []
    return [
        f"loss: {shortened(network.loss)} of one output, one class, is the same whatever is predicted, its gradient 0; "
        "give the last layer an output a class, or take binary_cross_entropy_with_logits"
    ]


def no_least_value(network: Network) -> str:
    """Why training would run to minus infinity: the loss falls without end as an output grows; else empty."""
    formula = network.criterion().formula
    if formula.has(OfRow):
        return ""
    loss = compiled(Lambda(z, formula.subs(y, Rational(1, 2)).xreplace({p: network.function(network.depth)})))
    for sign in (1, -1):
        values = [value(loss, sign * point) for point in FAR]
        if all(far < near - 0.01 for near, far in pairwise(values[-4:])) and values[-1] == min(values):
            return (
                f"{network.loss} of output_activation {network.output_activation} has no least value: it falls without "
                f"end as an output goes to {'-' if sign < 0 else ''}infinity; another output_activation bounds it"
            )
    return ""


def value(function: Callable[[float], float], point: float) -> float:
    """Infinity where there is none."""
    try:
        found = function(point)
    except (OverflowError, ValueError, ZeroDivisionError):
        return inf
    return inf if isinstance(found, complex) else float(found)


def undefined(formula: Expr, variables: tuple[Symbol, ...]) -> list[str]:
    """Where the formula has no value, as conditions to read; empty if it has one at all points that are tried."""
    function = compiled(Lambda(variables, formula))
    bad = [point for point in product(TRIED, repeat=len(variables)) if not has_value(function, point)]
    if not bad:
        return []
    return list(dict.fromkeys(requirements(formula))) or [
        ", ".join(f"{variable} = {value:g}" for variable, value in zip(variables, bad[0], strict=True))
    ]


def has_value(function: Callable[..., Any], point: tuple[float, ...]) -> bool:
    """Whether there is a real value; one that is too large for a float is one."""
    try:
        value = function(*point)
    except OverflowError:
        return True
    except (ValueError, ZeroDivisionError):
        return False
    return not isinstance(value, complex) and isfinite(value)


def requirements(formula: Expr) -> Iterator[str]:
    """For each logarithm, root and fraction, where it has no value or no slope."""
    for part in preorder_traversal(formula):
        if isinstance(part, log) and not part.args[0].is_positive:
            yield f"{part.args[0]} <= 0"
        elif isinstance(part, Pow) and part.base.free_symbols and part.exp.is_number:
            if part.exp != Integer(part.exp) and not part.base.is_positive:
                yield f"{part.base} <= 0"
            elif part.exp.is_negative and not part.base.is_nonzero:
                yield f"{part.base} = 0"
