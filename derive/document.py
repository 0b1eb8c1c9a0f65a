"""The derivation as a document: what it says, and in what order, for the network at hand; pages.py writes it.

Text may hold formulas in $...$, code in `...` and emphasis in *...*. Every formula of a step is printed from an
equation of the derivation, its differential from SymPy, its entries from the index form: none is typed. Typed are only
definitions and the translation to other books.
"""

import math
import random
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from sympy import Expr, Function, MatAdd, MatMul, MatrixExpr, MatrixSymbol, OneMatrix, Symbol, Transpose, diff

from derive.calculus import elementwise_pullback, pullback, rule
from derive.figures import Figure, computation_figure, network_figure
from derive.functions import NamedFunction, opened
from derive.network import Network
from derive.notation import PLAIN
from derive.numbers import Matrix, evaluate
from derive.program import Derivation, Elementwise, Equation, Program, RowLogSumExp, elementwise, entry, substitute
from derive.to_latex import (
    broken,
    entry_latex,
    index_proof,
    inline,
    latex,
    scalar_latex,
    shape_latex,
    width,
)
from derive.to_torch import ONE, lines, spell

WIDEST_LINE, WIDEST_ROW, WIDEST_CHANGE = 56, 48, 36
LONGEST_CLOSED_FORM = 24
MOST_EXPANDED, MOST_CLOSED_FORMS = 8, 12
POINTS, SEED, DIGITS, NUDGE = 3, 127, 4, 0.001
MOST_ROWS, MOST_COLUMNS = 4, 4
WIDEST_NUMBERS, CUT_WIDTH = 32, 4


@dataclass(frozen=True)
class Paragraph:
    text: str


@dataclass(frozen=True)
class Bullets:
    items: tuple[str, ...]


@dataclass(frozen=True)
class Display:
    """A formula in a line of its own."""

    tex: str


@dataclass(frozen=True)
class Boxed:
    """A result."""

    tex: str


@dataclass(frozen=True)
class Broken:
    """left = a long formula in lines, each with its indent."""

    left: str
    lines: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class Row:
    """left = right, why, and its shape; no left where it goes on from the row above, no sign inside a formula."""

    left: str
    right: str
    reason: str
    shape: str
    sign: str = "="


@dataclass(frozen=True)
class Chain:
    """Equations under one another: equation, rule, shape."""

    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Listing:
    text: str


@dataclass(frozen=True)
class Table:
    """`widths` are the columns' shares of the page."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    widths: tuple[float, ...]


@dataclass(frozen=True)
class Picture:
    figure: Figure


Block = Paragraph | Bullets | Display | Boxed | Broken | Chain | Listing | Table | Picture


@dataclass(frozen=True)
class Section:
    """A heading and what follows it; `level` 2 is a section, 3 a part of one; a step is one to go through."""

    title: str
    anchor: str
    blocks: tuple[Block, ...]
    level: int = 2
    step: bool = False


def network_title(network: Network) -> str:
    return f"The gradient of a {'-'.join(map(str, network.layers))} network"


def network_document(network: Network, derivation: Derivation, computed: Derivation) -> list[Section]:
    """The whole derivation of a network's gradient; `computed` is the same with long formulas in parts, as the code."""
    return [
        overview(network, derivation),
        notation_section(network, derivation),
        *rules_sections(derivation),
        *forward_sections(derivation, computed),
        *backward_sections(derivation, computed),
        *slope_sections(derivation),
        *recursion_sections(network, derivation),
        gradients_section(derivation),
        questions_section(network, derivation),
        *closed_form_sections(derivation),
        *numbers_sections(network, derivation),
        making_section(network),
    ]


def expression_document(derivation: Derivation) -> list[Section]:
    """The derivation of any program's gradient."""
    program = derivation.program
    results = [e for e in derivation.backward if e.target in derivation.gradients.values()]
    return [
        Section(
            "The result",
            "result",
            (
                Paragraph(f"$L$ is the loss, ${latex(program, program.output)}$ below."),
                summary(program, program.equations),
                *(boxed(program, e) for e in results),
            ),
        ),
        *rules_sections(derivation),
        *forward_sections(derivation, derivation),
        *backward_sections(derivation, derivation),
        *closed_form_sections(derivation),
    ]


def overview(network: Network, derivation: Derivation) -> Section:
    program = derivation.program
    return Section(
        "The result on one page",
        "result",
        (
            Paragraph(
                f"A fully connected network with {listed([f'{size}' for size in network.layers], 'and')} units from "
                f"inputs to outputs takes $N$ data points at once, one a row. {activations_sentence(network)} "
                f"The loss, `{network.loss}`, is {loss_words(network)} of $\\boldsymbol{{E}}$."
            ),
            Picture(network_figure(network, program)),
            summary(program, program.equations),
            Paragraph("Its gradient in every parameter, from the last layer to the first:"),
            *(boxed(program, *layer) for layer in layers_of(derivation)),
            Paragraph("with"),
            summary(program, (e for e in derivation.backward if e.variable not in program.parameters)),
            Picture(computation_figure(derivation)),
        ),
    )


