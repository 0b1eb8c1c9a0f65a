"""When two gradients count as equal: ||g - r|| <= c * eps * ||r||, no absolute tolerance, and all numbers finite."""

import math
from collections.abc import Callable, Sequence

import torch

from derive.problems.network import Network


def relative(g: torch.Tensor, r: torch.Tensor) -> float:
    """||g - r|| / ||r||: 0 where both are zero, infinity where only r is, and where a number is not finite."""
    if not (g.isfinite().all() and r.isfinite().all()):
        return math.inf
    if torch.equal(g, r):
        return 0.0
    mine, right = (part.detach().flatten().tolist() for part in (g, r))
    _, exponent = math.frexp(max(map(abs, [*mine, *right])))  # with it taken off, no square overflows or vanishes
    mine, right = ([math.ldexp(number, -exponent) for number in numbers] for numbers in (mine, right))
    size = math.hypot(*right)
    return math.dist(mine, right) / size if size else math.inf


def distance(g: torch.Tensor, r: torch.Tensor) -> float:
    """The same in eps."""
    return relative(g, r) / torch.finfo(r.dtype).eps


def assert_agree(got, want, times: float = 16.0, noise: Sequence[float] | None = None) -> None:
    """Within so many eps, and 16 times the noise of each reference where that is given."""
    assert len(got) == len(want)
    for index, (g, r, moved) in enumerate(zip(got, want, noise or [0.0] * len(want), strict=True)):
        assert (g.shape, g.dtype) == (r.shape, r.dtype)
        allowed = times + (16 * moved / (torch.finfo(r.dtype).eps * float(r.norm())) if moved else 0)
        assert distance(g, r) <= allowed, f"gradient {index} is {distance(g, r):.1f} eps from the reference"


def noises(
    of: Callable[[list[torch.Tensor]], Sequence[torch.Tensor]], given: list[torch.Tensor], parts: Sequence[torch.Tensor]
) -> list[float]:
    """How far each part moves where every number moves by an ulp or stays: so much of its digits is rounding.

    Terms of 1e5 that cancel leave 1e-11 of noise, which are not the gradient's.
    """
    moved = [of([by_an_ulp(tensor) for tensor in given]) for _ in range(4)]
    return [
        max(float((one - part).norm()) for one in ones)
        for part, ones in zip(parts, zip(*moved, strict=True), strict=True)
    ]


def by_an_ulp(tensor: torch.Tensor) -> torch.Tensor:
    towards = torch.tensor([-torch.inf, 0.0, torch.inf], dtype=tensor.dtype)[torch.randint(3, tensor.shape)]
    return torch.where(towards == 0, tensor, tensor.nextafter(towards))


def sequential(network: Network, dtype: torch.dtype = torch.float64, scale: float = 1.0) -> torch.nn.Sequential:
    """The network as a torch user builds it, its parameters scaled."""
    modules: list[torch.nn.Module] = []
    for layer in range(network.depth):
        modules.append(torch.nn.Linear(network.layers[layer], network.layers[layer + 1], dtype=dtype))
        modules.append(Activation(network.activation_of(layer + 1)))
    net = torch.nn.Sequential(*modules)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(scale)
    return net


IN_TORCH = {  # activations that torch has no function for, or not by their names
    "identity": lambda x: x,
    "gelu_tanh": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
    # torch's own has no second derivative, and takes 1/6 in float32 for its first
    "hardsigmoid": lambda x: torch.nn.functional.relu6(x + 3) / 6,
}


class Activation(torch.nn.Module):
    """An activation by its name in torch."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.name in IN_TORCH:
            return IN_TORCH[self.name](x)
        return getattr(torch if hasattr(torch, self.name) else torch.nn.functional, self.name)(x)


def criterion(network: Network, p: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """torch's own loss."""
    if network.loss == "squared_error":
        return getattr(((p - y) ** 2), network.reduction)()
    extra = (torch.ones_like(y),) if network.loss == "gaussian_nll_loss" else ()
    return getattr(torch.nn.functional, network.loss)(p, y, *extra, reduction=network.reduction)


def autograd(network: Network, net: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> list[torch.Tensor]:
    """torch's own gradient in the parameters of the net."""
    return list(torch.autograd.grad(criterion(network, net(x), y), list(net.parameters())))
