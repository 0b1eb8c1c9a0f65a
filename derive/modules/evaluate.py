"""What a graph computes of given entries, operation by operation, by their definitions."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import numpy
from mpmath import mpf
from sympy import Expr

from derive.modules import entrywise, layers, layout, losses, sums, windows
from derive.modules.entries import BRANCHES_TAKEN, Array, lifted, of_data
from derive.modules.refusal import Refused
from derive.modules.steps import Graph, Ref, Step

OPERATIONS: dict[str, Callable[..., Any]] = {
    **entrywise.ENTRYWISE_OPERATIONS,
    **layout.LAYOUT_OPERATIONS,
    **sums.SUM_OPERATIONS,
    **layers.LAYER_OPERATIONS,
    **losses.LOSS_OPERATIONS,
    **windows.WINDOW_OPERATIONS,
}
PASSED_OVER = {"_assert_tensor_metadata", "_assert_scalar", "sym_constrain_range_for_size"}
MEANINGLESS = {  # arguments that change no entry
    *("copy", "cudnn_enable", "cudnn_enabled", "device", "half_to_float", "implicit", "layout"),
    *("memory_format", "momentum", "non_blocking", "path", "pin_memory", "scale_grad_by_freq", "sparse"),
}


def row(operation: str) -> str | None:
    """The row of the table that an operation of torch has, as aten.sum.dim_IntList has that of sum; None if none."""
    if not operation.startswith("aten.") and operation != "getitem":
        return None
    name, _, overload = operation.removeprefix("aten.").partition(".")
    return next((found for found in (f"{name}.{overload}", name) if found in OPERATIONS), None)


@cache
def definition(operation: str) -> tuple[Callable[..., Any], frozenset[str]] | None:
    """What an operation of torch computes, and the arguments that this takes; None where it is not known."""
    found = row(operation)
    return None if found is None else (OPERATIONS[found], frozenset(inspect.signature(OPERATIONS[found]).parameters))


def detaches(step: Step) -> bool:
    """Whether its result has no gradient, as torch has it."""
    return step.operation.startswith("aten.detach.")


def is_passed_over(step: Step) -> bool:
    """Whether it computes nothing, or only writes where nobody reads: a graph has no other step that writes."""
    name = step.operation.removeprefix("aten.").partition(".")[0]
    return name in PASSED_OVER or (name.endswith("_") and not name.endswith("__"))


def run(
    graph: Graph,
    given: Mapping[str, Array],
    name: Callable[[Array], Array] = lambda value: value,
    held: dict[str, Any] | None = None,
    branches: dict[str, set[bool]] | None = None,
) -> list[Array]:
    """The outputs, of tensors that have these names; each value is what `name` makes of it.

    Where `held` has the value of a step that detaches, that is kept, and else put there. To `branches` goes which of
    two each operation took, by its name and line.

    Raises Refused, with the operation and its line, where an operation is not known in this form.
    """
    known = known_at_first(graph, given)
    for step, value in steps_evaluated(graph, known):
        if branches is not None and BRANCHES_TAKEN:
            branches.setdefault(step.placed, set()).update(BRANCHES_TAKEN)
        result = held.setdefault(step.name, value) if held is not None and detaches(step) else value
        known[step.name] = name(result) if isinstance(result, numpy.ndarray) else result
    return [known[output.name] for output in graph.outputs]


def known_at_first(graph: Graph, given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of inputs and constants, by the names that steps call them."""
    constants = {step: of_data(data) for step, data in graph.constants.items()}
    return {step: given[called] for step, called in graph.inputs.items()} | constants


def steps_evaluated(graph: Graph, known: dict[str, Any]) -> Iterator[tuple[Step, Any]]:
    """Each step and its value, which is known then; another may be put in its place."""
    for step in graph.steps:
        if not is_passed_over(step):
            BRANCHES_TAKEN.clear()
            known[step.name] = step_value(step, known)
            yield step, known[step.name]


def as_arrays(result: Any) -> Any:
    """The result with arrays in the place of entries, which numpy makes of arrays without axes."""
    if isinstance(result, tuple | list):
        return [as_arrays(part) for part in result]
    return numpy.asarray(result, dtype=object) if isinstance(result, mpf | Expr) else result


def step_value(step: Step, known: Mapping[str, Any]) -> Any:
    """What a step computes of values that are known by their names.

    Raises Refused where it is not known.
    """

    def value(argument: Any) -> Any:
        if isinstance(argument, Ref):
            return known[argument.name]
        if isinstance(argument, tuple):
            return tuple(map(value, argument))
        return lifted(argument) if isinstance(argument, float) else argument

    found = definition(step.operation)
    if found is None:
        raise Refused(f"{step.placed}: this operation is not known")
    function, takes = found
    more = step.passed - takes - MEANINGLESS - ({"dtype"} if step.arguments.get("dtype") == "float" else set())
    if more:
        said = ", ".join(f"{name}={step.arguments[name]}" for name in sorted(more))
        raise Refused(f"{step.placed}: not known with {said}")
    arguments = {name: value(argument) for name, argument in step.arguments.items() if name in takes}
    try:
        return as_arrays(function(**arguments))
    except Refused as error:
        raise Refused(f"{step.placed}: {error}") from error
