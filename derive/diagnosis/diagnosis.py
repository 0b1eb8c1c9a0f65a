"""What somebody's gradients are: right, rounded, or what they come out as with a slip, and which one."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
from numpy import ndarray
from sympy import MatrixSymbol

from derive.backends.torch import ONE, TorchPrinter
from derive.calculus import derive
from derive.diagnosis.apart import told_apart
from derive.diagnosis.search import Claim, Point, Search, Trial
from derive.diagnosis.written import MOST_FLOAT32, Misread, Written, named, written
from derive.operations import Numbers, Operation, Product, Reduction, Transposed
from derive.problems import Network, targets
from derive.reading import forward

ROWS = 3  # of a point that is drawn
MOST_SHOWN = 5


@dataclass(frozen=True)
class Verdict:
    """Of one gradient: its header, its shape, and in words how theirs and ours agree."""

    name: str
    shape: tuple[int, ...]
    right: bool
    words: str


@dataclass(frozen=True)
class Step:
    """A slip in one step of the document: the line of code with it, and the right one."""

    number: str
    what: str
    wrong: str
    right: str


@dataclass(frozen=True)
class Explanation:
    """One slip or two that give all of the numbers; `same` are the kinds of others that do so at every point."""

    kinds: tuple[str, ...]
    words: tuple[str, ...]
    steps: tuple[tuple[Step, ...], ...]
    same: tuple[tuple[str, ...], ...] = ()

    def __str__(self) -> str:
        text = []
        for words, steps in zip(self.words, self.steps, strict=True):
            first = steps[0]
            place = f"{first.number}, {first.what}" if len(steps) == 1 else ", ".join(step.number for step in steps)
            text.append(f"{place}: {words}.")
            for step in steps:
                text += [f"    with the slip  {step.wrong}", f"    right          {step.right}"]
        return "\n".join(text)


@dataclass(frozen=True)
class Diagnosis:
    """What was found: a verdict a gradient, the slips that give the numbers, and where there are none, what is known.

    Of several explanations each gives all of the numbers; `apart` is a point, in TOML, at which they differ.
    """

    verdicts: tuple[Verdict, ...]
    explanations: tuple[Explanation, ...] = ()
    notes: tuple[str, ...] = ()
    apart: str = ""

    @property
    def agrees(self) -> bool:
        return all(verdict.right for verdict in self.verdicts)

    @property
    def summary(self) -> str:
        """In a line."""
        if self.agrees:
            return "all gradients agree"
        if self.explanations:
            ways = (" and ".join(words_in_a_line(e)) for e in self.explanations[:MOST_SHOWN])
            return " or ".join(dict.fromkeys(ways))
        wrong = ", ".join(verdict.name for verdict in self.verdicts if not verdict.right)
        return f"no slip that is known gives {wrong}"

    def __str__(self) -> str:
        widths = [max(len(v.name) for v in self.verdicts), max(len(sized(v.shape)) for v in self.verdicts)]
        text = [f"{v.name:<{widths[0]}}  {sized(v.shape):<{widths[1]}}  {v.words}" for v in self.verdicts]
        if self.agrees:
            return "\n".join([*text, *self.notes, "all gradients agree"])
        count = len(self.explanations)
        if count == 1:
            text += ["", str(self.explanations[0]), "It gives all of these numbers, to each digit that is written."]
        elif count:
            text += ["", f"{count} slips give all of these numbers, to each digit that is written; it is one of them:"]
            text += [f"({number}) {e}" for number, e in enumerate(self.explanations[:MOST_SHOWN], 1)]
            text += [f"and {count - MOST_SHOWN} more"] if count > MOST_SHOWN else []
            text += ["", self.apart] if self.apart else []
        return "\n".join([*text, *([""] if self.notes else []), *self.notes])


def words_in_a_line(explanation: Explanation) -> list[str]:
    return [
        f"{'/'.join(step.number for step in steps)} {words}"
        for words, steps in zip(explanation.words, explanation.steps, strict=True)
    ]


def sized(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


class Diagnostician:
    """Knows a network's right gradients at a point, and what each slip makes of them; diagnoses one person's or many's.

    `inputs` has W1, b1, ..., x and y as arrays: weights out x in, points in rows. Raises ValueError where the gradient
    is not finite there.
    """

    def __init__(self, network: Network, inputs: Mapping[str, ndarray]) -> None:
        self.network = network
        self.derivation = derive(forward(network))
        program = self.derivation.program
        self.printer = TorchPrinter(program, ONE)
        self.weights = {symbol.name for symbol in program.weights}
        named = {program.notation.torch(symbol.name): symbol for symbol in program.inputs}
        values = {s: numpy.asarray(inputs[n], numpy.float64).reshape(-1, self.width(s)) for n, s in named.items()}
        self.point = Point(network, self.derivation, values)
        self.moves: dict[float, dict[str, float]] = {}

    def width(self, symbol: MatrixSymbol) -> int:
        return int(symbol.shape[1].xreplace(self.derivation.program.sizes))

    def noise(self, eps: float) -> dict[str, float]:
        if eps not in self.moves:
            self.moves[eps] = self.point.noise(eps)
        return self.moves[eps]

    def of_file(self, path: Path, turned: bool = False) -> Diagnosis:
        """Of a file, as people write gradients down. Raises OSError, or ValueError with file, line and reason."""
        try:
            return self.of_written(named(written(path), self.network.shapes), turned)
        except Misread as error:
            raise ValueError(f"{path}:{error.line}: {error}") from None

    def of_written(self, arrays: Mapping[str, Written], turned: bool = False) -> Diagnosis:
        """Of gradients by the names of their parameters; `turned` where weights are meant to be in x out.

        Raises ValueError where an array has no shape that the gradient could have.
        """
        eps = float(numpy.finfo(numpy.float32 if all(map(is_float32, arrays.values())) else numpy.float64).eps)
        shapes = {name: self.point.right[symbol].shape for name, symbol in self.point.gradients.items()}
        other_way = {n for n, a in arrays.items() if n in shapes and a.values.shape == shapes[n][::-1] != shapes[n]}
        decided = {n for n in self.weights & arrays.keys() if shapes[n][0] != shapes[n][1] and 1 not in shapes[n]}
        notes = []
        if not turned and decided and decided <= other_way:
            turned = True
            notes.append("weights are taken to be stored in x out, as their shapes say")
        claims: dict[str, Claim] = {}
        transposed: set[str] = set()
        for name, array in arrays.items():
            flipped = name in self.weights and (turned or name in other_way)
            if flipped and not turned:
                transposed.add(name)
                notes.append(
                    f"{header(name)} is transposed: {sized(array.values.shape)} where it is {sized(shapes[name])}"
                )
            claims[name] = self.claim(name, array, flipped)
        layer = self.derivation.program.notation.layer
        claims = {name: claims[name] for name in sorted(claims, key=lambda name: (-layer(name), name))}
        decimals = {name: arrays[name].decimals for name in claims}
        return self.diagnosed(Search(self.point, claims, self.noise(eps)), decimals, notes, transposed)

    def claim(self, name: str, array: Written, flipped: bool) -> Claim:
        """The numbers in the shape of ours.

        Raises ValueError where there is no such shape.
        """
        right = self.point.right[self.point.gradients[name]].shape
        values, allowed = array.values, array.units / 2 * (1 + 1e-9)
        if flipped and values.ndim == 2:
            values, allowed = values.T, allowed.T
        rows = len(self.point.right[self.derivation.program.inputs[0]])
        if values.size == math.prod(right) and (values.ndim < 2 or 1 in right or values.shape == right):
            return Claim(values.reshape(right), allowed.reshape(right))
        if rows > 1 and values.size == rows * math.prod(right) and len(values) == rows:
            each, allowed = values.reshape(rows, *right), allowed.reshape(rows, *right)
            return Claim(each.sum(0), allowed.sum(0), each)
        expected = self.shape(name)
        raise Misread(
            array.line, f"{array.header[:30]}: expected shape {sized(expected)}, got {sized(array.values.shape)}"
        )

    def of_arrays(self, gradients: Mapping[str, ndarray]) -> Diagnosis:
        """Of gradients that were computed in float64."""
        made = {
            name: Written(name, 0, array, numpy.zeros(array.shape), 17, 17)
            for name, array in ((name, numpy.asarray(array, numpy.float64)) for name, array in gradients.items())
        }
        return self.of_written(made)

    def diagnosed(self, search: Search, decimals: dict[str, int], notes: list[str], transposed: set[str]) -> Diagnosis:
        """What there is to say of the claims, beside `notes`; of those that are `transposed` none is right."""
        found = [] if all(search.right.values()) else search.explanations()
        unsummed = [name for name, claim in search.claims.items() if claim.rows is not None]
        found = [trial for trial in found if all(self.rows_fit(search, name, trial) for name in unsummed)]
        for name in unsummed:
            if found or (all(search.right.values()) and self.rows_fit(search, name, Trial((), {}, {}))):
                notes.append(f"{header(name)} has a row of numbers for each point: the sum over the points is missing")
        groups, apart = told_apart(self.point, found)
        verdicts = tuple(
            Verdict(
                header(name),
                self.shape(name),
                good and name not in unsummed and name not in transposed,
                self.words(search, name, good, decimals[name], name in unsummed),
            )
            for name, good in search.right.items()
        )
        if not found and not all(search.right.values()):
            notes += self.where(search)
        return Diagnosis(verdicts, tuple(map(self.explained, groups)), tuple(notes), apart)

    def rows_fit(self, search: Search, name: str, trial: Trial) -> bool:
        """Whether the numbers of each row are what the slip, or no slip, makes of that row."""
        index = self.point.targets.index(self.point.gradients[name])
        operation = trial.changes.get(index, self.point.operations[index])
        rows = of_rows(operation, Numbers({**self.point.right, **trial.changed}))
        claim = search.claims[name]
        if rows is None or claim.rows is None or rows.shape != claim.rows.shape:
            return False
        return bool((abs(rows - claim.rows) <= claim.allowed + search.noise[name] * abs(rows).max()).all())

    def shape(self, name: str) -> tuple[int, ...]:
        shape = self.point.right[self.point.gradients[name]].shape
        return shape if name in self.weights else shape[1:]

    def words(self, search: Search, name: str, good: bool, decimals: int, unsummed: bool) -> str:
        claim, right = search.claims[name], self.point.right[self.point.gradients[name]]
        if not numpy.isfinite(claim.values).all():
            return "not finite"
        if unsummed:
            return "not added up over the points" + ("" if good else ", and differs")
        if good:
            exact = (claim.allowed <= search.noise[name] * abs(right).max()).all()
            return "equal" if exact else f"equal to the {decimals} decimal{'s' * (decimals != 1)} that are written"
        return "differs"

    def where(self, search: Search) -> list[str]:
        """What can be said where no slip gives the numbers."""
        good = [name for name, right in search.right.items() if right]
        bad = [name for name, right in search.right.items() if not right]
        symbol = self.point.gradients[bad[0]]
        number, what = self.step_name(self.point.targets.index(symbol))
        two = ", and no two," if self.point.is_small else ""
        text = [f"No slip that is known{two} gives these numbers."]
        if good:
            text.append(
                f"{', '.join(map(header, good))} {'are' if len(good) > 1 else 'is'} right, and so is what they need."
            )
        text.append(
            f"Seen from the end, {header(bad[0])} is the first that goes wrong: {number}, {what}, or what it needs."
        )
        for name in bad:
            text.append(
                f"{header(name)}: {relation(search.claims[name].values, self.point.right[self.point.gradients[name]])}"
            )
        return text

    def step_name(self, index: int) -> tuple[str, str]:
        """The number of a step in the document, and what it computes."""
        equation, first = self.derivation.equations[index], len(self.derivation.program.equations)
        number = f"B{index - first + 1}" if index >= first else f"F{index + 1}"
        title = self.derivation.program.notation.title(equation.target.name)
        return number, title if equation.variable is None else f"dL/d{equation.variable}"

    def explained(self, group: list[Trial]) -> Explanation:
        slips, same = group[0].slips, tuple(tuple(slip.kind for slip in trial.slips) for trial in group[1:])
        steps = tuple(tuple(self.step(index, operation) for index, operation in slip.changes) for slip in slips)
        return Explanation(tuple(slip.kind for slip in slips), tuple(slip.words for slip in slips), steps, same)

    def step(self, index: int, operation: Operation) -> Step:
        number, what = self.step_name(index)
        right = self.printer.line(self.derivation.equations[index])
        try:
            wrong = f"{right.target} = {self.printer.of(operation).text}"
        except (ValueError, NotImplementedError):
            wrong = f"{right.target} = ..."
        return Step(number, what, wrong, right.code)


def is_float32(array: Written) -> bool:
    """Whether numbers may have been computed in float32: few digits, or just those that a float32 has."""
    with numpy.errstate(over="ignore"):
        return array.significant <= MOST_FLOAT32 or bool((array.values.astype(numpy.float32) == array.values).all())


def header(name: str) -> str:
    return f"dLd{name.lower()}"


def of_rows(operation: Operation, numbers: Numbers) -> ndarray | None:
    """The terms of a sum over the rows, one a row."""
    match operation:
        case Reduction(kind="sum", axis=0, of=of):
            return numbers.of(of)[:, None, :]
        case Product(factors=(Transposed(of=left), right)):
            return numbers.of(left)[:, :, None] * numbers.of(right)[:, None, :]
    return None


def relation(theirs: ndarray, ours: ndarray) -> str:
    """How two arrays differ: a number between them, one a row or a column, their directions."""
    with numpy.errstate(all="ignore"):
        ratio = theirs / ours
    known = ratio[numpy.isfinite(ratio) & (ours != 0)]
    if known.size > 1 and constant(known):
        return f"theirs is {known.flat[0]:.4g} times ours"
    if ours.size == 1 and known.size:
        return f"theirs is {known.flat[0]:.4g} times ours"
    for axis, word in ((1, "row"), (0, "column")):
        lines = [line[numpy.isfinite(line)] for line in (ratio if axis else ratio.T)]
        if theirs.shape[axis] > 1 and all(line.size and constant(line) for line in lines):
            factors = ", ".join(f"{line[0]:.4g}" for line in lines[:6])
            return f"each {word} is a number times ours: {factors}{', ...' if len(lines) > 6 else ''}"
    norms = float(numpy.linalg.norm(theirs)), float(numpy.linalg.norm(ours))
    if not all(map(math.isfinite, norms)) or not all(norms):
        return f"theirs has norm {norms[0]:.4g}, ours {norms[1]:.4g}"
    cosine = float((theirs * ours).sum()) / norms[0] / norms[1]
    return f"no number times ours: norm {norms[0] / norms[1]:.4g} of ours, cosine of the angle {cosine:.4g}"


def constant(numbers: ndarray) -> bool:
    return bool(abs(numbers - numbers.mean()).max() <= 1e-3 * abs(numbers.mean()))


def drawn_inputs(network: Network, rows: int) -> dict[str, ndarray]:
    """Weights W1 (out x in), biases, and points in rows with their targets, drawn in float64."""
    draw, widths = numpy.random.default_rng(127), network.layers
    parameters = {
        name: draw.normal(size=shape) / (math.sqrt(shape[1]) if len(shape) == 2 else 2)
        for name, shape in network.shapes.items()
    }
    x = draw.uniform(size=(rows, widths[0]))
    return {**parameters, "x": x, "y": numpy.array([targets(network).numbers(list(row), widths[-1]) for row in x])}


def diagnose(function: Callable[..., Any], network: Network, rows: int = ROWS) -> Diagnosis:
    """What is wrong with a function that computes the network's gradient.

    It is called once, as `function(parameters, x, y)`: a dict of float64 arrays W1 (out x in), b1, ..., and points in
    rows, all drawn. It returns the gradients by these names, or in the order W1, b1, W2, ..., or a loss and then these.
    Raises ValueError or TypeError for anything else.
    """
    inputs = drawn_inputs(network, rows)
    doctor = Diagnostician(network, inputs)
    x, y = inputs.pop("x"), inputs.pop("y")
    parameters = inputs
    given = function({name: array.copy() for name, array in parameters.items()}, x.copy(), y.copy())
    if (
        isinstance(given, tuple | list)
        and len(given) == 2
        and numpy.ndim(given[0]) == 0
        and not numpy.isscalar(given[1])
    ):
        given = given[1]
    if not isinstance(given, Mapping):
        if not isinstance(given, tuple | list) or len(given) != len(parameters):
            raise TypeError(
                f"function: expected gradients by name or {len(parameters)} in order, got {type(given).__name__}"
            )
        given = dict(zip(parameters, given, strict=True))
    if unknown := [name for name in given if name not in parameters]:
        raise ValueError(f"function: {unknown[0]!r}: no parameter; known: {', '.join(parameters)}")
    if not given:
        raise ValueError("function: returned no gradient")
    return doctor.of_arrays(given)
