"""One theorem, and SymPy as its proof.

If the loss L sees V only through F(V), and G = dL/dF, then dL = tr(G^T dF), so dL/dV = d/dV tr(G^T F(V)) with G held
fixed. For one operation at a time SymPy differentiates that trace exactly (product_rules.py). Entry by entry,
tr(G^T f(V)) is the sum of g f(v) over the entries, and its derivative is g f'(v), with f' from sympy.diff. What SymPy
cannot differentiate is taught here: determinants, Kronecker products, blocks, the logarithm of row sums of exp.

Rules can be looked up: MC are numbers of The Matrix Cookbook (Petersen and Pedersen, 2012), MN sections of Matrix
Differential Calculus (Magnus and Neudecker).
"""

from dataclasses import replace

from sympy import (
    BlockMatrix,
    Derivative,
    Determinant,
    DiracDelta,
    Dummy,
    Expr,
    Heaviside,
    Integer,
    Inverse,
    KroneckerProduct,
    MatAdd,
    MatMul,
    MatPow,
    MatrixExpr,
    MatrixSymbol,
    OneMatrix,
    Piecewise,
    Subs,
    Symbol,
    Trace,
    Transpose,
    ZeroMatrix,
    ceiling,
    diff,
    exp,
    expand,
    floor,
    log,
    powsimp,
    sign,
    solve,
    tanh,
)
from sympy.core.relational import Relational
from sympy.matrices.expressions.matexpr import MatrixElement
from sympy.matrices.expressions.slice import MatrixSlice

from derive.calculus.product_rules import chain_pullback
from derive.formulas import is_fraction, rewritten, sigmoid, stable
from derive.programs import (
    BlockSum,
    Elementwise,
    Equation,
    LogAbsDet,
    LogDet,
    RowLogSumExp,
    Scalar,
    add,
    constant_of,
    core,
    elementwise,
    entry,
    formula_of,
    inverse_of,
    repeated,
    scaled,
    times,
    transposed,
    weighted,
)

RULE_NAMES = {
    Trace: "trace",
    Determinant: "determinant",
    LogDet: "log of the determinant",
    LogAbsDet: "log of the size of the determinant",
    MatrixElement: "entry",
    Inverse: "inverse",
    MatPow: "matrix power",
    KroneckerProduct: "Kronecker product",
    BlockSum: "contraction with a Kronecker factor",
    MatrixSlice: "block",
    BlockMatrix: "block matrix",
    **dict.fromkeys((MatrixSymbol, Transpose, Elementwise), "sum"),
}


def pull_back(equation: Equation, variable: MatrixSymbol, cotangent: MatrixExpr) -> MatrixExpr:
    """dL/dvariable as far as it comes through this equation; the cotangent is dL/dtarget.

    Raises ShapeError where SymPy's answer has not the variable's shape.
    """
    value = equation.value
    if isinstance(value, MatAdd) and value.has(Elementwise):
        terms = [replace(equation, value=term) for term in value.args if term.has(variable)]
        return add([pull_back(term, variable, cotangent) for term in terms], variable.shape)
    if isinstance(value, Elementwise):
        contributions = []
        for scalar, operand in value.operands.items():
            if operand.has(variable):
                sensitivity = elementwise_pullback(equation, scalar, cotangent)
                contributions.append(matrix_pullback(operand, variable, sensitivity))
        return add(contributions, variable.shape)
    if isinstance(value, Scalar):
        return scalar_pullback(equation, variable, cotangent)
    if isinstance(value, RowLogSumExp):
        return row_pullback(equation, variable, cotangent)
    return matrix_pullback(value, variable, cotangent, equation.target)


