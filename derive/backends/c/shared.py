"""Function values that several equations take: C, whose functions are its own, computes each once."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from sympy import Expr, Function, MatrixSymbol, exp, preorder_traversal

from derive.backends.c.functions import C_FUNCTIONS
from derive.formulas import NamedFunction, stable, z
from derive.programs import Elementwise, Equation, elementwise, entry, has_entry, part_of

BY = {"erfc": exp(-(z**2))}  # the value from which the function with _by in its name has another


def each_value_once(equations: tuple[Equation, ...]) -> tuple[Equation, ...]:
    """The equations, each function value that several take by itself, before the first of them.

    A function that is none of C's is written out where that shows such a value.
    """
    given = {written_out(equation): equation for equation in equations}
    taken = {equation.target.name for equation in equations}
    lines = by_others(once_each(list(given), taken))
    return tuple(given.get(line, line) for line in once_each(lines, taken))


def written_out(line: Equation) -> Equation:
    named = [call for call in calls(line) if isinstance(call, NamedFunction) and function_name(call) not in C_FUNCTIONS]
    return rewritten_line(line, {call: stable(call.definition).xreplace({z: call.args[0]}) for call in named})


def once_each(lines: list[Equation], taken: set[str]) -> list[Equation]:
    """The lines without a function value that two of them take, the longest first."""
    while True:
        times = Counter((line.shape, call) for line in lines for call in calls(line) if takes_long(call))
        several = [value for value in times if times[value] > 1]
        if not several:
            return lines
        shape, call = max(several, key=lambda value: value[1].count_ops())
        takers = [line for line in lines if line.shape == shape and call in calls(line)]
        alone = next((line for line in takers if line.value.formula == call), None)
        alone = alone or part_of(takers[0], call, taken)
        name = {call: entry(alone.target)}
        made = {line: [rewritten_line(line, name, alone.target)] for line in takers if line != alone} | {alone: []}
        made[takers[0]].insert(0, alone)
        lines = [new for line in lines for new in made.get(line, [line])]


def by_others(lines: list[Equation]) -> list[Equation]:
    """The lines with a function's value from another's, where that is there too."""
    there = {(line.shape, call) for line in lines for call in calls(line)}

    def line_by_others(line: Equation) -> Equation:
        values = {
            call: BY[name].xreplace({z: call.args[0]}) for call in calls(line) if (name := function_name(call)) in BY
        }
        by = {
            call: Function(f"{function_name(call)}_by", real=True)(*call.args, value)
            for call, value in values.items()
            if (line.shape, value) in there
        }
        return rewritten_line(line, by)

    return list(map(line_by_others, lines))


def rewritten_line(line: Equation, names: Mapping[Expr, Expr], *made: MatrixSymbol) -> Equation:
    """The line with other expressions in the place of some, made of one more matrix."""
    if not names:
        return line
    operands = {**line.value.operands, **{entry(symbol): symbol for symbol in made}}
    return replace(line, value=elementwise(line.value.formula.xreplace(names), operands))


def calls(line: Equation) -> dict[Expr, None]:
    """The values of functions in a line of entries, each once."""
    found = preorder_traversal(line.value.formula) if isinstance(line.value, Elementwise) else ()
    return dict.fromkeys(part for part in found if isinstance(part, Function) and has_entry(part))


def function_name(call: Expr) -> str:
    return type(call).__name__


def takes_long(call: Expr) -> bool:
    """Whether it takes longer than to store its value."""
    function = C_FUNCTIONS.get(function_name(call))
    return function is not None and bool(function.needs or function.fits)
