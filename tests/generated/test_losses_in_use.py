"""Every loss as a person uses it: run and autograd agree, and training lowers the loss, for any number of inputs."""

import math
import re

import pytest
import torch

from derive import build
from derive.formulas.losses import LOSSES
from derive.problems import no_least_value, warnings
from derive.problems.network import Network

OUTPUTS = {"binary_cross_entropy": "sigmoid", "kl_div": "logsigmoid"}


USED = [(loss, 3) for loss in (*LOSSES, "abs(p - y)**3", "-y*log_softmax(p)")]
USED += [(loss, inputs) for loss in ("mse_loss", "cross_entropy") for inputs in (1, 40)]
OTHERS = [(loss, inputs) for loss in LOSSES for inputs in (1, 2, 10, 40) if (loss, inputs) not in USED]


@pytest.mark.parametrize(("loss", "inputs"), [*USED, *(pytest.param(*o, marks=pytest.mark.slow) for o in OTHERS)])
def test_run_agrees_training_lowers_the_loss_and_targets_are_in_its_range(loss, inputs, emitted, tmp_path, capsys):
    network = Network((inputs, 4, 3), "tanh", OUTPUTS.get(loss, "identity"), loss, "mean")
    for seed in range(3):
        flags = ["--compare", "--points", "10", "--seed", str(seed), "--dtype", "float64", "--out", str(tmp_path)]
        assert emitted(network, "run").main(flags) == 0, capsys.readouterr()
    out = ["--out", str(tmp_path / "w.pt")]
    assert emitted(network, "train").main(["--epochs", "20", "--points", "64", *out]) == 0, capsys.readouterr().err
    first, last = map(float, re.search(r"loss (\S+) in the first epoch, (\S+) in", capsys.readouterr().out).groups())
    assert math.isfinite(last) and last < first
    _, x, y = emitted(network, "run").sample(3, 500, torch.float64)
    in_range(network, x, y)


def in_range(network, x, y):
    """Powers of means of squares, so from 0 to 1; where they are the probabilities of a row, they add up to 1."""
    assert y.shape == (500, 3) and y.min() >= 0 and y.max() <= 1
    if network.criterion().distribution:
        torch.testing.assert_close(y.sum(1), torch.ones(500, dtype=torch.float64))
        assert y.min() > 0 and len(set(y[0].tolist())) == 3
    else:
        torch.testing.assert_close(y, x.square().mean(1, keepdim=True) ** torch.arange(1, 4))


UNBOUNDED = [
    Network((2, 3, 1), loss="kl_div"),
    Network((2, 3, 2), output_activation="relu", loss="kl_div"),
    Network((2, 3, 1), output_activation="softplus", loss="kl_div"),
    Network((2, 3, 1), loss="p*y"),
    Network((2, 3, 1), loss="-p*y"),
    Network((2, 3, 1), output_activation="exp(z)", loss="-y*log(p)"),
]
BOUNDED = [
    *(Network((2, 3, 1), output_activation=OUTPUTS.get(loss, "identity"), loss=loss) for loss in LOSSES),
    Network((2, 3, 1), loss="sin(p)*y"),
    Network((2, 3, 1), output_activation="sigmoid", loss="-y*log(p)"),
    Network((2, 3, 1), loss="1/(1 + (p - y)**2)"),
    Network((2, 3, 2), loss="(softmax(p) - y)**2"),
]


@pytest.mark.parametrize("network", UNBOUNDED + BOUNDED, ids=str)
def test_a_loss_without_a_least_value_is_not_trained_down_for_ever(network, emitted, tmp_path, capsys):
    assert bool(no_least_value(network)) is (network in UNBOUNDED)
    if network in UNBOUNDED:
        assert emitted(network, "train").main(["--out", str(tmp_path / "w.pt")]) == 2
        message = (
            f"{network.loss} of output_activation {network.output_activation} has no least value: it falls without"
        )
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("loss", ["cross_entropy", "-y*log_softmax(p)", "(softmax(p) - y)**2"])
def test_one_class_is_warned_of(loss, tmp_path, capsys):
    assert build.main(["--layers", "2-3-1", f"--loss={loss}", "--out", str(tmp_path / "one")]) == 0
    expected = (
        "of one output, one class, is the same whatever is predicted, its gradient 0; give the last layer an output"
    )
    assert expected in capsys.readouterr().err
    assert warnings(Network((2, 3, 2), loss=loss)) == []


def test_other_losses_of_one_output_are_not_warned_of():
    for loss in (*LOSSES.keys() - {"cross_entropy"}, "logsumexp(p)**2"):
        assert warnings(Network((2, 3, 1), output_activation=OUTPUTS.get(loss, "identity"), loss=loss)) == []
