"""A network by its definition: loops over entries, numbers or symbols, and neither a matrix nor a rule of calculus."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sympy
from mpmath import fdot, fsum, mp
from sympy import Add, Dummy, Expr, Piecewise, Symbol, lambdify

from derive.formulas import OfRow, logsumexp, opened, p, w, y, z
from derive.problems import Network
from derive.proof.stand_in import largest_of_row

Layer = tuple[Sequence[Sequence[Any]], Sequence[Any] | None]  # rows of weights, and biases if there are any


@dataclass(frozen=True)
class Arithmetic:
    """What is done with numbers of some kind; `compiled` is a formula as a function of its symbols."""

    compiled: Callable[[tuple[Symbol, ...], Expr], Callable[..., Any]]
    dot: Callable[[Sequence[Any], Sequence[Any]], Any]
    total: Callable[[Iterable[Any]], Any]
    exp: Callable[[Any], Any]
    log: Callable[[Any], Any]
    largest: Callable[[Sequence[Any]], Any]


def substituted(variables: tuple[Symbol, ...], formula: Expr) -> Callable[..., Expr]:
    return lambda *values: formula.xreplace(dict(zip(variables, values, strict=True)))


def mean_of_largest(row: Sequence[Expr]) -> Expr:
    """The mean of the entries that are no smaller than `largest`; what is shown holds whichever number that is."""
    if len(row) == 1:
        return row[0]
    most = largest_of_row(*row)
    ties = Add(*(Piecewise((0, entry < most), (1, True)) for entry in row))
    return Add(*(Piecewise((0, entry < most), (entry / ties, True)) for entry in row))


OF_DECIMALS = Arithmetic(lambda s, formula: lambdify(s, opened(formula), "mpmath"), fdot, fsum, mp.exp, mp.log, max)
OF_SYMBOLS = Arithmetic(
    substituted,
    lambda left, right: Add(*(a * b for a, b in zip(left, right, strict=True))),
    lambda terms: Add(*terms),
    sympy.exp,
    sympy.log,
    mean_of_largest,
)


class Loops:
    """Predictions and losses, row by row, and the penalty of a weight; `name` may give names to pre-activations."""

    def __init__(self, network: Network, of: Arithmetic, name: Callable[[Any], Any] = lambda number: number) -> None:
        self.network, self.of, self.name = network, of, name
        self.activations = [of.compiled((z,), network.function(layer)) for layer in range(1, network.depth + 1)]
        formula = network.criterion().formula
        coupled = sorted(formula.atoms(OfRow), key=str)
        found = {part: Dummy(real=True) for part in coupled}
        over = {True: self.log_of_sum, False: of.largest}
        self.of_rows = [(over[isinstance(part, logsumexp)], of.compiled((p, y), part.args[0])) for part in coupled]
        self.entry_loss = of.compiled((p, y, *found.values()), formula.xreplace(found))
        self.weight_penalty = of.compiled((w,), network.weight_penalty())

    def prediction(self, layers: Iterable[Layer], row: Sequence[Any]) -> Sequence[Any]:
        """The outputs for a row of inputs."""
        handed_on = [row]
        for layer, (weights, biases) in enumerate(layers, 1):
            sums = [self.of.dot(of_unit, handed_on[-1]) for of_unit in weights]
            added = [biases] if biases is not None else []
            for more in [*added, *(handed_on[start] for start in self.network.skipped_to(layer))]:
                sums = [one + other for one, other in zip(sums, more, strict=True)]
            handed_on.append([self.activations[layer - 1](self.name(entry)) for entry in sums])
        return handed_on[-1]

    def loss(self, prediction: Sequence[Any], target: Sequence[Any]) -> Any:
        """What a row adds to the loss, before a mean divides; what is taken of a row runs over it."""
        entries = list(zip(prediction, target, strict=True))
        over_row = [over([part(*pair) for pair in entries]) for over, part in self.of_rows]
        return self.of.total(self.entry_loss(*pair, *over_row) for pair in entries)

    def log_of_sum(self, exponents: Sequence[Any]) -> Any:
        return self.of.log(self.of.total(map(self.of.exp, exponents)))
