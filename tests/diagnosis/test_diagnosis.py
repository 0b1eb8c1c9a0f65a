"""Where is my mistake: slips planted in a backward written by hand are named, and nothing is named that is not so."""

import itertools
import math
from functools import cache

import numpy
import pytest
import torch

from derive.diagnosis import Diagnostician, Written, diagnose
from derive.problems import Network
from tests.helpers.by_hand import NUMBER, ByHand, softmax, twin

ROWS = 5
NETWORKS = [
    Network(),
    Network((3, 4, 4, 4, 2), activation=("tanh", "sigmoid", "tanh"), reduction="mean"),
    Network((2, 3, 3), loss="cross_entropy", reduction="mean"),
    Network((2, 4, 1), activation="tanh", output_activation="sigmoid", loss="binary_cross_entropy"),
    Network((2, 2, 2), output_activation="sigmoid", loss="(p - y)**2/2"),
    Network((3, 5, 5, 3), activation="tanh", loss="(softmax(p) - y)**2"),
    Network((2, 5, 5, 2), activation=("relu", "sigmoid"), output_activation="tanh"),
    Network((3, 4, 4, 2), activation=("tanh", "sigmoid"), reduction="batchmean", bias="none", skip=((1, 2),)),
    Network((2, 3, 3, 3), activation="tanh", loss="cross_entropy", bias="hidden", penalty="0.05*w**2"),
]


def possible(network: Network) -> list[tuple[tuple[str, int], str]]:
    """Each slip that makes a difference in the network, and the kind that is to be named."""
    depth, w, found = network.depth, network.layers, []
    for i in range(1, depth + 1):
        square = w[i] == w[i - 1]
        equal = [j for j in range(1, depth + 1) if j != i and w[j - 1 : j + 1] == w[i - 1 : i + 1]]
        name = network.activation_of(i)
        for kind in NUMBER:
            if kind == "it is multiplied by the number of outputs" and w[-1] < 3:
                continue
            found.append(((f"delta: {kind}", i), kind))
            found.append(((f"weight: {kind}", i), kind))
            found += [((f"bias: {kind}", i), kind)] * network.has_biases(i)
        found += [(("last row only", i), "last row only")] * (not network.penalty)
        found += [(("transposed", i), "transposed")] * square
        found += [(("forward: bias left out", i), "forward: bias left out")] * network.has_biases(i)
        found += [(("forward: W transposed", i), "forward: W transposed")] * square
        equal_biases = [j for j in equal if network.has_biases(j) and network.has_biases(i)]
        found += [(("forward: bias of another layer", i), "forward: bias of another layer")] * bool(equal_biases)
        if i > 1:
            found += [(("W transposed", i), "W transposed")] * square
            found += [(("W of another layer", i), "W of another layer")] * bool(equal)
            found += [(("activation of another layer", i), "activation of another layer")] * (w[0] == w[i - 1])
            found.append((("z for a, or a for z", i), "z for a, or a for z"))
        if i < depth:
            kinds = ["slope left out", "slope twice", "activation for slope", "slope at a for z, or at z for a"]
            kinds = [k for k in kinds if name != "relu" or k in ("slope left out", "activation for slope")]
            found += [((kind, i), kind) for kind in [*kinds, "slope of another activation", "forward: no activation"]]
            found += [(("slope of another layer", i), "slope of another layer")] * bool(
                0 < twin(network, i) < depth and name == network.activation_of(twin(network, i))
            )
        elif name != "identity":
            found += [(("slope left out", i), "slope left out"), (("slope twice", i), "slope twice")]
    if "softmax" in network.loss or network.loss == "cross_entropy":
        found.append((("softmax entry by entry", depth), "softmax entry by entry"))
    if depth > 1:
        found.append((("W after the update", 0), "W after the update"))
    return found


@cache
def doctor_of(network: Network) -> Diagnostician:
    return Diagnostician(network, inputs(network))


def inputs(network: Network, seed: int = 3) -> dict[str, numpy.ndarray]:
    draw = numpy.random.default_rng(seed)
    w = network.layers
    made = {
        name: draw.normal(size=shape) / (math.sqrt(shape[1]) if len(shape) == 2 else 2)
        for name, shape in network.shapes.items()
    }
    x, y = draw.uniform(size=(ROWS, w[0])), draw.uniform(size=(ROWS, w[-1]))
    return {**made, "x": x, "y": softmax(3 * y) if network.criterion().distribution else y}


