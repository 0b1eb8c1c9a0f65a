"""Slips that give the same numbers at one point: which are the same everywhere, and a point at which others differ."""

import math

import numpy
from numpy import ndarray

from derive.diagnosis.search import Point, Trial, Values
from derive.problems import targets

ROWS = 3  # of a point that is drawn
GENERAL = "formula", "slope:", "last row only", "forward"  # kinds that others are named before


def told_apart(point: Point, trials: list[Trial]) -> tuple[list[list[Trial]], str]:
    """In groups those that lead to the same gradients everywhere, the likely first, and where the groups differ."""
    order = sorted(trials, key=unlikely)
    if len(order) < 2:
        return [[trial] for trial in order], ""
    somewhere = Point(point.network, point.derivation, {**point.inputs, **weights(point), **points(point)})
    groups: list[list[Trial]] = []
    seen: list[dict[str, ndarray]] = []
    for trial in order:
        gradients = somewhere.gradients_with(trial.changes)
        group = next((i for i, others in enumerate(seen) if same(gradients, others)), None)
        if group is None:
            groups.append([trial])
            seen.append(gradients)
        else:
            groups[group].append(trial)
    if len(groups) == 1:
        return groups, ""
    drawn = points(point)
    there = Point(point.network, point.derivation, {**point.inputs, **drawn})
    found = [there.gradients_with(trial.changes) for trial, *_ in groups]
    if any(same(one, other) for i, one in enumerate(found) for other in found[:i]):
        return groups, "At other weights and points their gradients differ; at these weights they may not."
    x, y = (toml(rows) for rows in drawn.values())
    return groups, f"These weights and the points below tell them apart:\n    x = {x}\n    y = {y}"


def unlikely(trial: Trial) -> tuple[int, int, int]:
    general = sum(slip.kind.startswith(GENERAL) for slip in trial.slips)
    return len(trial.slips), general, sum(len(slip.changes) for slip in trial.slips)


def same(one: dict[str, ndarray], other: dict[str, ndarray]) -> bool:
    return all(
        one[name].shape == other[name].shape and numpy.allclose(one[name], other[name], rtol=1e-9, atol=1e-12)
        for name in one
    )


def points(point: Point) -> Values:
    """Points at which nothing is special, with two decimals."""
    X, Y = point.derivation.program.data
    draw, width = numpy.random.default_rng(127), point.inputs[Y].shape[1]
    x = numpy.round(draw.uniform(0.05, 0.95, (ROWS, point.inputs[X].shape[1])), 2)
    made = targets(point.network)
    return {X: x, Y: numpy.round([made.numbers([float(n) for n in row], width) for row in x], 2)}


def weights(point: Point) -> Values:
    draw = numpy.random.default_rng(128)
    shapes = {symbol: point.inputs[symbol].shape for symbol in point.derivation.program.parameters}
    return {symbol: draw.normal(size=shape) / math.sqrt(shape[1]) for symbol, shape in shapes.items()}


def toml(rows: ndarray) -> str:
    return "[" + ", ".join("[" + ", ".join(f"{float(n):.6g}" for n in row) + "]" for row in rows) + "]"
