"""What somebody's gradients of a network are: right, rounded, or what they come out as with a slip, and which one."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
from numpy import ndarray

from derive.backends.torch import ONE, TorchPrinter
from derive.calculus import derive
from derive.diagnosis.doctor import Doctor
from derive.diagnosis.report import Diagnosis, by_name, dimensions
from derive.diagnosis.search import ClaimedGradient, Point, Search, SymbolValues
from derive.diagnosis.slips import Slips
from derive.diagnosis.written import MOST_FLOAT32, Misread, Written, named, written_arrays
from derive.problems import Network, targets
from derive.reading import forward
from derive.system import LAYOUTS

DRAWN_ROWS = 3  # of a point that is drawn


class Diagnostician(Doctor):
    """Knows a network's right gradients at a point, and what each slip makes of them; diagnoses one person's or many's.

    `inputs` has W1, b1, ..., x and y as arrays: weights out x in, points in rows. Raises ValueError where the gradient
    is not finite there.
    """

    def __init__(self, network: Network, inputs: Mapping[str, ndarray]) -> None:
        self.network, derivation = network, derive(forward(network))
        program = derivation.program
        self.weights, layer = {symbol.name for symbol in program.weights}, program.notation.layer
        kinds = {s.name: "w" if s.name in self.weights else "b" for s in program.parameters}
        self.places = {(kind, layer(name)): name for name, kind in kinds.items()}
        named = {program.notation.torch(symbol.name): symbol for symbol in program.inputs}
        values: SymbolValues = {}
        for name, symbol in named.items():
            width = int(symbol.shape[1].xreplace(program.sizes))
            values[symbol] = numpy.asarray(inputs[name], numpy.float64).reshape(-1, width)
        point = Point(derivation, values, lambda right: Slips(network, derivation, right))
        point.by_column[self.places["w", 1]] = abs(values[named["x"]]).max(0)
        super().__init__(point, TorchPrinter(program, ONE))

    def header(self, name: str) -> str:
        return f"dLd{name.lower()}"

    def elsewhere(self) -> tuple[SymbolValues, SymbolValues]:
        """Points with two decimals, and weights."""
        program, drawn = self.derivation.program, drawn_point(self.network, DRAWN_ROWS, 128)
        data = {symbol: numpy.round(drawn[program.notation.torch(symbol.name)], 2) for symbol in program.data}
        shapes = {symbol: self.point.inputs[symbol].shape for symbol in program.parameters}
        return data, {s: drawn[program.notation.torch(s.name)].reshape(shape) for s, shape in shapes.items()}

    def of_file(self, path: Path, turned: bool = False) -> Diagnosis:
        """Of a file, as people write gradients down. Raises OSError, or ValueError with file, line and reason."""
        try:
            return self.of_written(named(written_arrays(path), self.places), turned)
        except Misread as error:
            raise ValueError(f"{path}:{error.line}: {error}") from None

    def of_written(self, arrays: Mapping[str, Written], turned: bool = False) -> Diagnosis:
        """Of gradients by the names of their parameters; `turned` where weights are meant to be in x out.

        Raises ValueError where an array has no shape that the gradient could have.
        """
        eps = float(numpy.finfo(numpy.float32 if all(map(is_float32, arrays.values())) else numpy.float64).eps)
        shapes = {name: self.point.right[symbol].shape for name, symbol in self.point.gradients.items()}
        other_way = {n for n, a in arrays.items() if n in shapes and a.values.shape == shapes[n][::-1] != shapes[n]}
        decided = {n for n in self.weights & arrays.keys() if shapes[n][0] != shapes[n][1] and 1 not in shapes[n]}
        notes = []
        if decided and (decided.isdisjoint(other_way) if turned else decided <= other_way):
            turned = not turned
            notes.append(f"weights are taken to be stored {LAYOUTS[turned]}, as their shapes say")
        claims: dict[str, ClaimedGradient] = {}
        transposed: set[str] = set()
        for name, array in arrays.items():
            as_ours = array.values.shape == shapes[name] != shapes[name][::-1]
            flipped = name in self.weights and (name in other_way or (turned and not as_ours))
            if name in self.weights and flipped is not turned:
                transposed.add(name)
                notes.append(self.turned(name, array.values.shape))
            claims[name] = self.claim(name, array, flipped)
        layer = self.derivation.program.notation.layer
        claims = {name: claims[name] for name in sorted(claims, key=lambda name: (-layer(name), name))}
        decimals = {name: arrays[name].decimals for name in claims}
        found = self.diagnosed(Search(self.point, claims, self.noise(eps)), decimals, notes, transposed)
        if not turned:
            return found
        if not found.agrees:
            notes = [*found.notes, f"Lines are those of backward.py, where weights are {LAYOUTS[0]}."]
        verdicts = tuple(replace(verdict, shape=verdict.shape[::-1]) for verdict in found.verdicts)
        return replace(found, verdicts=verdicts, notes=tuple(notes))

    def claim(self, name: str, array: Written, flipped: bool) -> ClaimedGradient:
        """The numbers in the shape of ours.

        Raises ValueError where there is no such shape.
        """
        right = self.point.right[self.point.gradients[name]].shape
        values, allowed = array.values, array.units / 2 * (1 + 1e-9)
        if flipped and values.ndim == 2:
            values, allowed = values.T, allowed.T
        rows = len(self.point.right[self.derivation.program.inputs[0]])
        if values.size == math.prod(right) and (values.ndim < 2 or 1 in right or values.shape == right):
            return ClaimedGradient(values.reshape(right), allowed.reshape(right))
        if rows > 1 and values.size == rows * math.prod(right) and len(values) == rows:
            each, allowed = values.reshape(rows, *right), allowed.reshape(rows, *right)
            return ClaimedGradient(each.sum(0), allowed.sum(0), each)
        expected = self.shape(name)
        raise Misread(
            array.line,
            f"{array.header[:30]}: expected shape {dimensions(expected)}, got {dimensions(array.values.shape)}",
        )

    def of_arrays(self, gradients: Mapping[str, ndarray]) -> Diagnosis:
        """Of gradients that were computed in float64."""
        made = {
            name: Written(name, 0, array, numpy.zeros(array.shape), 17, 17)
            for name, array in ((name, numpy.asarray(array, numpy.float64)) for name, array in gradients.items())
        }
        return self.of_written(made)

    def shape(self, name: str) -> tuple[int, ...]:
        shape = self.point.right[self.point.gradients[name]].shape
        return shape if name in self.weights else shape[1:]


def is_float32(array: Written) -> bool:
    """Whether numbers may have been computed in float32: few digits, or a float32's as far as they are written."""
    with numpy.errstate(over="ignore", invalid="ignore"):
        off = abs(array.values.astype(numpy.float32) - array.values)
    return array.significant <= MOST_FLOAT32 or bool((off <= 0.51 * array.units).all())


