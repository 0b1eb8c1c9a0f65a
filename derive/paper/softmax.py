"""Where the softmax is in the gradient of a loss with logsumexp in it, and what is left of it for distributions."""

from sympy import Expr, MatrixSymbol, OneMatrix, exp, factor_terms

from derive.paper.blocks import Chain, Paragraph, Row, Section
from derive.paper.latex import latex, symbol_in_line
from derive.paper.prose import prose
from derive.programs import (
    Derivation,
    Elementwise,
    Equation,
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
    share = exp(entry(Z) - entry(wide))
    step = next(
        (e for e in derivation.backward if isinstance(e.value, Elementwise) and e.value.formula.has(share)), None
    )
    if step is None:
        return []
    value = elementwise(share, {entry(Z): Z, entry(wide): wide})
    whole = latex(program, shifts(program.equations).get(Z, Z))
    rows = [Row(latex(program, P), latex(program, value), f"softmax of each row of ${whole}$", "")]
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


def of_row_sums(equation: Equation, Y: MatrixSymbol) -> Expr | None:
    """c, of an equation whose value is c times the sums of the rows of Y."""
    scale, factors = chain(equation.value)
    if len(factors) != 2 or factors[1] != OneMatrix(Y.shape[1], 1):
        return None
    multiple = formula_of(factors[0])[0] / entry(Y)
    return None if multiple.has(*map(entry, equation.uses)) else scale * multiple
