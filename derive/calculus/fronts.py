"""What the terms of a sum have in common in front of it, and its sign."""

from collections.abc import Sequence
from functools import reduce

from sympy import Expr, Integer, MatAdd, MatrixExpr, Mul, fraction, gcd, sign, together

from derive.programs import chain, flat_product


def mostly_negative(total: MatAdd) -> bool:
    negative = sum(chain(term)[0].could_extract_minus_sign() for term in total.args)
    return 2 * negative > len(total.args) or chain(total.args[0])[0].could_extract_minus_sign()


def in_front(total: MatAdd) -> tuple[Expr, MatrixExpr]:
    """What all terms of a sum have in common as a number, and the sum without it."""
    scales, parts = zip(*map(chain, total.args), strict=True)
    contents = [scale.primitive()[0] if scale.is_Add else scale.as_coeff_Mul()[0] for scale in scales]
    common = Integer(1)
    if all(content.is_Rational for content in contents):
        sizes = list(map(abs, contents))
        common = reduce(gcd, sizes)
        if sum(size != common for size in sizes) + (common != 1) > sum(size != 1 for size in sizes):
            common = reduce(gcd, (Integer(size.p) for size in sizes))  # I - J/4 is as it is
    common *= shared(scales)
    if all(scale.could_extract_minus_sign() for scale in scales):
        common = -common
    if common == 1:
        return common, total
    return common, MatAdd(*(flat_product(scale / common, inner) for scale, inner in zip(scales, parts, strict=True)))


def shared(scales: Sequence[Expr]) -> Expr:
    """What is no rational number and a factor of all: of sizes and their like also where the powers differ."""
    powers = [
        dict(factor.as_base_exp() for factor in Mul.make_args(scale) if not factor.is_Rational) for scale in scales
    ]
    found = []
    for base, exponent in powers[0].items():
        exponents = [of_one.get(base, Integer(0)) for of_one in powers]
        signs = {sign(one) for one in exponents}
        if len({*exponents}) == 1:
            found.append(base**exponent)
        elif signs in ({1}, {-1}) and not base.has(MatrixExpr):
            found.append(base ** min(exponents, key=abs))
    return Mul(*found)


def over_one_line(scale: Expr) -> Expr:
    """1/(s (1 + q/s)) as 1/(s + q)."""
    factors = []
    for part in Mul.make_args(scale):
        base, exponent = part.as_base_exp()
        if base.is_Add and exponent.is_Integer and exponent.is_negative:
            above, below = fraction(together(base))
            part = part if below.is_Rational else below**-exponent * above**exponent
        factors.append(part)
    return Mul(*factors)


def in_front_of(matrix: MatrixExpr) -> tuple[Expr, MatrixExpr]:
    """A number and what it multiplies."""
    if isinstance(matrix, MatAdd):
        return in_front(matrix)
    scale, factors = chain(matrix)
    return scale, flat_product(Integer(1), factors)


def negated(total: MatAdd) -> MatAdd:
    return ordered([flat_product(-scale, inner) for scale, inner in map(chain, total.args)])


def ordered(terms: list[MatrixExpr]) -> MatrixExpr:
    """Their sum, what is subtracted last."""
    terms = sorted(terms, key=lambda term: chain(term)[0].could_extract_minus_sign())
    return MatAdd(*terms) if len(terms) > 1 else terms[0]
