"""The fast steps in features by batch: rows are features, n long, so that few features still make long rows.

A last row of ones makes one product of an affine map, and one of the gradients of its weights and biases; what goes
into a layer without biases has none.
"""

from collections.abc import Iterable
from functools import cached_property

from sympy import MatrixSymbol

from derive.backends.fast.rows import Each, Rows
from derive.backends.fast.steps import FlatBlock, Statement
from derive.operations import affine


class Columns(Rows):
    """Loss and gradient of n rows out of N, put in place or added to what is there."""

    def blocks(self) -> list[FlatBlock]:
        """[W1 b1]^T, [W2 b2]^T, ... each one matrix, without b where a layer has none."""
        blocks = []
        for W, b in self.layers.items():
            inputs, outputs = self.width(W), self.outputs(W)
            if b is None:
                blocks.append(FlatBlock(self.name(W), (inputs, outputs), {self.name(W): ".T"}))
                continue
            views = {self.name(W): f"[:{inputs}].T", self.name(b): f"[{inputs}]"}
            blocks.append(FlatBlock(self.name(W) + self.name(b), (inputs + 1, outputs), views))
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

    def buffers(self, buffers: list[list[MatrixSymbol]], used: str) -> tuple[list[str], int]:
        entries = self.width(self.X) + self.left_factors[self.X]
        made = [f"{self.with_one(self.X)} = new_ones({entries}, n)"]
        for symbols in buffers:
            ones = [self.with_one(symbol) for symbol in symbols if self.left_factors.get(symbol)]
            width, names = self.width(symbols[0]), self.names(symbols, used)
            if ones:
                made.append(f"{' = '.join(ones)} = new_ones({width + 1}, n)")
                made += [f"{names} = {ones[0]}[:{width}]"] if names else []
            else:
                made.append(f"{names} = new_empty({width}, n)")
            entries += width + bool(ones)
        return made, entries

    def prologue(self) -> Iterable[Statement]:
        rows = self.view("x_rows", f"{self.with_one(self.X)}[:{self.width(self.X)}].T")
        yield Statement(f"{rows}.copy_(x)")
        yield Statement("y = y.T")

    def affine(self, Z: MatrixSymbol, A: MatrixSymbol, W: MatrixSymbol, b: MatrixSymbol | None) -> Iterable[Statement]:
        block = self.transposed(self.block_of(W)[0])
        yield Statement(f"torch.mm({block}, {self.with_one(A)}, out={self.name(Z)})", (A,), (Z,))

    def weights(self, W: MatrixSymbol) -> str:
        """W^T, which is how a block holds it."""
        block, cut = self.block_of(W)
        return block if cut == ".T" else self.view(f"{self.name(W)}_T", f"{block}{cut.removesuffix('.T')}")

    def backward_product(self, target: MatrixSymbol, Delta: MatrixSymbol, W: MatrixSymbol) -> Iterable[Statement]:
        code = f"torch.mm({self.weights(W)}, {self.name(Delta)}, out={self.name(target)})"
        yield Statement(code, (Delta,), (target,))

    def weight_gradient(self, W: MatrixSymbol, Delta: MatrixSymbol, A: MatrixSymbol) -> Iterable[Statement]:
        """The gradient of [W b] in one product; that of b, where there is one, is its last row."""
        delta = self.transposed(self.name(Delta))
        yield Statement(f"{self.gradient_of(W)}.addmm_({self.with_one(A)}, {delta}, beta=beta)", (Delta, A))

    def bias_gradient(self, b: MatrixSymbol, Delta: MatrixSymbol) -> Iterable[Statement]:
        return ()


class EachOfColumns(Each, Columns):
    def weight_gradient(self, W: MatrixSymbol, Delta: MatrixSymbol, A: MatrixSymbol) -> Iterable[Statement]:
        """Of [W b], whose last row, where there is b, is one times Delta."""
        column = self.view(f"{self.with_one(A)}_column", f"{self.with_one(A)}[:, None]")
        block = f'blocks["{self.block_of(W)[0]}"]'
        yield Statement(f"torch.mul({column}, {self.name(Delta)}, out={block})", (Delta, A))
