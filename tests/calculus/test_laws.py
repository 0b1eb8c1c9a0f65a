"""What holds between gradients of one network whatever it computes, and any network that is drawn."""

import random
from collections.abc import Callable

import pytest
import torch

from derive.formulas.functions import FUNCTIONS
from derive.formulas.losses import LOSSES
from derive.problems.network import Network
from tests.helpers.gate import assert_agree, autograd, sequential
from tests.helpers.networks import targets
from tests.helpers.texts import OWN

NETWORKS = [
    Network((3, 5, 4, 2), "tanh"),
    Network((2, 6, 3), "relu", "sigmoid", "binary_cross_entropy", "mean"),
    Network((2, 4, 4, 3), "gelu", loss="cross_entropy"),
    Network((2, 4, 2), "z*sigmoid(z)", loss="log(1 + (p - y)**2)", reduction="mean"),
]
CLOSE = 256.0  # eps: another order of the same sums
Gradient = Callable[[list[torch.Tensor], torch.Tensor, torch.Tensor], list[torch.Tensor]]


def case(network: Network, rows: int = 12):
    torch.manual_seed(rows)
    parameters = [parameter.detach() for parameter in sequential(network, scale=1.5).parameters()]
    return parameters, torch.randn(rows, network.layers[0], dtype=torch.float64), targets(network, rows)


@pytest.fixture(params=["backward", "fast"])
def gradient_of(request, emitted) -> Callable[[Network], Gradient]:
    def gradient(network: Network) -> Gradient:
        if request.param == "backward":
            return lambda parameters, x, y: list(emitted(network).value_and_grad(parameters, x, y)[1])
        fast = emitted(network, "fast").FastGradient
        return lambda parameters, x, y: [part.clone() for part in fast(parameters).value_and_grad(x, y)[1]]

    return gradient


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_the_order_of_the_samples_does_not_matter(network, gradient_of):
    parameters, x, y = case(network)
    order = torch.randperm(len(x))
    gradient = gradient_of(network)
    assert_agree(gradient(parameters, x[order], y[order]), gradient(parameters, x, y), CLOSE)


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_gradients_move_with_the_hidden_units(network, gradient_of):
    parameters, x, y = case(network)
    for layer in range(network.depth - 1):
        order = torch.randperm(network.layers[layer + 1])

        def permuted(tensors, first=2 * layer, order=order):
            W, b, after = tensors[first : first + 3]
            return [*tensors[:first], W[order], b[order], after[:, order], *tensors[first + 3 :]]

        gradient = gradient_of(network)
        assert_agree(gradient(permuted(parameters), x, y), permuted(gradient(parameters, x, y)), CLOSE)


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_batches_add_up_and_means_are_weighted_by_their_rows(network, gradient_of):
    parameters, x, y = case(network)
    gradient, rows = gradient_of(network), (5, 1, 6)
    weights = [n / len(x) if network.reduction == "mean" else 1 for n in rows]
    parts = [gradient(parameters, *batch) for batch in zip(x.split(rows), y.split(rows), strict=True)]
    added = [
        sum(weight * part for weight, part in zip(weights, each, strict=True)) for each in zip(*parts, strict=True)
    ]
    assert_agree(added, gradient(parameters, x, y), CLOSE)


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_rows_that_come_twice_count_twice_in_a_sum_and_not_at_all_in_a_mean(network, gradient_of):
    parameters, x, y = case(network)
    gradient, times = gradient_of(network), 1 if network.reduction == "mean" else 2
    twice = gradient(parameters, torch.cat([x, x]), torch.cat([y, y]))
    assert_agree(twice, [times * part for part in gradient(parameters, x, y)], CLOSE)


@pytest.mark.parametrize("loss", ["mse_loss", "squared_error", "smooth_l1_loss", "huber_loss", "l1_loss", "(p - y)**4"])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_a_prediction_that_is_the_target_gives_exact_zeros(loss, reduction, gradient_of, emitted):
    """In whole numbers, whose sums are the same in any order."""
    network = Network((3, 4, 2), "relu", loss=loss, reduction=reduction)
    parameters, x = [part.mul(4).round() for part in case(network)[0]], case(network)[1].mul(4).round()
    for part in gradient_of(network)(parameters, x, emitted(network).forward(parameters, x)):
        assert torch.equal(part, torch.zeros_like(part))


