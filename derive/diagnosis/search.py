"""Which slips give somebody's numbers: each is made, computed in float64 there, and compared at their digits."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice, product
from typing import Protocol

import numpy
from numpy import ndarray
from sympy import MatrixSymbol, Rational

from derive.diagnosis.changes import Change, Slip, exchanged, values_in
from derive.operations import NamedMatrix, Numbers, Operation, Scaled, Sum, evaluate, in_last_place
from derive.programs import Derivation

SymbolValues = dict[MatrixSymbol, ndarray]
Wanted = Callable[[MatrixSymbol, ndarray], bool]
LEAST_MOVED = 1e-12  # of the largest entry: a slip that moves nothing by more is none at this point
NOISE, NOISE_ON_THE_WAY = 16, 4  # times what a unit in the last place of the inputs, or of all values, moves
MOST_STEPS = 20  # of an update, of so many digits, that are tried
MOST_KEPT = 200_000  # entries of a network's values at its points
MOST_PAIRS = 50_000
MOST_ALIKE = 20  # pairs that are the same at this point, of which each is tried


@dataclass(frozen=True)
class ClaimedGradient:
    """A gradient as somebody has it: numbers in the shape of ours, by how much each may differ, and what to know of it.

    `rows` holds the numbers of each row where they were not added up.
    """

    values: ndarray
    allowed: ndarray
    rows: ndarray | None = None


@dataclass(frozen=True)
class SlipTrial:
    """A slip, or two: the operations that stand in the place of others, and the values that this changes."""

    slips: tuple[Slip, ...]
    changes: dict[int, Operation]
    changed: SymbolValues


class Made(Protocol):
    """Slips in a derivation: the operations of its equations, and what weights stand in the sweep back to them."""

    operations: list[Operation]
    cotangents: list[MatrixSymbol]
    weights: set[MatrixSymbol]

    def all(self) -> list[Slip]: ...
    def of(self, index: int, operation: Operation) -> Iterator[Change]: ...
    def code(self, symbol: MatrixSymbol) -> str: ...


class Point:
    """A derivation at numbers, with every slip that can be made in one place, and what each leads to.

    `slips` makes these of the values there.
    """

    def __init__(self, derivation: Derivation, inputs: SymbolValues, slips: Callable[[SymbolValues], Made]) -> None:
        self.derivation, self.inputs, self.make = derivation, inputs, slips
        self.right = evaluate(derivation.equations, inputs)
        self.slips = slips(self.right)
        self.operations = self.slips.operations
        self.targets = [equation.target for equation in derivation.equations]
        self.reads = [frozenset(values_in(operation)) for operation in self.operations]
        self.gradients = dict(zip((s.name for s in derivation.gradients), derivation.gradients.values(), strict=True))
        self.numbers = Numbers(self.right)
        self.by_column: dict[str, ndarray] = {}  # of gradients each column of which something known multiplies

    def at(self, inputs: SymbolValues) -> "Point":
        """The same at other numbers, those that are not given as they are."""
        return Point(self.derivation, {**self.inputs, **inputs}, self.make)

    @property
    def is_small(self) -> bool:
        """Whether what each slip leads to can be kept, and two slips tried together."""
        return sum(array.size for array in self.right.values()) <= MOST_KEPT

    @cached_property
    def trials(self) -> list[SlipTrial]:
        """Every slip that changes anything here."""
        return list(self.tried(self.slips.all()))

    def tried(self, slips: Iterable[Slip], wanted: Wanted | None = None) -> Iterator[SlipTrial]:
        """What each of the slips leads to; none that changes nothing here, cannot be computed or is not wanted."""
        for slip in slips:
            changes = dict(slip.changes)
            if changed := self.changed_by(changes, wanted):
                yield SlipTrial((slip,), changes, changed)

    def gradients_with(self, changes: dict[int, Operation]) -> dict[str, ndarray]:
        """All gradients where these operations stand in the place of others."""
        values = {**self.right, **(self.changed_by(changes) or {})}
        return {name: values[symbol] for name, symbol in self.gradients.items()}

    def changed_by(self, changes: dict[int, Operation], wanted: Wanted | None = None) -> SymbolValues | None:
        """The values that differ where these operations stand in the place of others; None where there are none.

        None, too, where something cannot be computed or is not finite, and as soon as a value is not as it is wanted.
        """
        changed: SymbolValues = {}
        numbers = self.numbers
        try:
            with numpy.errstate(all="ignore"):
                for index in range(min(changes), len(self.targets)):
                    target = self.targets[index]
                    if index in changes:
                        operation = changes[index]
                    elif self.reads[index] & changed.keys():
                        operation = self.operations[index]
                    else:
                        continue
                    value = numbers.of(operation)
                    if not differs(value, self.right[target]):
                        continue
                    if not numpy.isfinite(value).all() or (wanted and not wanted(target, value)):
                        return None
                    changed[target] = numbers.values[target] = value
        except (ArithmeticError, ValueError, TypeError, IndexError, KeyError, NotImplementedError):
            return None
        finally:
            for target in changed:
                numbers.values[target] = self.right[target]
        return changed

    def sizes(self, name: str, value: ndarray) -> ndarray:
        """For each entry of a gradient the largest, but for what multiplies their columns."""
        largest = abs(value).max(initial=0)
        if name not in self.by_column:
            return largest
        with numpy.errstate(all="ignore"):
            without = abs(self.right[self.gradients[name]]) / self.by_column[name]
        by_column = numpy.nan_to_num(without, posinf=0.0).max(initial=0) * self.by_column[name]
        return numpy.maximum(abs(value), numpy.minimum(largest, by_column))

    def noise(self, eps: float) -> dict[str, float]:
        """By which share of its largest entry each gradient moves where numbers are rounded to so many digits.

        What is less than any number of so many digits is 0 there.
        """
        draw, kind = numpy.random.default_rng(0), numpy.float64 if eps == numpy.finfo(float).eps else numpy.float32
        least, most = numpy.finfo(kind).tiny, dict.fromkeys(self.gradients, NOISE * eps)

        def rounded(value: ndarray) -> ndarray:
            mantissa, exponent = numpy.frexp(value)
            return numpy.where(abs(value) < least, 0.0, numpy.ldexp(numpy.round(mantissa / eps) * eps, exponent))

        for times, on_the_way in ((NOISE, None), (NOISE_ON_THE_WAY, rounded)) * 4:
            moved = {s: in_last_place(a, draw, eps) for s, a in self.inputs.items()}
            try:
                values = evaluate(self.derivation.equations, moved, rounded=on_the_way)
            except ValueError:
                continue
            for name, symbol in self.gradients.items():
                largest = abs(self.right[symbol]).max()
                if largest > 0:
                    moves = abs(values[symbol] - self.right[symbol]).max() / largest
                    most[name] = max(most[name], times * float(moves))
        return most


def differs(value: ndarray, right: ndarray) -> bool:
    if value.shape != right.shape:
        return True
    return not bool(abs(value - right).max(initial=0) <= LEAST_MOVED * abs(right).max(initial=0))


@dataclass
class Search:
    """Claims about the gradients at a point."""

    point: Point
    claims: dict[str, ClaimedGradient]
    noise: dict[str, float]
    right: dict[str, bool] = field(init=False)
    claimed: dict[MatrixSymbol, str] = field(init=False)

    def __post_init__(self) -> None:
        self.claimed = {self.point.gradients[name]: name for name in self.claims}
        self.right = {name: self.agrees(name, self.point.right[self.point.gradients[name]]) for name in self.claims}

    def agrees(self, name: str, value: ndarray) -> bool:
        """Whether the value is what is claimed, but for the digits that were not written and rounding on the way."""
        claim = self.claims[name]
        if value.shape != claim.values.shape:
            return False
        allowed = claim.allowed + self.noise[name] * self.point.sizes(name, value)
        return bool((abs(value - claim.values) <= allowed).all())

    def fits(self, name: str, trial: SlipTrial) -> bool:
        symbol = self.point.gradients[name]
        return self.agrees(name, trial.changed[symbol]) if symbol in trial.changed else self.right[name]

    def explanations(self) -> list[SlipTrial]:
        """The slips that give all claims; where no single one does, two; where none do, none."""
        point = self.point
        trials = point.trials if point.is_small else point.tried(point.slips.all(), self.wanted)
        single = [trial for trial in trials if self.fit(trial)] or self.after_the_update()
        return single or (self.pairs() if point.is_small else [])

    def fit(self, trial: SlipTrial) -> bool:
        return all(self.fits(name, trial) for name in self.claims)

    def pairs(self) -> list[SlipTrial]:
        """Two slips. What the second does not reach must come out right by the first alone, and the other way round."""
        names, alike = set(self.claims), self.alike()
        groups: dict[tuple[frozenset[str], frozenset[str]], list[list[SlipTrial]]] = {}
        for trials in alike:
            fit = frozenset(name for name in names if self.fits(name, trials[0]))
            groups.setdefault((frozenset(self.reached(trials[0].slips[0].changes)), fit), []).append(trials)
        found: list[SlipTrial] = []
        kinds = list(groups)
        tried = (
            pair
            for i, (reach, fit) in enumerate(kinds)
            for other_reach, other_fit in kinds[i:]
            if names - other_reach <= fit and names - reach <= other_fit
            for pair in product(groups[reach, fit], groups[other_reach, other_fit])
        )
        for ones, others in islice(tried, MOST_PAIRS):
            if self.together(ones[0].slips[0], others[0].slips[0]):
                each = ((one.slips[0], other.slips[0]) for one, other in product(ones, others))
                found += filter(None, (self.together(*pair) for pair in islice(each, MOST_ALIKE)))
        return found

    def alike(self) -> list[list[SlipTrial]]:
        """The trials, those together that lead to the same values."""
        groups: dict[tuple[object, ...], list[SlipTrial]] = {}
        for trial in self.point.trials:
            key = tuple(
                (
                    target.name,
                    value.shape,
                    numpy.round(value / (abs(value).max() or 1), 9).tobytes(),
                    f"{abs(value).max():.9g}",
                )
                for target, value in trial.changed.items()
            )
            groups.setdefault(key, []).append(trial)
        return list(groups.values())

    def reached(self, changes: tuple[tuple[int, Operation], ...]) -> set[str]:
        """The gradients that depend on these equations."""
        point = self.point
        moved = {point.targets[index] for index, _ in changes}
        for target, reads in zip(point.targets, point.reads, strict=True):
            if reads & moved:
                moved.add(target)
        return {name for name, symbol in point.gradients.items() if symbol in moved}

    def together(self, one: Slip, other: Slip) -> SlipTrial | None:
        """Both slips, in two equations; in one equation only where the second is a factor."""
        first, second = dict(one.changes), dict(other.changes)
        for index in first.keys() & second.keys():
            a, b = first[index], second[index]
            if not isinstance(b, Scaled) or b.of != self.point.operations[index]:
                a, b, first = b, a, {**first, index: b}
            if not isinstance(b, Scaled) or b.of != self.point.operations[index]:
                return None
            second[index] = Scaled(b.shape, b.scale, a)
        changes = {**first, **second}
        changed = self.point.changed_by(changes, self.wanted)
        trial = SlipTrial((one, other), changes, changed or {})
        return trial if changed and self.fit(trial) else None

    def wanted(self, target: MatrixSymbol, value: ndarray) -> bool:
        """Whether the value is none that is claimed to be another."""
        name = self.claimed.get(target)
        return name is None or self.agrees(name, value)

    def after_the_update(self) -> list[SlipTrial]:
        """Weights that were moved before they were needed: by which step, the first gradient behind them says."""
        point, found = self.point, []
        uses = []
        for index, (target, reads) in enumerate(zip(point.targets, point.reads, strict=True)):
            if target in point.slips.cotangents:
                uses += [(index, W) for W in reads & point.slips.weights]
        for chosen in [uses, *([use] for use in uses if len(uses) > 1)] if uses else []:
            for step in self.steps_of(chosen):
                which = "the weights are" if len(chosen) > 1 else f"{point.slips.code(chosen[0][1])} is"
                words = f"{which} taken after the update, with a step of {step}"
                slip = Slip("W after the update", words, self.updated(chosen, Rational(step)))
                fitting = list(filter(self.fit, point.tried([slip])))
                found += fitting
                if fitting:
                    break
        return found

    def updated(self, uses: list[tuple[int, MatrixSymbol]], step: Rational) -> tuple[tuple[int, Operation], ...]:
        """The equations with W less a step along its gradient in the place of W."""
        point, changes = self.point, []
        for index, W in uses:
            gradient = NamedMatrix(W.shape, point.derivation.gradients[W])
            moved = Sum(W.shape, (NamedMatrix(W.shape, W), Scaled(W.shape, -step, gradient)))
            changes.append((index, exchanged(point.operations[index], W, moved)))
        return tuple(changes)

    def steps_of(self, uses: list[tuple[int, MatrixSymbol]]) -> list[str]:
        """The steps with which the first gradient behind the first use comes out, those of few digits first."""
        point = self.point
        changed = point.changed_by(dict(self.updated(uses[:1], Rational(1)))) or {}
        for name in reversed(list(point.gradients)):
            value, claim = changed.get(point.gradients[name]), self.claims.get(name)
            if value is not None and claim is not None and value.shape == claim.values.shape:
                along, theirs = (part - point.right[point.gradients[name]] for part in (value, claim.values))
                square = float((along * along).sum())
                step, off = float((along * theirs).sum()) / square, float((abs(along) * claim.allowed).sum()) / square
                return [] if not step > 0 else short_numbers(step - off, step + off, step)
        return []


def short_numbers(low: float, high: float, middle: float) -> list[str]:
    """Of 1, 2 and 3 digits those nearest to a number and to the ends of what it may be, which are rounded, too."""
    found: list[str] = []
    for digits in (1, 2, 3):
        unit = 10.0 ** (math.floor(math.log10(middle)) + 1 - digits)
        between = range(math.ceil(low / unit), math.floor(high / unit) + 1)[:MOST_STEPS]
        numbers = [round(middle / unit), *sorted(between, key=lambda number: (number % 10 != 0, number % 5 != 0))]
        found += [f"{number * unit:.{digits}g}" for number in numbers if number > 0]
    return list(dict.fromkeys(found))
