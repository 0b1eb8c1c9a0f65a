"""Networks to try, and data for them."""

import torch

from derive.problems.network import Network
from tests.helpers.gate import sequential

NETWORKS = [
    Network(),
    Network((2, 10, 5, 1)),
    Network((1, 1)),
    Network((3, 1), output_activation="sigmoid", reduction="mean"),
    Network((1, 1, 1), activation="tanh"),
    Network((3, 7, 4, 2), activation="relu", output_activation="tanh", reduction="mean"),
    Network((2, 6, 5, 4, 3, 2), activation="tanh", output_activation="relu"),
    Network((5, 3, 2), activation="identity", reduction="mean"),
]

LAYOUTS = [  # each way in which fast.py lays out its buffers
    Network(),
    Network((1, 1)),
    Network((3, 1), output_activation="sigmoid", reduction="mean"),
    Network((4, 3), activation="identity"),
    Network((1, 1, 1), activation="tanh"),
    Network((3, 7, 4, 2), activation="relu", output_activation="tanh", reduction="mean"),
    Network((2, 6, 5, 4, 3, 2), activation="tanh", output_activation="relu"),
    Network((5, 3, 3, 2), activation="identity", reduction="mean"),
    Network((16, 16)),
    Network((3, 32, 16, 2), reduction="mean"),
    Network((3, 16, 16, 1), activation="relu"),
    Network((20, 60, 50, 5), activation="tanh"),
]


def targets(network: Network, rows: int) -> torch.Tensor:
    y = torch.rand(rows, network.layers[-1], dtype=torch.float64)
    return y / y.sum(1, keepdim=True) if network.loss in ("cross_entropy", "kl_div") else y


def example(network: Network, rows: int, dtype=torch.float64, seed: int = 0):
    torch.manual_seed(seed)
    net = sequential(network, dtype, scale=2.0)
    x = torch.randn(rows, network.layers[0], dtype=dtype)
    y = torch.randn(rows, network.layers[-1], dtype=dtype)
    return net, x, y
