"""Whether two scalar expressions are identical, decided exactly.

Every transcendental value, condition, root and reciprocal becomes a symbol; what is left are polynomials, and their
difference is zero or it is not.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from math import lcm, prod
from typing import Any

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
    cos,
    erf,
    erfc,
    exp,
    false,
    log,
    sign,
    sin,
    tanh,
    true,
)
from sympy.core.relational import Eq, Ge, Gt, Le, Lt, Ne
from sympy.logic.boolalg import And, Boolean, BooleanFunction, Or, to_nnf

from derive.formulas import NamedFunction, sigmoid
from derive.proof.atoms import CONDITION_ATOMS, Atoms
from derive.proof.polynomials import TooLarge, cleared, in_ring, monomials_summed, without_powers

MOST_PARTS = 12


class Algebra(Atoms):
    """Expressions as polynomials over atoms.

    With `open_functions`, sigmoid, tanh and their like are replaced by what they are in exp; without, they are atoms,
    with `logistic` those of sigmoid alone.
    """

    def __init__(self, open_functions: bool = False, logistic: bool = False, parts: int = 1) -> None:
        super().__init__(parts)
        self.open_functions, self.logistic = open_functions, logistic
        self.finer: dict[int, Algebra] = {}
        self.memo: dict[Expr, Expr | None] = {}

    def identical(self, left: Expr, right: Expr, most: int | None = None) -> bool:
        """Whether left = right for all real values of the symbols where both are defined.

        Raises TooLarge where that takes polynomials of more terms.
        """
        parts = lcm(parts_in(left), parts_in(right))
        if parts != self.parts:
            finer = self.finer.setdefault(parts, Algebra(self.open_functions, self.logistic, parts))
            return finer.identical(left, right, most)
        return self.is_zero(self.polynomial(left) - self.polynomial(right), most)

    def polynomial(self, expr: Expr) -> Expr:
        """The expression with symbols in the place of everything that is not + and *.

        Raises TooLarge where what stands inside of a function is.
        """
        if expr not in self.memo:
            try:
                self.memo[expr] = self._polynomial(expr)
            except TooLarge:
                self.memo[expr] = None
        found = self.memo[expr]
        if found is None:
            raise TooLarge
        return found

    def _polynomial(self, expr: Expr) -> Expr:
        if isinstance(expr, Symbol | Rational):
            return expr
        if isinstance(expr, Add | Mul):
            return expr.func(*map(self.polynomial, expr.args))
        if isinstance(expr, exp):
            return self.by_branch(self.exp_of, monomials_summed(self.polynomial(expr.args[0])))
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

    def _function(self, expr: Expr) -> Expr:
        arguments = tuple(monomials_summed(self.polynomial(argument)) for argument in expr.args)
        if isinstance(expr, log):
            return self.by_branch(self.log_of, arguments[0])
        if isinstance(expr, sin | cos):
            return self.turned(expr.func, arguments[0])
        if self.logistic and isinstance(expr, sigmoid | tanh):
            return self._logistic(expr, arguments[0])
        orientation = Integer(1)
        if isinstance(expr, Abs | sign) and arguments[0].could_extract_minus_sign():
            arguments = (monomials_summed(-arguments[0]),)
            orientation = Integer(-1) if isinstance(expr, sign) else orientation
        if isinstance(expr, Abs | sign):
            size = self.atom((Abs, arguments))
            self.powers[size] = (2, arguments[0] ** 2)
            return size if isinstance(expr, Abs) else orientation * size * self.reciprocal(arguments[0])
        return self.atom((expr.func, arguments))

    def _logistic(self, expr: Expr, argument: Expr) -> Expr:
        """sigmoid(-u) as 1 - sigmoid(u), and tanh(u) as 2 sigmoid(2 u) - 1."""
        u = monomials_summed(2 * argument) if isinstance(expr, tanh) else argument
        minus = u.could_extract_minus_sign()
        symbol = self.atom((sigmoid, monomials_summed(-u) if minus else u))
        value = 1 - symbol if minus else symbol
        return 2 * value - 1 if isinstance(expr, tanh) else value

    def _power(self, expr: Pow) -> Expr:
        if expr.exp.is_Rational:
            base = monomials_summed(self.polynomial(expr.base))
            return self.by_branch(lambda base: self.to_the(base, expr.exp.p, expr.exp.q), base)
        raise ValueError(f"the proof knows no power with the exponent {expr.exp}")

    def _branches(self, expr: Piecewise) -> Expr:
        branches = [self.polynomial(branch) for branch, _ in expr.args]
        lengths = [*map(terms_in, branches)]
        value, otherwise = Integer(0), Integer(1)
        for place, (branch, (_, condition)) in enumerate(zip(branches, expr.args, strict=True)):
            indicator = self._indicator(condition, lengths[place] > sum(lengths[place + 1 :]))
            value += otherwise * indicator * branch
            otherwise *= 1 - indicator
        return value

    def _indicator(self, condition: Boolean, much: bool) -> Expr:
        """1 where the condition holds, else 0, an atom rather than 1 minus one if much is multiplied with it.

        Every comparison is with u <= 0 or u > 0, where no root is that has a slope.
        """
        if condition in (true, false):
            return Integer(1) if condition == true else Integer(0)
        if isinstance(condition, And):
            return Mul(*(self._indicator(part, much) for part in condition.args))
        if isinstance(condition, Or):
            return 1 - Mul(*(1 - self._indicator(part, much) for part in condition.args))
        if isinstance(condition, BooleanFunction):
            return self._indicator(to_nnf(condition, simplify=False), much)
        if isinstance(condition, Gt | Lt | Ne):
            return 1 - self._indicator(condition.negated, not much)
        if isinstance(condition, Eq):
            u = monomials_summed(self.polynomial(condition.lhs - condition.rhs)).as_content_primitive()[1]
            return self._either("zero", monomials_summed(-u) if u.could_extract_minus_sign() else u)
        if not isinstance(condition, Le | Ge):
            raise ValueError(f"the proof knows no condition {condition}")
        u = monomials_summed(self.polynomial(condition.lts - condition.gts))
        if self._is_root(u):
            return Integer(0)
        u = u.as_content_primitive()[1]
        side = self.sides.setdefault(u, "nonpositive" if much else "positive")
        return self._either(side, u) if side == "nonpositive" else 1 - self._either(side, u)

    def _is_root(self, u: Expr) -> bool:
        """Whether it is a positive number times roots, and reciprocals of them, that are 0 nowhere but at points."""
        number, rest = u.as_coeff_Mul()
        bases = [self.reciprocals.get(base, base) for base in rest.as_powers_dict()]
        if not number > 0 or rest == 1 or not all(base in self.roots for base in bases):
            return False
        inside = set().union(*(self.powers[base][1].free_symbols for base in bases))
        return not any(has_branches(key) for key in self.keys_in(inside))

    def _either(self, what: str, u: Expr) -> Symbol:
        """A symbol that is 0 or 1."""
        symbol = self.atom((what, u))
        self.powers[symbol] = (2, symbol)
        return symbol

    def branches(self, expr: Expr) -> set[object]:
        """The conditions and sizes that the expression is made of, whatever the values of its branches."""
        symbols = self.polynomial(expr).free_symbols
        return {key for key in self.keys_in(symbols) if key[0] in (*CONDITION_ATOMS, Abs)}

    def keys_in(self, symbols: set[Symbol]) -> Iterator[tuple[Any, ...]]:
        """What the atoms stand for, and those that they are made of, where that has parts."""
        left, seen = set(symbols), set[Symbol]()
        while left:
            symbol = left.pop()
            seen.add(symbol)
            key = self.keys.get(symbol)
            if isinstance(key, tuple) and key:
                yield key
                inside = [one for part in key for one in (part if isinstance(part, tuple) else (part,))]
                left |= set().union(*(one.free_symbols for one in inside if isinstance(one, Expr))) - seen

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
                value = without_powers(value, symbol, degree, in_ring(replacement, symbols, most), most)
        return not value


def algebras() -> tuple[Algebra, Algebra, Algebra]:
    """All that there are, the quickest to decide first; the second opens nothing and knows no more of any atom."""
    return Algebra(logistic=True), Algebra(), Algebra(open_functions=True)


def has_branches(key: tuple[Any, ...]) -> bool:
    """Whether an atom is a condition, or of a function that is defined in cases."""
    kind = key[0]
    return kind in CONDITION_ATOMS or (
        isinstance(kind, type) and issubclass(kind, NamedFunction) and kind.definition.has(Piecewise)
    )


@lru_cache(maxsize=10_000)
def terms_in(polynomial: Expr) -> int:
    """About how many monomials it has when it is written out; of high powers, that they are many."""
    if polynomial.is_Pow:
        return terms_in(polynomial.base) ** min(int(polynomial.exp), 9)
    if polynomial.is_Add:
        return sum(map(terms_in, polynomial.args))
    return prod(map(terms_in, polynomial.args)) if polynomial.is_Mul else 1


@lru_cache(maxsize=10_000)
def parts_in(expr: Expr) -> int:
    """Into how many parts the arguments of exp and angles are to be cut, for roots of them and fractions in them."""
    roots = lcm(*(power.exp.q for power in expr.atoms(Pow) if power.exp.is_Rational))
    inside = lcm(*(number.q for part in expr.atoms(exp, sin, cos) for number in part.args[0].atoms(Rational)))
    return next((parts for parts in (roots * inside, roots, inside) if parts <= MOST_PARTS), 1)


def with_sigmoids(expr: Expr) -> Expr:
    """The same expression with sigmoid(u) for 1/(1 + exp(-u)), and for exp(u)/(1 + exp(u))."""

    def below(part: Expr) -> Expr | None:
        """u, of a power of 1/(1 + exp(u))."""
        power = part.is_Pow and part.exp.is_Integer and part.exp.is_negative and part.base.is_Add
        found = [term.args[0] for term in part.base.args if isinstance(term, exp)] if power else []
        return found[0] if len(found) == 1 and part.base == 1 + exp(found[0]) else None

    def of_product(*parts: Expr) -> Expr:
        factors = list(parts)
        for factor in parts:
            u = below(factor)
            if u is not None and exp(u) in factors:
                factors.remove(exp(u))
                factors[factors.index(factor)] = sigmoid(u) * factor.base ** (factor.exp + 1)
        return Mul(*factors)

    def of_power(base: Expr, power: Expr) -> Expr:
        u = below(whole := Pow(base, power))
        return whole if u is None else sigmoid(-u) ** -power

    return expr.replace(Mul, of_product).replace(Pow, of_power) if expr.has(exp) else expr


def reached(start: Iterable[Symbol], made_of: dict[Symbol, Expr]) -> tuple[set[Symbol], set[Symbol]]:
    """All symbols that these are made of, themselves included, and those of them that are made of something."""
    symbols = set(start)
    seen: set[Symbol] = set()
    while found := symbols & made_of.keys() - seen:
        seen |= found
        symbols = symbols.union(*(made_of[symbol].free_symbols for symbol in found))
    return symbols, seen
