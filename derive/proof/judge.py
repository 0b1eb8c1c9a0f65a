"""Decides claims that two scalar expressions are identical, and says where they are not.

What is shown whatever the values of symbols holds for anything that these stand for. So names stand for the sums that
the expressions are made of, and a symbol for what both have in common, as long as that is enough.
"""

import sys
from collections.abc import Iterable
from functools import lru_cache
from random import Random

from sympy import Add, Dummy, Expr, Mul, Rational, Symbol, preorder_traversal

from derive.proof.algebra import Algebra
from derive.proof.intermediates import Intermediates

Claim = tuple[str, Expr, Expr]


POINTS = 5  # branches differ from point to point
DENOMINATOR = 10_007  # a prime, so that no sum of a few of its fractions lies on a kink
TOLERANCE = Rational(1, 10**20)


class NotProved(Exception):
    """An entry of which it is not shown that it is the derivative."""


class Judge:
    """What decides, and the names of sums that the claims are written with."""

    def __init__(self) -> None:
        self.algebras = Algebra(), Algebra(logistic=True), Algebra(open_functions=True)
        self.sums = Intermediates(self.algebras[0])
        self.points: list[dict[Symbol, Expr]] = [{} for _ in range(POINTS)]
        self.random = Random(0)

    def establish(self, claims: Iterable[Claim], total: int, where: str, label: str) -> int:
        """Shows each claim and counts them, with a progress bar if it has a label."""
        done = 0
        for name, emitted, derivative in claims:
            self.show(name, emitted, derivative, where)
            done += 1
            if label:
                bar = "#" * (done * 30 // total)
                print(f"\r{label:6} [{bar:30}] {done}/{total}", end="", file=sys.stderr, flush=True)
        if label:
            print(file=sys.stderr)
        return done

    def show(self, name: str, emitted: Expr, derivative: Expr, where: str) -> None:
        """Passes where the two are identical.

        Raises NotProved otherwise, with their values at a random point where these differ.
        """
        if emitted == derivative:
            return
        emitted, derivative = self.sums.aligned(gathered(emitted), gathered(derivative))
        if self.algebras[0].same(*abstract(emitted, derivative)) or self.algebras[0].same(emitted, derivative):
            return
        for point in self.points:
            if shown := self.differing(emitted, derivative, point):
                raise NotProved(f"{where}: {name} is wrong: {shown[0]} at a point where it should be {shown[1]}")
        written_out = self.sums.written_out(emitted), self.sums.written_out(derivative)
        if not any(a.identical(*pair) for pair in ((emitted, derivative), written_out) for a in self.algebras):
            raise NotProved(
                f"{where}: {name} could not be proved, although it is right at {POINTS} points to 20 digits"
            )

    def differing(self, emitted: Expr, derivative: Expr, point: dict[Symbol, Expr]) -> tuple[str, str] | None:
        """What the two are at a point, where that differs; names in them become part of it."""
        unknown = self.sums.variables(emitted) | self.sums.variables(derivative)
        for symbol in sorted(unknown - point.keys(), key=lambda symbol: symbol.name):
            point[symbol] = Rational(self.random.randint(-2 * DENOMINATOR, 2 * DENOMINATOR), DENOMINATOR)
        got, wanted = (self.sums.at(expr, point, 30) for expr in (emitted, derivative))
        difference = abs(got - wanted)
        if difference.is_finite and difference > TOLERANCE * (1 + abs(wanted)):
            return digits(got, wanted)
        return None


def digits(got: Expr, wanted: Expr) -> tuple[str, str]:
    """Both to the first digit that differs, and one more."""
    return next(
        (
            (str(got.n(count + 1)), str(wanted.n(count + 1)))
            for count in range(5, 30)
            if got.n(count) != wanted.n(count)
        ),
        (str(got), str(wanted)),
    )


def abstract(*exprs: Expr) -> list[Expr]:
    """The expressions with a symbol in the place of each sum of one symbol, as slopes are, that all have."""
    sums = [{p for p in preorder_traversal(expr) if isinstance(p, Add) and len(p.free_symbols) == 1} for expr in exprs]
    symbols = {part: Dummy(real=True) for part in set.intersection(*sums)}
    return [expr.xreplace(symbols) for expr in exprs]


@lru_cache(maxsize=100_000)
def gathered(expr: Expr) -> Expr:
    """The same with what all terms of a sum have in common in front of it, from the innermost sums outwards."""
    if not isinstance(expr, Add | Mul):
        return expr
    expr = expr.func(*map(gathered, expr.args))
    terms = [Mul.make_args(term) for term in Add.make_args(expr)]
    common = [part for part in terms[0] if not part.is_Number and all(part in term for term in terms)]
    if len(terms) == 1 or not common:
        return expr
    return Mul(*common, Add(*(Mul(*(part for part in term if part not in common)) for term in terms)))
