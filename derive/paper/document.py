"""The derivation as a document: what it says, and in what order, for the network at hand; pages.py writes it.

Every formula of a step is printed from an equation of the derivation, its differential from SymPy, its entries from the
index form: none is typed. Typed are only definitions and the translation to other books.
"""

from collections import defaultdict
from dataclasses import replace
from itertools import zip_longest

from sympy import Expr, MatrixSymbol

from derive.backends.torch import spell
from derive.formulas import z
from derive.paper.blocks import (
    Block,
    Bullets,
    Chain,
    Paragraph,
    Picture,
    Section,
    Table,
    boxed,
    broken_rows,
    enumerated,
    reason_beside,
    summary,
)
from derive.paper.breaking import width
from derive.paper.cost import cost_section
from derive.paper.expanded import closed_form_sections, closed_section, together_sections
from derive.paper.figures import network_figure
from derive.paper.guide import (
    factor_of_slope,
    making_section,
    notation_section,
    questions_section,
    sign_notes,
    skip_sentences,
)
from derive.paper.latex import latex, shape_latex, symbol_in_line, written_tex
from derive.paper.one_weight import weight_sections
from derive.paper.passes import backward_sections, forward_sections, same_but_for_layer, without_repetition
from derive.paper.pictured import pictured_sections
from derive.paper.prose import prose
from derive.paper.rules import rules_sections
from derive.paper.slopes import slope_sections
from derive.paper.softmax import softmax_sections, summary_in_shares
from derive.paper.worked import SHOWN_AS_DRAWN, Shown, expression_numbers, numbers_sections
from derive.problems import Network
from derive.programs import (
    FUNCTION_SIGNS,
    GREEK,
    Derivation,
    Equation,
    NetworkNotation,
    Program,
    RowLogSumExp,
    RowMax,
    Symmetric,
    needed,
    shifts,
)

WIDEST_RESULT = 44
MOST_PICTURED = 12  # equations of an expression whose arrows can be told apart
DEEPEST_IN_FULL, DEEPEST_EXPANDED = 3, 2


def network_title(network: Network) -> str:
    return f"The gradient of a {'-'.join(map(str, network.layers))} network"


def network_document(
    network: Network, derivation: Derivation, computed: Derivation, shown: Shown = SHOWN_AS_DRAWN
) -> list[Section]:
    """The whole derivation of a network's gradient; `computed` is the same with long formulas in parts, as the code."""
    return [
        overview(network, derivation),
        notation_section(network, derivation),
        *rules_sections(derivation),
        *forward_sections(derivation, computed),
        *backward_sections(derivation, computed),
        *softmax_sections(derivation),
        *slope_sections(network, derivation),
        *recursion_sections(network, derivation),
        cost_section(derivation),
        questions_section(network, derivation),
        *(closed_form_sections(derivation) if network.depth <= DEEPEST_EXPANDED else ()),
        *pictured_sections(network, shown),
        *numbers_sections(network, derivation, shown),
        *weight_sections(network, derivation, shown),
        making_section(network),
    ]


def expression_document(
    derivation: Derivation, closed: dict[MatrixSymbol, Expr], pictured: bool = True, about: str = "document.expression"
) -> list[Section]:
    """The derivation of any program's gradient, with the closed form of each symbol.

    Without the picture where it stands by itself, with no file beside; `about` is the sentence that it begins with.
    """
    program = derivation.program
    gradients = [derivation.steps[derivation.gradients[symbol]] for symbol in program.parameters]
    whole = [replace(e, value=closed[e.target]) for e in gradients]
    long = [e for e in whole if width(latex(program, e.value)) > WIDEST_RESULT]
    results = [step if e in long else e for step, e in zip(gradients, whole, strict=True)]
    return [
        Section(
            "The result",
            "result",
            (
                Paragraph(prose(about)),
                summary(program, program.equations),
                Paragraph(prose("document.gradients")),
                *(boxed(program, e) for e in results),
                *with_errors(derivation, results),
            ),
        ),
        Section("Notation", "notation", (Bullets(tuple(sign_notes(derivation))), symbols_table(derivation))),
        *rules_sections(derivation),
        *forward_sections(derivation, derivation),
        *backward_sections(derivation, derivation, pictured and len(derivation.equations) <= MOST_PICTURED),
        *softmax_sections(derivation),
        *together_sections(derivation, [e for e in whole if e not in long]),
        *closed_section(program, long, prose("document.own_words")),
        *expression_numbers(derivation),
    ]


def with_errors(derivation: Derivation, results: list[Equation]) -> list[Block]:
    """What results are made of that the loss sends back, down to what the forward pass has computed."""
    rows = needed(derivation.backward, {use for e in results for use in e.uses})
    return [Paragraph("with"), summary(derivation.program, rows)] if rows else []


def symbols_table(derivation: Derivation) -> Table:
    """The inputs of an expression and what is computed of them, with their shapes and names in the code."""
    program = derivation.program
    named = [
        (s, ("variable" if s in program.parameters else "given") + ", symmetric" * isinstance(s, Symmetric))
        for s in program.inputs
    ]
    named += [(e.target, f"{derivation.labels[e.target]}, {reason_beside(e)}") for e in program.equations]
    rows = [
        (
            f"${symbol_in_line(program, symbol)}$",
            what,
            f"${shape_latex(program, symbol)}$",
            f"`{spell(program, symbol)}`",
        )
        for symbol, what in named
    ]
    return Table(("symbol", "what it is", "shape", "in the code"), tuple(rows), (0.2, 0.3, 0.25, 0.25))


