"""Modules and functions of tensors as graphs: what torch.export records of them, one operation a step.

This is the one file of derive/ that imports torch, and only when it is called.
"""

import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from copy import deepcopy
from io import StringIO
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy

from derive.modules.refusal import Refused
from derive.modules.steps import Graph, Input, Ref, Step, argument_names, identifier
from derive.modules.unrolled import unrolled

if TYPE_CHECKING:
    import torch

Axis = tuple[bool | str, int]  # whether it is the first of its tensor, and its size; or an argument, and which of its
OWN = str(Path(__file__).parent.parent)
RUNNING = ("running_mean", "running_var")  # buffers that begin at 0 and 1, so that what forgets them would pass


class Module:
    """A module, or a function of tensors, in float64 and with an example of its arguments.

    Its tensors have names: those of the arguments of forward, of a nested one with its place, as hx_0; of parameters
    and buffers their paths with _ for the dots, and a leading _ where they begin with a digit.
    """

    def __init__(self, module: Any, example: Sequence[Any]) -> None:
        import torch
        from torch.utils import _pytree

        self.holder = any_of(module) if isinstance(module, torch.nn.Module) else None
        self.function = self.holder or module
        names = argument_names(module)
        names += [f"input{place}" for place in range(len(names), len(example))]
        self.example: dict[str, torch.Tensor] = {}
        leaves: list[Any] = []
        for name, argument in zip(names, example, strict=False):
            parts, _ = _pytree.tree_flatten(argument)
            for place, part in enumerate(parts):
                if isinstance(part, torch.Tensor):
                    part = part.detach().double() if part.is_floating_point() else part.detach()
                    key = name if len(parts) == 1 else f"{name}_{place}"
                    self.example[key] = part
                    leaves.append(key)
                else:
                    leaves.append((part,))
        self._graph: Graph | None = None
        self._leaves, self._tree = leaves, _pytree.tree_flatten(tuple(example))[1]

    def __call__(self, *tensors: Any) -> Any:
        return self.function(*self.arguments(dict(zip(self.example, tensors, strict=True))))

    def arguments(self, given: Mapping[str, Any]) -> tuple[Any, ...]:
        """Those of the module, of tensors by their names."""
        from torch.utils import _pytree

        flat = [given[leaf] if isinstance(leaf, str) else leaf[0] for leaf in self._leaves]
        return tuple(_pytree.tree_unflatten(flat, self._tree))

    def resized(self, sizes: Mapping[Axis, int]) -> "Module":
        """With other sizes in the place of those in the shapes of the arguments, whose entries are repeated."""
        import torch

        other = object.__new__(Module)
        other.__dict__ |= self.__dict__
        other.example, other._graph = {}, None
        for name, tensor in self.example.items():
            for axis, size in enumerate(tensor.shape):
                if (new := sizes.get((name, axis), sizes.get((axis == 0, size), size))) != size:
                    tensor = tensor.index_select(axis, torch.arange(new) % size)
            other.example[name] = tensor
        return other

    def inputs(self) -> dict[str, Input]:
        """All tensors by their names: arguments, parameters, buffers."""
        import torch

        found = {}
        for name, tensor in self.example.items():
            data = tensor.numpy() if not tensor.is_floating_point() or tensor.isinf().any() else None
            found[name] = Input(name, tuple(tensor.shape), data, wanted=data is None)
        for path, parameter in self.held().items():
            name = identifier(path)
            if name in found:
                raise Refused(f"{name} is the name of an argument and of a parameter")
            shape, trained = tuple(parameter.shape), parameter.requires_grad
            drawn = isinstance(parameter, torch.nn.Parameter) or path.endswith(RUNNING)
            data = None if drawn else parameter.detach().numpy()
            found[name] = Input(name, shape, data, path.endswith("running_var"), trained)
        return found

    def held(self) -> dict[str, Any]:
        """Parameters and buffers by their paths, tied ones once."""
        return all_held(self.holder, twice=False)

    def paths(self) -> dict[str, str]:
        """The paths of parameters and buffers by their names."""
        return {identifier(path): path for path in self.held()}

    def layers(self) -> dict[str, str]:
        """The layers that weights and biases are of, by the names of these."""
        parts = () if self.holder is None else self.holder.named_modules()
        return {identifier(f"{path}.{of}"): identifier(path) for path, _ in parts if path for of in ("weight", "bias")}

    def graph(self) -> Graph:
        """What torch.export records. Raises Refused where it does not."""
        if self._graph is None:
            self._graph = recorded(self, self.example, self.holder)
        return self._graph

    def tensors(self) -> dict[str, Any]:
        """An example of each tensor."""
        return {**self.example, **{identifier(path): tensor.detach() for path, tensor in self.held().items()}}

    def gradients(self, point: Mapping[str, Any], cotangents: Sequence[Any], precision: str) -> dict[str, Any]:
        """What autograd gives in this precision, of numbers for all tensors but running statistics, in float64."""
        import torch

        given = {name: tensor_of(one, precision) for name, one in point.items()}
        running = {identifier(path) for path in self.held() if path.endswith(RUNNING)}
        moving = {n: one.requires_grad_() for n, one in given.items() if one.is_floating_point() and n not in running}
        arguments = self.arguments(given)
        held = {path: given[identifier(path)] for path in self.held()}
        called = torch.func.functional_call(self.holder, held, arguments) if self.holder else self.function(*arguments)
        sent = [tensor_of(one, precision) for one in cotangents]
        found = torch.autograd.grad(results(called), list(moving.values()), sent, materialize_grads=True)
        return {name: one.double().numpy() for name, one in zip(moving, found, strict=True)}

    def outputs(self) -> tuple[Any, ...]:
        """What torch computes of the example.

        Raises Refused where that is not a tensor of floats, or a tuple of them.
        """
        found = computed(self, list(self.example.values()))
        if not all(output.is_floating_point() for output in found):
            raise Refused("expected outputs that are floats")
        return found


