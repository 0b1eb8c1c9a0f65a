"""The whole computation in numbers, small enough for paper, with one entry to compute by hand."""

import math
import random
from dataclasses import dataclass, field, replace
from functools import partial

from numpy import array, maximum, ndarray, ndindex, where
from numpy.random import default_rng
from sympy import Integer, MatrixSymbol

from derive.operations import NamedMatrix, Numbers, Product, Sum, Transposed, evaluate, in_last_place, lower
from derive.paper.blocks import Block, Chain, Display, Listing, Paragraph, Row, Section, Values, broken_rows, enumerated
from derive.paper.indices import writer_of
from derive.paper.latex import latex, rounded_latex, symbol_in_line
from derive.paper.prose import prose
from derive.problems import Network, targets
from derive.programs import Derivation, Equation, Program, SymbolKind, Symmetric
from derive.system import LAYOUTS, Given

Drawn = dict[MatrixSymbol, ndarray]
SAMPLES, SAMPLES_OF_DEEP, SEED, DECIMALS, MOST_DECIMALS, NUDGE = 3, 1, 127, 4, 10, 0.001
MOST_INPUTS_DRAWN = 80  # entries of an expression's inputs
DRAWS = 20  # of which the first with finite values is taken
LEFT_BY_ROUNDING, NUDGES = 1e-12, 8  # of the largest number, and how often numbers are moved in their last place
LEAST_POWER = -3  # of the largest entry of a matrix, so that decimals show it without a row of zeros
WIDEST = 4  # units of a layer that fit beside each other, with all their numbers
WIDEST_OF_DEEP, DEEP = 2, 4  # the same where there are so many layers, whose numbers would fill pages


@dataclass(frozen=True)
class Shown:
    """Numbers of a reader's own, where there are any, and to how many decimals numbers are shown."""

    own: Given = field(default_factory=Given)
    decimals: int = DECIMALS


SHOWN_AS_DRAWN = Shown()


def numbers_sections(network: Network, derivation: Derivation, shown: Shown = SHOWN_AS_DRAWN) -> list[Section]:
    """The whole computation for a few points, every number shown; of wide layers, for narrow ones like them.

    A reader's own numbers are shown for the network as it is.
    """
    own, small = shown.own.values, network_shown(network, shown.own)
    note = ""
    if small != network:
        sizes = "-".join(map(str, small.layers))
        note = " " + prose("numbers.narrow", widest=max(small.layers), sizes=sizes)
    program = derivation.program
    inputs = inputs_shown(program, small, shown.own)
    points = len(inputs[program.data[0]])
    heading = f"Worked numbers for {points} point{'s' * (points != 1)}"
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
    turned = " " + prose("numbers.turned") if shown.own.layout == LAYOUTS[1] else ""
    given = tuple(given_row(program, symbol, values, shown) for symbol in inputs)
    labels = derivation.labels

    def rows(equations: tuple[Equation, ...]) -> tuple[Row, ...]:
        text = {e.target: significant_latex(values[e.target], shown.decimals) for e in equations}
        return tuple(Row(symbol_in_line(program, target), text[target], labels[target], "") for target in text)

    return [
        Section(
            heading,
            "numbers",
            (
                *([Paragraph(prose("numbers.given", turned=turned))] if own else []),
                *([] if len(own) == len(inputs) else [Paragraph(prose("numbers.drawn", narrow=note, seed=SEED))]),
                *([] if len(own) == len(inputs) else [Listing(draw)]),
                Paragraph(
                    prose(
                        "numbers.decimals",
                        targets="" if "y" in own else f"{targets(small).words} ",
                        decimals=shown.decimals,
                    )
                ),
                Values(given),
                Paragraph("The forward pass:"),
                Values(rows(program.equations)),
                Paragraph("The backward pass:"),
                Values(rows(derivation.backward)),
                *by_hand(derivation, inputs, values, shown.decimals),
            ),
        )
    ]


