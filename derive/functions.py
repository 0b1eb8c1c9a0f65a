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
    diff,
    erf,
    exp,
    factor,
    interpolate,
    lambdify,
    log,
    nsimplify,
    pi,
    sin,
    sqrt,
    tanh,
)
from sympy.core.cache import cacheit
from sympy.core.parameters import distribute

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
        return slope(type(self)).xreplace({z: self.args[0], type(self)(z): self})

    def _eval_evalf(self, precision):
        return self.expanded()._eval_evalf(precision)

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
    """The same function, written so that nothing overflows: 1/(1 + exp(-u)) as sigmoid(u), log(1 + exp(u)) likewise."""
    if expr.is_Atom or not expr.args:
        return expr
    if isinstance(expr, Piecewise):
        return Piecewise(*((stable(value), condition) for value, condition in expr.args))
    with distribute(False):
        expr = expr.func(*map(stable, expr.args))
    if isinstance(expr, log):
        return _log(expr)
    if expr.is_rational_function(z) and expr.free_symbols == {z}:
        return factor(cancel(expr)) if expr.as_numer_denom()[1].has(z) else expr
    overflows = any(
        isinstance(part, Pow) and part.exp.is_negative and part.base.has(exp) for part in Mul.make_args(expr)
    )
    return _logistic(expr) if overflows or (isinstance(expr, Mul) and expr.has(exp) and expr.has(sigmoid)) else expr


def _log(expr: Expr) -> Expr:
    argument = expr.args[0]
    if isinstance(argument, sigmoid):
        return logsigmoid(argument.args[0])
    if isinstance(argument, Add) and len(argument.args) == 2:
        one, other = argument.args
        if one == 1 and isinstance(other, exp):
            return -logsigmoid(-other.args[0])
        if one == 1 and isinstance(-other, sigmoid):
            return logsigmoid(-(-other).args[0])
    return expr


def _logistic(expr: Expr) -> Expr:
    """A quotient of sums of exp(u) as a polynomial in q = sigmoid(u) or sigmoid(2 u), where it is one.

    exp(u) = q / (1 - q), and exp(2 u) likewise.
    """
    E, q = Symbol("E", positive=True), Symbol("q", positive=True)
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
                expr = _in_sigmoid(factor(numerator), q, times * u) / denominator
                break
    return expr


def _in_sigmoid(polynomial: Expr, q: Symbol, u: Expr) -> Expr:
    """The polynomial at q = sigmoid(u), its factors 1 - q as sigmoid(-u)."""
    factors = []
    for part in Mul.make_args(polynomial):
        base, power = part.as_base_exp()
        if base == q - 1:
            factors.append(Integer(-1) ** power * sigmoid(-u) ** power)
        else:
            factors.append(part.xreplace({q: sigmoid(u), 1 - q: sigmoid(-u)}))
    return Mul(*factors)