def any_of(module: "torch.nn.Module") -> "torch.nn.Module":
    """A copy in float64 with random parameters and running statistics, as those of a new module hide what is wrong."""
    import torch

    drawn = deepcopy(module).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in drawn.parameters():
            parameter.uniform_(-1, 1, generator=generator)
        for path, buffer in drawn.named_buffers():
            if path.endswith(RUNNING):
                buffer.uniform_(0.5, 1.5, generator=generator)
    return drawn


def computed(function: Callable[..., Any], example: list[Any]) -> tuple[Any, ...]:
    """What torch computes, with the tensors as they were before."""
    import torch

    with in_float64(), torch.no_grad():
        return results(function(*(tensor.clone() for tensor in example)))


@contextmanager
def in_float64() -> Iterator[None]:
    """What is made without a dtype is of float64, and torch says what it has to say by errors alone."""
    import torch

    before, said = torch.get_default_dtype(), logging.root.manager.disable
    torch.set_default_dtype(torch.float64)
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.set_default_dtype(before)
        logging.disable(said)


def tensor_of(entries: numpy.ndarray, precision: str = "float64", device: str = "cpu") -> "torch.Tensor":
    """A tensor of floats of this precision, or of what else the entries are."""
    import torch

    floats = entries.dtype == object or entries.dtype.kind == "f"
    made = torch.tensor(entries.astype(float) if floats else entries, device=device)
    return made.to(getattr(torch, precision)) if floats else made


def rounding(precision: str) -> float:
    """How far the next number may be, of a number's size; raises Refused where this is no precision."""
    import torch

    dtype = getattr(torch, precision, None)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise Refused(f"{precision}: expected float64, float32, bfloat16 or float16")
    return float(torch.finfo(dtype).eps)


def is_tensor(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor)


def is_module(value: Any) -> bool:
    import torch

    return isinstance(value, torch.nn.Module)


