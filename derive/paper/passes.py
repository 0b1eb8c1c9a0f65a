"""The forward and the backward pass, step by step, each beside the line of code that computes it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from sympy import Basic, MatrixSymbol, Symbol

from derive.backends.torch import ONE, Line, lines
from derive.calculus import rule
from derive.paper.blocks import (
    WIDEST_LINE,
    Block,
    Chain,
    Listing,
    Paragraph,
    Picture,
    Row,
    Section,
    boxed,
    enumerated,
    equation_rows,
    reason_beside,
)
from derive.paper.breaking import width
from derive.paper.figures import computation_figure
from derive.paper.indices import entry_latex, writer_of
from derive.paper.latex import latex, shape_latex, symbol_in_line
from derive.paper.prose import prose
from derive.paper.rules import examples, proof_rows
from derive.programs import Derivation, Equation, Program, Role, RowMax, shifts

ONE_SIZE = Symbol("n", integer=True, positive=True)


@dataclass(frozen=True)
class PassStep:
    """An equation of a pass: its label, as B3, and what is said of it where it is derived in full."""

    label: str
    equation: Equation
    blocks: tuple[Block, ...]
    code: str


def forward_sections(derivation: Derivation, computed: Derivation) -> list[Section]:
    program = derivation.program
    code, steps = step_lines(derivation, computed), []
    for equation in program.equations:
        line = "\n".join(part.code for part in code[equation.target])
        rows = equation_rows(program, equation, reason_beside(equation))
        blocks = (Chain(tuple(rows)), *entry_blocks(program, equation), *reason(program, equation), Listing(line))
        steps.append(PassStep(derivation.labels[equation.target], equation, blocks, line))
    return [
        Section("Forward pass", "forward", (Paragraph(prose("passes.forward")),)),
        *step_sections(program, steps),
    ]


def backward_sections(derivation: Derivation, computed: Derivation, pictured: bool = True) -> list[Section]:
    program = derivation.program
    code, rules, steps = step_lines(derivation, computed), list(examples(derivation)), []
    for equation in derivation.backward:
        line = "\n".join(part.code for part in code[equation.target])
        blocks = (
            Paragraph(goal(derivation, equation, rules)),
            *step_proof(derivation, equation),
            boxed(program, equation),
            *entry_blocks(program, equation),
            Listing(line),
        )
        steps.append(PassStep(derivation.labels[equation.target], equation, blocks, line))
    note: list[Block] = [Paragraph(prose("passes.backward"))]
    note += [Picture(computation_figure(derivation))] * pictured
    return [
        Section("Backward pass", "backward", (*note, *unnamed_cotangents(derivation))),
        *step_sections(program, steps),
    ]


def step_sections(program: Program, steps: list[PassStep]) -> list[Section]:
    """A section for each step that is new; those between them that are new but for the layer's number share one."""
    sections: list[Section] = []
    pairs = [(step, earlier(program, step, steps[:number])) for number, step in enumerate(steps)]
    for new, run in groupby(pairs, lambda pair: pair[1] is None):
        if new:
            sections += [new_section(program, step) for step, _ in run]
        else:
            sections.append(same_section(program, [(step, model) for step, model in run if model]))
    return sections


def new_section(program: Program, step: PassStep) -> Section:
    heading = f"{step.label}. {step_title(program, step.equation)}"
    return Section(heading, step.label, step.blocks, level=3, step=True)


def same_section(program: Program, pairs: list[tuple[PassStep, PassStep]]) -> Section:
    """Steps, each with the one that it is the same as."""
    label, *others = (step.label for step, _ in pairs)
    rows = [
        row
        for step, model in pairs
        for row in equation_rows(program, step.equation, f"{step.label}, as {model.label}", flat=True)
    ]
    code = "\n".join(step.code for step, _ in pairs)
    same = prose("passes.same")
    title = f"{label} to {others[-1]}. {same}" if others else new_section(program, pairs[0][0]).title
    return Section(
        title,
        label,
        (Chain(tuple(rows)), Listing(code)),
        level=3,
        step=True,
        others=tuple(others),
    )


def earlier(program: Program, step: PassStep, before: list[PassStep]) -> PassStep | None:
    """The first of these steps that is the same but for the number of its layer."""
    return next((other for other in before if same_but_for_layer(program, step.equation, other.equation)), None)


def same_but_for_layer(program: Program, wanted: Equation, other: Equation) -> bool:
    """Whether two equations differ in nothing but the number of their layer."""
    layer, there = (program.notation.layer(e.target.name) for e in (wanted, other))
    return bool(layer and there) and moved_by_layers(program, other, layer - there) == moved_by_layers(
        program, wanted, 0
    )


def without_repetition(program: Program, equations: Sequence[Equation]) -> list[Equation]:
    """Those that are not the same as an earlier one."""
    return [
        e for i, e in enumerate(equations) if not any(same_but_for_layer(program, e, other) for other in equations[:i])
    ]


