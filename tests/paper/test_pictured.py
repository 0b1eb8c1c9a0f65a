"""The picture of one point has torch's numbers: values, errors, gradients, and the loss after a step."""

import re
from collections import Counter
from itertools import pairwise

import pytest
import torch
from torch.nn import functional

from derive.calculus import derive
from derive.paper.figures import Circle, Label, Segment
from derive.paper.formats import TexPage
from derive.paper.pictured import UNIT_RADIUS, drawn_network, pictured_sections, short_decimal
from derive.paper.worked import SHOWN_AS_DRAWN, Shown, inputs_shown
from derive.problems.network import Network
from derive.reading import forward
from derive.system import Given

OWN = Given(
    {
        "W1": [[0.15, 0.2], [0.25, 0.3], [-0.4, 0.5]],
        "b1": [0.1, -0.2, 0.3],
        "W2": [[0.4, -0.6, 0.7]],
        "b2": [0.05],
        "x": [[0.5, -1.0], [0.1, 0.9]],
        "y": [[0.25], [0.5]],
    }
)
CASES = {
    "default": (Network(), SHOWN_AS_DRAWN),
    "their numbers": (Network((2, 3, 1), "tanh"), Shown(OWN)),
    "cross entropy": (Network((4, 8, 8, 3), ("tanh", "relu"), loss="cross_entropy", reduction="mean"), SHOWN_AS_DRAWN),
    "deep": (Network((2, 6, 6, 6, 1), "relu"), SHOWN_AS_DRAWN),
    "sigmoid at the end": (Network((3, 3, 2), "tanh", "sigmoid", reduction="mean"), SHOWN_AS_DRAWN),
    "three units each": (Network((3, 3, 3), "tanh", loss="cross_entropy"), SHOWN_AS_DRAWN),
    "one layer": (Network((3, 1), "identity", "sigmoid", "binary_cross_entropy"), SHOWN_AS_DRAWN),
}
ACTIVATIONS = {"identity": lambda z: z, "sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu}
cases = pytest.mark.parametrize(("network", "shown"), CASES.values(), ids=CASES)


def picture(network, shown):
    (section,) = pictured_sections(network, shown)
    return section.blocks[1].figure


def drawn_by_torch(network, shown) -> tuple[Counter[str], float, float]:
    """Every number of the picture but those after the step; the loss before it; and after it."""
    program = derive(forward(network)).program
    arrays = {program.notation.torch(s.name): a for s, a in inputs_shown(program, network, shown.own).items()}
    given = {name: torch.tensor(array, dtype=torch.float64) for name, array in arrays.items()}
    x, y = given["x"][:1], given["y"][:1]
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in given.items() if name[0] in "Wb"}

    def loss_of(leaves):
        values, a = [], x
        for layer in range(1, network.depth + 1):
            z = functional.linear(a, leaves[f"W{layer}"], leaves[f"b{layer}"].reshape(-1))
            a = ACTIVATIONS[network.activation_of(layer)](z)
            values.append((z, a))
        return getattr(functional, network.loss)(a, y, reduction=network.reduction), values

    loss, values = loss_of(leaves)
    flat = [tensor for pair in values for tensor in pair]
    gradients = dict(zip(leaves, torch.autograd.grad(loss, leaves.values(), retain_graph=True), strict=True))
    errors = torch.autograd.grad(loss, flat)
    numbers = [*x.flatten(), *x.flatten(), *y.flatten()]
    for layer, (z, a) in enumerate(values, 1):
        numbers += [*a.flatten(), *leaves[f"b{layer}"].flatten(), *leaves[f"W{layer}"].flatten()]
        numbers += [*errors[2 * layer - 2].flatten(), *gradients[f"W{layer}"].flatten()]
        if network.activation_of(layer) != "identity":
            numbers += [*z.flatten(), *errors[2 * layer - 1].flatten()]
    texts = Counter(short_decimal(value.item()).replace("-", "\u2212") for value in numbers)

    def after(step: float) -> float:
        moved = {name: leaf.detach() - step * gradients[name] for name, leaf in leaves.items()}
        return loss_of(moved)[0].item()

    return texts, loss.item(), after


