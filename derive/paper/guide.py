"""What helps to read a derivation: its notation and that of other books, what readers ask, and how it was made.

Which sentences fit the network at hand is decided here; their formulas are printed from the derivation.
"""

from sympy import Heaviside, KroneckerProduct, MatrixSymbol, Piecewise, diff, factor_terms, preorder_traversal
from sympy.matrices.expressions.slice import MatrixSlice

from derive.backends.torch import spell
from derive.calculus import between_jumps
from derive.formulas import OfRow, logsumexp, p
from derive.paper.blocks import WIDEST_CHANGE, Bullets, Paragraph, Section, Table, enumerated
from derive.paper.breaking import width
from derive.paper.figures import skips_in_words
from derive.paper.latex import latex, scalar_latex, shape_latex, symbol_in_line, symbolic_shape
from derive.paper.prose import prose
from derive.problems import MOST_PROVED, Network
from derive.programs import BlockSum, Derivation, Program, Role, RowLogSumExp, RowMax, SymbolKind

MOST_LAYERS_NAMED = 4


def notation_section(network: Network, derivation: Derivation) -> Section:
    program = derivation.program
    rows, sizes = [], []
    gradients = set(derivation.gradients.values())
    named = [*program.inputs, *(e.target for e in derivation.equations if e.target not in gradients)]
    if network.depth > MOST_LAYERS_NAMED:
        named = [symbol for symbol in named if program.notation.layer(symbol.name) in (0, 1, 2, network.depth)]
        sizes.append(prose("notation.between"))
    for symbol in named:
        rows.append(
            (
                f"${symbol_in_line(program, symbol)}$",
                meaning_of(program, symbol),
                f"${symbolic_shape(symbol)}$",
                f"${shape_latex(program, symbol)}$",
                f"`{spell(program, symbol)}`",
            )
        )
    return Section(
        "Notation and shapes",
        "notation",
        (
            Bullets(
                (
                    *(prose(f"notation.{name}") for name in ("rows", "layers", "entries")),
                    *(" ".join(sentences) for sentences in [skip_sentences(network)] if sentences),
                    *sign_notes(derivation),
                )
            ),
            *map(Paragraph, sizes),
            Table(("symbol", "meaning", "shape", "here", "in the code"), tuple(rows), (0.12, 0.42, 0.15, 0.15, 0.16)),
            Paragraph(prose("notation.others")),
            Table(
                ("here", "Nielsen (columns)", "Andrew Ng (columns)", "torch"),
                tuple(translation(network)),
                (0.25, 0.27, 0.27, 0.21),
            ),
        ),
    )


def skip_sentences(network: Network) -> list[str]:
    """Which layers are added to which, and that these are of one width."""
    added = skips_in_words(network)
    equal = [f"$n_{{{layer}}} = n_{{{wide}}}$" for layer, wide in enumerate(network.as_wide()) if layer != wide]
    return [*added, prose("document.widths", equal=enumerated(equal, "and"))] if added else []


def sign_notes(derivation: Derivation) -> list[str]:
    """What is written in formulas, in words; what not every derivation has, where it has it."""
    nodes = {type(node) for equation in derivation.equations for node in preorder_traversal(equation.value)}
    rare = [kind for kind in RARE if kind in nodes]
    return [*map(prose, USUAL_SIGNS), *(prose(f"rare_signs.{kind.__name__}") for kind in rare)]


USUAL_SIGNS = ("signs.products", "signs.ones", "signs.layout")
RARE = (RowMax, RowLogSumExp, KroneckerProduct, BlockSum, MatrixSlice, Heaviside)


def translation(network: Network) -> list[tuple[str, str, str, str]]:
    """Rows of the same in other books; how much of their gradients ours are depends on what a mean divides by."""
    outputs = rf"n_{{{network.depth}}}"
    error, gradient = {
        "": ("", r"m \, "),
        "points": (r"\frac{1}{m} ", ""),
        "entries": (rf"\frac{{1}}{{m \, {outputs}}} ", rf"\frac{{1}}{{{outputs}}} \, "),
    }[network.divided_by]
    rows = [
        (r"$\boldsymbol{X}$, a point a row", r"$x = a^{1}$, one point", r"$X = A^{[0]}$, a point a column", "`x`"),
        (r"$\boldsymbol{W}_{l}$", r"$w^{l}$", r"$W^{[l]}$", "`layer.weight`"),
        (r"$\boldsymbol{b}_{l}$, a row", r"$b^{l}$, a column", r"$b^{[l]}$, a column", "`layer.bias`"),
        (r"$\boldsymbol{Z}_{l}^{\top}$", r"$z^{l}$", r"$Z^{[l]}$", "`z`, transposed"),
        (r"$\boldsymbol{A}_{l}^{\top}$", r"$a^{l}$", r"$A^{[l]}$", "`a`, transposed"),
        (r"$\boldsymbol{\Delta}_{l}^{\top}$", r"$\delta^{l}$", rf"${error}dZ^{{[l]}}$", "`z.grad`, transposed"),
        (
            r"$\boldsymbol{\Delta}_{l}^{\top} \boldsymbol{A}_{l-1}$",
            r"$\delta^{l} (a^{l-1})^{\top}$",
            rf"${gradient}dW^{{[l]}} = {error}dZ^{{[l]}} A^{{[l-1] \top}}$",
            "`layer.weight.grad`" + (", without the penalty" if network.penalty else ""),
        ),
        (
            r"$\boldsymbol{1}_{N}^{\top} \boldsymbol{\Delta}_{l}$",
            r"$\delta^{l}$",
            rf"${gradient}db^{{[l]}} = {error}\sum dZ^{{[l]}}$",
            "`layer.bias.grad`",
        ),
    ]
    return [row for row in rows if "bias" not in row[-1] or network.bias != "none"]


