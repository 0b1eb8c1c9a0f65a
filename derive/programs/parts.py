"""Long formulas in parts: what occurs twice is computed once, and what would not fit on a line gets a name."""

from collections.abc import Iterable
from dataclasses import replace

from sympy import Add, Expr, Function, MatrixSymbol, Mul, Piecewise, Symbol, preorder_traversal

from derive.programs.nodes import Elementwise
from derive.programs.notation import NETWORK
from derive.programs.program import Derivation, Equation, elementwise, entry

LONGEST_PART = 80  # characters of a formula with spaces round its operators, a call as long as torch's names are
CALL = 12


def readable(derivation: Derivation) -> Derivation:
    """The same derivation with its long formulas in parts; what it derives from is not touched."""
    program = derivation.program
    forward = all_in_parts(program.equations)
    known = {equation.target.name for equation in (*forward, *derivation.equations)}
    backward = all_in_parts(derivation.backward, known)
    return replace(derivation, program=replace(program, equations=forward), backward=backward)


def all_in_parts(equations: tuple[Equation, ...], taken: Iterable[str] = ()) -> tuple[Equation, ...]:
    """The equations with their long formulas in parts, none of which has a name that is taken."""
    names = {*taken, *(equation.target.name for equation in equations)}
    return tuple(line for equation in equations for line in in_parts(equation, names))


def in_parts(equation: Equation, taken: set[str]) -> list[Equation]:
    """The equation, after the equations of the parts that it is made of. New names are added to `taken`."""
    value = equation.value
    if not isinstance(value, Elementwise):
        return [equation]
    formula, operands, parts = value.formula, dict(value.operands), []
    while (found := next_part(formula)) is not None:
        part, whole = found
        parts.append(part_of(replace(equation, value=elementwise(formula, operands)), part, taken))
        target = parts[-1].target
        rest = [argument for argument in whole.args if argument not in part.args]
        formula = formula.xreplace({whole: entry(target) if part == whole else whole.func(entry(target), *rest)})
        operands[entry(target)] = target
    return [*parts, replace(equation, value=elementwise(formula, operands))]


def part_of(equation: Equation, part: Expr, taken: set[str]) -> Equation:
    """A part of an equation's formula by itself; its new name is added to `taken`."""
    name = NETWORK.part(called(part), equation.target.name, taken)
    value = elementwise(part, equation.value.operands)
    return replace(equation, target=MatrixSymbol(name, *equation.shape), value=value, meaning=NETWORK.meaning(name))


def next_part(formula: Expr) -> tuple[Expr, Expr] | None:
    """A function value that occurs twice, else the longest part of a formula that is too long.

    With what it is a part of, where it is some terms of a long sum or some factors of a long product; else itself.
    """
    found = list(preorder_traversal(formula))
    for part in filter(is_call, found):
        if part != formula and has_entry(part) and occurrences(formula, part) > 1:
            return part, part
    if code_length(formula) <= LONGEST_PART:
        return None
    proper = [part for part in found[1:] if isinstance(part, Expr) and not part.is_Atom and has_entry(part)]
    fitting = [part for part in proper if code_length(part) <= LONGEST_PART and part.args and not is_whole_power(part)]
    if fitting:
        return (max(fitting, key=lambda part: (code_length(part), str(part))),) * 2
    for whole in filter(lambda part: isinstance(part, Add | Mul), found):
        terms = [term for term in sorted(whole.args, key=str) if has_entry(term)]
        fits = [n for n in range(2, len(terms)) if code_length(whole.func(*terms[:n])) <= LONGEST_PART]
        if fits:
            return whole.func(*terms[: fits[-1]]), whole
    return None


def occurrences(formula: Expr, part: Expr) -> int:
    """How often the part is written, where a part inside a repeated part counts each time."""
    if formula == part:
        return 1
    return sum(occurrences(argument, part) for argument in formula.args)


def code_length(formula: Expr) -> int:
    """How long the formula is as code, at the most: high and long powers may be written factor by factor."""
    text = str(formula).replace("*", " * ").replace("sqrt", "math.sqrt").replace("pi", "math.pi")
    parts = list(preorder_traversal(formula))
    powers = [p for p in parts if p.is_Pow and p.exp.is_Integer and (abs(p.exp) > 2 or len(str(p.base)) > 20)]
    again = sum((abs(int(part.exp)) - 1) * (len(str(part.base)) + 3) for part in powers)
    return len(text) + again + CALL * sum(map(is_call, parts))


def is_call(part: Expr) -> bool:
    return isinstance(part, Function) and not isinstance(part, Piecewise)


def called(part: Expr) -> str:
    """What a part is called before the number of its layer: as its function, where that has no number in its name."""
    name = type(part).__name__.lower()
    return name if is_call(part) and not any(map(str.isdigit, name)) else "part"


def is_whole_power(part: Expr) -> bool:
    """A square or a higher power, or 1 over one: its base gets a name, so that it comes one factor at a time."""
    return part.is_Pow and part.exp.is_Integer and abs(part.exp) > 1


def has_entry(part: Expr) -> bool:
    return any(isinstance(symbol, Symbol) and not symbol.is_integer for symbol in part.free_symbols)
