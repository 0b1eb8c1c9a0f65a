"""One theorem, and SymPy as its proof.

If the loss L sees V only through F(V), and G = dL/dF, then dL = tr(G^T dF), so dL/dV = d/dV tr(G^T F(V)) with G held
fixed. For one operation at a time SymPy differentiates that trace exactly, if the sizes are symbols: a rule is derived
once for each form of F and then used at any size. Entry by entry, tr(G^T f(V)) is the sum of g f(v) over the entries,
and its derivative is g f'(v), with f' from sympy.diff. What SymPy cannot differentiate is taught here: determinants,
Kronecker products, blocks, the logarithm of row sums of exp.
"""

from dataclasses import dataclass
from functools import cache

from sympy import (
    Add,
    BlockMatrix,
    Determinant,
    DiracDelta,
    Dummy,
    Expr,
    Identity,
    Integer,
    Inverse,
    KroneckerProduct,
    MatAdd,
    MatMul,
    MatPow,
    MatrixExpr,
    MatrixSymbol,
    Mul,
    OneMatrix,
    Piecewise,
    ShapeError,
    Symbol,
    Trace,
    Transpose,
    ZeroMatrix,
    ceiling,
    diff,
    exp,
    floor,
    log,
    piecewise_fold,
    powsimp,
    sign,
    solve,
)
from sympy.matrices.expressions.matexpr import MatrixElement
from sympy.matrices.expressions.slice import MatrixSlice

from derive.functions import stable
from derive.matrix import BlockSum, LogDet
from derive.program import Elementwise, Equation, RowLogSumExp, Scalar, core, elementwise, entry, repeated

RULES = {
    Trace: "trace",
    Determinant: "determinant",
    LogDet: "log of the determinant",
    MatrixElement: "entry",
    Inverse: "inverse",
    MatPow: "matrix power",
    KroneckerProduct: "Kronecker product",
    BlockSum: "contraction with a Kronecker factor",
    MatrixSlice: "block",
    BlockMatrix: "block matrix",
}


def pullback(equation: Equation, variable: MatrixSymbol, cotangent: MatrixExpr) -> MatrixExpr:
    """dL/dvariable as far as it comes through this equation; the cotangent is dL/dtarget.

    Raises ShapeError where SymPy's answer has not the variable's shape.
    """
    value = equation.value
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


def pushforward(equation: Equation, tangents: dict[MatrixSymbol, MatrixSymbol]) -> MatrixExpr:
    """The directional derivative of the target, given those of the symbols it is made of.

    It is the pullback transposed: <G, dF> = <pullback(G), dV> for every G, so dF = d/dG tr(dV^T pullback(G)).
    """
    value, contributions = equation.value, []
    inner = [part for part in MatMul.make_args(value) if isinstance(part, Elementwise)]
    if inner and not isinstance(value, Elementwise):
        return value.xreplace({inner[0]: formula_pushforward(inner[0], tangents)})
    for symbol, tangent in tangents.items():
        if isinstance(value, RowLogSumExp):
            partial = row_partial(equation)
            operands = {**partial.operands, entry(tangent): tangent}
            moved = elementwise(partial.formula * entry(tangent), operands)
            contributions.append(MatMul(moved, OneMatrix(symbol.shape[1], 1)))
        elif isinstance(value, Elementwise):
            for scalar, operand in value.operands.items():
                if operand.has(symbol):
                    along = elementwise_pullback(equation, scalar, operand.xreplace({symbol: tangent}))
                    contributions.append(along)
        else:
            G = MatrixSymbol("G", *value.shape)
            pulled = matrix_pullback(value, symbol, G)
            linear = Equation(equation.target, pulled, equation.rule, equation.meaning)
            contributions.append(pullback(linear, G, tangent))
    return add(contributions, equation.shape)


def formula_pushforward(value: Elementwise, tangents: dict[MatrixSymbol, MatrixSymbol]) -> MatrixExpr:
    """The directional derivative of a formula that has no name of its own."""
    unnamed = Equation(MatrixSymbol("formula", *value.shape), value, "", "")
    moving = {symbol: tangent for symbol, tangent in tangents.items() if symbol in unnamed.uses}
    moved = pushforward(unnamed, moving)
    formula, operands = formula_of(moved)
    return elementwise(formula.xreplace({entry(unnamed.target): value.formula}), {**operands, **value.operands})


