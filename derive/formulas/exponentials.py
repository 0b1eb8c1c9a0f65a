"""Quotients of sums of exp, written as products of which no factor overflows, and sums of them as one.

exp(w) / (a exp(u) + b exp(v)) is 1 / (a exp(u - w) + b exp(v - w)): where the sum grows beyond all numbers, 1 over it
is 0, as it is to be. Where the exponents are multiples of one u, the sums are polynomials in E = exp(u).
"""

from dataclasses import dataclass
from functools import lru_cache, reduce

from sympy import (
    Add,
    Dummy,
    Expr,
    Integer,
    Mul,
    NumberSymbol,
    Poly,
    Pow,
    cancel,
    div,
    exp,
    expand,
    factor_list,
    fraction,
    gcd,
    log,
    tanh,
    together,
)
from sympy.core.function import Application
from sympy.core.parameters import distribute
from sympy.functions.elementary.hyperbolic import HyperbolicFunction

E, C = Dummy("E", positive=True), Dummy("C", positive=True)
LARGEST_DEGREE = 12  # degree of a polynomial in E
Terms = tuple[tuple[Expr, Expr], ...]  # a, u of each a exp(u) of a sum


@dataclass(frozen=True)
class Below:
    """1 / (a exp(u) + b exp(v) + ...), to a power."""

    terms: Terms
    power: Expr

    def times(self, exponent: Expr) -> "Below":
        """What it is times exp(power * exponent)."""
        return Below(tuple((a, u - exponent) for a, u in self.terms), self.power)


@dataclass(frozen=True)
class Summand:
    """A factor that is no quotient, and those that are."""

    front: Expr
    below: tuple[Below, ...]


@dataclass(frozen=True)
class Powers:
    """A rational function of E = exp(u) and of a constant C."""

    function: Expr
    u: Expr
    constant: Expr

    def meant(self, number: Expr) -> Expr:
        """What a number with C in it is."""
        return number.xreplace({C: self.constant})

    def is_positive(self, number: Expr) -> bool:
        return bool(self.meant(number).is_positive)

    def sign(self, polynomial: Poly) -> int:
        """1 or -1 where all coefficients have it, else 0."""
        positive = [self.is_positive(c) for c in polynomial.coeffs()]
        return 1 if all(positive) else -1 if all(self.is_positive(-c) for c in polynomial.coeffs()) else 0

    def vanishes_once(self, polynomial: Poly) -> bool:
        """Whether it is a E^d - b, with a and b positive."""
        degrees, signs = zip(*((n, self.sign(Poly(c, E))) for (n,), c in polynomial.terms()), strict=True)
        return len(degrees) == 2 and degrees[-1] == 0 and signs == (1, -1)

    def terms(self, polynomial: Poly) -> Terms:
        return tuple((self.meant(c), k * self.u) for (k,), c in reversed(polynomial.terms()))


def exponential_terms(total: Expr) -> Terms:
    found = []
    for term in Add.make_args(total):
        parts = Mul.make_args(term)
        exponents = [part.args[0] for part in parts if isinstance(part, exp)]
        found.append((Mul(*(part for part in parts if not isinstance(part, exp))), Add(*exponents)))
    return tuple(found)


def positive_terms(total: Expr) -> Terms | None:
    """The terms of a sum, none of them negative; None where that is not known, or all is in one term."""
    terms = exponential_terms(total)
    known = all(a.is_nonnegative and not a.has(exp) for a, _ in terms) and any(a.is_positive for a, _ in terms)
    return terms if known and len(terms) > 1 else None


def unit_of(exponent: Expr) -> tuple[Expr, Expr, Expr]:
    """c, k, u of c + k u, c and k rational numbers; u is 0 where there is none."""
    constant, rest = exponent.as_coeff_Add()
    k, u = rest.as_content_primitive()
    if rest == 0:
        return constant, Integer(0), Integer(0)
    return (constant, -k, -u) if u.could_extract_minus_sign() else (constant, k, u)


def units(expr: Expr) -> set[Expr]:
    """The u of all exp(c + k u) that stand in no other exp."""
    return {unit_of(part.args[0])[2] for part in _outermost(expr)} - {0}


def _outermost(expr: Expr) -> list[Expr]:
    found = expr.atoms(exp)
    return [part for part in found if not any(other != part and other.has(part) for other in found)]


