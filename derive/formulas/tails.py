"""Products with erfc, which fades as exp(-u^2) does, or with sigmoid, in forms that keep their digits there."""

from sympy import Add, Expr, Integer, Mul, exp, log, sqrt

from derive.formulas.exponentials import times_in


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


def opposite_beside_exp(sigmoid: type[Expr], product: Expr) -> Expr:
    """With all exp as one, and sigmoid(u) exp(-u), of which one is 0 where the other is infinite, as sigmoid(-u)."""
    factors = Mul.make_args(product)
    exponents = [factor.args[0] for factor in factors if isinstance(factor, exp)]
    rest, exponent = [factor for factor in factors if not isinstance(factor, exp)], Add(*exponents)
    for place, factor in enumerate(rest if exponents else ()):
        base, power = factor.as_base_exp()
        u = base.args[0] if isinstance(base, sigmoid) else Integer(0)
        count = min(power, -times_in(u, exponent)) if u != 0 and not u.has(exp) else 0
        if count > 0:
            rest[place] = base ** (power - count) * sigmoid(-u) ** count
            exponent += count * u
    return Mul(*rest, exp(exponent)) if exponents else product
