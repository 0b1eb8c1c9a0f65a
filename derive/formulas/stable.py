"""Formulas written so that nothing overflows and no equals are subtracted, and the named functions that this takes."""

from functools import cached_property, lru_cache

from sympy import (
    Add,
    Expr,
    Function,
    Integer,
    Mul,
    Piecewise,
    Pow,
    Symbol,
    cos,
    cosh,
    diff,
    erf,
    exp,
    log,
    sin,
    sinh,
    sqrt,
    tanh,
)
from sympy.core.cache import cacheit
from sympy.core.parameters import distribute

from derive.formulas.exponentials import (
    Below,
    Summand,
    beside_exp,
    beside_exp_of_exp,
    bounded,
    difference_of_exp,
    factors_of,
    in_powers,
    one_quotient,
    positive_terms,
    times_in,
    units,
)
from derive.formulas.fitted import in_output
from derive.formulas.fractions import uncancelled
from derive.formulas.tails import divided_by, log_of_tail, opposite_beside_exp, scaled_by

z = Symbol("z", real=True)


class NamedFunction(Function):
    """A function that torch has a kernel for: kept whole in a formula, and differentiated through its definition."""

    nargs = 1
    definition: Expr

    def _eval_is_extended_real(self) -> bool:
        return True

    @cached_property
    def free_symbols(self) -> set[Symbol]:
        """Kept, as SymPy asks for it at every step of a derivative."""
        return super().free_symbols

    @cacheit
    def _eval_derivative(self, symbol: Symbol) -> Expr:
        return self.fdiff() * diff(self.args[0], symbol)

    def fdiff(self, argindex: int = 1) -> Expr:
        return slope_of_function(self.func).xreplace({z: self.args[0], self.func(z): self})

    @cacheit
    def _eval_evalf(self, precision: int) -> Expr:
        """The definition at the number that the argument is, with some bits to spare."""
        more = precision + 20
        return self.definition.xreplace({z: self.args[0]._evalf(more)})._evalf(more)

    def expanded(self) -> Expr:
        """The definition at this argument."""
        return self.definition.xreplace({z: self.args[0]})


def named_function(name: str, definition: Expr) -> type[NamedFunction]:
    return type(name, (NamedFunction,), {"definition": definition})


sigmoid = named_function("sigmoid", 1 / (1 + exp(-z)))
logsigmoid = named_function("logsigmoid", -log(1 + exp(-z)))
erfc = named_function("erfc", 1 - erf(z))
expm1 = named_function("expm1", exp(z) - 1)
log1p = named_function("log1p", log(1 + z))
erfcx = named_function("erfcx", exp(z**2) * erfc(z))
log_ndtr = named_function("log_ndtr", log(erfc(-z / sqrt(2)) / 2))
AUXILIARY = erfc, expm1, log1p, erfcx, log_ndtr  # which stable forms are written with


class over(NamedFunction):
    """1/z, and 0 where z is 0."""

    definition = 1 / z

    def fdiff(self, argindex: int = 1) -> Expr:
        return -(self**2)


class root(NamedFunction):
    """The root of a sum of squares, whose slope where they are all 0 is taken to be 0, one of its subgradients."""

    definition = sqrt(z)

    def fdiff(self, argindex: int = 1) -> Expr:
        return over(self) / 2


def in_powers_of(expr: Expr) -> Expr:
    """The expression with roots of sums of squares, and 1 over them, as powers."""
    return expr.replace(over, lambda u: 1 / u).replace(root, sqrt)


def opened(expr: Expr) -> Expr:
    """The expression with every named function replaced by its definition, down to exp, log, erf and tanh."""
    return expr.replace(lambda part: isinstance(part, NamedFunction), lambda part: opened(part.expanded()))


@lru_cache
def slope_of_function(function: type[NamedFunction]) -> Expr:
    """d function / dz, written in the function's own output where SymPy confirms it, else in z and safe to evaluate."""
    definition = opened(function.definition)
    fitted = in_output(function(z), definition, diff(definition, z), z)
    return stable(diff(function.definition, z)) if fitted is None else fitted


