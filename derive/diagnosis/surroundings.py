"""What stands beside an equation of a network's derivation: what has the same shape, belongs to its layer, is known."""

from collections.abc import Iterable

from numpy import ndarray
from sympy import MatrixSymbol

from derive.operations import lower
from derive.problems import Network
from derive.programs import Derivation, SymbolKind


class Surroundings:
    """A network's derivation, where its symbols have the shapes of these values."""

    def __init__(self, network: Network, derivation: Derivation, values: dict[MatrixSymbol, ndarray]) -> None:
        self.network, self.derivation = network, derivation
        self.program = derivation.program
        self.shapes = {symbol: array.shape for symbol, array in values.items()}
        self.equations = derivation.equations
        self.equation_of = {equation.target: index for index, equation in enumerate(self.equations)}
        self.operations = [lower(equation.value) for equation in self.equations]
        self.gradients = set(derivation.gradients.values())
        self.weights = set(self.program.weights)
        self.of_weights = {derivation.gradients[W] for W in self.weights}
        backward = [equation.target for equation in derivation.backward]
        self.cotangents = [symbol for symbol in backward if symbol not in self.gradients]
        forward, _ = self.program.predicting()
        self.forward = [equation.target for equation in forward]
        self.data = [*self.program.data, *self.forward]

    def code(self, symbol: MatrixSymbol) -> str:
        return self.program.notation.torch(symbol.name)

    def kind(self, symbol: MatrixSymbol) -> SymbolKind:
        return self.program.notation.kind(symbol.name)

    def layer(self, symbol: MatrixSymbol) -> int:
        """The layer of a pre-activation, an activation or an error; 0 for what has none."""
        return self.program.notation.layer(symbol.name)

    def like(self, symbol: MatrixSymbol, among: Iterable[MatrixSymbol]) -> list[MatrixSymbol]:
        """The others that have the same shape here."""
        shape = self.shapes[symbol]
        return [other for other in among if other != symbol and self.shapes.get(other) == shape]

    def of_layer(self, layer: int) -> tuple[MatrixSymbol, MatrixSymbol]:
        """Pre-activation and activation of a layer; the same where it has no activation of its own."""
        own = {self.kind(symbol): symbol for symbol in self.forward if self.layer(symbol) == layer}
        pre = own[SymbolKind.PRE_ACTIVATION]
        return pre, own.get(SymbolKind.ACTIVATION, pre)

    def layers_like(self, layer: int) -> list[int]:
        """The other layers that are as wide."""
        widths = self.network.layers
        return [n for n in range(1, self.network.depth + 1) if n != layer and widths[n] == widths[layer]]