def in_powers(expr: Expr) -> Powers | None:
    """A rational function of exp alone as one of E; None where it is none, or no u has all exponents as multiples."""
    parts = {part: unit_of(part.args[0]) for part in _outermost(expr)}
    if len({u for _, _, u in parts.values()} - {0}) != 1:
        return None
    u = next(u for _, _, u in parts.values() if u != 0)
    unit = reduce(gcd, (k for _, k, _ in parts.values()))
    constant = reduce(gcd, (c for c, _, _ in parts.values())) or Integer(1)
    if any(max(abs(c / constant), abs(k / unit)) > LARGEST_DEGREE for c, k, _ in parts.values()):
        return None
    function = expr.xreplace({part: C ** (c / constant) * E ** (k / unit) for part, (c, k, _) in parts.items()})
    rational = all(power.exp.is_Integer for power in function.atoms(Pow))
    if function.free_symbols - {E, C} or function.has(NumberSymbol, Application) or not rational:
        return None
    as_given = [rest for part in parts if (rest := part.args[0].as_coeff_Add()[1]) and unit_of(rest)[1] == unit]
    return Powers(function, min(as_given, key=str) if as_given else unit * u, exp(constant))


@lru_cache(maxsize=1024)
def factors_of(function: Expr) -> tuple[Poly, int, tuple[tuple[Poly, int], ...]] | None:
    """P, k and the D, m of E^k P / (D^m ...), none of the polynomials divisible by E; None where they are too long."""
    above, below = fraction(cancel(together(function)))
    if max(Poly(part, E).degree() for part in (above, below)) > 2 * LARGEST_DEGREE:
        return None
    (least,) = Poly(above, E).monoms()[-1]
    number, factors = factor_list(below, E)
    k, found = least, []
    for base, power in factors:
        polynomial = Poly(base, E)
        if polynomial.is_monomial:
            k, number = k - power * polynomial.degree(), number * polynomial.LC() ** power
        else:
            found.append((polynomial, power))
    return Poly(cancel(above / E**least / number), E), k, tuple(found)


def one_quotient(expr: Expr) -> tuple[list[Summand], bool] | None:
    """The rational function of one exp(u) as a sum of products, and whether no two of its terms cancel.

    None where it is no such function, or something below may be 0 and is not exp(u) - 1 or like it.
    """
    powers = in_powers(expr)
    parts = factors_of(powers.function) if powers else None
    if powers is None or parts is None or any(powers.sign(D) < 1 and not powers.vanishes_once(D) for D, _ in parts[2]):
        return None
    above, k, below = parts
    front = Integer(1)
    for index, (D, m) in enumerate(below):
        mirrored = D - 2 * D.eval(0) if len(D.terms()) == 2 and powers.sign(D) == 1 else D
        while m > 0 and mirrored != D and div(above, mirrored)[1].is_zero:
            a, b = (powers.meant(c) for c in D.all_coeffs()[:: D.degree()])
            front *= tanh((D.degree() * powers.u + log(a / b)) / 2)
            above, m = div(above, mirrored)[0], m - 1
        below = (*below[:index], (D, m), *below[index + 1 :])
    while above.eval(1) == 0:
        above, front = div(above, Poly(E - 1))[0] * Poly(E + 1), front * tanh(powers.u / 2)
    summands = []
    for a, (n,) in ((a, n) for n, a in above.terms()):
        ratios = [(powers.terms(D), Integer(m)) for D, m in below if m]
        summands.append(summand(front * powers.meant(a), (k + n) * powers.u, ratios, powers.u))
    return summands, bool(powers.sign(above))


def bounded(expr: Expr) -> list[Summand] | None:
    """A product with 1 over a positive sum of exp, as products of which no factor overflows; None where it is none."""
    factors = Mul.make_args(expr)
    inside = [factor for factor in factors if factor.has(exp) and factor.free_symbols and in_powers(factor)]
    outside = Mul(*(factor for factor in factors if factor not in inside))
    found = one_quotient(Mul(*inside)) if inside and not outside.has(exp) else None
    if found is not None:
        return [Summand(outside * part.front, part.below) for part in found[0]]
    front, above, below = Integer(1), Integer(1), []
    for factor in factors:
        base, power = factor.as_base_exp() if isinstance(factor, Pow) else (factor, Integer(1))
        terms = positive_terms(base)
        if terms and power.is_negative:
            below.append((terms, -power))
        elif isinstance(factor, exp) or (base.is_Add and base.has(exp) and power.is_Integer and power > 0):
            above *= factor
        else:
            front *= factor
    unit = units(Add(*(exp(u) for terms, _ in below for _, u in terms)))
    one = unit.pop() if len(unit) == 1 else None
    return [summand(front * a, u, below, one) for a, u in exponential_terms(expand(above))] if below else None


