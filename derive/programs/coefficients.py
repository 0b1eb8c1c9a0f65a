"""Numbers in front of a product, as they are to be read."""

from sympy import Expr, Integer, MatMul, MatrixExpr, Mul, Rational

from derive.programs.forms import chain, flat_product


def flat(expr: MatrixExpr) -> tuple[Expr, list[MatrixExpr]]:
    """The coefficient and the factors of a product of products."""
    scale, factors = chain(flat_product(Integer(1), [expr]))
    found: list[MatrixExpr] = []
    for factor in factors:
        inner_scale, inner = flat(factor) if isinstance(factor, MatMul) else (Integer(1), [factor])
        scale, found = scale * inner_scale, [*found, *inner]
    return scale, found


def rational(scale: Expr) -> tuple[Rational, Expr]:
    """The rational factor of a number, also of the sums that are its factors, and the others."""
    number, others = Integer(1), []
    for factor in Mul.make_args(scale):
        content, rest = factor.primitive() if factor.is_Add else factor.as_coeff_Mul()
        if rest.is_Add and rest.could_extract_minus_sign():
            content, rest = -content, -rest
        number *= content
        others.append(rest)
    return number, Mul(*others)


def with_fewer_signs(number: Rational, rest: Expr) -> tuple[Rational, Expr]:
    """(nu - n)/2 for -(n - nu)/2."""
    for factor in Mul.make_args(rest) if number < 0 else ():
        if factor.is_Add and any(term.could_extract_minus_sign() for term in factor.args):
            return -number, Mul(*(-part if part == factor else part for part in Mul.make_args(rest)))
    return number, rest


def with_root_below(above: Expr, below: Expr) -> tuple[Expr, Expr]:
    """1/sqrt(2) for sqrt(2)/2, which SymPy makes of it."""
    for part in Mul.make_args(above):
        if part.is_Pow and part.exp == Rational(1, 2) and part.base.is_Integer:
            whole, rest = below.as_coeff_Mul()
            if whole.is_Integer and whole % part.base == 0:
                return above / part, part * (whole // part.base) * rest
    return above, below
