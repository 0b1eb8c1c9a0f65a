"""The forward and the backward pass, step by step, each beside the line of code that computes it."""

from sympy import MatrixExpr, MatrixSymbol, OneMatrix

from derive.backends.torch import ONE, lines
from derive.calculus import pullback, rule
from derive.paper.blocks import (
    WIDEST_LINE,
    Block,
    Chain,
    Listing,
    Paragraph,
    Row,
    Section,
    boxed,
    enumerated,
    equation_rows,
)
from derive.paper.breaking import inline, width
from derive.paper.indices import entry_latex, writer_of
from derive.paper.latex import latex, shape_latex
from derive.paper.prose import prose
from derive.paper.rules import examples, proof_rows
from derive.programs import Derivation, Equation, Program, RowMax, shifts


def forward_sections(derivation: Derivation, computed: Derivation) -> list[Section]:
    program = derivation.program
    sections = [Section("Forward pass", "forward", (Paragraph(prose("passes.forward")),))]
    code = in_code(derivation, computed)
    for number, equation in enumerate(program.equations, 1):
        *parts, last = code[equation.target][0]
        rows = [row for part in parts for row in equation_rows(program, part, "a part")]
        rows += equation_rows(program, last, equation.rule)
        sections.append(
            Section(
                f"F{number}. {title(program, equation.target)}",
                f"F{number}",
                (
                    Chain(tuple(rows)),
                    *entry_blocks(program, equation),
                    *reason(program, equation),
                    Listing(code[equation.target][1]),
                ),
                level=3,
                step=True,
            )
        )
    return sections


def backward_sections(derivation: Derivation, computed: Derivation) -> list[Section]:
    program = derivation.program
    note = Paragraph(prose("passes.backward"))
    sections = [Section("Backward pass", "backward", (note, *unnamed_cotangents(derivation)))]
    code, rules = in_code(derivation, computed), list(examples(derivation))
    for number, step in enumerate(derivation.backward, 1):
        *parts, last = code[step.target][0]
        rows = [row for part in parts for row in equation_rows(program, part, "a part")]
        in_parts: list[Block] = [Paragraph("In parts:"), Chain(tuple(rows))] if rows else []
        sections.append(
            Section(
                f"B{number}. {step_title(program, step)}",
                f"B{number}",
                (
                    Paragraph(goal(derivation, step, rules)),
                    *step_proof(derivation, step),
                    *in_parts,
                    boxed(program, last),
                    *entry_blocks(program, step),
                    Listing(code[step.target][1]),
                ),
                level=3,
                step=True,
            )
        )
    return sections


def in_code(derivation: Derivation, computed: Derivation) -> dict[MatrixSymbol, tuple[list[Equation], str]]:
    """For each equation's target: the equations that the code computes it by, the last its own, and their lines."""
    own = {e.target for e in derivation.equations}
    groups: dict[MatrixSymbol, tuple[list[Equation], str]] = {}
    parts: list[Equation] = []
    code: list[str] = []
    for equation, line in zip(computed.equations, lines(computed.program, computed.equations, ONE), strict=True):
        parts.append(equation)
        code.append(line.code)
        if equation.target in own:
            groups[equation.target] = (parts, "\n".join(code))
            parts, code = [], []
    return groups


def entry_blocks(program: Program, equation: Equation) -> list[Block]:
    tex = entry_latex(program, equation)
    if tex and width(tex) > WIDEST_LINE:
        return []
    return [Paragraph(rf"One entry: $\displaystyle {tex}$.")] if tex else []


def reason(program: Program, equation: Equation) -> list[Block]:
    """Why a row's largest entry is subtracted, and why no derivative goes through it."""
    if not isinstance(equation.value, RowMax):
        return []
    return [Paragraph(prose("passes.largest", C=f"${latex(program, equation.target)}$"))]


def step_title(program: Program, step: Equation) -> str:
    return title(program, step.variable or step.target)


def title(program: Program, symbol: MatrixSymbol) -> str:
    """What a symbol means, or the symbol where it means no more."""
    what = program.notation.meaning(symbol.name).split(",")[0]
    return f"${latex(program, symbol)}$" if what == symbol.name else f"{what[0].upper()}{what[1:]}"


def goal(derivation: Derivation, step: Equation, rules: list[str]) -> str:
    program = derivation.program
    if step.variable is None:
        return step.meaning
    variable, shape = f"${inline(latex(program, step.variable))}$", shape_latex(program, step.variable)
    uses = [(f"F{i}", e) for i, e in enumerate(program.equations, 1) if step.variable in e.varies_with]
    if not uses:
        return prose("passes.unseen", variable=variable, shape=shape)
    places = enumerated([f"${latex(program, e.target)}$ in {label}" for label, e in uses], "and")
    used = dict.fromkeys(rule(e, step.variable) for _, e in uses)
    rules_used = enumerated([f"R{rules.index(r) + 1}, {r}" for r in used], "and")
    sentences = [prose("passes.goal", variable=variable, shape=shape, places=places, rules=rules_used)]
    sentences += [prose("passes.added")] * (len(uses) > 1)
    for shifted, whole in shifts(program.equations).items():
        if shifted == step.variable and step.target == program.notation.cotangent(whole):
            sentences.append(prose("passes.shifted", variable=variable, whole=inline(latex(program, whole))))
    return " ".join(sentences)


def unnamed_cotangents(derivation: Derivation) -> list[Block]:
    """What the loss sends back before the first named step: all ones, or one over their number."""
    program = derivation.program
    named = {e.variable for e in derivation.backward}
    rows = []
    for equation in reversed(program.equations[:-1]):
        cotangent = None if equation.target in named else cotangent_of(derivation, equation.target)
        if cotangent is not None and not cotangent.has(MatrixSymbol):
            target = program.notation.cotangent(equation.target)
            rows.append(
                Row(latex(program, target), latex(program, cotangent), "no data in it", shape_latex(program, target))
            )
    return [Chain(tuple(rows))] if rows else []


def step_proof(derivation: Derivation, step: Equation) -> list[Block]:
    """The proof of one backward step; none where the variable is used more than once."""
    program = derivation.program
    if step.through is None:
        return []
    cotangent = cotangent_of(derivation, step.through.target)
    if cotangent is None or sum(step.variable in e.varies_with for e in program.equations) != 1:
        return []
    rows = proof_rows(writer_of(program, step), step.through, step.variable, cotangent, step.value)
    return [Chain(tuple(rows))] if rows else []


def cotangent_of(derivation: Derivation, symbol: MatrixSymbol) -> MatrixExpr | None:
    """The symbol of dL/dsymbol, or its constant value where it has no name."""
    for e in derivation.backward:
        if e.variable == symbol or e.target == derivation.program.notation.cotangent(symbol):
            return e.target
    if symbol == derivation.program.output:
        return OneMatrix(1, 1)
    uses = [e for e in derivation.program.equations if symbol in e.varies_with]
    outer = cotangent_of(derivation, uses[0].target) if len(uses) == 1 else None
    return None if outer is None else pullback(uses[0], symbol, outer)
