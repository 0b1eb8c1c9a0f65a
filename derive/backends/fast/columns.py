"""The fast steps in features by batch: rows are features, n long, so that few features still make long rows.

A last row of ones makes one product of an affine map, and one of the gradients of its weights and biases; what goes
into a layer without biases has none.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from sympy import Expr, MatrixSymbol

from derive.backends import Kernel, word
from derive.backends.fast.rows import Each, Rows, for_one_row
from derive.backends.fast.steps import Block, Statement
from derive.operations import Quadratic, affine, difference, weight_gradient
from derive.programs import Derivation, Equation

LARGEST_OUTER = 4096  # entries of the one outer product that holds every gradient of one row


class Columns(Rows):
    """Loss and gradient of n rows out of N, put in place or added to what is there."""

    def blocks(self) -> list[Block]:
        """[W1 b1]^T, [W2 b2]^T, ... each one matrix, without b where a layer has none."""
        blocks = []
        for W, b in self.layers.items():
            inputs, outputs = self.width(W), self.outputs(W)
            if b is None:
                blocks.append(Block(self.name(W), (inputs, outputs), {self.name(W): ".T"}))
                continue
            views = {self.name(W): f"[:{inputs}].T", self.name(b): f"[{inputs}]"}
            blocks.append(Block(self.name(W) + self.name(b), (inputs + 1, outputs), views))
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


class FewRows(Columns):
    """A few samples, all activations in one buffer and all deltas in another: one product holds every gradient."""

    head = (
        "_make_few_rows(self, n: int)",
        "step(x, y, N)",
        "For a few rows: every gradient is in the product of two buffers.",
    )
    n = ", n"

    def __init__(self, derivation: Derivation) -> None:
        super().__init__(derivation)
        self.pairs = [operands for e in derivation.backward if (operands := weight_gradient(e.value))]
        self.inputs = sections((A, self.width(A) + one) for A, one in self.left_factors.items())
        self.deltas = sections((Delta, self.width(Delta)) for Delta, _ in reversed(self.pairs))
        self.size = stop(self.inputs), stop(self.deltas)
        self.joint = self.size[0] * self.size[1] <= LARGEST_OUTER

    def buffers(self, buffers: list[list[MatrixSymbol]], used: str) -> tuple[list[str], int]:
        made = [f"inputs = new_ones({self.size[0]}{self.n})", f"deltas = new_empty({self.size[1]}{self.n})"]
        start, end = self.inputs[self.X]
        made.append(f"{self.with_one(self.X)} = inputs[{start}:{end}]")
        for symbols in buffers:
            names, width = self.names(symbols, used), self.width(symbols[0])
            [A] = [symbol for symbol in symbols if symbol in self.inputs] or [None]
            Delta = next((symbol for symbol in symbols if symbol in self.deltas), None)  # of several, none is kept
            if A:
                start, end = self.inputs[A]
                made.append(f"{self.with_one(A)} = inputs[{start}:{end}]")
                names = " = ".join(name for name in names.split(" = ") if name not in ("", self.with_one(A)))
                made += [f"{names} = {self.with_one(A)}[:{width}]"] if names else []
            elif Delta:
                start, end = self.deltas[Delta]
                made.append(f"{names} = deltas[{start}:{end}]")
            else:
                made.append(f"{names} = new_empty({width}{self.n})")
        return made, 0

    def places(self) -> list[str]:
        """Where each entry of the flat gradient is in the product."""
        lines = []
        for block, (Delta, A) in zip(self.blocks(), reversed(self.pairs), strict=True):
            (top, bottom), (left, right) = self.inputs[A], self.deltas[Delta]
            lines.append(f'_blocks(places)["{block.name}"].copy_(indices[{top}:{bottom}, {left}:{right}])')
        return lines if self.joint else []

    def operation(self, equation: Equation) -> Iterable[Statement]:
        yield from super().operation(equation)
        if self.common_slope and equation == self.derivation.backward[0]:
            yield self.all_slopes(self.common_slope)

    @cached_property
    def common_slope(self) -> Kernel | None:
        """The pullback of all hidden layers, where that is one that torch finds from their outputs."""
        kernels = {word(self.activations.get(A, "")).pullback for A in self.inputs if A != self.X}
        kernel = kernels.pop() if len(kernels) == 1 else None
        return kernel if kernel and kernel.at_value else None

    def all_slopes(self, kernel: Kernel) -> Statement:
        """The slopes at all inputs at once: the pullback of a cotangent of one."""
        self.view("one", "new_ones(())")
        self.view("slopes", "new_empty(inputs.shape)")
        return Statement(self.kernel(kernel.code("slopes", g="one", a="inputs")), tuple(self.inputs))

    def pullback(self, equation: Equation, slope: Kernel) -> Statement:
        """As elsewhere, but with the slopes that all hidden layers have computed at once."""
        through, g = equation.through, self.cotangent(equation)
        if not self.common_slope or through is None or through.target not in self.inputs:
            return super().pullback(equation, slope)
        A = through.target
        start, end = self.inputs[A]
        slopes = self.view(f"slope_{self.name(A)}", f"slopes[{start}:{end - self.left_factors[A]}]")
        return Statement(f"{self.name(g)}.mul_({slopes})", (g,), (equation.target,), (g,))

    def weight_gradient(self, W: MatrixSymbol, Delta: MatrixSymbol, A: MatrixSymbol) -> Iterable[Statement]:
        return ()

    def epilogue(self) -> Iterable[Statement]:
        self.view("outer", f"new_empty({self.size[0]}, {self.size[1]})")
        self.view("indices", "torch.arange(outer.numel(), device=outer.device).view_as(outer)")
        self.view("places", "indices.new_empty(flat_gradient.shape)")
        yield Statement(self.outer_product(), tuple(symbol for pair in self.pairs for symbol in pair))
        self.view("outer_flat", "outer.view(-1)")
        yield Statement("torch.index_select(outer_flat, 0, places, out=flat_gradient)")

    def outer_product(self) -> str:
        return f"torch.mm(inputs, {self.transposed('deltas')}, out=outer)"

    def add_to_loss(self, text: str) -> str:
        return f"loss.copy_({text})"

    def squares(self, quadratic: Quadratic) -> Statement:
        added = super().squares(quadratic)
        return Statement(added.code.replace(", alpha", ", beta=0, alpha"), added.reads)


@dataclass(frozen=True)
class Fused:
    """scale (prediction - y), where the prediction is an affine map of the input."""

    prediction: MatrixSymbol
    scale: Expr
    input: MatrixSymbol
    weight: MatrixSymbol


class OneRow(FewRows):
    """One sample: vectors instead of matrices."""

    head = "_make_one_row(self)", "step(x, y)", "For one row: vectors instead of matrices."
    n = ""

    def __init__(self, derivation: Derivation) -> None:
        super().__init__(for_one_row(derivation))

    def prologue(self) -> Iterable[Statement]:
        inputs = self.width(self.X)
        row = self.view("x_row", f"{self.with_one(self.X)}[:{inputs}].view(1, {inputs})")
        yield Statement(f"{row}.copy_(x)")
        if not self.fused or self.width(self.Y) != 1:
            yield Statement("y = y.T" if self.fused else "y = y.view(-1)")

    @cached_property
    def fused(self) -> Fused | None:
        """Where one operation computes both the prediction and the error."""
        error = self.derivation.backward[0]
        found = difference(error.value) if self.quadratic else None
        if found is None or found[2] != self.Y:
            return None
        scale, Z, _ = found
        operands = affine(next(e.value for e in self.program.equations if e.target == Z))
        return Fused(Z, scale, *operands[:2]) if operands and self.dies(Z, error) else None

    def affine(self, Z: MatrixSymbol, A: MatrixSymbol, W: MatrixSymbol, b: MatrixSymbol | None) -> Iterable[Statement]:
        if self.fused is None or self.fused.prediction != Z:
            block = self.transposed(self.block_of(W)[0])
            yield Statement(f"torch.mv({block}, {self.with_one(A)}, out={self.name(Z)})", (A,), (Z,))

    def entrywise(self, equation: Equation) -> Iterable[Statement]:
        if self.fused is None or self.fused.prediction not in equation.uses:
            return super().entrywise(equation)
        A, W, c = self.fused.input, self.fused.weight, self.printer.text(self.fused.scale)
        block, out = self.transposed(self.block_of(W)[0]), self.column(self.name(equation.target))
        code = f"torch.addmm(y, {block}, {self.column(self.with_one(A))}, beta=-{c}, alpha={c}, out={out})"
        return [Statement(code, (A,), (equation.target,))]

    def column(self, name: str) -> str:
        return self.view(f"{name}_column", f"{name}.view(-1, 1)")

    def backward_product(self, target: MatrixSymbol, Delta: MatrixSymbol, W: MatrixSymbol) -> Iterable[Statement]:
        weights, delta = self.weights(W), self.name(Delta)
        if self.width(Delta) == 1:
            column = self.view(f"{self.name(W)}_column", f"{weights}.view(-1)")
            code = f"torch.mul({column}, {delta}, out={self.name(target)})"
        else:
            code = f"torch.mv({weights}, {delta}, out={self.name(target)})"
        yield Statement(code, (Delta,), (target,))

    def weight_gradient(self, W: MatrixSymbol, Delta: MatrixSymbol, A: MatrixSymbol) -> Iterable[Statement]:
        if not self.joint:
            column = self.column(self.with_one(A))
            yield Statement(f"torch.mul({column}, {self.name(Delta)}, out={self.gradient_of(W)})", (Delta, A))

    def epilogue(self) -> Iterable[Statement]:
        return super().epilogue() if self.joint else ()

    def outer_product(self) -> str:
        return f"torch.mul({self.column('inputs')}, deltas, out=outer)"

    def squares(self, quadratic: Quadratic) -> Statement:
        if self.width(quadratic.error) > 1:
            return super().squares(quadratic)
        error, ratio = self.name(quadratic.error), self.printer.text(quadratic.ratio)
        self.view("loss_1", "loss.view(1)")
        self.view("zero", "loss.new_zeros(())")
        return Statement(f"torch.addcmul(zero, {error}, {error}, value={ratio}, out=loss_1)", (quadratic.error,))


def sections(sizes: Iterable[tuple[MatrixSymbol, int]]) -> dict[MatrixSymbol, tuple[int, int]]:
    """Where each lies in one long vector."""
    found, start = {}, 0
    for symbol, size in sizes:
        found[symbol] = (start, start + size)
        start += size
    return found


def stop(sections: dict[MatrixSymbol, tuple[int, int]]) -> int:
    return max((end for _, end in sections.values()), default=0)
