"""A network's forward pass as a straight-line program.

Sizes stay symbols: at size 1 SymPy folds OneMatrix(1, 1) away.
"""

from collections.abc import Callable

from sympy import Expr, Integer, MatAdd, MatMul, MatrixExpr, MatrixSymbol, OneMatrix, Symbol

from derive.formulas import apart, logsumexp, p, stable, w, y, z
from derive.problems import Network
from derive.programs import NETWORK, Equation, Program, RowLogSumExp, RowMax, elementwise, entry

N = Symbol("N", integer=True, positive=True)


def forward(network: Network, mean_over: Expr = N) -> Program:
    """The equations from inputs to loss: an affine map and an activation a layer, the loss of each entry, their sum.

    What skips layers is added to the affine map, and the penalty of each weight to the sum. A mean is over `mean_over`
    rows; over 1, the loss is the sum of the losses that each row has by itself. Layers that are added are of one size.
    """
    sizes = [Symbol(f"n{layer}", integer=True, positive=True) for layer in network.as_wide()]
    X, Y = MatrixSymbol("X", N, sizes[0]), MatrixSymbol("Y", N, sizes[-1])
    parameters: list[MatrixSymbol] = []
    equations: list[Equation] = []

    def define(name: str, value: MatrixExpr, rule: str) -> MatrixSymbol:
        target = MatrixSymbol(name, *value.shape)
        equations.append(Equation(target, value, rule, NETWORK.meaning(name)))
        return target

    A, handed_on = X, [X]
    for layer in range(1, network.depth + 1):
        W = MatrixSymbol(f"W{layer}", sizes[layer], sizes[layer - 1])
        b = MatrixSymbol(f"b{layer}", 1, sizes[layer])
        parameters += [W, b]
        skipping = [handed_on[start] for start in network.skipped_to(layer)]
        words = f"affine map, plus what skips to layer {layer}" if skipping else "affine map"
        A = define(f"Z{layer}", MatAdd(A * W.T, OneMatrix(N, 1) * b, *skipping).doit(deep=False), words)
        activation = stable(network.function(layer))
        if activation != z:
            activation = activation.xreplace({z: entry(A)})
            rule = f"`{network.activation_of(layer)}`, entry by entry"
            A = define(f"A{layer}", elementwise(activation, {entry(A): A}), rule)
        handed_on.append(A)

    loss = network.criterion()
    formula, operands = stable(loss.formula), {entry(A): A, entry(Y): Y}
    for index, coupled in enumerate(sorted(formula.atoms(logsumexp), key=str), 1):
        C, U, M = couple(coupled.args[0], A, Y, index, define)
        formula = apart(formula, coupled, coupled.args[0], entry(U), entry(M))
        formula = formula.xreplace({coupled: entry(C) + entry(M)})
        ones = OneMatrix(1, sizes[-1])
        operands |= {entry(U): U, entry(C): C * ones, entry(M): M * ones}
    formula = formula.xreplace({p: entry(A), y: entry(Y)})
    E = define("E", elementwise(formula, operands), f"`{network.loss}`, entry by entry")
    total = MatMul(OneMatrix(1, N), E, OneMatrix(sizes[-1], 1))
    words = f"{network.reduction} of the entries"
    if network.reduction == "mean":
        total = total / (mean_over if loss.per_row else mean_over * sizes[-1])
        words = "sum of the entries, divided by the number of points" if loss.per_row else words
    penalty = stable(network.weight_penalty())
    penalties = []
    for layer, W in enumerate(parameters[::2] if penalty != 0 else (), 1):
        each = elementwise(penalty.xreplace({w: entry(W)}), {entry(W): W})
        penalties.append(define(f"R{layer}", each, f"`{network.penalty}`, entry by entry"))
    if penalties:
        total = MatAdd(total, *(MatMul(OneMatrix(1, R.shape[0]), R, OneMatrix(R.shape[1], 1)) for R in penalties))
        words += ", plus the penalty of every weight"
    biases = parameters[1::2]
    gradients = [NETWORK.cotangent(b) for b in biases]
    rows = [*biases, *gradients, *map(NETWORK.tangent, [*biases, *gradients])]
    define("L", total, words)
    return Program(
        inputs=(X, Y, *parameters),
        parameters=tuple(parameters),
        equations=tuple(equations),
        notation=NETWORK,
        sizes=dict(zip(sizes, map(Integer, network.layers), strict=True)),
        rows=frozenset(symbol.name for symbol in rows),
        prediction=A,
    )


def couple(
    argument: Expr, A: MatrixSymbol, Y: MatrixSymbol, index: int, define: Callable[[str, MatrixExpr, str], MatrixSymbol]
) -> tuple[MatrixSymbol, MatrixSymbol, MatrixSymbol]:
    """Of a formula of the prediction and the target: the largest of each row, what is less by that, its logsumexp."""
    matrix = A
    if argument != p:
        formula = stable(argument).xreplace({p: entry(A), y: entry(Y)})
        matrix = define(f"Q{index}", elementwise(formula, {entry(A): A, entry(Y): Y}), "entry by entry")
    C = define(f"C{index}", RowMax(matrix), "largest entry of the row")
    shifted = {entry(matrix): matrix, entry(C): C * OneMatrix(1, matrix.shape[1])}
    U = define(f"U{index}", elementwise(entry(matrix) - entry(C), shifted), "a number less for each row")
    return C, U, define(f"M{index}", RowLogSumExp(U), "logsumexp over the row")