@pytest.mark.parametrize("network", [n for n in NETWORKS if n.reduction == "sum"], ids=str)
def test_no_rows_add_up_to_zeros(network, gradient_of):
    parameters, x, y = case(network)
    for part, parameter in zip(gradient_of(network)(parameters, x[:0], y[:0]), parameters, strict=True):
        assert torch.equal(part, torch.zeros_like(parameter))


def any_network(draw: random.Random) -> Network:
    layers = [draw.randint(1, 6) for _ in range(draw.randint(2, 5))]
    loss = draw.choice([*LOSSES, *OWN_LOSSES])
    output = "sigmoid" if loss == "binary_cross_entropy" else draw.choice(["identity", "tanh", "softplus"])
    hidden = [draw.choice([*FUNCTIONS, *OWN]) for _ in layers[1:-1]]
    return Network(layers, hidden or "tanh", output, loss, draw.choice(["sum", "mean"]))


OWN_LOSSES = {"abs(p - y)**3": lambda p, y: (p - y).abs() ** 3, "p*sin(y)": lambda p, y: p * torch.sin(y)}


class Formula(torch.nn.Module):
    """A formula of OWN, in torch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return OWN[self.text](z)


def module(network: Network, dtype: torch.dtype) -> torch.nn.Sequential:
    net = sequential(network, dtype, 1.5)
    for index, part in enumerate(net):
        if getattr(part, "name", None) in OWN:
            net[index] = Formula(part.name)
    return net


def by_autograd(network: Network, net: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> list[torch.Tensor]:
    if network.loss in LOSSES:
        return autograd(network, net, x, y)
    loss = getattr(OWN_LOSSES[network.loss](net(x), y), network.reduction)()
    return list(torch.autograd.grad(loss, list(net.parameters())))


def laid_out(draw: random.Random, tensor: torch.Tensor) -> torch.Tensor:
    """The same numbers in other places of memory, perhaps with a record of autograd."""
    wide = torch.full([3 * size for size in tensor.shape], torch.nan, dtype=tensor.dtype)
    places = tuple(slice(draw.randint(0, 2), None, 3) for _ in tensor.shape)
    wide[places] = tensor
    turned = tensor.permute(*reversed(range(tensor.ndim))).contiguous().permute(*reversed(range(tensor.ndim)))
    return draw.choice([tensor, wide[places], turned]).detach().requires_grad_(draw.random() < 0.5)


REFUSED = {
    "one row": lambda x: x[0],
    "three dimensions": lambda x: x[None],
    "no features": lambda x: x[:, :0],
    "float16": lambda x: x.half(),
    "integers": lambda x: x.int(),
    "complex": lambda x: x.cfloat(),
    "elsewhere": lambda x: x.to("meta"),
    "sparse": lambda x: x.to_sparse(),
    "numpy": lambda x: x.detach().numpy(),
}


@pytest.mark.parametrize("number", [*range(6), *(pytest.param(n, marks=pytest.mark.slow) for n in range(6, 40))])
def test_any_network_on_any_data_is_right_or_refused(number, emitted):
    """Any layers, formulas, losses, dtypes and strides."""
    draw = random.Random(number)
    network, rows, dtype = any_network(draw), draw.randint(1, 9), draw.choice([torch.float32, torch.float64])
    net = module(network, dtype)
    x, y = torch.randn(rows, network.layers[0], dtype=dtype), targets(network, rows).to(dtype)
    want = by_autograd(network, net, x, y)
    given = [laid_out(draw, parameter.detach()) for parameter in net.parameters()]
    x, y = laid_out(draw, x), laid_out(draw, y)
    value_and_grad = emitted(network).value_and_grad
    fast = emitted(network, "fast").FastGradient(given)
    for compute in (lambda x: value_and_grad(given, x, y), lambda x: fast.value_and_grad(x, y)):
        assert_agree(list(compute(x)[1]), want, 4096.0)
        change = draw.choice(list(REFUSED.values()))
        with pytest.raises((ValueError, TypeError), match=r"^x: "):
            compute(change(x))