def expression_numbers(derivation: Derivation) -> list[Section]:
    """The computation of an expression in numbers, with small sizes; none where no draw has finite values."""
    program = derivation.program
    free = sorted({size for s in program.inputs for size in s.shape if size.free_symbols}, key=str)
    sizes = {size: Integer(2 + place % 2) for place, size in enumerate(free)}
    shapes = {s: tuple(int(size.xreplace(sizes).xreplace(program.sizes)) for size in s.shape) for s in program.inputs}
    if sum(rows * columns for rows, columns in shapes.values()) > MOST_INPUTS_DRAWN:
        return []
    for seed in range(SEED, SEED + DRAWS):
        draw = random.Random(seed)
        inputs = {
            s: array([[round(draw.uniform(-1, 1), 2) for _ in range(n)] for _ in range(m)])
            for s, (m, n) in shapes.items()
        }
        inputs = {s: (a + a.T) / 2 if isinstance(s, Symmetric) else a for s, a in inputs.items()}
        try:
            values = evaluate(derivation.equations, inputs)
        except ValueError:
            continue
        names = {**dict.fromkeys(inputs, "drawn"), **derivation.labels}
        kept = without_rounding(derivation, inputs, values)
        text = {s: significant_latex(kept[s], 2 if s in inputs else DECIMALS) for s in names}
        rows = tuple(Row(symbol_in_line(program, s), text[s], why, "") for s, why in names.items())
        small = enumerated([f"${size} = {number}$" for size, number in sizes.items()], "and") if sizes else ""
        note = prose("numbers.expression", seed=seed, sizes=prose("numbers.sizes", sizes=small) if sizes else "")
        note += " " + prose("numbers.rounded") if any((kept[s] != values[s]).any() for s in names) else ""
        return [Section("Worked numbers", "numbers", (Paragraph(note), Values(rows)))]
    return []


def without_rounding(derivation: Derivation, inputs: Drawn, values: Drawn) -> Drawn:
    """With 0 for numbers that are small and move by as much as they are where all others move in their last place."""
    draw = default_rng(SEED)
    least = LEFT_BY_ROUNDING * max(abs(value).max() for value in values.values())

    moved = partial(in_last_place, draw=draw)
    off = {s: 0 * value for s, value in values.items()}
    for _ in range(NUDGES):
        there = evaluate(derivation.equations, {s: moved(a) for s, a in inputs.items()}, False, moved)
        off = {s: maximum(one, abs(there[s] - values[s])) for s, one in off.items()}
    return {s: where((abs(v) < least) & (abs(v) < NUDGES * off[s]), 0.0, v) for s, v in values.items()}


def network_shown(network: Network, own: Given) -> Network:
    """The network, with layers so narrow that all numbers have room; as it is where they are a reader's own."""
    widest = WIDEST_OF_DEEP if network.depth >= DEEP else WIDEST
    if own.values or max(network.layers) <= widest:
        return network
    return replace(network, layers=tuple(min(width, widest) for width in network.layers))


def given_row(program: Program, symbol: MatrixSymbol, values: Drawn, shown: Shown) -> Row:
    target = program.notation.kind(symbol.name) is SymbolKind.TARGETS
    if program.notation.torch(symbol.name) in shown.own.values:
        text, why = matrix_latex(values[symbol], places(values[symbol], shown.decimals)), "given"
    else:
        text, why = matrix_latex(values[symbol], shown.decimals if target else 2), "the targets" if target else "drawn"
    return Row(latex(program, symbol), text, why, "")


def inputs_shown(program: Program, network: Network, own: Given) -> Drawn:
    """What is given, and what is not as it is drawn; targets that are not given are those of given points."""
    given = {program.notation.torch(symbol.name): symbol for symbol in program.inputs}
    X, Y = program.data
    drawn = SAMPLES_OF_DEEP if network.depth >= DEEP else SAMPLES
    rows = len(own.values.get("x", own.values.get("y", ()))) or drawn
    inputs = drawn_inputs(program, network, rows)
    for name, values in own.values.items():
        inputs[given[name]] = array(values, float).reshape(inputs[given[name]].shape)
    if "y" not in own.values:
        inputs[Y] = array([targets(network).numbers(row, network.layers[-1]) for row in inputs[X].tolist()])
    return inputs


def drawn_inputs(program: Program, network: Network, samples: int) -> Drawn:
    """Parameters, inputs and targets for a few points; the same on every machine."""
    draw = random.Random(SEED)
    X, Y = program.data
    sizes = dict(zip((X.shape[1], *(W.shape[0] for W in program.weights)), network.layers, strict=True))
    inputs: Drawn = {}
    for symbol in program.parameters:
        rows, columns = (int(size.xreplace(sizes)) for size in symbol.shape)
        layer = program.notation.layer(symbol.name)
        scale = math.sqrt(network.layers[layer - 1])
        inputs[symbol] = array([[round(draw.uniform(-1, 1) / scale, 2) for _ in range(columns)] for _ in range(rows)])
    x = [[round(draw.random(), 2) for _ in range(network.layers[0])] for _ in range(samples)]
    y = [targets(network).numbers(row, network.layers[-1]) for row in x]
    return {X: array(x), Y: array(y), **inputs}