def layers_of(derivation: Derivation) -> list[list[Equation]]:
    """The gradients of each layer's parameters, last layer first."""
    steps = {e.target: e for e in derivation.backward}
    layers: dict[str, list[Equation]] = {}
    for symbol in derivation.program.parameters:
        layers.setdefault(re.sub(r"\D", "", symbol.name), []).append(steps[derivation.gradients[symbol]])
    return list(reversed(layers.values()))


def rows_of(left: str, right: str, reason: str, shape: str) -> list[Row]:
    """One row, or several for a formula that is too wide for one."""
    (_, first), *others = broken(right, WIDEST_ROW)
    rows = [Row("", r"\quad " * (indent + 1) + line, "", "", sign="") for indent, line in others]
    return [Row(left, first, reason, shape), *rows]


def equation_rows(program: Program, equation: Equation, reason: str) -> list[Row]:
    shape = shape_latex(program, equation.target)
    return rows_of(latex(program, equation.target), latex(program, equation.value), reason, shape)


def summary(program: Program, equations: Iterable[Equation]) -> Chain:
    """Equations one under the other, each with what it is or why it holds."""
    return Chain(tuple(row for e in equations for row in equation_rows(program, e, e.rule if e.through else e.meaning)))


def boxed(program: Program, *equations: Equation) -> Block:
    """The results side by side in a box, or under one another where they are too wide for it."""
    sides = [(latex(program, e.target), latex(program, e.value)) for e in equations]
    if sum(width(left) + width(right) for left, right in sides) <= WIDEST_LINE:
        return Boxed(r" \qquad ".join(f"{left} = {right}" for left, right in sides))
    return Chain(tuple(row for left, right in sides for row in rows_of(left, right, "", "")))


def glossary(derivation: Derivation) -> list[dict[str, str]]:
    """Each symbol's name, formula, meaning, shape and place in the code, for whoever points at it."""
    program = derivation.program
    targets = {e.target for e in derivation.equations}
    return [
        {
            "name": symbol.name,
            "tex": latex(program, symbol),
            "meaning": program.notation.meaning(symbol.name),
            "shape": shape_latex(program, symbol).replace(r" \times ", " by "),
            "code": spell(program, symbol),
        }
        for symbol in sorted({*program.inputs, *targets}, key=lambda symbol: symbol.name)
    ]


def loss_words(network: Network) -> str:
    if network.reduction == "sum":
        return "the sum over all entries"
    return (
        "the sum over all entries divided by the number of points"
        if network.criterion().per_row
        else ("the mean over all entries")
    )


def activations_sentence(network: Network) -> str:
    hidden = [network.activation_of(layer) for layer in range(1, network.depth)]
    if not hidden:
        text = ""
    elif len(set(hidden)) == 1:
        text = f"Each hidden layer applies {applied(hidden[0])}; "
    else:
        text = f"The hidden layers apply, one after the other, {listed([applied(name) for name in hidden], 'and')}; "
    output = f"{'the output' if text else 'The only'} layer applies {applied(network.output_activation)}."
    return text + output


def applied(function: str) -> str:
    return "no activation" if function in ("identity", "z") else f"`{function}`"


def listed(parts: list[str], word: str) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} {word} {parts[-1]}"


def notation_section(network: Network, derivation: Derivation) -> Section:
    program = derivation.program
    rows, sizes = [], []
    gradients = set(derivation.gradients.values())
    for symbol in [*program.inputs, *(e.target for e in derivation.equations if e.target not in gradients)]:
        rows.append(
            (
                f"${inline(latex(program, symbol))}$",
                meaning_of(program, symbol),
                f"${symbolic_shape(symbol)}$",
                f"${shape_latex(program, symbol)}$",
                f"`{spell(program, symbol)}`",
            )
        )
    if network.depth > 4:
        rows = [
            row for row in rows if not re.search(r"_\{([3-9]|\d\d+)\}", row[0]) or f"_{{{network.depth}}}" in row[0]
        ]
        sizes.append("Layers between are named in the same way.")
    return Section(
        "Notation and shapes",
        "notation",
        (
            Bullets(
                (
                    "Rows are data points: $N$ of them, never named by a number.",
                    r"$\odot$ multiplies entry by entry, $\top$ transposes, $\langle \boldsymbol{G}, \boldsymbol{H} "
                    r"\rangle = "
                    r"\sum_{i j} G_{i j} \, H_{i j} = \mathrm{tr}(\boldsymbol{G}^{\top} \boldsymbol{H})$ is the inner "
                    r"product of two matrices of one shape.",
                    r"$\boldsymbol{1}_{N}$ is a column of $N$ ones; a bare $\boldsymbol{1}$ is a matrix of ones of "
                    "the shape that fits.",
                    "A layer is a subscript: a superscript would read as a power.",
                    r"$\partial L / \partial \boldsymbol{V}$ always has the shape of $\boldsymbol{V}$: its entry $j "
                    r"k$ is "
                    r"$\partial L / \partial V_{j k}$. No choice between numerator and denominator layout arises.",
                )
            ),
            *map(Paragraph, sizes),
            Table(("symbol", "meaning", "shape", "here", "in the code"), tuple(rows), (0.12, 0.42, 0.15, 0.15, 0.16)),
            Paragraph("The same in three books and programs:"),
            Table(
                ("here", "Nielsen (columns)", "Andrew Ng (columns)", "torch"),
                TRANSLATION,
                (0.25, 0.27, 0.27, 0.21),
            ),
        ),
    )


