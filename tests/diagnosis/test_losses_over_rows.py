"""Losses typed as formulas that couple a row, or have cases: right by autograd of torch's words, and diagnosed."""

import pytest
import torch

from derive.diagnosis import diagnose
from derive.packages import render
from derive.problems import Network
from derive.proof import NotProved, prove

LOSSES = {
    "y*(logsumexp(p) - p)": lambda p, y: y * (p.logsumexp(1, keepdim=True) - p),
    "-y*log(softmax(p))": lambda p, y: -y * torch.softmax(p, 1).log(),
    "-y*log_softmax(p)": lambda p, y: -y * torch.log_softmax(p, 1),
    "(softmax(p) - y)**2": lambda p, y: (torch.softmax(p, 1) - y) ** 2,
    "logsumexp(p)/3 - p*y": lambda p, y: p.logsumexp(1, keepdim=True) / 3 - p * y,
    "-y*log(softmax(p)) - (1 - y)*log(1 - softmax(p))": lambda p, y: (
        -y * torch.softmax(p, 1).log() - (1 - y) * (1 - torch.softmax(p, 1)).log()
    ),
    "abs(softmax(2*p) - y)": lambda p, y: (torch.softmax(2 * p, 1) - y).abs(),
    "y*(max(p) - p)": lambda p, y: y * (p.amax(1, keepdim=True) - p),
    "max(p - y, 0)**2": lambda p, y: torch.relu(p - y) ** 2,
    "max(0, 1 - (2*y - 1)*p)": lambda p, y: torch.relu(1 - (2 * y - 1) * p),
}
DIVISOR = {"sum": lambda p: 1, "mean": lambda p: p.numel(), "batchmean": len}


def by_autograd(loss: str, reduction: str, share: float = 1.0):
    def gradients(parameters, x, y):
        leaves = {name: torch.from_numpy(array).requires_grad_() for name, array in parameters.items()}
        hidden = torch.tanh(torch.from_numpy(x) @ leaves["W1"].T + leaves["b1"])
        p = hidden @ leaves["W2"].T + leaves["b2"]
        value = LOSSES[loss](p, torch.from_numpy(y)).sum() / DIVISOR[reduction](p)
        found = torch.autograd.grad(value, list(leaves.values()))
        return {name: share * slope.numpy() for name, slope in zip(leaves, found, strict=True)}

    return gradients


@pytest.mark.parametrize("reduction", DIVISOR)
@pytest.mark.parametrize("loss", LOSSES)
def test_a_typed_loss_over_rows_agrees_with_autograd_and_half_of_it_is_called_so(loss, reduction):
    network = Network((2, 4, 3), "tanh", loss=loss, reduction=reduction)
    assert diagnose(by_autograd(loss, reduction), network).agrees
    diagnosis = diagnose(by_autograd(loss, reduction, 1 / 2), network)
    assert {"a factor 2 is missing"} in [set(e.kinds) for e in diagnosis.explanations]


@pytest.mark.parametrize("name", ["backward", "fast", "native"])
def test_entries_that_are_equally_the_largest_share_alike_and_nan_is_not_lost(name, emitted):
    network = Network((2, 4, 3), "tanh", loss="y*(max(p) - p)")
    x, y = torch.randn(5, 2, dtype=torch.float64), torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 1], [0] * 3])
    given = torch.randn(4, 2), torch.randn(4), torch.zeros(3, 4), torch.tensor([0.5, 0.0, 0.5])
    leaves, y = [part.double().requires_grad_() for part in given], y.double()
    p = torch.tanh(x @ leaves[0].T + leaves[1]) @ leaves[2].T + leaves[3]
    want = torch.autograd.grad((y * (p.amax(1, keepdim=True) - p)).sum(), leaves)
    module, leaves = emitted(network, name), [leaf.detach() for leaf in leaves]
    call = {
        "backward": lambda: module.value_and_grad(leaves, x, y),
        "fast": lambda: module.FastGradient(leaves).value_and_grad(x, y),
        "native": lambda: module.NativeGradient(leaves).value_and_grad(x, y),
    }[name]
    torch.testing.assert_close(list(call()[1]), list(want))
    leaves[3][1] = torch.nan
    assert call()[0].isnan()


def test_the_shares_of_entries_that_are_equally_the_largest_are_proved(tmp_path):
    texts = render(Network((1, 2), loss="y*(max(p + 1 - y) - p)"), ["__init__.py", "backward.py"])
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    assert prove(tmp_path).exact
    (tmp_path / "backward.py").write_text(texts["backward.py"].replace("grad_largest1 / ties1", "grad_largest1"))
    with pytest.raises(NotProved, match=r"dL/dW1\[0, 0\] is wrong"):
        prove(tmp_path)
