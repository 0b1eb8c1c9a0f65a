"""Where a formula that somebody typed loses its digits, however it is written: found at points, to warn of it."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from math import inf, isfinite

import mpmath
import numpy
from sympy import Derivative, DiracDelta, Expr, Integer, MatrixSymbol, Subs, Symbol, ceiling, diff, floor, lambdify

from derive.calculus import derive, hvp
from derive.formulas import OfRow, opened, shortened, stable
from derive.operations import evaluate
from derive.problems import Network, typed_formulas
from derive.programs import Equation, Notation, Program, as_text, core, elementwise, formula_of, needed

POINT_SIZES = (1e-8, 1e-4, 1.0, 5.0, 15.0, 40.0, 120.0, 800.0, 1e5)
DIGIT_POINTS = tuple(sign * size for size in POINT_SIZES for sign in (1, -1))
POINT_TARGETS = 0.0, 0.25, 1.0, -1.5
MOST_LOST = 1e-8  # of a result, beyond what rounding of its argument makes of it: half of the digits
MOST_EXPONENT = 10_000
DIGITS = 60, 400, 800
ANY_SIZE = Integer(3)  # in place of one that is a symbol
NEGLIGIBLE = 1e-12  # beside the largest that it is nearer to 0: 1 - sigmoid(z), say, which for torch, too, is 0 at 40
SMALLEST, LARGEST = 1e-290, 1e150  # of results that are judged
RESULTS = "value", "derivative", "second derivative"


def lost_digits(network: Network) -> list[str]:
    """A line for each formula of the network that is in no table and loses more than half of the digits somewhere."""
    return [
        f"{field}: {shortened(text)} {worst}"
        for (field, text), (formula, variables) in typed_formulas(network).items()
        if not formula.has(OfRow) and (worst := max(lost(stable(formula), variables, RESULTS), default=(0.0, ""))[1])
    ]


def lost_digits_of(program: Program) -> list[str]:
    """A line for each equation of an expression whose value or slope, entry by entry, loses as many digits."""
    found = []
    for equation in program.equations:
        formula, operands = formula_of(equation.value)
        cores = [getattr(core(operand), "name", "") for operand in operands.values()]
        alone = (name if cores.count(name) == 1 and name else f"<{k}>" for k, name in enumerate(cores))
        names = {u: Symbol(name, **u.assumptions0) for u, name in zip(operands, alone, strict=True)}
        moving = [v for u, v in names.items() if not formula.is_polynomial(u)]
        formula = formula.xreplace(names).xreplace(dict.fromkeys(formula.free_symbols - {*names}, ANY_SIZE))
        ways = ((v, *(other for other in names.values() if other != v)) for v in moving)
        with suppress(NotImplementedError, NameError, ValueError):  # of what mpmath has no function for
            if worst := max((each for way in ways for each in lost(formula, way, RESULTS[:2])), default=(0.0, ""))[1]:
                found.append(f"{equation.target} = {as_text(equation.value)} {worst}")
    return found


def lost(formula: Expr, variables: tuple[Symbol, ...], results: tuple[str, ...]) -> Iterator[tuple[float, str]]:
    """How much is wrong, and in words, for each point and result that is, as the first variable moves.

    The others are one number of some.
    """
    truths = derivatives(opened(formula), variables, len(results) + 1)
    computed = computation(formula, variables, len(results))
    points = [point for point in DIGIT_POINTS if point > 0 or not variables[0].is_positive]
    for target in POINT_TARGETS if len(variables) > 1 else (1.0,):
        if target <= 0 and any(other.is_positive for other in variables[1:]):
            continue
        targets = [target] * (len(variables) - 1)
        beside = "".join(f", {other} = {target:g}" for other in variables[1:])
        rough = {point: [exact_value(each, (point, *targets), DIGITS[0]) for each in truths] for point in points}
        for point, numbers in rough.items():
            nearer = zip(*(found for other, found in rough.items() if abs(other) <= abs(point)), strict=True)
            largest = [max((abs(n) for n in column if n is not None), default=0) for column in nearer]
            for k, (order, got) in enumerate(zip(results, computed(point, *targets), strict=False)):
                if numbers[k] is None or numbers[k + 1] is None:
                    continue
                if off(got, numbers[k], numbers[k + 1], point) <= MOST_LOST:
                    continue
                truth, slope = (settled_number(each, (point, *targets)) for each in truths[k : k + 2])
                if truth is None or slope is None or not SMALLEST < abs(truth) < LARGEST:
                    continue
                said = f"loses digits: in float64 at {variables[0]} = {point:g}{beside} its {order} is {got:.9g}"
                said += f" where it should be {mpmath.nstr(truth, 9)}"
                wrong, turned = off(got, truth, slope, point), got * truth < 0
                if wrong > MOST_LOST and (abs(truth) > NEGLIGIBLE * largest[k] or turned or not isfinite(got)):
                    yield wrong + turned, said


def off(got: float, truth: mpmath.mpf | None, slope: mpmath.mpf | None, point: float) -> float:
    """How far it is off beside the truth and what rounding of its argument makes of it; of no finite number inf."""
    if truth is None or slope is None or truth == 0 or not isfinite(got):
        return inf
    return float(min(abs(got - truth) / (abs(truth) + abs(point * slope)), 1))


def computation(formula: Expr, variables: tuple[Symbol, ...], count: int) -> Callable[..., list[float]]:
    """So many of value, slope and curvature in the first variable by the equations that are derived, in float64."""
    symbols = [MatrixSymbol(v.name, 1, 1) for v in variables]
    notation = Notation(frozenset(symbol.name for symbol in symbols))
    value = elementwise(formula, dict(zip(variables, symbols, strict=True)))
    equation = Equation(MatrixSymbol("<value>", 1, 1), value, "", "")
    derivation = derive(Program(tuple(symbols), (symbols[0],), (equation,), notation))
    equations, results = derivation.equations, [equation.target, derivation.gradients[symbols[0]]]
    if count > len(results):
        curved = hvp(derivation)
        equations, results = curved.equations, [*results, curved.results[symbols[0].name]]
    equations = needed(equations, [result for result in results if result is not None])

    def computed(*point: float) -> list[float]:
        inputs = {symbol: numpy.array([[number]]) for symbol, number in zip(symbols, point, strict=True)}
        inputs[notation.tangent(symbols[0])] = numpy.ones((1, 1))
        values = evaluate(equations, inputs, finite=False)
        return [float(values[result].item()) if result is not None else 0.0 for result in results]

    return computed


def derivatives(formula: Expr, variables: tuple[Symbol, ...], count: int) -> list[Callable[..., mpmath.mpf]]:
    """The formula and so many derivatives of it by its first variable, less one, at any number of digits."""
    found = [formula]
    while len(found) < count:
        found.append(diff(found[-1], variables[0]).replace(is_zero_but_for_jumps, lambda _: Integer(0)))
    return [lambdify(variables, each, [{"exp": bounded_exp}, "mpmath"]) for each in found]


def is_zero_but_for_jumps(slope: Expr) -> bool:
    """Whether it is the slope of a function that is a number between its jumps."""
    return isinstance(slope, DiracDelta) or (isinstance(slope, Derivative | Subs) and slope.has(floor, ceiling))


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
    for digits in DIGITS:
        found = exact_value(function, point, digits)
        if found is None or (before is not None and abs(found - before) <= abs(found) * mpmath.mpf(10) ** -30):
            return found
        before = found
    return None


def exact_value(function: Callable[..., mpmath.mpf], point: tuple[float, ...], digits: int) -> mpmath.mpf | None:
    """The number as it is with so many digits; None where there is no real one."""
    with mpmath.workdps(digits):
        try:
            found = mpmath.mpmathify(function(*map(mpmath.mpf, point)))
        except (ArithmeticError, ValueError, TypeError):
            return None
        return found if isinstance(found, mpmath.mpf) and mpmath.isfinite(found) else None