@cases
def test_every_number_is_torchs(network, shown):
    figure, small = picture(network, shown), drawn_network(network)
    texts, loss, after = drawn_by_torch(small, shown if small == network else SHOWN_AS_DRAWN)
    labels = Counter(part.text for part in figure.parts if isinstance(part, Label))
    assert not texts - labels
    assert labels[f"forward: L = {loss:.4g}"] == 1
    (last,) = [text for text in labels if text.startswith("after")]
    step, lower = last.removeprefix("after a step of ").split(": L = ")
    assert float(lower) == pytest.approx(after(float(step)), rel=1e-3)
    assert float(lower) < loss


def test_what_enters_a_unit_stands_above_its_activation_and_its_bias_below():
    labels = [part for part in picture(*CASES["their numbers"]).parts if isinstance(part, Label)]
    W, b, x = (torch.tensor(OWN.values[name], dtype=torch.float64) for name in ("W1", "b1", "x"))
    z = functional.linear(x[0], W, b)

    def beside(unit: Label, text: str, up: int) -> bool:
        return any(o.text == text and o.x == unit.x and 0 < up * (o.y - unit.y) < 30 for o in labels)

    for entering, activation, bias in zip(z, z.tanh(), b, strict=True):
        above, inside, below = (short_decimal(n.item()).replace("-", "\u2212") for n in (entering, activation, bias))
        units = [label for label in labels if label.text == inside]
        assert any(beside(unit, above, 1) and beside(unit, below, -1) for unit in units)


@cases
def test_nothing_lies_over_a_number_of_an_edge(network, shown):
    figure = picture(network, shown)
    circles = [part for part in figure.parts if isinstance(part, Circle)]
    numbers = [
        p for p in figure.parts if isinstance(p, Label) and not p.symbol and not p.text.startswith(("f", "b", "a"))
    ]
    on_edges = [n for n in numbers if all(abs(n.x - c.x) > 1 for c in circles)]
    assert on_edges
    for one in on_edges:
        assert not any(abs(one.x - c.x) < UNIT_RADIUS + 14 and abs(one.y - c.y) < 5 for c in circles)
        assert not any(one != o and abs(one.x - o.x) < 36 and abs(one.y - o.y) < 10 for o in numbers)


@cases
def test_the_targets_stand_beside_the_outputs(network, shown):
    figure = picture(network, shown)
    labels = [part for part in figure.parts if isinstance(part, Label)]
    beyond = max(part.x for part in figure.parts if isinstance(part, Circle)) + UNIT_RADIUS
    at_the_right = [label for label in labels if label.x > beyond]
    assert {label.symbol for label in at_the_right} == {"Y", ""}
    assert len(at_the_right) == (1 + drawn_network(network).layers[-1]) * (len(labels_of_panels(labels)) - 1)


def labels_of_panels(labels: list[Label]) -> list[str]:
    return [label.text for label in labels if label.text.startswith(("forward", "backward", "after"))]


@cases
def test_the_lines_are_of_slopes_that_latex_draws(network, shown):
    figure = picture(network, shown)
    lines = [part for part in figure.parts if isinstance(part, Segment)]
    for line in lines:
        drawn = TexPage().part(line)
        dx, dy = map(int, re.search(r"\\(?:vector|line)\((-?\d),(-?\d)\)", drawn).groups())
        assert max(abs(dx), abs(dy)) <= (4 if line.arrow else 6)
        assert abs((line.y2 - line.y1) * dx - (line.x2 - line.x1) * dy) < 1e-6 * max(abs(line.x2 - line.x1), 1)


def test_numbers_that_are_not_finite_leave_the_picture_out():
    network = Network((2, 1), loss="exp(exp(exp(9*(1 + p**2))))")
    assert pictured_sections(network) == []


def test_a_network_that_is_small_enough_is_drawn_itself():
    assert drawn_network(Network((2, 3, 1))) == Network((2, 3, 1))
    assert drawn_network(Network()).layers == (2, 3, 1)
    assert all(width <= 3 for width in drawn_network(Network((9, 9, 9, 9))).layers)
    assert len(list(pairwise(drawn_network(Network((9, 9, 9, 9))).layers))) == 2
