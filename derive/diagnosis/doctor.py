"""What is said of somebody's gradients at a point where the right ones are known, and what each slip makes of them."""

from abc import abstractmethod

import numpy
from numpy import ndarray

from derive.backends.torch import TorchPrinter
from derive.diagnosis.apart import told_apart
from derive.diagnosis.report import Diagnosis, Explanation, GradientVerdict, WrongStep, dimensions, relation_words
from derive.diagnosis.search import Point, Search, SlipTrial, SymbolValues
from derive.operations import Numbers, Operation, Product, Reduction, Transposed

TOO_NOISY = 0.01  # of the largest entry of a gradient: what rounding moves by more is said to be seen so far only


class Doctor:
    """Knows the gradients at a point; `printer` spells its equations as the reader's code has them."""

    def __init__(self, point: Point, printer: TorchPrinter) -> None:
        self.point, self.printer = point, printer
        self.derivation = point.derivation
        self.moves: dict[float, dict[str, float]] = {}

    @abstractmethod
    def header(self, name: str) -> str:
        """What the gradient in a variable is called."""

    @abstractmethod
    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a gradient, as it is written."""

    @abstractmethod
    def elsewhere(self) -> tuple[SymbolValues, SymbolValues]:
        """Data at which nothing is special, and all else that is given at such a point."""

    def turned(self, name: str, shape: tuple[int, ...]) -> str:
        return f"{self.header(name)} is transposed: {dimensions(shape)} where it is {dimensions(shape[::-1])}"

    def noise(self, eps: float) -> dict[str, float]:
        if eps not in self.moves:
            self.moves[eps] = self.point.noise(eps)
        return self.moves[eps]

    def diagnosed(self, search: Search, decimals: dict[str, int], notes: list[str], transposed: set[str]) -> Diagnosis:
        """What there is to say of the claims, beside `notes`; of those that are `transposed` none is right."""
        found = [] if all(search.right.values()) else search.explanations()
        unsummed = [name for name, claim in search.claims.items() if claim.rows is not None]
        found = [trial for trial in found if all(self.rows_fit(search, name, trial) for name in unsummed)]
        for name in unsummed:
            if found or (all(search.right.values()) and self.rows_fit(search, name, SlipTrial((), {}, {}))):
                why = "has a row of numbers for each point: the sum over the points is missing"
                index = self.point.targets.index(self.point.gradients[name])
                right = self.printer.line(self.derivation.equations[index]).code
                notes += [f"{self.header(name)} {why}", f"    right          {right}"]
        groups, apart = told_apart(self.point, found, *self.elsewhere())
        verdicts = tuple(
            GradientVerdict(
                self.header(name),
                self.shape(name),
                good and name not in unsummed and name not in transposed,
                self.words(search, name, good, decimals[name], name in unsummed)
                + ", but transposed" * (good and name in transposed),
            )
            for name, good in search.right.items()
        )
        if not found and not all(search.right.values()):
            notes += self.where(search)
        missing = tuple(self.header(name) for name in self.point.gradients if name not in search.right)
        return Diagnosis(verdicts, tuple(map(self.explained, groups)), tuple(notes), apart, missing)

    def rows_fit(self, search: Search, name: str, trial: SlipTrial) -> bool:
        """Whether the numbers of each row are what the slip, or no slip, makes of that row."""
        index = self.point.targets.index(self.point.gradients[name])
        operation = trial.changes.get(index, self.point.operations[index])
        rows = terms_of_rows(operation, Numbers({**self.point.right, **trial.changed}))
        claim = search.claims[name]
        if rows is None or claim.rows is None or rows.shape != claim.rows.shape:
            return False
        return bool((abs(rows - claim.rows) <= claim.allowed + search.noise[name] * abs(rows).max()).all())

    def words(self, search: Search, name: str, good: bool, decimals: int, unsummed: bool) -> str:
        claim, right = search.claims[name], self.point.right[self.point.gradients[name]]
        if not numpy.isfinite(claim.values).all():
            return "not finite"
        if unsummed:
            return "not added up over the points" + ("" if good else ", and differs")
        if good:
            exact = (claim.allowed <= search.noise[name] * self.point.sizes(name, right)).all()
            noise = search.noise[name]
            if noise > TOO_NOISY:
                return f"equal as far as rounding shows it, which may move it by {noise:.1g} of its largest entry"
            return "equal" if exact else f"equal to the {decimals} decimal{'s' * (decimals != 1)} that are written"
        return "differs"

    def where(self, search: Search) -> list[str]:
        """What can be said where no slip gives the numbers."""
        good = [name for name, right in search.right.items() if right]
        bad = [name for name, right in search.right.items() if not right]
        two = ", and no two," if self.point.is_small else ""
        text = [f"No slip that is known{two} gives these numbers."]
        if good:
            names, several = ", ".join(map(self.header, good)), len(good) > 1
            needed = "what they need" if several else "what it needs"
            text.append(f"{names} {'are' if several else 'is'} right, and so, most likely, is {needed}.")
        text.append(self.first_wrong(search, good, bad))
        for name in bad:
            ours = self.point.right[self.point.gradients[name]]
            text.append(f"{self.header(name)}: {relation_words(search.claims[name].values, ours)}")
        return text

    def first_wrong(self, search: Search, good: list[str], bad: list[str]) -> str:
        """The first steps from the end that a wrong gradient needs and no right one does."""
        point, steps = self.point, []
        for index in range(len(self.derivation.program.equations), len(point.targets)):
            reached = search.reached(((index, point.operations[index]),))
            if reached & {*bad} and not reached & {*good}:
                steps.append(index)
                if point.targets[index] in point.gradients.values():
                    break
        names = "; ".join(", ".join(self.step_name(index)) for index in steps)
        if len(steps) == 1 and good:
            return f"Seen from the end, {names}, is the first step that goes wrong, if what it needs is right."
        forwards = "" if good else ", or in the forward pass"
        return f"Seen from the end, it goes wrong first in one of these steps{forwards}: {names}."

    def step_name(self, index: int) -> tuple[str, str]:
        """The number of a step in the document, and what it computes."""
        equation = self.derivation.equations[index]
        return self.derivation.labels[equation.target], equation.meaning

    def explained(self, group: list[SlipTrial]) -> Explanation:
        slips, same = group[0].slips, tuple(tuple(slip.kind for slip in trial.slips) for trial in group[1:])
        made = group[0].changes  # with both where two slips are in one equation
        steps = tuple(tuple(self.step(index, made[index]) for index, _ in slip.changes) for slip in slips)
        return Explanation(tuple(slip.kind for slip in slips), tuple(slip.words for slip in slips), steps, same)

    def step(self, index: int, operation: Operation) -> WrongStep:
        number, what = self.step_name(index)
        right = self.printer.line(self.derivation.equations[index])
        try:
            wrong = f"{right.target} = {self.printer.of(operation).text}"
        except (ValueError, NotImplementedError):
            wrong = f"{right.target} = ..."
        return WrongStep(number, what, wrong, right.code)


def terms_of_rows(operation: Operation, numbers: Numbers) -> ndarray | None:
    """The terms of a sum over the rows, one a row."""
    match operation:
        case Reduction(kind="sum", axis=0, of=of):
            return numbers.of(of)[:, None, :]
        case Product(factors=(Transposed(of=left), right)):
            return numbers.of(left)[:, :, None] * numbers.of(right)[:, None, :]
    return None