def gradients(network: Network, *slips: tuple[str, int]) -> dict[str, numpy.ndarray]:
    numbers = inputs(network)
    return ByHand(network, set(slips))({n: v for n, v in numbers.items() if n not in "xy"}, numbers["x"], numbers["y"])


def kinds(diagnosis) -> list[set[str]]:
    return [set(some) for e in diagnosis.explanations for some in (e.kinds, *e.same)]


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_every_slip_in_a_backward_by_hand_is_named(network):
    doctor = doctor_of(network)
    assert doctor.of_arrays(gradients(network)).agrees
    missed = []
    for slip, kind in possible(network):
        diagnosis = doctor.of_arrays(gradients(network, slip))
        if diagnosis.agrees or {kind} not in kinds(diagnosis):
            missed.append((slip, [e.kinds for e in diagnosis.explanations]))
    print(len(possible(network)), missed)
    assert not missed


def test_of_two_slips_both_are_named():
    network = NETWORKS[4]
    both = gradients(network, ("slope left out", 1), ("bias: it is divided by the number of points", 2))
    diagnosis = doctor_of(network).of_arrays(both)
    assert kinds(diagnosis)[0] == {"slope left out", "it is divided by the number of points"}
    assert "B6" in str(diagnosis) and "grad_b2 = delta2.sum(0) / N" in str(diagnosis)
    assert diagnosis.summary == "B4 it is divided by the number of points and B6 the slope of sigmoid is left out"


def test_of_two_slips_in_one_equation_the_line_has_both():
    network = NETWORKS[4]
    both = gradients(network, ("delta: the sign is the other", 2), ("delta: it is divided by the number of points", 2))
    (explanation,) = doctor_of(network).of_arrays(both).explanations
    lines = {step.wrong for steps in explanation.steps for step in steps}
    assert len(explanation.words) == 2 and lines == {"grad_a2 = -(a2 - y) / N"}


PAIRS = 2


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_two_slips_of_any_kinds_in_a_backward_by_hand_are_named(network):
    """Where the two are in different layers: in one layer the second may undo the first, or be a third slip.

    Weights after the update, whose step is fitted, are looked for alone.
    """
    draw, doctor = numpy.random.default_rng(1), doctor_of(network)
    alone = [slip for slip in possible(network) if slip[1] != "W after the update"]
    pairs = [(a, b) for a, b in itertools.combinations(alone, 2) if a[0][1] != b[0][1]]
    for index in draw.choice(len(pairs), PAIRS, replace=False):
        (one, kind), (other, other_kind) = pairs[index]
        diagnosis = doctor.of_arrays(gradients(network, one, other))
        assert {kind, other_kind} in kinds(diagnosis), (one, other, kinds(diagnosis))


def rounded(arrays, decimals: int) -> dict[str, Written]:
    return {
        name: Written(name, 1, numpy.round(a, decimals), numpy.full(a.shape, 10.0**-decimals), decimals, decimals)
        for name, a in arrays.items()
    }


@pytest.mark.parametrize("network", NETWORKS[:3], ids=str)
def test_at_few_digits_the_slip_is_among_those_that_are_named(network):
    doctor = doctor_of(network)
    assert "equal to the 4 decimals" in str(doctor.of_written(rounded(gradients(network), 4)))
    for slip, kind in possible(network)[::5]:
        claimed = rounded(gradients(network, slip), 4)
        diagnosis = doctor.of_written(claimed)
        assert diagnosis.agrees or {kind} in kinds(diagnosis), slip


def test_the_step_of_an_update_is_found_at_few_digits():
    for network in NETWORKS[2:4]:
        claimed = rounded(gradients(network, ("W after the update", 0)), 3)
        (explanation, *_) = doctor_of(network).of_written(claimed).explanations
        assert explanation.kinds == ("W after the update",) and "with a step of 0.25" in explanation.words[0]


