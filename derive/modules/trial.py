"""A module and a written backward at some sizes: recorded, and held against each other."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from math import log10, prod
from random import Random
from typing import Any

import numpy
from mpmath import mpf

from derive.modules.agreement import COARSE_TOLERANCE, FINE_TOLERANCE, check, close
from derive.modules.constants import is_rounded
from derive.modules.entries import decimal, lifted_by
from derive.modules.evaluate import run
from derive.modules.graph import Module, rounding
from derive.modules.identity import is_identical
from derive.modules.points import AGREEING, OPAQUE, Different, ModulePoint, Nowhere, Undefined, point_with_value
from derive.modules.refusal import Refused, Wrong
from derive.modules.steps import Graph, Input
from derive.modules.written import COTANGENT_NAME, CPU, OpaqueKernel, WrittenBackward
from derive.proof import settled
from derive.system import progress

POINTS, FAR_POINTS, TIED_POINTS = 2, 12, 4
SPREAD = (mpf(1) / 8, 1, 8), (1, 4, 32), (0, 1, 4)  # so that all branches are taken, as that of softplus above 20
OPAQUE_SPREAD = ((1, 8),)  # more would lose the digits that float64 has
FEW_TIMES = 8  # times what autograd loses to rounding
LEAST_GRADIENT = 1e-3  # what is far smaller than this beside cotangents of about 1 may be rounding
MOST_ENTRIES = 20_000  # of all tensors together


@dataclass(frozen=True)
class Trial:
    """Both graphs at the sizes of a module's example, and of each output of the backward what it is."""

    module: Module
    forward: Graph
    backward: Graph | None
    labels: list[tuple[str, str]]
    written: WrittenBackward
    kernel: OpaqueKernel = CPU
    branches: dict[str, set[bool]] = field(default_factory=dict)  # that were taken
    told: set[tuple[str, str]] = field(default_factory=set)  # labels of what is not 0 at all points

    @classmethod
    def of(cls, module: Module, written: WrittenBackward, kernel: OpaqueKernel | None) -> "Trial":
        """Raises Refused where one cannot be recorded or calls what is not known, Wrong where the backward fails."""
        entries = sum(tensor.numel() for tensor in module.tensors().values())
        if entries > MOST_ENTRIES:
            raise Refused(f"{entries} entries, expected at most {MOST_ENTRIES}: smaller sizes say as much")
        forward = module.graph()
        check(forward, module.tensors(), module.outputs(), "the module")
        if kernel is not None:
            return cls(module, forward, None, [], written, kernel)
        try:
            backward, labels = written.graph(module)
        except Wrong as error:
            raise type(error)(f"{error}, at {example_shapes(module)}") from error
        return cls(module, forward, backward, labels, written)

    @property
    def sizes(self) -> str:
        return example_shapes(self.module)

    @property
    def symbols(self) -> int:
        """How many numbers there are to choose, of arguments, parameters and cotangents."""
        drawn = (prod(one.shape) for one in self.module.inputs().values() if one.data is None)
        return sum(drawn) + sum(output.numel() for output in self.module.outputs())

    def hold(self) -> None:
        """Raises Wrong with the first entry that is not the module's, and the line that computes it."""
        for seed in range(POINTS):
            point, gradients = settled(partial(self.at, seed, (1,)), Wrong)
            if self.backward is not None:
                self.check_autograd(point, gradients)

    def hold_far(self) -> None:
        """The same at numbers of many magnitudes, where the module has values there."""
        spread = OPAQUE_SPREAD if self.backward is None else SPREAD
        for seed in progress(
            range(POINTS, POINTS + FAR_POINTS), f"points of many magnitudes, at {self.sizes}", FAR_POINTS
        ):
            with suppress(Nowhere):
                settled(partial(self.at, seed, spread[seed % len(spread)]), Wrong)

    def at(self, seed: int, magnitudes: Sequence[Any]) -> tuple[ModulePoint, dict[str, numpy.ndarray]]:
        """A point, and the gradients there, which are right.

        Raises Nowhere where the module has no finite values, or is not smooth, at numbers of these magnitudes."""
        with lifted_by(decimal):
            for attempt in range(3):
                point = point_with_value(self.forward, self.module.inputs(), seed + 100 * attempt, magnitudes)
                with suppress(Undefined):
                    return point, self.compare(point)
        raise Nowhere("found no numbers at which the module is smooth")

    def compare(self, point: ModulePoint) -> dict[str, numpy.ndarray]:
        """The gradients at a point. Raises Wrong with the first value or gradient that is not the module's."""
        for where, taken in point.branches.items():
            self.branches.setdefault(where, set()).update(taken)
        results, labels, to = self.results(point)
        pairs = zip(labels, results, strict=True)
        for place, (label, got) in enumerate(progress(pairs, f"values and gradients, at {self.sizes}", len(labels))):
            try:
                if point.hold(label, numpy.asarray(got), to):
                    self.told.add(label)
            except Different as error:
                if error.rounded and (rounded := self.rounded()):
                    raise Refused(f"{error}: it is not known what {rounded} stands for") from error
                none = ", as it is None" if label[1] in self.written.none and label[0] == "gradient" else ""
                raise Wrong(self.described(f"{error}{none}", place)) from error
            except Wrong as error:
                raise Wrong(self.described(error, place)) from error
        pairs = zip(labels, results, strict=True)
        return {name: numpy.asarray(got).astype(float) for (kind, name), got in pairs if kind == "gradient"}

    def digits(self, given: dict[str, Any]) -> float:
        """To how many digits of its scale an opaque backward has to be right: autograd's own, but for a few bits."""
        if self.kernel.precision == "float64":
            return OPAQUE
        point = {name: given[name] for name in self.module.tensors()}
        cotangents = [one for name, one in given.items() if name not in point]
        exact, rounded = (self.module.gradients(point, cotangents, p) for p in ("float64", self.kernel.precision))
        pairs = ((one, rounded[name]) for name, one in exact.items() if one.any())
        lost = [float(abs(one - other).max() / abs(one).sum()) for one, other in pairs]
        return -log10(FEW_TIMES * max(rounding(self.kernel.precision), *lost))

    def results(self, point: ModulePoint) -> tuple[list[Any], list[tuple[str, str]], float]:
        """What the backward gives, of each whether it is a value or a gradient, of what, and how many digits count."""
        given = {**point.given, **point.cotangents}
        if self.backward is None:
            try:
                return *self.written.numbers(given, self.kernel), self.digits(given)
            except Wrong as error:
                raise type(error)(f"{error}, at {self.sizes}") from error
        try:
            return run(self.backward, given, branches=self.branches), self.labels, AGREEING
        except (ZeroDivisionError, TypeError) as error:
            point.check_smooth()
            raise Wrong(f"the backward has no value where the module has one: {error}, at {self.sizes}") from error

    def described(self, error: object, place: int) -> str:
        line = self.backward.line(place) if self.backward else ""
        return f"{error}, at {self.sizes}{f', {line}' if line else ''}"

    def is_identical(self) -> bool:
        """Whether all is shown to be identical, with a symbol for each entry; then branches are those of symbols."""
        inputs, branches = self.module.inputs(), dict[str, set[bool]]()
        exact = self.backward is not None and is_identical(self.forward, self.backward, self.labels, inputs, branches)
        if exact:
            self.branches.clear()
            self.branches.update(branches)
        return exact

    def tied(self) -> set[tuple[str, str]]:
        """Labels of gradients that are others than autograd's at small whole numbers, where branches may meet."""
        found = set()
        for seed in range(TIED_POINTS):
            point = {name: whole_numbers(one, Random(f"{seed} {name}")) for name, one in self.module.inputs().items()}
            sent = [whole_numbers(Input("", tuple(one.shape), None), Random(seed), 1) for one in self.module.outputs()]
            for name, (ours, theirs) in self.beside_autograd(point, sent, "float64").items():
                here = numpy.where(numpy.isfinite(theirs), ours, theirs)
                if not numpy.allclose(here, theirs, equal_nan=True):
                    found.add(("gradient", name))
        return found

    def check_autograd(self, point: ModulePoint, gradients: dict[str, numpy.ndarray]) -> None:
        """Raises Refused where autograd has another gradient than these, which are the derivative.

        So it is where the module has a backward or a hook of its own, or computes something else in float32.
        """
        least = max([LEAST_GRADIENT, *(float(abs(one).max(initial=0)) for one in gradients.values())])
        for precision in ("float64", "float32"):
            try:
                theirs = self.module.gradients(point.given, list(point.cotangents.values()), precision)
            except (RuntimeError, ValueError):
                continue
            for name in gradients.keys() & theirs.keys():
                if not close(gradients[name], theirs[name], COARSE_TOLERANCE, least):
                    raise Refused(
                        f"the module: in {precision} autograd's gradient for {name} is not the derivative of what is "
                        "recorded: a backward or a hook of its own, or a branch on the kind of a tensor"
                    )

    def beside_autograd(
        self, point: dict[str, Any], sent: list[Any], precision: str
    ) -> dict[str, tuple[numpy.ndarray, numpy.ndarray]]:
        """Of each gradient what the backward gives in float64, and autograd in a precision; nothing where one fails."""
        given = point | {f"{COTANGENT_NAME}{place}": one for place, one in enumerate(sent)}
        try:
            ours, labels = self.written.numbers(given, CPU)
            theirs = self.module.gradients(point, sent, precision)
        except (Wrong, RuntimeError, ValueError):
            return {}
        return {
            name: (got.astype(float), theirs[name])
            for (kind, name), got in zip(labels, ours, strict=True)
            if kind == "gradient" and name in theirs
        }

    def rounded(self) -> str:
        """A constant of which it is not known what it stands for."""
        for graph in filter(None, (self.forward, self.backward)):
            for step in graph.steps:
                for value in step.arguments.values():
                    if isinstance(value, float) and is_rounded(value):
                        return f"{value!r}{f' at {step.line}' if step.line else ''}"
        return ""