def overview(network: Network, derivation: Derivation) -> Section:
    """What fits on a page: of layers that repeat one another the first, in the order of the passes."""
    program = derivation.program
    errors = [e for e in derivation.backward if e.variable not in program.parameters]
    results, factor = layers_of(derivation), factor_of_slope(network)
    forward, back = list(program.equations), errors
    repeated = []
    if network.depth > DEEPEST_IN_FULL:
        forward, back = without_repetition(program, forward), without_repetition(program, errors)
        new = without_repetition(program, [e for layer in results for e in layer])
        results = [layer for layer in results if set(layer) & set(new)]
        repeated = [Paragraph(prose("document.repeated"))]
    return Section(
        "The result on one page",
        "result",
        (
            Paragraph(
                prose(
                    "document.network",
                    sizes=enumerated([f"{size}" for size in network.layers], "and"),
                    activations=activations_sentence(network),
                    biases=biases_sentence(network) + "".join(f" {sentence}" for sentence in skip_sentences(network)),
                    loss=network.loss,
                    reduction=program.equations[-1].rule,
                )
                + parts_sentence(program)
            ),
            Picture(network_figure(network, program)),
            summary(program, forward),
            Paragraph(prose("document.gradient")),
            *(boxed(program, *layer) for layer in results),
            Paragraph("with"),
            summary_in_shares(derivation, back),
            *repeated,
            *([Paragraph(factor)] if factor else []),
        ),
    )


def parts_sentence(program: Program) -> str:
    """That the numbers of what a loss takes of each row are not those of layers, behind another sentence."""
    parts = [e.target for e in program.equations if isinstance(e.value, RowMax | RowLogSumExp)]
    parts += shifts(program.equations)
    symbols = [f"${latex(program, part)}$" for part in sorted(parts, key=str)]
    return f" {prose('document.parts', symbols=enumerated(symbols, 'and'))}" if symbols else ""


def biases_sentence(network: Network) -> str:
    """Which layers have no biases, behind another sentence; nothing where all have some."""
    missing = {"hidden": "no_output_biases", "none": "no_biases"}.get(network.bias)
    return f" {prose(f'document.{missing}')}" if missing else ""


def layers_of(derivation: Derivation) -> list[list[Equation]]:
    """The gradients of each layer's parameters, last layer first."""
    layers: dict[int, list[Equation]] = {}
    for symbol in derivation.program.parameters:
        step = derivation.steps[derivation.gradients[symbol]]
        layers.setdefault(derivation.program.notation.layer(symbol.name), []).append(step)
    return list(reversed(layers.values()))


def glossary(derivation: Derivation) -> list[dict[str, str]]:
    """Each symbol's name, formula, meaning, shape and place in the code, for whoever points at it."""
    program = derivation.program
    targets = {e.target for e in derivation.equations}
    return [
        {
            "name": symbol.name,
            "tex": latex(program, symbol),
            "meaning": program.notation.meaning(symbol.name),
            "shape": shape_latex(program, symbol, " by "),
            "code": spell(program, symbol),
        }
        for symbol in sorted({*program.inputs, *targets}, key=lambda symbol: symbol.name)
    ]


def activations_sentence(network: Network) -> str:
    hidden = [applied(network.activation_of(layer)) for layer in range(1, network.depth)]
    which = "several" if len(set(hidden)) > 1 else "one" if hidden else "none"
    activations = enumerated(hidden, "and") if which == "several" else "".join(hidden[:1])
    one, output = "Each hidden layer" if len(hidden) > 1 else "The hidden layer", applied(network.output_activation)
    return prose(f"document.{which}", hidden=one, activations=activations, output=output)


def applied(function: str) -> str:
    """The function as its name, with the letter that formulas have for it."""
    sign = FUNCTION_SIGNS.get(function, "")
    letter = f", written ${sign}$" if sign.startswith("\\") and sign[1:] in GREEK else ""
    return "no activation" if function in ("identity", "z") else f"`{function}`{letter}"


def recursion_sections(network: Network, derivation: Derivation) -> list[Section]:
    """The equations of one hidden layer with its number replaced by l; none where layers differ or have no A."""
    program, of_layers = derivation.program, defaultdict(list)
    predicting, _ = program.predicting()
    symbols = {*program.parameters, *(e.target for e in predicting)}
    for equation in derivation.equations:
        if (about := equation.variable or equation.target) in symbols:
            of_layers[program.notation.layer(about.name)].append(equation)
    hidden = [of_layers[layer] for layer in range(1, network.depth)]
    pairs = [pair for other in hidden[:-1] for pair in zip_longest(hidden[-1], other)]
    alike = all(one and other and same_but_for_layer(program, one, other) for one, other in pairs)
    if not pairs or not alike or network.function(1) == z:
        return []
    notation = NetworkNotation(any_layer=network.depth - 1)
    rows = [
        row
        for e in hidden[-1]
        for row in broken_rows(written_tex(notation, e.target), written_tex(notation, e.value), e.rule, "")
    ]
    return [
        Section(
            "The recursion for any depth",
            "recursion",
            (
                Paragraph(prose("document.recursion")),
                Chain(tuple(rows)),
            ),
        )
    ]
