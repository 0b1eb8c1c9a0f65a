"""One theorem, and SymPy as its proof.

If the loss L sees V only through F(V), and G = dL/dF, then dL = tr(G^T dF), so dL/dV = d/dV tr(G^T F(V)) with G held
fixed. For one operation at a time SymPy differentiates that trace exactly. Entry by entry, tr(G^T f(V)) is the sum of
g f(v) over the entries, and its derivative is g f'(v), with f' from sympy.diff.
"""

from functools import lru_cache

from sympy import (
    Add,
    DiracDelta,
    Expr,
    Integer,
    MatAdd,
    MatMul,
    MatrixExpr,
    MatrixSymbol,
    Mul,
    OneMatrix,
    Piecewise,
    ShapeError,
    Symbol,
    Trace,
    diff,
    exp,
    log,
    piecewise_fold,
    powsimp,
    solve,
)

from derive.program import Elementwise, Equation, RowLogSumExp, elementwise, entry


def pullback(equation: Equation, variable: MatrixSymbol, cotangent: MatrixExpr) -> MatrixExpr:
    """dL/dvariable as far as it comes through this equation; the cotangent is dL/dtarget, a symbol or c times ones.

    Raises ShapeError where SymPy's answer has not the variable's shape.
    """
    value = equation.value
    if isinstance(value, RowLogSumExp):
        return row_pullback(equation, variable, cotangent)
    if not isinstance(value, Elementwise):
        return matrix_pullback(value, variable, cotangent)
    contributions = []
    for scalar, operand in value.operands.items():
        if operand.has(variable):
            sensitivity = elementwise_pullback(equation, scalar, cotangent)
            contributions.append(
                sensitivity if operand == variable else matrix_pullback(operand, variable, sensitivity)
            )
    return add(contributions)


def pushforward(equation: Equation, tangents: dict[MatrixSymbol, MatrixSymbol]) -> MatrixExpr:
    """The directional derivative of the target, given those of the symbols it is made of.

    It is the pullback transposed: <G, dF> = <pullback(G), dV> for every G, so dF = d/dG tr(pullback(G)^T dV).
    """
    value, contributions = equation.value, []
    for symbol, tangent in tangents.items():
        if isinstance(value, RowLogSumExp):
            partial = row_partial(equation, symbol)
            operands = {**partial.operands, entry(tangent): tangent}
            moved = elementwise(partial.formula * entry(tangent), operands)
            contributions.append(MatMul(moved, OneMatrix(symbol.shape[1], 1)))
        elif isinstance(value, Elementwise):
            for scalar, operand in value.operands.items():
                if operand.has(symbol):
                    along = elementwise_pullback(equation, scalar, tangent, operand.xreplace({symbol: tangent}))
                    contributions.append(along)
        else:
            G = MatrixSymbol("G", *value.shape)
            pulled = matrix_pullback(value, symbol, G)
            contributions.append(differentiated(pulled.T * tangent, G))
    return add(contributions)


def elementwise_pullback(
    equation: Equation, scalar: Expr, cotangent: MatrixExpr, view: MatrixExpr | None = None
) -> MatrixExpr:
    """Cotangent times partial derivative, entry by entry, the output written as itself.

    The same product with a tangent (or the `view` of it that an operand is) is what comes through forwards.
    """
    value, output = equation.value, entry(equation.target)
    partial = between_jumps(diff(value.formula, scalar)).xreplace({value.formula: output})
    operands = {**value.operands, output: equation.target}
    if isinstance(cotangent, MatrixSymbol):
        operands = {entry(cotangent): view or cotangent, **operands}
        g = entry(cotangent)
    else:
        g, _ = cotangent.as_coeff_mmul()
    return elementwise(tidy(g, partial), operands)


def between_jumps(derivative: Expr) -> Expr:
    """Where a function jumps (sign at 0) its slope counts as 0, as torch has it."""
    return derivative.replace(DiracDelta, lambda *_: Integer(0))


def row_pullback(equation: Equation, variable: MatrixSymbol, cotangent: MatrixExpr) -> MatrixExpr:
    """Of m = log(s), s the sum over the row of exp(z): dL/dz = g dm/dz, the row's g at each of its entries."""
    partial = row_partial(equation, variable)
    if not isinstance(cotangent, MatrixSymbol):
        return elementwise(cotangent.as_coeff_mmul()[0] * partial.formula, partial.operands)
    g = entry(cotangent)
    return elementwise(g * partial.formula, {g: cotangent * OneMatrix(1, variable.shape[1]), **partial.operands})


