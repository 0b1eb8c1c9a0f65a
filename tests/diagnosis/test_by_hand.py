"""Backwards as somebody writes them, each with a mistake, and what is said of it; of unknown ones, where to look."""

import numpy
import pytest

from derive.diagnosis import diagnose
from derive.problems import Network
from tests.helpers.by_hand import softmax

SOFTMAX = Network((3, 5, 4), "relu", loss="cross_entropy", reduction="mean")
PENALTY = Network((3, 4, 2), "tanh", penalty="0.05*w**2", reduction="mean")
SKIP = Network((3, 4, 4, 2), "tanh", skip=((1, 2),))
BINARY = Network((2, 3, 1), "tanh", "sigmoid", loss="binary_cross_entropy")


def classifier(delta, slope=lambda z, g: z > 0):
    """A softmax classifier by hand, with a delta of the last layer and a slope of relu of one's own."""

    def gradients(p, x, y):
        z1 = x @ p["W1"].T + p["b1"]
        a1 = numpy.maximum(z1, 0)
        d2 = delta(a1 @ p["W2"].T + p["b2"], y) / len(x)
        d1 = d2 @ p["W2"]
        d1 = d1 * slope(z1, d1)
        return {"W2": d2.T @ a1, "b2": d2.sum(0), "W1": d1.T @ x, "b1": d1.sum(0)}

    return gradients


def penalized(weights, biases):
    def gradients(p, x, y):
        a1 = numpy.tanh(x @ p["W1"].T + p["b1"])
        d2 = 2 * (a1 @ p["W2"].T + p["b2"] - y) / y.size
        d1 = d2 @ p["W2"] * (1 - a1**2)
        g = {"W2": d2.T @ a1, "b2": d2.sum(0), "W1": d1.T @ x, "b1": d1.sum(0)}
        return {n: v + (weights(len(x)) if n[0] == "W" else biases) * p[n] for n, v in g.items()}

    return gradients


def residual(p, x, y):
    a1 = numpy.tanh(x @ p["W1"].T + p["b1"])
    a2 = numpy.tanh(a1 @ p["W2"].T + p["b2"] + a1)
    d3 = 2 * (a2 @ p["W3"].T + p["b3"] - y)
    g2 = d3 @ p["W3"]
    d2 = g2 * (1 - a2**2)
    d1 = (d2 @ p["W2"] + g2) * (1 - a1**2)
    found = (d1, x), (d2, a1), (d3, a2)
    return {n: v for i, (d, a) in enumerate(found, 1) for n, v in ((f"W{i}", d.T @ a), (f"b{i}", d.sum(0)))}


def binary(rows):
    def gradients(p, x, y):
        x, y = x[rows], y[rows]
        a1 = numpy.tanh(x @ p["W1"].T + p["b1"])
        d2 = 1 / (1 + numpy.exp(-(a1 @ p["W2"].T + p["b2"]))) - y
        d1 = d2 @ p["W2"] * (1 - a1**2)
        return {"W2": d2.T @ a1, "b2": d2.sum(0), "W1": d1.T @ x, "b1": d1.sum(0)}

    return gradients


CASES = {
    "softmax over axis 0": (
        SOFTMAX,
        classifier(lambda z, y: softmax(z.T).T - y),
        "B2, dL/dZ2: the sum of exp in softmax is over each column, where it is over each row.\n"
        "    with the slip  delta2 = grad_lse1 * torch.exp(z2 - torch.logsumexp(z2, 0, keepdim=True)) - y / N\n",
    ),
    "p*(1 - p) for softmax": (
        SOFTMAX,
        classifier(lambda z, y: (softmax(z) - y) * softmax(z) * (1 - softmax(z))),
        "as if softmax worked entry by entry.\n    with the slip  delta2 = (grad_lse1 * torch.exp(u1 - lse1) - y / N)",
    ),
    "a mask of the gradient": (
        SOFTMAX,
        classifier(lambda z, y: softmax(z) - y, lambda z, g: g > 0),
        "dLdw2, dLdb2 are right, and so, most likely, is what they need.\nSeen from the end, it goes wrong first in "
        "one of these steps: B5, dL/dA1; B6, dL/dZ1; B7, dL/dW1.\n",
    ),
    "another delta": (
        SOFTMAX,
        classifier(lambda z, y: -y / softmax(z)),
        "it goes wrong first in one of these steps, or in the forward pass: B1, dL/dM1; B2, dL/dZ2; B3, dL/dW2.\n",
    ),
    "a penalty of biases": (
        PENALTY,
        penalized(lambda n: 0.1, 0.1),
        "B3, B7: the penalty of b2 is added, and it is of weights alone, and likewise in every layer.\n",
    ),
    "a penalty over N": (
        PENALTY,
        penalized(lambda n: 0.1 / n, 0),
        "with the slip  grad_W2 = delta2.T @ a1 + W2 / 10 / N\n",
    ),
    "one term of a skip": (SKIP, residual, "with the slip  grad_a1 = delta2 @ W2 + grad_a2\n"),
    "the first point": (BINARY, binary(slice(1)), "only the first point is in it: the points are not added up"),
    "the last point": (BINARY, binary(slice(-1, None)), "only the last point is in it: the points are not added up"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_by_hand_is_answered(case):
    network, function, said = CASES[case]
    diagnosis = diagnose(function, network)
    assert not diagnosis.agrees and said in str(diagnosis)
    assert len(diagnosis.explanations) == ("goes wrong" not in said)


def test_right_ones_by_hand_agree_and_difference_quotients_are_called_near():
    for network, function in (
        (SOFTMAX, classifier(lambda z, y: softmax(z) - y)),
        (PENALTY, penalized(lambda n: 0.1, 0)),
        (BINARY, binary(slice(None))),
    ):
        assert diagnose(function, network).agrees

    def quotients(p, x, y):
        right = binary(slice(None))(p, x, y)
        return {name: gradient + 1e-5 * abs(gradient).max() for name, gradient in right.items()}

    text = str(diagnose(quotients, BINARY))
    assert "dLdw2: theirs is ours but for 1e-05 of the largest entry: rounding, or difference quotients" in text
