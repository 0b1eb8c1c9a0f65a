"""A module and a written backward at some sizes: recorded, and held against each other."""

from dataclasses import dataclass
from math import prod

import numpy
from mpmath import mp

from derive.modules.agreement import check
from derive.modules.constants import is_rounded
from derive.modules.entries import decimal, numbers
from derive.modules.evaluate import run
from derive.modules.graph import Module
from derive.modules.identity import is_identical
from derive.modules.points import DIGITS, Different, Point, Undefined, defined
from derive.modules.refusal import Refused, Wrong
from derive.modules.steps import Graph
from derive.modules.written import Written

POINTS = 2
MOST_ENTRIES = 20_000  # of all tensors together


@dataclass(frozen=True)
class Trial:
    """Both graphs at the sizes of a module's example, and of each output of the backward what it is."""

    module: Module
    forward: Graph
    backward: Graph
    labels: list[tuple[str, str]]
    none: frozenset[str]

    @classmethod
    def of(cls, module: Module, written: Written) -> "Trial":
        """Raises Refused where one cannot be recorded or calls what is not known, Wrong where the backward fails."""
        entries = sum(tensor.numel() for tensor in module.tensors().values())
        if entries > MOST_ENTRIES:
            raise Refused(f"{entries} entries, expected at most {MOST_ENTRIES}: smaller sizes say as much")
        forward = module.graph()
        check(forward, module.tensors(), module.outputs(), "the module")
        try:
            backward, labels = written.graph(module)
        except Wrong as error:
            raise Wrong(f"{error}, at {described(module)}") from error
        return cls(module, forward, backward, labels, frozenset(written.none))

    @property
    def sizes(self) -> str:
        return described(self.module)

    @property
    def symbols(self) -> int:
        """How many numbers there are to choose, of arguments, parameters and cotangents."""
        drawn = (prod(one.shape) for one in self.module.inputs().values() if one.data is None)
        return sum(drawn) + sum(output.numel() for output in self.module.outputs())

    def hold(self) -> None:
        """Raises Wrong with the first entry that is not the module's, and the line that computes it."""
        with mp.workdps(DIGITS), numbers(decimal):
            for seed in range(POINTS):
                self.at(seed)

    def at(self, seed: int) -> None:
        for attempt in range(3):
            point = defined(self.forward, self.module.inputs(), seed + 100 * attempt)
            try:
                self.compare(point)
            except Undefined:
                continue
            return
        raise Refused("found no numbers at which the module is smooth")

    def compare(self, point: Point) -> None:
        given = {**point.given, **point.cotangents}
        try:
            results = run(self.backward, given)
        except (ZeroDivisionError, TypeError) as error:
            raise Wrong(f"the backward has no value where the module has one: {error}, at {self.sizes}") from error
        for place, (label, got) in enumerate(zip(self.labels, results, strict=True)):
            try:
                point.hold(label, numpy.asarray(got))
            except Different as error:
                if error.rounded and (rounded := self.rounded()):
                    raise Refused(f"{error}: it is not known what {rounded} stands for") from error
                none = ", as it is None" if label[1] in self.none and label[0] == "gradient" else ""
                raise Wrong(self.described(f"{error}{none}", place)) from error
            except Wrong as error:
                raise Wrong(self.described(error, place)) from error

    def described(self, error: object, place: int) -> str:
        line = self.backward.line(place)
        return f"{error}, at {self.sizes}{f', {line}' if line else ''}"

    def is_identical(self) -> bool:
        """Whether all is shown to be identical, with a symbol for each entry."""
        return is_identical(self.forward, self.backward, self.labels, self.module.inputs())

    def rounded(self) -> str:
        """A constant of which it is not known what it stands for."""
        for graph in (self.forward, self.backward):
            for step in graph.steps:
                for value in step.arguments.values():
                    if isinstance(value, float) and is_rounded(value):
                        return f"{value!r}{f' at {step.line}' if step.line else ''}"
        return ""


def described(module: Module) -> str:
    """The shape of each argument."""
    return ", ".join(f"{name} {'x'.join(map(str, t.shape)) or '1'}" for name, t in module.example.items())
