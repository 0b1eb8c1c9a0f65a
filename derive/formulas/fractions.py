"""Fractions of polynomials and of a square root, written so that no two large terms leave a small one.

SymPy differentiates a quotient term by term. Here the terms are brought over one denominator, and what is left above
is factored: 2/(1 + u^2) - 4 u^2/(1 + u^2)^2 becomes -2 (u - 1) (u + 1)/(1 + u^2)^2.
"""

from functools import lru_cache

from sympy import (
    Abs,
    Add,
    Dummy,
    Expr,
    Integer,
    Mul,
    Poly,
    Pow,
    Symbol,
    cancel,
    div,
    factor_list,
    fraction,
    rem,
    sign,
    sqrt,
    together,
)


def uncancelled(expr: Expr) -> Expr:
    """The same sum or product, its fractions in one variable as one fraction of factors."""
    if expr.has(sign):
        expr = _with_same_sizes(expr.replace(lambda part: isinstance(part, Mul) and part.has(sign), _with_sizes))
    below = set().union(*(part.base.free_symbols for part in expr.atoms(Pow) if _is_below(part)))
    below = {symbol for symbol in below if not symbol.is_integer}  # a size is a number, which is outside
    if not below:
        return expr
    groups: dict[Expr, Expr] = {}
    for term in Add.make_args(expr):
        factors = Mul.make_args(term)
        inside = [f for f in factors if f.is_Rational or (f.free_symbols and f.free_symbols <= below and _algebraic(f))]
        outside = Mul(*(f for f in factors if f not in inside))
        groups[outside] = groups.get(outside, Integer(0)) + Mul(*inside)
    return Add(*(outside * _one_fraction(inside) for outside, inside in groups.items()))


def _with_sizes(product: Mul) -> Expr:
    """u sign(u) as the size of u, also where a power of u stands there, or of -u."""
    for part in product.args:
        u = part.args[0] if isinstance(part, sign) else None
        for base, power in (factor.as_base_exp() for factor in product.args if u is not None):
            if power.is_Integer and power > 0 and 0 in (base - u, base + u):
                rest = (f for f in product.args if f not in (part, base**power))
                return (1 if base == u else -1) * Abs(u) * Mul(base ** (power - 1), *rest)
    return product


def _with_same_sizes(total: Expr) -> Expr:
    """The terms of a sum that are |u| times numbers and powers of u, as one."""
    for size in total.atoms(Abs) if total.is_Add else ():
        (u,), t = size.args, Dummy()
        alike = [term for term in total.args if size in Mul.make_args(term)]
        variable = next((symbol for symbol in u.free_symbols if u.diff(symbol).is_Rational), None)
        if len(alike) < 2 or variable is None:
            continue
        step = u.diff(variable)
        multiples = Add(*(term / size for term in alike)).subs(variable, variable + (t - u) / step).expand()
        number, power = multiples.as_coeff_Mul()
        if power.as_base_exp()[0] == t:
            turned = number < 0 and power.as_base_exp()[1].is_odd
            one = Mul(-number if turned else number, (-u if turned else u) ** power.as_base_exp()[1], size)
            total = Add(one, *(term for term in total.args if term not in alike))
    return total


def is_fraction(expr: Expr) -> bool:
    """Whether it is made of symbols by arithmetic and roots alone, with something under the line or a root."""
    return _algebraic(expr) and any(map(_is_below, expr.atoms(Pow)))


def _is_below(part: Pow) -> bool:
    return bool(part.base.free_symbols) and part.exp.is_Rational and not (part.exp.is_Integer and part.exp > 0)


def _algebraic(expr: Expr) -> bool:
    if expr.is_Symbol or expr.is_Rational or (isinstance(expr, Abs) and expr.args[0].is_Symbol):
        return True
    if isinstance(expr, Pow):
        return _algebraic(expr.base) and expr.exp.is_Rational
    return isinstance(expr, Add | Mul) and all(map(_algebraic, expr.args))


@lru_cache(maxsize=1024)
def _one_fraction(expr: Expr) -> Expr:
    """The fraction in lowest terms and factored; as it is where it is not in one variable or has several roots."""
    found = _in_one_variable(expr)
    if found is None:
        return expr
    expr, u, meaning = found
    radicands = {part.base for part in expr.atoms(Pow) if _is_below(part) and part.exp.q == 2}
    if len(radicands) > 1 or any(part.exp.q > 2 for part in expr.atoms(Pow) if part.exp.is_Rational):
        return expr.xreplace({u: meaning})
    P, S = (radicands.pop() if radicands else Integer(1)), Dummy("S", positive=True)
    if not P.is_polynomial(u):
        return expr.xreplace({u: meaning})
    with_root = expr.replace(lambda part: isinstance(part, Pow) and part.base == P, lambda part: S ** (2 * part.exp))
    above, below = fraction(cancel(together(with_root)))
    if P.free_symbols:
        above, below = _rational_below(above, below, S, P)
    if not P.free_symbols and _is_safer(expr, above, below, u):
        return expr.xreplace({u: meaning})
    scale, factors = factor_list(below)
    powers = dict(factors)
    mixed = above.has(S) and cancel(above / S).has(S)
    if above.free_symbols - {u, S} or any(base.has(S) and base != S for base in powers):
        return expr.xreplace({u: meaning})
    if mixed:
        return _without_difference(expr, above / scale, powers, (u, S, P)).xreplace({u: meaning})
    root = -powers.pop(S, 0)
    if above.has(S):
        above, root = cancel(above / S), root + 1
    for base in list(powers):
        if P.free_symbols and cancel(base / P).is_number:
            scale, root = scale * cancel(base / P) ** powers[base], root - 2 * powers.pop(base)
    while root < 0 and P.free_symbols and rem(above, P, u) == 0:
        above, root = div(above, P, u)[0], root + 2
    if P.free_symbols and root < 0:
        powers[P] = -root / Integer(2)
    elif root > 0:
        above *= P ** (root / Integer(2))
    return _factored(above / scale, powers, u).xreplace({u: meaning})


