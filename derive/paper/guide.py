"""What helps to read a derivation: its notation and that of other books, what readers ask, and how it was made.

Here alone words are typed for the network at hand; their formulas are printed from the derivation.
"""

import re

from sympy import Heaviside, KroneckerProduct, MatrixSymbol, preorder_traversal
from sympy.matrices.expressions.slice import MatrixSlice

from derive.backends.torch import spell
from derive.formulas import logsumexp
from derive.paper.blocks import WIDEST_CHANGE, Bullets, Paragraph, Section, Table
from derive.paper.breaking import inline, width
from derive.paper.latex import latex, shape_latex, symbolic_shape
from derive.paper.passes import cotangent_of
from derive.problems import MOST_PROVED, Network
from derive.programs import BlockSum, Derivation, Program, RowLogSumExp


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
                    "Rows are data points, $N$ of them. Layer $l$ has $n_{l}$ units; $n_{0}$ is the number of inputs.",
                    "A layer is a subscript: a superscript would read as a power.",
                    r"In entries $i$ counts points, $j$ the units of the layer that an equation is about, and $k$ "
                    r"those of the layer before. The layer's number comes first: $W_{1;j,k}$ is in row $j$ and column "
                    r"$k$ of $\boldsymbol{W}_{1}$.",
                    *signs(derivation),
                )
            ),
            *map(Paragraph, sizes),
            Table(("symbol", "meaning", "shape", "here", "in the code"), tuple(rows), (0.12, 0.42, 0.15, 0.15, 0.16)),
            Paragraph(
                "The same in other words, for the same loss of a point. Nielsen writes for one point; Andrew Ng's cost "
                "is the loss of all points, divided by their number $m$."
            ),
            Table(
                ("here", "Nielsen (columns)", "Andrew Ng (columns)", "torch"),
                tuple(translation(network)),
                (0.25, 0.27, 0.27, 0.21),
            ),
        ),
    )


def signs(derivation: Derivation) -> list[str]:
    """What is written in formulas, in words; what not every derivation has, where it has it."""
    nodes = {kind for equation in derivation.equations for kind in map(type, preorder_traversal(equation.value))}
    return [*SIGNS, *(words for kind, words in RARE_SIGNS.items() if kind in nodes)]


SIGNS = (
    r"$\odot$ multiplies entry by entry, $\oslash$ divides, $\top$ transposes; $\langle \boldsymbol{G}, \boldsymbol{H} "
    r"\rangle = \sum_{i, j} G_{i,j} \, H_{i,j} = \mathrm{tr}(\boldsymbol{G}^{\top} \boldsymbol{H})$ is the inner "
    "product of two matrices of one shape.",
    r"$\boldsymbol{1}_{N}$ is a column of $N$ ones; a bare $\boldsymbol{1}$ is a matrix of ones of the shape that "
    "fits.",
    r"$\partial L / \partial \boldsymbol{V}$ always has the shape of $\boldsymbol{V}$: its entry $i,j$ is "
    r"$\partial L / \partial V_{i,j}$. No choice between numerator and denominator layout arises.",
)
RARE_SIGNS = {
    RowLogSumExp: r"$\mathrm{logsumexp}(\boldsymbol{X})$ is a column: the logarithm of the sum of $\exp$ over each "
    "row.",
    KroneckerProduct: r"$\boldsymbol{A} \otimes \boldsymbol{B}$ is made of blocks: block $i,j$ is "
    r"$A_{i,j} \, \boldsymbol{B}$.",
    BlockSum: r"$\mathrm{inblocks}(\boldsymbol{G}, \boldsymbol{X})$ sees $\boldsymbol{G}$ as blocks of the shape of "
    r"$\boldsymbol{X}$; entry $i,j$ is the inner product of block $i,j$ and $\boldsymbol{X}$. "
    r"$\mathrm{overblocks}(\boldsymbol{G}, \boldsymbol{A})$ sees as many blocks as $\boldsymbol{A}$ has entries; it is "
    r"the sum over all $i,j$ of $A_{i,j}$ times block $i,j$.",
    MatrixSlice: r"$\boldsymbol{X}_{1:2,3:4}$ is rows 1 to 2 and columns 3 to 4.",
    Heaviside: r"$\mathrm{Heaviside}(x, c)$ is 0 below 0, 1 above and $c$ at 0.",
}


