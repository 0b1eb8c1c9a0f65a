"""The Hessian in a column, read off its product with a direction."""

from sympy import (
    Add,
    DiagMatrix,
    Expr,
    HadamardProduct,
    Identity,
    Integer,
    MatAdd,
    MatMul,
    MatrixExpr,
    MatrixSymbol,
    Mul,
    Trace,
    ZeroMatrix,
)

from derive.calculus.simplified import added, trace_of
from derive.programs import as_text, flat_product, transposed


def coefficient(expr: MatrixExpr, v: MatrixSymbol) -> MatrixExpr:
    """M, of a column M v that is linear in v.

    Raises ValueError where it is not written as products, sums and Hadamard products.
    """
    if expr == v:
        return Identity(v.shape[0])
    if isinstance(expr, ZeroMatrix):
        return ZeroMatrix(expr.shape[0], v.shape[0])
    if isinstance(expr, MatAdd):
        return added([coefficient(part, v) for part in expr.args])
    if isinstance(expr, MatMul):
        scale, factors = expr.as_coeff_matrices()
        places = [index for index, factor in enumerate(factors) if factor.has(v)]
        if scale.has(v) and not places:
            return added([flat_product(number, [*factors, row]) for number, row in row_terms(scale, v)])
        if len(places) == 1 and not scale.has(v):
            left, factor, right = factors[: places[0]], factors[places[0]], factors[places[0] + 1 :]
            if factor.shape[1] == 1:
                number = trace_of(flat_product(Add(1), right)) if right else 1
                return flat_product(scale * number, [*left, coefficient(factor, v)])
            if isinstance(factor, DiagMatrix) and right and right[-1].shape[1] == 1:
                weight = DiagMatrix(flat_product(Add(1), right))
                return flat_product(scale, [*left, weight, coefficient(factor.args[0], v)])
            if isinstance(factor, MatAdd):
                return added([coefficient(flat_product(scale, [*left, part, *right]), v) for part in factor.args])
            if factor.shape[0] == 1 and right:
                row = [transposed(part) for part in reversed(right)]
                return flat_product(scale, [*left, *row, coefficient(transposed(factor), v)])
    if isinstance(expr, HadamardProduct):
        inside = [part for part in expr.args if part.has(v)]
        outside = [part for part in expr.args if not part.has(v)]
        if len(inside) == 1 and outside:
            weight = outside[0] if len(outside) == 1 else HadamardProduct(*outside)
            return flat_product(Add(1), [DiagMatrix(weight), coefficient(inside[0], v)])
    raise ValueError(
        f"the Hessian cannot be read off {as_text(expr)}; hvp(direction) gives its product with a direction"
    )


def row_terms(scale: Expr, v: MatrixSymbol) -> list[tuple[Expr, MatrixExpr]]:
    """Coefficients and rows, of a number that is a sum of coefficients times rows times v."""
    result = []
    for term in Add.make_args(scale.expand()):
        traces = [factor for factor in Mul.make_args(term) if factor.has(v)]
        if len(traces) != 1 or not isinstance(traces[0], Trace):
            raise ValueError(f"the Hessian cannot be read off {as_text(term)}, which is no product of a row and {v}")
        outside = term / traces[0]
        for part in MatAdd.make_args(traces[0].arg):
            number, factors = part.as_coeff_matrices() if isinstance(part, MatMul) else (Integer(1), [part])
            if number.has(v):
                beside = outside * trace_of(flat_product(Add(1), list(factors)))
                result += [(beside * inner, row) for inner, row in row_terms(number, v)]
            else:
                result.append((outside * number, trace_row(list(factors), v)))
    return result


def trace_row(factors: list[MatrixExpr], v: MatrixSymbol) -> MatrixExpr:
    """The row r with tr(product) = r v."""
    (index,) = [index for index, factor in enumerate(factors) if factor.has(v)]
    around, factor = [*factors[index + 1 :], *factors[:index]], factors[index]
    if factor.shape[1] == 1:
        return flat_product(Add(1), [*around, coefficient(factor, v)])
    return flat_product(Add(1), [*[transposed(part) for part in reversed(around)], coefficient(transposed(factor), v)])