OF_EXP = exp, cosh, sinh, sigmoid, tanh, expm1


def stable(expr: Expr) -> Expr:
    """The same function, written so that nothing overflows and no equals are subtracted.

    1/(1 + exp(-u)) is sigmoid(u), log(1 + exp(u)) likewise; 1 - sigmoid(u) is sigmoid(-u); fractions are brought over
    one denominator.
    """
    if expr.is_Atom or not expr.args:
        return expr
    if isinstance(expr, log1p):
        found = stable(log(1 + expr.args[0]))
        if not isinstance(found, log) and not any(term.is_number for term in Add.make_args(found)):
            return found  # which is as exact where it is near 0
    if isinstance(expr, log) or _overflows(expr):
        expr = expr.rewrite((cosh, sinh), exp)
    if isinstance(expr, Piecewise):
        return Piecewise(*((stable(value), condition) for value, condition in expr.args))
    if isinstance(expr, log):
        if (difference := difference_of_exp(expr.args[0])) is not None:
            a, u, v = difference
            return u + log(-a * expm1(v - u))
        return _log(stable(expr.args[0]))
    if isinstance(expr, Pow) and expr.exp.is_Rational and not expr.exp.is_Integer:
        return _root(stable(expr.base), expr.exp)
    with distribute(False):
        parts = (stable(part) if not _overflows(part) else stable(part.base) ** part.exp for part in expr.args)
        made = list(parts if isinstance(expr, Mul) else map(stable, expr.args))
    with distribute(expr.is_Function):  # Abs finds the sign of a sum by multiplying it out, and would else try for ever
        expr = expr.func(*made)
    if isinstance(expr, Add):
        expr = _as_one(_complement(_without_its_line(expr)))
    if isinstance(expr, Add | Mul):
        expr = uncancelled(expr)
    if expr.has(erfc):
        expr = Add(*(scaled_by(erfc, erfcx, term) for term in Add.make_args(expr)))
    if _overflows(expr):
        with distribute(True):
            found = bounded(_in_exp(expr))
        if found is not None:
            expr = _as_one(_written(found))
    expr = divided_by(erfcx, expr)
    return _in_one_exp(expr) if isinstance(expr, Mul) else expr


def _overflows(expr: Expr) -> bool:
    """Whether a sum of exp stands under the line."""
    return any(
        isinstance(part, Pow)
        and part.exp.is_negative
        and (isinstance(part.base, cosh | sinh | expm1) or (part.base.is_Add and part.base.has(*OF_EXP)))
        for part in Mul.make_args(expr)
    )


def _complement(total: Add) -> Expr:
    """What a number and a function that is near it leave of each other: 1 - erf(u) is erfc(u), exp(u) - 1 expm1(u)."""
    number = total.as_coeff_Add()[0]
    for term in total.args:
        k, part = term.as_coeff_Mul()
        if number == 0 or abs(k) != abs(number) or not part.args:
            continue
        sign, u = k / number, part.args[0]
        if isinstance(part, erf):
            left: Expr = erfc(-sign * u)
        elif isinstance(part, exp) and sign == -1:
            left = -expm1(u)
        elif isinstance(part, cos) and sign == -1:
            left = 2 * sin(u / 2) ** 2
        else:
            continue
        return total - number - term + number * left
    return total


def _without_its_line(total: Add) -> Expr:
    """What a function and the line that it nears leave: log(1 + exp(u)) - u is log(1 + exp(-u)), u sigmoid(u) - u less.

    Of a function that is u g(u) what is left is u times what g and a number leave.
    """
    for term in total.args:
        k, part = term.as_coeff_Mul()
        if not isinstance(part, NamedFunction):
            continue
        u = part.args[0]
        m = times_in(u, total - term)
        if m == 0 or (m > 0) == (k > 0):
            continue
        rest = total - term - m * u
        if isinstance(part, logsigmoid):
            if abs(m) >= abs(k):
                return _without_its_line(rest + k * logsigmoid(-u) + (m + k) * u)
        elif z in Mul.make_args(part.func.definition):
            return rest + u * stable(k * (part.func.definition / z).xreplace({z: u}) + m)
    return total


