"""The whole computation in numbers, small enough for paper, with one entry to compute by hand."""

import math
import random
from dataclasses import replace

from numpy import array, ndarray
from sympy import MatAdd, MatMul, MatrixSymbol

from derive.operations import evaluate
from derive.paper.blocks import Block, Chain, Display, Listing, Paragraph, Row, Section, rows_of
from derive.paper.indices import entry_latex
from derive.paper.latex import latex
from derive.paper.prose import prose
from derive.problems import Network, targets
from derive.programs import Derivation, Equation, Kind, Program

Drawn = dict[MatrixSymbol, ndarray]
SAMPLES, SEED, DECIMALS, MOST_DECIMALS, NUDGE = 3, 127, 4, 10, 0.001
WIDEST = 4  # units of a layer that fit beside each other, with all their numbers
WIDEST_OF_DEEP, DEEP = 2, 4  # the same where there are so many layers, whose numbers would fill pages


def numbers_sections(network: Network, derivation: Derivation) -> list[Section]:
    """The whole computation for a few points, every number shown; of wide layers, for narrow ones like them."""
    small, note = network, ""
    widest = WIDEST_OF_DEEP if network.depth >= DEEP else WIDEST
    if any(width > widest for width in network.layers):
        layers = tuple(min(width, widest) for width in network.layers)
        small = replace(network, layers=layers)
        sizes = "-".join(map(str, layers))
        note = " " + prose("numbers.narrow", widest=widest, sizes=sizes)
    program = derivation.program
    inputs = drawn_inputs(program, small)
    heading = f"Worked numbers for {SAMPLES} points"
    try:
        values = evaluate(derivation.equations, inputs)
    except ValueError as error:
        return [Section(heading, "numbers", (Paragraph(prose("numbers.missing", error=error)),))]
    draw = (
        f"draw = random.Random({SEED})\n"
        "# W1, b1, W2, ... row by row; fan_in is what enters the layer\n"
        "entry = round(draw.uniform(-1, 1) / math.sqrt(fan_in), 2)\n"
        "# then x, row by row\n"
        "entry = round(draw.random(), 2)"
    )
    given = tuple(given_row(program, symbol, values) for symbol in inputs)
    numbers = {e.target.name: f"F{i}" for i, e in enumerate(program.equations, 1)}
    numbers |= {e.target.name: f"B{i}" for i, e in enumerate(derivation.backward, 1)}

    def rows(equations: tuple[Equation, ...]) -> tuple[Row, ...]:
        targets = [e.target for e in equations]
        return tuple(
            Row(latex(program, t), matrix_latex(values[t], decimals(values[t])), numbers[t.name], "") for t in targets
        )

    return [
        Section(
            heading,
            "numbers",
            (
                Paragraph(prose("numbers.drawn", narrow=note, seed=SEED)),
                Listing(draw),
                Paragraph(prose("numbers.decimals", targets=targets(small).words, decimals=DECIMALS)),
                Chain(given),
                Paragraph("The forward pass:"),
                Chain(rows(program.equations)),
                Paragraph("The backward pass:"),
                Chain(rows(derivation.backward)),
                *by_hand(derivation, inputs, values),
            ),
        )
    ]


def given_row(program: Program, symbol: MatrixSymbol, values: Drawn) -> Row:
    target = program.notation.kind(symbol.name) is Kind.TARGETS
    text = matrix_latex(values[symbol], DECIMALS if target else 2)
    return Row(latex(program, symbol), text, "the targets" if target else "drawn", "")


def drawn_inputs(program: Program, network: Network) -> Drawn:
    """Parameters, inputs and targets for a few points; the same on every machine."""
    draw = random.Random(SEED)
    X, Y = program.data
    sizes = dict(zip((X.shape[1], *(b.shape[1] for b in program.biases)), network.layers, strict=True))
    inputs: Drawn = {}
    for symbol in program.parameters:
        rows, columns = (int(size.xreplace(sizes)) for size in symbol.shape)
        layer = program.notation.layer(symbol.name)
        scale = math.sqrt(network.layers[layer - 1])
        inputs[symbol] = array([[round(draw.uniform(-1, 1) / scale, 2) for _ in range(columns)] for _ in range(rows)])
    x = [[round(draw.random(), 2) for _ in range(network.layers[0])] for _ in range(SAMPLES)]
    y = [targets(network).numbers(row, network.layers[-1]) for row in x]
    return {X: array(x), Y: array(y), **inputs}


def by_hand(
    derivation: Derivation, inputs: dict[MatrixSymbol, ndarray], values: dict[MatrixSymbol, ndarray]
) -> list[Block]:
    """The largest entry of the last weights' gradient as a sum to type into a calculator, and a check of it.

    Of entries that differ by rounding alone, and so by machine, it is the first.
    """
    program = derivation.program
    weights = program.weights[-1]
    step = next(e for e in derivation.backward if e.variable == weights)
    formula = entry_latex(program, step)
    product = next((term for term in MatAdd.make_args(step.value) if isinstance(term, MatMul)), None)
    if formula is None or product is None or len(product.atoms(MatrixSymbol)) < 2:
        return []
    delta, right = product.args[-2:]
    gradient = values[step.target]
    sizes = [(round(abs(value), 12), -j, -k) for j, row in enumerate(gradient) for k, value in enumerate(row)]
    _, j, k = max(sizes)
    j, k = -j, -k
    pairs = [(a[j], b[k]) for a, b in zip(values[delta.arg], values[right], strict=True)]
    products = [rf"({decimal(a, 6)}) \cdot ({decimal(b, 6)})" for a, b in pairs]
    for other in [term for term in MatAdd.make_args(step.value) if term != product]:
        (value,) = evaluate([replace(step, value=other)], values)[step.target][j, k : k + 1]
        products.append(f"({decimal(value, 6)})")
    losses = []
    for move in (NUDGE, -NUDGE):
        moved = inputs[weights].copy()
        moved[j, k] += move
        losses.append(evaluate(program.equations, {**inputs, weights: moved})[program.output].item())
    slope = (losses[0] - losses[1]) / (2 * NUDGE)
    digits = DECIMALS + 2
    left_hand = formula.split(" = ")[0].replace("j,k", f"{j + 1},{k + 1}")
    return [
        Paragraph(prose("numbers.hand", step=f"B{1 + derivation.backward.index(step)}")),
        Chain((*rows_of(left_hand, " + ".join(products), "", ""), Row("", decimal(gradient[j][k]), "", ""))),
        Paragraph(prose("numbers.quotient", nudge=NUDGE)),
        Display(
            rf"\frac{{{losses[0]:.{digits + 3}f} - {losses[1]:.{digits + 3}f}}}{{2 \cdot {NUDGE}}} = {decimal(slope)}"
        ),
        Paragraph(prose("numbers.autograd")),
    ]


def decimal(value: float, digits: int = DECIMALS) -> str:
    """A number to a few decimals; minus zero is zero."""
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def decimals(rows: ndarray) -> int:
    """As many as show so many digits of the largest entry, where that is below 1."""
    largest = max(abs(value) for row in rows for value in row)
    return min(MOST_DECIMALS, DECIMALS - 1 - math.floor(math.log10(largest))) if 0 < largest < 0.1 else DECIMALS


def matrix_latex(rows: ndarray, digits: int = DECIMALS) -> str:
    """A matrix of numbers; a single number stands alone."""
    if len(rows) == len(rows[0]) == 1:
        return decimal(rows[0][0], digits)
    body = r" \\ ".join(" & ".join(decimal(value, digits) for value in row) for row in rows)
    return rf"\begin{{bmatrix}} {body} \end{{bmatrix}}"
