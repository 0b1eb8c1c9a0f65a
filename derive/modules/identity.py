"""Whether a written backward is identical to SymPy's derivative of what the module is, with a symbol for each entry."""

from collections.abc import Mapping

import numpy
from sympy import Add, Expr

from derive.modules.entries import Array, each, exactly, is_float, lifted_by, of_data
from derive.modules.evaluate import detaches, run
from derive.modules.refusal import Refused
from derive.modules.steps import Graph, Input
from derive.modules.sums import Extreme
from derive.modules.written import COTANGENT_NAME
from derive.proof import Intermediates, Judge, NotProved, symbol_entries

MOST_COMPUTED = 4000  # entries of all steps of both graphs


def symbols_of(inputs: Mapping[str, Input]) -> dict[str, Array]:
    """The entries that are data, and a symbol for each other one."""
    return {
        name: symbol_entries(name, one.shape) if one.data is None else of_data(one.data) for name, one in inputs.items()
    }


def has_largest(sums: Intermediates, value: Array) -> bool:
    """Whether the largest of the module's own numbers is in it, which moves with them."""
    return any(isinstance(part, Extreme) for entry in value.flat for part in sums.variables(entry))


def is_identical(
    forward: Graph,
    backward: Graph,
    labels: list[tuple[str, str]],
    inputs: dict[str, Input],
    branches: dict[str, set[bool]],
) -> bool:
    """Whether every value and every gradient is shown to be that of the module; not if it is too much to be decided.

    To `branches` goes which of two each operation took.
    """
    if any(map(detaches, forward.steps)):
        return False
    judge, computed = Judge(), 0

    def name(value: Array) -> Array:
        nonlocal computed
        computed += value.size
        if computed > MOST_COMPUTED:
            raise Refused("too many entries")
        return each(judge.sums.name, value) if is_float(value) else value

    with lifted_by(exactly):
        try:
            given = symbols_of(inputs)
            values = run(forward, given, name, branches=branches)
            if any(has_largest(judge.sums, value) for value in values):
                return False
            cotangents = {
                f"{COTANGENT_NAME}{i}": symbol_entries(f"G{i}", value.shape) for i, value in enumerate(values)
            }
            pairs = zip(cotangents.values(), values, strict=True)
            loss = Add(*(g * f for one, other in pairs for g, f in zip(one.flat, other.flat, strict=True)))
            results = run(backward, {**given, **cotangents}, name, branches=branches)
            for (kind, of), got in zip(labels, results, strict=True):
                for index in numpy.ndindex(*got.shape):
                    wanted: Expr = (
                        values[int(of)][index] if kind == "output" else judge.sums.derivative(loss, given[of][index])
                    )
                    if not judge.show(of, got[index], wanted, ""):
                        return False
        except (NotProved, ValueError, TypeError, ArithmeticError):  # of what the judge does not know
            return False
    return True
