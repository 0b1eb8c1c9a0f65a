"""A network's forward pass as a straight-line program.

Sizes stay symbols: at size 1 SymPy folds OneMatrix(1, 1) away.
"""

from sympy import Integer, MatMul, MatrixSymbol, OneMatrix, Symbol

from derive.functions import FUNCTIONS, z
from derive.losses import LOSSES, p, y
from derive.network import Network
from derive.notation import NETWORK
from derive.program import Equation, Program, elementwise, entry

N = Symbol("N", integer=True, positive=True)


def forward(network: Network) -> Program:
    """The equations from inputs to loss: an affine map and an activation a layer, the loss of each entry, their sum."""
    sizes = [Symbol(f"n{layer}", integer=True, positive=True) for layer in range(network.depth + 1)]
    X, Y = MatrixSymbol("X", N, sizes[0]), MatrixSymbol("Y", N, sizes[-1])
    parameters: list[MatrixSymbol] = []
    equations: list[Equation] = []

    def define(name, value, rule) -> MatrixSymbol:
        target = MatrixSymbol(name, *value.shape)
        equations.append(Equation(target, value, rule, NETWORK.meaning(name)))
        return target

    A = X
    for layer in range(1, network.depth + 1):
        W = MatrixSymbol(f"W{layer}", sizes[layer], sizes[layer - 1])
        b = MatrixSymbol(f"b{layer}", 1, sizes[layer])
        parameters += [W, b]
        A = define(f"Z{layer}", A * W.T + OneMatrix(N, 1) * b, "affine map")
        name = network.output_activation if layer == network.depth else network.activation
        if name != "identity":
            activation = FUNCTIONS[name].xreplace({z: entry(A)})
            A = define(f"A{layer}", elementwise(activation, {entry(A): A}), f"{name}, entry by entry")

    formula = LOSSES[network.loss].xreplace({p: entry(A), y: entry(Y)})
    E = define("E", elementwise(formula, {entry(A): A, entry(Y): Y}), f"{network.loss}, entry by entry")
    total = MatMul(OneMatrix(1, N), E, OneMatrix(sizes[-1], 1))
    if network.reduction == "mean":
        total = total / (N * sizes[-1])
    define("L", total, f"{network.reduction} of the entries")
    return Program(
        inputs=(X, Y, *parameters),
        parameters=tuple(parameters),
        equations=tuple(equations),
        notation=NETWORK,
        sizes=dict(zip(sizes, map(Integer, network.layers), strict=True)),
        rows=frozenset(f"{prefix}b{layer}" for prefix in ("", "grad_") for layer in range(1, network.depth + 1)),
    )