def elementwise_pullback(equation: Equation, scalar: Expr, cotangent: MatrixExpr) -> MatrixExpr:
    """Cotangent times partial derivative, entry by entry, the output written as itself.

    The same product with a tangent is what comes through forwards.
    """
    value, output = equation.value, entry(equation.target)
    steps = {part: Dummy(real=True) for part in value.formula.atoms(floor, ceiling, sign)}
    partial = diff(value.formula.xreplace(steps), scalar).xreplace({step: part for part, step in steps.items()})
    partial = stable(between_jumps(partial).xreplace({value.formula: output}))
    return weighted(cotangent, partial, {**value.operands, output: equation.target})


def weighted(cotangent: MatrixExpr, partial: Expr, operands: dict[Symbol, MatrixExpr]) -> MatrixExpr:
    """Cotangent times a formula, entry by entry."""
    number = constant(cotangent)
    if number is not None:
        return elementwise(tidy(number, partial), operands)
    if isinstance(cotangent, Elementwise):
        return elementwise(tidy(cotangent.formula, partial), {**cotangent.operands, **operands})
    g = entry(cotangent)
    return elementwise(tidy(g, partial), {g: cotangent, **operands})


def constant(matrix: MatrixExpr) -> Expr | None:
    """c, of a matrix that is c times ones."""
    factors = [factor for factor in MatMul.make_args(matrix) if isinstance(factor, MatrixExpr)]
    if len(factors) == 1 and isinstance(factors[0], OneMatrix):
        return matrix.as_coeff_mmul()[0] if isinstance(matrix, MatMul) else Integer(1)
    return Integer(0) if isinstance(matrix, ZeroMatrix) else None


def between_jumps(derivative: Expr) -> Expr:
    """Where a function jumps (sign at 0) its slope counts as 0, as torch has it."""
    return derivative.replace(DiracDelta, lambda *_: Integer(0))


def row_pullback(equation: Equation, variable: MatrixSymbol, cotangent: MatrixExpr) -> MatrixExpr:
    """Of m = log(s), s the sum over the row of exp(z): dL/dz = g dm/dz, the row's g at each of its entries."""
    partial, Z = row_partial(equation), equation.value.args[0]
    G = cotangent if constant(cotangent) is not None else repeated(cotangent, Z.shape)
    return matrix_pullback(Z, variable, weighted(G, partial.formula, partial.operands))


def row_partial(equation: Equation) -> Elementwise:
    """dm/dz = dm/ds ds/dz entry by entry, with s written as what makes it m."""
    Z = equation.value.args[0]
    M = repeated(equation.target, Z.shape)
    s, u, m = Symbol("s", positive=True), entry(Z), entry(M)
    (s_of_m,) = solve(log(s) - m, s)
    partial = powsimp((diff(log(s), s) * diff(exp(u), u)).xreplace({s: s_of_m}))
    return elementwise(partial, {m: M, u: Z})


def tidy(g: Expr, partial: Expr) -> Expr:
    """g times the slope: numbers in front, and a slope with branches as the branches of the product."""
    if partial.has(Piecewise):
        return Add(*(piecewise_fold(g * term) for term in Add.make_args(partial)))
    content, primitive = partial.as_content_primitive()
    return g * Mul(content, primitive, evaluate=False) if content.is_Integer and content != 1 else g * partial


def scalar_pullback(equation: Equation, variable: MatrixSymbol, cotangent: MatrixExpr) -> MatrixExpr:
    """The cotangent, a 1 x 1 matrix, times the derivative of a number of a matrix."""
    number = equation.value.number
    if isinstance(number, Trace):
        derivative = chain_pullback(number.arg, variable, None)
    elif isinstance(number, LogDet | Determinant):
        # Jacobi: d log det F = tr(F^-1 dF), so that d/dF log det F = F^-T, and d det = det d log det.
        derivative = matrix_pullback(number.arg, variable, transposed(inverse(number.arg)))
        if isinstance(number, Determinant):
            derivative = weighted(repeated(equation.target, variable.shape), *formula_of(derivative))
    else:
        place = MatrixSlice(number.parent, (number.i, number.i + 1), (number.j, number.j + 1))
        return matrix_pullback(place, variable, cotangent)
    return times(cotangent, derivative)


def times(weight: MatrixExpr, matrix: MatrixExpr) -> MatrixExpr:
    """A 1 x 1 matrix times a matrix."""
    number = constant(weight)
    if number is not None:
        return scaled(number, matrix)
    return weighted(repeated(weight, matrix.shape), *formula_of(matrix))


