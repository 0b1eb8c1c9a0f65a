"""Slips with what an equation reads and adds: in the forward pass, in products, in sums over the points."""

from collections.abc import Iterator
from dataclasses import replace

from sympy import Expr, Integer, MatrixSymbol, diff

from derive.diagnosis.changes import Change, exchanged, terms_of, values_in, with_term
from derive.diagnosis.slopes import USUAL_ACTIVATIONS
from derive.diagnosis.surroundings import Surroundings
from derive.formulas import FUNCTIONS, w, z
from derive.operations import Affine, Entrywise, NamedMatrix, Operation, Product, Repeated, Slice, Sum, Transposed
from derive.problems import N
from derive.programs import SymbolKind, entry


class Passes(Surroundings):
    """The slips with operands."""

    def of_rows(self, operation: Operation, target: MatrixSymbol) -> Iterator[Change]:
        """Of a sum over the rows, or of a product."""
        if target not in self.gradients:
            return
        rows, columns = self.shapes[target]
        if rows == columns > 1:
            yield Change("transposed", "it is transposed", Transposed(operation.shape, operation))
        for which, rows_of in (("last", (N - 1, N)), ("first", (Integer(0), Integer(1)))):
            cut = operation
            for symbol in set(values_in(operation)) & {*self.cotangents, *self.data}:
                row, columns = (Integer(1), symbol.shape[1]), (Integer(0), symbol.shape[1])
                cut = exchanged(cut, symbol, Slice(row, NamedMatrix(symbol.shape, symbol), rows_of, columns))
            words = f"only the {which} point is in it: the points are not added up"
            yield Change(f"{which} row only", words, cut)

    def names(self, term: Operation) -> tuple[str, str]:
        reads = set(values_in(term))
        if reads <= self.weights:
            return "the penalty", "the penalty"
        return f"the term with {', '.join(sorted(map(self.code, reads)))}", "a term"

    def of_penalty(self, target: MatrixSymbol, operation: Operation) -> Iterator[Change]:
        """A penalty of biases, where it is of weights alone."""
        for b in self.program.biases if self.network.penalty else ():
            if self.derivation.gradients[b] == target:
                slope = diff(self.network.weight_penalty(), w).xreplace({w: entry(b)})
                penalty = Entrywise(operation.shape, slope, ((entry(b), NamedMatrix(operation.shape, b)),))
                words = f"the penalty of {self.code(b)} is added, and it is of weights alone"
                yield Change("a penalty of biases", words, Sum(operation.shape, (operation, penalty)))

    def factors(self) -> Iterator[tuple[Expr, str]]:
        C, divided, multiplied = Integer(self.network.layers[-1]), "it is divided by", "it is multiplied by"
        for size, words in ((N, "the number of points"), (C, "the number of outputs")):
            yield from ((1 / size, f"{divided} {words}"), (size, f"{multiplied} {words}"))
        both = "the numbers of points and of outputs"
        yield from ((1 / (N * C), f"{divided} {both}"), (N * C, f"{multiplied} {both}"))

    def of_operands(self, operation: Operation, known: set[MatrixSymbol]) -> Iterator[Change]:
        """Another matrix of the same shape in the place of one."""
        for symbol in sorted(set(values_in(operation)), key=str):
            for other, kind in self.others(symbol, known):
                words = f"{self.spelled(other)} stands where {self.code(symbol)} belongs"
                yield Change(kind, words, exchanged(operation, symbol, other))
                for term in terms_of(operation)[1:]:
                    if symbol in values_in(term):
                        yield Change(kind, words, with_term(operation, term, exchanged(term, symbol, other)))

    def spelled(self, other: Operation) -> str:
        return self.code(next(values_in(other))) + (".T" if isinstance(other, Transposed) else "")

    def others(self, symbol: MatrixSymbol, known: set[MatrixSymbol]) -> Iterator[tuple[Operation, str]]:
        if symbol in self.weights:
            rows, columns = self.shapes[symbol]
            if rows == columns > 1:
                yield Transposed(symbol.shape, NamedMatrix(symbol.shape, symbol)), "W transposed"
            for other in self.like(symbol, self.program.weights):
                yield NamedMatrix(symbol.shape, other), "W of another layer"
            for other in self.program.weights:
                if other != symbol and self.shapes[other] == (columns, rows) != (rows, columns):
                    yield Transposed(symbol.shape, NamedMatrix(symbol.shape, other)), "W of another layer, transposed"
        elif symbol in self.cotangents:
            for other in self.like(symbol, [s for s in self.cotangents if s in known]):
                same = self.layer(other) == self.layer(symbol)
                yield NamedMatrix(symbol.shape, other), "slope left out" if same else "error of another layer"
        elif symbol in self.data:
            for other in self.like(symbol, self.data):
                same = self.layer(other) == self.layer(symbol)
                kind = "z for a, or a for z" if same and self.layer(symbol) else "activation of another layer"
                yield NamedMatrix(symbol.shape, other), kind

    def of_forward(self, index: int, operation: Operation) -> Iterator[Change]:
        """In the forward pass: another bias, weight, input or activation, or none."""
        target = self.equations[index].target
        known = {*self.program.inputs[:1], *(e.target for e in self.equations[:index])}
        if isinstance(operation, Entrywise) and self.kind(target) is SymbolKind.ACTIVATION:
            (pre,) = set(values_in(operation))
            name = self.network.activation_of(self.layer(target))
            yield Change(
                "forward: no activation", f"the forward pass leaves {name} out", NamedMatrix(operation.shape, pre)
            )
            for other in USUAL_ACTIVATIONS:
                if other != name:
                    formula = FUNCTIONS[other].xreplace({z: entry(pre)})
                    words = f"the forward pass has {other} in the place of {name}"
                    yield Change("forward: another activation", words, replace(operation, formula=formula))
            return
        for part in terms_of(operation):
            match part:
                case Affine(input=X, weight=W, bias=b):
                    biases = (Repeated(part.shape, b),)
                    changes = [*self.of_bias(part, X, W, b), *self.of_map(part, X, W, biases, known)]
                case Product(factors=(NamedMatrix() as X, Transposed(of=NamedMatrix() as W))):
                    changes = [*self.of_map(part, X, W, (), known)]
                case _:
                    continue
            for change in changes:
                yield replace(change, operation=with_term(operation, part, change.operation))

    def of_bias(self, affine: Affine, X: NamedMatrix, W: NamedMatrix, b: NamedMatrix) -> Iterator[Change]:
        """Of an affine map: no bias, or another layer's."""
        product = Product(affine.shape, (X, Transposed((W.shape[1], W.shape[0]), W)))
        yield Change("forward: bias left out", f"the forward pass leaves {self.code(b.symbol)} out", product)
        for other in self.like(b.symbol, self.program.biases):
            words = f"the forward pass adds {self.code(other)} where {self.code(b.symbol)} belongs"
            yield Change("forward: bias of another layer", words, replace(affine, bias=NamedMatrix(b.shape, other)))

    def of_map(
        self, linear: Operation, X: NamedMatrix, W: NamedMatrix, biases: tuple[Operation, ...], known: set[MatrixSymbol]
    ) -> Iterator[Change]:
        """Of a layer's map of X: other weights, or another input."""
        product = Product(linear.shape, (X, Transposed((W.shape[1], W.shape[0]), W)))
        plain = Sum(linear.shape, (product, *biases)) if biases else product
        for weight, kind in self.others(W.symbol, set()):
            words = f"the forward pass has {self.spelled(weight)} where {self.code(W.symbol)} belongs"
            yield Change(f"forward: {kind}", words, exchanged(plain, W.symbol, weight))
        for other in self.like(X.symbol, [s for s in self.data if s in known]):
            words = f"the forward pass has {self.code(other)} where {self.code(X.symbol)} belongs"
            yield Change(
                "forward: input of another layer", words, exchanged(plain, X.symbol, NamedMatrix(X.shape, other))
            )
