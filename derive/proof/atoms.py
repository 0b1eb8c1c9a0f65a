"""Polynomials in atoms: symbols for values of exp, log, roots and reciprocals, and what these are to each other."""

from collections.abc import Callable
from math import lcm
from typing import Any

from sympy import (
    Abs,
    Add,
    Expr,
    Integer,
    Mul,
    NumberSymbol,
    Pow,
    Rational,
    Symbol,
    cos,
    exp,
    factorrat,
    fraction,
    log,
    sin,
)

from derive.formulas import sigmoid
from derive.proof.factors import factored
from derive.proof.polynomials import monomials_summed

CONDITION_ATOMS = "nonpositive", "positive", "zero"
MOST_CONDITIONS = 3  # in what a function is taken of, as branch by branch it is another
LARGEST_MULTIPLE = 12  # of an angle


class Atoms:
    """The atoms that there are, by what they stand for; the same value is the same atom wherever it occurs.

    A power of an atom may be another polynomial (`powers`). Arguments of exp, and angles, are cut into so many parts
    (`parts`) that their roots, or half of them, have names.
    """

    def __init__(self, parts: int = 1) -> None:
        self.parts = parts
        self.atoms: dict[object, Symbol] = {}
        self.keys: dict[Symbol, Any] = {}
        self.powers: dict[Symbol, tuple[int, Expr]] = {}
        self.sides: dict[Expr, str] = {}  # of what is compared with 0, which of the two conditions is an atom
        self.roots: set[Symbol] = set()
        self.positive: set[Symbol] = set()  # or 0
        self.units: dict[Expr, dict[int, Symbol]] = {}
        self.reciprocals: dict[Symbol, Expr] = {}

    def atom(self, key: object) -> Symbol:
        symbol = self.atoms.setdefault(key, Symbol(f"@{len(self.atoms)}"))
        self.keys[symbol] = key
        if isinstance(key, NumberSymbol) or (isinstance(key, tuple) and key[0] in (exp, sigmoid, Abs)):
            self.positive.add(symbol)
        return symbol

    def is_a(self, kind: object, expr: Expr) -> bool:
        """Whether it is the atom of such a function."""
        key = self.keys.get(expr)
        return isinstance(key, tuple) and key[0] is kind

    def by_branch(self, of: Callable[[Expr], Expr], argument: Expr) -> Expr:
        """What a function is of a polynomial; of one that a condition is part of, for both of its cases."""
        keys = {symbol: self.keys.get(symbol) for symbol in argument.free_symbols}
        conditions = [symbol for symbol, key in keys.items() if isinstance(key, tuple) and key[0] in CONDITION_ATOMS]
        if not 0 < len(conditions) <= MOST_CONDITIONS:
            return of(argument)
        symbol = min(conditions, key=lambda symbol: symbol.name)
        holds, not_so = (self.by_branch(of, monomials_summed(argument.xreplace({symbol: Integer(n)}))) for n in (1, 0))
        return symbol * holds + (1 - symbol) * not_so

    def log_of(self, argument: Expr) -> Expr:
        """log of a product as a sum, as far as its factors are positive; of numbers by their primes."""
        found = factored(argument, self.reciprocals, self.positive)
        logs = [k * self.atom((log, (Integer(prime),))) for prime, k in factorrat(found.number).items()]
        for factor, power in found.powers.items():
            logs.append(power * (self.keys[factor][1] if self.is_a(exp, factor) else self.atom((log, (factor,)))))
        if found.rest != 1:
            logs.append(self.atom((log, (self.over_one(found.rest),))))
        return Add(*logs)

    def over_one(self, quotient: Expr) -> Expr:
        """A quotient of polynomials as a polynomial in atoms."""
        above, below = fraction(quotient)
        return monomials_summed(above) if below == 1 else monomials_summed(above * self.reciprocal(below))

    def exp_of(self, argument: Expr) -> Expr:
        """exp of a sum as a product: exp(a) exp(b) and exp(a + b) are one, exp(2 log(u)) is u**2, as with roots."""
        factors = []
        for term in Add.make_args(argument):
            coefficient, rest = term.as_coeff_Mul()
            if self.is_a(log, rest):
                factors.append(self.to_the(self.keys[rest][1][0], coefficient.p, coefficient.q))
            else:
                base, unit = self._unit(rest, coefficient.q)
                factors.append(self.to_the(base, coefficient.p * unit // coefficient.q, 1))
        return Mul(*factors)

    def _unit(self, rest: Expr, denominator: int) -> tuple[Symbol, int]:
        """exp of a fraction of the argument that the denominator divides, and which; of it, others are powers."""
        units = self.units.setdefault(rest, {})
        if not any(unit % denominator == 0 for unit in units):
            finest = lcm(denominator, self.parts, *units)
            symbol = self.atom((exp, rest / finest))
            self.powers |= {other: (1, symbol ** (finest // unit)) for unit, other in units.items()}
            units[finest] = symbol
        finest = max(units)
        return units[finest], finest

    def turned(self, function: type[Expr], argument: Expr) -> Expr:
        """sin or cos of an angle, by those of a part of it."""
        if argument.could_extract_minus_sign():
            return (-1 if function is sin else 1) * self.turned(function, monomials_summed(-argument))
        multiple, angle = argument.as_content_primitive()
        multiple *= self.parts
        if multiple.q != 1 or multiple > LARGEST_MULTIPLE:
            multiple, angle = Integer(1), self.parts * argument
        s, c = (self.atom((kind, (monomials_summed(angle / self.parts),))) for kind in (sin, cos))
        self.powers[s] = (2, 1 - c**2)
        real, imaginary = Integer(1), Integer(0)
        for _ in range(int(multiple)):
            real, imaginary = monomials_summed(real * c - imaginary * s), monomials_summed(real * s + imaginary * c)
        return imaginary if function is sin else real

    def to_the(self, base: Expr, power: int, root: int) -> Expr:
        if root == 1:
            return base**power if power > 0 else self.reciprocal(base) ** -power
        found = factored(monomials_summed(base), self.reciprocals, self.positive)
        roots = [self._root(Integer(prime), k * power, root) for prime, k in factorrat(found.number).items()]
        roots += [self._root(factor, k * power, root) for factor, k in found.powers.items()]
        above, below = fraction(found.rest)
        if above == 1 != below:
            above, below, power = below, above, -power
        return Mul(*roots, *([] if above == 1 else [self._root(self.over_one(above / below), power, root)]))

    def _root(self, base: Expr, power: int, root: int) -> Expr:
        """The root of what has no factors, to a power; of exp that of a part of its argument."""
        ratio = Rational(power, root)
        if self.is_a(exp, base):
            return self.exp_of(monomials_summed(self.keys[base][1] * ratio))
        if ratio.q == 1:
            return self.to_the(base, ratio.p, 1)
        symbol = self.atom((Pow, monomials_summed(base), ratio.q))
        self.powers[symbol] = (ratio.q, base)
        self.roots.add(symbol)
        self.positive.add(symbol)
        return self.to_the(symbol, ratio.p, 1)

    def reciprocal(self, base: Expr) -> Expr:
        content, primitive = monomials_summed(base).as_content_primitive()
        if primitive.could_extract_minus_sign():
            content, primitive = -content, monomials_summed(-primitive)
        if primitive.is_number:
            return 1 / (content * primitive)
        symbol = self.atom(("reciprocal", primitive))
        self.reciprocals[symbol] = primitive
        return symbol / content
