"""Where the softmax is in the gradient of a loss with logsumexp in it, and what is left of it for distributions."""

from sympy import Expr, MatrixSymbol, OneMatrix, diff, exp, expand, factor_terms, symbols

from derive.paper.blocks import Chain, Paragraph, Row, Section
from derive.paper.breaking import sized
from derive.paper.formulas import ATOM_TEX, FormulaWriter, Piece
from derive.paper.indices import IndexWriter
from derive.paper.latex import TexPrinter, latex, symbol_in_line
from derive.paper.prose import prose
from derive.programs import (
    Derivation,
    Elementwise,
    Equation,
    Program,
    RowLogSumExp,
    chain,
    elementwise,
    entry,
    formula_of,
    repeated,
    shifts,
)


def softmax_sections(derivation: Derivation) -> list[Section]:
    """For each column of logsumexp: the softmax that the gradient has, and what is left where rows of Y sum to 1."""
    columns = [e for e in derivation.program.equations if isinstance(e.value, RowLogSumExp)]
    rows = [row for column in columns for row in softmax_rows(derivation, column)]
    note = Paragraph(prose("passes.softmax"))
    return [Section("Where the softmax is", "softmax", (note, Chain(tuple(rows))))] if rows else []


def softmax_rows(derivation: Derivation, column: Equation) -> list[Row]:
    program, Z, M = derivation.program, column.value.args[0], column.target
    P, wide = MatrixSymbol("P", *Z.shape), repeated(M, Z.shape)
    if P.name in {symbol.name for symbol in (*program.inputs, *(e.target for e in derivation.equations))}:
        return []
    share = exp(entry(Z) - entry(wide))
    step = next(
        (e for e in derivation.backward if isinstance(e.value, Elementwise) and e.value.formula.has(share)), None
    )
    if step is None:
        return []
    value = elementwise(share, {entry(Z): Z, entry(wide): wide})
    whole = latex(program, shifts(program.equations).get(Z, Z))
    rows = [Row(latex(program, P), latex(program, value), f"softmax of each row of ${whole}$", "")]
    rows += jacobian_rows(program, P, shifts(program.equations).get(Z, Z))
    sent = next((e for e in derivation.backward if e.variable == M), None)
    if sent is None:
        return rows
    scale = of_row_sums(sent, program.inputs[1])
    if scale is not None:
        short = factor_terms(step.value.formula.xreplace({entry(sent.target): scale, share: entry(P)}))
        sums = f"${symbol_in_line(program, sent.target)} = {latex(program, scale * OneMatrix(*sent.shape))}$"
        given = f"if each row of ${latex(program, program.inputs[1])}$ sums to 1, so that {sums}"
        simple = elementwise(short, {**step.value.operands, entry(P): P})
        rows.append(Row(latex(program, step.target), latex(program, simple), given, ""))
    return rows


def jacobian_rows(program: Program, P: MatrixSymbol, Z: MatrixSymbol) -> list[Row]:
    """How a share moves with its own entry, and with another of its row."""
    own, other, rest, total, *shares = symbols("own other rest total p q", positive=True)
    sum_of_row = exp(own) + exp(other) + rest
    in_shares = [(sum_of_row, total), *((exp(u), p * total) for u, p in zip((own, other), shares, strict=True))]
    writer = IndexWriter(program.notation, {P.name, Z.name}, P)
    _, i, j = writer.target(P)
    names = {p: Piece(writer.symbol(P.name, i, index), ATOM_TEX) for p, index in zip(shares, (j, "k"), strict=True)}
    rows = []
    for index, moved, why in ((j, own, "slope in its own entry"), ("k", other, "in another of its row")):
        slope = shares[0] * expand(diff(exp(own) / sum_of_row, moved).subs(in_shares) / shares[0])
        formula = FormulaWriter(TexPrinter(program.notation), names, matrix=False).piece(slope).tex
        of, by = writer.symbol(P.name, i, j), writer.symbol(Z.name, i, index)
        rows.append(Row(rf"\frac{{\partial {of}}}{{\partial {by}}}", sized(formula), why, ""))
    return rows


def of_row_sums(equation: Equation, Y: MatrixSymbol) -> Expr | None:
    """c, of an equation whose value is c times the sums of the rows of Y."""
    scale, factors = chain(equation.value)
    if len(factors) != 2 or factors[1] != OneMatrix(Y.shape[1], 1):
        return None
    multiple = formula_of(factors[0])[0] / entry(Y)
    return None if multiple.has(*map(entry, equation.uses)) else scale * multiple
