"""The activations: their slopes from their definitions, and a figure of what they do to errors."""

import numpy
from sympy import Expr, Integer, MatrixSymbol, Symbol, diff
from sympy.core.parameters import distribute

from derive.formulas import NamedFunction, opened
from derive.operations import evaluate
from derive.paper.blocks import Block, Chain, Paragraph, Picture, Section, broken_rows
from derive.paper.latex import rounded_latex, scalar_latex
from derive.paper.plots import Touching, plot
from derive.paper.prose import prose
from derive.problems import Network
from derive.programs import Derivation, Elementwise, Equation, SymbolKind, entry

FARTHEST, STEPS_ASIDE = 6, 24  # of the z at which an activation is drawn, and in how many steps to both sides


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
            slope = diff(definition, z)
            lines += [("", definition, "its definition")] * (definition != formula)
            lines.append((r"\frac{da}{dz}", slope, prose("slopes.slope")))
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


def step_back(derivation: Derivation, equation: Equation) -> tuple[Equation, MatrixSymbol] | None:
    """The backward step through an activation, and what is sent back to it; None where more than that enters it."""
    (Z,) = equation.value.operands.values()
    step = next((e for e in derivation.backward if e.variable == Z), None)
    sent = [use for use in step.uses if derivation.program.notation.is_cotangent(use.name)] if step else []
    if step is None or len(sent) != 1 or set(step.uses) - {Z, equation.target, *sent}:
        return None
    return step, sent[0]


def slope_used(derivation: Derivation, equation: Equation, names: dict[Symbol, Symbol]) -> Expr:
    """The slope as the backward step has it, which is that step for an error of 1."""
    found = step_back(derivation, equation)
    if found is None or not isinstance(found[0].value, Elementwise):
        (scalar,) = equation.value.operands
        return diff(equation.value.formula, scalar).xreplace({equation.value.formula: entry(equation.target), **names})
    with distribute(False):
        return found[0].value.formula.xreplace({entry(found[1]): Integer(1), **names})


def saturation(derivation: Derivation, equation: Equation, name: str) -> tuple[list[Block], list[Block]]:
    """The activation and its slope as a figure, by the derivation's own equations; and what they do to errors."""
    found = step_back(derivation, equation)
    if found is None:
        return [], []
    (step, sent), (Z,) = found, equation.value.operands.values()
    z = [FARTHEST * count / STEPS_ASIDE for count in range(-STEPS_ASIDE, STEPS_ASIDE + 1)]
    column = numpy.array(z).reshape(-1, 1)
    try:
        values = evaluate((equation, step), {Z: column, sent: numpy.ones_like(column)})
    except ValueError:
        return [], []
    a, slopes = ([float(value) for value in values[symbol][:, 0]] for symbol in (equation.target, step.target))
    touching = [
        Touching(x, y, slope, prose("slopes.reading", z=f"{x:g}", a=f"{y:.4g}", slope=f"{slope:.3g}"))
        for x, y, slope in zip(z, a, slopes, strict=True)
    ]
    most, ends = max(map(abs, slopes)), [abs(slopes[0]), abs(slopes[-1])]
    kind = "saturates" if max(ends) < most / 10 else "half" if min(ends) < most / 10 else ""
    figure = plot(
        "slopes",
        prose("slopes.figure", name=name),
        (("z", "z"), ("a", "a")),
        [list(zip(z, a, strict=True)), list(zip(z, slopes, strict=True))],
        touching,
        STEPS_ASIDE + 4,
        prose("slopes.slider"),
    )
    if not kind:
        return [Picture(figure)], []
    words = prose(f"slopes.{kind}", name=name, most=f"{most:.3g}", end=FARTHEST, there=rounded_latex(max(ends), 2))
    return [Picture(figure)], [Paragraph(words)]


def is_nested(formula: Expr) -> bool:
    """Whether a named function stands inside another: their definitions, put into one another, fill pages."""
    return any(part.args[0].has(NamedFunction) for part in formula.atoms(NamedFunction))