def push_forward(equation: Equation, tangents: dict[MatrixSymbol, MatrixSymbol]) -> MatrixExpr:
    """The directional derivative of the target, given those of the symbols it is made of.

    It is the pullback transposed: <G, dF> = <pullback(G), dV> for every G, so dF = d/dG tr(dV^T pullback(G)).
    """
    value, contributions = equation.value, []
    if isinstance(value, MatAdd) and value.has(Elementwise):
        for term in value.args:
            moving = {symbol: tangent for symbol, tangent in tangents.items() if term.has(symbol)}
            contributions.append(push_forward(replace(equation, value=term), moving))
        return add(contributions, equation.shape)
    if isinstance(value, Elementwise):
        return add(moved_operands(equation, tangents), equation.shape)
    inner = [part for part in MatMul.make_args(value) if isinstance(part, Elementwise)]
    if inner:
        return value.xreplace({inner[0]: formula_pushforward(inner[0], tangents)})
    for symbol, tangent in tangents.items():
        if isinstance(value, RowLogSumExp):
            partial, moving = row_partial(equation), value.args[0].xreplace({symbol: tangent})
            moved = elementwise(partial.formula * entry(moving), {**partial.operands, entry(moving): moving})
            contributions.append(MatMul(moved, OneMatrix(moving.shape[1], 1)))
        else:
            G = MatrixSymbol("sent back", *value.shape)  # which is the name of no input
            scalar = isinstance(value, Scalar)
            pulled = scalar_pullback(equation, symbol, G) if scalar else matrix_pullback(value, symbol, G)
            linear = Equation(MatrixSymbol("pulled back", *pulled.shape), pulled, equation.rule, equation.meaning)
            contributions.append(pull_back(linear, G, tangent))
    return add(contributions, equation.shape)


def moved_operands(equation: Equation, tangents: dict[MatrixSymbol, MatrixSymbol]) -> list[MatrixExpr]:
    """Each tangent times its slope; of two with opposite slopes, as of u - m, the difference, which may be 0."""
    operands, found = equation.value.operands.items(), []
    views = {u: moved_view(of, s, d) for s, d in tangents.items() for u, of in operands if of.has(s)}
    slopes = {u: slope_of(equation, u) for u in views}
    output = {entry(equation.target): equation.value.formula}
    for u in views:
        if u not in slopes:
            continue
        slope, view = slopes.pop(u), views[u]
        opposite = [m for m, other in slopes.items() if expand((slope + other).xreplace(output)) == 0]
        if opposite and not slope.is_number:
            m = opposite[0]
            ways = [(slope, view, views[m]), (slopes.pop(m), views[m], view)]
            slope, *sides = min(ways, key=lambda way: way[0].could_extract_minus_sign())
            one, other = map(entry, sides)
            view = elementwise(one - other, dict(zip((one, other), sides, strict=True)))
        found.append(weighted_slope(equation, slope, view))
    return found


def moved_view(view: MatrixExpr, symbol: MatrixSymbol, tangent: MatrixSymbol) -> MatrixExpr:
    """The view of the tangent in the place of that of the symbol."""
    inner = core(view)
    if inner not in (symbol, Transpose(symbol)):
        raise ValueError(f"no derivative is known of {type(inner).__name__}: {inner}")
    return view.xreplace({symbol: tangent})


def formula_pushforward(value: Elementwise, tangents: dict[MatrixSymbol, MatrixSymbol]) -> MatrixExpr:
    """The directional derivative of a formula that has no name of its own."""
    unnamed = Equation(MatrixSymbol("no name", *value.shape), value, "", "")
    moving = {symbol: tangent for symbol, tangent in tangents.items() if symbol in unnamed.uses}
    moved = push_forward(unnamed, moving)
    formula, operands = formula_of(moved)
    return elementwise(formula.xreplace({entry(unnamed.target): value.formula}), {**operands, **value.operands})


def elementwise_pullback(equation: Equation, scalar: Expr, cotangent: MatrixExpr) -> MatrixExpr:
    """Cotangent times partial derivative, entry by entry (MN 9.14), the output written as itself.

    The same product with a tangent is what comes through forwards.
    """
    return weighted_slope(equation, slope_of(equation, scalar), cotangent)


def weighted_slope(equation: Equation, slope: Expr, cotangent: MatrixExpr) -> MatrixExpr:
    return weighted(cotangent, slope, {**equation.value.operands, entry(equation.target): equation.target})


def slope_of(equation: Equation, scalar: Expr) -> Expr:
    """The partial derivative of its formula; raises ValueError where SymPy knows none."""
    value, output = equation.value, entry(equation.target)
    steps = {part: Dummy(real=True) for part in value.formula.atoms(floor, ceiling, sign)}
    partial = diff(value.formula.xreplace(steps), scalar).xreplace({step: part for part, step in steps.items()})
    partial = partial.replace(has_any_power, lambda product: powsimp(product, combine="exp"))
    if partial.has(Derivative, Subs):
        raise ValueError(f"{value.formula}: SymPy knows no derivative of it; write it with other functions")
    if not loses_as_output(equation):
        partial = partial.xreplace({value.formula: output})
    return with_nan_kept(stable(rewritten(between_jumps(partial))))