def summand(front: Expr, exponent: Expr, below: list[tuple[Terms, Expr]], unit: Expr | None) -> Summand:
    """front exp(exponent) / the sums, with as much of exp given to each sum as lies between its terms."""
    ratios: list[Below] = []
    for terms, power in below:
        if unit is None:
            copies = [Integer(1)] * int(power) if power.is_Integer and power <= 4 else [power]
            for copy in copies:
                shift = min((u for _, u in terms), key=lambda u: (_length(exponent - copy * u), str(u)))
                ratios.append(Below(terms, copy).times(shift))
                exponent -= copy * shift
        else:
            shared, exponent = shares(terms, power, exponent, unit)
            ratios += shared
    return Summand(front * exp(exponent), ratios_of_one_sum(ratios))


def _length(exponent: Expr) -> int:
    return len(Add.make_args(exponent)) if exponent != 0 else 0


def shares(terms: Terms, power: Expr, exponent: Expr, unit: Expr) -> tuple[list[Below], Expr]:
    """The sum to its power with what it takes of the exponent, and the rest; whole terms where it can be."""
    wanted, *degrees = (cancel(u / unit) for u in (exponent, *(u for _, u in terms)))
    if not all(degree.is_Rational for degree in (wanted, *degrees)) or len({*degrees}) == 1:
        return [Below(terms, power)], exponent
    least, most = min(degrees), max(degrees)
    given = min(max(wanted, least * power), most * power)
    if power.is_Integer:
        whole, part = divmod(given - least * power, most - least)
        counts = [(most, whole), (least + part, Integer(part != 0)), (least, power - whole - (part != 0))]
    else:
        counts = [(given / power, power)]
    return [Below(terms, count).times(degree * unit) for degree, count in counts if count], (wanted - given) * unit


def ratios_of_one_sum(ratios: list[Below]) -> tuple[Below, ...]:
    powers: dict[Terms, Expr] = {}
    for ratio in ratios:
        powers[ratio.terms] = powers.get(ratio.terms, Integer(0)) + ratio.power
    return tuple(Below(terms, power) for terms, power in powers.items())


def beside_exp_of_exp(factors: list[tuple[Expr, Expr]]) -> list[Summand] | None:
    """A product with a factor exp(v), v made of exp, all exp inside that: exp(-exp(u)) is 0 where exp(u) is infinite.

    Each factor comes with what it is in exp. None where there is no such factor.
    """
    exponents = [part.args[0] for part, _ in factors if isinstance(part, exp)]
    if not any(v.has(exp) for v in exponents):
        return None
    others = [(part, in_exp) for part, in_exp in factors if not isinstance(part, exp)]
    beside = [
        (part, made) for part, made in others if made.has(exp) and not any(v.args[0].has(exp) for v in made.atoms(exp))
    ]
    with distribute(True):
        found = one_quotient(Mul(*(in_exp for _, in_exp in beside))) if beside else None
    if found is None:
        beside, found = [], ([Summand(Integer(1), ())], True)
    rest = [pair[0] for pair in others if pair not in beside]
    with distribute(False):
        return [Summand(Mul(*rest, _with_exp(part.front, exponents)), part.below) for part in found[0]]


def _with_exp(front: Expr, exponents: list[Expr]) -> Expr:
    """The product times exp of each, as one exp."""
    parts = Mul.make_args(front)
    inside = [part.args[0] for part in parts if isinstance(part, exp)]
    return Mul(*(part for part in parts if not isinstance(part, exp)), exp(Add(*exponents, *inside)))


def times_in(u: Expr, total: Expr) -> Expr:
    """The number of times that u, a sum perhaps, is a part of a sum."""
    counts = total.as_coefficients_dict()
    ratios = {counts.get(part, Integer(0)) / k for part, k in u.as_coefficients_dict().items() if k != 0}
    return ratios.pop() if len(ratios) == 1 else Integer(0)


def beside_exp(product: Expr) -> tuple[Expr, Expr]:
    """The factors that are known to be positive and hold no exp, and the others."""
    factors = Mul.make_args(product)
    beside = [factor for factor in factors if factor.is_positive and not factor.has(exp, HyperbolicFunction)]
    return Mul(*beside), Mul(*(factor for factor in factors if factor not in beside))


def difference_of_exp(product: Expr) -> tuple[Expr, Expr, Expr] | None:
    """a, u and v of a (exp(u) - exp(v)) with a positive a that holds no exp; None of anything else."""
    beside, total = beside_exp(product)
    terms = [term.as_coeff_Mul() for term in Add.make_args(total)]
    if len(terms) != 2 or terms[0][0] != -terms[1][0] or not all(e == 1 or isinstance(e, exp) for _, e in terms):
        return None
    exponents = {bool(a > 0): e.args[0] if e.args else Integer(0) for a, e in terms}
    return abs(terms[0][0]) * beside, exponents[True], exponents[False]
