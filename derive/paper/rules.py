"""The rules of the backward pass, each derived as a step of its own, and the proof of a step.

A rule is stated for matrices of any name and size. Its differential is SymPy's, its entries are printed by indices.
"""

from collections.abc import Iterable, Iterator
from itertools import chain, count

from sympy import (
    Basic,
    Determinant,
    Expr,
    Function,
    Identity,
    Inverse,
    MatAdd,
    MatMul,
    MatPow,
    MatrixExpr,
    MatrixSymbol,
    OneMatrix,
    Symbol,
    Trace,
    ZeroMatrix,
    sympify,
)
from sympy.matrices.expressions.matexpr import MatrixElement

from derive.calculus import pull_back, push_forward, rule
from derive.paper.blocks import (
    WIDEST_CHANGE,
    WIDEST_ROW,
    Boxed,
    Chain,
    Display,
    Paragraph,
    Row,
    Section,
    broken_rows,
    enumerated,
)
from derive.paper.breaking import width
from derive.paper.indices import IndexWriter, index_proof
from derive.paper.latex import latex, symbolic_shape, written_tex
from derive.paper.prose import prose
from derive.programs import (
    PLAIN,
    Derivation,
    Elementwise,
    Equation,
    LogAbsDet,
    LogDet,
    RowLogSumExp,
    Scalar,
    elementwise,
    entry,
    transposed,
)

REASONS: dict[tuple[type[Basic], ...], str] = {
    (Determinant, LogDet, LogAbsDet): "jacobi",
    (Inverse,): "inverse",
    (RowLogSumExp,): "logsumexp",
    (Elementwise,): "slopes",
    (MatPow,): "powers",
}


def rules_sections(derivation: Derivation) -> list[Section]:
    """Each rule that the backward pass uses, once, derived as a step of its own from the one identity."""
    identity, reading, sides = (Paragraph(prose(f"rules.{name}")) for name in ("identity", "reading", "sides"))
    formula, moves = (Display(prose(f"rules.{name}")) for name in ("formula", "moves"))
    intro = Section("The rules used", "rules", (identity, formula, reading, sides, moves))
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
        for equation, _ in derivation.ways.get(step.variable, []):
            found.setdefault(rule(equation, step.variable), (equation, step.variable))
    return found


class f(Function):
    """Any function applied entry by entry, and its slope."""

    def fdiff(self, argindex: int = 1) -> Expr:
        return f_prime(*self.args)


class f_prime(Function):
    pass


def rule_section(number: int, words: str, equation: Equation, variable: MatrixSymbol) -> Section:
    """A rule on matrices of any name and size, derived anew by SymPy from the first equation that it is used on."""
    through, V = general(equation, variable)
    F, G = through.target, MatrixSymbol("G", *through.target.shape)
    gradient = pull_back(through, V, G)
    symbols = [V, *(symbol for symbol in through.uses if symbol != V)]
    shapes = enumerated([f"${latex(None, s)}$ is ${symbolic_shape(s)}$" for s in (F, *symbols)], "and")
    sentences = [prose("rules.let", F=latex(None, F), value=latex(None, through.value), shapes=shapes)]
    sentences += [prose("rules.function")] * isinstance(through.value, Elementwise)
    dV, dF = (PLAIN.differential(symbol) for symbol in (V, F))
    change = differential(through, V, dV)
    g, df, dv, back = (latex(None, part) for part in (G, dF, dV, gradient))
    varied = "" if change is None else latex(None, change)
    rows = broken_rows(df, varied, why(through, V), "") if varied else []
    moving = varied if varied and width(varied) <= WIDEST_CHANGE else df
    rows.append(Row("dL", rf"\langle {g}, {moving} \rangle", "the identity", ""))
    rows += broken_rows("", rf"\langle {back}, {dv} \rangle", f"${dv}$ alone on its side", "")
    return Section(
        f"R{number}. {words[0].upper()}{words[1:]}",
        f"R{number}",
        (
            Paragraph(" ".join([*sentences, "Then"])),
            Chain(tuple(rows)),
            Boxed(rf"\frac{{\partial L}}{{\partial {latex(None, V)}}} = {back}"),
        ),
        level=3,
    )


def why(through: Equation, V: MatrixSymbol) -> str:
    """What gives the change of an operation's value."""
    value = through.value.number if isinstance(through.value, Scalar) else through.value
    for kinds, reason in REASONS.items():
        if any(part.has(V) for part in value.atoms(*kinds)):
            return prose(f"rules.{reason}")
    return f"only ${latex(None, V)}$ varies"


