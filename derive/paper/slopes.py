"""The activations: their slopes from their definitions, and a figure of what they do to errors."""

import math

import numpy
from sympy import DiracDelta, Expr, Integer, MatrixExpr, MatrixSymbol, Symbol, diff
from sympy.core.parameters import distribute

from derive.calculus import between_jumps
from derive.formulas import FUNCTIONS, NamedFunction, opened
from derive.operations import evaluate
from derive.paper.blocks import Block, Chain, Paragraph, Picture, Section, broken_rows
from derive.paper.latex import rounded_latex, scalar_latex
from derive.paper.plots import Touching, plot
from derive.paper.prose import prose
from derive.problems import Network
from derive.programs import Derivation, Elementwise, Equation, Role, SymbolKind, entry, formula_of

FARTHEST, STEPS_ASIDE = 6, 24  # of the z at which an activation is drawn, and in how many steps to both sides
VANISHED = 60.0  # where slopes that vanish are next to nothing


def slope_sections(network: Network, derivation: Derivation) -> list[Section]:
    """Each activation: its definition, its slope from the definition, and its slope as the code computes it."""
    program, seen = derivation.program, set()
    blocks: list[Block] = []
    z, a = Symbol("z", real=True), Symbol("a", real=True)
    for equation in program.equations:
        kind = program.notation.kind(equation.target.name)
        if kind is not SymbolKind.ACTIVATION or not isinstance(equation.value, Elementwise):
            continue
        (scalar,) = equation.value.operands
        formula = equation.value.formula.xreplace({scalar: z})
        if formula in seen:
            continue
        seen.add(formula)
        used = slope_used(derivation, equation, {scalar: z, entry(equation.target): a})
        lines = [("a", formula, "the activation")]
        if is_nested(formula):
            lines.append((r"\frac{da}{dz}", used, prose("slopes.nested")))
        else:
            definition = opened(formula)
            derivative = diff(definition, z)
            slope = between_jumps(derivative)
            said = prose("slopes.jump" if derivative.has(DiracDelta) else "slopes.slope")
            lines += [("", definition, "its definition")] * (definition != formula)
            lines.append((r"\frac{da}{dz}", slope, said))
            lines += [("", used, prose("slopes.computed"))] * (used != slope)
            named = [{part.func for part in expr.atoms(NamedFunction)} for expr in (used, formula)]
            for function in sorted(named[0] - named[1], key=str):
                lines.append((scalar_latex(function(z)), opened(function.definition), "its definition"))
        rows = [row for left, expr, why in lines for row in broken_rows(left, scalar_latex(expr), why, "")]
        name = network.activation_of(program.notation.layer(equation.target.name))
        blocks += [Paragraph(f"For `{name}`:"), Chain(tuple(rows))]
        figure, words = saturation(derivation, equation, name)
        pictured = [block for block in blocks if isinstance(block, Picture)]
        blocks += [*([] if pictured else figure), *words]
    if not blocks:
        return []
    return [Section("Slopes of the activations", "slopes", (Paragraph(prose("slopes.note")), *blocks))]


def sent_back(derivation: Derivation, equation: Equation) -> tuple[MatrixExpr, MatrixExpr]:
    """What an activation sends back, and the error that it makes it of."""
    (Z,) = equation.value.operands.values()
    return dict(derivation.ways[Z])[equation], derivation.cotangents[equation.target]


def slope_used(derivation: Derivation, equation: Equation, names: dict[Symbol, Symbol]) -> Expr:
    """The slope as the backward step has it: what is sent back, for an error of 1."""
    (back, _), (g, _) = map(formula_of, sent_back(derivation, equation))
    with distribute(False):
        return (back.xreplace({g: Integer(1)}) if g.is_Symbol else back / g).xreplace(names)


def saturation(derivation: Derivation, equation: Equation, name: str) -> tuple[list[Block], list[Block]]:
    """The activation and its slope as a figure, by the derivation's own equations; and what they do to errors."""
    (Z,), (sent, error) = equation.value.operands.values(), sent_back(derivation, equation)
    if not isinstance(error, MatrixSymbol):
        return [], []
    step = Equation(derivation.program.notation.made(Role.SLOPE, equation.target), sent, "", "")

    def at(z: list[float]) -> list[list[float]]:
        column = numpy.array(z).reshape(-1, 1)
        values = evaluate((equation, step), {Z: column, error: numpy.ones_like(column)})
        return [[float(value) for value in values[symbol][:, 0]] for symbol in (equation.target, step.target)]

    z = [FARTHEST * count / STEPS_ASIDE for count in range(-STEPS_ASIDE, STEPS_ASIDE + 1)]
    try:
        a, slopes = at(z)
    except ValueError:
        return [], []
    touching = [
        Touching(x, y, slope, prose("slopes.reading", z=f"{x:g}", a=f"{y:.4g}", slope=f"{slope:.3g}"))
        for x, y, slope in zip(z, a, slopes, strict=True)
    ]
    figure = plot(
        "slopes",
        prose("slopes.figure", name=name),
        (("z", "z"), ("a", "a")),
        [list(zip(z, a, strict=True)), list(zip(z, slopes, strict=True))],
        touching,
        STEPS_ASIDE + 4,
        prose("slopes.slider"),
    )
    if name not in FUNCTIONS:  # of which it is not known whether such a slope stays small
        return [Picture(figure)], []
    most, ends = max(map(abs, slopes)), [abs(slopes[0]), abs(slopes[-1])]
    vanish = [abs(slope) < most / 1000 for slope in at([-VANISHED, VANISHED])[1]]
    kind = "saturates" if all(vanish) else "half" if any(vanish) else ""
    if not kind:
        return [Picture(figure)], []
    words = prose(f"slopes.{kind}", name=name, most=f"{most:.3g}", end=FARTHEST, there=rounded_up(max(ends)))
    return [Picture(figure)], [Paragraph(words)]


def rounded_up(value: float) -> str:
    """No less than the value, with two digits."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1) if value else 1
    return rounded_latex(math.ceil(value / unit) * unit, 2)


def is_nested(formula: Expr) -> bool:
    """Whether a named function stands inside another: their definitions, put into one another, fill pages."""
    return any(part.args[0].has(NamedFunction) for part in formula.atoms(NamedFunction))
