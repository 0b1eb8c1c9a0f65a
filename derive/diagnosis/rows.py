"""Slips with softmax: its slope taken entry by entry, its sum of exp over the other axis."""

from collections.abc import Iterator
from dataclasses import replace

from sympy import Integer, MatrixSymbol, Symbol, diff, exp

from derive.diagnosis.changes import Change
from derive.operations import Entrywise, NamedMatrix, Operation, Reduction, Repeated
from derive.programs import Derivation, entry, shifts

Shapes = dict[MatrixSymbol, tuple[int, ...]]
REST = Symbol("rest", positive=True)  # what the other entries of a row add to the sum of exp


def of_softmax(
    derivation: Derivation, operations: list[Operation], shapes: Shapes, target: MatrixSymbol, operation: Operation
) -> Iterator[Change]:
    """Where an equation computes what has the shape of what a softmax is of; `operations` are those of all."""
    for equation, row_sum in zip(derivation.equations, operations, strict=True):
        match row_sum:
            case Reduction(kind="logsumexp", of=NamedMatrix(symbol=shifted)) if shapes[shifted] == shapes[target]:
                s, m, g = entry(shifted), entry(equation.target), entry(target)
                column = Repeated(operation.shape, NamedMatrix(row_sum.shape, equation.target))
                reading = (g, operation), (s, row_sum.of), (m, column)
                alone = diff(exp(s) / (exp(s) + REST), s).xreplace({REST: exp(m) - exp(s)})
                words = "p*(1 - p) is multiplied, as if softmax worked entry by entry"
                made = Entrywise(operation.shape, g * alone, reading)
                yield Change("softmax entry by entry", words, made)
                if isinstance(operation, Entrywise) and column in dict(operation.operands).values():
                    whole = NamedMatrix(operation.shape, shifts(derivation.program.equations).get(shifted, shifted))
                    row = Repeated(operation.shape, Reduction((Integer(1), operation.shape[1]), "logsumexp", 0, whole))
                    instead = {column: row, NamedMatrix(operation.shape, shifted): whole}
                    read = tuple((u, instead.get(part, part)) for u, part in operation.operands)
                    words = "the sum of exp in softmax is over each column, where it is over each row"
                    yield Change("softmax over columns", words, replace(operation, operands=read))
