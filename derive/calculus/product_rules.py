"""The derivatives of products, powers, inverses and transposes, by SymPy.

SymPy differentiates tr(G^T F_1 ... F_n) exactly if the sizes are symbols: a rule is derived once for each form of the
factors, and then used at any size.
"""

from dataclasses import dataclass
from functools import cache

from sympy import (
    Expr,
    Identity,
    Inverse,
    MatAdd,
    MatMul,
    MatPow,
    MatrixExpr,
    MatrixSymbol,
    OneMatrix,
    ShapeError,
    Symbol,
    Trace,
    Transpose,
    ZeroMatrix,
)

from derive.programs import add, atom, chain, constant_of, core, flat_product, inverse_of, scaled, times, transposed


def chain_pullback(
    value: MatrixExpr, variable: MatrixSymbol, cotangent: MatrixExpr | None, target: MatrixSymbol | None = None
) -> MatrixExpr:
    """The pullback of a sum of products; with no cotangent the derivative of its trace.

    Each place where the variable stands is differentiated as if the others were constants.
    """
    seed, weight = cotangent, OneMatrix(1, 1)
    if cotangent is not None and constant_of(cotangent) is not None:
        seed, weight = OneMatrix(*cotangent.shape), MatMul(constant_of(cotangent), OneMatrix(1, 1))
    elif cotangent is not None and core(cotangent) != cotangent and core(cotangent).shape == (1, 1):
        seed, weight = OneMatrix(*cotangent.shape), core(cotangent)
    contributions = []
    for term in MatAdd.make_args(value):
        coefficient, factors = chain(term)
        factors = [part for factor in factors for part in repeated_factors(factor)]
        for index, factor in enumerate(factors):
            if factor.has(variable):
                if atom(factor) != variable:
                    node = atom(factor)
                    raise ValueError(f"no derivative is known of {type(node).__name__}: {node}")
                derivative = product_pullback(factors, index, seed)
                if tuple(derivative.shape) != tuple(variable.shape):
                    raise ShapeError(f"d/d{variable} of {value} came out as {derivative.shape}, not {variable.shape}")
                if target is not None and term == value:
                    derivative = with_output(derivative, factors, target)
                contributions.append(scaled(coefficient, derivative))
    return times(weight, add(contributions, variable.shape))


Kind = tuple[str | int, ...]  # of a factor, see `kind`


@dataclass(frozen=True)
class Rule:
    """d/dF_i tr(G^T F_1 ... F_n) at sizes that are symbols; G is None for the derivative of the trace itself."""

    derivative: MatrixExpr
    factors: tuple[MatrixSymbol, ...]
    cotangent: MatrixSymbol | None


@cache
def product_rule(kinds: tuple[Kind, ...], index: int, traced: bool) -> Rule:
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
    """The rule of the product at these factors and this cotangent; its shape is that of the factor's matrix.

    Of a factor it is MC 101, of an inverse 124, of a power 121.
    """
    rule = product_rule(tuple(map(kind, factors)), index, cotangent is None)
    values = dict(zip(rule.factors, map(atom, factors), strict=True))
    sizes = {size: part for F, matrix in values.items() for size, part in zip(F.shape, matrix.shape, strict=True)}
    if cotangent is not None:
        values[rule.cotangent] = cotangent
    return instantiate(rule.derivative, values, sizes)


def kind(factor: MatrixExpr) -> Kind:
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


def instantiate(expr: MatrixExpr, values: dict[MatrixSymbol, MatrixExpr], sizes: dict[Symbol, Expr]) -> MatrixExpr:
    """A rule's expression at these matrices and sizes."""
    if expr in values:
        return values[expr]
    if isinstance(expr, MatAdd):
        parts = [instantiate(part, values, sizes) for part in expr.args]
        return add(parts, parts[0].shape)
    if isinstance(expr, MatMul):
        coefficient, factors = expr.as_coeff_matrices()
        return flat_product(coefficient, [instantiate(factor, values, sizes) for factor in factors])
    if isinstance(expr, Transpose):
        return transposed(instantiate(expr.arg, values, sizes))
    if isinstance(expr, Inverse):
        return inverse_of(instantiate(expr.arg, values, sizes))
    if isinstance(expr, MatPow):
        base = instantiate(expr.base, values, sizes)
        power = base if abs(expr.exp) == 1 else MatPow(base, abs(expr.exp))
        return inverse_of(power) if expr.exp.is_negative else power
    if isinstance(expr, Identity | OneMatrix | ZeroMatrix):
        return expr.xreplace(sizes)
    raise ShapeError(f"SymPy's derivative has a form that is not known here: {expr}")


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
    return flat_product(coefficient, parts)
