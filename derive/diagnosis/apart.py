"""Slips that give the same numbers at one point: which are the same everywhere, and a point at which others differ."""

import numpy
from numpy import ndarray

from derive.diagnosis.search import Point, SlipTrial, SymbolValues

GENERAL = "formula", "slope:", "last row only", "forward"  # kinds that others are named before


def told_apart(
    point: Point, trials: list[SlipTrial], data: SymbolValues, others: SymbolValues
) -> tuple[list[list[SlipTrial]], str]:
    """In groups those that lead to the same gradients everywhere, the likely first, and where the groups differ.

    `data` and `others`, which may be none, are what is given at a point where nothing is special.
    """
    order = sorted(trials, key=unlikely)
    if len(order) < 2:
        return [[trial] for trial in order], ""
    somewhere = point.at({**data, **others})
    groups: list[list[SlipTrial]] = []
    seen: list[dict[str, ndarray]] = []
    for trial in order:
        gradients = somewhere.gradients_with(trial.changes)
        group = next((i for i, others in enumerate(seen) if same_gradients(gradients, others)), None)
        if group is None:
            groups.append([trial])
            seen.append(gradients)
        else:
            groups[group].append(trial)
    if len(groups) == 1:
        return groups, ""
    there = point.at(data)
    found = [there.gradients_with(trial.changes) for trial, *_ in groups]
    if any(same_gradients(one, other) for i, one in enumerate(found) for other in found[:i]):
        return groups, "At other weights and points their gradients differ; at these weights they may not."
    spelled = point.derivation.program.notation.torch
    lines = [f"    {spelled(symbol.name)} = {toml(rows)}" for symbol, rows in data.items()]
    return groups, "\n".join(
        ["These weights and the points below tell them apart:" if others else "These numbers tell them apart:", *lines]
    )


def unlikely(trial: SlipTrial) -> tuple[int, int, int]:
    general = sum(slip.kind.startswith(GENERAL) for slip in trial.slips)
    return len(trial.slips), general, sum(len(slip.changes) for slip in trial.slips)


def same_gradients(one: dict[str, ndarray], other: dict[str, ndarray]) -> bool:
    return all(
        one[name].shape == other[name].shape and numpy.allclose(one[name], other[name], rtol=1e-9, atol=1e-12)
        for name in one
    )


def toml(rows: ndarray) -> str:
    return "[" + ", ".join("[" + ", ".join(f"{float(n):.6g}" for n in row) + "]" for row in rows) + "]"
