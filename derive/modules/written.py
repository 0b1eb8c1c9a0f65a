"""Backwards that somebody wrote: functions of a file, of Python, or of a torch.autograd.Function, as graphs.

This file calls what it is given; torch itself it leaves to graph.py.
"""

import inspect
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from derive.modules.agreement import check, exact_entries
from derive.modules.graph import (
    Module,
    computed,
    example_tensor,
    is_function_class,
    is_tensor,
    recorded,
    results,
    tensor_of,
)
from derive.modules.refusal import Failed, Refused, Wrong
from derive.modules.steps import Graph
from derive.system import content

MOST_TEXT = 2**20  # of a file
COTANGENT_NAME = "dL/dy"  # and the number of the output


@dataclass(frozen=True)
class OpaqueKernel:
    """In which precision and on which device a backward is called that is no operations of torch."""

    precision: str = "float64"
    device: str = "cpu"


CPU = OpaqueKernel()


class Context(SimpleNamespace):
    """What a torch.autograd.Function keeps from forward for backward."""

    saved_tensors: tuple[Any, ...] = ()
    materializes = True  # zeros where no cotangent is sent

    def save_for_backward(self, *tensors: Any) -> None:
        self.saved_tensors = tensors

    def mark_non_differentiable(self, *tensors: Any) -> None:
        pass

    def set_materialize_grads(self, value: bool) -> None:
        self.materializes = value

    def mark_dirty(self, *tensors: Any) -> None:
        raise Refused("a forward that writes into what it is given")


