"""Scalar formulas as C."""

from collections.abc import Iterator
from dataclasses import dataclass

from sympy import Expr, Function, Heaviside, Integer, Max, Min, Piecewise, Rational, exp, log, true

from derive.backends import ATOM, CONDITIONAL, Call, FormulaPrinter, Infix, Literal, Name, Source
from derive.backends.c.functions import C_FUNCTIONS
from derive.formulas import NamedFunction, stable, z
from derive.programs import Program

LARGEST_INT = 2**31
TURNING = ("sin", "cos")  # which turn a large angle back by a function of their own
TWO_ARGUMENTS = ("exp_of_square", "erfc_by")  # which are called as they are


def of_square(exponent: Expr) -> tuple[Expr, Expr] | None:
    """c and x, where it is c x^2, c < 0 a power of 2: the square alone would lose digits."""
    c, square = exponent.as_coeff_Mul()
    return (c, square.base) if square.is_Pow and square.exp == 2 and c < 0 and log(-c, 2).is_Integer else None


@dataclass(frozen=True)
class Conditional(Source):
    condition: Source
    value: Source
    other: Source

    @property
    def level(self) -> int:
        return CONDITIONAL

    @property
    def text(self) -> str:
        condition, value = (part.at(CONDITIONAL + 1) for part in (self.condition, self.value))
        return f"{condition} ? {value} : {self.other.text}"


class CFormulas(FormulaPrinter):
    """Spells formulas in C, and keeps what that takes: `functions` by name, `numbers` that no decimal is, `angles`."""

    both, either = "&&", "||"

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self.functions: dict[str, type[NamedFunction] | None] = {}
        self.numbers: dict[Expr, str] = {}
        self.angles: dict[str, None] = {}  # of sin and cos, in the order of their calls

    def formula(self, expr: Expr) -> Source:
        if expr.is_number and not expr.is_Rational and not expr.is_Boolean:
            return Name(self.numbers.setdefault(expr, f"number{len(self.numbers) + 1}"))
        return super().formula(expr)

    def constant_number(self, expr: Expr) -> Source:
        return self.formula(expr)

    def integer(self, expr: Integer) -> Source:
        return Literal(str(expr.p)) if expr.p < LARGEST_INT else self.decimal(repr(float(expr.p)))

    def decimal(self, text: str) -> Source:
        return Literal(f"(real){text}")

    def quotient(self, over: Source, under: Source) -> Source:
        """A division of numbers as reals: that of whole numbers drops what is left."""
        if not over.names and not under.names:
            over = Literal(f"(real){over.at(ATOM)}")
        return super().quotient(over, under)

    def call(self, name: str, *arguments: Source, named: type[NamedFunction] | None = None) -> Source:
        self.functions[name] = named
        if name in TURNING:
            self.angles |= dict.fromkeys(argument.text for argument in arguments)
        return Call(Name(name if name in TWO_ARGUMENTS else f"{name}_of"), arguments)

    def power(self, base: Expr, exponent: Expr) -> Source:
        if exponent == Rational(1, 2):
            return self.call("sqrt", self.formula(base))
        if exponent.is_Rational and exponent.q == 2:
            return self.powered(self.call("sqrt", self.formula(base)), exponent.p)
        if exponent.is_Integer:
            return self.powered(self.formula(base), int(exponent))
        return self.call("power", self.formula(base), self.formula(exponent))

    def powered(self, base: Source, exponent: int) -> Source:
        """A whole power by squares."""
        if exponent == 1:
            return base
        square = self.call("square", base)
        half = self.powered(square, exponent // 2)
        return Infix("*", half, base) if exponent % 2 else half

    def function(self, expr: Function) -> Source:
        kind = type(expr)
        if isinstance(expr, exp) and (square := of_square(expr.args[0])):
            return self.call("exp_of_square", *map(self.formula, square))
        own = kind if issubclass(kind, NamedFunction) and kind.__name__ not in C_FUNCTIONS else None
        return self.call(kind.__name__, *map(self.formula, expr.args), named=own)

    def heaviside(self, expr: Heaviside) -> Source:
        return self.formula(expr.rewrite(Piecewise))

    def extremum(self, expr: Max | Min) -> Source:
        first, *others = map(self.formula, expr.args)
        for other in others:
            first = self.call("larger" if isinstance(expr, Max) else "smaller", first, other)
        return first

    def piecewise(self, expr: Piecewise) -> Source:
        *branches, (last, condition) = expr.args
        if condition is not true:
            raise ValueError(f"C needs a value where no condition holds: {expr}")
        source = self.formula(last)
        for value, condition in reversed(branches):
            source = Conditional(self.formula(condition), self.formula(value), source)
        return source

    def definitions(self) -> Iterator[str]:
        """The named functions that are used, by their definitions, each after those that it calls."""
        done: dict[str, str] = {}

        def define(name: str, kind: type[NamedFunction]) -> None:
            before = dict(self.functions)
            self.functions.clear()
            source = self.formula(stable(kind.definition))
            needed, self.functions = self.functions, before | self.functions
            for other, named in needed.items():
                if named is not None and other not in done:
                    define(other, named)
            done[name] = f"INLINE real {name}_of(real {z}) {{ return {source.text}; }}"

        for name, kind in list(self.functions.items()):
            if kind is not None and name not in done:
                define(name, kind)
        return iter(done.values())