def moved_by_layers(program: Program, equation: Equation, by: int) -> tuple[str | Basic, ...]:
    """What is computed, from what, through what and by what rule, each in the layer that is so many further.

    All sizes are as one: layers that are added to one another share theirs, wherever they stand.
    """
    through = () if equation.through is None else (equation.through.target,)
    parts: list[str | Basic] = [equation.rule]
    for part in (equation.target, equation.value, *through):
        there: dict[Basic, Basic] = {
            symbol: symbol.func(program.notation.moved(symbol.name, by), **symbol.assumptions0)
            for symbol in part.atoms(Symbol)
        } | dict.fromkeys(program.sizes, ONE_SIZE)
        for matrix in part.atoms(MatrixSymbol):
            shape = (size.xreplace(there) for size in matrix.shape)
            there[matrix] = MatrixSymbol(program.notation.moved(matrix.name, by), *shape)
        parts.append(part.xreplace(there))
    return tuple(parts)


def step_lines(derivation: Derivation, computed: Derivation) -> dict[MatrixSymbol, list[Line]]:
    """For each equation's target the lines that compute it, those of its parts first."""
    found: dict[MatrixSymbol, list[Line]] = {}
    code: list[Line] = []
    for equation, line in zip(computed.equations, lines(computed.program, computed.equations, ONE), strict=True):
        code.append(line)
        if equation.target in derivation.labels:
            found[equation.target], code = code, []
    return found


def entry_blocks(program: Program, equation: Equation) -> list[Block]:
    tex = entry_latex(program, equation)
    if tex and width(tex) > WIDEST_LINE:
        return []
    if not tex or (equation.shape == (1, 1) and r"\sum" not in tex):
        return []
    what = "In entries" if equation.shape == (1, 1) else "One entry"
    return [Paragraph(rf"{what}: $\displaystyle {tex}$.")]


def reason(program: Program, equation: Equation) -> list[Block]:
    """Why no derivative goes through a row's largest entry: it is subtracted, or only says which entries are it."""
    if not isinstance(equation.value, RowMax):
        return []
    shifted = shifts(program.equations)
    subtracted = any(equation.target in e.uses for e in program.equations if e.target in shifted)
    why = "largest" if subtracted else "kink"
    return [Paragraph(prose(f"passes.{why}", C=f"${latex(program, equation.target)}$"))]


def step_title(program: Program, step: Equation) -> str:
    whole = shifted_for(program, step)
    return title(program, whole or step.variable or step.target)


def shifted_for(program: Program, step: Equation) -> MatrixSymbol | None:
    """What the variable of a backward step is a shift of, where the step gives the gradient in that, too."""
    whole = shifts(program.equations).get(step.variable) if step.variable else None
    return whole if whole and step.target.name == program.notation.cotangent(whole).name else None


def title(program: Program, symbol: MatrixSymbol) -> str:
    """What a symbol means, or the symbol where it means no more."""
    what = program.notation.title(symbol.name)
    return f"${latex(program, symbol)}$" if what == symbol.name else f"{what[0].upper()}{what[1:]}"


def goal(derivation: Derivation, step: Equation, rules: list[str]) -> str:
    program = derivation.program
    if step.variable is None:
        free = program.notation.role(step.target.name)[0] is Role.FREE
        return prose("passes.free", G=f"${latex(program, step.uses[0], in_line=True)}$") if free else step.meaning
    variable, shape = f"${symbol_in_line(program, step.variable)}$", shape_latex(program, step.variable)
    uses = [(derivation.labels[e.target], e) for e, _ in derivation.ways.get(step.variable, [])]
    if not uses:
        return prose("passes.unseen", variable=variable, shape=shape)
    places = enumerated([f"${latex(program, e.target)}$ in {label}" for label, e in uses], "and")
    used = dict.fromkeys(rule(e, step.variable) for _, e in uses)
    rules_used = enumerated([f"R{rules.index(r) + 1}, {r}" for r in used], "and")
    sentences = [prose("passes.goal", variable=variable, shape=shape, places=places, rules=rules_used)]
    if whole := shifted_for(program, step):
        sentences.append(prose("passes.shifted", variable=variable, whole=symbol_in_line(program, whole)))
    return " ".join(sentences)


def unnamed_cotangents(derivation: Derivation) -> list[Block]:
    """What the loss sends back before the first named step: all ones, or one over their number."""
    program = derivation.program
    named = {e.variable for e in derivation.backward}
    rows = []
    for equation in reversed(program.equations[:-1]):
        cotangent = None if equation.target in named else derivation.cotangents.get(equation.target)
        if cotangent is not None and not cotangent.has(MatrixSymbol):
            target, why_so = program.notation.cotangent(equation.target), prose("passes.constant")
            shape = shape_latex(program, target)
            rows.append(Row(latex(program, target), latex(program, cotangent), why_so, shape))
    return [Chain(tuple(rows))] if rows else []


def step_proof(derivation: Derivation, step: Equation) -> list[Block]:
    """The proof of one backward step, by each way that the loss sees the variable."""
    found = derivation.ways.get(step.variable, [])
    ways = [(through, derivation.cotangents[through.target], sent) for through, sent in found]
    rows = proof_rows(writer_of(derivation.program, step), ways, step.variable, step.value) if ways else []
    return [Chain(tuple(rows))] if rows else []
