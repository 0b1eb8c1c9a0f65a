"""Numbers in front of a product and sums of its entries, as they are to be read."""

from sympy import Expr, Identity, Integer, MatMul, MatrixExpr, Mul, OneMatrix, Rational

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


def sum_in(factors: list[MatrixExpr]) -> tuple[list[MatrixExpr], str, list[MatrixExpr], list[MatrixExpr]]:
    """The word for the sum of entries that a product is, before it what stands there, and behind it of what it is."""
    factors = [factor for factor in factors if factor != Identity(1)]
    split = [
        part
        for factor in factors
        for part in (
            (OneMatrix(factor.shape[0], 1), OneMatrix(1, factor.shape[1]))
            if isinstance(factor, OneMatrix) and 1 not in factor.shape and len(factors) > 1
            else (factor,)
        )
    ]
    places = [place for place, factor in enumerate(split) if not isinstance(factor, OneMatrix)]
    if not places:
        return factors, "", [], []
    left, inner, right = split[: places[0]], split[places[0] : places[-1] + 1], split[places[-1] + 1 :]
    columns, rows = bool(left) and left[-1].shape[0] == 1, bool(right) and right[0].shape[1] == 1
    number = columns and not right and inner[-1].shape[1] == 1
    word = {(True, True): "total", (True, False): "column_sum", (False, True): "row_sum"}.get((columns, rows), "")
    return left[: len(left) - columns], "total" if number else word, inner, right[rows:]


def is_total(factors: list[MatrixExpr]) -> bool:
    """Whether the trace of a product is the sum of all entries of what is beside the ones at its end, or between."""
    inside = [factor for factor in factors if not isinstance(factor, OneMatrix)]
    ends = [isinstance(end, OneMatrix) for end in (factors[0], factors[-1])]
    return len(factors) - len(inside) == sum(ends) > 0 < len(inside) and (not all(ends) or factors[0].shape[0] == 1)
