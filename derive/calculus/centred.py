"""Sums that are zero: along a row, of what is linear in its entries less their mean."""

from math import prod

from sympy import Expr, Integer, MatAdd, MatMul, MatrixExpr, MatrixSymbol, OneMatrix, Trace, ZeroMatrix, diff, expand

from derive.programs import Elementwise, Program, Scalar, chain, entry

Ends = tuple[bool, bool]  # whether a sum runs over the rows, and over the columns
Sums = dict[tuple[MatrixExpr, Ends], MatrixSymbol]


def sums_of(program: Program) -> Sums:
    """The symbol of each sum of a matrix along rows, columns or both."""
    found = {}
    for equation in program.equations:
        value = equation.value.number.arg if is_trace(equation.value) else equation.value
        inside, ends = added_by_ones(value)
        if inside is not None and chain(value)[0] == 1:
            found[inside, ends] = equation.target
    return found


def is_trace(value: MatrixExpr) -> bool:
    return isinstance(value, Scalar) and isinstance(value.number, Trace)


def added_by_ones(value: MatrixExpr) -> tuple[MatrixExpr | None, Ends]:
    """What ones beside it add up, and along what."""
    factors = chain(value)[1]
    inside = [factor for factor in factors if not isinstance(factor, OneMatrix)]
    ends = isinstance(factors[0], OneMatrix), isinstance(factors[-1], OneMatrix)
    single = len(inside) == 1 and any(ends) and len(factors) == 1 + sum(ends)
    thin = all(1 in factor.shape for factor in factors if isinstance(factor, OneMatrix))
    return (inside[0] if single and thin else None), ends


def without_zeros(value: MatrixExpr, sums: Sums) -> MatrixExpr:
    """The value without the terms that are zero."""
    kept = [term for term in MatAdd.make_args(value) if not is_zero_sum(term, sums)]
    if len(kept) == len(MatAdd.make_args(value)):
        return value
    return MatAdd(*kept) if len(kept) > 1 else kept[0] if kept else ZeroMatrix(*value.shape)


def is_zero_sum(term: MatrixExpr, sums: Sums) -> bool:
    """Whether it is a sum of entries linear in those of one matrix, whose own sum shows that nothing is left."""
    inside, ends = added_by_ones(term)
    if not isinstance(inside, Elementwise):
        return False
    varying = [(u, operand) for u, operand in inside.operands.items() if not is_same_along(operand, ends)]
    if len(varying) != 1 or (varying[0][1], ends) not in sums:
        return False
    (u, matrix), formula = varying[0], inside.formula
    slope: Expr = diff(formula, u)
    size = prod((side for side, along in zip(matrix.shape, ends, strict=True) if along), start=Integer(1))
    total = slope * entry(sums[matrix, ends]) + size * (formula - slope * u)
    return not slope.has(u) and bool(expand(total) == 0)


def is_same_along(view: MatrixExpr, ends: Ends) -> bool:
    """Whether it has the same entries along all that is added."""
    factors = view.args if isinstance(view, MatMul) else (view,)
    beside = isinstance(factors[0], OneMatrix), isinstance(factors[-1], OneMatrix)
    return all(same or not along for same, along in zip(beside, ends, strict=True))
