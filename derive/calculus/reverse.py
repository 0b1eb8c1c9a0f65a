"""The reverse sweep: from a program to the equations of its gradient."""

from collections.abc import Iterable

from sympy import Add, Identity, MatrixExpr, MatrixSymbol, OneMatrix, ZeroMatrix

from derive.calculus.centred import sums_of, without_zeros
from derive.calculus.theorem import pull_back, rule
from derive.programs import (
    Derivation,
    Equation,
    Program,
    Role,
    Symmetric,
    add,
    core,
    elementwise,
    entry,
    shifts,
    symbol_for,
    transposed,
)


def derive(program: Program) -> Derivation:
    """One pass over the equations, last to first; each sends its cotangent back to what it was made from.

    A cotangent that no data enters (the loss adds its entries: all ones), or that only repeats another, needs no name
    and goes into the next step. What is another but for a constant has the cotangent of that, if it is all that the
    loss sees of it. A parameter that the loss does not reach has the gradient zero.
    """
    active, same, sums = reachable(program, program.parameters), alike(program), sums_of(program)
    sending = senders(program)
    first_use = {symbol: equation for equation in sending for symbol in equation.varies_with}
    ways: dict[MatrixSymbol, list[tuple[Equation, MatrixExpr]]] = {symbol: [] for symbol in active}
    cotangents: dict[MatrixSymbol, MatrixExpr] = {program.output: OneMatrix(1, 1)}
    backward: list[Equation] = []

    for equation in sending:
        used = [symbol for symbol in equation.varies_with if symbol in active]
        for symbol in used:
            sent = pull_back(equation, symbol, cotangents[equation.target])
            ways[symbol].insert(0, (equation, without_zeros(sent, sums)))
        for symbol in sorted(used, key=lambda symbol: symbol not in program.parameters):
            if first_use[symbol] == equation:
                value = add([part for _, part in reversed(ways[symbol])], symbol.shape)
                already = getattr(value, "name", "") == program.notation.cotangent(symbol).name
                if needs_name(value, program) or (symbol in program.parameters and not already):
                    step = backward_step(program, symbol, value, same.get(symbol, symbol))
                    backward.append(step)
                    value = step.target
                cotangents[symbol] = value
    for symbol in program.parameters:
        if symbol not in first_use:
            backward.append(backward_step(program, symbol, ZeroMatrix(*symbol.shape), symbol))
            cotangents[symbol] = backward[-1].target
    for symbol in program.parameters:
        if isinstance(symbol, Symmetric) and symbol in first_use:
            backward.append(of_free_entries(program, symbol, cotangents[symbol]))
            cotangents[symbol] = backward[-1].target
    return Derivation(program, tuple(backward), {s: cotangents[s] for s in program.parameters}, cotangents, ways)


def of_free_entries(program: Program, symbol: Symmetric, G: MatrixExpr) -> Equation:
    """The derivatives by the entries i, j and j, i as one variable: what the loss sees of it at both places, added."""
    both, diagonal = [G, transposed(G)], Identity(symbol.shape[0])
    formula = Add(*map(entry, both)) - entry(G) * entry(diagonal)
    value = elementwise(formula, {entry(part): part for part in (*both, diagonal)})
    target = symbol_for(program.notation.made(Role.FREE, symbol).name, value)
    return Equation(target, value, "one variable at two places", program.notation.meaning(target.name))


def needs_name(value: MatrixExpr, program: Program) -> bool:
    """Whether a cotangent is computed, and not a number or another one repeated; what a network has else is neither."""
    inner = core(value)
    symbol = isinstance(inner, MatrixSymbol)
    repeats = symbol and (program.prediction is None or program.notation.is_cotangent(inner.name))
    return value.has(MatrixSymbol) and not repeats


def backward_step(program: Program, symbol: MatrixSymbol, value: MatrixExpr, named_for: MatrixSymbol) -> Equation:
    """The equation that names the gradient in a symbol; it goes back through the first that uses it."""
    uses = [equation for equation in program.equations if symbol in equation.varies_with]
    return Equation(
        target=symbol_for(program.notation.cotangent(named_for).name, value),
        value=value,
        rule=", ".join(dict.fromkeys(rule(use, symbol) for use in uses)) or "does not occur",
        meaning=program.notation.meaning(program.notation.made(Role.COTANGENT, named_for).name),
        through=uses[0] if uses else None,
        variable=symbol,
    )


def reachable(program: Program, start: Iterable[MatrixSymbol]) -> set[MatrixSymbol]:
    """The symbols, and those that depend on one of them."""
    active = set(start)
    for equation in program.equations:
        if active.intersection(equation.varies_with):
            active.add(equation.target)
    return active


def senders(program: Program) -> list[Equation]:
    """The equations that a derivative of the output goes through, from the last to the first."""
    varied, sending = {program.output}, []
    for equation in reversed(program.equations):
        if equation.target in varied:
            varied.update(equation.varies_with)
            sending.append(equation)
    return sending


def alike(program: Program) -> dict[MatrixSymbol, MatrixSymbol]:
    """For each symbol that is another one less a constant: that one, if nothing else varies with it."""
    users = [symbol for equation in program.equations for symbol in equation.varies_with]
    return {shifted: whole for shifted, whole in shifts(program.equations).items() if users.count(whole) == 1}
