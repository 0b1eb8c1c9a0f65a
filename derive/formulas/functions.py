"""Elementwise functions as scalar SymPy formulas, named as in torch.nn.functional; SymPy gives each its slope.

To add one, add a row to FUNCTIONS. A kink is policy: the condition of the branch says which slope holds there, and it
is torch's.
"""

from functools import cached_property, lru_cache

from sympy import (
    Add,
    Expr,
    Function,
    Integer,
    Mul,
    Piecewise,
    Poly,
    Pow,
    Rational,
    Symbol,
    cancel,
    cosh,
    diff,
    erf,
    exp,
    factor,
    factor_list,
    fraction,
    interpolate,
    lambdify,
    log,
    nsimplify,
    pi,
    sin,
    sinh,
    sqrt,
    tanh,
    together,
)
from sympy.core.cache import cacheit
from sympy.core.parameters import distribute

from derive.formulas.fractions import uncancelled

z = Symbol("z", real=True)
C, E, q = (Symbol(name, positive=True) for name in "CEq")


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
        return slope(self.func).xreplace({z: self.args[0], self.func(z): self})

    @cacheit
    def _eval_evalf(self, precision: int) -> Expr:
        """The definition at the number that the argument is, with some bits to spare."""
        more = precision + 20
        return self.definition.xreplace({z: self.args[0]._evalf(more)})._evalf(more)

    def expanded(self) -> Expr:
        """The definition at this argument."""
        return self.definition.xreplace({z: self.args[0]})


def _function(name: str, definition: Expr) -> type[NamedFunction]:
    return type(name, (NamedFunction,), {"definition": definition})


def _clip(least: int, most: int, value: Expr) -> Expr:
    return Piecewise((least, value <= least), (most, value >= most), (value, True))


sigmoid = _function("sigmoid", 1 / (1 + exp(-z)))
logsigmoid = _function("logsigmoid", -log(1 + exp(-z)))
_SELU_SCALE, _SELU_BELOW = Rational("1.0507009873554805"), Rational("1.7580993408473766")  # scale, scale * alpha

DEFINITIONS: dict[str, Expr] = {
    "relu": Piecewise((0, z <= 0), (z, True)),
    "leaky_relu": Piecewise((z, z > 0), (z / 100, True)),
    "elu": Piecewise((z, z > 0), (exp(z) - 1, True)),
    "selu": Piecewise((_SELU_SCALE * z, z > 0), (_SELU_BELOW * (exp(z) - 1), True)),
    "celu": Piecewise((z, z > 0), (exp(z) - 1, True)),
    "softplus": Piecewise((z, z > 20), (-logsigmoid(-z), True)),  # linear above 20, as torch has it
    "silu": z * sigmoid(z),
    "gelu": z * (1 + erf(z / sqrt(2))) / 2,
    "gelu_tanh": z * (1 + tanh(sqrt(2 / pi) * (z + Rational("0.044715") * z**3))) / 2,
    "mish": z * tanh(-logsigmoid(-z)),
    "softsign": Piecewise((z / (1 + z), z >= 0), (z / (1 - z), True)),
    "tanhshrink": z - tanh(z),
    "relu6": _clip(0, 6, z),
    "hardtanh": _clip(-1, 1, z),
    "hardsigmoid": Piecewise((0, z <= -3), (1, z >= 3), (z / 6 + Rational(1, 2), True)),
    "hardswish": Piecewise((0, z <= -3), (z, z >= 3), (z * (z + 3) / 6, True)),
}

FUNCTIONS: dict[str, Expr] = {
    "identity": z,
    "sigmoid": sigmoid(z),
    "tanh": tanh(z),
    "logsigmoid": logsigmoid(z),
    "sin": sin(z),
    **{name: _function(name, definition)(z) for name, definition in DEFINITIONS.items()},
}


def opened(expr: Expr) -> Expr:
    """The expression with every named function replaced by its definition, down to exp, log, erf and tanh."""
    return expr.replace(lambda part: isinstance(part, NamedFunction), lambda part: opened(part.expanded()))