def _root(base: Expr, power: Expr) -> Expr:
    """A power of exp(u) + exp(v) by its logarithm: the sum may be beyond all numbers where the power is none."""
    if base.is_Add:
        with distribute(True):
            total = _in_exp(base)
            found = _log_of_quotient(total) if total.has(exp) else None
        if found is not None and len(found.atoms(logsigmoid)) == 1 and not found.has(log1p):
            return exp(power * found)
    return base**power


def _in_one_exp(product: Mul) -> Expr:
    """Where exp(v), v made of exp, is a factor, others as exp inside it; the sigmoid of a small number, too."""
    product = product.replace(_is_small, lambda part: exp(part.args[0]) * sigmoid(-part.args[0]))
    product = opposite_beside_exp(sigmoid, product)
    found = beside_exp_of_exp([(factor, _in_exp(factor)) for factor in product.args])
    with distribute(False):
        return _written(found) if found else product


def _is_small(part: Expr) -> bool:
    """Whether it is the sigmoid of what is negative and made of exp."""
    return isinstance(part, sigmoid) and part.args[0].has(exp) and bool(part.args[0].is_negative)


def _in_exp(expr: Expr) -> Expr:
    """With what is a quotient of sums of exp as that, but for arguments of functions, which are as safe as they are."""
    if isinstance(expr, sigmoid | expm1):
        return expr.expanded()
    if isinstance(expr, tanh):
        (u,) = expr.args
        return (exp(2 * u) - 1) / (exp(2 * u) + 1)
    arithmetic = isinstance(expr, Add | Mul | Pow) and not isinstance(expr, exp)
    return expr.func(*map(_in_exp, expr.args)) if arithmetic else expr


def _as_one(total: Expr) -> Expr:
    """A sum whose terms cancel, of sigmoids and their like, as one product: sigmoid(u) - sigmoid(u)^2."""
    for u in sorted(units(_in_exp(total)), key=str):
        groups: dict[Expr, Expr] = {}
        for term in Add.make_args(total):
            factors = Mul.make_args(term)
            inside = [factor for factor in factors if factor.is_Rational or _is_of(factor, u)]
            others = [factor for factor in factors if factor not in inside]
            turned = [factor for factor in others if factor.is_Add and factor.could_extract_minus_sign()]
            outside = Mul(*(-factor if factor in turned else factor for factor in others))
            groups[outside] = groups.get(outside, Integer(0)) + (-1) ** len(turned) * Mul(*inside)
        found = {outside: _uncancelled_exp(inside) for outside, inside in groups.items()}
        if any(found[outside] != inside for outside, inside in groups.items()):
            with distribute(False):
                total = Add(*(outside * inside for outside, inside in found.items()))
    return total


def _is_of(factor: Expr, u: Expr) -> bool:
    """Whether it is a rational function of exp(u)."""
    return bool(factor.free_symbols) and units(_in_exp(factor)) == {u} and in_powers(_in_exp(factor)) is not None


def _uncancelled_exp(total: Expr) -> Expr:
    terms = Add.make_args(total)
    if len(terms) == 1 or all(map(_is_positive, terms)) or all(_is_positive(-term) for term in terms):
        return total
    with distribute(True):
        quotient = one_quotient(_in_exp(total))
        return _written(quotient[0]) if quotient and quotient[1] else total


def _is_positive(expr: Expr) -> bool:
    if isinstance(expr, Add | Mul):
        return all(map(_is_positive, expr.args))
    if isinstance(expr, Pow) and not isinstance(expr, exp):
        return _is_positive(expr.base)
    return isinstance(expr, exp | sigmoid) or bool(expr.is_positive)


def _written(summands: list[Summand]) -> Expr:
    return Add(*(Mul(summand.front, *map(_one_over, summand.below)) for summand in summands))


