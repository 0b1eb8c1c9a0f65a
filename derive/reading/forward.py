"""A network's forward pass as a straight-line program: its definitions, each read by the rules for any expression."""

from sympy import Expr

from derive.problems import N, Network, definitions
from derive.programs import NETWORK, Program, SymbolKind, needed
from derive.reading.reader import Reader


def forward(network: Network, mean_over: Expr = N) -> Program:
    """The equations from inputs to loss; a mean is over `mean_over` rows."""
    network_as = definitions(network, mean_over)
    read = Reader(NETWORK)
    read.inputs_of(network_as.given)
    for definition in network_as.definitions:
        read.definition(definition)
    biases = [symbol for symbol in network_as.parameters if NETWORK.kind(symbol.name) is SymbolKind.BIASES]
    gradients = [NETWORK.cotangent(b) for b in biases]
    rows = [*biases, *gradients, *map(NETWORK.tangent, [*biases, *gradients])]
    return Program(
        inputs=network_as.given,
        parameters=network_as.parameters,
        equations=needed(tuple(read.equations), [read.equations[-1].target]),
        notation=NETWORK,
        sizes=network_as.sizes,
        rows=frozenset(symbol.name for symbol in rows),
        prediction=network_as.prediction,
    )