TRANSLATION = (
    (r"$\boldsymbol{X}$, a point a row", r"$x = a^{1}$, one point", r"$X = A^{[0]}$, a point a column", "`x`"),
    (r"$\boldsymbol{W}_{l}$", r"$w^{l}$", r"$W^{[l]}$", "`layer.weight`"),
    (r"$\boldsymbol{b}_{l}$, a row", r"$b^{l}$, a column", r"$b^{[l]}$, a column", "`layer.bias`"),
    (r"$\boldsymbol{Z}_{l}^{\top}$", r"$z^{l}$", r"$Z^{[l]}$", "`z`, transposed"),
    (r"$\boldsymbol{A}_{l}^{\top}$", r"$a^{l}$", r"$A^{[l]}$", "`a`, transposed"),
    (r"$\boldsymbol{\Delta}_{l}^{\top}$", r"$\delta^{l}$", r"$dZ^{[l]}$, without the $1/m$", "`delta`, transposed"),
    (
        r"$\boldsymbol{\Delta}_{l}^{\top} \boldsymbol{A}_{l-1}$",
        r"$\delta^{l} (a^{l-1})^{\top}$",
        r"$dW^{[l]} = \frac{1}{m} dZ^{[l]} A^{[l-1] \top}$",
        "`layer.weight.grad`",
    ),
    (
        r"$\boldsymbol{1}_{N}^{\top} \boldsymbol{\Delta}_{l}$",
        r"$\delta^{l}$",
        r"$db^{[l]} = \frac{1}{m} \sum dZ^{[l]}$",
        "`layer.bias.grad`",
    ),
)


def meaning_of(program: Program, symbol: MatrixSymbol) -> str:
    return re.sub(r"dL/d(\w+)", r"`dL/d\1`", program.notation.meaning(symbol.name))


def symbolic_shape(symbol: MatrixSymbol) -> str:
    return r" \times ".join(latex(None, size) for size in symbol.shape)


def rules_sections(derivation: Derivation) -> list[Section]:
    """Each rule that the backward pass uses, once, derived as a step of its own from the one identity."""
    intro = Section(
        "The rules used",
        "rules",
        (
            Paragraph(
                r"One identity makes every step. The loss $L$ sees a matrix $\boldsymbol{V}$ through some "
                r"$\boldsymbol{F}(\boldsymbol{V})$, and $\boldsymbol{G} = \partial L / \partial \boldsymbol{F}$ is "
                r"known. "
                r"A small change $d\boldsymbol{V}$ changes $\boldsymbol{F}$ by $d\boldsymbol{F}$ and the loss by"
            ),
            Display(
                r"dL = \sum_{i j} \frac{\partial L}{\partial F_{i j}} \, dF_{i j} = \langle \boldsymbol{G}, "
                r"d\boldsymbol{F} "
                r"\rangle = \mathrm{tr}(\boldsymbol{G}^{\top} d\boldsymbol{F})."
            ),
            Paragraph(
                r"Whatever stands beside $d\boldsymbol{V}$ once this is written as "
                r"$\langle \; \cdot \; , d\boldsymbol{V} \rangle$ is $\partial L / \partial \boldsymbol{V}$. That is "
                r"where "
                "every transpose comes from; that the dimensions then fit is a consequence and no reason. "
                r"SymPy computes it as $\frac{\partial}{\partial \boldsymbol{V}} \mathrm{tr}(\boldsymbol{G}^{\top} "
                r"\boldsymbol{F}(\boldsymbol{V}))$ with $\boldsymbol{G}$ held fixed."
            ),
        ),
    )
    return [
        intro,
        *(
            rule_section(number, name, *example)
            for number, (name, example) in enumerate(examples(derivation).items(), 1)
        ),
    ]


def examples(derivation: Derivation) -> dict[str, tuple[Equation, MatrixSymbol]]:
    """For each rule of the backward pass, the first forward equation and variable that it is used on."""
    found: dict[str, tuple[Equation, MatrixSymbol]] = {}
    for step in derivation.backward:
        for equation in derivation.program.equations:
            if step.variable in equation.uses:
                found.setdefault(rule(equation, step.variable), (equation, step.variable))
    return found


class f(Function):
    """Any function applied entry by entry, and its slope."""

    def fdiff(self, argindex: int = 1) -> Expr:
        return f_prime(*self.args)


class f_prime(Function):
    pass


def rule_section(number: int, name: str, equation: Equation, variable: MatrixSymbol) -> Section:
    """A rule on matrices of any name and size, derived anew by SymPy from the first equation that it is used on."""
    through, V = general(equation, variable)
    F, G = through.target, MatrixSymbol("G", *through.target.shape)
    gradient = pullback(through, V, G)
    rows = proof_rows(None, through, V, G, gradient)
    return Section(
        f"R{number}. {name[0].upper()}{name[1:]}",
        f"R{number}",
        (
            Paragraph(f"Let ${latex(None, F)} = {latex(None, through.value)}$. Then"),
            *([Chain(tuple(rows))] if rows else []),
            Boxed(rf"\frac{{\partial L}}{{\partial {latex(None, V)}}} = {latex(None, gradient)}"),
        ),
        level=3,
    )


