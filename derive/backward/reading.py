"""From the graph of a module to the equations of its forward pass."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from inspect import signature
from typing import Any

import numpy

from derive.backends import Index, Literal, call
from derive.backward.formulas import entrywise
from derive.backward.layers import LAYERS
from derive.backward.losses import LOSS_HANDLERS
from derive.backward.maps import MAPS
from derive.backward.places import PLACE_HANDLERS
from derive.backward.products import PRODUCTS
from derive.backward.tape import Size, Tape, TapeEquation, Value
from derive.backward.written import authors_names, base_name, is_made, literal, spelled
from derive.modules import (
    ENTRYWISE_OPERATIONS,
    MEANINGLESS,
    Graph,
    Module,
    Ref,
    Refused,
    Step,
    definition,
    detaches,
    is_passed_over,
    row,
)

HANDLERS: dict[str, Callable[..., Any]] = {
    **MAPS,
    **PLACE_HANDLERS,
    **PRODUCTS,
    **LAYERS,
    **LOSS_HANDLERS,
}
CHANGING = {  # operations that may take numbers that change with the sizes
    *("expand", "layer_norm", "repeat", "repeat_interleave.self_int", "reshape", "rms_norm", "select", "slice"),
    *("split", "split_with_sizes", "unflatten", "upsample_nearest1d", "upsample_nearest2d", "view"),
}
MOST_CONSTANT = 64  # entries of a tensor that is written out


@dataclass(frozen=True)
class Reading:
    """The equations, what comes out, and the value of each step by the name that the graph has for it.

    `resized` is the module at the other sizes at which they hold, too.
    """

    tape: Tape
    outputs: tuple[Value, ...]
    values: Mapping[str, Any]
    resized: Module | None

    @property
    def equations(self) -> list[TapeEquation]:
        return self.tape.equations


def reading(module: Module, other: Module | None) -> Reading:
    """Of a module at its example, and at other sizes.

    Raises Refused, with the operation and its line, where one is not known, or a size is no product of those given.
    """
    graph = module.graph()
    beside = graph if other is None else other.graph()
    if [s.operation for s in graph.steps] != [s.operation for s in beside.steps]:
        raise Refused("other operations at other sizes")
    tape = Tape()
    known: dict[str, Any] = {}
    inputs, there = module.inputs(), (module if other is None else other).inputs()
    used = {called: step for step, called in graph.inputs.items()}
    for name, one in inputs.items():
        if name in used:
            shape = tuple(map(Size, one.shape, there[name].shape))
            kind = "float" if one.data is None else kind_of_data(one.data)
            value = tape.given(name, shape, one.wanted and one.data is None, kind)
            known |= {step: value for step, called in graph.inputs.items() if called == name}
    layers, given = module.layers(), graph.inputs.items()
    layer_of = {step: layers[called] for step, called in given if called in layers}
    names = authors_names(graph.steps, layer_of, [output.name for output in graph.outputs])
    for name, data in graph.constants.items():
        known[name] = constant_tensor(tape, name, data)
    for step, second in zip(graph.steps, beside.steps, strict=True):
        if not is_passed_over(step):
            known[step.name] = read(tape, step, second, known, names, graph)
    outputs = tuple(known[output.name] for output in graph.outputs)
    return Reading(tape, outputs, known, other)


def kind_of_data(data: numpy.ndarray) -> str:
    return "bool" if data.dtype.kind == "b" else "int64" if data.dtype.kind == "i" else "float"


def constant_tensor(tape: Tape, name: str, data: numpy.ndarray) -> Value:
    """A tensor that the module makes of numbers."""
    if data.size > MOST_CONSTANT:
        raise Refused(f"a constant tensor of {data.size} entries; register it as a buffer")
    shape = tuple(Size(size, size) for size in data.shape)
    tape.wanted = "constant"
    kind = kind_of_data(data)
    like = tape.first.source
    dtype = {"float": f"{like.text}.dtype"}.get(kind, f"torch.{kind}")
    numbers = literal(tape, data.tolist())
    code = call("torch.tensor", numbers, dtype=Literal(dtype), device=Literal(f"{like.text}.device"))
    return tape.data(shape, code, "", kind)


def at_both_sizes(argument: Any, other: Any, known: Mapping[str, Any]) -> Any:
    """An argument at both sizes: tensors as values, and a number that changes as a size."""
    if isinstance(argument, Ref):
        return known[argument.name]
    if isinstance(argument, tuple):
        return tuple(at_both_sizes(one, two, known) for one, two in zip(argument, other, strict=True))
    if isinstance(argument, int) and argument != other:
        return Size(argument, other)
    if argument != other:
        raise Refused(f"{argument} at one size is {other} at another")
    return argument


def has_size(argument: Any) -> bool:
    return any(map(has_size, argument)) if isinstance(argument, tuple) else isinstance(argument, Size)


def read(tape: Tape, step: Step, other: Step, known: Mapping[str, Any], names: Mapping[str, str], graph: Graph) -> Any:
    """The value of a step, or its values.

    Raises Refused with the operation and its line.
    """
    name = row(step.operation)
    try:
        if name is None and base_name(step) not in HANDLERS:
            raise Refused("this operation is not known")
        arguments = {
            key: at_both_sizes(argument, other.arguments[key], known) for key, argument in step.arguments.items()
        }
        several: Any = arguments.get("x")
        if name == "getitem" and not isinstance(several, Value):
            return several[arguments["place"]]
        if name in HANDLERS.keys() - CHANGING and any(map(has_size, arguments.values())):
            raise Refused("a number that changes with the sizes")
        tape.wanted, tape.current = names[step.name], (step, arguments)
        tape.parts = {
            one.arguments["place"]: names[one.name]
            for one in graph.steps
            if one.operation == "getitem" and one.arguments["x"] == Ref(step.name)
        }
        tape.shapes = [tuple(map(Size, *pair)) for pair in zip(step.shapes, other.shapes, strict=True)]
        if name == "getitem":
            return tape.data(tape.shape, Index(several.source, (literal(tape, arguments["place"]),)), "", step.kind)
        values = tensor_arguments(arguments)
        moves = any(value.moves for value in values) and step.kind in ("float", "")
        moves = moves and not detaches(step) and not is_made(step)
        if not moves and name not in HANDLERS:
            return tape.add(tape.shape, spelled(tape), values, None, "", kind=step.kind)
        result = handled(name or base_name(step), step, arguments)(tape)
    except Refused as error:
        raise Refused(f"{step.placed}: {error}") from error
    if isinstance(result, Value) and step.shapes and tuple(s.here for s in result.shape) != step.shapes[0]:
        raise Refused(f"{step.placed}: gives the shape {step.shapes[0]}, which is not followed")
    return result


def tensor_arguments(arguments: Mapping[str, Any]) -> list[Value]:
    found = []
    for argument in arguments.values():
        parts = argument if isinstance(argument, tuple | list) else (argument,)
        found += [part for part in parts if isinstance(part, Value)]
    return found


@cache
def takes(name: str) -> frozenset[str]:
    found = signature(HANDLERS[name]).parameters.values()
    named = {one.name for one in found if one.kind is not one.VAR_KEYWORD}
    definitions = definition(f"aten.{name}")
    more = definitions[1] if definitions and any(one.kind is one.VAR_KEYWORD for one in found) else frozenset()
    return frozenset(named) | more


def handled(name: str, step: Step, arguments: Mapping[str, Any]) -> Callable[[Tape], Any]:
    """What writes the equations of a step: by its own rules, or by the slopes of a formula."""
    if name in HANDLERS:
        known = takes(name)
        handler = HANDLERS[name]
    else:
        found = definition(step.operation)
        if found is None or name not in BY_FORMULA:
            raise Refused("its backward is not known")
        function, known = found
        handler = partial(of_formula, function)
    more = step.passed - known - MEANINGLESS - {"dtype"}
    if more:
        raise Refused(f"not known with {', '.join(f'{key}={step.arguments[key]}' for key in sorted(more))}")
    return lambda tape: handler(tape, **{key: value for key, value in arguments.items() if key in known})


def of_formula(function: Callable[..., Any], tape: Tape, **arguments: Any) -> Value:
    """An operation entry by entry, written as its author calls it."""
    names = list(arguments)

    def definition_of(*operands: object) -> object:
        return function(**dict(zip(names, operands, strict=True)))

    return entrywise(tape, definition_of, list(arguments.values()), spelled(tape))


BY_FORMULA = frozenset(name for name in ENTRYWISE_OPERATIONS if name not in HANDLERS and not name.startswith("__"))