def drawn_point(network: Network, rows: int, seed: int = 127) -> dict[str, ndarray]:
    """Weights W1 (out x in), biases, and points in rows with their targets, drawn in float64."""
    draw, widths = numpy.random.default_rng(seed), network.layers
    parameters = {
        name: draw.normal(size=shape) / (math.sqrt(shape[1]) if len(shape) == 2 else 2)
        for name, shape in network.shapes.items()
    }
    x = draw.uniform(size=(rows, widths[0]))
    return {**parameters, "x": x, "y": numpy.array([targets(network).numbers(list(row), widths[-1]) for row in x])}


def diagnose(function: Callable[..., Any], network: Network, rows: int = DRAWN_ROWS) -> Diagnosis:
    """What is wrong with a function that computes the network's gradient.

    It is called once, as `function(parameters, x, y)`: a dict of float64 arrays W1 (out x in), b1, ..., and points in
    rows, all drawn. It returns the gradients by these names, or in the order W1, b1, W2, ..., or a loss and then these.
    Raises ValueError or TypeError for anything else.
    """
    inputs = drawn_point(network, rows)
    doctor = Diagnostician(network, inputs)
    x, y = inputs.pop("x"), inputs.pop("y")
    parameters = inputs
    given = function({name: array.copy() for name, array in parameters.items()}, x.copy(), y.copy())
    return doctor.of_arrays(by_name(given, parameters))
