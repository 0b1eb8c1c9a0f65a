"""A network as named definitions in SymPy's words, one under another, the loss last: what is read like any expression.

Sizes stay symbols: at size 1 SymPy folds OneMatrix(1, 1) away.
"""

from dataclasses import dataclass

from sympy import Expr, Integer, MatAdd, MatMul, MatrixExpr, MatrixSymbol, OneMatrix, Symbol

from derive.formulas import OfRow, logsumexp, p, stable, w, y, z
from derive.problems.network import Network
from derive.programs import NETWORK, RowLogSumExp, RowMax, elementwise, entry, repeated

N = Symbol("N", integer=True, positive=True)


@dataclass(frozen=True)
class Definition:
    """target = value, and in words why."""

    target: MatrixSymbol
    value: MatrixExpr
    rule: str


@dataclass(frozen=True)
class Definitions:
    """What is given, X and Y first; the parameters among it; what is defined; sizes that are numbers."""

    given: tuple[MatrixSymbol, ...]
    parameters: tuple[MatrixSymbol, ...]
    definitions: tuple[Definition, ...]
    prediction: MatrixSymbol
    sizes: dict[Symbol, Integer]


def definitions(network: Network, mean_over: Expr = N) -> Definitions:
    """An affine map and an activation a layer, the loss of each entry, the penalty of each weight, their sum.

    What skips layers is added to the affine map. A mean is over `mean_over` rows; over 1, the loss is the sum of the
    losses that each row has by itself. Layers that are added are of one size.
    """
    sizes = [Symbol(f"n{layer}", integer=True, positive=True) for layer in network.as_wide()]
    X, Y = MatrixSymbol(NETWORK.numbered("X"), N, sizes[0]), MatrixSymbol(NETWORK.numbered("Y"), N, sizes[-1])
    parameters: list[MatrixSymbol] = []
    weights: list[MatrixSymbol] = []
    made: list[Definition] = []

    def define(stem: str, value: MatrixExpr, rule: str, layer: int | None = None) -> MatrixSymbol:
        made.append(Definition(MatrixSymbol(NETWORK.numbered(stem, layer), *value.shape), value, rule))
        return made[-1].target

    A, handed_on = X, [X]
    for layer in range(1, network.depth + 1):
        W = MatrixSymbol(NETWORK.numbered("W", layer), sizes[layer], sizes[layer - 1])
        parameters.append(W)
        weights.append(W)
        terms, words = [A * W.T], "linear map"
        if network.has_biases(layer):
            b = MatrixSymbol(NETWORK.numbered("b", layer), 1, sizes[layer])
            parameters.append(b)
            terms, words = [*terms, OneMatrix(N, 1) * b], "affine map"
        if skipping := [handed_on[start] for start in network.skipped_to(layer)]:
            terms, words = [*terms, *skipping], f"{words}, plus what skips to layer {layer}"
        A = define("Z", MatAdd(*terms) if len(terms) > 1 else terms[0], words, layer)
        activation = network.function(layer)
        if stable(activation) != z:
            rule = f"`{network.activation_of(layer)}`, entry by entry"
            A = define("A", formula_at_entries(activation, {z: A}), rule, layer)
        handed_on.append(A)

    loss, operands = network.criterion(), {p: A, y: Y}
    E = define("E", formula_at_entries(loss.formula, operands), f"`{network.loss}`, entry by entry")
    total, words = sum_of(E), f"{network.reduction} of the entries"
    if network.divided_by == "points":
        total, words = total / mean_over, "sum of the entries, divided by the number of points"
    elif network.divided_by == "entries":
        total = total / (mean_over * sizes[-1])
    if network.penalty:
        each, rule = network.weight_penalty(), f"`{network.penalty}`, entry by entry"
        penalties = [define("R", formula_at_entries(each, {w: W}), rule, layer) for layer, W in enumerate(weights, 1)]
        total, words = MatAdd(total, *map(sum_of, penalties)), f"{words}, plus the penalty of every weight"
    define("L", total, words)
    numbers = dict(zip(sizes, map(Integer, network.layers), strict=True))
    return Definitions((X, Y, *parameters), tuple(parameters), tuple(made), A, numbers)


def formula_at_entries(formula: Expr, operands: dict[Symbol, MatrixSymbol]) -> MatrixExpr:
    """A formula at each entry; what is taken of a row runs over the rows."""
    over = {entry(matrix): matrix for matrix in operands.values()}
    formula = formula.xreplace({symbol: entry(matrix) for symbol, matrix in operands.items()})
    shape = next(iter(operands.values())).shape
    for coupled in sorted(formula.atoms(OfRow), key=str):
        node = RowLogSumExp if isinstance(coupled, logsumexp) else RowMax
        of_row = repeated(node(elementwise(coupled.args[0], over)), shape)
        over[entry(of_row)] = of_row
        formula = formula.xreplace({coupled: entry(of_row)})
    return elementwise(formula, over)


def sum_of(matrix: MatrixSymbol) -> MatrixExpr:
    rows, columns = matrix.shape
    return MatMul(OneMatrix(1, rows), matrix, OneMatrix(columns, 1))