def by_hand(
    derivation: Derivation, inputs: dict[MatrixSymbol, ndarray], values: dict[MatrixSymbol, ndarray], shown: int
) -> list[Block]:
    """The largest entry of the last weights' gradient as a sum to type into a calculator, and a check of it."""
    program = derivation.program
    weights = program.weights[-1]
    step = derivation.steps[derivation.gradients[weights]]
    operation = lower(step.value)
    terms = operation.terms if isinstance(operation, Sum) else (operation,)
    match next((term for term in terms if isinstance(term, Product)), None):
        case Product(factors=(Transposed(of=NamedMatrix(symbol=delta)), NamedMatrix(symbol=right))) as product:
            others = [Numbers(values).of(term) for term in terms if term != product]
        case _:
            return []
    gradient = values[step.target]
    j, k = largest_place(gradient)
    pairs = [(a[j], b[k]) for a, b in zip(values[delta], values[right], strict=True)]
    products = [rf"{factor_text(a, shown + 2)} \cdot {factor_text(b, shown + 2)}" for a, b in pairs]
    products += [factor_text(other[j, k], shown + 2) for other in others]
    losses = []
    for move in (NUDGE, -NUDGE):
        moved = inputs[weights].copy()
        moved[j, k] += move
        losses.append(evaluate(program.equations, {**inputs, weights: moved})[program.output].item())
    slope = (losses[0] - losses[1]) / (2 * NUDGE)
    result, slope_text = (significant_latex(array([[number]]), shown) for number in (gradient[j, k], slope))
    power = math.floor(math.log10(abs(slope))) if slope else 0
    above, below = (f"{loss:.{shown + 5 - min(power, 0)}f}" for loss in losses)
    below = f"({below})" if losses[1] < 0 else below
    left_hand = writer_of(program, step).symbol(step.target.name, f"{j + 1}", f"{k + 1}")
    return [
        Paragraph(prose("numbers.hand", step=derivation.labels[step.target])),
        Chain((*broken_rows(left_hand, " + ".join(products), "", ""), Row("", result, "", ""))),
        Paragraph(prose("numbers.quotient", nudge=NUDGE)),
        Display(rf"\frac{{{above} - {below}}}{{2 \cdot {NUDGE}}} = {slope_text}"),
        Paragraph(prose("numbers.autograd")),
    ]


def largest_place(gradient: ndarray) -> tuple[int, int]:
    """Where the largest entry is; of those that differ by rounding alone, and so by machine, the first."""
    return max(ndindex(*gradient.shape), key=lambda place: round(float(abs(gradient[place])), 12))


def decimal_text(value: float, digits: int = DECIMALS) -> str:
    """A number to a few decimals; minus zero is zero."""
    return f"{value:z.{digits}f}"


def factor_text(value: float, digits: int) -> str:
    """A number in a product or a sum, to so many significant digits; in brackets where it begins with a minus."""
    text = rounded_latex(value, digits)
    return f"({text})" if value < 0 else text


def significant_latex(rows: ndarray, digits: int) -> str:
    """A matrix with so many digits of its largest entry, where that is below 0.1; if below 0.001, by a power of ten."""
    largest = max(abs(value) for row in rows for value in row)
    if not 0 < largest < 0.1:
        return matrix_latex(rows, digits)
    power = math.floor(math.log10(largest))
    if power >= LEAST_POWER:
        return matrix_latex(rows, max(digits, min(MOST_DECIMALS, digits - 1 - power)))
    text, times = matrix_latex(rows * 10.0**-power, digits - 1), f"10^{{{power}}}"
    return rf"{text} \cdot {times}" if rows.size == 1 else rf"{times} \, {text}"


def places(rows: ndarray, most: int) -> int:
    """As many decimals as these numbers have, up to so many."""
    values = rows.ravel().tolist()
    return next(n for n in range(most + 1) if all(round(value, n) == round(value, most) for value in values))


def matrix_latex(rows: ndarray, digits: int = DECIMALS) -> str:
    """A matrix of numbers; a single number stands alone."""
    if len(rows) == len(rows[0]) == 1:
        return decimal_text(rows[0][0], digits)
    body = r" \\ ".join(" & ".join(decimal_text(value, digits) if value else "0" for value in row) for row in rows)
    return rf"\begin{{bmatrix}} {body} \end{{bmatrix}}"