def gives_autograds(module: Module, backward: Any) -> bool:
    """Whether a backward gives, of random numbers and but for rounding, the gradients that autograd gives."""
    drawn = partial(numpy.random.default_rng(0).uniform, 0.1, 0.9)
    point = {name: drawn(one.shape) if one.data is None else one.data for name, one in module.inputs().items()}
    sent = [drawn(one.shape) for one in module.outputs()]
    try:
        theirs = module.gradients(point, sent, "float64")
    except (RuntimeError, ValueError):
        return True  # autograd says nothing
    written = WrittenBackward(backward, module)
    try:
        ours = written.tensors(point | {f"{COTANGENT_NAME}{place}": one for place, one in enumerate(sent)})
    except Wrong:
        return False
    pairs = zip(written.labels, ours, strict=True)
    found = {name: one.detach().numpy() for (kind, name), one in pairs if kind == "gradient"}
    held = [(found[name], theirs[name]) for name in found.keys() & theirs.keys()]
    return all(one.shape == other.shape and close(one, other, FINE_TOLERANCE) for one, other in held)


def whole_numbers(one: Input, random: Random, least: int = -1) -> numpy.ndarray:
    """Whole numbers up to 2 where a tensor is of floats, else its data."""
    if one.data is not None:
        return one.data
    drawn = [mpf(random.randint(max(least, int(one.positive)), 2)) for _ in range(prod(one.shape))]
    return numpy.array(drawn, dtype=object).reshape(one.shape)


def example_shapes(module: Module) -> str:
    """The shape of each argument."""
    return ", ".join(f"{name} {'x'.join(map(str, t.shape)) or '1'}" for name, t in module.example.items())