def _is_safer(total: Expr, above: Expr, below: Expr, u: Symbol) -> bool:
    """Whether a sum of which no parts cancel near 0 or far from it would have one large power over another."""
    if not (total.is_Add and above.is_polynomial(u)):
        return False
    most, least = _ends(above, below, u)
    if most < 0 or max(_degree(factor, u) for factor, _ in factor_list(above, u)[1] or [(above, 1)]) < 3:
        return False
    parts = [_ends(top, bottom, u) for top, bottom in map(fraction, map(together, total.args))]
    return (most, least) == (max(most for most, _ in parts), min(least for _, least in parts))


def _ends(above: Expr, below: Expr, u: Symbol) -> tuple[int, int]:
    """As which powers of u a fraction grows far from 0 and near it."""
    monomials = [[power for (power,) in Poly(part, u).monoms()] for part in (above, below)]
    return max(monomials[0]) - max(monomials[1]), min(monomials[0]) - min(monomials[1])


def _rational_below(above: Expr, below: Expr, S: Symbol, P: Expr) -> tuple[Expr, Expr]:
    """A fraction with S, the root of P, and no sum of S and something else below, if then none is left above."""
    above, without = (rem(part, S**2 - P, S).expand() for part in (above, below))
    b = without.coeff(S)
    a = (without - b * S).expand()
    if a == 0 or b == 0:
        return above, below
    top, bottom = fraction(cancel(rem((above * (a - b * S)).expand(), S**2 - P, S) / (a**2 - b**2 * P)))
    return (above, below) if top.has(S) and cancel(top / S).has(S) else (top, bottom)


def _without_difference(expr: Expr, above: Expr, below: dict[Expr, Expr], symbols: tuple[Symbol, Symbol, Expr]) -> Expr:
    """A fraction with a + b sqrt(P) above, where these cancel, as (a^2 - b^2 P)/(a - b sqrt(P)), for numbers a, b."""
    u, S, P = symbols
    b = above.expand().coeff(S)
    a = (above.expand() - b * S).expand()
    left = (a**2 - b**2 * P).expand()
    if S in below or not (a.is_Rational and b.is_Rational and a * b < 0 and _is_positive_everywhere(P, u)) or left == 0:
        return expr
    return _factored(left if a > 0 else -left, below, u) / (abs(a) + abs(b) * sqrt(P))


def _is_positive_everywhere(polynomial: Expr, u: Symbol) -> bool:
    return polynomial.free_symbols == {u} and not Poly(polynomial, u).count_roots() and bool(polynomial.subs(u, 0) > 0)


def _factored(above: Expr, below: dict[Expr, Expr], u: Symbol) -> Expr:
    """The fraction; a factor above that grows as one below is divided by it: (u^2 - 3)/(u^2 + 1) is 1 - 4/(u^2 + 1)."""
    number, factors = factor_list(above) if above.is_polynomial(u) else (Integer(1), [(above, 1)])
    over, below = [number], dict(below)
    for base, power in factors:
        for _ in range(power):
            alike = [D for D, k in below.items() if k >= 1 and base != u and _degree(D, u) == _degree(base, u) > 1]
            if alike:
                quotient, rest = div(base, alike[0], u)
                below[alike[0]] -= 1
                over.append(quotient + rest / alike[0])
            else:
                over.append(base)
    return Mul(*over, *(D**-k for D, k in below.items()))


def _degree(polynomial: Expr, u: Symbol) -> int:
    return polynomial.as_poly(u).degree() if polynomial.is_polynomial(u) else 0


def _in_one_variable(expr: Expr) -> tuple[Expr, Symbol, Expr] | None:
    """The expression in u, u and what that is: the one symbol, or a sum such as p - y if all is made of that."""
    symbols, u = expr.free_symbols, Dummy("u", real=True)
    if len(symbols) == 1:
        (symbol,) = symbols
        sized = expr.xreplace({Abs(symbol): u})
        if sized.free_symbols == {u}:
            return sized, u, Abs(symbol)
        return None if expr.has(Abs) else (expr, symbol, symbol)
    sums = [part for part in expr.atoms(Add) if part.free_symbols == symbols and part.is_polynomial()]
    for part in sorted(
        sums, key=lambda part: (len(part.args), len(part.atoms(Pow)), part.could_extract_minus_sign(), str(part))
    ):
        content, primitive = part.as_content_primitive()
        part = primitive if content.is_Integer else part
        multiples = {other: ratio * u for other in sums if (ratio := cancel(other / part)).is_Rational}
        inside = expr.xreplace(multiples)
        if inside.free_symbols == {u}:
            return inside, u, part
    return None