def formula_of(matrix: MatrixExpr) -> tuple[Expr, dict[Symbol, MatrixExpr]]:
    """A matrix as a formula entry by entry over operands."""
    if isinstance(matrix, Elementwise):
        return matrix.formula, matrix.operands
    number = constant(matrix)
    if number is not None:
        return number, {entry(matrix): matrix}
    return entry(matrix), {entry(matrix): matrix}


def matrix_pullback(
    value: MatrixExpr, variable: MatrixSymbol, cotangent: MatrixExpr, target: MatrixSymbol | None = None
) -> MatrixExpr:
    """d/dvariable tr(G^T F), for one operation F that is no formula entry by entry; the target is the name of F."""
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
            number = constant(cotangent)
            if number is None:
                G = MatrixSlice(cotangent, (top, top + height), (left, left + width))
            else:
                G = scaled(number, OneMatrix(height, width))
            parts.append((value.blocks[i, j], G))
            left += width
        top += height
    return parts


def chain_pullback(
    value: MatrixExpr, variable: MatrixSymbol, cotangent: MatrixExpr | None, target: MatrixSymbol | None = None
) -> MatrixExpr:
    """The pullback of a sum of products; with no cotangent the derivative of its trace.

    Each place where the variable stands is differentiated as if the others were constants.
    """
    seed, weight = cotangent, OneMatrix(1, 1)
    if cotangent is not None and constant(cotangent) is not None:
        seed, weight = OneMatrix(*cotangent.shape), MatMul(constant(cotangent), OneMatrix(1, 1))
    elif cotangent is not None and core(cotangent) != cotangent and core(cotangent).shape == (1, 1):
        seed, weight = OneMatrix(*cotangent.shape), core(cotangent)
    contributions = []
    for term in MatAdd.make_args(value):
        coefficient, factors = chain(term)
        factors = [part for factor in factors for part in repeated_factors(factor)]
        for index, factor in enumerate(factors):
            if factor.has(variable):
                derivative = product_pullback(factors, index, seed)
                if tuple(derivative.shape) != tuple(variable.shape):
                    raise ShapeError(f"d/d{variable} of {value} came out as {derivative.shape}, not {variable.shape}")
                if target is not None and term == value:
                    derivative = with_output(derivative, factors, target)
                contributions.append(scaled(coefficient, derivative))
    return times(weight, add(contributions, variable.shape))


@dataclass(frozen=True)
class Rule:
    """d/dF_i tr(G^T F_1 ... F_n) at sizes that are symbols; G is None for the derivative of the trace itself."""

    derivative: MatrixExpr
    factors: tuple[MatrixSymbol, ...]
    cotangent: MatrixSymbol | None


@cache
def product_rule(kinds: tuple[tuple, ...], index: int, traced: bool) -> Rule:
    """The rule for a product of factors of these kinds, by SymPy."""
    sizes = [Symbol("g0", integer=True, positive=True)]
    for number, steps in enumerate(kinds, 1):
        square = any(step != "T" for step in steps)
        sizes.append(sizes[-1] if square else Symbol(f"g{number}", integer=True, positive=True))
    if traced:
        sizes = [sizes[0] if size == sizes[-1] else size for size in sizes]
    symbols, factors = [], []
    for number, steps in enumerate(kinds):
        shape = sizes[number], sizes[number + 1]
        symbol = MatrixSymbol(f"F{number}", *(reversed(shape) if steps.count("T") % 2 else shape))
        symbols.append(symbol)
        for step in steps:
            symbol = {"T": Transpose, "I": Inverse}[step](symbol) if isinstance(step, str) else MatPow(symbol, step)
        factors.append(symbol)
    value = MatMul(*factors) if len(factors) > 1 else factors[0]
    if traced:
        return Rule(Trace(value).diff(symbols[index]), tuple(symbols), None)
    G = MatrixSymbol("G", sizes[0], sizes[-1])
    return Rule(Trace(G.T * value).diff(symbols[index]), tuple(symbols), G)


def product_pullback(factors: list[MatrixExpr], index: int, cotangent: MatrixExpr | None) -> MatrixExpr:
    """The rule of the product at these factors and this cotangent."""
    rule = product_rule(tuple(map(kind, factors)), index, cotangent is None)
    values = dict(zip(rule.factors, map(atom, factors), strict=True))
    sizes = {size: part for F, matrix in values.items() for size, part in zip(F.shape, matrix.shape, strict=True)}
    if cotangent is not None:
        values[rule.cotangent] = cotangent
    return instantiate(rule.derivative, values, sizes)


