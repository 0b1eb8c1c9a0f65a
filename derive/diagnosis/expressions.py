"""Slips in the derivation of an expression, and what is wrong with somebody's gradient of it."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy
from numpy import ndarray
from sympy import MatrixSymbol, Symbol, diff

from derive.backends.torch import TorchPrinter
from derive.diagnosis.changes import (
    Change,
    Slip,
    changed,
    exchanged,
    of_terms,
    operands,
    parts_of,
    put,
    scalings,
    values_in,
    with_term,
)
from derive.diagnosis.doctor import Doctor
from derive.diagnosis.report import Diagnosis, dimensions
from derive.diagnosis.rows import of_softmax
from derive.diagnosis.search import ClaimedGradient, Point, Search, SymbolValues
from derive.operations import Entrywise, NamedMatrix, Operation, Power, Product, Reduction, Sum, Transposed, lower
from derive.programs import Derivation, Equation, Role, RowLogSumExp, Symmetric, entry

MOST_TRIED = 40  # points in search of one at which all is finite
DRAWN_SIZES = (3, 5, 4, 7, 6, 8)  # of what has no number for its size; none that is a factor of a formula


class ExpressionSlips:
    """What people do to the equations of an expression, where its symbols have these values."""

    def __init__(self, derivation: Derivation, values: SymbolValues) -> None:
        self.derivation = derivation
        self.shapes = {symbol: array.shape for symbol, array in values.items()}
        self.operations = [lower(equation.value) for equation in derivation.equations]
        self.backward = {equation.target for equation in derivation.backward}
        self.cotangents: list[MatrixSymbol] = []  # behind weights that might have been moved before: there are none
        self.weights: set[MatrixSymbol] = set()
        sizes = {size for symbol in derivation.program.inputs for size in symbol.shape}
        self.sizes = sorted((size for size in sizes if size != 1), key=str)

    def code(self, symbol: MatrixSymbol) -> str:
        return self.derivation.program.notation.torch(symbol.name)

    def all(self) -> list[Slip]:
        """Slips in one equation, those of the backward pass first."""
        pairs, first = list(enumerate(self.operations)), len(self.derivation.program.equations)
        return [
            Slip(change.kind, change.words, ((index, change.operation),))
            for index, operation in [*pairs[first:], *pairs[:first]]
            for change in self.of(index, operation)
        ]

    def of(self, index: int, operation: Operation) -> Iterator[Change]:
        """What people do to this equation; the loss itself may be wrong without its gradient."""
        equation = self.derivation.equations[index]
        known = [*self.derivation.program.inputs, *(e.target for e in self.derivation.equations[:index])]
        forward = equation.target not in self.backward
        if equation.target == self.derivation.program.output:
            return
        if self.derivation.program.notation.role(equation.target.name)[0] is Role.FREE:
            words = "the entries i, j and j, i are not taken for one variable"
            yield Change("each entry by itself", words, operands(operation)[0][1])
        if not forward:
            yield from self.of_whole(equation, operation)
            factors = [(1 / size, f"it is divided by {size}") for size in self.sizes]
            yield from scalings(operation, [*factors, *((size, f"it is multiplied by {size}") for size in self.sizes)])
            yield from of_softmax(self.derivation, self.operations, self.shapes, equation.target, operation)
        for change in (
            *self.of_slope(equation, operation),
            *of_terms(operation, self.names, ()),
            *self.of_each_term(operation, known),
        ):
            yield replace(change, kind=f"forward: {change.kind}") if forward else change

    def of_slope(self, equation: Equation, operation: Operation) -> Iterator[Change]:
        """Of a formula: its slope left out, twice, the function for it, or one thing changed."""
        if not isinstance(operation, Entrywise):
            return
        cotangents = [(u, part) for u, part in operands(operation) if self.is_cotangent(part)]
        if len(cotangents) == 1 and equation.through is not None:
            (g, cotangent), slope = cotangents[0], diff(operation.formula, cotangents[0][0])
            if operation.formula.subs(g, 0) == 0 and not slope.has(g) and slope.free_symbols:
                yield Change("slope left out", "the slope is left out", cotangent)
                yield Change("slope twice", "the slope is multiplied twice", replace(operation, formula=g * slope**2))
                function = equation.through.target
                if self.shapes[function] == self.shapes[equation.target]:
                    reading = ((g, cotangent), (entry(function), NamedMatrix(operation.shape, function)))
                    own = Entrywise(operation.shape, g * entry(function), reading)
                    yield Change("function for slope", "the function itself is taken for its slope", own)
                for slip in changed(slope):
                    yield Change("slope", f"in the slope, {slip}", replace(operation, formula=g * slip.formula))
        for slip in changed(operation.formula):
            yield Change("formula", f"{slip}", replace(operation, formula=slip.formula))

    def is_cotangent(self, part: Operation) -> bool:
        reads = set(values_in(part))
        return bool(reads) and reads <= self.backward

    def names(self, term: Operation) -> tuple[str, str]:
        return f"the term with {', '.join(sorted(map(self.code, set(values_in(term)))))}", "a term"

    def of_each_term(self, operation: Operation, known: list[MatrixSymbol]) -> Iterator[Change]:
        """What is done to all of an operation, or to one of its terms."""
        yield from self.of_operands(operation, known)
        for term in operation.terms if isinstance(operation, Sum) else ():
            for change in self.of_operands(term, known):
                yield replace(change, operation=with_term(operation, term, change.operation))

    def of_operands(self, operation: Operation, known: list[MatrixSymbol]) -> Iterator[Change]:
        """Another matrix of the same shape in the place of one, a transpose lost or added, factors exchanged."""
        for symbol in sorted(set(values_in(operation)), key=str):
            rows, columns = self.shapes[symbol]
            if rows == columns > 1:
                turned = Transposed(symbol.shape, NamedMatrix(symbol.shape, symbol))
                words = f"{self.code(symbol)} is transposed where it is not, or the other way round"
                yield Change("transposed factor", words, exchanged(operation, symbol, turned))
            for other in known:
                if other != symbol and self.shapes[other] == (rows, columns):
                    words = f"{self.code(other)} stands where {self.code(symbol)} belongs"
                    yield Change(
                        "another matrix", words, exchanged(operation, symbol, NamedMatrix(symbol.shape, other))
                    )
        for part in dict.fromkeys(parts_of(operation)):
            if isinstance(part, Product):
                yield from self.of_product(operation, part)
            if isinstance(part, Power) and part.exponent == -1:
                words = "what is inverted is taken as it is"
                yield Change("inverse left out", words, put(operation, part, part.of))

    def of_product(self, operation: Operation, product: Product) -> Iterator[Change]:
        """Of a product in an operation: two factors exchanged, one transposed, or one left out."""
        factors = product.factors
        for place, factor in enumerate(factors):
            others = (*factors[:place], *factors[place + 1 :])
            left = replace(product, factors=others) if len(others) > 1 else others[0]
            yield Change("a factor is left out", "a factor of a product is left out", put(operation, product, left))
            other = factor.of if isinstance(factor, Transposed) else Transposed(factor.shape[::-1], factor)
            turned = replace(product, factors=(*factors[:place], other, *factors[place + 1 :]))
            words = "a factor of a product is transposed where it is not, or the other way round"
            yield Change("transposed factor", words, put(operation, product, turned))
            if place:
                pair = (*factors[: place - 1], factor, factors[place - 1], *factors[place + 1 :])
                words = "two factors of a product are exchanged"
                yield Change("factors exchanged", words, put(operation, product, replace(product, factors=pair)))

    def of_whole(self, equation: Equation, operation: Operation) -> Iterator[Change]:
        """Of a result: transposed, or not added up."""
        rows, columns = self.shapes[equation.target]
        if rows == columns > 1:
            yield Change("transposed", "it is transposed", Transposed(operation.shape, operation))
        if isinstance(operation, Reduction) and operation.kind == "sum" and operation.axis == 1:
            through = equation.through
            if through is not None and isinstance(through.value, RowLogSumExp):
                yield Change("softmax entry by entry", "softmax's slope is taken entry by entry", operation.of)
            else:
                yield Change("a sum is left out", "the sum over the columns is left out", operation.of)


class ExpressionDoctor(Doctor):
    """Knows the right gradients of an expression, at these numbers or where nothing is special.

    Raises ValueError where they are not finite, or no such point is found.
    """

    def __init__(self, derivation: Derivation, inputs: SymbolValues | None = None) -> None:
        found = point_of(derivation, 127) if inputs is None else point_at(derivation, inputs)
        if found is None:
            where = "at no point that was tried; give one" if inputs is None else "not at these numbers"
            raise ValueError(f"diagnose: value and gradients are finite {where}")
        super().__init__(found, TorchPrinter(derivation.program))

    def header(self, name: str) -> str:
        return f"dL/d{name}"

    def shape(self, name: str) -> tuple[int, ...]:
        return self.point.right[self.point.gradients[name]].shape

    def elsewhere(self) -> tuple[SymbolValues, SymbolValues]:
        other = point_of(self.derivation, 128)
        return (self.point.inputs if other is None else other.inputs), {}

    def of_arrays(self, gradients: Mapping[str, ndarray]) -> Diagnosis:
        """Of gradients by the names of the symbols that they are in, computed in float64.

        Raises ValueError where an array has no shape that the gradient could have.
        """
        claims, notes, transposed = {}, [], set()
        for name, values in gradients.items():
            expected = self.shape(name)
            if values.shape == expected[::-1] != expected:
                transposed.add(name)
                notes.append(self.turned(name, values.shape))
                values = values.T
            elif values.shape != expected:
                raise ValueError(
                    f"{name}: expected a gradient of shape {dimensions(expected)}, got {dimensions(values.shape)}"
                )
            claims[name] = ClaimedGradient(values, numpy.zeros(expected))
        search = Search(self.point, claims, self.noise(float(numpy.finfo(numpy.float64).eps)))
        return self.diagnosed(search, dict.fromkeys(claims, 17), notes, transposed)


def point_at(derivation: Derivation, inputs: SymbolValues) -> Point | None:
    """The derivation there; None where something is not finite."""
    try:
        return Point(derivation, inputs, lambda right: ExpressionSlips(derivation, right))
    except ValueError:
        return None


def point_of(derivation: Derivation, seed: int) -> Point | None:
    """Where nothing is special: entries of any sign, positive ones, or squares that are positive definite."""
    draw, symbols = numpy.random.default_rng(seed), derivation.program.inputs
    sizes = sorted({size for symbol in symbols for size in symbol.shape if isinstance(size, Symbol)}, key=str)
    numbers = {
        size: DRAWN_SIZES[place % len(DRAWN_SIZES)] for place, size in enumerate(sizes)
    } | derivation.program.sizes
    for attempt in range(MOST_TRIED):
        inputs: SymbolValues = {}
        for symbol in symbols:
            rows, columns = (int(size.xreplace(numbers)) for size in symbol.shape)
            array = draw.uniform(-1 if attempt % 3 == 0 else 0.1, 1, (rows, columns))
            if rows == columns > 1 and attempt % 3 != 1:
                array = array @ array.T / rows + numpy.eye(rows) + array / 10
            inputs[symbol] = numpy.round((array + array.T) / 2 if isinstance(symbol, Symmetric) else array, 2)
        if (point := point_at(derivation, inputs)) is not None:
            return point
    return None
