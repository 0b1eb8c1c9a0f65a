"""Formulas that overflow, as users write them, in functions that do not: 1/(1 + exp(-t)) is sigmoid(t)."""

from sympy import (
    Add,
    Expr,
    Integer,
    Mul,
    Poly,
    Pow,
    Symbol,
    cancel,
    cosh,
    exp,
    factor_list,
    fraction,
    log,
    sinh,
    tanh,
    together,
)

from derive.functions import logsigmoid, sigmoid

E = Symbol("E", positive=True)
S = Symbol("S", positive=True)
C = Symbol("C", positive=True)


def stable(formula: Expr) -> Expr:
    """The same function, with logarithms of 1 + exp as logsigmoid and fractions of exp as sigmoid."""
    if not formula.has(exp, cosh, sinh):
        return formula
    formula = formula.replace(lambda part: isinstance(part, log) and part.has(exp, cosh, sinh), _log)
    return _fractions(formula)


def _softplus(u: Expr) -> Expr:
    """log(1 + exp(u)), in the form that is exact at every size."""
    return -logsigmoid(-u)


def _in_exp(expr: Expr) -> tuple[Expr, Expr] | None:
    """A rational expression of exp(u) as one in E, and u; None where there is no one such u."""
    expr = expr.rewrite(exp)
    arguments = sorted({part.args[0] for part in expr.atoms(exp)}, key=str)
    if not arguments:
        return None
    units = {argument.as_coeff_Mul()[1] for argument in arguments}
    if len(units) == 1 and all(argument.as_coeff_Mul()[0].is_Integer for argument in arguments):
        u = units.pop()
        powers = {exp(argument): E ** argument.as_coeff_Mul()[0] for argument in arguments}
    else:
        shift, *others = arguments
        differences = [argument - shift for argument in others]
        if len(others) == 1 and not expr.has(log):
            u, powers = differences[0], {exp(shift): C, exp(others[0]): C * E}
        else:
            return None
    result = cancel(together(expr.xreplace(powers)))
    return (result, u) if not result.has(exp, C) else None


def _log(logarithm: Expr) -> Expr:
    """log of a product of powers of a + b exp(u), a and b positive."""
    found = _in_exp(logarithm.args[0])
    if found is None:
        return _log_of_sum(logarithm)
    rational, u = found
    total = Integer(0)
    for part, sign in zip(fraction(rational), (1, -1), strict=True):
        number, factors = factor_list(part, E)
        if number.free_symbols or not number.is_positive:
            return logarithm
        total += sign * log(number)
        for base, power in factors:
            terms = [term.as_coeff_exponent(E) for term in Add.make_args(base)]
            if len(terms) == 1 and terms[0][0].is_positive:
                total += sign * power * (log(terms[0][0]) + terms[0][1] * u)
            elif len(terms) == 2 and all(c.is_positive for c, _ in terms):
                (a, k), (b, m) = sorted(terms, key=lambda term: term[1])
                total += sign * power * (log(a) + k * u + _softplus((m - k) * u + log(b / a)))
            else:
                return logarithm
    return total


def _log_of_sum(logarithm: Expr) -> Expr:
    """log of a sum of exp, one after the other: log(exp(u) + exp(v)) = u + log(1 + exp(v - u))."""
    exponents = _exponents(logarithm.args[0])
    if exponents is None:
        return logarithm
    total, *others = exponents
    for u in others:
        total += _softplus(u - total)
    return total


def _exponents(expr: Expr) -> list[Expr] | None:
    """u, v, ... of a sum exp(u) + exp(v) + ... of two terms or more, each with a positive factor or none."""
    exponents = []
    for term in Add.make_args(expr):
        powers = [part.args[0] for part in Mul.make_args(term) if isinstance(part, exp)]
        rest = Mul(*(part for part in Mul.make_args(term) if not isinstance(part, exp)))
        if rest.free_symbols or not rest.is_positive:
            return None
        exponents.append(Add(*powers) + log(rest))
    return exponents if len(exponents) > 1 else None


def _fractions(formula: Expr) -> Expr:
    """Fractions of exp as polynomials in a sigmoid, wherever they are."""
    if not formula.has(exp) or not formula.args:
        return formula
    if isinstance(formula, Mul | Pow):
        parts = Mul.make_args(formula)
        under = any(part.is_Pow and part.exp.is_negative and part.base.has(exp) for part in parts)
        if under:
            fraction_ = Mul(*(part for part in parts if part.has(exp)))
            others = Mul(*(part for part in parts if not part.has(exp)))
            polynomial = _in_sigmoid(fraction_)
            if polynomial is not None:
                return others * polynomial
            return _over_sums(parts)
    return formula.func(*map(_fractions, formula.args))


def _over_sums(parts: tuple[Expr, ...]) -> Expr:
    """A product with 1 / (exp(u) + exp(v) + ...) as exp of minus its logarithm, and one exp in all."""
    powers, others = [], []
    for part in parts:
        exponents = _exponents(part.base) if part.is_Pow and part.exp.is_negative and part.base.has(exp) else None
        if exponents:
            powers.append(part.exp * _log_of_sum(log(part.base)))
        elif isinstance(part, exp):
            powers.append(part.args[0])
        else:
            others.append(part)
    return Mul(exp(Add(*powers)), *others)


def _in_sigmoid(expr: Expr) -> Expr | None:
    found = _in_exp(expr)
    if found is None:
        return None
    rational, u = found
    powers = {monomial[0] for part in fraction(rational) for monomial in Poly(part, E).monoms()}
    step = 2 if all(power % 2 == 0 for power in powers) else 1
    in_s = cancel(together(rational.subs(E**step, S / (1 - S)) if step == 2 else rational.subs(E, S / (1 - S))))
    if in_s.has(E) or not in_s.is_polynomial(S):
        return None
    odd = cancel(in_s.subs(S, (1 + S) / 2))
    if step == 2 and len(Add.make_args(odd)) == 1:
        return odd.xreplace({S: tanh(u)})
    return in_s.factor().xreplace({S: sigmoid(step * u)})
