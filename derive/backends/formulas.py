"""Scalar formulas as source, in the order in which they are computed; how a function is called is up to the target."""

from abc import ABC, abstractmethod
from itertools import zip_longest

from sympy import (
    Add,
    And,
    Expr,
    Function,
    Heaviside,
    Integer,
    Max,
    Min,
    Mul,
    Or,
    Piecewise,
    Pow,
    Rational,
    Symbol,
    exp,
    pi,
    to_nnf,
)
from sympy.core.numbers import Exp1
from sympy.core.relational import Relational
from sympy.logic.boolalg import BooleanFunction

from derive.backends.source import PRODUCT, Infix, Literal, Minus, Name, Source, chained
from derive.formulas import sigmoid
from derive.operations import Operation
from derive.programs import Program, factors, is_number, subtracted

MOST_READABLE = 10**6  # a fraction with a larger denominator is written as a decimal if that is as exact


class FormulaPrinter(ABC):
    """Spells the formulas of a program; sizes become numbers where the program knows them.

    `one` is how the 1 of 1 - a is spelled; `bound` are the operands that a formula's symbols run over.
    """

    both, either = "&", "|"  # of two conditions

    def __init__(self, program: Program, one: str = "1") -> None:
        self.program, self.one = program, one
        self.bound: dict[Symbol, Operation] = {}

    def formula(self, expr: Expr) -> Source:
        """A formula as source, its symbols as what they run over."""
        for kind, method in SPELLINGS.items():
            if isinstance(expr, kind):
                source: Source = getattr(self, method)(expr)
                return source
        raise ValueError(f"no name is known here for {type(expr).__name__}: {expr}")

    @abstractmethod
    def entry(self, operand: Operation) -> Source:
        """What a symbol that runs over an operand is."""

    @abstractmethod
    def constant_number(self, expr: Expr) -> Source:
        """pi or e."""

    @abstractmethod
    def integer(self, expr: Integer) -> Source:
        """One that is not negative."""

    @abstractmethod
    def decimal(self, text: str) -> Source: ...

    @abstractmethod
    def power(self, base: Expr, exponent: Expr) -> Source:
        """A power that is no quotient."""

    @abstractmethod
    def function(self, expr: Function) -> Source: ...

    @abstractmethod
    def heaviside(self, expr: Heaviside) -> Source:
        """A step, with its own value at 0."""

    @abstractmethod
    def extremum(self, expr: Max | Min) -> Source: ...

    @abstractmethod
    def piecewise(self, expr: Piecewise) -> Source: ...

    def quotient(self, over: Source, under: Source) -> Source:
        return Infix("/", over, under)

    def symbol(self, expr: Symbol) -> Source:
        if expr in self.bound:
            return self.entry(self.bound[expr])
        if expr.is_integer:
            return self.formula(self.program.sizes[expr]) if expr in self.program.sizes else Name(expr.name)
        return Name(self.program.notation.torch(expr.name))

    def rational(self, expr: Rational) -> Source:
        if expr.p < 0:
            return Minus(self.formula(-expr))
        if expr.is_Integer:
            return self.integer(expr)
        if is_decimal(expr):
            return self.decimal(repr(expr.p / expr.q))
        return self.quotient(Literal(str(expr.p)), Literal(str(expr.q)))

    def scaled(self, scale: Expr, of: Source) -> Source:
        """A number in front, but a division where it is one over a number."""
        if scale.could_extract_minus_sign():
            return Minus(self.scaled(-scale, of))
        if is_decimal(scale):
            return number_times(self.formula(scale), of)
        numerator, denominator = scale.as_numer_denom()
        if numerator == 1:
            return of if denominator == 1 else self.quotient(of, self.formula(denominator))
        ratio = self.formula(numerator)
        if denominator != 1:
            ratio = self.quotient(ratio, self.formula(denominator))
        return number_times(ratio, of)

    def add(self, expr: Add) -> Source:
        found, others = subtracted(expr)
        parts = [self.scaled(number, self.sum_of(variables)) for number, variables in found.items()]
        return self.sum_of(others, *parts)

    def sum_of(self, terms: list[Expr], *before: Source) -> Source:
        """The terms, one after the other, behind what comes before them."""
        if not before:
            first, *terms = terms
            whole = first == 1 and self.one != "1" and not all(map(is_number, terms))
            before = (Name(self.one) if whole else self.formula(first),)
        source = chained("+", before)
        for term in terms:
            negative = term.could_extract_minus_sign()
            source = Infix("-", source, self.formula(-term)) if negative else Infix("+", source, self.formula(term))
        return source

    def mul(self, expr: Mul) -> Source:
        """Left to right, numbers and sizes as one factor in front: 2 / N * (p - y)."""
        if expr.could_extract_minus_sign():
            return Minus(self.formula(-expr))
        scale, over, under = Integer(1), [], []
        for factor in factors(expr, self.program.notation):
            if is_number(factor):
                scale *= factor
            elif factor.is_Pow and factor.exp.is_number and factor.exp.is_negative:
                under.append(1 / factor)
            else:
                over.append(factor)
        if not over and not under:
            numbers, denominator = expr.as_numer_denom()
            source = chained("*", map(self.formula, Mul.make_args(numbers)))
            return source if denominator == 1 else self.quotient(source, self.formula(denominator))
        fading = {factor for factor in over if self.fades(factor)}
        over, large, under = in_steps(over, under, fading)
        if not over and large:
            over, large = large[:1], [None, *large[1:]]
        source = self.scaled(scale, chained("*", map(self.formula, over))) if over else self.formula(scale)
        for above, below in zip_longest(large, under):
            source = source if above is None else Infix("*", source, self.formula(above))
            source = source if below is None else self.quotient(source, self.formula(below))
        return source

    def fades(self, factor: Expr) -> bool:
        """Whether it is a power of an exp or a sigmoid, or of the part of a long formula that is one."""
        base = factor if isinstance(factor, exp) else factor.as_base_exp()[0]
        if not base.is_Symbol:
            return isinstance(base, exp | sigmoid)
        return self.program.notation.function(base.name) in ("exp", "sigmoid")

    def pow(self, expr: Pow) -> Source:
        base, exponent = expr.as_base_exp()
        if exponent.is_number and exponent.is_negative:
            return self.quotient(Literal("1"), self.formula(base**-exponent))
        return self.power(base, exponent)

    def relational(self, expr: Relational) -> Source:
        return Infix(expr.rel_op, self.formula(expr.lhs), self.formula(expr.rhs))

    def conjunction(self, expr: And) -> Source:
        return chained(self.both, map(self.formula, expr.args))

    def disjunction(self, expr: Or) -> Source:
        return chained(self.either, map(self.formula, expr.args))

    def other_condition(self, expr: BooleanFunction) -> Source:
        return self.formula(to_nnf(expr, simplify=False))


