"""Names for the sums that a long scalar expression is made of, and derivatives through them.

An expression over names is short. What holds of it whatever the names stand for holds for the sums that they name; its
derivative is what moves in it directly and what moves through each name.
"""

from sympy import Add, Expr, Integer, Symbol, diff

from derive.proof.algebra import Algebra


class Intermediates:
    """Each named sum and its definition, in which names given before may stand."""

    def __init__(self, algebra: Algebra) -> None:
        self._algebra = algebra
        self.definitions: dict[Symbol, Expr] = {}
        self._names: dict[Expr, Symbol] = {}
        self._marks: dict[Symbol, Symbol] = {}
        self._marked: dict[Symbol, list[Symbol]] = {}
        self._derivatives: dict[tuple[Expr, Symbol], Expr] = {}
        self._slopes: dict[Expr, dict[Symbol, Expr]] = {}
        self._written_out: dict[Symbol, Expr] = {}

    def name(self, definition: Expr, mark: Symbol) -> Symbol:
        """The name of a sum, the same for the same sum; the mark is a term that few other sums have."""
        if definition not in self._names:
            symbol = Symbol(f"sum{len(self.definitions)}", real=True)
            self._written_out[symbol] = self.written_out(definition)
            self._names[definition], self.definitions[symbol] = symbol, definition
            self._marks[symbol] = mark
            self._marked.setdefault(mark, []).append(symbol)
        return self._names[definition]

    def recognised(self, expr: Expr) -> Expr:
        """The name of what is identical to its definition, else the expression itself."""
        if expr not in self._names and expr.is_Add:
            candidates = (symbol for term in expr.args for symbol in self._marked.get(term, ()))
            for symbol in candidates:
                if self._algebra.same(expr, self.definitions[symbol]):
                    self._names[expr] = symbol
                    break
        return self._names.get(expr, expr)

    def inside(self, expr: Expr) -> list[Symbol]:
        """The names that stand in an expression."""
        return [symbol for symbol in expr.free_symbols if symbol in self.definitions]

    def derivative(self, expr: Expr, variable: Symbol) -> Expr:
        """By SymPy, of what the expression stands for."""
        if variable not in self.variables(expr):
            return Integer(0)
        if (expr, variable) not in self._derivatives:
            slopes = self._through(expr).items()
            through = (slope * self.derivative(self.definitions[name], variable) for name, slope in slopes)
            self._derivatives[expr, variable] = Add(diff(expr, variable), *through)
        return self._derivatives[expr, variable]

    def along(self, expr: Expr, direction: dict[Symbol, Expr]) -> Expr:
        """The directional derivative of what the expression stands for; that of each name has a name, too."""
        direct = (diff(expr, entry) * direction[entry] for entry in expr.free_symbols & direction.keys())
        through = (slope * self._moved(name, direction) for name, slope in self._through(expr).items())
        return Add(*direct, *through)

    def _moved(self, name: Symbol, direction: dict[Symbol, Expr]) -> Symbol:
        return self.name(self.along(self.definitions[name], direction), direction[self._marks[name]])

    def _through(self, expr: Expr) -> dict[Symbol, Expr]:
        """How the expression moves with each name in it."""
        if expr not in self._slopes:
            self._slopes[expr] = {name: diff(expr, name) for name in self.inside(expr)}
        return self._slopes[expr]

    def written_out(self, expr: Expr) -> Expr:
        """The same without names."""
        return expr.xreplace({name: self._written_out[name] for name in self.inside(expr)})

    def aligned(self, left: Expr, right: Expr) -> tuple[Expr, Expr]:
        """The two with definitions in the place of names that only one of them has."""
        while different := set(self.inside(left)) ^ set(self.inside(right)):
            definitions = {name: self.definitions[name] for name in different}
            left, right = left.xreplace(definitions), right.xreplace(definitions)
        return left, right

    def variables(self, expr: Expr) -> set[Symbol]:
        """What the expression depends on, directly or through names."""
        names = self.inside(expr)
        return expr.free_symbols.difference(names).union(*(self._written_out[name].free_symbols for name in names))

    def at(self, expr: Expr, point: dict[Symbol, Expr], digits: int) -> Expr:
        """The number that the expression is at a point, to which the names in it are added."""
        for name in self.inside(expr):
            if name not in point:
                point[name] = self.at(self.definitions[name], point, digits)
        return expr.xreplace(point).evalf(digits)
