"""Matrix expressions put together in the form in which they are to be read.

Products are flat and in their order, bars of transposes stand at the symbols, and what acts entry by entry is one
formula. SymPy by itself re-orders factors, multiplies out and moves transposes inside.
"""

from sympy import (
    Add,
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
    Pow,
    Symbol,
    Transpose,
    ZeroMatrix,
    piecewise_fold,
)

from derive.programs.nodes import Elementwise, Symmetric
from derive.programs.program import core, elementwise, entry, repeated


def chain(term: MatrixExpr) -> tuple[Expr, list[MatrixExpr]]:
    """The coefficient and the factors of a product."""
    return term.as_coeff_matrices() if isinstance(term, MatMul) else (Integer(1), [term])


def atom(factor: MatrixExpr) -> MatrixExpr:
    """The matrix of a factor."""
    while isinstance(factor, Transpose | Inverse | MatPow):
        factor = factor.args[0]
    return factor


def base(factor: MatrixExpr) -> MatrixExpr:
    return factor.base if isinstance(factor, MatPow) and not isinstance(factor, Inverse) else factor


def exponent(factor: MatrixExpr) -> Expr:
    return factor.exp if isinstance(factor, MatPow) and not isinstance(factor, Inverse) else Integer(1)


def flat_product(coefficient: Expr, factors: list[MatrixExpr]) -> MatrixExpr:
    """The product, flat, without identities or the one of 1 x 1, and with neighbouring ones as one."""
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
    kept = [part for part in flat if not isinstance(part, Identity) and part != OneMatrix(1, 1)] or flat[:1]
    if len(kept) == 1 and coefficient == 1:
        return kept[0]
    return MatMul(coefficient, *kept) if coefficient != 1 else MatMul(*kept)


def transposed(matrix: MatrixExpr) -> MatrixExpr:
    """The transpose, with the bar at the symbols."""
    if isinstance(matrix, MatMul):
        coefficient, factors = chain(matrix)
        return flat_product(coefficient, [transposed(factor) for factor in reversed(factors)])
    if isinstance(matrix, MatAdd):
        return MatAdd(*map(transposed, matrix.args))
    if isinstance(matrix, Elementwise):
        renamed = {u: transposed(operand) for u, operand in matrix.operands.items()}
        formula = matrix.formula.xreplace({u: entry(operand) for u, operand in renamed.items()})
        return elementwise(formula, {entry(operand): operand for operand in renamed.values()})
    if isinstance(matrix, Inverse):
        return inverse_of(transposed(matrix.arg))
    if isinstance(matrix, KroneckerProduct):
        return KroneckerProduct(*map(transposed, matrix.args))
    if isinstance(matrix, MatPow):
        return MatPow(transposed(matrix.base), matrix.exp)
    if isinstance(matrix, Transpose):
        return matrix.arg
    if isinstance(matrix, OneMatrix | ZeroMatrix):
        return matrix.func(*reversed(matrix.shape))
    same = isinstance(matrix, Identity | Symmetric) or tuple(matrix.shape) == (1, 1)
    return matrix if same else Transpose(matrix)


def symbol_for(name: str, value: MatrixExpr) -> MatrixSymbol:
    """The symbol of that name for a value, symmetric where the value is seen to be."""
    square = value.shape[0] == value.shape[1] != 1
    kind = Symmetric if square and comparable(transposed(value)) == comparable(value) else MatrixSymbol
    return kind(name, *value.shape)


def comparable(value: MatrixExpr) -> object:
    """Equal for equal values."""
    return (value.formula, frozenset(value.operands.items())) if isinstance(value, Elementwise) else value


def inverse_of(matrix: MatrixExpr) -> MatrixExpr:
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
    return flat_product(scale, [matrix])


def constant_of(matrix: MatrixExpr) -> Expr | None:
    """c, of a matrix that is c times ones."""
    factors = [factor for factor in MatMul.make_args(matrix) if isinstance(factor, MatrixExpr)]
    if len(factors) == 1 and isinstance(factors[0], OneMatrix):
        return matrix.as_coeff_mmul()[0] if isinstance(matrix, MatMul) else Integer(1)
    return Integer(0) if isinstance(matrix, ZeroMatrix) else None


def formula_of(matrix: MatrixExpr) -> tuple[Expr, dict[Symbol, MatrixExpr]]:
    """A matrix as a formula entry by entry over operands."""
    if isinstance(matrix, Elementwise):
        return matrix.formula, matrix.operands
    number = constant_of(matrix)
    if number is not None:
        return number, {entry(matrix): matrix}
    return entry(matrix), {entry(matrix): matrix}


def weighted(cotangent: MatrixExpr, partial: Expr, operands: dict[Symbol, MatrixExpr]) -> MatrixExpr:
    """Cotangent times a formula, entry by entry."""
    number = constant_of(cotangent)
    if number is not None:
        return elementwise(tidy(number, partial), operands)
    if isinstance(cotangent, Elementwise):
        return elementwise(tidy(cotangent.formula, partial), {**cotangent.operands, **operands})
    g = entry(cotangent)
    return elementwise(tidy(g, partial), {g: cotangent, **operands})


def tidy(g: Expr, partial: Expr) -> Expr:
    """g times the slope: numbers in front, and a slope with branches as the branches of the product."""
    if partial.has(Piecewise):
        return Add(*(piecewise_fold(g * term) for term in Add.make_args(partial)))
    below = {part: Dummy() for part in partial.atoms(Pow) if part.base.is_Add and not part.exp.is_positive}
    content, primitive = partial.xreplace(below).as_content_primitive()
    primitive = primitive.xreplace({held: part for part, held in below.items()})
    whole = content.is_Integer and 1 not in (content, primitive) and primitive.as_coeff_Mul()[0] != -1
    return g * Mul(content, primitive, evaluate=False) if whole else g * partial


def times(weight: MatrixExpr, matrix: MatrixExpr) -> MatrixExpr:
    """A 1 x 1 matrix times a matrix."""
    number = constant_of(weight)
    if number is not None:
        return scaled(number, matrix)
    return weighted(repeated(weight, matrix.shape), *formula_of(matrix))


def add(contributions: list[MatrixExpr], shape: tuple[Expr, Expr]) -> MatrixExpr:
    """The sum of what reaches a variable by several ways; formulas entry by entry become one formula."""
    formula, number = Integer(0), Integer(0)
    operands: dict[Symbol, MatrixExpr] = {}
    others: dict[tuple[MatrixExpr, ...], Expr] = {}
    for part in contributions:
        for term in MatAdd.make_args(part):
            if isinstance(term, Elementwise):
                formula += term.formula
                operands.update(term.operands)
            elif isinstance(term, MatrixSymbol | Transpose) or core(term) != term:
                formula += entry(term)
                operands[entry(term)] = term
            elif constant_of(term) is not None:
                number += constant_of(term)
            else:
                coefficient, factors = chain(term)
                others[tuple(factors)] = others.get(tuple(factors), 0) + coefficient
    parts = [flat_product(coefficient, list(factors)) for factors, coefficient in others.items() if coefficient != 0]
    if operands and formula != 0:
        parts.append(elementwise(formula + number, operands))
    elif number != 0:
        parts.append(flat_product(number, [OneMatrix(*shape)]))
    if not parts:
        return ZeroMatrix(*shape)
    return parts[0] if len(parts) == 1 else MatAdd(*parts)
