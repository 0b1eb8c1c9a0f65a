"""What the files of a package are about: a network, and what is derived of it."""

import textwrap
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sympy import Integer

from derive.backends import WIDTH
from derive.backends.fast import Schedule, schedule
from derive.calculus import derive, of_parameters_alone
from derive.packages.native import native_holes
from derive.packages.templates import named_by_text
from derive.paper import SHOWN_AS_DRAWN, Section, Shown, network_document
from derive.problems import Network
from derive.programs import Derivation, readable
from derive.reading import forward


@dataclass(frozen=True)
class Subject:
    """What a page is about: the network, and its derivation as it was derived."""

    network: Network
    derived: Derivation
    shown: Shown = SHOWN_AS_DRAWN

    @cached_property
    def derivation(self) -> Derivation:
        """With long formulas in parts, as the code computes it."""
        return readable(self.derived)

    @cached_property
    def of_rows(self) -> Derivation:
        """Without what belongs to no row: what comes from the data alone."""
        alone = self.network.of_rows()
        return self.derived if alone == self.network else derive(forward(alone))

    @cached_property
    def of_penalty(self) -> Derivation | None:
        """Of the penalty by itself; None where there is none."""
        program = of_parameters_alone(self.derived.program)
        return derive(program) if program else None

    @cached_property
    def each(self) -> Derivation:
        """The derivation of the sum of the rows' own losses."""
        return derive(forward(self.network.of_rows(), mean_over=Integer(1)))

    @cached_property
    def plan(self) -> Schedule:
        """What fast.py does, and how its flat vectors are cut, as are those of the C."""
        return schedule(self.of_rows)

    @cached_property
    def native(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The holes of network.c and of network.h."""
        return native_holes(self.network, self.of_rows, self.each, self.of_penalty, self.plan.blocks)

    @cached_property
    def header(self) -> dict[str, Any]:
        """The holes of network.h, with what tells it from the headers of others."""
        _, header = self.native
        return named_by_text("network.h.j2", {**title_page(self), **penalty_page(self), **header})

    @cached_property
    def document(self) -> list[Section]:
        """What the derivation says, whatever the format."""
        return network_document(self.network, self.derived, self.derivation, self.shown)


def subject_of(network: Network) -> Subject:
    return Subject(network, derive(forward(network)))


def title_page(subject: Subject) -> dict[str, Any]:
    """The network in words, as the lines of a docstring."""
    words = f"The network: {subject.network}.".replace("\\", "/").replace('"', "'")
    return {"network": textwrap.wrap(words, WIDTH - 4, break_on_hyphens=False)}


def classes_page(subject: Subject) -> dict[str, Any]:
    """Fills what a template has for class numbers alone: once, or not at all."""
    number = subject.network.layers[-1]
    return {"classes": [{"number": number, "last": number - 1}] if subject.network.takes_classes else []}


def penalty_page(subject: Subject) -> dict[str, Any]:
    """Fills what a template has for penalties alone: once, or not at all."""
    return {"penalties": [subject.network.penalty] if subject.network.penalty else []}
