"""Slips with a slope: left out, twice, taken elsewhere or of something else, or there where none belongs."""

from collections.abc import Iterator
from dataclasses import replace

from sympy import Expr, MatrixSymbol, Symbol, diff

from derive.diagnosis.changes import Change, Slip, changed, operands, values_in
from derive.diagnosis.rows import of_softmax
from derive.diagnosis.surroundings import Surroundings
from derive.formulas import FUNCTIONS, z
from derive.operations import Entrywise, NamedMatrix, Operation
from derive.programs import Equation, SymbolKind, entry

USUAL_ACTIVATIONS = ("sigmoid", "tanh", "relu")  # activations whose slopes people know by heart


class Slopes(Surroundings):
    """The slips with slopes."""

    def of_slope(self, index: int, operation: Operation) -> Iterator[Change]:
        """Of a slope: left out, twice, elsewhere, of something else, or with a slip in its formula."""
        equation = self.equations[index]
        through = self.slope_in(operation)
        if isinstance(operation, Entrywise) and through is not None:
            yield from self.instead(equation, operation, *through)
        elif isinstance(operation, Entrywise):
            for slip in changed(operation.formula):
                yield Change(f"formula: {slip}", f"{slip}", replace(operation, formula=slip.formula))
        if equation.target not in self.gradients:
            yield from self.too_many(equation.target, operation)

    def slope_in(self, operation: Operation) -> tuple[Symbol, Operation] | None:
        """The cotangent that a slope is multiplied by; None where the operation is no such product."""
        found = [(u, part) for u, part in operands(operation) if set(values_in(part)) <= set(self.cotangents)]
        if not isinstance(operation, Entrywise) or len(found) != 1:
            return None
        (g, _), formula = found[0], operation.formula
        return found[0] if formula.subs(g, 0) == 0 and not diff(formula, g).has(g) else None

    def instead(self, equation: Equation, operation: Entrywise, g: Symbol, cotangent: Operation) -> Iterator[Change]:
        """Something else for the slope by which the cotangent g is multiplied."""
        slope, layer = diff(operation.formula, g), self.layer(equation.target)
        pre, post = self.of_layer(layer)
        u, v = entry(pre), entry(post)

        def times(formula: Expr, reading: dict[Symbol, MatrixSymbol]) -> Operation:
            reading = {s: m for s, m in {**{entry(m): m for m in (pre, post)}, **reading}.items() if formula.has(s)}
            values = tuple((s, NamedMatrix(operation.shape, m)) for s, m in reading.items())
            return Entrywise(operation.shape, g * formula, ((g, cotangent), *values))

        name = self.network.activation_of(layer)
        yield Change("slope left out", f"the slope of {name} is left out", cotangent)
        yield Change("slope twice", f"the slope of {name} is multiplied twice", times(slope**2, {}))
        yield Change("activation for slope", f"{name} itself is taken for its slope", times(v, {}))
        inner, a, c = diff(self.network.function(layer), z).xreplace({z: v}), self.code(post), self.code(pre)
        for formula, words in (
            (slope.xreplace({v: u}), f"the slope of {name}, which is written in {a}, is taken at {c}"),
            (inner, f"the slope of {name} is taken at {a} in the place of {c}"),
            (slope.xreplace({u: v}), f"the slope of {name}, which is written in {c}, is taken at {a}"),
        ):
            if formula != slope:
                yield Change("slope at a for z, or at z for a", words, times(formula, {}))
        for other in self.layers_like(layer):
            pre_other, post_other = self.of_layer(other)
            s, t = entry(pre_other), entry(post_other)
            words = f"the slope of {name} is taken at layer {other} in the place of {layer}"
            there = {s: pre_other, t: post_other}
            yield Change("slope of another layer", words, times(slope.xreplace({u: s, v: t}), there))
            if self.network.activation_of(other) != name:
                formula = diff(self.network.function(other), z).xreplace({z: s})
                yield Change("slope of another layer", words, times(formula, there))
        for another in self.activations():
            if another in (name, "identity"):
                continue
            kind, words = "slope of another activation", f"the slope of {another} is taken, where the layer has {name}"
            formula = diff(FUNCTIONS[another], z)
            yield Change(kind, words, times(formula.xreplace({z: u}), {}))
            output = formula.xreplace({FUNCTIONS[another]: v})
            if not output.has(z):
                yield Change(kind, words, times(output, {}))
            yield Change(kind, words, times(formula.xreplace({z: v}), {}))
        for slip in changed(slope):
            general = slip.of({v: Symbol("a"), u: Symbol("z")})
            yield Change(f"slope: {general}", f"in the slope of {name}, {slip}", times(slip.formula, {}))

    def activations(self) -> list[str]:
        """Those that are usual, and those of the network."""
        used = (self.network.activation_of(layer) for layer in range(1, self.network.depth + 1))
        return [name for name in dict.fromkeys((*USUAL_ACTIVATIONS, *used)) if name in FUNCTIONS]

    def too_many(self, target: MatrixSymbol, operation: Operation) -> Iterator[Change]:
        """A slope where none belongs: of an activation that a layer has not, or of softmax."""
        if self.kind(target) is not SymbolKind.ERROR:
            return
        layer, g = self.layer(target), entry(target)
        pre, post = self.of_layer(layer)
        if pre == post:
            for name in self.activations():
                if name != "identity":
                    formula = diff(FUNCTIONS[name], z).xreplace({z: entry(pre)})
                    reading = ((g, operation), (entry(pre), NamedMatrix(operation.shape, pre)))
                    words = f"a slope of {name} is there, where the layer has no activation"
                    yield Change("slope too many", words, Entrywise(operation.shape, g * formula, reading))
        yield from of_softmax(self.derivation, self.operations, self.shapes, target, operation)

    def of_activations(self) -> Iterator[Slip]:
        """A layer without its activation in the forward pass, or with another one in both passes."""
        for index, target in enumerate(e.target for e in self.equations):
            operation, layer = self.operations[index], self.layer(target)
            through = self.slope_in(operation)
            if through is None or (ends := self.of_layer(layer))[0] == ends[1]:
                continue
            pre, name, forward = ends[0], self.network.activation_of(layer), self.equation_of[ends[1]]
            none, words = NamedMatrix(operation.shape, pre), f"the forward pass leaves {name} out"
            right = self.sloped(through, layer, self.network.function(layer))
            yield Slip("forward: no activation", words, ((forward, none), (index, right)))
            for other in (*USUAL_ACTIVATIONS, "identity"):
                if other != name:
                    formula = FUNCTIONS[other].xreplace({z: entry(pre)})
                    instead = Entrywise(operation.shape, formula, ((entry(pre), NamedMatrix(operation.shape, pre)),))
                    words = f"layer {layer} has {other}, and its slope, in the place of {name}"
                    changes = (forward, instead), (index, self.sloped(through, layer, FUNCTIONS[other]))
                    yield Slip("another activation in both passes", words, changes)

    def sloped(self, through: tuple[Symbol, Operation], layer: int, function: Expr) -> Operation:
        """The cotangent times the slope of a function at the layer's pre-activation."""
        (g, cotangent), (pre, _) = through, self.of_layer(layer)
        slope = diff(function, z).xreplace({z: entry(pre)})
        reading = ((entry(pre), NamedMatrix(cotangent.shape, pre)),) if slope.free_symbols else ()
        return Entrywise(cotangent.shape, g * slope, ((g, cotangent), *reading)) if slope != 1 else cotangent