def general(equation: Equation, variable: MatrixSymbol) -> tuple[Equation, MatrixSymbol]:
    """The operation that a step goes back through, as F of V and of A, B, ..., and V."""
    value = equation.value
    sizes = [Symbol(letter, integer=True, positive=True) for letter in "npqrst"]
    if isinstance(value, Elementwise):
        V = MatrixSymbol("V", *sizes[:2])
        return Equation(MatrixSymbol("F", *V.shape), elementwise(f(entry(V)), {entry(V): V}), equation.rule, ""), V
    terms = [term for term in MatAdd.make_args(value) if term.has(variable)]
    value = terms[0] if len(terms) == 1 else value
    if isinstance(value, MatMul):
        _, value = value.as_coeff_mmul()
    symbols = sorted(value.atoms(MatrixSymbol) - {variable}, key=lambda symbol: symbol.name)
    used = dict.fromkeys(size for symbol in (variable, *symbols) for size in symbol.shape if size.is_Symbol)
    renamed = dict(zip(used, sizes, strict=False))
    shapes = {symbol: [size.xreplace(renamed) for size in symbol.shape] for symbol in (variable, *symbols)}
    names = dict(zip((variable, *symbols), "VABCDEH", strict=False))
    value = value.xreplace({**renamed, **{symbol: MatrixSymbol(names[symbol], *shapes[symbol]) for symbol in shapes}})
    return Equation(MatrixSymbol("F", *value.shape), value, equation.rule, ""), MatrixSymbol("V", *shapes[variable])


def step_proof(derivation: Derivation, step: Equation) -> list[Block]:
    """The proof of one backward step; none where the variable is used more than once."""
    program = derivation.program
    cotangent = cotangent_of(derivation, step.through.target) if step.through else None
    if cotangent is None or sum(step.variable in e.uses for e in program.equations) != 1:
        return []
    rows = proof_rows(program, step.through, step.variable, cotangent, step.value)
    return [Chain(tuple(rows))] if rows else []


def proof_rows(
    program: Program | None, through: Equation, variable: MatrixSymbol, cotangent: MatrixExpr, gradient: MatrixExpr
) -> list[Row]:
    """<G, dF> with dF from the equation, entry by entry, dV taken out; none where dF is no product and no formula."""
    variation = MatrixSymbol(f"diff_{variable.name}", *variable.shape)
    change = differential(through, variable, variation)
    if change is None or width(latex(program, change)) > WIDEST_CHANGE:
        return []
    target = MatrixSymbol(f"diff_{through.target.name}", *through.target.shape)
    g, df, dv = (latex(program, part) for part in (cotangent, target, variation))
    scalar = r"1 \times 1"
    rows = [
        Row("dL", rf"\langle {g}, {df} \rangle", "the identity", scalar),
        Row("", rf"\langle {g}, {latex(program, change)} \rangle", f"only ${latex(program, variable)}$ varies", scalar),
    ]
    if isinstance(cotangent, MatrixSymbol):
        notation = program.notation if program else PLAIN
        proof = index_proof(notation, cotangent, change, gradient, variation)
        if proof:
            rows += [Row("", proof[0], "entry by entry", scalar), Row("", proof[1], rf"${dv}$ taken out", scalar)]
    return [*rows, Row("", rf"\langle {latex(program, gradient)}, {dv} \rangle", "as matrices again", scalar)]


def cotangent_of(derivation: Derivation, symbol: MatrixSymbol) -> MatrixExpr | None:
    """The symbol of dL/dsymbol, or its constant value where it has no name."""
    for e in derivation.backward:
        if e.variable == symbol:
            return e.target
    if symbol == derivation.program.output:
        return OneMatrix(1, 1)
    uses = [e for e in derivation.program.equations if symbol in e.uses]
    outer = cotangent_of(derivation, uses[0].target) if len(uses) == 1 else None
    return None if outer is None else pullback(uses[0], symbol, outer)


def differential(equation: Equation, variable: MatrixSymbol, variation: MatrixSymbol) -> MatrixExpr | None:
    """The change of an equation's value for a change of one symbol in it, where that is a product or a formula."""
    value = equation.value
    if isinstance(value, RowLogSumExp):
        G = MatrixSymbol("G", *equation.shape)
        slope = pullback(equation, variable, G)
        operands = {entry(variation): variation, **{u: v for u, v in slope.operands.items() if u != entry(G)}}
        along = elementwise(slope.formula.xreplace({entry(G): entry(variation)}), operands)
        return along * OneMatrix(variable.shape[1], 1)
    if isinstance(value, Elementwise):
        if value.operands.get(entry(variable)) != variable:
            return None
        return elementwise_pullback(equation, entry(variable), variation)
    changes = [replaced(term, variable, variation) for term in MatAdd.make_args(value) if term.has(variable)]
    return changes[0] if len(changes) == 1 else None


