"""The slopes of activations with names of their own, so that what goes back and what goes forward share them."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from sympy import Expr, Integer, MatrixSymbol, Piecewise

from derive.operations import is_zero_without
from derive.programs import Derivation, Elementwise, Equation, Notation, Role, elementwise, entry


def with_slopes(derivation: Derivation, after: Callable[[Equation], bool]) -> Derivation:
    """The same with the slope of each activation as an equation of its own, in the forward pass.

    It stands before the activation, or behind it where it is written in its value, or `after` asks for that. A mask has
    none: what it leaves out is not multiplied by 0, for it may be infinite.
    """
    program = derivation.program
    forward, backward = list(program.equations), []
    for equation in derivation.backward:
        found = [symbol for symbol in equation.uses if program.notation.is_cotangent(symbol.name)]
        through = equation.through
        formulas = isinstance(equation.value, Elementwise) and through and isinstance(through.value, Elementwise)
        if through and formulas and len(found) == len(through.uses) == 1:
            g, A = found[0], through.target
            value = elementwise(equation.value.formula.xreplace({entry(g): Integer(1)}), equation.value.operands)
            if isinstance(value, Elementwise) and is_zero_without(g, equation.value) and not is_mask(value.formula):
                S = program.notation.made(Role.SLOPE, A)
                rule = f"slope of {through.rule}"
                behind = A in value.atoms(MatrixSymbol) or after(through)
                forward.insert(forward.index(through) + behind, Equation(S, value, rule, rule, through))
                equation = replace(equation, value=entry_products(g, S))
        backward.append(equation)
    return replace(derivation, program=replace(program, equations=tuple(forward)), backward=tuple(backward))


def is_mask(formula: Expr) -> bool:
    """Whether it is 0 on some branches and another number on the others."""
    branches = [value for value, _ in formula.args] if isinstance(formula, Piecewise) else []
    return 0 in branches and all(value.is_number for value in branches)


def named_slopes(equations: Iterable[Equation], notation: Notation) -> dict[Equation | None, MatrixSymbol]:
    """The name of the slope, for each equation whose slope has one."""
    return {e.through: e.target for e in equations if notation.role(e.target.name)[0] is Role.SLOPE}


def entry_products(one: MatrixSymbol, other: MatrixSymbol) -> Elementwise:
    return elementwise(entry(one) * entry(other), {entry(one): one, entry(other): other})
