"""Slips: what people do to one equation of a derivation and mean the equation itself.

Each is another operation in the place of the right one, made of the right one: nothing here knows a gradient.
"""

from collections import Counter
from collections.abc import Iterator

from sympy import MatrixSymbol

from derive.diagnosis.changes import Change, Slip, of_terms, scalings
from derive.diagnosis.passes import Passes
from derive.diagnosis.slopes import Slopes
from derive.operations import Operation, Reduction
from derive.problems import N


class Slips(Slopes, Passes):
    """The slips that can be made in a network's derivation, where its symbols have the shapes of these values."""

    def all(self) -> list[Slip]:
        """Slips in one equation, and after them those that are made in every layer in the same way."""
        found: dict[tuple[str, str, int], dict[int, Change]] = {}
        single = []
        for index, equation in enumerate(self.equations):
            seen: Counter[str] = Counter()
            for change in self.of(index, self.operations[index]):
                single.append(Slip(change.kind, change.words, ((index, change.operation),)))
                for family in self.families(equation.target):
                    found.setdefault((family, change.kind, seen[change.kind]), {})[index] = change
                seen[change.kind] += 1
        everywhere = [
            Slip(
                kind,
                f"{changes[min(changes)].words}, and likewise in every layer",
                tuple((index, c.operation) for index, c in changes.items()),
            )
            for (_, kind, _), changes in found.items()
            if len(changes) > 1
        ]
        return [*single, *everywhere, *self.of_activations()]

    def families(self, target: MatrixSymbol) -> tuple[str, ...]:
        """What people write by one line of a loop over the layers, or by one more."""
        if target in self.gradients:
            return "gradients", "weights" if target in self.of_weights else "biases"
        return (self.program.notation.moved(target.name, -self.layer(target)),)

    def of(self, index: int, operation: Operation) -> Iterator[Change]:
        """What people do to this equation."""
        target = self.equations[index].target
        known = {equation.target for equation in self.equations[:index]}
        if target in self.forward:
            yield from self.of_forward(index, operation)
            return
        if target not in self.gradients and target not in self.cotangents:
            return
        if isinstance(operation, Reduction) and operation.axis == 1:
            yield Change("softmax entry by entry", "softmax's slope is taken entry by entry", operation.of)
            return
        yield from self.of_slope(index, operation)
        yield from of_terms(operation, self.names, (N,))
        yield from scalings(operation, self.factors())
        yield from self.of_operands(operation, known)
        yield from self.of_rows(operation, target)
        yield from self.of_penalty(target, operation)
