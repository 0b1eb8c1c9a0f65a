"""The loss seen through one weight: its curve and its tangent, whose slope is the gradient, and quotients beside it."""

import math
from contextlib import suppress

from numpy import finfo, ndarray
from sympy import MatrixSymbol

from derive.operations import evaluate
from derive.paper.blocks import Block, Bullets, Paragraph, Picture, Section
from derive.paper.figures import Figure
from derive.paper.indices import writer_of
from derive.paper.latex import rounded_latex
from derive.paper.plots import Touching, plot
from derive.paper.prose import prose
from derive.paper.worked import SHOWN_AS_DRAWN, Drawn, Shown, inputs_shown, largest_place, network_shown
from derive.problems import Network
from derive.programs import Derivation

REACH, HALF = 3, 15  # how far the weight moves to both sides, and in how many steps
WIDTHS = (1, 0.5, 0.2, 0.1, 0.05, 0.02)  # of difference quotients whose error is not of rounding
ROUNDING_POWER, NO_ERROR = -7, 1e-12  # powers of ten: an error so small is of rounding; and what is no error at all
PAST, MOST_DIGITS = 4, 12  # decades of h
LAST_DIGITS = 1e-13  # less than that, an error is of rounding, which is not the same on all machines


class OneWeight:
    """The entry of the first weights' gradient that is largest, and the loss as that weight moves."""

    def __init__(self, derivation: Derivation, inputs: Drawn) -> None:
        self.derivation, self.program, self.inputs = derivation, derivation.program, inputs
        self.weights: MatrixSymbol = self.program.weights[0]
        values = evaluate(derivation.equations, inputs)
        gradient: ndarray = values[derivation.gradients[self.weights]]
        self.place = largest_place(gradient)
        self.weight, self.slope = inputs[self.weights][self.place], gradient[self.place]
        self.loss = values[self.program.output].item()

    def at(self, move: float) -> tuple[float, float]:
        """The loss, and its derivative by the derivation, with the weight moved so far."""
        moved = self.inputs[self.weights].copy()
        moved[self.place] += move
        values = evaluate(self.derivation.equations, {**self.inputs, self.weights: moved})
        return values[self.program.output].item(), values[self.derivation.gradients[self.weights]][self.place]

    def error(self, h: float) -> float:
        """How far the difference quotient of so wide a step is from the gradient, relative to it."""
        return abs((self.at(h)[0] - self.at(-h)[0]) / (2 * h) - self.slope) / abs(self.slope)

    def complex_error(self, h: float) -> float | None:
        """The same of Im L(w + ih) / h; None where the loss is not made of functions of complex numbers."""
        moved = self.inputs[self.weights].astype(complex)
        moved[self.place] += 1j * h
        with suppress(ValueError, TypeError):
            loss = evaluate(self.program.equations, {**self.inputs, self.weights: moved})[self.program.output].item()
            return abs(loss.imag / h - self.slope) / abs(self.slope)
        return None


def weight_sections(network: Network, derivation: Derivation, shown: Shown = SHOWN_AS_DRAWN) -> list[Section]:
    """The section; none where a number in it is not finite, or the gradient is zero."""
    inputs = inputs_shown(derivation.program, network_shown(network, shown.own), shown.own)
    try:
        weight = OneWeight(derivation, inputs)
        if not weight.slope:
            return []
        drawn, errors = curve(weight), error_figures(weight)
    except ValueError:
        return []
    j, k = (index + 1 for index in weight.place)
    step = derivation.steps[derivation.gradients[weight.weights]]
    entry = writer_of(derivation.program, step).symbol(weight.weights.name, f"{j}", f"{k}")
    loss, slope = (rounded_latex(number, 4) for number in (weight.loss, weight.slope))
    note = prose("weight.note", weight=f"${entry}$", step=derivation.labels[step.target], loss=loss, slope=slope)
    check: list[Block] = [Paragraph(prose("weight.check")), *map(Picture, errors)]
    blocks: tuple[Block, ...] = (Paragraph(note), Picture(drawn), *check)
    close = Bullets(tuple(prose(f"weight.{key}") for key in ("step", "close", "complex")))
    return [Section("One weight, and how a gradient is checked", "check", (*blocks, close))]


def curve(weight: OneWeight) -> Figure:
    touching, w = [], weight.weight
    for count in range(-HALF, HALF + 1):
        move = REACH * count / HALF
        loss, slope = weight.at(move)
        touching.append(
            Touching(w + move, loss, slope, prose("weight.reading", w=f"{w + move:.2f}", **digits(loss, slope)))
        )
    points = [(touch.x, touch.y) for touch in touching]
    axes = (("w", "w"), ("L", "L"))
    return plot("weight", prose("weight.curve"), axes, [points], touching, HALF, prose("weight.slider"))


def digits(loss: float, slope: float) -> dict[str, str]:
    """As text; on pages a number is a formula."""
    return {"loss": f"{loss:.4g}", "slope": f"{slope:.4g}"}


def error_figures(weight: OneWeight) -> list[Figure]:
    """The error of quotients over h, and what rounding adds; none where the curve is straight, or a parabola."""
    measured = [(math.log10(h), math.log10(max(weight.error(h), NO_ERROR))) for h in WIDTHS]
    if min(error for _, error in measured) < ROUNDING_POWER:
        return []
    start, error = measured[-1]
    square = [(start - past, error - 2 * past) for past in range(1, PAST + 1)]
    unit = math.log10(finfo(float).eps * abs(weight.loss / weight.slope))
    rounding = [(h / 4, unit - h / 4) for h in range(-4 * MOST_DIGITS, 1)]
    axes = ((r"\log_{10} h", "log\u2081\u2080 h"), (r"\log_{10} \mathrm{error}", "log\u2081\u2080 error"))
    lines = [[*measured, *square], rounding]
    names = [(prose("weight.wide"), -1.0, -54), (prose("weight.rounding"), -10.0, 34)]
    steps = [-past / 2 for past in range(2 * MOST_DIGITS + 1)]
    errors = [weight.complex_error(10**step) for step in steps]
    complex_too = None not in errors
    if complex_too:
        logarithms = (round(math.log10(max(error or 0, LAST_DIGITS)), 1) for error in errors)
        lines.append(list(zip(steps, logarithms, strict=True)))
        names.append((prose("weight.complex_line"), -9.5, 0))
    caption = prose("weight.quotients", complex=f" {prose('weight.right')}" if complex_too else "")
    return [plot("quotients", caption, axes, lines, names=names)]