def _one_over(below: Below) -> Expr:
    """1 / (a + b exp(v)) as a sigmoid, or by expm1, and 1 over any other sum as that."""
    if len(below.terms) == 2:
        (a, u), (b, v) = below.terms if below.terms[0][1] == 0 else below.terms[::-1]
        if u == 0 and a.is_number and b.is_number:
            ratio = b / a
            one_over = 1 / expm1(v + log(-ratio)) / -a if ratio.is_negative else sigmoid(-v - log(ratio)) / a
            return one_over**below.power
    return Add(*(a * exp(u) for a, u in below.terms)) ** -below.power


def _softplus(u: Expr) -> Expr:
    """log(1 + exp(u)), in the form that is exact at every size."""
    return -logsigmoid(-u)


def _log(argument: Expr) -> Expr:
    """log of a quotient of sums of exp by softplus, or by what is taken out of a sum so that 1 and less are left."""
    if argument.has(erfc):
        tail, argument = log_of_tail(erfc, log_ndtr, argument)
        if tail != 0:
            return tail if argument == 1 else tail + _log(argument)
    with distribute(True):
        total = _in_exp(argument)
        if not total.has(exp):
            return _log_near_one(argument)
        found = _log_of_quotient(total) or _log_of_sum(total)
    beside, inside = beside_exp(argument)
    base, power = inside.as_base_exp()
    if found is None and base.is_Add and (beside, power) != (1, 1) and (power == 1 or base.is_positive):
        return log(beside) + power * _log(base)
    return found or _log_near_one(argument)


def _log_near_one(argument: Expr) -> Expr:
    number, rest = argument.as_coeff_Add()
    return log1p(rest) if number == 1 and rest != 0 else log(argument)


def _log_of_quotient(total: Expr) -> Expr | None:
    """Of a quotient of sums of powers of exp(u), all with positive factors; None where it is no such."""
    powers = in_powers(total)
    parts = factors_of(powers.function) if powers else None
    if powers is None or parts is None:
        return None
    above, slope_of_u, below = parts
    number, tops = above.factor_list()
    factors = [*tops, *((D, -m) for D, m in below)]
    if not powers.is_positive(number) or any(powers.sign(F) < 1 for F, _ in factors):
        return None
    if slope_of_u == 0 and below and above.degree() == sum(m * D.degree() for D, m in below):
        near_one = one_quotient(total - 1)
        if near_one and near_one[1]:
            return log1p(_written(near_one[0]))
    start, u = log(powers.meant(number)), powers.u
    sums = [(s, [(k, powers.meant(c)) for (k,), c in F.terms()]) for F, s in factors]
    if all(len(terms) == 2 for _, terms in sums):
        start += Add(*(s * log(a) for s, (_, (_, a)) in sums))
        pluses = [(Integer(s), Integer(k), log(b / a)) for s, ((k, b), (_, a)) in sums]
        return start + _without_opposites(Integer(slope_of_u), pluses, u)
    cases = []
    for end in (-1, 0):
        case = start + slope_of_u * u
        for s, terms in sums:
            n, d = terms[end]
            case += s * (n * u + log(d) + log1p(Add(*(c / d * exp((k - n) * u) for k, c in terms if k != n))))
        cases.append(case)
    return Piecewise((cases[0], u <= 0), (cases[1], True))


def _without_opposites(slope_of_u: Expr, pluses: list[tuple[Expr, Expr, Expr]], u: Expr) -> Expr:
    """slope u + the sum of s softplus(d u + c); softplus(v) - v is softplus(-v), which leaves no small difference."""
    total = Integer(0)
    for s, d, c in pluses:
        if slope_of_u * s * d < 0 and abs(slope_of_u) >= abs(s * d):
            slope_of_u += s * d
            total += s * c
            d, c = -d, -c
        total += s * _softplus(d * u + c)
    return total + slope_of_u * u


def _log_of_sum(total: Expr) -> Expr | None:
    """log of a sum of exp, one after the other, or None: log(exp(u) + exp(v)) = u + log(1 + exp(v - u))."""
    terms = positive_terms(total)
    if terms is None or not all(a.is_positive for a, _ in terms):
        return None
    start, *others = (u + log(a) for a, u in terms)
    for u in others:
        start += _softplus(u - start)
    return start