@lru_cache
def slope(function: type[NamedFunction]) -> Expr:
    """d function / dz, written in the function's own output where SymPy confirms it, else in z and safe to evaluate."""
    fitted = in_output(function, diff(opened(function.definition), z))
    return stable(diff(function.definition, z)) if fitted is None else fitted


def in_output(function: type[NamedFunction], derivative: Expr) -> Expr | None:
    """The slope as c0 + c1 f + c2 f^2, or None. Three numeric points suggest the numbers, SymPy confirms them."""
    if derivative.has(Piecewise):
        return None
    a = function(z)
    definition = opened(function.definition)
    f, df = (lambdify(z, e, "mpmath") for e in (definition, derivative))
    suggestion = Poly(interpolate([(f(t), df(t)) for t in (-1.5, -0.25, 1.25)], z), z)
    c0, c1, c2 = (nsimplify(suggestion.coeff_monomial(z**k), rational=True, tolerance=1e-9) for k in range(3))
    fitted = a * (c1 + c2 * a) if c0 == 0 else c0 + c1 * a + c2 * a**2
    if abs(c0 + c1 * f(2) + c2 * f(2) ** 2 - df(2)) > 1e-9:
        return None
    return fitted if cancel((fitted.xreplace({a: definition}) - derivative).rewrite(exp)) == 0 else None


def stable(expr: Expr) -> Expr:
    """The same function, written so that nothing overflows and no equals are subtracted.

    1/(1 + exp(-u)) is sigmoid(u), log(1 + exp(u)) likewise; 1 - sigmoid(u) is sigmoid(-u); fractions are brought over
    one denominator.
    """
    if expr.is_Atom or not expr.args:
        return expr
    if isinstance(expr, log) or _overflows(expr):
        expr = expr.rewrite((cosh, sinh), exp)
    if isinstance(expr, Piecewise):
        return Piecewise(*((stable(value), condition) for value, condition in expr.args))
    if isinstance(expr, log):
        return _log(expr)
    with distribute(False):
        parts = (stable(part) if not _overflows(part) else stable(part.base) ** part.exp for part in expr.args)
        made = list(parts if isinstance(expr, Mul) else map(stable, expr.args))
    with distribute(expr.is_Function):  # Abs finds the sign of a sum by multiplying it out, and would else try for ever
        expr = expr.func(*made)
    if isinstance(expr, Add | Mul):
        expr = _complement(expr) if isinstance(expr, Add) else expr
        expr = uncancelled(expr)
    if not expr.has(exp):
        return expr
    if _overflows(expr) or (isinstance(expr, Mul) and expr.has(sigmoid)):
        expr = _logistic(expr)
    return _over_sums(Mul.make_args(expr)) if _overflows(expr) else expr


def _complement(total: Add) -> Expr:
    """1 - sigmoid(u) as sigmoid(-u), and what else a number and a function that is near it leave of each other."""
    number = total.as_coeff_Add()[0]
    for term in total.args:
        k, part = term.as_coeff_Mul()
        if number == 0 or abs(k) != abs(number):
            continue
        sign, u = k / number, part.args[0] if part.args else part
        if isinstance(part, sigmoid) and sign == -1:
            left: Expr = sigmoid(-u)
        elif isinstance(part, tanh):
            left = 2 * sigmoid(2 * sign * u)
        elif isinstance(part, Pow) and isinstance(part.base, tanh) and part.exp == 2 and sign == -1:
            left = 4 * sigmoid(2 * u.args[0]) * sigmoid(-2 * u.args[0])
        else:
            continue
        return total - number - term + number * left
    return total


def _overflows(expr: Expr) -> bool:
    """Whether a sum of exp stands under the line."""
    return any(
        isinstance(part, Pow) and part.exp.is_negative and part.base.has(exp, cosh, sinh)
        for part in Mul.make_args(expr)
    )


def _softplus(u: Expr) -> Expr:
    """log(1 + exp(u)), in the form that is exact at every size."""
    return -logsigmoid(-u)


def _in_exp(expr: Expr) -> tuple[Expr, Expr] | None:
    """A rational expression of exp(u) as one in E, and u; None where there is no one such u."""
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
    return (result, u) if result.is_rational_function(E) and not result.has(exp, C) else None


