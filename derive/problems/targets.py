"""Targets to try a network on, as its package draws them and its pages show them: the assignment's, and their like.

The assignment's target of a point is the mean of the squares of its inputs, m for short. Inputs are from 0 to 1, and
so is m.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp

from derive.problems.network import Network

M = "the mean of the squares of its inputs"


@dataclass(frozen=True)
class Targets:
    """The targets of a point in words, as torch source from the inputs x, and as numbers from m and 1, 2, ..."""

    words: str
    torch: str
    of: Callable[[float, Sequence[int]], list[float]]

    def numbers(self, inputs: list[float], outputs: int) -> list[float]:
        return self.of(sum(x**2 for x in inputs) / len(inputs), range(1, outputs + 1))


def distribution(scores: list[float]) -> list[float]:
    powers = [exp(score) for score in scores]
    return [power / sum(powers) for power in powers]


def targets(network: Network) -> Targets:
    """m; of several outputs its powers, which differ; a distribution where the loss takes one."""
    outputs, m = network.layers[-1], "(x**2).mean(1, keepdim=True)"
    number = f"torch.arange(1, {outputs + 1}, device=x.device)"
    if network.criterion().distribution:
        return Targets(
            f"The targets of a point are a distribution over the outputs: softmax of 1, 2, ..., each times {M}.",
            f"torch.softmax({m} * {number}, 1)",
            lambda m, outputs: distribution([m * output for output in outputs]),
        )
    if outputs == 1:
        return Targets(f"The target of a point is {M}.", m, lambda m, outputs: [m])
    return Targets(
        f"The targets of a point are {M}, to the power 1 for the first output, 2 for the second, and so on.",
        f"{m} ** {number}",
        lambda m, outputs: [m**output for output in outputs],
    )