def has_any_power(product: Expr) -> bool:
    """Whether an exponent in it is no number: z^p p/z is p z^(p - 1), and has a value at 0."""
    return product.is_Mul and any(factor.is_Pow and factor.exp.free_symbols for factor in product.args)


def loses_as_output(equation: Equation) -> bool:
    """Whether a slope written in the output loses digits of it; of activations sigmoid(z), tanh(z) torch takes it."""
    formula = equation.value.formula
    number, function = formula.as_coeff_Mul()
    of_symbol = isinstance(function, sigmoid | tanh) and function.args[0].is_Symbol
    activation = of_symbol and number == 1 and equation.through is None
    vanishes = isinstance(function, exp) and function.args[0].has(exp)
    return is_fraction(formula) or vanishes or (isinstance(function, sigmoid | tanh) and not activation)


def between_jumps(derivative: Expr) -> Expr:
    """Where a function jumps (sign at 0) its slope counts as 0, as torch has it; where that is, is written shortly."""
    derivative = derivative.replace(DiracDelta, lambda *_: Integer(0))
    return derivative.replace(Heaviside, lambda u, *at_0: Heaviside(min(u, expand(u), key=Expr.count_ops), *at_0))


def with_nan_kept(slope: Expr) -> Expr:
    """Of two branches that comes last in which nan stays nan, as beside it no comparison holds; sign has 0 there."""

    def turned(part: Piecewise) -> Expr:
        (one, condition), (other, _) = part.args
        kept, left = (
            value.replace(sign, lambda _: Integer(1)).free_symbols & condition.free_symbols for value in (one, other)
        )
        return Piecewise((other, condition.negated), (one, True)) if left < kept else part

    def of_one_comparison(part: Expr) -> bool:
        return isinstance(part, Piecewise) and len(part.args) == 2 and isinstance(part.args[0].cond, Relational)

    return slope.replace(of_one_comparison, turned)


def row_pullback(equation: Equation, variable: MatrixSymbol, cotangent: MatrixExpr) -> MatrixExpr:
    """Of m = log(s), s the sum over the row of exp(z): dL/dz = g dm/dz, the row's g at each of its entries.

    dm/dz is the softmax of the row (Boyd and Vandenberghe, Convex Optimization, A.4.2).
    """
    partial, Z = row_partial(equation), equation.value.args[0]
    G = cotangent if constant_of(cotangent) is not None else repeated(cotangent, Z.shape)
    return matrix_pullback(Z, variable, weighted(G, partial.formula, partial.operands))


def row_partial(equation: Equation) -> Elementwise:
    """dm/dz = dm/ds ds/dz entry by entry, with s written as what makes it m."""
    Z = equation.value.args[0]
    M = repeated(equation.target, Z.shape)
    s, u, m = Symbol("s", positive=True), entry(Z), entry(M)
    (s_of_m,) = solve(log(s) - m, s)
    partial = powsimp((diff(log(s), s) * diff(exp(u), u)).xreplace({s: s_of_m}))
    return elementwise(partial, {m: M, u: Z})


def scalar_pullback(equation: Equation, variable: MatrixSymbol, cotangent: MatrixExpr) -> MatrixExpr:
    """The cotangent, a 1 x 1 matrix, times the derivative of a number of a matrix.

    Of a trace MC 99; of determinants Jacobi's (MC 49, 57): d log |det F| = tr(F^-1 dF), so that its derivative by F is
    F^-T, and d det = det d log |det|.
    """
    number = equation.value.number
    if isinstance(number, Trace):
        derivative = chain_pullback(number.arg, variable, None)
    elif isinstance(number, LogDet | LogAbsDet | Determinant):
        derivative = matrix_pullback(number.arg, variable, transposed(inverse_of(number.arg)))
        if isinstance(number, Determinant):
            derivative = weighted(repeated(equation.target, variable.shape), *formula_of(derivative))
    elif not isinstance(number, MatrixElement):
        raise ValueError(f"no derivative is known of {type(number).__name__}: {number}")
    else:
        place = MatrixSlice(number.parent, (number.i, number.i + 1), (number.j, number.j + 1))
        return matrix_pullback(place, variable, cotangent)
    return times(cotangent, derivative)


