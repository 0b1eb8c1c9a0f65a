"""What a page says in words is true of the network at hand."""

import re

import numpy as np
import pytest
import torch
from sympy import MatAdd

from derive.packages.emit import render, subject_of
from derive.paper import Bullets, Chain, Paragraph, Section, Table
from derive.problems.network import MOST_PROVED, Network
from derive.proof import prove
from tests.helpers.follow import equations_of, reading_of
from tests.helpers.networks import targets as random_targets
from tests.helpers.read_tex import compute

NETWORKS = {
    "sum": Network((3, 4, 2), activation="tanh"),
    "mean": Network((3, 4, 2), activation="tanh", reduction="mean"),
    "mean of one output": Network((3, 4, 1), activation="tanh", reduction="mean"),
    "sum over rows": Network((3, 4, 3), activation="tanh", loss="cross_entropy"),
    "mean over rows": Network((3, 4, 3), activation="tanh", loss="cross_entropy", reduction="mean"),
    "mean of a softmax in a formula": Network((3, 4, 3), "tanh", loss="y*(logsumexp(p) - p)", reduction="mean"),
    "no activation": Network((2, 1), loss="binary_cross_entropy_with_logits", reduction="mean"),
    "wide": Network((784, 1024, 1024, 10), "relu", loss="cross_entropy", reduction="mean"),
    "a penalty": Network((3, 4, 2), "tanh", penalty="w**4/4", reduction="mean"),
    "a penalty, and layers skipped": Network((3, 4, 4, 4, 2), "tanh", penalty="0.05*w**2", skip=((1, 2), (1, 3))),
}
network = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)


def section_of(network: Network, anchor: str) -> Section:
    return next(section for section in subject_of(network).document if section.anchor == anchor)


def words_of(section: Section) -> str:
    texts = [
        b.text if isinstance(b, Paragraph) else " ".join(b.items)
        for b in section.blocks
        if isinstance(b, Paragraph | Bullets)
    ]
    return " ".join(texts)


@network
def test_commands_on_a_page_name_no_other_package(network):
    pages = render(network, ["derivation.md", "derivation.tex", "derivation.html"])
    for text in pages.values():
        commands = re.findall(r"python -m ([\w.]+)([^`<}]*)", text)
        assert len(commands) in (3, 4)
        assert all(module == "FOLDER.run" or "FOLDER" in options for module, options in commands)


@network
def test_what_is_said_to_be_proved_is_what_the_proof_takes(network, tmp_path):
    text = words_of(section_of(network, "making"))
    assert ("refuses" in text) == (network.entries > MOST_PROVED)
    if "refuses" in text:
        for name, source in render(network, ["backward.py", "__init__.py"]).items():
            (tmp_path / name).write_text(source)
        with pytest.raises(ValueError, match=f"{network.entries} weights and biases are more than the {MOST_PROVED}"):
            prove(tmp_path)
        assert str(network.entries) in text and str(MOST_PROVED) in text


def gradients_at_random(network: Network, points: int = 5) -> dict[str, object]:
    """E, L, and the error of the last layer, by torch; dZ is Ng's: of the sum over the points of a point's own loss."""
    torch.manual_seed(0)
    z = torch.randn(points, network.layers[-1], dtype=torch.float64, requires_grad=True)
    y = random_targets(network, points)
    names = {
        "y*(logsumexp(p) - p)": lambda z, y: y * (torch.logsumexp(z, 1, keepdim=True) - z),
        "cross_entropy": lambda z, y: y * (torch.logsumexp(z, 1, keepdim=True) - z),
        "mse_loss": lambda z, y: (z - y) ** 2,
        "binary_cross_entropy_with_logits": lambda z, y: torch.nn.functional.binary_cross_entropy_with_logits(
            z, y, reduction="none"
        ),
    }
    entries = names[network.loss](z, y)
    (dZ,) = torch.autograd.grad(entries.sum(), z)
    return {"E": entries.detach().numpy(), "dZ": dZ.numpy(), "y": y, "z": z.detach(), "m": points}