def translation(network: Network) -> list[tuple[str, str, str, str]]:
    """Rows of the same in other books; how much of their gradients ours are depends on what a mean divides by."""
    outputs = rf"n_{{{network.depth}}}"
    error, gradient = {
        "sum": ("", "m"),
        "mean": (r"\frac{1}{m} ", ""),
        "mean of entries": (rf"\frac{{1}}{{m \, {outputs}}} ", rf"\frac{{1}}{{{outputs}}} "),
    }[network.reduction if network.reduction == "sum" or network.criterion().per_row else "mean of entries"]
    return [
        (r"$\boldsymbol{X}$, a point a row", r"$x = a^{1}$, one point", r"$X = A^{[0]}$, a point a column", "`x`"),
        (r"$\boldsymbol{W}_{l}$", r"$w^{l}$", r"$W^{[l]}$", "`layer.weight`"),
        (r"$\boldsymbol{b}_{l}$, a row", r"$b^{l}$, a column", r"$b^{[l]}$, a column", "`layer.bias`"),
        (r"$\boldsymbol{Z}_{l}^{\top}$", r"$z^{l}$", r"$Z^{[l]}$", "`z`, transposed"),
        (r"$\boldsymbol{A}_{l}^{\top}$", r"$a^{l}$", r"$A^{[l]}$", "`a`, transposed"),
        (r"$\boldsymbol{\Delta}_{l}^{\top}$", r"$\delta^{l}$", rf"${error}dZ^{{[l]}}$", "`z.grad`, transposed"),
        (
            r"$\boldsymbol{\Delta}_{l}^{\top} \boldsymbol{A}_{l-1}$",
            r"$\delta^{l} (a^{l-1})^{\top}$",
            rf"${gradient} \, dW^{{[l]}} = {error}dZ^{{[l]}} A^{{[l-1] \top}}$".replace(r"$ \, ", "$"),
            "`layer.weight.grad`" + (", without the penalty" if network.penalty else ""),
        ),
        (
            r"$\boldsymbol{1}_{N}^{\top} \boldsymbol{\Delta}_{l}$",
            r"$\delta^{l}$",
            rf"${gradient} \, db^{{[l]}} = {error}\sum dZ^{{[l]}}$".replace(r"$ \, ", "$"),
            "`layer.bias.grad`",
        ),
    ]


def meaning_of(program: Program, symbol: MatrixSymbol) -> str:
    return re.sub(r"dL/d(\w+)", r"`dL/d\1`", program.notation.meaning(symbol.name))


def questions_section(network: Network, derivation: Derivation) -> Section:
    program, last = derivation.program, network.depth
    Z = next(e.target for e in program.equations if e.target.name == f"Z{last}")
    delta = next(
        (e.value for e in derivation.backward if e.target == program.notation.cotangent(Z)), cotangent_of(derivation, Z)
    )
    value = latex(program, delta)
    formula = rf": $\boldsymbol{{\Delta}}_{{{last}}} = {value}$" if width(value) <= WIDEST_CHANGE else ""
    both = r"Both are $\partial L / \partial \boldsymbol{Z}$ of the last layer, for different losses and outputs. "
    if network.output_activation == "identity":
        where = f"{both}Here the output layer has no activation, so that all comes from the loss{formula}."
    else:
        where = f"{both}Here the output layer applies `{network.output_activation}`, so that its slope enters{formula}."
    if any(isinstance(equation.value, RowLogSumExp) for equation in program.equations):
        where += " A softmax comes in by the loss: see *Where the softmax is*."
    scale = "The loss here is a sum, so there is no $1/N$ anywhere: twice the points, about twice the gradient."
    if network.reduction == "mean":
        per_row = network.criterion().per_row
        scale = (
            f"The loss here is divided by the number of {'points' if per_row else 'entries'}; that stands in the last "
            "layer's error, once, and every other gradient inherits it from there."
        )
        if network.criterion().formula.has(logsumexp) and not per_row:
            scale += " torch's `cross_entropy` divides by the number of points alone."
    regularised = (
        f"*Is the bias regularised?* No: the penalty `{network.penalty}` is taken of each weight and of no bias. It is "
        "added after the reduction, once for all points; the rows' own gradients (`per_sample_grad`) are without it. "
        r"`weight_decay=c` of `torch.optim.SGD` is the penalty `c*w**2/2`, of biases, too."
    )
    return Section(
        "What readers ask",
        "questions",
        (
            Bullets(
                (
                    *([regularised] if network.penalty else []),
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


def making_section(network: Network) -> Section:
    proof = (
        "`python -m derive.prove FOLDER` runs the emitted code on symbols and compares every entry of every gradient "
        "with SymPy's derivative of the scalar loss, written out by loops."
    )
    if network.entries > MOST_PROVED:
        proof = (
            "`python -m derive.prove FOLDER` runs the code on symbols, entry by entry, and refuses more than "
            f"{MOST_PROVED} weights and biases: these {network.entries} are not proved. A narrower network has the "
            "same derivation, and is."
        )
    return Section(
        "How this was made and checked",
        "making",
        (
            Paragraph(
                "Every formula of the steps is printed from the list of equations that the code in `backward.py` is "
                "printed from, so the two cannot say different things. SymPy made each backward equation with "
                "`Trace(G.T * F(V)).diff(V)`, one operation at a time, and each slope with `diff`; none is typed. "
                "FOLDER is the name of the folder of this page, and the commands run from where that lies:"
            ),
            Bullets(
                (
                    proof,
                    "`python -m FOLDER.run --compare` computes the gradients in numbers, by this derivation and by "
                    "torch's autograd, and compares the two files that it wrote.",
                    "`python -m derive.build --check --out FOLDER` says whether these pages and the code are what "
                    "SymPy derives today.",
                )
            ),
        ),
    )
