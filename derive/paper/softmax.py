"""Where the softmax is in the gradient of a loss with logsumexp in it, and what is left of it for distributions."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from sympy import Expr, MatrixExpr, MatrixSymbol, OneMatrix, diff, exp, expand, factor_terms, symbols

from derive.paper.blocks import Chain, Paragraph, Row, Section, summary
from derive.paper.breaking import sized
from derive.paper.formulas import ATOM_TEX, FormulaWriter, Piece
from derive.paper.indices import IndexWriter
from derive.paper.latex import TexPrinter, latex, shape_latex, symbol_in_line
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


@dataclass(frozen=True)
class Shares:
    """The softmax P of each row of Z that a backward step has, and the step with P in it.

    If each row of the `given` matrix sums to 1, each entry of what is `sent` back to the column of logsumexp is the
    number `scale`, and the step is shorter.
    """

    P: MatrixSymbol
    value: MatrixExpr
    Z: MatrixSymbol
    step: Equation
    named: MatrixExpr
    given: MatrixSymbol | None = None
    sent: MatrixSymbol | None = None
    scale: Expr | None = None
    short: MatrixExpr | None = None


def softmax_sections(derivation: Derivation) -> list[Section]:
    """For each column of logsumexp: the softmax that the gradient has, and what is left where rows of Y sum to 1."""
    program = derivation.program
    rows = []
    for shares in shares_of(derivation):
        rows += [shares_row(program, shares), *jacobian_rows(program, shares.P, shares.Z)]
        if shares.sent is not None and shares.scale is not None:
            sums = latex(program, shares.scale * OneMatrix(*shares.sent.shape))
            so = f", so that ${symbol_in_line(program, shares.sent)} = {sums}$"
            rows += for_distributions(program, shares, latex(program, shares.step.target), so)
    note = Paragraph(prose("passes.softmax"))
    return [Section("Where the softmax is", "softmax", (note, Chain(tuple(rows))))] if rows else []


def summary_in_shares(derivation: Derivation, equations: Iterable[Equation]) -> Chain:
    """Equations one under the other; the step that has a softmax, if it is a single one, with a name for that."""
    program, found = derivation.program, shares_of(derivation)
    rows: list[Row] = []
    for equation in equations:
        shares = found[0] if len(found) == 1 and found[0].step == equation else None
        if shares is None:
            rows += summary(program, [equation]).rows
            continue
        rows += [shares_row(program, shares), *summary(program, [replace(equation, value=shares.named)]).rows]
        rows += for_distributions(program, shares)
    return Chain(tuple(rows))


def shares_row(program: Program, shares: Shares) -> Row:
    reason, shape = f"softmax of each row of ${latex(program, shares.Z)}$", shape_latex(program, shares.P)
    return Row(latex(program, shares.P), latex(program, shares.value), reason, shape)


def for_distributions(program: Program, shares: Shares, left: str = "", so: str = "") -> list[Row]:
    """What is left of the step, if it is shorter."""
    if shares.short is None or shares.given is None:
        return []
    why = f"if each row of ${latex(program, shares.given)}$ sums to 1{so}"
    return [Row(left, latex(program, shares.short), why, "")]


def shares_of(derivation: Derivation) -> list[Shares]:
    columns = [e for e in derivation.program.equations if isinstance(e.value, RowLogSumExp)]
    numbers = [*range(1, len(columns) + 1)] if len(columns) > 1 else [None] * len(columns)
    found = (shares_in(derivation, *pair) for pair in zip(columns, numbers, strict=True))
    return [shares for shares in found if shares]


def shares_in(derivation: Derivation, column: Equation, number: int | None) -> Shares | None:
    program, Z, M = derivation.program, column.value.args[0], column.target
    P, wide = MatrixSymbol(program.notation.numbered("P", number), *Z.shape), repeated(M, Z.shape)
    if P.name in {symbol.name for symbol in (*program.inputs, *(e.target for e in derivation.equations))}:
        return None
    share = exp(entry(Z) - entry(wide))
    step = next(
        (e for e in derivation.backward if isinstance(e.value, Elementwise) and e.value.formula.has(share)), None
    )
    if step is None:
        return None
    value = elementwise(share, {entry(Z): Z, entry(wide): wide})
    operands = {**step.value.operands, entry(P): P}
    named = elementwise(step.value.formula.xreplace({share: entry(P)}), operands)
    shares = Shares(P, value, shifts(program.equations).get(Z, Z), step, named)
    sent = next((e for e in derivation.backward if e.variable == M), None)
    sums = None if sent is None else of_row_sums(sent, program)
    if sent is None or sums is None:
        return shares
    given, scale = sums
    short = factor_terms(step.value.formula.xreplace({entry(sent.target): scale, share: entry(P)}))
    return replace(shares, given=given, sent=sent.target, scale=scale, short=elementwise(short, operands))


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


def of_row_sums(equation: Equation, program: Program) -> tuple[MatrixSymbol, Expr] | None:
    """Y and c, of an equation whose value is c times the sums of the rows of an input Y."""
    scale, factors = chain(equation.value)
    if len(factors) != 2 or len(equation.uses) != 1 or equation.uses[0] not in program.inputs:
        return None
    (Y,) = equation.uses
    multiple = formula_of(factors[0])[0] / entry(Y)
    return None if factors[1] != OneMatrix(Y.shape[1], 1) or multiple.has(entry(Y)) else (Y, scale * multiple)
