"""Whether the definitions give what torch computes of an example, so that neither is taken for the other."""

from collections.abc import Mapping
from typing import Any

import numpy
from mpmath import mp, mpf

from derive.modules.entries import Array, decimal, each, lifted_by
from derive.modules.evaluate import run
from derive.modules.refusal import Refused
from derive.modules.steps import Graph

SHOWN_DIGITS, LEAST_SHOWN = 30, 1e-9
FINE_TOLERANCE, COARSE_TOLERANCE = 1e-6, 0.01  # of the largest entry; what converts, to bfloat16 say, may be far off


def exact_entries(tensor: Any) -> Array:
    """A tensor of torch by its numbers as they are."""
    data = tensor.detach().numpy()
    return each(lambda number: mpf(float(number)), data) if data.dtype.kind == "f" else data


def check(graph: Graph, tensors: Mapping[str, Any], wanted: tuple[Any, ...], whose: str) -> None:
    """Raises Refused where the definitions give other numbers, or an operation is not known."""
    with mp.workdps(SHOWN_DIGITS), lifted_by(decimal):
        try:
            results = run(graph, {name: exact_entries(tensor) for name, tensor in tensors.items()})
        except Refused as error:
            raise Refused(f"{whose}: {error}") from error
        except (ArithmeticError, TypeError, ValueError):
            return  # the example has no values, and another is tried
    converts = any("float" in map(str, step.arguments.values()) for step in graph.steps)
    tolerance = COARSE_TOLERANCE if converts else FINE_TOLERANCE
    for place, (got, value) in enumerate(zip(results, wanted, strict=True)):
        other = value.detach().double().numpy()
        try:
            here = numpy.asarray(got).astype(float)
        except TypeError:
            continue
        if here.shape != other.shape or not close(here, other, tolerance):
            line = graph.line(place)
            raise Refused(f"{whose}: torch computes something else than its operations are here{line and f', {line}'}")


def close(here: numpy.ndarray, other: numpy.ndarray, tolerance: float, least: float = LEAST_SHOWN) -> bool:
    known = numpy.isfinite(here) & numpy.isfinite(other)
    bound = tolerance * numpy.max(numpy.abs(other[known]), initial=least)
    return bool(numpy.all(numpy.abs(here[known] - other[known]) <= bound))
