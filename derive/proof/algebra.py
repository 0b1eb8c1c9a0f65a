"""Whether two scalar expressions are identical, decided exactly.

Every transcendental value, condition, root and reciprocal becomes a symbol; what is left are polynomials, and their
difference is zero or it is not.
"""

from collections.abc import Iterable
from functools import reduce
from math import lcm

from sympy import (
    Abs,
    Add,
    DiracDelta,
    Expr,
    Integer,
    Max,
    Min,
    Mul,
    NumberSymbol,
    Piecewise,
    Pow,
    Rational,
    Symbol,
    erf,
    erfc,
    exp,
    expand,
    factorrat,
    false,
    log,
    sign,
    tanh,
    true,
)
from sympy.core.relational import Eq, Ge, Gt, Le, Lt, Ne
from sympy.logic.boolalg import And, Boolean, BooleanFunction, Or, to_nnf
from sympy.polys.domains import QQ
from sympy.polys.rings import PolyElement, ring

from derive.formulas import NamedFunction, sigmoid


class Algebra:
    """Expressions as polynomials over atoms; the same value is the same atom wherever it occurs.

    With `open_functions`, sigmoid, tanh and their like are replaced by what they are in exp; without, they are atoms,
    with `logistic` those of sigmoid alone.
    """

    def __init__(self, open_functions: bool = False, logistic: bool = False) -> None:
        self.open_functions, self.logistic = open_functions, logistic
        self.atoms: dict[object, Symbol] = {}
        self.keys: dict[Symbol, object] = {}
        self.powers: dict[Symbol, tuple[int, Expr]] = {}
        self.roots: set[Symbol] = set()
        self.units: dict[Expr, dict[int, Symbol]] = {}
        self.reciprocals: dict[Symbol, Expr] = {}
        self.memo: dict[Expr, Expr] = {}

    def identical(self, left: Expr, right: Expr, most: int | None = None) -> bool:
        """Whether left = right for all real values of the symbols where both are defined.

        Raises TooLarge where that takes polynomials of more terms.
        """
        return self.is_zero(self.polynomial(left) - self.polynomial(right), most)

    def same(self, left: Expr, right: Expr, most: int) -> bool:
        """Whether they are identical whatever the values of the atoms, in polynomials of so many terms."""
        difference = self.polynomial(left) - self.polynomial(right)
        try:
            return not in_ring(difference, difference.free_symbols, most)
        except TooLarge:
            return False

    def polynomial(self, expr: Expr) -> Expr:
        """The expression with symbols in the place of everything that is not + and *."""
        if expr not in self.memo:
            self.memo[expr] = self._polynomial(expr)
        return self.memo[expr]

    def _polynomial(self, expr: Expr) -> Expr:
        if isinstance(expr, Symbol | Rational):
            return expr
        if isinstance(expr, Add | Mul):
            return expr.func(*map(self.polynomial, expr.args))
        if isinstance(expr, exp):
            return self._exp(expand(self.polynomial(expr.args[0])))
        if isinstance(expr, Pow):
            return self._power(expr)
        if isinstance(expr, Piecewise):
            return self._branches(expr)
        if isinstance(expr, Max | Min | erfc):
            return self.polynomial(expr.rewrite(erf if isinstance(expr, erfc) else Piecewise))
        if self.open_functions and isinstance(expr, NamedFunction | tanh):
            return self.polynomial(expr.rewrite(exp) if isinstance(expr, tanh) else expr.expanded())
        if isinstance(expr, DiracDelta):
            return Integer(0)  # of a jump, as torch counts it
        if expr.is_Function:
            return self._function(expr)
        if isinstance(expr, NumberSymbol):
            return self.atom(expr)
        raise ValueError(f"the proof knows no {type(expr).__name__}: {expr}")

    def atom(self, key: object) -> Symbol:
        symbol = self.atoms.setdefault(key, Symbol(f"@{len(self.atoms)}"))
        self.keys[symbol] = key
        return symbol

    def _function(self, expr: Expr) -> Expr:
        arguments = tuple(expand(self.polynomial(argument)) for argument in expr.args)
        if isinstance(expr, log):
            return self._log(arguments[0])
        if self.logistic and isinstance(expr, sigmoid | tanh):
            return self._logistic(expr, arguments[0])
        orientation = Integer(1)
        if isinstance(expr, Abs | sign) and arguments[0].could_extract_minus_sign():
            arguments = (expand(-arguments[0]),)
            orientation = Integer(-1) if isinstance(expr, sign) else orientation
        symbol = self.atom((expr.func, arguments))
        if isinstance(expr, Abs):
            self.powers[symbol] = (2, arguments[0] ** 2)
        return orientation * symbol

    def _logistic(self, expr: Expr, argument: Expr) -> Expr:
        """sigmoid(-u) as 1 - sigmoid(u), and tanh(u) as 2 sigmoid(2 u) - 1."""
        u = expand(2 * argument) if isinstance(expr, tanh) else argument
        minus = u.could_extract_minus_sign()
        symbol = self.atom((sigmoid, expand(-u) if minus else u))
        value = 1 - symbol if minus else symbol
        return 2 * value - 1 if isinstance(expr, tanh) else value

    def _log(self, argument: Expr) -> Expr:
        """log(exp(a) u) as a + log(u), with all of exp that the terms of the argument share, and none of it below.

        Likewise of what else is positive: numbers, by their primes, and pi.
        """
        exponents = {symbol: key[1] for key, symbol in self.atoms.items() if isinstance(key, tuple) and key[0] is exp}
        exponents |= {symbol: -exponents[base] for symbol, base in self.reciprocals.items() if base in exponents}
        named = [(symbol, key) for key, symbol in self.atoms.items() if isinstance(key, NumberSymbol)]
        shared, rest = taken_out(argument, {s: s in self.reciprocals for s in (*exponents, *dict(named))})
        rest = rest.replace(lambda u: u.is_Pow and u.exp < 0, lambda u: self.reciprocals[u.base] ** -u.exp)
        outside = Add(*(power * self.polynomial(exponents[s]) for s, power in shared.items() if s in exponents))
        outside += Add(*(shared.get(symbol, 0) * self.atom((log, (key,))) for symbol, key in named))
        content, rest = rest.as_content_primitive()
        outside += Add(*(k * self.atom((log, (Integer(prime),))) for prime, k in factorrat(content).items()))
        return outside if rest == 1 else outside + self.atom((log, (rest,)))

    def _exp(self, argument: Expr) -> Expr:
        """exp of a sum as a product: exp(a) exp(b) and exp(a + b) are one, exp(2 log(u)) is u**2, as with roots."""
        factors = []
        for term in Add.make_args(argument):
            coefficient, rest = term.as_coeff_Mul()
            key = self.keys.get(rest)
            if isinstance(key, tuple) and key[0] is log:
                factors.append(self._to_the(key[1][0], coefficient.p, coefficient.q))
            else:
                base, unit = self._exp_of(rest, coefficient.q)
                factors.append(self._to_the(base, coefficient.p * unit // coefficient.q, 1))
        return Mul(*factors)

    def _exp_of(self, rest: Expr, denominator: int) -> tuple[Symbol, int]:
        """exp of a fraction of the argument that the denominator divides, and which; of it, others are powers."""
        units = self.units.setdefault(rest, {})
        if not any(unit % denominator == 0 for unit in units):
            finest = lcm(denominator, *units)
            symbol = self.atom((exp, rest / finest))
            self.powers |= {other: (1, symbol ** (finest // unit)) for unit, other in units.items()}
            units[finest] = symbol
        finest = max(units)
        return units[finest], finest

    def _power(self, expr: Pow) -> Expr:
        if expr.exp.is_Rational:
            return self._to_the(self.polynomial(expr.base), expr.exp.p, expr.exp.q)
        raise ValueError(f"the proof knows no power with the exponent {expr.exp}")

    def _to_the(self, base: Expr, power: int, root: int) -> Expr:
        if root != 1:
            base, radicand = self.atom((Pow, expand(base), root)), base
            self.powers[base] = (root, radicand)
            self.roots.add(base)
        return base**power if power > 0 else self._reciprocal(base) ** -power

    def _reciprocal(self, base: Expr) -> Expr:
        content, primitive = expand(base).as_content_primitive()
        if primitive.could_extract_minus_sign():
            content, primitive = -content, expand(-primitive)
        if primitive.is_number:
            return 1 / (content * primitive)
        symbol = self.atom(("reciprocal", primitive))
        self.reciprocals[symbol] = primitive
        return symbol / content

    def _branches(self, expr: Piecewise) -> Expr:
        value, otherwise = Integer(0), Integer(1)
        for branch, condition in expr.args:
            indicator = self._indicator(condition)
            value += otherwise * indicator * self.polynomial(branch)
            otherwise *= 1 - indicator
        return value

    def _indicator(self, condition: Boolean) -> Expr:
        """1 where the condition holds, else 0; every comparison is with u <= 0, where no root is that has a slope."""
        if condition in (true, false):
            return Integer(1) if condition == true else Integer(0)
        if isinstance(condition, And):
            return Mul(*map(self._indicator, condition.args))
        if isinstance(condition, Or):
            return 1 - Mul(*(1 - self._indicator(part) for part in condition.args))
        if isinstance(condition, BooleanFunction):
            return self._indicator(to_nnf(condition, simplify=False))
        if isinstance(condition, Gt | Lt | Ne):
            return 1 - self._indicator(condition.negated)
        if isinstance(condition, Eq):
            u = expand(self.polynomial(condition.lhs - condition.rhs)).as_content_primitive()[1]
            return self._either("zero", expand(-u) if u.could_extract_minus_sign() else u)
        if not isinstance(condition, Le | Ge):
            raise ValueError(f"the proof knows no condition {condition}")
        u = expand(self.polynomial(condition.lts - condition.gts))
        return self._either("nonpositive", u.as_content_primitive()[1]) if u not in self.roots else Integer(0)

    def _either(self, what: str, u: Expr) -> Symbol:
        """A symbol that is 0 or 1."""
        symbol = self.atom((what, u))
        self.powers[symbol] = (2, symbol)
        return symbol

    def is_zero(self, difference: Expr, most: int | None = None) -> bool:
        """Whether the polynomial over atoms vanishes, given what the atoms are to each other."""
        if not in_ring(difference, difference.free_symbols, most):
            return True
        made_of = {**self.reciprocals, **{root: base for root, (_, base) in self.powers.items()}}
        symbols, seen = reached(difference.free_symbols, made_of)
        value = in_ring(difference, symbols, most)
        for symbol in reversed(self.reciprocals):
            if symbol in seen:
                value = cleared(value, symbol, in_ring(self.reciprocals[symbol], symbols), most)
        for symbol in reversed(self.powers):
            if symbol in seen:
                degree, replacement = self.powers[symbol]
                value = reduced(value, symbol, degree, in_ring(replacement, symbols), most)
        return not value


def taken_out(argument: Expr, largest: dict[Symbol, bool]) -> tuple[dict[Symbol, Expr], Expr]:
    """The powers of symbols that all terms share, or the largest, and what is left without them."""
    terms = [term.as_powers_dict() for term in Add.make_args(argument)]
    powers = {s: (max if end else min)(term.get(s, 0) for term in terms) for s, end in largest.items()}
    shared = {symbol: power for symbol, power in powers.items() if power > 0}
    return shared, expand(argument / Mul(*(symbol**power for symbol, power in shared.items())))


def reached(start: Iterable[Symbol], made_of: dict[Symbol, Expr]) -> tuple[set[Symbol], set[Symbol]]:
    """All symbols that these are made of, themselves included, and those of them that are made of something."""
    symbols = set(start)
    seen: set[Symbol] = set()
    while found := symbols & made_of.keys() - seen:
        seen |= found
        symbols = symbols.union(*(made_of[symbol].free_symbols for symbol in found))
    return symbols, seen


def by_power(value: PolyElement, symbol: Symbol) -> dict[int, PolyElement]:
    """The coefficients of the powers of a symbol."""
    index = value.ring.symbols.index(symbol)
    parts: dict[int, PolyElement] = {}
    for monomial, coefficient in value.items():
        part = parts.setdefault(monomial[index], value.ring.zero)
        part[(*monomial[:index], 0, *monomial[index + 1 :])] = coefficient
    return parts


class TooLarge(Exception):
    """A polynomial that is not written out, for its length."""


def times(left: PolyElement, right: PolyElement, most: int | None) -> PolyElement:
    """The product.

    Raises TooLarge where it may have more than so many terms.
    """
    if most is not None and len(left) * len(right) > most:
        raise TooLarge
    return left * right


def to_the(base: PolyElement, power: int, most: int | None) -> PolyElement:
    result = base.ring.one
    for _ in range(power):
        result = times(result, base, most)
    return result


def cleared(value: PolyElement, symbol: Symbol, primitive: PolyElement, most: int | None) -> PolyElement:
    """The polynomial times that power of the denominator which leaves none of the reciprocal."""
    parts = by_power(value, symbol)
    degree = max(parts, default=0)
    terms = (times(part, to_the(primitive, degree - power, most), most) for power, part in parts.items())
    return sum(terms, value.ring.zero)


def reduced(value: PolyElement, symbol: Symbol, degree: int, replacement: PolyElement, most: int | None) -> PolyElement:
    """The polynomial with symbol**degree replaced until no such power is left."""
    atom = value.ring(symbol)
    while max(parts := by_power(value, symbol), default=0) >= degree:
        value = value.ring.zero
        for power, part in parts.items():
            whole = to_the(replacement, power // degree, most)
            value += times(part * atom ** (power % degree), whole, most)
    return value


def in_ring(expr: Expr, symbols: set[Symbol], most: int | None = None) -> PolyElement:
    """The expanded polynomial, by sparse arithmetic that is many times faster than expand.

    Raises TooLarge where a product may have more than so many terms.
    """
    polynomials, *elements = ring(sorted(symbols, key=lambda symbol: symbol.name), QQ)
    known: dict[Expr, PolyElement] = dict(zip(polynomials.symbols, elements, strict=True))

    def convert(part: Expr) -> PolyElement:
        if part not in known:
            if part.is_Number:
                known[part] = polynomials(QQ(part.p, part.q))
            elif part.is_Pow:
                known[part] = to_the(convert(part.base), int(part.exp), most)
            elif part.is_Add:
                known[part] = sum(map(convert, part.args), polynomials.zero)
            else:
                factors = sorted(map(convert, part.args), key=len)
                known[part] = reduce(lambda left, right: times(left, right, most), factors, polynomials.one)
        return known[part]

    return convert(expr)
