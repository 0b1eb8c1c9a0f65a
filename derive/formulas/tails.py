"""Products with erfc, which fades as exp(-u^2) does, and their logarithms, in forms that keep their digits there."""

from sympy import Add, Expr, Integer, Mul, exp, log, sqrt


def scaled_by(erfc: type[Expr], erfcx: type[Expr], product: Expr) -> Expr:
    """The product with exp(u^2) erfc(u) as erfcx(u), which neither fades nor overflows as u grows."""
    for factor in Mul.make_args(product):
        base, power = factor.as_base_exp()
        if not isinstance(base, erfc) or not power.is_Integer:
            continue
        (u,) = base.args
        exponents = [part.args[0] for part in Mul.make_args(product) if isinstance(part, exp)]
        left = sum(exponents, Integer(0)) - power * u**2
        if exponents and left.expand() == 0:
            others = (part for part in Mul.make_args(product) if part != factor and not isinstance(part, exp))
            return Mul(erfcx(u) ** power, *others)
    return product


def divided_by(erfcx: type[Expr], product: Expr) -> Expr:
    """(a + b E)/E^2, E = erfcx(u), as (a/E + b)/E: where E is infinite, the first is no number."""
    factors = list(Mul.make_args(product)) if product.has(erfcx) else []
    for index, factor in enumerate(factors):
        base, power = factor.as_base_exp()
        sums = [part for part in factors if isinstance(part, Add) and part.has(base)]
        if isinstance(base, erfcx) and power.is_negative and sums:
            factors[index] = factor * base
            factors[factors.index(sums[0])] = Add(*(term / base for term in sums[0].args))
            return Mul(*factors)
    return product


def log_of_tail(erfc: type[Expr], log_ndtr: type[Expr], product: Expr) -> tuple[Expr, Expr]:
    """The log of the factors erfc(u), by the normal distribution's, and the product of the others."""
    total, others = Integer(0), Integer(1)
    for factor in Mul.make_args(product):
        base, power = factor.as_base_exp()
        if isinstance(base, erfc) and power.is_number:
            total += power * (log_ndtr(-sqrt(2) * base.args[0]) + log(2))
        else:
            others *= factor
    return total, others
