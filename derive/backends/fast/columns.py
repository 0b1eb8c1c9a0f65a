"""The fast steps in features by batch: rows are features, n long, so that few features still make long rows.

A last row of ones makes one product of an affine map, and one of the gradients of its weights and biases; what goes
into a layer without biases has none.
"""

from collections.abc import Iterable
from functools import cached_property

from sympy import MatrixSymbol

from derive.backends import Attribute, Index, Literal, Name, Range, Source, call, method
from derive.backends.fast.rows import Each, Rows, accumulated, each_block
from derive.backends.fast.steps import Assignment, FlatBlock, Statement
from derive.operations import affine


class Columns(Rows):
    """Loss and gradient of n rows out of N, put in place or added to what is there."""

    def blocks(self) -> list[FlatBlock]:
        """[W1 b1]^T, [W2 b2]^T, ... each one matrix, without b where a layer has none."""
        blocks = []
        for W, b in self.layers.items():
            inputs, outputs = self.width(W), self.outputs(W)
            parameters = tuple(map(self.name, (W,) if b is None else (W, b)))
            shape = (inputs + len(parameters) - 1, outputs)
            blocks.append(FlatBlock("".join(parameters), shape, parameters, transposed=True))
        return blocks

    def outputs(self, W: MatrixSymbol) -> int:
        return int(W.shape[0].xreplace(self.program.sizes))

    def with_one(self, A: MatrixSymbol) -> str:
        """What a layer multiplies: the values and a row of ones, or where it has no biases the values alone."""
        return f"{self.name(A)}_one" if self.left_factors[A] else "x_columns" if A == self.X else self.name(A)

    @cached_property
    def left_factors(self) -> dict[MatrixSymbol, int]:
        """What the affine maps multiply, and whether a one comes after it, which biases are multiplied by."""
        found = [affine(equation.value) for equation in self.program.equations]
        return {operands[0]: int(operands[2] is not None) for operands in found if operands}

    def buffers(self, buffers: list[list[MatrixSymbol]], used: frozenset[str]) -> tuple[list[Assignment], int]:
        def new(kind: str, targets: Iterable[str], height: int) -> Assignment:
            return Assignment(tuple(targets), call(kind, Literal(str(height)), Name("n")))

        entries = self.width(self.X) + self.left_factors[self.X]
        made = [new("new_ones", [self.with_one(self.X)], entries)]
        for symbols in buffers:
            ones = [self.with_one(symbol) for symbol in symbols if self.left_factors.get(symbol)]
            width, names = self.width(symbols[0]), self.names(symbols, used)
            if ones:
                made.append(new("new_ones", ones, width + 1))
                made += [Assignment(names, first_rows(ones[0], width))] if names else []
            else:
                made.append(new("new_empty", names, width))
            entries += width + bool(ones)
        return made, entries

    def prologue(self) -> Iterable[Statement]:
        rows = self.view("x_rows", Attribute(first_rows(self.with_one(self.X), self.width(self.X)), "T"))
        yield Statement(method(rows, "copy_", Name("x")))
        yield Statement(Attribute(Name("y"), "T"), targets=("y",))

    def affine(self, Z: MatrixSymbol, A: MatrixSymbol, W: MatrixSymbol, b: MatrixSymbol | None) -> Iterable[Statement]:
        block = self.transposed(self.block_of(W)[0])
        yield Statement(call("torch.mm", block, Name(self.with_one(A)), out=self.source(Z)), (A,), (Z,))

    def weights(self, W: MatrixSymbol) -> Source:
        """W^T, which is how a block holds it."""
        name, block = self.block_of(W)
        if len(block.parameters) == 1:
            return Name(name)
        return self.view(f"{self.name(W)}_T", first_rows(name, self.width(W)))

    def backward_product(self, target: MatrixSymbol, Delta: MatrixSymbol, W: MatrixSymbol) -> Iterable[Statement]:
        code = call("torch.mm", self.weights(W), self.source(Delta), out=self.source(target))
        yield Statement(code, (Delta,), (target,))

    def weight_gradient(self, W: MatrixSymbol, Delta: MatrixSymbol, A: MatrixSymbol) -> Iterable[Statement]:
        """The gradient of [W b] in one product; that of b, where there is one, is its last row."""
        delta = self.transposed(Delta)
        yield Statement(accumulated(self.gradient_of(W), Name(self.with_one(A)), delta), (Delta, A))

    def bias_gradient(self, b: MatrixSymbol, Delta: MatrixSymbol) -> Iterable[Statement]:
        return ()


class EachOfColumns(Each, Columns):
    def weight_gradient(self, W: MatrixSymbol, Delta: MatrixSymbol, A: MatrixSymbol) -> Iterable[Statement]:
        """Of [W b], whose last row, where there is b, is one times Delta."""
        A_one = self.with_one(A)
        column = self.view(f"{A_one}_column", Index(Name(A_one), (Range(), Literal("None"))))
        block = each_block(self.block_of(W)[0])
        yield Statement(call("torch.mul", column, self.source(Delta), out=block), (Delta, A))


def first_rows(name: str, count: int) -> Source:
    return Index(Name(name), (Range(stop=Literal(str(count))),))