def factor_of_ours(network: Network, points: int) -> float:
    """What the network's own loss is of the sum of the entries, by its forward pass."""
    program = subject_of(network).derived.program
    total, *_ = MatAdd.make_args(program.equations[-1].value)  # the penalties come after it
    scale = total.as_coeff_mmul()[0] if hasattr(total, "as_coeff_mmul") else 1
    return float(scale.xreplace({s: points for s in scale.free_symbols if str(s) == "N"}).xreplace(program.sizes))


@network
def test_the_translation_holds_for_the_reduction(network):
    """Read from the table: how much of Ng's dZ and dW ours are."""
    *_, table = (block for block in section_of(network, "notation").blocks if isinstance(block, Table))
    ours = {row[0]: row[2] for row in table.rows}
    at = gradients_at_random(network)
    values = {"m": 5, **{f"n{layer}": size for layer, size in enumerate(network.layers)}}
    factor = factor_of_ours(network, 5)
    error = re.fullmatch(r"\$(.*)dZ\^\{\[l\]\}\$", ours[r"$\boldsymbol{\Delta}_{l}^{\top}$"])[1].strip()
    np.testing.assert_allclose(factor * at["dZ"], (compute(error, values) if error else 1) * at["dZ"])
    gradient = ours[r"$\boldsymbol{\Delta}_{l}^{\top} \boldsymbol{A}_{l-1}$"].strip("$")
    left, right = (side.partition("d")[0].replace(r"\,", "").strip() for side in gradient.split(" = "))
    of_dW, of_dZA = (compute(side, values) if side else 1 for side in (left, right))
    assert of_dZA == pytest.approx(factor) and of_dW == pytest.approx(5 * factor)  # Ng: dW = 1/m dZ A^T


@network
def test_the_loss_is_what_the_first_sentence_says(network):
    """Sum or mean, and of what."""
    text = next(b.text for b in section_of(network, "result").blocks if isinstance(b, Paragraph))
    divisor = 1 / factor_of_ours(network, 5)
    said = re.search(
        r"and \$L\$ is the (sum|mean) of the entries(, divided by the number of points)?(, plus .*)?\.",
        text,
    )
    assert said, text
    expected = {"sum": 1, "mean": 5 * network.layers[-1]}[said[1]] if not said[2] else 5
    assert divisor == pytest.approx(expected)
    steps = [s for s in subject_of(network).document if s.step]
    (reason,) = [
        row.reason for s in steps for b in s.blocks for row in getattr(b, "rows", ()) if row.left == "L" and row.reason
    ]
    assert reason == said[0].removeprefix("and $L$ is the ").removesuffix(".")


@network
def test_what_readers_ask_is_answered_for_the_network(network):
    text = words_of(section_of(network, "questions"))
    factor = factor_of_ours(network, 5)
    if factor == 1:
        assert "so there is no $1/N$ anywhere" in text
    else:
        said = re.search(r"divided by the number of (points|entries)", text)[1]
        assert 1 / factor == pytest.approx({"points": 5, "entries": 5 * network.layers[-1]}[said])
    alone = "logsumexp" in network.loss and network.reduction == "mean"
    assert ("torch's `cross_entropy` divides by the number of points alone" in text) == alone
    assert "no slope enters" not in text


@pytest.mark.parametrize("output", ["identity", "tanh", "sigmoid"])
def test_the_number_of_the_loss_stands_where_readers_are_told(output):
    network = Network((2, 3, 2), "tanh", output, loss="squared_error")
    place = re.search(r"The \$2\$ in \$(.*?)\$ is the slope", words_of(section_of(network, "questions")))[1]
    rows = [row for b in section_of(network, "result").blocks for row in getattr(b, "rows", ())]
    (right,) = {row.right for row in rows if row.left in (place, place.replace(" / ", "}{").join((r"\frac{", "}")))}
    assert right.startswith("2")


def test_nothing_is_said_to_be_computed_once_that_is_computed_twice():
    network = Network((2, 3, 3, 1), activation="z*sigmoid(z)", loss="abs(p - y)**3")
    source = render(network, ["backward.py"])["backward.py"]
    body = source.partition("def value_and_grad")[2].partition("\ndef ")[0]
    twice = len(re.findall(r"torch\.sigmoid\(z1\)", body)) > 1
    text = " ".join(words_of(section) for section in subject_of(network).document)
    assert twice and "computed twice" not in text


