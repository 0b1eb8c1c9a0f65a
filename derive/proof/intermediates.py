"""Names for what a long scalar expression is made of, and derivatives through them.

An expression over names is short. What holds of it whatever the names stand for holds for what they name. Its
derivative by a name is what moves with it directly, and through each later name that moves with it.
"""

from collections.abc import Callable
from functools import lru_cache

from sympy import Add, Basic, DiracDelta, Expr, Integer, Symbol, diff

from derive.proof.algebra import Algebra
from derive.proof.residues import PRIME, NoResidue, Residues, fraction, inverse_residue

RESIDUE_POINTS = 12  # at half of them a branch is 0, and two are needed at which what it is part of is not
MOST_ALIGNED = 1_000_000  # operations of what is compared over names that both have


class Intermediates:
    """Each name and its definition, in which names given before may stand; `identical` decides of two expressions."""

    def __init__(self, identical: Callable[[Expr, Expr], bool]) -> None:
        self._identical = identical
        self.definitions: dict[Symbol, Expr] = {}
        self._names: dict[Expr, Expr] = {}
        algebra = Algebra(open_functions=True)
        self._points = [Residues(seed, self.definitions, algebra) for seed in range(RESIDUE_POINTS)]
        self._alike: dict[object, list[tuple[Symbol, int]]] = {}
        self._order: dict[Symbol, int] = {}
        self._inside: dict[Symbol, list[Symbol]] = {}
        self._users: dict[Symbol, list[Symbol]] = {}
        self._variables: dict[Symbol, set[Symbol]] = {}
        self._slopes: dict[tuple[Expr, Symbol], Expr] = {}
        self._backwards: dict[Expr, dict[Symbol, Expr]] = {}
        self._lengths: dict[Basic, int] = {}

    def name(self, definition: Expr) -> Expr:
        """The name of an expression, the same for identical ones; times a number for its multiples.

        What is no longer than a name is itself.
        """
        known = self.recognised(definition)
        if known is not definition or len(definition.free_symbols) < 2:
            return known
        symbol = Symbol(f"part{len(self.definitions)}", real=True)
        self._inside[symbol], self._variables[symbol] = self.inside(definition), self.variables(definition)
        for part in definition.free_symbols:
            self._users.setdefault(part, []).append(symbol)
        self._order[symbol] = len(self.definitions)
        self.definitions[symbol], self._names[definition] = definition, symbol
        if (place := self._place(definition)) is not None:
            self._alike.setdefault(place[0], []).append((symbol, place[1]))
        return symbol

    def recognised(self, expr: Expr) -> Expr:
        """The name of what is identical to its definition, times a number; else the expression itself."""
        if not expr.args:
            return expr
        if expr not in self._names:
            self._names[expr] = self._found(expr)
        return self._names[expr]

    def _found(self, expr: Expr) -> Expr:
        shared, here = self._place(expr) or (None, 0)
        for symbol, residue in self._alike.get(shared, ()):
            times = fraction(here * inverse_residue(residue))
            if times is not None and self._identical(expr, times * self.definitions[symbol]):
                return times * symbol
        return expr

    def _place(self, expr: Expr) -> tuple[tuple[int, int], int] | None:
        """What all multiples of an expression share, by two points at which it is not 0, and what differs there."""
        found: list[tuple[int, int]] = []
        for number, residues in enumerate(self._points):
            try:
                found += [(number, residue)] if (residue := residues.of(expr)) else []
            except NoResidue:
                return None
            if len(found) == 2:
                (_, first), (last, second) = found
                return (last, first * inverse_residue(second) % PRIME), first
        return None

    def alike(self, left: Expr, right: Expr) -> bool:
        """Whether the two are the same number at random points modulo a prime, so that they seem identical."""
        try:
            return all(residues.of(left) == residues.of(right) for residues in self._points)
        except NoResidue:
            return False

    def inside(self, expr: Expr) -> list[Symbol]:
        """The names that stand in an expression, the last first."""
        return sorted(expr.free_symbols & self.definitions.keys(), key=self._order.__getitem__, reverse=True)

    def derivative(self, expr: Expr, variable: Symbol) -> Expr:
        """By SymPy, of what the expression stands for."""
        moved = self.backwards(expr)
        through = (
            moved[name] * self._slope(self.definitions[name], variable)
            for name in self._users.get(variable, ())
            if name in moved
        )
        return Add(self._slope(expr, variable), *through)

    def backwards(self, expr: Expr) -> dict[Symbol, Expr]:
        """The derivative of what the expression stands for by each name that it depends on, which has a name itself."""
        if expr not in self._backwards:
            users: dict[Symbol, list[Symbol]] = {name: [] for name in self.inside(expr)}
            found: dict[Symbol, Expr] = {}
            while left := users.keys() - found.keys():
                name = max(left, key=self._order.__getitem__)
                through = (found[user] * self._slope(self.definitions[user], name) for user in users[name])
                found[name] = self.name(Add(self._slope(expr, name), *through))
                for part in self._inside[name]:
                    users.setdefault(part, []).append(name)
            self._backwards[expr] = found
        return self._backwards[expr]

    def along(self, expr: Expr, direction: dict[Symbol, Expr]) -> Expr:
        """The directional derivative of what the expression stands for; that of each name has a name, too."""
        moved: dict[Symbol, Expr] = {}

        def of(expr: Expr) -> Expr:
            direct = (self._slope(expr, entry) * direction[entry] for entry in expr.free_symbols & direction.keys())
            names = self.inside(expr)
            for name in names:
                if name not in moved:
                    moved[name] = self.name(of(self.definitions[name]))
            return Add(*direct, *(self._slope(expr, name) * moved[name] for name in names))

        return of(expr)

    def _slope(self, expr: Expr, variable: Symbol) -> Expr:
        """By SymPy, term by term."""
        if (expr, variable) not in self._slopes:
            terms = (term for term in Add.make_args(expr) if variable in term.free_symbols)
            self._slopes[expr, variable] = Add(*(diff(term, variable) for term in terms))
        return self._slopes[expr, variable]

    def length(self, expr: Basic) -> int:
        """How many operations and symbols it has when it is written out."""
        if expr not in self._lengths:
            parts = (self.definitions[expr],) if expr in self.definitions else expr.args
            self._lengths[expr] = 1 + sum(map(self.length, parts))
        return self._lengths[expr]

    def written_out(self, expr: Expr) -> Expr:
        """The same without names."""
        while names := self.inside(expr):
            expr = expr.xreplace({names[0]: self.definitions[names[0]]})
        return expr

    def aligned(self, left: Expr, right: Expr) -> tuple[Expr, Expr]:
        """The two with definitions in the place of names that only one of them has, where that does not get too long.

        The last go first, as the names that are in their definitions may be those of the other.
        """
        given = left, right
        while different := set(self.inside(left)) ^ set(self.inside(right)):
            below = max((self._order[part] for name in different for part in self._inside[name][:1]), default=-1)
            last = {name: self.definitions[name] for name in different if self._order[name] > below}
            left, right = left.xreplace(last), right.xreplace(last)
            if max(map(operations, (left, right))) > MOST_ALIGNED:
                return given
        return left, right

    def variables(self, expr: Expr) -> set[Symbol]:
        """What the expression depends on, directly or through names."""
        names = self.inside(expr)
        return expr.free_symbols.difference(names).union(*(self._variables[name] for name in names))

    def at(self, expr: Expr, point: dict[Symbol, Expr], digits: int) -> Expr:
        """The number that the expression is at a point on no kink, to which the names in it are added."""
        for name in reversed(self.inside(expr)):
            if name not in point:
                point[name] = self.at(self.definitions[name], point, digits)
        return expr.xreplace(point).evalf(digits).replace(DiracDelta, lambda *_: Integer(0)).evalf(digits)


@lru_cache(maxsize=100_000)
def operations(expr: Basic) -> int:
    """How many operations and symbols it has."""
    return 1 + sum(map(operations, expr.args))
