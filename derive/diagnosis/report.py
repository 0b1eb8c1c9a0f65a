"""What a diagnosis says: a verdict a gradient, slips with their steps, and what is known where there are none."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy
from numpy import ndarray

MOST_SHOWN = 5


@dataclass(frozen=True)
class GradientVerdict:
    """Of one gradient: its header, its shape, and in words how theirs and ours agree."""

    name: str
    shape: tuple[int, ...]
    right: bool
    words: str


@dataclass(frozen=True)
class WrongStep:
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
    steps: tuple[tuple[WrongStep, ...], ...]
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

    Of several explanations each gives all of the numbers; `apart` is a point, in TOML, at which they differ. Of what is
    `missing` nothing was given.
    """

    verdicts: tuple[GradientVerdict, ...]
    explanations: tuple[Explanation, ...] = ()
    notes: tuple[str, ...] = ()
    apart: str = ""
    missing: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        """Whether what is there does."""
        return all(verdict.right for verdict in self.verdicts)

    @property
    def agreement(self) -> str:
        """In words, where what is there agrees."""
        missing = f"{', '.join(self.missing)} {'are' if len(self.missing) > 1 else 'is'} missing"
        return f"what is there agrees; {missing}" if self.missing else "all gradients agree"

    @property
    def summary(self) -> str:
        """In a line."""
        if self.agrees:
            return self.agreement
        if self.explanations:
            ways = (" and ".join(words_in_a_line(e)) for e in self.explanations[:MOST_SHOWN])
            return " or ".join(dict.fromkeys(ways))
        wrong = ", ".join(verdict.name for verdict in self.verdicts if not verdict.right)
        return f"no slip that is known gives {wrong}"

    def __str__(self) -> str:
        widths = [max(len(v.name) for v in self.verdicts), max(len(dimensions(v.shape)) for v in self.verdicts)]
        text = [f"{v.name:<{widths[0]}}  {dimensions(v.shape):<{widths[1]}}  {v.words}" for v in self.verdicts]
        if self.agrees:
            return "\n".join([*text, *self.notes, self.agreement])
        count = len(self.explanations)
        if count == 1:
            text += ["", str(self.explanations[0]), "It gives all of these numbers, to each digit that is written."]
        elif count:
            text += ["", f"{count} slips give all of these numbers, to each digit that is written; it is one of them:"]
            text += [f"({number}) {e}" for number, e in enumerate(self.explanations[:MOST_SHOWN], 1)]
            text += [f"and {count - MOST_SHOWN} more"] if count > MOST_SHOWN else []
            text += ["", self.apart] if self.apart else []
        return "\n".join([*text, *([""] if self.notes else []), *self.notes])


def by_name(given: Any, variables: Collection[str]) -> Mapping[str, Any]:
    """What somebody's function returned, as gradients by name: by name or in order, alone or behind a loss.

    Raises ValueError or TypeError for anything else.
    """
    if isinstance(given, tuple) and numpy.ndim(given[:1] and given[0]) == 0:
        whole = isinstance(given[1:] and given[1], Mapping | tuple | list)
        if len(given) == 2 and (len(variables) == 1 or (whole and len(given[1]) == len(variables))):
            given = given[1]
        elif len(given) == len(variables) + 1:
            given = given[1:]
    if not isinstance(given, Mapping):
        parts = given if isinstance(given, tuple | list) and len(variables) > 1 else (given,)
        if len(parts) != len(variables):
            raise TypeError(f"function: expected gradients in {', '.join(variables)}, by name or in this order")
        given = dict(zip(variables, parts, strict=True))
    if unknown := [name for name in given if name not in variables]:
        raise ValueError(f"function: {str(unknown[0])!r}: no variable; known: {', '.join(variables)}")
    if not given:
        raise ValueError("function: returned no gradient")
    return given


def words_in_a_line(explanation: Explanation) -> list[str]:
    return [
        f"{'/'.join(step.number for step in steps)} {words}"
        for words, steps in zip(explanation.words, explanation.steps, strict=True)
    ]


def dimensions(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def relation_words(theirs: ndarray, ours: ndarray) -> str:
    """How two arrays differ: a number between them, one a row or a column, their directions."""
    with numpy.errstate(all="ignore"):
        ratio = theirs / ours
    known = ratio[numpy.isfinite(ratio) & (ours != 0)]
    largest = float(abs(ours).max())
    beside = bool(((ours == 0) & (theirs != 0)).any())
    by_line = ""
    for axis, word in ((1, "row"), (0, "column")):
        lines = [line[numpy.isfinite(line)] for line in (ratio if axis else ratio.T)]
        constant = not beside and theirs.shape[axis] > 1 and all(line.size and is_constant(line) for line in lines)
        if constant and not by_line and any(abs(line[0] - 1) > 1e-2 for line in lines):
            factors = ", ".join(f"{line[0]:.4g}" for line in lines[:6])
            by_line = f"each {word} is a number times ours: {factors}{', ...' if len(lines) > 6 else ''}"
    if not by_line and largest > 0 and (off := float(abs(theirs - ours).max())) <= 1e-3 * largest:
        return f"theirs is ours but for {off / largest:.1g} of the largest entry: rounding, or difference quotients"
    if known.size and (ours.size == 1 or is_constant(known)):
        return f"theirs is {known.flat[0]:.4g} times ours{', and other than 0 where ours is 0' if beside else ''}"
    if by_line:
        return by_line
    norms = float(numpy.linalg.norm(theirs)), float(numpy.linalg.norm(ours))
    if not all(map(math.isfinite, norms)) or not all(norms):
        return f"theirs has norm {norms[0]:.4g}, ours {norms[1]:.4g}"
    cosine = float((theirs * ours).sum()) / norms[0] / norms[1]
    return f"no number times ours: norm {norms[0] / norms[1]:.4g} of ours, cosine of the angle {cosine:.4g}"


def is_constant(numbers: ndarray) -> bool:
    return bool(abs(numbers - numbers.mean()).max() <= 1e-3 * abs(numbers.mean()))