def _log(logarithm: Expr) -> Expr:
    """log of a sigmoid, or of a product of powers of a + b exp(u), a and b positive."""
    inner = stable(logarithm.args[0])
    if isinstance(inner, sigmoid):
        return logsigmoid(inner.args[0])
    if isinstance(1 - inner, sigmoid):
        return logsigmoid(-(1 - inner).args[0])
    found = _in_exp(logarithm.args[0])
    if found is None:
        return _log_of_sum(logarithm.args[0]) or log(inner)
    rational, u = found
    number, slope_of_u = Integer(0), Integer(0)
    pluses: list[tuple[Expr, Expr, Expr]] = []  # s, d, c of s softplus(d u + c)
    for part, sign in zip(fraction(rational), (1, -1), strict=True):
        scale, factors = factor_list(part, E)
        if scale.free_symbols or not scale.is_positive:
            return log(inner)
        number += sign * log(scale)
        for base, power in factors:
            terms = [term.as_coeff_exponent(E) for term in Add.make_args(base)]
            if len(terms) > 2 or not all(c.is_positive for c, _ in terms):
                return log(inner)
            (a, k), *rest = sorted(terms, key=lambda term: term[1])
            number += sign * power * log(a)
            slope_of_u += sign * power * k
            pluses += [(Integer(sign * power), m - k, log(b / a)) for b, m in rest]
    return number + _without_opposites(slope_of_u, pluses, u)


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


def _log_of_sum(argument: Expr) -> Expr | None:
    """log of a sum of exp, one after the other, or None: log(exp(u) + exp(v)) = u + log(1 + exp(v - u))."""
    exponents = _exponents(argument)
    if exponents is None:
        return None
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


def _over_sums(parts: tuple[Expr, ...]) -> Expr:
    """A product with 1 / (exp(u) + exp(v) + ...) as exp of minus its logarithm, and one exp in all."""
    powers, others = [], []
    for part in parts:
        exponents = _exponents(part.base) if part.is_Pow and part.exp.is_negative and part.base.has(exp) else None
        if exponents:
            powers.append(part.exp * _log_of_sum(part.base))
        elif isinstance(part, exp):
            powers.append(part.args[0])
        else:
            others.append(part)
    return Mul(exp(Add(*powers)), *others)


def _logistic(expr: Expr) -> Expr:
    """A quotient of sums of exp(u) as a polynomial in q = sigmoid(u) or sigmoid(2 u), where it is one.

    exp(u) = q / (1 - q), and exp(2 u) likewise.
    """
    for power in sorted(expr.atoms(exp), key=str):
        u = -power.args[0] if power.args[0].could_extract_minus_sign() else power.args[0]
        in_e = {exp(u): E, exp(-u): 1 / E, sigmoid(u): E / (1 + E), sigmoid(-u): 1 / (1 + E)}
        quotient = cancel(expr.xreplace(in_e))
        if quotient.has(exp(u), exp(-u)):
            continue
        for times in (1, 2):
            even = [part.as_poly(E) for part in quotient.as_numer_denom()]
            if any(part is None or any(n % times for (n,) in part.monoms()) for part in even):
                continue
            parts = [Add(*(c * (q / (1 - q)) ** (n // times) for (n,), c in part.terms())) for part in even]
            numerator, denominator = cancel(parts[0] / parts[1]).as_numer_denom()
            if not denominator.has(q):
                expr = _in_sigmoid(factor(numerator), times * u) / denominator
                break
    return expr


def _in_sigmoid(polynomial: Expr, u: Expr) -> Expr:
    """The polynomial at q = sigmoid(u), its factors 1 - q as sigmoid(-u) and 2 q - 1 as tanh(u / 2)."""
    factors = []
    for part in Mul.make_args(polynomial):
        base, power = part.as_base_exp()
        if base == q - 1:
            factors.append(Integer(-1) ** power * sigmoid(-u) ** power)
        elif base == 2 * q - 1:
            factors.append(tanh(u / 2) ** power)
        else:
            factors.append(part.xreplace({q: sigmoid(u), 1 - q: sigmoid(-u)}))
    return Mul(*factors)