def replaced(term: MatrixExpr, variable: MatrixSymbol, variation: MatrixSymbol) -> MatrixExpr | None:
    """The term with its one occurrence of the variable replaced."""
    factors = MatMul.make_args(term)
    plain = [variable, Transpose(variable)]
    if sum(factor in plain for factor in factors) != 1 or any(f.has(variable) and f not in plain for f in factors):
        return None
    return term.xreplace({variable: variation})


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


def forward_sections(derivation: Derivation, computed: Derivation) -> list[Section]:
    program = derivation.program
    note = "From the inputs to the loss, one operation an equation; the code computes the same, in this order."
    sections = [Section("Forward pass", "forward", (Paragraph(note),))]
    code = in_code(derivation, computed)
    for number, equation in enumerate(program.equations, 1):
        *parts, last = code[equation.target][0]
        rows = [row for part in parts for row in equation_rows(program, part, "a part")]
        rows += equation_rows(program, last, equation.rule)
        sections.append(
            Section(
                f"F{number}. {title(program, equation.target)}",
                f"F{number}",
                (Chain(tuple(rows)), *entry_blocks(program, equation), Listing(code[equation.target][1])),
                level=3,
                step=True,
            )
        )
    return sections


def entry_blocks(program: Program, equation: Equation) -> list[Block]:
    tex = entry_latex(program, equation.target, equation.value)
    if tex and width(tex) > WIDEST_LINE:
        return []
    return [Paragraph(f"One entry: ${inline(tex)}$.")] if tex else []


def backward_sections(derivation: Derivation, computed: Derivation) -> list[Section]:
    program = derivation.program
    note = "From the loss to the parameters, back through the forward equations in reverse order."
    sections = [Section("Backward pass", "backward", (Paragraph(note), *unnamed_cotangents(derivation)))]
    code, rules = in_code(derivation, computed), list(examples(derivation))
    for number, step in enumerate(derivation.backward, 1):
        *parts, last = code[step.target][0]
        rows = [row for part in parts for row in equation_rows(program, part, "a part")]
        sections.append(
            Section(
                f"B{number}. {step_title(program, step)}",
                f"B{number}",
                (
                    Paragraph(goal(derivation, step, rules)),
                    *step_proof(derivation, step),
                    *([Paragraph("In parts:"), Chain(tuple(rows))] if rows else []),
                    boxed(program, last),
                    *entry_blocks(program, step),
                    Listing(code[step.target][1]),
                ),
                level=3,
                step=True,
            )
        )
    return sections


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
    uses = [(f"F{i}", e) for i, e in enumerate(program.equations, 1) if step.variable in e.uses]
    if not uses:
        return f"The loss does not see {variable}, ${shape}$: its gradient is zero."
    places = listed([f"${latex(program, e.target)}$ in {label}" for label, e in uses], "and")
    used = dict.fromkeys(rule(e, step.variable) for _, e in uses)
    named = listed([f"R{rules.index(r) + 1}, {r}" for r in used], "and")
    more = " What comes back by each way is added." if len(uses) > 1 else ""
    return f"How the loss changes with {variable}, ${shape}$, which enters {places}: rule {named}.{more}"


def unnamed_cotangents(derivation: Derivation) -> list[Block]:
    """What the loss sends back before the first named step: all ones, or one over their number."""
    program = derivation.program
    named = {e.variable for e in derivation.backward}
    rows = []
    for equation in reversed(program.equations[:-1]):
        cotangent = None if equation.target in named else cotangent_of(derivation, equation.target)
        if cotangent is not None and not cotangent.has(MatrixSymbol):
            target = MatrixSymbol(f"grad_{equation.target.name}", *equation.shape)
            rows.append(
                Row(latex(program, target), latex(program, cotangent), "no data in it", shape_latex(program, target))
            )
    return [Chain(tuple(rows))] if rows else []


def slope_sections(derivation: Derivation) -> list[Section]:
    """Each activation: its definition, its slope from the definition, and its slope as the code computes it."""
    program, blocks, seen = derivation.program, [], set()
    z, a = Symbol("z", real=True), Symbol("a", real=True)
    for equation in program.equations:
        if not isinstance(equation.value, Elementwise) or not equation.target.name.startswith("A"):
            continue
        (scalar,) = equation.value.operands
        formula = equation.value.formula.xreplace({scalar: z})
        if formula in seen:
            continue
        seen.add(formula)
        used = diff(equation.value.formula, scalar).xreplace({equation.value.formula: a, scalar: z})
        lines = [("a", formula, "the activation")]
        if nested(formula):
            lines.append((r"\frac{da}{dz}", used, "SymPy's derivative of it, the slope of each function put in"))
        else:
            definition = opened(formula)
            slope = diff(definition, z)
            lines += [("", definition, "its definition")] * (definition != formula)
            lines.append((r"\frac{da}{dz}", slope, "SymPy's derivative of it"))
            lines += [("", used, "the same as the code computes it")] * (used != slope)
        rows = [row for left, expr, why in lines for row in rows_of(left, scalar_latex(expr), why, "")]
        blocks += [Paragraph(f"For `{equation.rule.removesuffix(', entry by entry')}`:"), Chain(tuple(rows))]
    if not blocks:
        return []
    note = (
        "Where the slope can be written in the activation $a$ itself, the code does so: nothing is computed twice, and "
        "nothing overflows. SymPy confirms that both forms are the same function. Where a function has a kink, the "
        "slope there is the one that torch takes."
    )
    return [Section("Slopes of the activations", "slopes", (Paragraph(note), *blocks))]


