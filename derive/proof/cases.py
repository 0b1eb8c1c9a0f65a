"""What is claimed of the functions of a package on symbols: each entry, and what it should be by its definition."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy
from sympy import Expr, Integer, Symbol, diff, nan

from derive.formulas import NamedFunction, opened, slope_of_function, z
from derive.problems import Network
from derive.proof.calls import divisor, results_of, running, tensor
from derive.proof.certificate import NotProved
from derive.proof.contexts import naming
from derive.proof.intermediates import Intermediates
from derive.proof.judge import Claim
from derive.proof.loops import OF_SYMBOLS, Loops
from derive.proof.source import run_source
from derive.proof.tensor import Tensor, symbols

ROWS_ON_SYMBOLS = (1, 2)
FAST_ROWS = (1, 2, 3)  # 3 as a chunk of 2 and one of 1


def slopes(network: Network) -> Iterator[Claim]:
    """The slope of each named function that the network uses, against the derivative of its definition."""
    used = {part.func for layer in range(1, network.depth + 1) for part in network.function(layer).atoms(NamedFunction)}
    used |= {part.func for part in network.criterion().formula.atoms(NamedFunction)}
    for function in sorted(used, key=str):
        yield f"the slope of {function}", slope_of_function(function), diff(opened(function.definition), z)


class Case:
    """The emitted source on symbols, and SymPy's derivatives of the loss by its definition: what is to be identical.

    Each method yields the name of an entry, what the source computes and what SymPy derives.
    """

    def __init__(self, network: Network, source: str, path: Path, rows: int, sums: Intermediates) -> None:
        self.network, self.path, self.rows, self.sums = network, path, rows, sums
        self.where = path
        shapes = network.shapes
        self.parameters = {name: symbols(name, shape) for name, shape in shapes.items()}
        self.direction = {name: symbols(f"dot_{name}", shape) for name, shape in shapes.items()}
        self.x, self.y = symbols("x", (rows, network.layers[0])), symbols("y", (rows, network.layers[-1]))
        self.source, self.shapes = source, shapes
        given = {name: parameter.entries.tolist() for name, parameter in self.parameters.items()}
        self.layers = [(given[f"W{layer}"], given.get(f"b{layer}")) for layer in range(1, network.depth + 1)]
        self.loops = Loops(network, OF_SYMBOLS, sums.name)
        self.penalties = {entry: self.loops.weight_penalty(entry) for W, _ in self.layers for row in W for entry in row}

    @property
    def count(self) -> int:
        """How many claims `others` makes."""
        rows, n, outputs = self.rows, self.network.entries, self.network.layers[-1]
        of_penalty = 1 + 2 * n if self.network.penalty else 0
        return rows * self.network.layers[0] + rows * n + 3 * rows * outputs + n + of_penalty

    def run(self, function: str, *data: Tensor, direction: bool = False) -> Any:
        """What a function of the source returns; the widths of hidden layers are this case's."""
        along = [list(self.direction.values())] if direction else []
        with running(f"{self.path}: {function}"):
            namespace = run_source(self.source, str(self.path))
            namespace["SHAPES"].update(self.shapes)
            with naming(self.sums.recognised):
                return namespace[function](list(self.parameters.values()), *data, *along)

    def gradient(self) -> Iterator[Claim]:
        rows, over, penalty = self.row_losses(self.x, self.y), self.over(self.rows), self.penalty()
        self.name_slopes(rows)
        loss, gradients = results_of(self.run("value_and_grad", self.x, self.y), 2, str(self.path))
        yield from self.each("the loss", loss, Tensor(sum(rows, Integer(0)) / over + penalty))

        def expected(entry: Symbol) -> Expr:
            of_rows = sum((self.sums.derivative(row, entry) for row in rows), Integer(0)) / over
            return of_rows + self.penalty_slope(entry)

        for (name, parameter), gradient in zip(self.parameters.items(), gradients, strict=True):
            yield from self.each(f"dL/d{name}", gradient, parameter.map(expected))

    def others(self) -> Iterator[Claim]:
        rows, over = self.row_losses(self.x, self.y), self.over(self.rows)
        moved = [self.along(row) for row in rows]
        self.name_slopes([*rows, *moved])

        def mean(scalars: list[Expr], entry: Symbol) -> Expr:
            return sum((self.sums.derivative(scalar, entry) for scalar in scalars), Integer(0)) / over

        yield from self.each("dL/dx", self.run("input_grad", self.x, self.y), self.x.map(partial(mean, rows)))

        samples = self.run("per_sample_grad", self.x, self.y)
        for n, row in enumerate(rows):
            for (name, parameter), gradient in zip(self.parameters.items(), samples, strict=True):
                expected = parameter.map(partial(self.sums.derivative, row))
                yield from self.each(f"dL{n}/d{name}", gradient[n], expected / self.over(1))

        predicted = Tensor([self.prediction(row) for row in self.x.entries])
        derivative = predicted.map(self.along)
        yield from self.each("the prediction", self.run("forward", self.x), predicted)
        value, tangent = results_of(self.run("jvp", self.x, direction=True), 2, str(self.path))
        yield from self.each("the prediction", value, predicted)
        yield from self.each("jvp", tangent, derivative)

        curved, curved_penalty = self.run("hvp", self.x, self.y, direction=True), self.along(self.penalty())
        for (name, parameter), product in zip(self.parameters.items(), curved, strict=True):
            bent = parameter.map(partial(self.sums.derivative, curved_penalty))
            yield from self.each(f"hvp {name}", product, parameter.map(partial(mean, moved)) + bent)
        if self.network.penalty:
            yield from self.of_penalty()

    def of_penalty(self) -> Iterator[Claim]:
        penalty, gradient = results_of(self.run("penalty_and_grad"), 2, str(self.path))
        yield from self.each("the penalty", penalty, Tensor(self.penalty()))
        curved = self.run("penalty_hvp", direction=True)
        parts = zip(self.parameters.items(), self.direction.values(), gradient, curved, strict=True)
        for (name, parameter), along, moved, product in parts:
            slopes = parameter.map(self.penalty_slope)
            yield from self.each(f"the penalty's slope in {name}", moved, slopes)
            expected = parameter.map(lambda entry: diff(self.penalty_slope(entry), entry)) * along
            yield from self.each(f"penalty_hvp {name}", product, expected)

    def name_slopes(self, scalars: list[Expr]) -> None:
        """Gives names to the derivatives by what has a name, which the source computes on its way."""
        for scalar in scalars:
            self.sums.backwards(scalar)

    def along(self, scalar: Expr) -> Expr:
        """The directional derivative of a scalar."""
        pairs = zip(self.parameters.values(), self.direction.values(), strict=True)
        moves = {entry: dot for p, d in pairs for entry, dot in zip(p.entries.flat, d.entries.flat, strict=True)}
        return self.sums.along(scalar, moves)

    def each(self, name: str, got: Tensor, expected: Tensor) -> Iterator[Claim]:
        """Entry by entry, once the shapes are known to be equal, and the entries to be SymPy's and not the source's."""
        what = f"{self.where}: {name}"
        for index, entry in numpy.ndenumerate(tensor(got, expected.entries.shape, what).entries):
            if not isinstance(entry, Expr):
                raise NotProved(f"{what} is no tensor of numbers")
            if entry.has(nan):
                raise NotProved(f"{what} has an entry that nothing has set, or that is no number")
            yield f"{name}[{', '.join(map(str, index))}]" if index else name, entry, expected.entries[index]

    def prediction(self, row: Sequence[Expr]) -> Sequence[Expr]:
        """The network's output for a row of inputs, by its definition."""
        return self.loops.prediction(self.layers, list(row))

    def penalty(self) -> Expr:
        return sum(self.penalties.values(), Integer(0))

    def penalty_slope(self, entry: Symbol) -> Expr:
        return diff(self.penalties.get(entry, Integer(0)), entry)

    def row_losses(self, x: Tensor, y: Tensor) -> list[Expr]:
        """What each row adds to the loss, before a mean divides."""
        return [self.loops.loss(self.prediction(a), list(b)) for a, b in zip(x.entries, y.entries, strict=True)]

    def over(self, rows: int) -> Integer:
        """What the sum of the losses of so many rows is divided by."""
        return Integer(divisor(self.network, rows))