def test_what_no_slip_gives_is_said_to_be_so():
    network = NETWORKS[0]
    wrong = gradients(network)
    wrong["W2"] = wrong["W2"] * numpy.random.default_rng(0).uniform(1, 2, (10, 10))
    wrong["b1"] = wrong["b1"] * 3.7
    diagnosis = doctor_of(network).of_arrays(wrong)
    assert not diagnosis.explanations and not diagnosis.agrees
    assert "dLdw3, dLdb3, dLdb2, dLdw1 are right" in str(diagnosis)
    assert "Seen from the end, B6, dL/dW2, is the first step that goes wrong" in str(diagnosis)
    assert "dLdb1: theirs is 3.7 times ours" in str(diagnosis)
    rows = gradients(network)
    rows["W2"] = rows["W2"] * numpy.arange(2, 12)[:, None]
    assert "each row is a number times ours: 2, 3, 4" in str(doctor_of(network).of_arrays(rows))


def test_slips_that_one_point_does_not_tell_apart_are_all_named_with_a_point_that_does():
    network = Network((1, 2, 1), activation="tanh")
    numbers = {
        "W1": [[0.5], [0.25]],
        "b1": [0.1, 0.2],
        "W2": [[1.0, 1.0]],
        "b2": [0.0],
        "x": [[1.0], [1.0]],
        "y": [[0.5]] * 2,
    }
    numbers = {name: numpy.array(value) for name, value in numbers.items()}
    doctor = Diagnostician(network, numbers)
    x, y = numbers.pop("x"), numbers.pop("y")
    halved = ByHand(network, {("delta: a factor 2 is missing", 2)})(numbers, x, y)
    diagnosis = doctor.of_arrays(halved)  # with two points that are the same, a half is also the mean, and the last one
    assert {frozenset(k) for k in kinds(diagnosis)} >= {
        frozenset({"a factor 2 is missing"}),
        frozenset({"it is divided by the number of points"}),
    }
    assert diagnosis.explanations[0].kinds == ("a factor 2 is missing",)
    lines = dict(line.split(" = ") for line in diagnosis.apart.splitlines() if " = " in line)
    (x, y) = (numpy.array(eval(lines[f"    {name}"])) for name in "xy")
    again = Diagnostician(network, {**numbers, "x": x, "y": y})
    assert kinds(again.of_arrays(ByHand(network, {("delta: a factor 2 is missing", 2)})(numbers, x, y)))[0] == {
        "a factor 2 is missing"
    }


def test_gradients_that_were_not_added_up_are_named_as_such():
    network = NETWORKS[0]
    numbers, right = inputs(network), gradients(network)
    rows = [
        ByHand(network, set())(
            {n: v for n, v in numbers.items() if n not in "xy"}, numbers["x"][i : i + 1], numbers["y"][i : i + 1]
        )
        for i in range(ROWS)
    ]
    right["b3"] = numpy.stack([row["b3"] for row in rows])
    right["W1"] = numpy.stack([row["W1"] for row in rows])
    text = str(doctor_of(network).of_arrays(right))
    assert "dLdb3 has a row of numbers for each point: the sum over the points is missing" in text
    assert "dLdw1 has a row of numbers" in text and "all gradients agree" not in text
    right["W1"] = right["W1"][::-1]  # the sum is the same
    assert "dLdw1 has a row" not in str(doctor_of(network).of_arrays(right))


def test_weights_the_other_way_are_taken_so_if_all_are_and_said_to_be_transposed_if_one_is():
    network = NETWORKS[5]
    turned = {n: a.T if n[0] == "W" else a for n, a in gradients(network).items()}
    diagnosis = doctor_of(network).of_arrays(turned)
    assert diagnosis.agrees and "in x out" in str(diagnosis)
    one = {**gradients(network), "W3": turned["W3"]}
    diagnosis = doctor_of(network).of_arrays(one)
    assert not diagnosis.agrees and "dLdw3 is transposed: 5x3 where it is 3x5" in str(diagnosis)


@pytest.mark.parametrize("network", NETWORKS[:4], ids=str)
def test_a_function_is_diagnosed(network):
    assert diagnose(ByHand(network, set()), network).agrees
    slip, kind = possible(network)[-1]
    assert kinds(diagnose(ByHand(network, {slip}), network))[0] == {kind}


