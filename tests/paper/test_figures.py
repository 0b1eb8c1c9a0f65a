"""The drawings show what the equations say: each use of a value is an arrow, each symbol has its name."""

import math
import re

import pytest
from sympy import MatrixSymbol

from derive.packages.emit import subject_of
from derive.paper.figures import Label, Segment, characters, computation_figure, network_figure
from derive.problems.network import Network
from derive.programs import NETWORK, PLAIN

NETWORKS = {
    "default": Network(),
    "one unit": Network((1, 1)),
    "no activation": Network((3, 4, 2, 2), activation="identity"),
    "a slope of one": Network((3, 2, 1), activation="z + 1"),
    "cross entropy": Network((4, 5, 3), activation="relu", loss="cross_entropy", reduction="mean"),
    "softmax in a formula": Network((3, 3), loss="(softmax(2*p) - y)**2"),
    "two row sums": Network((3, 3), loss="logsumexp(p)*logsumexp(p - y)"),
    "deep": Network((2, 3, 3, 3, 3, 3, 1)),
    "a penalty": Network((3, 4, 2), "tanh", penalty="w**4/4", reduction="mean"),
    "a penalty, and layers skipped": Network((4, 4, 4, 2), "tanh", penalty="0.05*w**2", skip=((0, 2), (1, 2))),
}
network = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
LOSS = "1"  # what stands where the loss comes back: dL/dL


def arrows(figure) -> set[tuple[str, str]]:
    """From which symbol to which each arrow goes, by what stands nearest to its ends; lines that meet are one arrow."""
    labels = [part for part in figure.parts if isinstance(part, Label) and (part.symbol or part.text == LOSS)]
    lines = [part for part in figure.parts if isinstance(part, Segment)]
    ends = {(line.x2, line.y2): line for line in lines}

    def nearest(x: float, y: float) -> str:
        label = min(labels, key=lambda label: math.hypot(label.x - x, label.y - y))
        return label.symbol or LOSS

    found = set()
    for line in (line for line in lines if line.arrow):
        first = line
        while (first.x1, first.y1) in ends:
            first = ends[first.x1, first.y1]
        found.add((nearest(first.x1, first.y1), nearest(line.x2, line.y2)))
    return found


def taken(figure) -> dict[str, set[str]]:
    """What each symbol takes from the forward pass, as it stands beneath it."""
    labels = [part for part in figure.parts if isinstance(part, Label)]
    notes = [label for label in labels if label.text.startswith("with ")]
    return {
        next(label.symbol for label in labels if label.symbol and (label.x, label.y) == (note.x, note.y + 13)): set(
            note.text.removeprefix("with ").split(", ")
        )
        for note in notes
    }


@network
def test_every_use_is_an_arrow_and_every_arrow_a_use(network):
    derivation = subject_of(network).derived
    program, figure = derivation.program, computation_figure(derivation)
    drawn = {part.symbol for part in figure.parts if isinstance(part, Label)}
    uses = {(use.name, e.target.name) for e in program.equations for use in e.uses}
    moving = set(program.parameters)
    for equation in program.equations:
        if moving & set(equation.varies_with):
            moving.add(equation.target)
    back = {symbol.name: program.notation.cotangent(symbol).name for symbol in moving} | {"L": LOSS}
    back |= {e.variable.name: e.target.name for e in derivation.backward}  # of what is shifted it is that of the whole
    uses |= {(back[target], back[use]) for use, target in uses if use in back and target in back} | {("L", LOSS)}
    shown = {(one, other) for one, other in uses if {one, other} <= drawn | {LOSS}}
    if "left out" not in figure.caption:
        assert shown == uses
    assert arrows(figure) == {pair for pair in shown if not skips(pair, figure)}


def skips(pair: tuple[str, str], figure) -> bool:
    """Whether what is left out lies between the two."""
    places = {part.symbol: part.x for part in figure.parts if isinstance(part, Label)}
    dots = [part.x for part in figure.parts if isinstance(part, Label) and part.text == "\u22ef"]
    one, other = (places.get(symbol, places["L"]) for symbol in pair)
    return any(min(one, other) < x < max(one, other) for x in dots)


@network
def test_what_a_gradient_takes_from_the_forward_pass_stands_beneath_it(network):
    derivation = subject_of(network).derived
    figure = computation_figure(derivation)
    drawn = {part.symbol for part in figure.parts if isinstance(part, Label)}
    sent = {e.target for e in derivation.backward}
    expected = {
        e.target.name: {characters(NETWORK, use.name) for use in e.uses if use not in sent}
        for e in derivation.backward
        if e.target.name in drawn
    }
    assert taken(figure) == {name: uses for name, uses in expected.items() if uses}


@network
def test_captions_say_what_is_left_out_where_it_is(network):
    subject = subject_of(network)
    for figure in (network_figure(network, subject.derived.program), computation_figure(subject.derived)):
        dots = any(re.search("dots", part.tex) for part in figure.parts if isinstance(part, Label))
        penalties = bool(network.penalty) and figure.name == "computation"
        assert ("left out" in figure.caption) == (dots or penalties), figure.caption


@network
def test_what_is_also_added_has_an_arrow_with_a_plus(network):
    subject = subject_of(network)
    units, computation = network_figure(network, subject.derived.program), computation_figure(subject.derived)
    shown, computed = ([part for part in f.parts if getattr(part, "text", "") == "+"] for f in (units, computation))
    assert len(shown) == len(network.skip) == len([p for p in units.parts if isinstance(p, Segment) and p.arrow])
    assert len(computed) == sum(end == start + 1 for start, end in network.skip)
    assert ("a +" in computation.caption) == bool(computed)


@pytest.mark.parametrize(
    ("notation", "name", "text"),
    [
        (NETWORK, NETWORK.part("part", NETWORK.numbered("Z", 2), {"part2"}), "part\u2082b"),
        (NETWORK, NETWORK.part("abs", NETWORK.numbered("E"), set()), "abs_e"),
        (NETWORK, NETWORK.numbered("Delta", 3), "\u0394\u2083"),
        (PLAIN, "alpha_beta", "alpha_beta"),
        (PLAIN, "lambda", "\u03bb"),
        (PLAIN, "grad_W1", "grad_W\u2081"),
        (PLAIN, PLAIN.cotangent(MatrixSymbol("W1", 3, 2)).name, "\u2202L/\u2202W\u2081"),
        (PLAIN, PLAIN.differential(MatrixSymbol("xyz", 3, 2)).name, "dxyz"),
    ],
)
def test_a_figure_knows_any_name(notation, name, text):
    assert characters(notation, name) == text