def nested(formula: Expr) -> bool:
    """Whether a named function stands inside another: their definitions, put into one another, fill pages."""
    return any(part.args[0].has(NamedFunction) for part in formula.atoms(NamedFunction))


def recursion_sections(network: Network, derivation: Derivation) -> list[Section]:
    """The equations of one hidden layer with its number replaced by l."""
    if network.depth < 3 or len({network.activation_of(layer) for layer in range(1, network.depth)}) > 1:
        return []
    program, h = derivation.program, network.depth - 1
    wanted = [e for e in program.equations if e.target.name in (f"Z{h}", f"A{h}")]
    names = (f"grad_A{h}", f"Delta{h}", f"grad_W{h}", f"grad_b{h}")
    wanted += [e for e in derivation.backward if e.target.name in names]
    letters = {h: "l", h - 1: "l-1", h + 1: "l+1"}

    def any_layer(tex: str) -> str:
        return re.sub(r"_\{(\d+)\}", lambda match: f"_{{{letters[int(match[1])]}}}", tex)

    rows = [
        row
        for e in wanted
        for row in rows_of(any_layer(latex(program, e.target)), any_layer(latex(program, e.value)), e.rule, "")
    ]
    return [
        Section(
            "The recursion for any depth",
            "recursion",
            (
                Paragraph(
                    r"Every hidden layer repeats the same equations, with $\boldsymbol{A}_{0} = \boldsymbol{X}$. "
                    "Here they are for layer $l$; a network of any depth is this, once a layer."
                ),
                Chain(tuple(rows)),
            ),
        )
    ]


def gradients_section(derivation: Derivation) -> Section:
    program = derivation.program
    values = {e.target: e.value for e in derivation.backward}
    rows = []
    for symbol in program.parameters:
        target = derivation.gradients[symbol]
        rows.append(
            (
                f"${inline(latex(program, target))}$",
                f"${latex(program, values[target])}$",
                f"${shape_latex(program, target)}$",
                f"`{spell(program, target)}`",
                f"`dLd{symbol.name.lower()}`",
            )
        )
    return Section(
        "All gradients",
        "gradients",
        (
            Table(
                ("gradient", "formula", "shape", "in the code", "in the .dat file"),
                tuple(rows),
                (0.14, 0.3, 0.18, 0.19, 0.19),
            ),
        ),
    )


def questions_section(network: Network, derivation: Derivation) -> Section:
    program, last = derivation.program, network.depth
    Z = next(e.target for e in program.equations if e.target.name == f"Z{last}")
    delta = next((e.value for e in derivation.backward if e.variable == Z), cotangent_of(derivation, Z))
    value = latex(program, delta)
    formula = rf": $\boldsymbol{{\Delta}}_{{{last}}} = {value}$" if width(value) <= WIDEST_CHANGE else ""
    if network.output_activation == "identity":
        where = (
            r"Both are $\partial L / \partial \boldsymbol{Z}$ of the last layer, for different losses and outputs. "
            r"Here the "
            f"output layer has no activation, so that no slope enters{formula}."
        )
    else:
        where = (
            r"Both are $\partial L / \partial \boldsymbol{Z}$ of the last layer, for different losses and outputs. "
            r"Here the "
            f"output layer applies `{network.output_activation}`, so that its slope enters{formula}."
        )
    divisor = "points" if network.criterion().per_row else "entries"
    scale = (
        f"The loss here is a mean, so one over the number of {divisor} stands in the last layer's error, once; "
        "every other gradient inherits it from there."
        if network.reduction == "mean"
        else "The loss here is a sum, so there is no $1/N$ anywhere: twice the points, about twice the gradient."
    )
    return Section(
        "What readers ask",
        "questions",
        (
            Bullets(
                (
                    r"*Is it z = Wx or z = xW?* A point is a row here, so $\boldsymbol{z} = \boldsymbol{x} "
                    r"\boldsymbol{W}^{\top} + \boldsymbol{b}$; the transpose is there because `torch.nn.Linear` stores "
                    r"$\boldsymbol{W}$ as outputs by inputs. Transpose the whole equation and you have "
                    r"$\boldsymbol{W} \boldsymbol{x} + \boldsymbol{b}$ on columns.",
                    r"*Why is a matrix transposed on the way back, or not?* Because moving $d\boldsymbol{V}$ to the "
                    r"right end "
                    r"of the inner product says so, in each step above, entry by entry. $\boldsymbol{W}$ was "
                    r"transposed on the way forward, so it is not on the way back.",
                    "*Numerator or denominator layout?* Neither: a gradient has the shape of what it is the gradient "
                    "in.",
                    "*Why has one text delta = a - y and another (a - y) times a slope?* " + where,
                    "*Where did the factor 2, 1/2 or 1/N go?* A factor of the loss stays where SymPy leaves it: see "
                    rf"$\boldsymbol{{\Delta}}_{{{last}}}$. A loss with $\frac{{1}}{{2}}$ in front would cancel a 2. "
                    + scale,
                    r"*Where does the sum over the points in $\partial L / \partial \boldsymbol{b}$ come from?* The "
                    r"same "
                    r"$\boldsymbol{b}$ is added to every row; $\boldsymbol{1}_{N} \boldsymbol{b}$ writes that as a "
                    r"product, "
                    r"and the product's rule gives $\boldsymbol{1}_{N}^{\top} \boldsymbol{\Delta}$, the sum over the "
                    r"rows. "
                    r"For $\boldsymbol{W}$ the same sum hides inside $\boldsymbol{\Delta}^{\top} \boldsymbol{A}$.",
                )
            ),
        ),
    )