def matrix_pullback(
    value: MatrixExpr, variable: MatrixSymbol, cotangent: MatrixExpr, target: MatrixSymbol | None = None
) -> MatrixExpr:
    """d/dvariable tr(G^T F), for one operation F that is no formula entry by entry; the target is the name of F.

    Of a Kronecker product MN 9.12; a block and a block matrix only move entries, and G's go back to their places.
    """
    if value == variable:
        return cotangent
    if isinstance(value, KroneckerProduct):
        left, right = value.args
        parts = [(left, BlockSum(cotangent, right, False)), (right, BlockSum(cotangent, left, True))]
    elif isinstance(value, BlockSum):
        G, factors = value.matrix, (cotangent, value.factor)
        whole = KroneckerProduct(*(reversed(factors) if value.inner else factors))
        parts = [(G, whole), (value.factor, BlockSum(G, cotangent, not value.inner))]
    elif isinstance(value, MatrixSlice):
        parts = [(value.parent, embedded(cotangent, value))]
    elif isinstance(value, BlockMatrix):
        parts = block_parts(value, cotangent)
    else:
        return chain_pullback(value, variable, cotangent, target)
    return add([matrix_pullback(p, variable, G) for p, G in parts if p.has(variable)], variable.shape)


def embedded(block: MatrixExpr, place: MatrixSlice) -> MatrixExpr:
    """The block in its place in a matrix of zeros."""
    (top, bottom, _), (left, right, _) = place.rowslice, place.colslice
    m, n = place.parent.shape
    heights, widths = (top, bottom - top, m - bottom), (left, right - left, n - right)
    rows = [
        [block if (i, j) == (1, 1) else ZeroMatrix(height, width) for j, width in enumerate(widths) if width != 0]
        for i, height in enumerate(heights)
        if height != 0
    ]
    return block if rows == [[block]] else BlockMatrix(rows)


def block_parts(value: BlockMatrix, cotangent: MatrixExpr) -> list[tuple[MatrixExpr, MatrixExpr]]:
    """Each block, and the part of the cotangent that belongs to it."""
    parts, top = [], Integer(0)
    for i, height in enumerate(value.rowblocksizes):
        left = Integer(0)
        for j, width in enumerate(value.colblocksizes):
            number = constant_of(cotangent)
            if number is None:
                G = MatrixSlice(cotangent, (top, top + height), (left, left + width))
            else:
                G = scaled(number, OneMatrix(height, width))
            parts.append((value.blocks[i, j], G))
            left += width
        top += height
    return parts


def rule(equation: Equation, variable: MatrixSymbol) -> str:
    """In words, the operation that the pullback goes back through; of a sum, each that the variable is in."""
    value = equation.value
    if isinstance(value, RowLogSumExp):
        return "chain rule along the row"
    if isinstance(value, Elementwise):
        return "chain rule, entry by entry"
    if isinstance(value, Scalar):
        return rule_of_node(value.number)
    terms = [term for term in MatAdd.make_args(value) if term.has(variable)]
    if not terms:
        raise ValueError(f"{equation.target} does not use {variable}")
    return " and ".join(dict.fromkeys(rule_of_term(term, variable) for term in terms))


def operation(value: MatrixExpr) -> str:
    """What an equation computes, in words; nothing where there is none for it."""
    node = value.number if isinstance(value, Scalar) else value
    return "product" if isinstance(node, MatMul) else name_of(node)


def name_of(node: Expr) -> str:
    return next((name for kind, name in RULE_NAMES.items() if isinstance(node, kind)), "")


def rule_of_node(node: Expr) -> str:
    if name := name_of(node):
        return f"derivative of the {name}"
    raise ValueError(f"no rule is known for {type(node).__name__}: {node}")


def rule_of_term(term: MatrixExpr, variable: MatrixSymbol) -> str:
    factors = [f for f in MatMul.make_args(term) if isinstance(f, MatrixExpr)]
    if len(factors) == 1:
        return rule_of_node(factors[0])
    if any(isinstance(f, OneMatrix) for f in factors):
        return "broadcast over the rows" if len(factors) == 2 else "sum of the entries"
    return "left factor of a product" if factors[0].has(variable) else "right factor of a product"