class WrittenBackward:
    """A backward, and the forward that it may come with.

    `takes` names the tensors that it is called with after the cotangents; a gradient belongs to each of `order`. What
    it gives last is what `labels` say; it gave None for `none`, and nothing for what is `missing`.
    """

    def __init__(self, source: Any, module: Module) -> None:
        self.name, self.forward, self.backward, self.function = found(source)
        self.known = module.inputs()
        self.cotangents = len(module.outputs())
        parameters = list(inspect.signature(self.backward).parameters.values())
        self.last = parameters[-1].name if parameters else ""
        self.saving = self.forward if len(parameters) == self.cotangents + 1 else None
        if self.function:
            first = list(inspect.signature(self.function.forward).parameters.values())
            self.takes = first if self.sets_up else first[1:]
        elif self.saving:
            self.takes = list(inspect.signature(self.saving).parameters.values())
        else:
            self.takes = parameters[self.cotangents :]
        self.order = [one.name for one in self.takes]
        beside = inspect.signature(self.forward).parameters if self.forward else ()
        if more := [name for name in beside if name not in self.order]:
            raise Refused(f"{self.name}: forward takes {more[0]}, which is no argument of backward")
        strange = [one for one in self.takes if one.name not in self.known and one.default is one.empty]
        if strange:
            raise Refused(
                f"{self.name}: {strange[0].name} is no input, parameter or buffer of the module: it has "
                f"{', '.join(self.known)}"
            )
        self.labels: list[tuple[str, str]] = []
        self.missing: list[str] = []
        self.none: set[str] = set()

    @property
    def sets_up(self) -> bool:
        """Whether a Function, or one that it is made from, has its forward without a context."""
        made_from = (one for one in self.function.__mro__ if is_function_class(one))
        return any("setup_context" in vars(one) for one in made_from)

    def graph(self, module: Module) -> tuple[Graph, list[tuple[str, str]]]:
        """Its graph at the sizes of a module's example; of each output whether it is a value or a gradient, of what.

        Raises Wrong where it fails, and Refused where it does not give what is expected, or cannot be recorded.
        """
        tensors = self.example(module)
        values = self.values(tensors)
        graph = recorded(self.of(tensors), tensors, detached=True)
        check(graph, tensors, values, self.name)
        return graph, list(self.labels)

    def numbers(self, point: Mapping[str, Any], kernel: OpaqueKernel) -> tuple[list[Any], list[tuple[str, str]]]:
        """What torch computes of numbers in a precision, and of each whether it is a value or a gradient, of what.

        Raises Wrong where it fails, and Refused where it does not give what is expected.
        """
        found = self.tensors(point, kernel)
        return [exact_entries(tensor.double().cpu()) for tensor in found], list(self.labels)

    def tensors(self, point: Mapping[str, Any], kernel: OpaqueKernel = CPU) -> tuple[Any, ...]:
        """The same as torch gives it."""
        taken = {name: one for name, one in point.items() if name in self.order or name not in self.known}
        wanted = {name: tensor_of(one, kernel.precision, kernel.device) for name, one in taken.items()}
        return self.values(wanted)

    def example(self, module: Module) -> dict[str, Any]:
        """The tensors that it is called with."""
        tensors = {
            f"{COTANGENT_NAME}{place}": example_tensor(list(output.shape), None)
            for place, output in enumerate(module.outputs())
        }
        return tensors | {name: tensor for name, tensor in module.tensors().items() if name in self.order}

    def of(self, names: Iterable[str]) -> Callable[..., tuple[Any, ...]]:
        """The call of it with tensors that have these names."""
        return lambda *given: self.called(dict(zip(names, given, strict=True)))

    def values(self, tensors: Mapping[str, Any]) -> tuple[Any, ...]:
        """What torch computes of it.

        Raises Wrong where it fails, and Refused where it does not give what is expected.
        """
        copies: list[Any] = []

        def call(*given: Any) -> tuple[Any, ...]:
            copies.extend(given)
            return self.of(tensors)(*given)

        try:
            found = computed(call, list(tensors.values()))
        except (Refused, Wrong):
            raise
        except Exception as error:
            said = (str(error).splitlines() or [""])[0]
            raise Failed(f"{self.name} fails: {type(error).__name__}: {said}{error_place(error)}") from error
        for name, copy in zip(tensors, copies, strict=True):
            if not copy.equal(tensors[name]):
                raise Wrong(f"{self.name} writes into {name}, which is not its own")
        return found

    def called(
        self,
        tensors: Mapping[str, Any],
        needed: Sequence[str] | None = None,
        times: int = 1,
        without: int | None = None,
    ) -> tuple[Any, ...]:
        """The values of forward, if there is one, and the gradients, of a Function where some or all are needed.

        One that asks for no zeros is given None for the cotangent that it is called without.
        """
        cotangents = [tensors[f"{COTANGENT_NAME}{place}"] for place in range(self.cotangents)]
        arguments = [tensors.get(one.name, one.default) for one in self.takes]
        values: tuple[Any, ...] = ()
        if self.function:
            asked = [needed is None or one.name in needed for one in self.takes]
            context = Context(needs_input_grad=tuple(map(all, zip(asked, map(is_tensor, arguments), strict=True))))
            output = self.function.forward(*([] if self.sets_up else [context]), *arguments)
            if self.sets_up:
                self.function.setup_context(context, tuple(arguments), output)
            values = results(output)
            none = () if context.materializes else (without,)
            sent = [None if place in none else one for place, one in enumerate(cotangents)]
            *_, given = (self.function.backward(context, *sent) for _ in range(times))
        elif self.saving:
            output = self.saving(*arguments)
            if isinstance(output, tuple | list) and len(output) == 2:
                values, given = results(output[0]), self.backward(*cotangents, output[1])
            elif self.last in tensors:
                values, given = results(output), self.backward(*cotangents, tensors[self.last])
            else:
                raise Refused(f"{self.name}: forward returns {type(output).__name__}, expected (output, saved)")
        else:
            if self.forward:
                given = [tensors[name] for name in inspect.signature(self.forward).parameters]
                values = results(self.forward(*given))
            given = self.backward(*cotangents, *arguments)
        gradients = self.gradients(given, tensors)
        self.labels = [("output", str(place)) for place in range(len(values))]
        self.labels += [("gradient", name) for name in gradients]
        self.missing = [name for name, one in self.known.items() if one.wanted and name not in gradients]
        if not gradients:
            raise Refused(f"{self.name}: gives no gradient")
        return (*values, *gradients.values())

    def gradients(self, given: Any, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """The gradients by what they are for; None is 0, as torch takes it."""
        if hasattr(given, "_asdict"):
            given = given._asdict()
        if is_tensor(given):
            given = (given,)
        if isinstance(given, tuple | list):
            while self.function and len(given) > len(self.order) and given[-1] is None:  # as torch takes more of them
                given = given[:-1]
            smooth = [name for name in self.order if self.has_gradient(name)]
            names = smooth if len(given) == len(smooth) else self.order
            if len(given) != len(names):
                raise Refused(f"{self.name}: {len(given)} gradients, expected {len(names)}: {', '.join(names)}")
            given = dict(zip(names, given, strict=True))
        if not isinstance(given, Mapping):
            raise Refused(f"{self.name}: backward returns a {type(given).__name__}, expected a dict or a tuple")
        found = {}
        for key, gradient in given.items():
            name = next((known for known in (str(key), str(key).removeprefix("grad_")) if known in self.known), None)
            if name is None or not self.has_gradient(name):
                if gradient is None:
                    continue
                has = ", ".join(filter(self.has_gradient, self.known))
                raise Refused(f"{self.name}: a gradient for {key}, but those of the module are for {has}")
            if gradient is None:
                self.none.add(name)
                gradient = 0 * tensors[name]
            if not is_tensor(gradient):
                raise Refused(f"{self.name}: the gradient for {key} is a {type(gradient).__name__}, expected a tensor")
            found[name] = gradient
        return found

    def has_gradient(self, name: str) -> bool:
        """Whether it is a tensor of the module that no data are given for."""
        return name in self.known and self.known[name].data is None


def said_of(kind: str, name: str) -> str:
    return f"the gradient for {name}" if kind == "gradient" else f"output {name} of forward"


def found(source: Any) -> tuple[str, Callable[..., Any] | None, Callable[..., Any], Any]:
    """The name of what was given, its forward, its backward, and its torch.autograd.Function, where there are these.

    Raises Refused where it has no backward, and OSError where its file cannot be read.
    """
    if isinstance(source, str | Path):
        return in_file(Path(source))
    if is_function_class(source):
        return source.__name__, None, source.backward, source
    if isinstance(source, Sequence) and len(source) == 2 and all(map(callable, source)):
        return source[1].__name__, source[0], source[1], None
    if callable(source):
        return source.__name__, None, source, None
    raise Refused(f"{source!r}: expected a path, a function, (forward, backward) or a torch.autograd.Function")


def in_file(path: Path) -> tuple[str, Callable[..., Any] | None, Callable[..., Any], Any]:
    """What a file defines."""
    namespace: dict[str, Any] = {"__name__": path.stem, "__file__": str(path)}
    try:
        exec(compile(content(path, MOST_TEXT), str(path), "exec"), namespace)
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        raise Refused(f"{path}: {type(error).__name__}: {error}{error_place(error)}") from error
    if callable(namespace.get("backward")):
        forward = namespace.get("forward")
        return str(path), forward if callable(forward) else None, namespace["backward"], None
    classes = own(namespace.values(), path.stem)
    if len(classes) != 1:
        raise Refused(f"{path}: defines neither backward nor one torch.autograd.Function")
    return f"{path}: {classes[0].__name__}", None, classes[0].backward, classes[0]


def own(values: Iterable[Any], module: str) -> list[Any]:
    return [value for value in values if is_function_class(value) and value.__module__ == module]


def error_place(error: BaseException) -> str:
    """The last line that is not torch's at which an error arose."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "site-packages" not in f.filename]
    frames = [f for f in frames if not f.filename.startswith(str(Path(__file__).parent))]
    return f", {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