def row_partial(equation: Equation, variable: MatrixSymbol) -> Elementwise:
    """dm/dz = dm/ds ds/dz entry by entry, with s written as what makes it m."""
    s, u, m = Symbol("s", positive=True), entry(variable), entry(equation.target)
    (s_of_m,) = solve(log(s) - m, s)
    partial = powsimp((diff(log(s), s) * diff(exp(u), u)).xreplace({s: s_of_m}))
    return elementwise(partial, {m: equation.target * OneMatrix(1, variable.shape[1]), u: variable})


def tidy(g: Expr, partial: Expr) -> Expr:
    """g times the slope: numbers in front, and a slope with branches as the branches of the product."""
    if partial.has(Piecewise):
        return Add(*(piecewise_fold(g * term) for term in Add.make_args(partial)))
    content, primitive = partial.as_content_primitive()
    return g * Mul(content, primitive, evaluate=False) if content.is_Integer and content != 1 else g * partial


def matrix_pullback(value: MatrixExpr, variable: MatrixSymbol, cotangent: MatrixExpr) -> MatrixExpr:
    """d/dvariable tr(G^T F), by SymPy, for one operation F that is no formula entry by entry."""
    G = MatrixSymbol("G", *value.shape)
    derivative = differentiated(G.T * value, variable)
    if tuple(derivative.shape) != tuple(variable.shape):
        raise ShapeError(f"d/d{variable} of {value} came out as {derivative.shape}, not {variable.shape}")
    derivative = derivative.xreplace({G: cotangent})
    return derivative if derivative.has(MatrixSymbol) else derivative.doit()


def differentiated(square: MatrixExpr, variable: MatrixSymbol) -> MatrixExpr:
    """d/dvariable of the trace; layers differ in their names only, so each form is differentiated once."""
    symbols = sorted(square.atoms(MatrixSymbol), key=lambda symbol: symbol.name)
    lengths = list(dict.fromkeys(size for symbol in symbols for size in symbol.shape if isinstance(size, Symbol)))
    plain = {size: Symbol(f"n{i}", **size.assumptions0) for i, size in enumerate(lengths)}
    named = {
        symbol: MatrixSymbol(f"V{i}", *(size.xreplace(plain) for size in symbol.shape))
        for i, symbol in enumerate(symbols)
    }
    derivative = _differentiated(square.xreplace({**plain, **named}), named[variable])
    back = {new: old for old, new in plain.items()}
    return derivative.xreplace({**{new: old for old, new in named.items()}, **back})


@lru_cache(maxsize=4096)
def _differentiated(square: MatrixExpr, variable: MatrixSymbol) -> MatrixExpr:
    return Trace(square).diff(variable)


def add(contributions: list[MatrixExpr]) -> MatrixExpr:
    """The sum of what reaches a variable by several ways; formulas entry by entry become one formula."""
    formula, operands, others = Integer(0), {}, []
    for part in contributions:
        if isinstance(part, Elementwise):
            formula += part.formula
            operands.update(part.operands)
        elif isinstance(part, MatrixSymbol):
            formula += entry(part)
            operands[entry(part)] = part
        else:
            others.append(part)
    if operands:
        others.append(elementwise(formula, operands))
    return others[0] if len(others) == 1 else MatAdd(*others)


def rule(equation: Equation, variable: MatrixSymbol) -> str:
    """In words, the operation that the pullback goes back through."""
    if isinstance(equation.value, RowLogSumExp):
        return "chain rule along the row"
    if isinstance(equation.value, Elementwise):
        return "chain rule, entry by entry"
    for term in MatAdd.make_args(equation.value):
        if term.has(variable):
            factors = [f for f in MatMul.make_args(term) if isinstance(f, MatrixExpr)]
            if any(isinstance(f, OneMatrix) for f in factors):
                return "broadcast over the rows" if len(factors) == 2 else "sum of the entries"
            return "left factor of a product" if factors[0].has(variable) else "right factor of a product"
    raise ValueError(f"{equation.target} does not use {variable}")