def closed_form_sections(derivation: Derivation) -> list[Section]:
    """Each gradient expanded down to parameters and data; in a deep network, down to the activations."""
    program = derivation.program
    chosen = list(reversed(program.parameters))
    deep = len(program.equations) > MOST_EXPANDED
    note = "Every intermediate replaced by its value, down to parameters and data."
    if deep:
        note = (
            "Every intermediate of the backward pass replaced by its value; those of the forward pass keep their names."
        )
    values: dict[MatrixSymbol, MatrixExpr] = {}
    for equation in derivation.backward if deep else derivation.equations:
        values[equation.target] = substitute(equation.value, values)
    if len(chosen) > MOST_CLOSED_FORMS:
        chosen = chosen[:MOST_CLOSED_FORMS]
        note += " The forms grow towards the inputs; these are the last layers', and the others continue the pattern."
    blocks: list[Block] = [Paragraph(note)]
    for symbol in chosen:
        target = derivation.gradients[symbol]
        form = broken(latex(program, values[target], in_line=True), WIDEST_LINE)
        if len(form) > LONGEST_CLOSED_FORM:
            blocks.append(Paragraph("The others are longer than a page has room for; the steps above make them up."))
            break
        blocks.append(Broken(latex(program, target), tuple(form)))
    return [Section("Closed forms", "closed-forms", tuple(blocks))]


def numbers_sections(network: Network, derivation: Derivation) -> list[Section]:
    """The whole computation for a few points; for a network too large for paper, for its like with narrow layers."""
    small, note = network, ""
    if any(width > WIDEST_NUMBERS for width in network.layers):
        layers = tuple(min(width, CUT_WIDTH) for width in network.layers)
        small = replace(network, layers=layers)
        note = f" So that it fits on paper, no layer here is wider than {CUT_WIDTH}: {'-'.join(map(str, layers))}."
    program = derivation.program
    inputs = drawn(program, small)
    heading = f"Worked numbers for {POINTS} points"
    try:
        values = evaluate(derivation.equations, inputs)
    except ValueError as error:
        return [
            Section(heading, "numbers", (Paragraph(f"There are none: with the numbers that are drawn here, {error}."),))
        ]
    draw = (
        f"draw = random.Random({SEED})\n"
        "# W1, b1, W2, ... row by row; fan_in is what enters the layer\n"
        "entry = round(draw.uniform(-1, 1) / math.sqrt(fan_in), 2)\n"
        "# then x, row by row\n"
        "entry = round(draw.random(), 2)"
    )
    given = tuple(given_row(program, symbol, values) for symbol in inputs)
    numbers = {e.target.name: f"F{i}" for i, e in enumerate(program.equations, 1)}
    numbers |= {e.target.name: f"B{i}" for i, e in enumerate(derivation.backward, 1)}

    def rows(equations: tuple[Equation, ...]) -> tuple[Row, ...]:
        targets = [e.target for e in equations]
        return tuple(Row(latex(program, t), matrix_latex(values[t.name]), numbers[t.name], "") for t in targets)

    return [
        Section(
            heading,
            "numbers",
            (
                Paragraph(
                    f"Weights, biases and inputs have two decimals, so that they can be typed in again.{note} Python's "
                    f"own generator draws them from the seed {SEED}:"
                ),
                Listing(draw),
                Paragraph(
                    "The target of a point is the mean of the squares of its inputs. Numbers are shown to "
                    f"{DIGITS} decimals and computed with all."
                ),
                Chain(given),
                Paragraph("The forward pass:"),
                Chain(rows(program.equations)),
                Paragraph("The backward pass:"),
                Chain(rows(derivation.backward)),
                *by_hand(derivation, inputs, values),
            ),
        )
    ]


def given_row(program: Program, symbol: MatrixSymbol, values: dict[str, Matrix]) -> Row:
    target = symbol == program.inputs[1]
    text = matrix_latex(values[symbol.name], DIGITS if target else 2)
    return Row(latex(program, symbol), text, "the targets" if target else "drawn", "")


