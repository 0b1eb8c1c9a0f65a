"""The functions of a text that go back for each row, and ahead, held against `backward` on numbers of many digits."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy
from mpmath import mp, mpf

from derive.backward.lines import Text
from derive.modules import (
    AGREEING,
    Array,
    Different,
    Graph,
    Input,
    Module,
    ModulePoint,
    Wrong,
    decimal,
    inner,
    lifted_by,
    point_with_value,
    run,
)
from derive.proof import settled

POINTS_HELD = 2
AT_POINTS_HELD = f"at {POINTS_HELD} random points"
HELD_ON_NUMBERS = {  # what is shown of functions, for the certificate
    "backward_per_sample": f"to {AGREEING} digits what backward gives where G is 0 in all other rows, {AT_POINTS_HELD}",
    "jvp": f"to {AGREEING} digits the output, and tangents whose pairing with G is that of backward, {AT_POINTS_HELD}",
}


def hold_numbers(module: Module, text: Text) -> None:
    """Raises Wrong where a row's gradients are not those of 0 in all other rows, or tangents not the adjoint."""
    graph, inputs = module.graph(), module.inputs()
    for seed in range(POINTS_HELD):
        settled(partial(at, graph, inputs, text, seed), Wrong)


def at(graph: Graph, inputs: Mapping[str, Input], text: Text, seed: int) -> None:
    with lifted_by(decimal):
        point = point_with_value(graph, inputs, seed, (1,))
        moved = {key: point.direction(point.given[key].shape) for key in text.returned["backward"]}
        given = {**point.given, **point.cotangents, **{f"d_{key}": one for key, one in moved.items()}}

        def computed(given: dict[str, Any]) -> dict[str, Array]:
            values = run(text.graph, given)
            return dict(zip((output.name for output in text.graph.outputs), values, strict=True))

        found = computed(given)
        if "jvp" in text.returned:
            ahead = [found[place] for place in text.returned["jvp"].values()]
            back = {key: found[place] for key, place in text.returned["backward"].items()}
            hold_tangents(point, ahead, mp.fsum(inner(back[key].flat, one.flat) for key, one in moved.items()))
        each = text.returned.get("backward_per_sample", {})
        for row in range(len(point.values[0])) if each else ():
            alone = {key: numpy.full(one.shape, mpf(0), dtype=object) for key, one in point.cotangents.items()}
            for key, one in point.cotangents.items():
                alone[key][row] = one[row]
            of_row = computed({**given, **alone})
            for key, place in each.items():
                wanted, got = of_row[text.returned["backward"][key]], found[place]
                got = got[row] if got.shape != wanted.shape else of_row[place]
                hold_arrays(f"backward_per_sample: row {row} of {key}", got, wanted)


def hold_tangents(point: ModulePoint, ahead: Sequence[Array], wanted: Any) -> None:
    """What jvp returns: the module's values, and tangents whose pairing with the cotangents is as backward has it."""
    count = len(point.values)
    for number, (got, tangent, value) in enumerate(zip(ahead[:count], ahead[count:], point.values, strict=True)):
        hold_arrays(f"output {number} of jvp", got, value)
        hold_shape(f"the tangent of output {number}", tangent, value)
    pairs = zip(point.cotangents.values(), ahead[count:], strict=True)
    hold_number("jvp", mp.fsum(inner(one.flat, other.flat) for one, other in pairs), wanted)


def hold_shape(what: str, got: Array, wanted: Array) -> None:
    if got.shape != wanted.shape:
        raise Wrong(f"{what} has the shape {got.shape}, not {wanted.shape}")


def hold_arrays(what: str, got: Array, wanted: Array) -> None:
    hold_shape(what, got, wanted)
    for index in numpy.ndindex(*wanted.shape):
        hold_number(f"{what}{list(index)}", got[index], wanted[index])


def hold_number(what: str, got: Any, wanted: Any) -> None:
    if not abs(got - wanted) <= (1 + abs(wanted)) * mpf(10) ** -AGREEING:  # which no NaN is
        raise Different(what, got, wanted)
