"""Where a formula that somebody typed loses its digits, however it is written: found at points, to warn of it."""

from collections.abc import Callable, Iterator
from math import inf, isfinite

import mpmath
import numpy
from sympy import DiracDelta, Expr, Integer, Symbol, diff, lambdify

from derive.calculus import derive, hvp
from derive.formulas import FUNCTIONS, LOSSES, OfRow, opened, p, shown, y, z
from derive.operations import bias_gradient, evaluate
from derive.problems import Network
from derive.reading import forward

POINT_SIZES = (1e-8, 1e-4, 1.0, 5.0, 15.0, 40.0, 120.0, 800.0)
DIGIT_POINTS = tuple(sign * size for size in POINT_SIZES for sign in (1, -1))
POINT_TARGETS = 0.0, 0.25, 1.0, -1.5
MOST_LOST = 1e-8  # of a result, beyond what rounding of its argument makes of it: half of the digits
MOST_EXPONENT = 10_000
NEGLIGIBLE = 1e-12  # beside the largest that it is nearer to 0: 1 - sigmoid(z), say, which for torch, too, is 0 at 40
SMALLEST, LARGEST = 1e-290, 1e150  # of results that are judged
RESULTS = "value", "derivative", "second derivative"


def lost_digits(network: Network) -> list[str]:
    """A line for each formula of the network that is in no table and loses more than half of the digits somewhere."""
    found: dict[tuple[str, str], tuple[Network, Expr, tuple[Symbol, ...]]] = {}
    for layer in range(1, network.depth + 1):
        text, field = network.activation_of(layer), "output_activation" if layer == network.depth else "activation"
        if text not in FUNCTIONS:
            alone = Network((1, 1), output_activation=text, loss="p*y")
            found[field, text] = alone, network.function(layer), (z,)
    formula = network.criterion().formula
    if network.loss not in LOSSES and not formula.has(OfRow):
        found["loss", network.loss] = Network((1, 1), loss=network.loss), formula, (p, y)
    return [
        f"{field}: {shown(text)} {worst}"
        for (field, text), (alone, formula, variables) in found.items()
        if (worst := max(lost(alone, formula, variables), default=(0.0, ""))[1])
    ]


def lost(network: Network, formula: Expr, variables: tuple[Symbol, ...]) -> Iterator[tuple[float, str]]:
    """How much is wrong, and in words, for each point and result that is."""
    truths = derivatives(opened(formula), variables)
    for target in POINT_TARGETS if len(variables) > 1 else (1.0,):
        yield from lost_at(network, truths, variables, target)


def lost_at(
    network: Network, truths: list[Callable[..., mpmath.mpf]], variables: tuple[Symbol, ...], target: float
) -> Iterator[tuple[float, str]]:
    """The same for one target; where there is none it is what the gradient is multiplied with."""
    numbers_of = {
        point: [settled_number(each, (point, target)[: len(variables)]) for each in truths] for point in DIGIT_POINTS
    }
    beside = f", {variables[1]} = {target:g}" if len(variables) > 1 else ""
    for point, *results in zip(DIGIT_POINTS, *sweep_in_float64(network, target), strict=True):
        numbers = numbers_of[point]
        nearer = zip(*(found for other, found in numbers_of.items() if abs(other) <= abs(point)), strict=True)
        largest = [max((abs(n) for n in column if n is not None), default=0) for column in nearer]
        for order, got, truth, slope, most in zip(RESULTS, results, numbers, numbers[1:], largest, strict=False):
            if truth is None or slope is None or not SMALLEST < abs(truth) < LARGEST:
                continue
            said = f"loses digits: in float64 at {variables[0]} = {point:g}{beside} its {order} is {got:.9g}"
            said += f" where it should be {mpmath.nstr(truth, 9)}"
            off = float(min(abs(got - truth) / (abs(truth) + abs(point * slope)), 1)) if isfinite(got) else inf
            if off > MOST_LOST and (abs(truth) > NEGLIGIBLE * most or got * truth < 0 or not isfinite(got)):
                yield off + (got * truth < 0), said


def sweep_in_float64(network: Network, target: float) -> list[list[float]]:
    """Value, slope and curvature, as far as there are any, of a network with one unit by its equations in float64."""
    program = forward(network)
    derivation = derive(program)
    curved = hvp(derivation)
    (W, b), (X, Y) = program.parameters, program.data
    column, one = numpy.array(DIGIT_POINTS)[:, None], numpy.ones((1, 1))
    inputs = {X: column, Y: numpy.full(column.shape, target), W: one, b: 0 * one}
    inputs |= {program.notation.tangent(W): 0 * one, program.notation.tangent(b): one}
    values = evaluate(curved.equations, inputs, finite=False)
    gradient = derivation.gradients[b]
    sums = {e.target: bias_gradient(e.value) for e in curved.equations}
    of_rows = [program.equations[-2].target]
    of_rows += [row for total in (gradient, curved.results[b.name]) for row in sums.get(total) or ()]
    return [numpy.broadcast_to(values[row], column.shape)[:, 0].tolist() for row in of_rows]


def derivatives(formula: Expr, variables: tuple[Symbol, ...]) -> list[Callable[..., mpmath.mpf]]:
    """The formula and three derivatives of it by its first variable, at any number of digits."""
    found = [formula]
    while len(found) <= len(RESULTS):
        found.append(diff(found[-1], variables[0]).replace(DiracDelta, lambda *_: Integer(0)))
    return [lambdify(variables, each, [{"exp": bounded_exp}, "mpmath"]) for each in found]


def bounded_exp(exponent: mpmath.mpf) -> mpmath.mpf:
    """exp, and 0 far below every float; so many digits as exp of exp may have take no end of time.

    Raises OverflowError far above every float.
    """
    if exponent > MOST_EXPONENT:
        raise OverflowError(f"exp({exponent})")
    return mpmath.exp(exponent) if exponent > -MOST_EXPONENT else mpmath.mpf(0)


def settled_number(function: Callable[..., mpmath.mpf], point: tuple[float, ...]) -> mpmath.mpf | None:
    """The number, once twice the digits do not change it; None where there is no real one."""
    before = None
    for digits in (60, 400, 800):
        with mpmath.workdps(digits):
            try:
                found = mpmath.mpmathify(function(*map(mpmath.mpf, point)))
            except (ArithmeticError, ValueError, TypeError):
                return None
            if not isinstance(found, mpmath.mpf) or not mpmath.isfinite(found):
                return None
            if before is not None and abs(found - before) <= abs(found) * mpmath.mpf(10) ** -30:
                return found
        before = found
    return None