def drawn(program: Program, network: Network) -> dict[MatrixSymbol, Matrix]:
    """Parameters, inputs and targets for a few points; the same on every machine."""
    draw = random.Random(SEED)
    sizes = dict(zip(program.sizes, network.layers, strict=True))
    X, Y, *_ = program.inputs
    inputs: dict[MatrixSymbol, Matrix] = {}
    for symbol in program.parameters:
        rows, columns = (int(size.xreplace(sizes)) for size in symbol.shape)
        layer = int(symbol.name[1:])
        scale = math.sqrt(network.layers[layer - 1])
        inputs[symbol] = [[round(draw.uniform(-1, 1) / scale, 2) for _ in range(columns)] for _ in range(rows)]
    x = [[round(draw.random(), 2) for _ in range(network.layers[0])] for _ in range(POINTS)]
    y = [[sum(entry**2 for entry in row) / len(row)] * network.layers[-1] for row in x]
    return {X: x, Y: y, **inputs}


def by_hand(derivation: Derivation, inputs: dict[MatrixSymbol, Matrix], values: dict[str, Matrix]) -> list[Block]:
    """The largest entry of the last weights' gradient as a sum to type into a calculator, and a check of it.

    Of entries that differ by rounding alone, and so by machine, it is the first.
    """
    program = derivation.program
    weights = program.parameters[-2]
    step = next(e for e in derivation.backward if e.variable == weights)
    if len(step.uses) < 2:
        return []
    left, right = step.uses if step.uses[0].name.startswith(("Delta", "grad_")) else reversed(step.uses)
    gradient = values[step.target.name]
    sizes = [(round(abs(value), 12), -j, -k) for j, row in enumerate(gradient) for k, value in enumerate(row)]
    _, j, k = max(sizes)
    j, k = -j, -k
    pairs = [(values[left.name][n][j], values[right.name][n][k]) for n in range(POINTS)]
    products = " + ".join(rf"({number(a, 6)}) \cdot ({number(b, 6)})" for a, b in pairs)
    losses = []
    for move in (NUDGE, -NUDGE):
        moved = [list(row) for row in inputs[weights]]
        moved[j][k] += move
        losses.append(evaluate(program.equations, {**inputs, weights: moved})[program.output.name][0][0])
    slope = (losses[0] - losses[1]) / (2 * NUDGE)
    digits = DIGITS + 2
    left_hand = entry_latex(program, step.target, step.value).split(" = ")[0].replace("j k", f"{j + 1} {k + 1}")
    return [
        Paragraph(f"*One entry by hand*, step {'B' + str(1 + derivation.backward.index(step))}:"),
        Chain((*rows_of(left_hand, products, "", ""), Row("", number(gradient[j][k]), "", ""))),
        Paragraph(
            f"*The same entry without any derivation*: the loss with this one weight moved up and down by ${NUDGE}$, "
            "as a difference quotient:"
        ),
        Display(
            rf"\frac{{{losses[0]:.{digits + 3}f} - {losses[1]:.{digits + 3}f}}}{{2 \cdot {NUDGE}}} = {number(slope)}"
        ),
        Paragraph(
            "*And by torch's autograd*: the same digits. A test of this project computes every number of this section "
            "again with autograd, and fails where a printed digit differs."
        ),
    ]


def number(value: float, digits: int = DIGITS) -> str:
    """A number to a few decimals; minus zero is zero."""
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def matrix_latex(rows: Matrix, digits: int = DIGITS) -> str:
    """A matrix of numbers, its middle left out where it is large; a single number stands alone."""
    if len(rows) == len(rows[0]) == 1:
        return number(rows[0][0], digits)
    shown = [cells(row, digits) for row in rows]
    if len(shown) > MOST_ROWS:
        dots = [r"\cdots" if cell == r"\cdots" else r"\vdots" for cell in shown[0]]
        shown = [*shown[: MOST_ROWS - 2], dots, shown[-1]]
    return r"\begin{bmatrix} " + r" \\ ".join(" & ".join(row) for row in shown) + r" \end{bmatrix}"


def cells(row: list[float], digits: int) -> list[str]:
    texts = [number(value, digits) for value in row]
    return texts if len(texts) <= MOST_COLUMNS else [*texts[: MOST_COLUMNS - 2], r"\cdots", texts[-1]]


def making_section(network: Network) -> Section:
    return Section(
        "How this was made and checked",
        "making",
        (
            Paragraph(
                "Every formula of the steps is printed from the list of equations that the code in `backward.py` is "
                "printed "
                "from, so the two cannot say different things. SymPy made each backward equation with "
                "`Trace(G.T * F(V)).diff(V)`, one operation at a time, and each slope with `diff`; none is typed."
            ),
            Bullets(
                (
                    "`python -m derive.prove` runs the emitted code on symbols and compares every entry of every "
                    "gradient with "
                    "SymPy's derivative of the fully expanded scalar loss, exactly.",
                    "`python -m generated.run --compare` computes the gradients in numbers, by this derivation and "
                    "by torch's "
                    "autograd, and compares the two files that it wrote.",
                    "`python -m derive.build --check` says whether these pages and the code are what SymPy derives "
                    "today.",
                )
            ),
        ),
    )