def general(equation: Equation, variable: MatrixSymbol) -> tuple[Equation, MatrixSymbol]:
    """The operation that a step goes back through, as F of V and of A, B, ..., and V, of sizes p, q, ..."""
    value = equation.value
    if isinstance(value, Elementwise):
        V = MatrixSymbol("V", *(Symbol(letter, integer=True, positive=True) for letter in "pq"))
        return Equation(MatrixSymbol("F", *V.shape), elementwise(f(entry(V)), {entry(V): V}), equation.rule, ""), V
    terms = [term for term in MatAdd.make_args(value) if term.has(variable)]
    value = terms[0] if len(terms) == 1 else value
    if isinstance(value, MatMul):
        _, value = value.as_coeff_mmul()
    symbols = [variable, *sorted(value.atoms(MatrixSymbol) - {variable}, key=lambda symbol: symbol.name)]
    matrices = [*symbols, *sorted(value.atoms(OneMatrix, Identity, ZeroMatrix), key=str)]
    sides = dict.fromkeys(sympify(side) for matrix in (value, *matrices) for side in matrix.shape)
    sizes = dict.fromkeys(size for side in sides for size in sorted(side.free_symbols, key=str))
    letters = (Symbol(name, integer=True, positive=True) for name in plenty("pqrstu"))
    renamed = dict(zip(sizes, letters, strict=False))
    named = {
        symbol: MatrixSymbol(name, *(sympify(size).xreplace(renamed) for size in symbol.shape))
        for symbol, name in zip(symbols, plenty("VABCDEH"), strict=False)
    }
    value = value.xreplace({**renamed, **named})
    return Equation(MatrixSymbol("F", *value.shape), value, equation.rule, ""), named[variable]


def plenty(letters: str) -> Iterator[str]:
    """The letters, and then the last one with numbers."""
    return chain(letters, (f"{letters[-1]}{number}" for number in count(1)))


def proof_rows(
    writer: IndexWriter,
    ways: list[tuple[Equation, MatrixExpr, MatrixExpr]],
    variable: MatrixSymbol,
    gradient: MatrixExpr,
) -> list[Row]:
    """<G, dF> of each equation that the variable enters, dF from the equation, then dV alone on its side.

    With each equation comes its G, and what it sends back.

    Of a single one entry by entry, where there is such a form; none where dF has no room on a line.
    """
    notation = writer.notation
    variation = notation.differential(variable)
    changes = [differential(through, variable, variation) for through, *_ in ways]
    known = [change for change in changes if change is not None]
    if len(known) < len(ways) or max(width(written_tex(notation, change)) for change in known) > WIDEST_CHANGE:
        return []
    dv, v = (written_tex(notation, part) for part in (variation, variable))

    def line(left: str, pairs: Iterable[tuple[MatrixExpr, MatrixExpr]], reason: str) -> list[Row]:
        sides = ((written_tex(notation, one), written_tex(notation, other)) for one, other in pairs)
        first, *others = (rf"\langle {one}, {other} \rangle" for one, other in sides)
        if width(first + "".join(others)) <= WIDEST_ROW:
            return [Row(left, " + ".join([first, *others]), reason, "")]
        return [Row(left, first, reason, ""), *(Row("", rf"\quad {{}} + {part}", "", "", sign="") for part in others)]

    alone, cotangents = f"${dv}$ alone on its side", [cotangent for _, cotangent, _ in ways]
    moved = (notation.differential(through.target) for through, *_ in ways)
    rows = line("dL", zip(cotangents, moved, strict=True), "the identity" + ", each way" * (len(ways) > 1))
    rows += line("", zip(cotangents, known, strict=True), f"only ${v}$ varies")
    if len(ways) > 1:
        return rows + line("", [(sent, variation) for *_, sent in ways], f"{alone}: what stands beside it is added")
    proof = index_proof(writer, cotangents[0], known[0], gradient, variation)
    if proof:
        rows.append(Row("", proof[0], "entry by entry", ""))
        rows += [Row("", proof[1], f"${dv}$ taken out", "")] * (proof[1] != proof[0])
    return rows + line("", [(gradient, variation)], "as an inner product again" if proof else alone)


def differential(equation: Equation, variable: MatrixSymbol, variation: MatrixSymbol) -> MatrixExpr | None:
    """The change of an equation's value for a change of one symbol in it; None where none is known."""
    number = equation.value.number if isinstance(equation.value, Scalar) else None
    if isinstance(number, Trace):
        inner = Equation(MatrixSymbol("of the trace", *number.arg.shape), number.arg, "", "")
        change = differential(inner, variable, variation)
        return None if change is None else Scalar(Trace(change))
    if isinstance(number, MatrixElement):
        return Scalar(variation[number.i, number.j]) if number.parent == variable else None
    if number is not None:
        return Scalar(Trace(MatMul(transposed(pull_back(equation, variable, OneMatrix(1, 1))), variation)))
    try:
        return push_forward(equation, {variable: variation})
    except ValueError:
        return None