def test_a_function_may_return_a_loss_and_gradients_in_order_and_nothing_else():
    network = NETWORKS[4]
    by_hand = ByHand(network, set())
    assert diagnose(lambda *a: tuple(by_hand(*a)[n] for n in ("W1", "b1", "W2", "b2")), network).agrees
    assert diagnose(lambda *a: (0.5, by_hand(*a)), network).agrees
    with pytest.raises(TypeError, match="expected gradients in W1, b1, W2, b2, by name or in this order"):
        diagnose(lambda *a: 1.0, network)
    with pytest.raises(ValueError, match="'V1': no variable; known: W1, b1, W2, b2"):
        diagnose(lambda *a: {"V1": 1.0}, network)
    with pytest.raises(ValueError, match="W1: expected shape 2x2, got 3"):
        diagnose(lambda *a: {"W1": numpy.zeros(3)}, network)


def test_a_penalty_that_is_left_out_or_not_halved_is_called_by_its_name():
    network = Network((3, 4, 2), activation="tanh", penalty="0.05*w**2", reduction="mean")
    doctor, plain = doctor_of(network), gradients(network.of_rows())
    weights = inputs(network)
    for share, named in ((0, "the penalty is left out"), (2, "twice the penalty is taken"), (1, "")):
        own = {n: g + share * weights[n] / 10 if n[0] == "W" else g for n, g in plain.items()}
        diagnosis = doctor.of_arrays(own)
        assert diagnosis.agrees is not named and (not named or kinds(diagnosis)[0] == {named})
        one = {**own, "W1": plain["W1"] + weights["W1"] / 10}
        assert not named or (named in str(doctor.of_arrays(one)) and "B" in doctor.of_arrays(one).summary)


@pytest.mark.parametrize("penalty", ["", "0.05*w**2"])
def test_the_column_of_an_input_that_is_small_beside_others_is_looked_at_too(penalty):
    network = Network((3, 4, 2), activation="tanh", penalty=penalty)
    own = inputs(network)
    own["x"] *= 1e7, 1e-2, 0 if penalty else 1
    own["W1"][:, 0] *= 1e-7
    doctor = Diagnostician(network, own)
    right = {name: g.astype(numpy.float32) for name, g in ByHand(network, set())(own, own["x"], own["y"]).items()}
    assert doctor.of_arrays(right).agrees
    right["W1"][:, 1] *= 3
    diagnosis = doctor.of_arrays(right)
    assert [verdict.name for verdict in diagnosis.verdicts if not verdict.right] == ["dLdw1"]
    assert penalty or "dLdw1: each column is a number times ours: 1, 3, 1" in str(diagnosis)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
@pytest.mark.parametrize("scale", [-200, -30, 12, 30])
def test_what_a_saturated_layer_loses_to_rounding_is_no_slip(activation, dtype, scale):
    network = Network((2, 3, 2), activation=activation)
    own = {n: torch.tensor(value, dtype=dtype) for n, value in inputs(network).items()}
    own["x"], own["W1"] = own["x"] * scale, abs(own["W1"])
    parameters = [own[name].requires_grad_() for name in network.shapes]
    W1, b1, W2, b2 = parameters
    hidden = getattr(torch, activation)(own["x"] @ W1.T + b1)
    torch.square(hidden @ W2.T + b2 - own["y"]).sum().backward()
    doctor = Diagnostician(network, {n: value.detach().double().numpy() for n, value in own.items()})
    right = {n: part.grad.double().numpy() for n, part in zip(network.shapes, parameters, strict=True)}
    diagnosis = doctor.of_arrays(right)
    assert diagnosis.agrees
    shown = "as far as rounding shows it" in str(diagnosis)
    assert shown or (activation, dtype, scale) != ("tanh", torch.float32, -200)
    for name in ("W2", "b2"):
        assert not doctor.of_arrays({**right, name: right[name] * 1.001}).agrees


def test_a_large_network_is_diagnosed_one_slip_at_a_time():
    network = Network((300, 200, 200, 1), activation="tanh")
    doctor = Diagnostician(network, inputs(network))
    assert not doctor.point.is_small
    diagnosis = doctor.of_arrays(gradients(network, ("slope left out", 2)))
    assert kinds(diagnosis)[0] == {"slope left out"}
