"""The reverse sweep: from a program to the equations of its gradient."""

from sympy import MatrixExpr, MatrixSymbol, OneMatrix, ZeroMatrix

from derive.calculus.theorem import pullback, rule
from derive.programs import Derivation, Equation, Program, Role, add, core


def derive(program: Program) -> Derivation:
    """One pass over the equations, last to first; each sends its cotangent back to what it was made from.

    A cotangent that no data enters (the loss adds its entries: all ones), or that only repeats another, needs no name
    and goes into the next step. A parameter that the loss does not reach has the gradient zero.
    """
    active = reachable(program)
    first_use = {symbol: equation for equation in reversed(program.equations) for symbol in equation.uses}
    ways: dict[MatrixSymbol, list[tuple[Equation, MatrixExpr]]] = {symbol: [] for symbol in active}
    cotangents: dict[MatrixSymbol, MatrixExpr] = {program.output: OneMatrix(1, 1)}
    backward: list[Equation] = []

    for equation in reversed(program.equations):
        used = [symbol for symbol in equation.uses if symbol in active]
        for symbol in used:
            ways[symbol].append((equation, pullback(equation, symbol, cotangents[equation.target])))
        for symbol in sorted(used, key=lambda symbol: symbol not in program.parameters):
            if first_use[symbol] == equation:
                value = add([part for _, part in ways[symbol]], symbol.shape)
                if needs_name(value, program) or symbol in program.parameters:
                    through = ways[symbol][0][0]
                    step = backward_step(program, through, symbol, value)
                    backward.append(step)
                    value = step.target
                cotangents[symbol] = value
    for symbol in program.parameters:
        if symbol not in first_use:
            backward.append(backward_step(program, None, symbol, ZeroMatrix(*symbol.shape)))
            cotangents[symbol] = backward[-1].target
    return Derivation(program, tuple(backward), {s: cotangents[s] for s in program.parameters})


def needs_name(value: MatrixExpr, program: Program) -> bool:
    """Whether a cotangent is computed, and not a number or another one repeated; what a network has else is neither."""
    inner = core(value)
    symbol = isinstance(inner, MatrixSymbol)
    repeats = symbol and (program.prediction is None or program.notation.is_cotangent(inner.name))
    return value.has(MatrixSymbol) and not repeats


def backward_step(program: Program, through: Equation | None, symbol: MatrixSymbol, value: MatrixExpr) -> Equation:
    """The equation that names the gradient in a symbol."""
    return Equation(
        target=program.notation.cotangent(symbol),
        value=value,
        rule=rule(through, symbol) if through else "does not occur",
        meaning=program.notation.meaning(program.notation.made(Role.COTANGENT, symbol).name),
        through=through,
        variable=symbol,
    )


def reachable(program: Program) -> set[MatrixSymbol]:
    """The symbols that depend on a parameter."""
    active = set(program.parameters)
    for equation in program.equations:
        if active.intersection(equation.uses):
            active.add(equation.target)
    return active
