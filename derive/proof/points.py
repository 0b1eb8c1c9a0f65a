"""A network by its definition, at points: numbers of `mp.dps` digits, slopes by differences.

No rule of calculus stands here. A gradient is compared along a random direction: one that differs from the truth in any
entry differs along it, too.
"""

from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from random import Random
from typing import Any

import numpy
from mpmath import fsum, isfinite, mp, mpc, mpf
from sympy import Expr, Float

from derive.problems import Network
from derive.proof.certificate import NotProved
from derive.proof.loops import OF_DECIMALS, Layer, Loops
from derive.proof.precision import quotient

SHOWN = 45  # digits that must agree
TRIES = 60
STYLES = ((-2, 2), (-2, 2), (-1, 1), (0, 1), (1, 2))  # between what the entries are drawn
Vector = Sequence[mpf]


class NetworkPoint:
    """Random parameters, a direction and rows, at which the network is defined, and what is true there.

    `weights` and `row_weights` are the directions along which gradients are compared.
    Raises NotProved where no such point is found.
    """

    def __init__(self, network: Network, rows: int, seed: int) -> None:
        self.network, self.loops = network, Loops(network, OF_DECIMALS)
        self.known: dict[tuple[str, int | None], Any] = {}
        random = Random(seed)
        inputs, outputs = network.layers[0], network.layers[-1]
        for attempt in range(TRIES):
            style = STYLES[attempt % len(STYLES)]
            self.parameters = random_numbers(random, network.entries, *style)
            self.direction, self.weights = (random_numbers(random, network.entries, -2, 2) for _ in range(2))
            self.x, self.y, self.row_weights = [], [], []
            for _ in range(TRIES * rows):
                scale = random.choice((1, 1, 4))
                x, y = (
                    random_numbers(random, inputs, scale * style[0], scale * style[1]),
                    random_numbers(random, outputs, *style),
                )
                if self.is_defined(x, y):
                    self.x.append(x)
                    self.y.append(y)
                    self.row_weights.append(random_numbers(random, inputs, -2, 2))
                if len(self.x) == rows:
                    return
        raise NotProved(f"{network}: found no point at which it is defined")

    def is_defined(self, x: Vector, y: Vector) -> bool:
        try:
            value = self.row_loss(self.parameters, x, y)
        except (ZeroDivisionError, ValueError, TypeError, OverflowError):
            return False
        return not isinstance(value, mpc) and isfinite(value)

    def moved(self, along: Vector, step: mpf, start: Vector | None = None) -> Vector:
        return [entry + step * part for entry, part in zip(start or self.parameters, along, strict=True)]

    def layers(self, parameters: Vector) -> Iterator[Layer]:
        """A flat vector as weights and biases."""
        entries = iter(parameters)
        for layer, (inputs, outputs) in enumerate(pairwise(self.network.layers), 1):
            weights = [list(islice(entries, inputs)) for _ in range(outputs)]
            biases = list(islice(entries, outputs)) if self.network.has_biases(layer) else None
            yield weights, biases

    def row_loss(self, parameters: Vector, row: Vector, target: Vector) -> mpf:
        """Before a mean divides."""
        return self.loops.loss(self.loops.prediction(self.layers(parameters), row), target)

    def loss(self, n: int | None, parameters: Vector | None = None) -> mpf:
        """Of a row; the penalty where there is none."""
        given = parameters or self.parameters
        if n is not None:
            return self.row_loss(given, self.x[n], self.y[n])
        return fsum(self.loops.weight_penalty(w) for rows, _ in self.layers(given) for row in rows for w in row)

    def prediction(self, n: int, parameters: Vector | None = None) -> Vector:
        return self.loops.prediction(self.layers(parameters or self.parameters), self.x[n])

    def tangent(self, n: int) -> Vector:
        """How the prediction moves along the direction."""
        return list(quotient(lambda h: numpy.array(self.prediction(n, self.moved(self.direction, h)))))

    def slope(self, n: int | None, along: Vector, start: Vector | None = None) -> mpf:
        """How the loss of a row, or the penalty, moves with the parameters."""
        return quotient(lambda h: self.loss(n, self.moved(along, h, start)))

    def input_slope(self, n: int, along: Vector) -> mpf:
        return quotient(lambda h: self.row_loss(self.parameters, self.moved(along, h, self.x[n]), self.y[n]))

    def curvature(self, n: int | None, along: Vector) -> mpf:
        """How that slope moves along the direction."""
        return quotient(lambda h: self.slope(n, along, self.moved(self.direction, h)))

    def true(self, name: str, n: int | None, along: Vector | None = None) -> Any:
        """What a method says of a row; once for all, along the weights, where no direction is given."""
        if along is not None:
            return getattr(self, name)(n, along)
        if (name, n) not in self.known:
            weights = [self.row_weights[n]] if name == "input_slope" and n is not None else [self.weights]
            given = weights if name in ("input_slope", "slope", "curvature") else []
            self.known[name, n] = getattr(self, name)(n, *given)
        return self.known[name, n]


def random_numbers(random: Random, count: int, low: int, high: int) -> Vector:
    """Random numbers that have few binary digits, and so are the same numbers wherever they are computed with."""
    return [mpf(random.randint(low * 2**30, high * 2**30)) / 2**30 for _ in range(count)]


def as_entries(numbers: Vector) -> list[Float]:
    """The numbers as a source is given them."""
    return [Float(number, mp.dps) for number in numbers]


def as_mpf(entry: object, where: str) -> mpf:
    """The number that a source computed.

    Raises NotProved where it is none, as memory that nobody has set.
    """
    value = entry.evalf(mp.dps) if isinstance(entry, Expr) else None
    if value is None or not (value.is_Float or value.is_Rational):
        raise NotProved(f"{where} is no number: {str(entry)[:40]}")
    return mpf(value._mpf_) if value.is_Float else mpf(value.p) / value.q


def agree_to_digits(got: mpf, wanted: mpf) -> bool:
    return abs(got - wanted) <= (1 + abs(wanted)) / mpf(10) ** SHOWN