def kind(factor: MatrixExpr) -> tuple:
    """What is done to the matrix of a factor, innermost first: T transposed, I inverted, a number for a power."""
    if isinstance(factor, Transpose):
        return (*kind(factor.arg), "T")
    if isinstance(factor, Inverse):
        return (*kind(factor.arg), "I")
    if isinstance(factor, MatPow):
        return (*kind(factor.base), int(factor.exp))
    return ()


def repeated_factors(factor: MatrixExpr) -> list[MatrixExpr]:
    """A power as the product that it is."""
    power = isinstance(factor, MatPow) and not isinstance(factor, Inverse) and factor.exp.is_positive
    return [factor.base] * int(factor.exp) if power else [factor]


def atom(factor: MatrixExpr) -> MatrixExpr:
    """The matrix of a factor."""
    while isinstance(factor, Transpose | Inverse | MatPow):
        factor = factor.args[0]
    return factor


def chain(term: MatrixExpr) -> tuple[Expr, list[MatrixExpr]]:
    """The coefficient and the factors of a product."""
    return term.as_coeff_matrices() if isinstance(term, MatMul) else (Integer(1), [term])


def instantiate(expr: MatrixExpr, values: dict, sizes: dict) -> MatrixExpr:
    """A rule's expression at these matrices and sizes."""
    if expr in values:
        return values[expr]
    if isinstance(expr, MatAdd):
        parts = [instantiate(part, values, sizes) for part in expr.args]
        return add(parts, parts[0].shape)
    if isinstance(expr, MatMul):
        coefficient, factors = expr.as_coeff_matrices()
        return product(coefficient, [instantiate(factor, values, sizes) for factor in factors])
    if isinstance(expr, Transpose):
        return transposed(instantiate(expr.arg, values, sizes))
    if isinstance(expr, Inverse):
        return inverse(instantiate(expr.arg, values, sizes))
    if isinstance(expr, MatPow):
        base = instantiate(expr.base, values, sizes)
        power = base if abs(expr.exp) == 1 else MatPow(base, abs(expr.exp))
        return inverse(power) if expr.exp.is_negative else power
    if isinstance(expr, Identity | OneMatrix | ZeroMatrix):
        return expr.xreplace(sizes)
    raise ShapeError(f"SymPy's derivative has a form that is not known here: {expr}")


def product(coefficient: Expr, factors: list[MatrixExpr]) -> MatrixExpr:
    """The product, flat, without identities, and with neighbouring ones as one."""
    if coefficient == 0 or any(isinstance(factor, ZeroMatrix) for factor in factors):
        return ZeroMatrix(factors[0].shape[0], factors[-1].shape[1])
    flat: list[MatrixExpr] = []
    for factor in factors:
        scale, parts = chain(factor)
        coefficient *= scale
        for part in parts:
            if isinstance(part, OneMatrix) and flat and isinstance(flat[-1], OneMatrix):
                coefficient *= part.shape[0]
                flat[-1] = OneMatrix(flat[-1].shape[0], part.shape[1])
            elif flat and isinstance(part, MatPow | Transpose | MatrixSymbol) and base(flat[-1]) == base(part):
                flat[-1] = MatPow(base(part), exponent(flat[-1]) + exponent(part))
            else:
                flat.append(part)
    kept = [part for part in flat if not isinstance(part, Identity)] or flat[:1]
    if len(kept) == 1 and coefficient == 1:
        return kept[0]
    return MatMul(coefficient, *kept) if coefficient != 1 else MatMul(*kept)


def base(factor: MatrixExpr) -> MatrixExpr:
    return factor.base if isinstance(factor, MatPow) and not isinstance(factor, Inverse) else factor


def exponent(factor: MatrixExpr) -> Expr:
    return factor.exp if isinstance(factor, MatPow) and not isinstance(factor, Inverse) else Integer(1)


