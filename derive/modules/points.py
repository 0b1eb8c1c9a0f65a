"""Numbers of many digits at which a backward is held against differences of what its module computes."""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import mpmath
import numpy
from mpmath import mpf

from derive.modules.entries import AT_AN_END, Array, ArrayEntry, inner, of_data
from derive.modules.evaluate import run
from derive.modules.refusal import Refused, Wrong
from derive.modules.steps import Graph, Input
from derive.modules.written import COTANGENT_NAME, said_of
from derive.proof import differing_digits, step

AGREEING = 45  # digits to which both must be the same
OPAQUE = 8  # of what is only known in float64
LEAST_POWER_DRAWN = 60
LOST = 0.45  # of all digits are those of a difference quotient, and a few less
ROUNDED = 12  # digits to which what only differs in rounded constants agrees
LARGE = 2**53


class Undefined(ArithmeticError):
    """A point at which the module has no finite value, or is not smooth."""


class Nowhere(Refused):
    """There are no numbers to try it at."""


class ModulePoint:
    """Random numbers for all tensors of a module and its cotangents, and what the module computes of them."""

    def __init__(
        self, graph: Graph, inputs: Mapping[str, Input], seed: int, positive: bool, magnitudes: Sequence[Any]
    ) -> None:
        self.graph, self.random, self.inputs, self.magnitudes = graph, Random(seed), inputs, magnitudes
        self.given = {name: self.entries(one, positive or one.positive) for name, one in inputs.items()}
        self.held: dict[str, Any] = {}  # what is detached does not move
        self.branches: dict[str, set[bool]] = {}
        AT_AN_END.clear()
        self.values = self.at(self.given)
        self.has_slopes = not AT_AN_END  # of tanh(1e9) - tanh(2e9), which is 0 to all digits, a root has none
        self.cotangents = {
            f"{COTANGENT_NAME}{place}": self.direction(value.shape) for place, value in enumerate(self.values)
        }
        self.loss = self.paired(self.values)
        self.lost = (1 + abs(self.loss)) * mpf(10) ** -int(LOST * mpmath.mp.dps)

    def entries(self, one: Input, positive: bool) -> Array:
        return self.drawn(one.shape, positive, self.magnitudes) if one.data is None else of_data(one.data)

    def direction(self, shape: tuple[int, ...]) -> Array:
        """Numbers of both signs, of which none is 0."""
        return self.drawn(shape, False, [magnitude for magnitude in self.magnitudes if magnitude])

    def drawn(self, shape: tuple[int, ...], positive: bool, magnitudes: Sequence[Any]) -> Array:
        """Numbers that float64 has, so that torch may be given them, from 1/20 to 1 times a magnitude."""
        found = numpy.empty(shape, dtype=object)
        for index in numpy.ndindex(*shape):
            size = mpf(self.random.randrange(LARGE // 20, LARGE) | 1) / LARGE * self.random.choice(magnitudes)
            found[index] = size if positive else size * self.random.choice((-1, 1))
        return found

    def at(self, given: Mapping[str, Array]) -> list[Array]:
        """What the module computes.

        Raises Undefined where that is not real and finite.
        """
        try:
            values = run(self.graph, given, held=self.held, branches=self.branches)
        except (ZeroDivisionError, TypeError, ValueError) as error:
            if isinstance(error, Refused):
                raise
            raise Undefined(str(error)) from error
        for value in values:
            if not all(is_finite(entry) for entry in value.flat):
                raise Undefined("a value is not finite")
        return values

    def paired(self, values: list[Array]) -> ArrayEntry:
        """The sum of the products of values and cotangents."""
        pairs = zip(values, self.cotangents.values(), strict=True)
        return mpmath.fsum(inner(value.flat, cotangent.flat) for value, cotangent in pairs if value.size)

    def slope(self, name: str, direction: Array) -> ArrayEntry:
        """How the pairing moves with a tensor, by the difference quotient.

        Raises Undefined on a kink, where both sides differ.
        """
        h = step()
        ahead, behind = (
            self.paired(self.at({**self.given, name: self.given[name] + by * direction})) for by in (h, -h)
        )
        if abs(ahead + behind - 2 * self.loss) > h ** mpf("1.5") * (1 + abs(self.loss)):
            raise Undefined("a kink")
        return (ahead - behind) / (2 * h)

    def check_smooth(self) -> None:
        """Raises Undefined on a kink."""
        for name, one in self.inputs.items():
            if one.data is None:
                self.slope(name, self.direction(one.shape))

    def hold(self, label: tuple[str, str], got: Array, to: float = AGREEING) -> bool:
        """Whether a value or a gradient is more than 0 here, and so is told from another.

        Raises Wrong where it is not what it must be, with the first entry that differs.
        """
        kind, name = label
        wanted = self.values[int(name)] if kind == "output" else self.given[name]
        what = said_of(kind, name)
        if got.shape != wanted.shape:
            raise Wrong(f"{what} has the shape {got.shape}, expected {wanted.shape}")
        for index in numpy.ndindex(*got.shape):
            if not is_finite(got[index]):
                if kind == "gradient" and not self.has_slopes:
                    raise Undefined("the end of where a function is defined")
                self.check_smooth()
                raise Wrong(f"{what}{list(index)} is {mpmath.nstr(got[index], 5)}")
        scale = mpmath.fsum(map(abs, got.flat))
        if kind == "output":
            for index in numpy.ndindex(*got.shape):
                compare(f"{what}{list(index)}", got[index], wanted[index], scale, to)
            return not agree(scale, mpf(0), scale, to, 0)
        direction = self.direction(got.shape)
        along = self.slope(name, direction)
        if not agree(inner(got.flat, direction.flat), along, scale, to, self.lost):
            for index in numpy.ndindex(*got.shape):
                only = numpy.full(got.shape, mpf(0), dtype=object)
                only[index] = mpf(1)
                compare(f"{what}{list(index)}", got[index], self.slope(name, only), scale, to, self.lost)
            raise Wrong(f"the entries of {what} are wrong together")
        return not agree(along, mpf(0), scale, to, self.lost)


class Different(Wrong):
    """An entry that is another number than it must be."""

    def __init__(self, what: str, got: ArrayEntry, wanted: ArrayEntry) -> None:
        self.rounded = abs(got - wanted) <= abs(wanted) * mpf(10) ** -ROUNDED
        one, other = differing_digits(got, wanted)
        super().__init__(f"{what} is {one} where it should be {other}")


def is_finite(entry: ArrayEntry) -> bool:
    return isinstance(entry, mpf) and bool(mpmath.isfinite(entry))


def compare(what: str, got: ArrayEntry, wanted: ArrayEntry, scale: ArrayEntry, to: float, lost: Any = 0) -> None:
    if not agree(got, wanted, scale, to, lost):
        raise Different(what, got, wanted)


def agree(got: ArrayEntry, wanted: ArrayEntry, scale: ArrayEntry, to: float, lost: Any) -> bool:
    """Whether both are the same to so many digits of what is of this scale, but for what a quotient has lost."""
    return bool(abs(got - wanted) <= scale * mpf(10) ** -to + mpf(10) ** -LEAST_POWER_DRAWN + lost)


def point_with_value(graph: Graph, inputs: Mapping[str, Input], seed: int, magnitudes: Sequence[Any]) -> ModulePoint:
    """A point at which the module has a value: with entries of both signs, else with positive ones.

    Raises Nowhere where there is none.
    """
    for positive in (False, False, True, True):
        try:
            return ModulePoint(graph, inputs, seed, positive, magnitudes)
        except Undefined:
            seed += 1000
    raise Nowhere("found no numbers at which the module has finite values")