class Fast(Case):
    """What fast.py computes on symbols, in buffers that it uses again, and what backward.py beside it computes."""

    def __init__(self, network: Network, source: str, path: Path, rows: int, sums: Intermediates, fast: str) -> None:
        super().__init__(network, source, path, rows, sums)
        self.fast, self.where = fast, path.with_name("fast.py")

    @staticmethod
    def entries(network: Network) -> int:
        """How many claims there are for all FAST_ROWS."""
        return (len(FAST_ROWS) + 2) * (network.entries + 1) + 5 * network.entries

    def claims(self) -> Iterator[Claim]:
        rows = self.row_losses(self.x, self.y)
        self.name_slopes([*rows, *map(self.along, rows[: ROWS_ON_SYMBOLS[-1]])])
        parameters, direction = list(self.parameters.values()), list(self.direction.values())
        backward = run_source(self.source, str(self.path))
        with running(f"{self.where}: FastGradient"):
            namespace = run_source(self.fast, str(self.where), {"backward": backward})
            module = namespace["FastGradient"](parameters)
            module._chunk, module._hvp_chunk, module._each_chunk = 2, 1, 1
            with naming(self.sums.recognised):
                results = self.results(module, direction)
        for name, function, got in results:
            along = [direction] if function == "hvp" else []
            with naming(self.sums.recognised):
                expected = backward[function](parameters, self.x, self.y, *along)
            if function == "value_and_grad":
                expected = [expected[0], *expected[1]]
            for part, value, wanted in zip(("loss", *self.parameters)[-len(got) :], got, expected, strict=True):
                yield from self.each(f"{name} {part} with N = {self.rows}", value, wanted)

    def results(self, module: Any, direction: list[Tensor]) -> list[tuple[str, str, list[Tensor]]]:
        """The name of a call, the function of backward.py that it is to equal, and copies of what it returns."""
        found = []

        def keep(name: str, function: str, *tensors: Tensor) -> None:
            found.append((name, function, [tensor.clone() for tensor in tensors]))

        if self.rows <= ROWS_ON_SYMBOLS[-1]:
            loss, gradient = module.value_and_grad(self.x, self.y)
            keep("value_and_grad", "value_and_grad", loss, *gradient)
            keep("per_sample_grad", "per_sample_grad", *module.per_sample_grad(self.x, self.y))
            keep("hvp", "hvp", *module.hvp(self.x, self.y, direction))
        module._add(self.x, self.y, Integer(self.rows), 0)
        if self.network.penalty:
            module._add_penalty()
        keep("chunks", "value_and_grad", module._loss, *module.gradient)
        return found
