"""Gradients in one formula: steps put into one another, down to what is given."""

from collections.abc import Iterable
from dataclasses import replace

from sympy import MatrixExpr, MatrixSymbol

from derive.paper.blocks import WIDEST_LINE, Block, Broken, Chain, Paragraph, Row, Section, broken_rows, enumerated
from derive.paper.breaking import broken
from derive.paper.latex import latex
from derive.paper.prose import prose
from derive.programs import Derivation, Equation, Program, RowMax, needed, substitute

LONGEST_CLOSED_FORM, MOST_EXPANDED = 3, 8


def closed_form_sections(derivation: Derivation) -> list[Section]:
    """Each gradient of a network expanded down to parameters and data; in a deep one, down to the activations."""
    program = derivation.program
    deep = len(program.equations) > MOST_EXPANDED
    note = prose("document.backward" if deep else "document.expanded")
    values = closed_values(derivation.backward if deep else derivation.equations)
    targets = [derivation.gradients[symbol] for symbol in reversed(program.parameters)]
    gradients = [replace(derivation.steps[target], value=values[target]) for target in targets]
    return closed_section(program, gradients, note)


def closed_section(program: Program, gradients: list[Equation], note: str) -> list[Section]:
    """Closed forms, as far as they are short enough to help."""
    blocks: list[Block] = [Paragraph(note)]
    for equation in gradients:
        form = broken(latex(program, equation.value, in_line=True), WIDEST_LINE)
        if len(form) > LONGEST_CLOSED_FORM:
            blocks.append(Paragraph(prose("document.long")))
            break
        blocks.append(Broken(latex(program, equation.target), tuple(form)))
    shown = any(isinstance(block, Broken) for block in blocks)
    return [Section("Closed forms", "closed-forms", tuple(blocks))] if shown else []


def closed_values(equations: Iterable[Equation]) -> dict[MatrixSymbol, MatrixExpr]:
    """What each computes, down to what none of them does; of a row's largest entry the name is kept."""
    values: dict[MatrixSymbol, MatrixExpr] = {}
    for equation in equations:
        if not isinstance(equation.value, RowMax):
            values[equation.target] = substitute(equation.value, values)
    return values


def together_sections(derivation: Derivation, results: list[Equation]) -> list[Section]:
    """From the last step of each gradient to the closed form that stands first on the page."""
    rows = [row for result in results for row in together_rows(derivation, result)]
    if not rows:
        return []
    return [Section("The steps put together", "together", (Paragraph(prose("document.together")), Chain(tuple(rows))))]


def together_rows(derivation: Derivation, result: Equation) -> list[Row]:
    """The gradient by its step, with what the loss sends back put in, and with the forward pass, too."""
    program, labels, step = derivation.program, derivation.labels, derivation.steps[result.target]
    sent = closed_values(derivation.backward)[result.target]
    lines: list[tuple[MatrixExpr, str]] = [(step.value, labels[step.target])]
    for value, equations in ((sent, derivation.backward), (result.value, program.equations)):
        before = lines[-1][0]
        used = [labels[e.target] for e in reversed(needed(equations, before.atoms(MatrixSymbol)))]
        if used and latex(program, value) != latex(program, before):
            lines.append((value, prose("document.put_in", steps=enumerated(used, "and"))))
    rows = [broken_rows("", latex(program, value, in_line=True), why, "") for value, why in lines]
    first, *others = (part for part in rows if len(part) <= LONGEST_CLOSED_FORM or part in (rows[0], rows[-1]))
    first[0] = replace(first[0], left=latex(program, result.target))
    return [*first, *(row for part in others for row in part)] if others else []
