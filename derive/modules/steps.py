"""Graphs of operations of torch, one a step, without torch."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy


@dataclass(frozen=True)
class Ref:
    """The value of a step or of an input, by its name."""

    name: str


@dataclass(frozen=True)
class Step:
    """An operation of torch, its arguments by the names of its schema, and the line that called it.

    `passed` names those arguments that are not as they are by default; that called self is x here. `shapes` are those
    of its results in the example, and `kind` that of one result; empty where it is no tensor.
    """

    name: str
    operation: str
    arguments: Mapping[str, Any]
    passed: frozenset[str] = frozenset()
    line: str = ""
    shapes: tuple[tuple[int, ...], ...] = ()
    kind: str = ""

    @property
    def placed(self) -> str:
        """The operation and its line."""
        return f"{self.operation}{f' at {self.line}' if self.line else ''}"


@dataclass(frozen=True)
class Graph:
    """Steps in order, and the values that come out; `inputs` and `constants` are by the names that steps call them."""

    inputs: Mapping[str, str]
    constants: Mapping[str, numpy.ndarray]
    steps: tuple[Step, ...]
    outputs: tuple[Ref, ...]

    def line(self, output: int) -> str:
        """The line that computes an output; empty where none is known."""
        return next((step.line for step in self.steps if step.name == self.outputs[output].name), "")


@dataclass(frozen=True)
class Input:
    """A tensor that a module takes, is trained for or holds, and its entries where they are data.

    A gradient is `wanted` in arguments and in what is trained.
    """

    name: str
    shape: tuple[int, ...]
    data: numpy.ndarray | None = None
    positive: bool = False
    wanted: bool = True


def identifier(path: str) -> str:
    """A path as a name: layers.0.weight is layers_0_weight, and 0.weight is _0_weight."""
    name = path.replace(".", "_")
    return name if name.isidentifier() else f"_{name}"


def argument_names(module: Any) -> list[str]:
    """The names of the arguments of a module, or of a function; one of torch's own has none."""
    called = getattr(module, "forward", module)
    named = {} if inspect.isbuiltin(called) else inspect.signature(called).parameters
    return [name for name, one in named.items() if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
