"""Decides claims that two scalar expressions are identical, and says where they are not.

What is shown whatever the values of symbols holds for anything that these stand for. So names stand for the sums that
the expressions are made of, as long as that is enough.
"""

from collections import Counter
from collections.abc import Iterable
from random import Random

from mpmath import mp
from sympy import Abs, Expr, Integer, Max, Min, Rational, Symbol, sign
from sympy.core.relational import Relational

from derive.proof.algebra import algebras
from derive.proof.certificate import NotProved, Undecided
from derive.proof.intermediates import Intermediates
from derive.proof.polynomials import TooLarge
from derive.proof.precision import differing_digits, settled
from derive.system import progress

Claim = tuple[str, Expr, Expr]


COMPARED_AT = 5  # branches differ from point to point
MORE_POINTS = 12  # where the algebra does not find two expressions identical that seem to be
JUDGED_MAGNITUDES = Rational(1, 16), Rational(1), Rational(4)  # of numbers at points, one after the other
JUDGED_DENOMINATOR = 10_007  # a prime, so that no sum of a few of its fractions lies on a kink
JUDGED_DIGITS = 30, 120, 480  # digits, more where two numbers differ: cancellation may have left none
MOST_TERMS = (3_000, 30_000)  # of a product, in one attempt after the other
LONGEST_WRITTEN_OUT = 50_000  # operations of what is written out without names
TOLERANCE = Rational(1, 10**20)


class Judge:
    """What decides, and the names of sums that the claims are written with."""

    def __init__(self) -> None:
        self.algebras = algebras()
        self.plain = self.algebras[1]
        self.sums = Intermediates(self.decided)
        self.points: dict[tuple[int, int], dict[Symbol, Expr]] = {}  # by their number and precision
        self.known_branches: dict[Symbol, set[object]] = {}

    def establish(self, claims: Iterable[Claim], where: str, total: int = 0) -> Counter[bool]:
        """Shows each claim, whose number is said meanwhile; how many are identities, and how many agree."""
        numbered = progress(claims, where, total)
        return Counter(self.show(name, emitted, derivative, where) for name, emitted, derivative in numbered)

    def show(self, name: str, emitted: Expr, derivative: Expr, where: str) -> bool:
        """Whether the two are identical; not if they agree at points, and no more than that is found.

        Raises NotProved otherwise, with their values at a random point where these differ. Where the algebra denies
        that they are identical, which it does of some that are, they have to agree at more points and to fall into the
        same branches.
        """
        if emitted == derivative:
            return True
        emitted, derivative = self.sums.aligned(emitted, derivative)
        alike, found = self.sums.alike(emitted, derivative), None
        if alike:
            found = self.decided(emitted, derivative) or self.in_full(emitted, derivative)
        if found:
            return True
        points = sum(self.agrees(name, emitted, derivative, point, where) for point in range(COMPARED_AT))
        found = found if alike else self.in_full(emitted, derivative)
        if found:
            return True
        if points and self.fall_alike(emitted, derivative):
            more = (self.agrees(name, emitted, derivative, point, where) for point in range(COMPARED_AT, MORE_POINTS))
            if found is None or sum(more):
                return False
        right = f"although it is right at {points} points to 20 digits" if points else "and no point says anything"
        raise Undecided(f"{where}: {name} could not be proved, {right}")

    def decided(self, left: Expr, right: Expr) -> bool:
        """Whether the two are identical over their names, and short enough for that to be found out soon."""
        return self.identical(MOST_TERMS[:1], self.sums.aligned(left, right)) is True

    def in_full(self, left: Expr, right: Expr) -> bool | None:
        """Whether the two are identical, over their names or written out; None if that is too long to be found out."""
        found = self.identical(MOST_TERMS, (left, right))
        if found or max(map(self.sums.length, (left, right))) > LONGEST_WRITTEN_OUT:
            return found or None
        written_out = self.identical(MOST_TERMS, (self.sums.written_out(left), self.sums.written_out(right)))
        return written_out or (None if found is None else written_out)

    def identical(self, bounds: tuple[int, ...], pair: tuple[Expr, Expr]) -> bool | None:
        """Whether the two are identical, by the algebra that needs fewest terms; None if all need more."""
        for most in bounds:
            undecided = False
            for algebra in self.algebras:
                try:
                    if algebra.identical(*pair, most):
                        return True
                except TooLarge:
                    undecided = True
            if not undecided:
                return False
        return None

    def fall_alike(self, left: Expr, right: Expr) -> bool:
        """Whether the two fall into branches by the same conditions: what differs in one alone may show at no point."""
        if self.branches(left) == self.branches(right):
            return True
        short = max(map(self.sums.length, (left, right))) <= LONGEST_WRITTEN_OUT
        return short and len({frozenset(self.branches(self.sums.written_out(expr))) for expr in (left, right)}) == 1

    def branches(self, expr: Expr) -> set[object]:
        """What decides between branches of an expression and of names in it; of what is long, as it stands."""
        try:
            found = self.plain.branches(expr)
        except TooLarge:
            found = {*expr.atoms(Abs, Max, Min, Relational, sign)}
        names = self.sums.inside(expr)
        return found.union(*(self.branches_of_name(name) for name in names))

    def branches_of_name(self, name: Symbol) -> set[object]:
        if name not in self.known_branches:
            self.known_branches[name] = self.branches(self.sums.definitions[name])
        return self.known_branches[name]

    def agrees(self, name: str, emitted: Expr, derivative: Expr, number: int, where: str) -> bool:
        """Whether the two are the same number at a point; not if they are none.

        Raises NotProved where they differ.
        """
        unknown = self.sums.variables(emitted) | self.sums.variables(derivative)

        def compared() -> bool:
            point = self.points.setdefault((number, mp.dps), {})
            point |= {symbol: drawn_entry(number, symbol).evalf(mp.dps) for symbol in unknown - point.keys()}
            got, wanted = (self.sums.at(expr, point, mp.dps) for expr in (emitted, derivative))
            difference = abs(got - wanted)
            if difference.is_finite and difference > TOLERANCE * (1 + abs(wanted)):
                one, other = differing_digits(got, wanted)
                raise NotProved(f"{where}: {name} is wrong: {one} at a point where it should be {other}")
            return bool(difference.is_finite)

        return settled(compared, precisions=JUDGED_DIGITS)


def drawn_entry(number: int, symbol: Symbol) -> Rational:
    """What a symbol is at a point, the same whatever else is there."""
    random = Random(f"{number} {symbol.name}")
    scale = JUDGED_MAGNITUDES[number % len(JUDGED_MAGNITUDES)] if number >= COMPARED_AT else Integer(2)
    return scale * Rational(random.randint(-JUDGED_DENOMINATOR, JUDGED_DENOMINATOR), JUDGED_DENOMINATOR)