def transposed(matrix: MatrixExpr) -> MatrixExpr:
    """The transpose, with the bar at the symbols."""
    if isinstance(matrix, MatMul):
        coefficient, factors = chain(matrix)
        return product(coefficient, [transposed(factor) for factor in reversed(factors)])
    if isinstance(matrix, MatAdd):
        return MatAdd(*map(transposed, matrix.args))
    if isinstance(matrix, Elementwise):
        renamed = {u: transposed(operand) for u, operand in matrix.operands.items()}
        formula = matrix.formula.xreplace({u: entry(operand) for u, operand in renamed.items()})
        return elementwise(formula, {entry(operand): operand for operand in renamed.values()})
    if isinstance(matrix, Inverse):
        return inverse(transposed(matrix.arg))
    if isinstance(matrix, KroneckerProduct):
        return KroneckerProduct(*map(transposed, matrix.args))
    if isinstance(matrix, MatPow):
        return MatPow(transposed(matrix.base), matrix.exp)
    if isinstance(matrix, Transpose):
        return matrix.arg
    if isinstance(matrix, OneMatrix | ZeroMatrix):
        return matrix.func(*reversed(matrix.shape))
    return matrix if isinstance(matrix, Identity) or tuple(matrix.shape) == (1, 1) else Transpose(matrix)


def inverse(matrix: MatrixExpr) -> MatrixExpr:
    return matrix if isinstance(matrix, Identity) else Inverse(matrix)


def scaled(scale: Expr, matrix: MatrixExpr) -> MatrixExpr:
    """A number times a matrix."""
    if scale == 1:
        return matrix
    if isinstance(matrix, MatAdd):
        return MatAdd(*(scaled(scale, part) for part in matrix.args))
    if isinstance(matrix, Elementwise | MatrixSymbol):
        formula, operands = formula_of(matrix)
        return elementwise(scale * formula, operands)
    return product(scale, [matrix])


def with_output(derivative: MatrixExpr, factors: list[MatrixExpr], target: MatrixSymbol) -> MatrixExpr:
    """The derivative with the name of the product in the place of its factors, as in -A^-T G Y^T for Y = A^-1 B."""
    if not any(isinstance(factor, Inverse) for factor in factors):
        return derivative
    if isinstance(derivative, MatAdd):
        return MatAdd(*(with_output(part, factors, target) for part in derivative.args))
    coefficient, parts = chain(derivative)
    flipped = [transposed(factor) for factor in reversed(factors)]
    for name, run in ((target, list(factors)), (Transpose(target), flipped)):
        for start in range(len(parts) - len(run), -1, -1):
            if parts[start : start + len(run)] == run:
                parts = [*parts[:start], name, *parts[start + len(run) :]]
    return product(coefficient, parts)


def add(contributions: list[MatrixExpr], shape: tuple[Expr, Expr]) -> MatrixExpr:
    """The sum of what reaches a variable by several ways; formulas entry by entry become one formula."""
    formula, number, operands, others = Integer(0), Integer(0), {}, {}
    for part in contributions:
        for term in MatAdd.make_args(part):
            if isinstance(term, Elementwise):
                formula += term.formula
                operands.update(term.operands)
            elif isinstance(term, MatrixSymbol | Transpose) or core(term) != term:
                formula += entry(term)
                operands[entry(term)] = term
            elif constant(term) is not None:
                number += constant(term)
            else:
                coefficient, factors = chain(term)
                others[tuple(factors)] = others.get(tuple(factors), 0) + coefficient
    parts = [product(coefficient, list(factors)) for factors, coefficient in others.items() if coefficient != 0]
    if operands and formula != 0:
        parts.append(elementwise(formula + number, operands))
    elif number != 0:
        parts.append(product(number, [OneMatrix(*shape)]))
    if not parts:
        return ZeroMatrix(*shape)
    return parts[0] if len(parts) == 1 else MatAdd(*parts)


def rule(equation: Equation, variable: MatrixSymbol) -> str:
    """In words, the operation that the pullback goes back through."""
    value = equation.value
    if isinstance(value, RowLogSumExp):
        return "chain rule along the row"
    if isinstance(value, Elementwise):
        return "chain rule, entry by entry"
    if isinstance(value, Scalar):
        return f"derivative of the {RULES[type(value.number)]}"
    for term in MatAdd.make_args(value):
        if term.has(variable):
            factors = [f for f in MatMul.make_args(term) if isinstance(f, MatrixExpr)]
            if len(factors) == 1:
                return f"derivative of the {RULES.get(type(factors[0]), 'sum')}"
            if any(isinstance(f, OneMatrix) for f in factors):
                return "broadcast over the rows" if len(factors) == 2 else "sum of the entries"
            return "left factor of a product" if factors[0].has(variable) else "right factor of a product"
    raise ValueError(f"{equation.target} does not use {variable}")