SOFTMAX = {
    "sum": Network((3, 4, 3), activation="tanh", loss="cross_entropy"),
    "mean": Network((3, 4, 3), activation="tanh", loss="cross_entropy", reduction="mean"),
    "after an activation": Network((3, 4, 3), "tanh", "tanh", "cross_entropy", "mean"),
    "formula": Network((3, 4, 3), activation="tanh", loss="y*(logsumexp(p) - p)", reduction="mean"),
    "another loss": Network((3, 4, 3), activation="tanh", loss="(softmax(p) - y)**2"),
}


@pytest.mark.parametrize("network", SOFTMAX.values(), ids=SOFTMAX)
def test_the_softmax_is_named_and_its_short_form_is_the_gradient_for_distributions(network):
    """The whole page is read for targets whose rows sum to 1, and then the section on softmax."""
    subject = subject_of(network)
    reading = reading_of(subject.derived.program)
    for symbol in subject.derived.program.inputs:
        reading.values[symbol.name] = reading.draw.normal(size=reading.values[symbol.name].shape)
    Y = reading.draw.uniform(0.1, 0.9, reading.values["Y"].shape)
    reading.values["Y"] = Y / Y.sum(1, keepdims=True)
    reading.of(subject.document)
    prediction = reading.values["Z2" if network.output_activation == "identity" else "A2"]
    P = np.exp(prediction) / np.exp(prediction).sum(1, keepdims=True)
    equations = equations_of(section_of(network, "softmax"), (Chain,))
    np.testing.assert_allclose(compute(equations[0][1], reading.values), P)
    reading.values["P"] = P
    own, other = (right for _, right in equations[1:3])
    for i, shares in enumerate(P):
        jacobian = torch.autograd.functional.jacobian(lambda z: torch.softmax(z, 0), torch.tensor(shares).log())
        for j, k in np.ndindex(3, 3):
            slope = compute(own if j == k else other, reading.values, {"i": i, "j": j, "k": k})
            np.testing.assert_allclose(slope, jacobian[j, k], atol=1e-14)
    assert len(equations) == (3 if network.loss.startswith("(") else 4)
    for left, right in equations[3:]:
        reading.same(compute(left, reading.values), compute(right, reading.values), right)
        divisor = {"sum": 1, "mean": 8 if network.criterion().per_row else 24}[network.reduction]
        np.testing.assert_allclose(compute(left, reading.values), (P - reading.values["Y"]) / divisor)


@pytest.mark.parametrize(
    ("skip", "words"),
    [
        ((), []),
        (((1, 2),), ["Layer 1 is also added to layer 2.", "$n_{2} = n_{1}$"]),
        (((0, 3), (1, 3)), ["The inputs are also added to layer 3.", "$n_{1} = n_{0}$ and $n_{3} = n_{0}$"]),
    ],
)
def test_the_page_says_which_widths_are_equal(skip, words):
    network = Network((4, 4, 4, 4, 1), skip=skip)
    for anchor in ("result", "notation"):
        section = section_of(network, anchor)
        text = " ".join(t for b in section.blocks for t in (getattr(b, "text", ""), *getattr(b, "items", ())))
        assert all(word in text for word in words)
        assert ("also added" in text) == bool(skip)


SLOPES = {
    "sigmoid": torch.sigmoid,
    "softsign": torch.nn.functional.softsign,
    "leaky_relu": torch.nn.functional.leaky_relu,
    "silu": torch.nn.functional.silu,
    "sin(z/4)": lambda z: torch.sin(z / 4),
    "tanh(9*z - 1)": lambda z: torch.tanh(9 * z - 1),
}


@pytest.mark.parametrize("name", SLOPES)
def test_what_is_said_of_a_slope_holds_far_from_0(name):
    z = torch.linspace(-200, 200, 400_001, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(SLOPES[name](z).sum(), z)
    size, far = slope.abs(), z.abs() >= 6
    text = words_of(section_of(Network((2, 3, 1), name), "slopes"))
    said = re.search(r"at most ([\d.]+), and no more than \$([\d.]+)\$ from \$z = 6\$ on", text)
    one_side = "On one side the slope" in text
    assert (said is not None, one_side) == (name in ("sigmoid", "softsign"), name == "silu")
    assert said is None or (size.max() <= float(said[1]) and size[far].max() <= float(said[2]))
    assert not one_side or size[z < -20].max() < 1e-6
