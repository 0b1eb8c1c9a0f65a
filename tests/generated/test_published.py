"""Numbers that courses publish, typed as a newcomer types them, in text files alone, and what run shows of them."""

import numpy
import pytest

from derive.problems import Network

SQUARED = "(p - y)**2/2"


def cs231n() -> str:
    """The toy network and data of the second part of the first assignment, by the draws that it states."""
    draw = numpy.random.RandomState(0)
    weights = [0.1 * draw.randn(4, 10), 0.1 * draw.randn(10, 3)]
    x = 10 * numpy.random.RandomState(1).randn(5, 4)
    lines = [
        'layout = "in x out"',
        f"W1 = {weights[0].tolist()}",
        f"W2 = {weights[1].tolist()}",
        f"b1 = {[0.0] * 10}",
        f"b2 = {[0.0] * 3}",
        f"x = {x.tolist()}",
        "y = [0, 1, 2, 2, 1]",
    ]
    return "\n".join(lines)


CASES = {
    "CS231n, two-layer net, reg 0.05": (
        Network((4, 10, 3), "relu", loss="cross_entropy", reduction="mean", penalty="0.05*w**2"),
        cs231n(),
        ("F10  loss: loss\n1.303787891", "[[-0.812337413, -1.276546241, -0.703359948],"),
    ),
    "Udacity, bike sharing, the unit test": (
        Network((3, 2, 1), loss=SQUARED, bias="none"),
        """
layout = "in x out"
W1 = [[0.1, -0.2],
      [0.4,  0.5],
      [-0.3, 0.2]]
W2 = [[0.3],
      [-0.1]]
x = [[0.5, -0.2, 0.1]]
y = [[0.4]]
""",
        (
            "W1 after a step of 0.5, in x out\n[[ 0.105620142, -0.201859961],\n [ 0.397751943,  0.500743984],\n "
            "[-0.298875972,  0.199628008]]",
            "W2 after a step of 0.5, in x out\n[[ 0.372753284],\n [-0.031729385]]",
            "grad_W2: dL/dW2, in x out\n[[-0.145506569],",
            "F3  z2: pre-activation of layer 2\n[[0.099989239]]",
        ),
    ),
    "Ng, logistic regression": (
        Network((2, 1), output_activation="sigmoid", loss="binary_cross_entropy", reduction="mean"),
        """
W1 = [[1, 2]]
b1 = [2]
x = [[1, 3], [2, 4], [-1, -3.2]]
y = [1, 0, 1]
""",
        ("5.801545319", "grad_W1: dL/dW1\n[[0.998456015, 2.395072388]]", "grad_b1: dL/db1\n[0.001455578]"),
    ),
    "VU Amsterdam, the first assignment": (
        Network((2, 3, 2), loss="cross_entropy"),
        """
layout = "in x out"
W1 = [[1, 1, 1], [-1, -1, -1]]
b1 = [0, 0, 0]
W2 = [[1, 1], [-1, -1], [-1, -1]]
b2 = [0, 0]
x = [1, -1]
y = 0
""",
        (
            "grad_W2: dL/dW2, in x out\n[[-0.440398539,  0.440398539],\n [-0.440398539,  0.440398539],",
            "grad_b2: dL/db2\n[-0.5,  0.5]",
            "grad_W1: dL/dW1, in x out\n[[ 0.,  0.,  0.],",
        ),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_published_comes_out(case, emitted, tmp_path, monkeypatch, capsys):
    network, numbers, published = CASES[case]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.toml").write_text(numbers)
    flags = ["--print", "--step", "0.5", "--difference", "--compare", "--dtype", "float64"]
    assert emitted(network, "run").main(["--numbers", "own.toml", *flags]) == 0, capsys.readouterr().err
    out = capsys.readouterr().out
    for text in (*published, "difference quotients agree\n", "all gradients agree\n"):
        assert text in out, (text, out)


def test_nielsens_network_in_columns(emitted, tmp_path, monkeypatch):
    """network.py of Neural Networks and Deep Learning, sizes [2, 3, 1]: columns, sums over a batch, of either shape."""
    draw = numpy.random.RandomState(3)
    biases, weights = [draw.randn(n, 1) for n in (3, 1)], [draw.randn(3, 2), draw.randn(1, 3)]
    x, y = draw.randn(4, 2), draw.uniform(size=(4, 1))
    (tmp_path / "own.toml").write_text(
        "".join(f"W{i} = {weights[i - 1].tolist()}\nb{i} = {biases[i - 1].T.tolist()}\n" for i in (1, 2))
        + f"x = {x.tolist()}\ny = {y.tolist()}\n"
    )
    monkeypatch.chdir(tmp_path)
    network = Network((2, 3, 1), output_activation="sigmoid", loss=SQUARED)
    assert emitted(network, "run").main(["--numbers", "own.toml", "--dtype", "float64"]) == 0
    sums = [0.0, 0.0, 0.0, 0.0]
    for point, target in zip(x, y, strict=True):
        a = [point[:, None]]
        for w, b in zip(weights, biases, strict=True):
            a.append(1 / (1 + numpy.exp(-(w @ a[-1] + b))))
        delta = (a[2] - target[:, None]) * a[2] * (1 - a[2])
        before = weights[1].T @ delta * a[1] * (1 - a[1])
        parts = before @ a[0].T, before[:, 0], delta @ a[1].T, delta[:, 0]
        sums = [total + part for total, part in zip(sums, parts, strict=True)]
    found = emitted(network, "dat").read(tmp_path / "my_autograd.dat")
    for name, right in zip(("W1", "b1", "W2", "b2"), sums, strict=True):
        assert numpy.allclose(found[f"dLd{name.lower()}"], right, rtol=1e-13), name