def meaning_of(program: Program, symbol: MatrixSymbol) -> str:
    """What a symbol is; of a derivative, which."""
    notation, name = program.notation, symbol.name
    role, other = notation.role(name)
    if role is Role.COTANGENT:
        return f"how the loss changes with ${notation.latex(other)}$"
    if notation.kind(name) is not SymbolKind.ERROR:
        return notation.meaning(name)
    Z = MatrixSymbol(notation.numbered("Z", notation.layer(name)), *symbol.shape)
    return f"{notation.title(name)}, ${symbol_in_line(program, notation.made(Role.COTANGENT, Z))}$"


def questions_section(network: Network, derivation: Derivation) -> Section:
    program, last = derivation.program, network.depth
    Z = next(e.target for e in program.equations if e.target.name == program.notation.numbered("Z", last))
    delta = derivation.cotangents[Z]
    delta = derivation.steps[delta].value if delta in derivation.steps else delta
    value = latex(program, delta)
    formula = rf": $\boldsymbol{{\Delta}}_{{{last}}} = {value}$" if width(value) <= WIDEST_CHANGE else ""
    slope = "linear" if network.output_activation == "identity" else "activated"
    where = [prose(f"answers.{slope}", activation=network.output_activation, formula=formula)]
    if any(isinstance(equation.value, RowLogSumExp) for equation in program.equations):
        where.append(prose("answers.softmax"))
    divided_by = network.divided_by
    scale = [factor_of_slope(network) or prose("answers.stays", sent=sent_by_loss(network))]
    scale += [prose("answers.mean", what=divided_by) if divided_by else prose("answers.sum")]
    if divided_by == "entries" and network.criterion().formula.has(logsumexp):
        scale.append(prose("answers.cross_entropy"))
    regularised = "answers.regularised" if network.penalty else "answers.unregularised"
    asked = [prose(regularised, penalty=network.penalty)]
    b = "" if network.bias == "none" else r" + \boldsymbol{b}"
    unasked = {"biases": not b, "column": network.takes_classes}
    for name in (name for name in QUESTIONS if not unasked.get(name)):
        asked.append(prose(f"questions.{name}", where=" ".join(where), factors=" ".join(scale), b=b))
    return Section("What readers ask", "questions", (Bullets(tuple(asked)),))


def sent_by_loss(network: Network) -> str:
    """What the slope of the loss stands in: the last layer's error, or what comes before its activation's slope."""
    of_output = network.output_activation != "identity"
    return (r"\partial L / \partial \boldsymbol{A}" if of_output else r"\boldsymbol{\Delta}") + f"_{{{network.depth}}}"


def factor_of_slope(network: Network) -> str:
    """Where a number in what the loss sends back comes from, if it is of the slope of the loss in each entry."""
    formula = network.criterion().formula
    slope = factor_terms(between_jumps(diff(formula, p)))
    number = abs(slope.as_coeff_Mul()[0])
    texts = [scalar_latex(expr) for expr in (formula, slope)]
    if number == 1 or formula.has(OfRow, Piecewise) or sum(map(width, texts)) > WIDEST_CHANGE:
        return ""
    half = f" {prose('answers.half')}" if number == 2 else ""
    sign, (loss, slope_text) = f"${scalar_latex(number)}$", texts
    return prose("answers.factor", number=sign, sent=sent_by_loss(network), loss=loss, slope=slope_text, half=half)


QUESTIONS = (
    *("error", "reverse", "orientation", "transposes", "layout", "slope", "factors", "digits", "kink", "column"),
    "biases",
)


def making_section(network: Network) -> Section:
    proof = "large" if network.entries > MOST_PROVED else "proved"
    commands = [
        prose(f"making.{name}", most=MOST_PROVED, entries=network.entries) for name in (proof, "compared", "checked")
    ]
    return Section(
        "How this was made and checked", "making", (Paragraph(prose("making.equations")), Bullets(tuple(commands)))
    )
