"""Where a formula that a person typed has no value, tried at a few points, to warn of it."""

from collections.abc import Iterator
from itertools import product
from math import isfinite

from sympy import Expr, Integer, Lambda, Pow, Symbol, log, preorder_traversal

from derive.formulas import FUNCTIONS, LOSSES, logsumexp, p, y, z
from derive.problems.network import Network
from derive.programs import compiled

POINTS = (-100.0, -8.0, -3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0, 8.0, 100.0)


def warnings(network: Network) -> list[str]:
    """A line for each formula of the network that is undefined somewhere."""
    found = {}
    for layer in range(1, network.depth + 1):
        field = "output_activation" if layer == network.depth else "activation"
        if network.activation_of(layer) not in FUNCTIONS:
            found[field, network.activation_of(layer)] = network.function(layer), (z,)
    if network.loss not in LOSSES:
        formula = network.criterion().formula.replace(logsumexp, lambda u: u)
        found["loss", network.loss] = formula, (p, y)
    return [
        f"{field}: {text!r} is undefined for {' or '.join(conditions)}; there the results are nan or infinite"
        for (field, text), (formula, variables) in found.items()
        if (conditions := undefined(formula, variables))
    ]


def undefined(formula: Expr, variables: tuple[Symbol, ...]) -> list[str]:
    """Where the formula has no value, as conditions to read; empty if it has one at all points that are tried."""
    function = compiled(Lambda(variables, formula))
    bad = [point for point in product(POINTS, repeat=len(variables)) if not has_value(function, point)]
    if not bad:
        return []
    return list(dict.fromkeys(conditions(formula))) or [
        ", ".join(f"{variable} = {value:g}" for variable, value in zip(variables, bad[0], strict=True))
    ]


def has_value(function, point: tuple[float, ...]) -> bool:
    """Whether there is a real value; one that is too large for a float is one."""
    try:
        value = function(*point)
    except OverflowError:
        return True
    except (ValueError, ZeroDivisionError):
        return False
    return not isinstance(value, complex) and isfinite(value)


def conditions(formula: Expr) -> Iterator[str]:
    """For each logarithm, root and fraction, where it has no value or no slope."""
    for part in preorder_traversal(formula):
        if isinstance(part, log) and not part.args[0].is_positive:
            yield f"{part.args[0]} <= 0"
        elif isinstance(part, Pow) and part.base.free_symbols and part.exp.is_number:
            if part.exp != Integer(part.exp) and not part.base.is_positive:
                yield f"{part.base} <= 0"
            elif part.exp.is_negative and not part.base.is_nonzero:
                yield f"{part.base} = 0"