def example_tensor(shape: list[int], below: int | None) -> "torch.Tensor":
    """Random floats, or whole numbers below one, all of them where there are enough entries."""
    import torch

    generator = torch.Generator().manual_seed(0)
    if below is None:
        return torch.rand(shape, generator=generator, dtype=torch.float64)
    if below < 1:
        raise Refused(f"whole numbers below {below}")
    count = prod(shape)
    return (torch.randperm(below * (1 + count // below), generator=generator)[:count] % below).reshape(shape)


def is_function_class(value: Any) -> bool:
    """Whether it is a torch.autograd.Function that somebody wrote."""
    import torch

    return (
        isinstance(value, type) and issubclass(value, torch.autograd.Function) and value is not torch.autograd.Function
    )


def results(value: Any) -> tuple[Any, ...]:
    """The tensors that a function returns, also in tuples in a tuple.

    Raises Refused where it returns anything else.
    """
    if is_tensor(value):
        return (value,)
    if not isinstance(value, tuple | list):
        raise Refused(f"returns a {type(value).__name__}, expected a tensor, or a tuple of tensors")
    return tuple(tensor for part in value for tensor in results(part))


def recorded(
    function: Callable[..., Any],
    example: Mapping[str, Any],
    holder: "torch.nn.Module | None" = None,
    detached: bool = False,
) -> Graph:
    """The graph of a function of tensors, which have these names, and of the parameters and buffers of the holder.

    With `detached` it may say torch.no_grad, which changes nothing.

    Raises Refused where torch.export does not record it.
    """
    program = exported(function, list(example.values()), holder, detached)
    signature = program.graph_signature
    places = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    lifted = signature.inputs_to_lifted_tensor_constants
    tensors = all_held(holder)
    first = {id(tensor): path for path, tensor in reversed(tensors.items())}
    names = iter(example)
    inputs, constants, steps = {}, {}, []
    outputs: tuple[Ref, ...] = ()
    shapes = {}
    for node in program.graph.nodes:
        shapes[node.name] = tuple(getattr(node.meta.get("val"), "shape", ()))
        if node.op == "placeholder" and node.name in lifted:
            constants[node.name] = program.constants[lifted[node.name]].numpy()
        elif node.op == "placeholder" and node.name in places:
            path = places[node.name].removeprefix("of.")
            inputs[node.name] = identifier(first[id(tensors[path])])
        elif node.op == "placeholder":
            inputs[node.name] = next(names)
        elif node.op == "call_function":
            steps.append(step_of(node))
        elif node.op == "output":
            kinds = (spec.kind.name == "USER_OUTPUT" for spec in signature.output_specs)
            outputs = tuple(Ref(part.name) for part, kept in zip(node.args[0], kinds, strict=True) if kept)
    return Graph(inputs, constants, tuple(unrolled(steps, shapes)), outputs)


def all_held(holder: "torch.nn.Module | None", twice: bool = True) -> dict[str, Any]:
    """Parameters and buffers by their paths, tied ones by each of theirs, or once."""
    if holder is None:
        return {}
    buffers = dict(holder.named_buffers(remove_duplicate=not twice))
    return {**dict(holder.named_parameters(remove_duplicate=not twice)), **buffers}


def exported(function: Callable[..., Any], example: list[Any], holder: "torch.nn.Module | None", detached: bool) -> Any:
    """The program that torch.export makes; in one that writes into memory, written so that it does not."""
    import torch

    class Recorded(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            if holder is not None:
                self.of = holder

        def forward(self, *tensors: Any) -> Any:
            with recorded_lines():
                return results(function(*tensors))

    try:
        quiet = redirect_stdout(StringIO()), redirect_stderr(StringIO())
        with in_float64(), quiet[0], quiet[1], torch.set_grad_enabled(not detached):
            program = torch.export.export(Recorded(), tuple(example), strict=False)
            return program.run_decompositions({}) if writes(program) else program
    except Refused:
        raise
    except Exception as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise Refused(f"torch.export does not record it: {said[0]}") from error


def writes(program: Any) -> bool:
    """Whether a step writes into memory that anything else reads; the running statistics of a norm are read by none."""
    schemas = ((node, getattr(node.target, "_schema", None)) for node in program.graph.nodes)
    written = ((node, node.args[0]) for node, schema in schemas if schema is not None and schema.is_mutable)
    return any(node.users or into.op != "placeholder" or len(into.users) > 1 for node, into in written)


@contextmanager
def recorded_lines() -> Iterator[None]:
    """Nodes that are recorded meanwhile know the line, outside of torch, that called the operation."""
    import torch
    from torch.fx import traceback
    from torch.overrides import TorchFunctionMode

    inside = str(Path(torch.__file__).parent), "<"

    class Lines(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            frame = sys._getframe(1)
            while frame.f_back is not None and frame.f_code.co_filename.startswith(inside):
                frame = frame.f_back
            file = frame.f_code.co_filename
            traceback.set_stack_trace([] if file.startswith(OWN) else [f"{file}:{frame.f_lineno}"])
            return func(*args, **(kwargs or {}))

    with traceback.preserve_node_meta(), Lines():
        yield


def step_of(node: "torch.fx.Node") -> Step:
    """A call as a step."""
    import torch

    line = str(node.meta.get("stack_trace") or "")
    line = line if line.count("\n") == 0 and ":" in line else ""
    schema = getattr(node.target, "_schema", None)
    value = node.meta.get("val")
    tensors = value if isinstance(value, list | tuple) else [value] if isinstance(value, torch.Tensor) else []
    shapes = tuple(tuple(part.shape) for part in tensors)
    kind = without_torch(value.dtype) if isinstance(value, torch.Tensor) else ""
    if schema is None:  # one of several results
        name = getattr(node.target, "__name__", str(node.target))
        arguments = dict(zip(("x", "place"), map(without_torch, node.args), strict=False))
        return Step(node.name, name, arguments, frozenset(), line, shapes, kind)
    found, passed = {}, set()
    for place, argument in enumerate(schema.arguments):
        name = "x" if argument.name == "self" else argument.name
        default = without_torch(argument.default_value) if argument.has_default_value() else None
        given = node.args[place] if place < len(node.args) else node.kwargs.get(argument.name, argument.default_value)
        found[name] = without_torch(given)
        if not argument.has_default_value() or found[name] != default:
            passed.add(name)
    return Step(node.name, str(node.target), found, frozenset(passed), line, shapes, kind)


def without_torch(value: Any) -> Any:
    """An argument of a node without torch: references, numbers, words, and tuples of them."""
    import torch

    if isinstance(value, torch.fx.Node):
        return Ref(value.name)
    if isinstance(value, list | tuple):
        return tuple(map(without_torch, value))
    if isinstance(value, torch.dtype):
        return "float" if value.is_floating_point else str(value).removeprefix("torch.")
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