SPELLINGS: dict[type, str] = {
    Symbol: "symbol",
    Rational: "rational",
    type(pi): "constant_number",
    Exp1: "constant_number",
    Add: "add",
    Mul: "mul",
    Pow: "pow",
    Piecewise: "piecewise",
    Max: "extremum",
    Min: "extremum",
    Heaviside: "heaviside",
    Relational: "relational",
    And: "conjunction",
    Or: "disjunction",
    BooleanFunction: "other_condition",
    Function: "function",
}


def number_times(ratio: Source, of: Source) -> Source:
    """A number times a product, which comes after it from left to right."""
    if isinstance(of, Infix) and of.level == PRODUCT:
        return Infix(of.operator, number_times(ratio, of.left), of.right)
    return Infix("*", ratio, of)


def in_steps(over: list[Expr], under: list[Expr], fading: set[Expr]) -> tuple[list[Expr], list[Expr], list[Expr]]:
    """The factors of a quotient, those among them that may be large where others are small, and the divisors.

    A power of these comes one factor at a time, each divided at once: z / (1 + z**2) * z is finite where
    z**2 / (1 + z**2) is not, and exp(-z**2) * z * z is 0 where exp(-z**2) * z**2 is nan.
    """
    below = set().union(*(factor.free_symbols for factor in under))

    def grows(factor: Expr) -> bool:
        base, power = factor.as_base_exp()
        beside = factor not in fading and (base.is_Symbol or (bool(fading) and base.is_Add)) and len(over) > 1
        divided = factor in fading and len(singles(under)) > 1
        return ((beside or divided) and power.is_Integer and power > 1) or bool(factor.free_symbols & below)

    large = [factor for factor in over if grows(factor)]
    if len(over) == len(large) == 1 == len(singles(large)):
        return over, [], singles(under)
    rest = [factor for factor in over if factor not in large]
    if large and fading:
        rest.sort(key=lambda factor: factor not in fading)
    cubes = any(factor.is_Pow and factor.exp.is_number and factor.exp > 2 for factor in under)
    return rest, singles(large), singles(under) if large or fading or (over and cubes) else under


def singles(factors: list[Expr]) -> list[Expr]:
    """The factors, a whole power as often as it says."""
    found = []
    for factor in factors:
        base, power = factor.as_base_exp()
        found += [base] * int(power) if power.is_Integer and 1 < power <= 4 else [factor]
    return found


def is_decimal(number: Expr) -> bool:
    """Whether it is written as a decimal: it has a large denominator, and the decimal says exactly the same."""
    return number.is_Rational and number.q > MOST_READABLE and Rational(repr(number.p / number.q)) == number
