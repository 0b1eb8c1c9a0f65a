"""The forward sweep: directional derivatives of the equations of a program or a derivation, in the same order."""

from sympy import MatrixSymbol

from derive.calculus.named_slopes import entry_products, named_slopes
from derive.calculus.theorem import push_forward
from derive.programs import Equation, Notation, shifts


def tangents(
    equations: tuple[Equation, ...], directions: dict[MatrixSymbol, MatrixSymbol], notation: Notation
) -> tuple[tuple[Equation, ...], dict[MatrixSymbol, MatrixSymbol]]:
    """The equations of the tangents, and the tangent of each symbol that has one.

    Over a forward pass this gives Jacobian times direction; over forward and reverse pass, Hessian times direction.
    What has a slope with a name moves by that.
    """
    known, sweep, same = dict(directions), [], shifts(equations)
    slopes = named_slopes(equations, notation)
    for equation in equations:
        moving = {symbol: known[symbol] for symbol in equation.varies_with if symbol in known}
        if not moving:
            continue
        if equation.target in same:
            known[equation.target] = known[same[equation.target]]
            continue
        slope = slopes.get(equation)
        value = entry_products(slope, *moving.values()) if slope else push_forward(equation, moving)
        if not value.has(MatrixSymbol):
            continue
        target = notation.tangent(equation.target)
        meaning = notation.meaning(target.name)
        sweep.append(Equation(target, value, "directional derivative", meaning, equation, equation.target))
        known[equation.target] = target
    return tuple(sweep), known
