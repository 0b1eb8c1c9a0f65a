"""From the equations of a derivation to operations on buffers that are made once.

The operations are those of the equations, in their order. What is decided here: the layout (features by batch where
layers are narrow, so that rows are long; batch by features where they are wide), which results share a buffer (one is
no longer needed when the other begins), and what torch can do in one call.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import permutations
from math import prod

from sympy import (
    Expr,
    Integer,
    MatAdd,
    MatMul,
    MatrixExpr,
    MatrixSymbol,
    Mul,
    OneMatrix,
    Poly,
    Symbol,
    Transpose,
    cancel,
    diff,
    expand,
    factor,
    factor_list,
)

from derive.functions import FUNCTIONS, z
from derive.parts import in_parts
from derive.program import Derivation, Elementwise, Equation, entry
from derive.tangent import tangents
from derive.to_torch import IN_PLACE, INTO, PULLBACKS, TorchPrinter, is_number

WIDE = 16  # batch by features where widths are multiples of this
FEW = 128  # rows whose gradients come from one product, if that is small
FLAT = {
    "": "_parameter_blocks",
    "grad_": "_gradient_blocks",
    "dot_": "_direction_blocks",
    "dot_grad_": "_product_blocks",
}
LARGEST_OUTER = 4096  # entries of the one outer product that holds every gradient of one row


@dataclass(frozen=True)
class Block:
    """Part of a flat vector, the code that cuts it out, and its views: a parameter's name and where it is in it."""

    name: str
    code: str
    views: dict[str, str]


@dataclass(frozen=True)
class Step:
    """A function for n rows: `setup` makes buffers of so many `entries` a row once, `lines` run at each call."""

    maker: str
    signature: str
    meaning: str
    setup: list[str]
    lines: list[str]
    entries: int


@dataclass(frozen=True)
class Schedule:
    """How a flat vector is cut, and the steps."""

    layout: str
    blocks_meaning: str
    blocks: list[Block]
    steps: list[Step]
    made: list[str]
    call: list[str]

    def entries(self, maker: str) -> int:
        """How many entries of buffers a row takes in a step."""
        return next(step.entries for step in self.steps if step.maker.startswith(maker))


@dataclass(frozen=True)
class Statement:
    """A line of code: the symbols it reads, the one it writes, and the one whose buffer that may take over."""

    code: str
    reads: tuple[MatrixSymbol, ...]
    writes: MatrixSymbol | None = None
    over: MatrixSymbol | None = None


def schedule(derivation: Derivation) -> Schedule:
    """The steps of a derivation, in the layout that suits its widths."""
    program = derivation.program
    inputs, *widths = (program.sizes[s.shape[1]] for s in [*program.inputs[:1], *program.parameters[1::2]])
    wide = all(width % WIDE == 0 for width in widths[:-1] or [inputs])
    if wide or not all(map(is_plain, derivation.equations)):
        steps = [kind(derivation).step() for kind in (Rows, EachOfRows, HessianOfRows)]
        blocks, call = Rows(derivation).blocks(), ["self._run(x, y, N, 0)"]
        return Schedule("batch by features", "W and b of each layer", blocks, steps, [], call)
    kinds = [OneRow, FewRows, Columns, EachOfColumns, HessianOfColumns]
    made = ["self._one_row = self._make_one_row()"]
    call = ["if N == 1:", "    self._one_row(x, y)"]
    if FewRows(derivation).joint:
        call += [f"elif 0 < N <= {FEW}:", "    self._step(self._make_few_rows, N)(x, y, N)"]
    else:
        kinds.remove(FewRows)
    call += ["else:", "    self._run(x, y, N, 0)"]
    layout, meaning = "features by batch, a row of ones at the end", "[W b] of each layer"
    steps = [kind(derivation).step() for kind in kinds]
    return Schedule(layout, meaning, Columns(derivation).blocks(), steps, made, call)


def is_plain(equation: Equation) -> bool:
    """Whether each row of the target depends on one row of the operands, or all rows are summed."""
    value = equation.value
    if isinstance(value, Elementwise):
        return all(isinstance(operand, MatrixSymbol) for operand in value.operands.values())
    return any(match(value) for match in (affine, backward_product, weight_gradient, bias_gradient, products, total))


def affine(value: MatrixExpr) -> tuple[MatrixSymbol, ...] | None:
    """A, W, b of A W^T + 1 b."""
    if isinstance(value, MatAdd) and len(value.args) == 2:
        product, broadcast = sorted(value.args, key=lambda term: term.has(OneMatrix))
        A, W = product.args if isinstance(product, MatMul) and len(product.args) == 2 else (None, None)
        if isinstance(A, MatrixSymbol) and isinstance(W, Transpose) and isinstance(broadcast, MatMul):
            return A, W.arg, broadcast.args[1]
    return None


def backward_product(value: MatrixExpr) -> tuple[MatrixSymbol, ...] | None:
    """Delta, W of Delta W."""
    if isinstance(value, MatMul) and len(value.args) == 2 and all(isinstance(f, MatrixSymbol) for f in value.args):
        return value.args
    return None


def weight_gradient(value: MatrixExpr) -> tuple[MatrixSymbol, ...] | None:
    """Delta, A of Delta^T A."""
    if isinstance(value, MatMul) and len(value.args) == 2:
        Delta, A = value.args
        if isinstance(Delta, Transpose) and isinstance(Delta.arg, MatrixSymbol) and isinstance(A, MatrixSymbol):
            return Delta.arg, A
    return None


def bias_gradient(value: MatrixExpr) -> tuple[MatrixSymbol, ...] | None:
    """Delta of 1^T Delta."""
    if isinstance(value, MatMul) and len(value.args) == 2:
        ones, Delta = value.args
        if isinstance(ones, OneMatrix) and isinstance(Delta, MatrixSymbol):
            return (Delta,)
    return None


def products(value: MatrixExpr) -> list[tuple[MatrixExpr, MatrixExpr]] | None:
    """The factors of each term of a sum of products of two."""
    terms = [term.args for term in MatAdd.make_args(value)]
    plain = (MatrixSymbol, Transpose, OneMatrix)
    if isinstance(value, MatAdd) and all(len(t) == 2 and all(isinstance(f, plain) for f in t) for t in terms):
        return terms
    return None


def total(value: MatrixExpr) -> tuple[MatrixSymbol, ...] | None:
    """E of c 1^T E 1."""
    if isinstance(value, MatMul):
        left, *middle, right = value.as_coeff_matrices()[1]
        if isinstance(left, OneMatrix) and isinstance(right, OneMatrix) and len(middle) == 1:
            return tuple(middle)
    return None


class Rows:
    """Batch by features: rows are samples, as in the equations; buffers of n rows."""

    head = (
        "_make_rows(self, n: int)",
        "step(x, y, N, beta)",
        "For n of N rows: puts (beta 0) or adds (beta 1) their part.",
    )

    gradient_prefix = "grad_"

    def __init__(self, derivation: Derivation) -> None:
        self.program, self.activations = derivation.program, activations(derivation)
        self.derivation = self.split(derivation)
        self.program = self.derivation.program
        self.X, self.Y = self.program.inputs[:2]
        self.layers = list(zip(self.program.parameters[::2], self.program.parameters[1::2], strict=True))
        self.gradients = {gradient: parameter for parameter, gradient in derivation.gradients.items()}
        self.printer = TorchPrinter(self.program)
        self.views: dict[str, str] = {}

    def split(self, derivation: Derivation) -> Derivation:
        """Formulas that torch has no kernel for in parts that fit on a line."""
        taken = {equation.target.name for equation in derivation.equations}

        def parts(equations: tuple[Equation, ...]) -> tuple[Equation, ...]:
            return tuple(
                part
                for equation in equations
                for part in (
                    [equation]
                    if self.slope(equation) or self.activations.get(equation.target) in INTO
                    else in_parts(equation, derivation.program.notation, taken)
                )
            )

        program = replace(derivation.program, equations=parts(derivation.program.equations))
        return replace(derivation, program=program, backward=parts(derivation.backward))

    # what is written where

    def blocks(self) -> list[Block]:
        """W1, b1, W2, ... one after the other."""
        blocks, start = [], 0
        for symbol in self.program.parameters:
            name, shape = self.name(symbol), tuple(map(int, self.program.shape(symbol)))
            stop = start + prod(shape)
            view = f".unflatten(0, {shape})" if len(shape) == 2 else ""
            blocks.append(Block(name, f"flat[{start}:{stop}]{view}", {name: ""}))
            start = stop
        return blocks

    def name(self, symbol: MatrixSymbol) -> str:
        return self.program.notation.torch(symbol.name)

    def width(self, symbol: MatrixSymbol) -> int:
        return int(symbol.shape[1].xreplace(self.program.sizes))

    def view(self, name: str, code: str) -> str:
        """A view that is made at setup."""
        self.views[name] = code
        return name

    def transposed(self, name: str) -> str:
        return self.view(f"{name}_T", f"{name}.T")

    # the operations

    def step(self) -> Step:
        statements = list(self.statements())
        buffers = assign(statements, self.width)
        lines = [statement.code for statement in statements]
        setup, entries = self.setup(buffers, lines)
        code, own = (
            "\n".join([*setup, *lines]),
            {"new_empty": "flat_gradient.new_empty", "new_ones": "flat_gradient.new_ones"},
        )
        own = {**own, "loss": "_loss"}
        setup = [f"{name} = self.{source}" for name, source in own.items() if occurs(name, code)] + setup
        return Step(*self.head, setup, lines, entries)

    def setup(self, buffers: list[list[MatrixSymbol]], lines: list[str]) -> tuple[list[str], int]:
        """The lines that make the buffers and views, as far as they are used, and how many entries a row takes."""
        used = "\n".join([*lines, *self.views.values()])
        setup = self.flat_views(used)
        for buffer in buffers:
            names = " = ".join(name for name in map(self.name, buffer) if occurs(name, used))
            setup.append(f"{names} = new_empty(n, {self.width(buffer[0])})")
        if occurs("ones", used):
            setup.append("ones = new_ones(n)")
        setup += [f"{name} = {code}" for name, code in self.views.items()]
        return setup, sum(self.width(buffer[0]) for buffer in buffers)

    def flat_views(self, used: str) -> list[str]:
        """The matrices of the flat vectors, those that are used."""
        return [
            f'{prefix}{block.name} = self.{source}["{block.name}"]'
            for prefix, source in FLAT.items()
            for block in self.blocks()
            if occurs(f"{prefix}{block.name}", used)
        ]

    def block_of(self, W: MatrixSymbol) -> tuple[str, str]:
        """The matrix that a weight, or its direction, is part of, and how it is cut out of that."""
        prefix, name = ("dot_", self.name(W)[4:]) if W.name.startswith("dot_") else ("", self.name(W))
        block = next(block for block in self.blocks() if name in block.views)
        return prefix + block.name, block.views[name]

    def gradient_of(self, parameter: MatrixSymbol) -> str:
        """The matrix that a parameter's gradient is part of."""
        return self.gradient_prefix + self.block_of(parameter)[0]

    def statements(self) -> Iterable[Statement]:
        yield from self.prologue()
        quadratic = self.quadratic
        for equation in self.derivation.equations:
            value, target = equation.value, equation.target
            if target in self.skipped:
                continue
            if isinstance(value, Elementwise) and is_plain(equation):
                yield from self.entrywise(equation)
            elif operands := affine(value):
                yield from self.affine(target, *operands)
            elif operands := backward_product(value):
                yield from self.backward_product(target, *operands)
            elif target in self.gradients and (operands := weight_gradient(value)):
                yield from self.weight_gradient(self.gradients[target], *operands)
            elif target in self.gradients and (operands := bias_gradient(value)):
                yield from self.bias_gradient(self.gradients[target], *operands)
            elif operands := products(value):
                yield from self.products(target, operands)
            else:
                yield from self.other(equation)
            if quadratic and target == quadratic.error:
                yield self.squares(quadratic)
        yield from self.epilogue()

    def prologue(self) -> Iterable[Statement]:
        return ()

    def epilogue(self) -> Iterable[Statement]:
        return ()

    def affine(self, Z, A, W, b) -> Iterable[Statement]:
        yield Statement(
            f"torch.addmm({self.name(b)}, {self.name(A)}, {self.transposed(self.name(W))}, out={self.name(Z)})", (A,), Z
        )

    def backward_product(self, target, Delta, W) -> Iterable[Statement]:
        yield Statement(f"torch.mm({self.name(Delta)}, {self.name(W)}, out={self.name(target)})", (Delta,), target)

    def weight_gradient(self, W, Delta, A) -> Iterable[Statement]:
        yield Statement(
            f"{self.gradient_of(W)}.addmm_({self.transposed(self.name(Delta))}, {self.name(A)}, beta=beta)", (Delta, A)
        )

    def bias_gradient(self, b, Delta) -> Iterable[Statement]:
        yield Statement(f"{self.gradient_of(b)}.addmv_({self.transposed(self.name(Delta))}, ones, beta=beta)", (Delta,))

    def products(self, target: MatrixSymbol, terms: list[tuple[MatrixExpr, MatrixExpr]]) -> Iterable[Statement]:
        """A sum of products, term by term into one place; a row that is broadcast comes with the first."""
        bias = [right for left, right in terms if isinstance(left, OneMatrix)]
        for index, (left, right) in enumerate(term for term in terms if not isinstance(term[0], OneMatrix)):
            a, b = self.factor(left), self.factor(right)
            reads = tuple(symbol for symbol in (*left.free_symbols, *right.free_symbols) if symbol in self.assigned)
            if target in self.gradients:
                beta = "" if index else ", beta=beta"
                yield Statement(f"{self.gradient_of(self.gradients[target])}.addmm_({a}, {b}{beta})", reads)
            elif index:
                yield Statement(f"{self.name(target)}.addmm_({a}, {b})", (*reads, target))
            elif bias:
                yield Statement(f"torch.addmm({self.name(bias[0])}, {a}, {b}, out={self.name(target)})", reads, target)
            else:
                yield Statement(f"torch.mm({a}, {b}, out={self.name(target)})", reads, target)

    @cached_property
    def assigned(self) -> set[MatrixSymbol]:
        return {equation.target for equation in self.derivation.equations}

    def factor(self, expr: MatrixExpr) -> str:
        return self.transposed(self.name(expr.arg)) if isinstance(expr, Transpose) else self.name(expr)

    def other(self, equation: Equation) -> Iterable[Statement]:
        """As the equation says, with ordinary torch operations."""
        target, text = equation.target, self.printer._print(equation.value)
        if target == self.program.output:
            code = self.add_to_loss(text)
        elif target in self.gradients:
            g = self.gradient_of(self.gradients[target])
            code = f"{g}.copy_({text}) if beta == 0 else {g}.add_({text})"
        else:
            yield Statement(f"{self.name(target)}.copy_({text})", equation.uses, target)
            return
        yield Statement(code, equation.uses)

    def add_to_loss(self, text: str) -> str:
        return f"loss.add_({text})"

    def squares(self, quadratic: "Quadratic") -> Statement:
        error = self.name(quadratic.error)
        row = self.view(f"{error}_row", f"{error}.view(1, -1)")
        code = f"loss_1x1.addmm_({row}, {self.transposed(row)}, alpha={self.printer._print(quadratic.ratio)})"
        self.view("loss_1x1", "loss.view(1, 1)")
        return Statement(code, (quadratic.error,))

    # formulas entry by entry

    def entrywise(self, equation: Equation) -> Iterable[Statement]:
        target, value = equation.target, equation.value
        out, reads = self.name(target), self.reads(equation)
        scale, difference = linear(value)
        activation, slope = self.activations.get(target), self.slope(equation)
        if self.feeds_only_the_loss(target):
            yield Statement(f"{out} = {self.printer._print(value)}", reads)
        elif activation in IN_PLACE and self.dies(reads[0], equation):
            yield Statement(f"{self.name(reads[0])}.{activation}_()", reads, target, reads[0])
        elif activation in INTO:
            yield Statement(self.kernel(INTO[activation].format(z=self.name(reads[0]), out=out)), reads, target)
        elif slope:
            yield self.pullback(equation, slope)
        elif difference:
            over, minus = difference
            factor = "" if scale == 1 else f".mul_({self.printer._print(scale)})"
            code = f"torch.sub({self.name(over)}, {self.name(minus)}, out={out}){factor}"
            yield Statement(code, reads, target, over)
        else:
            yield from self.formula(equation)

    def slope(self, equation: Equation) -> str | None:
        """The name of the function that a backward formula goes back through, where torch has a kernel for that."""
        name = self.activations.get(equation.through.target) if equation.through else None
        return name if name in PULLBACKS and self.cotangent(equation) else None

    def reads(self, equation: Equation) -> tuple[MatrixSymbol, ...]:
        """What the scheduled operation reads; a kernel of torch may read z where the formula has a, or a for z."""
        if slope := self.slope(equation):
            through = equation.through
            return self.cotangent(equation), through.target if "{a}" in PULLBACKS[slope] else through.uses[0]
        return equation.uses

    def pullback(self, equation: Equation, slope: str) -> Statement:
        """Cotangent times slope in the cotangent's buffer, by the kernel that autograd calls."""
        g, at = reads = self.reads(equation)
        names = {"g": self.name(g), "z": self.name(at), "a": self.name(at), "out": self.name(equation.target)}
        return Statement(self.kernel(PULLBACKS[slope].format(**names)), reads, equation.target, g)

    def kernel(self, call: str) -> str:
        """The call, with a kernel that torch finds slowly found at setup."""
        if found := re.match(r"torch\.ops\.aten\.(\w+)\.\w+", call):
            return (
                self.view(found[1] if found[1].endswith("backward") else f"{found[1]}_", found[0]) + call[found.end() :]
            )
        return call

    def formula(self, equation: Equation) -> Iterable[Statement]:
        """A product with a cotangent in its buffer; anything else as one expression."""
        out, value, g = self.name(equation.target), equation.value, self.cotangent(equation)
        if g is None or not value.formula.is_Mul or entry(g) not in value.formula.args:
            return [Statement(f"{out}.copy_({self.printer._print(value)})", equation.uses, equation.target, g)]
        text = self.printer._print(Mul(*(f for f in value.formula.args if f != entry(g)), evaluate=False))
        return [Statement(f"torch.mul({self.name(g)}, {text}, out={out})", equation.uses, equation.target, g)]

    def cotangent(self, equation: Equation) -> MatrixSymbol | None:
        """The cotangent that a backward formula multiplies with a slope."""
        found = [symbol for symbol in equation.uses if self.program.notation.is_cotangent(symbol.name)]
        return found[0] if len(found) == 1 and equation.through else None

    def feeds_only_the_loss(self, symbol: MatrixSymbol) -> bool:
        users = [equation for equation in self.derivation.equations if symbol in equation.uses]
        return [equation.target for equation in users] == [self.program.output]

    def dies(self, symbol: MatrixSymbol, here: Equation) -> bool:
        """Whether nothing but this equation, and a loss that is computed otherwise, uses the symbol."""
        return all(
            equation == here or equation.target in self.skipped or symbol not in self.reads(equation)
            for equation in self.derivation.equations
        )

    def is_read_after(self, here: Equation, symbol: MatrixSymbol) -> bool:
        equations = self.derivation.equations
        return any(symbol in later.uses for later in equations[equations.index(here) + 1 :])

    @cached_property
    def skipped(self) -> set[MatrixSymbol]:
        """What need not be computed."""
        return set(self.quadratic.replaced) if self.quadratic else set()

    @cached_property
    def quadratic(self) -> "Quadratic | None":
        """Where the entries of the loss are a number times the square of its gradient in the prediction."""
        *_, E, L = self.program.equations
        error = self.derivation.backward[0]
        if not total(L.value) or not isinstance(E.value, Elementwise) or not isinstance(error.value, Elementwise):
            return None
        scale, _ = L.value.as_coeff_mmul()
        ratio = cancel(scale * E.value.formula / error.value.formula**2)
        return Quadratic(error.target, ratio, (E.target, L.target)) if is_number(ratio) else None


@dataclass(frozen=True)
class Quadratic:
    """loss = ratio times the sum of the squares of `error`; `replaced` need not be computed."""

    error: MatrixSymbol
    ratio: Expr
    replaced: tuple[MatrixSymbol, ...]


class Columns(Rows):
    """Features by batch: rows are features, n long; a last row of ones makes [W b] times [a; 1] the affine map."""

    def blocks(self) -> list[Block]:
        """[W1 b1], [W2 b2], ... each one matrix."""
        blocks, start = [], 0
        for W, b in self.layers:
            outputs, inputs = self.width(b), self.width(W)
            name, stop = self.name(W) + self.name(b), start + outputs * (inputs + 1)
            views = {self.name(W): f"[:, :{inputs}]", self.name(b): f"[:, {inputs}]"}
            blocks.append(Block(name, f"flat[{start}:{stop}].unflatten(0, ({outputs}, {inputs + 1}))", views))
            start = stop
        return blocks

    def with_one(self, A: MatrixSymbol) -> str:
        return f"{self.name(A)}_one"

    def left_factors(self) -> list[MatrixSymbol]:
        """What the affine maps multiply."""
        found = [affine(equation.value) for equation in self.program.equations]
        return [operands[0] for operands in found if operands]

    def setup(self, buffers: list[list[MatrixSymbol]], lines: list[str]) -> tuple[list[str], int]:
        used = "\n".join([*lines, *self.views.values()])
        setup = self.flat_views(used)
        entries, left = 0, self.left_factors()
        for buffer in [[self.X], *buffers]:
            names = " = ".join(name for name in map(self.name, buffer) if occurs(name, used) and buffer != [self.X])
            ones = [self.with_one(symbol) for symbol in buffer if symbol in left]
            width = self.width(buffer[0])
            if ones:
                setup.append(f"{' = '.join(ones)} = new_ones({width + 1}, n)")
                setup += [f"{names} = {ones[0]}[:{width}]"] if names else []
            else:
                setup.append(f"{names} = new_empty({width}, n)")
            entries += width + bool(ones)
        return setup + [f"{name} = {code}" for name, code in self.views.items()], entries

    def prologue(self) -> Iterable[Statement]:
        inputs = self.width(self.X)
        yield Statement(f"{self.view('x_rows', f'x_one[:{inputs}].T')}.copy_(x)", ())
        yield Statement("y = y.T", ())

    def affine(self, Z, A, W, b) -> Iterable[Statement]:
        yield Statement(f"torch.mm({self.block_of(W)[0]}, {self.with_one(A)}, out={self.name(Z)})", (A,), Z)

    def weights_transposed(self, W: MatrixSymbol) -> str:
        block, cut = self.block_of(W)
        return self.view(f"{self.name(W)}_T", f"{block}{cut}.T")

    def backward_product(self, target, Delta, W) -> Iterable[Statement]:
        code = f"torch.mm({self.weights_transposed(W)}, {self.name(Delta)}, out={self.name(target)})"
        yield Statement(code, (Delta,), target)

    def weight_gradient(self, W, Delta, A) -> Iterable[Statement]:
        """The gradient of [W b] in one product; that of b is its last column."""
        ones = self.transposed(self.with_one(A))
        yield Statement(f"{self.gradient_of(W)}.addmm_({self.name(Delta)}, {ones}, beta=beta)", (Delta, A))

    def bias_gradient(self, b, Delta) -> Iterable[Statement]:
        return ()

    def products(self, target: MatrixSymbol, terms: list[tuple[MatrixExpr, MatrixExpr]]) -> Iterable[Statement]:
        """As in rows, everything transposed; the term that a row of ones belongs to comes first."""
        bias = [right for left, right in terms if isinstance(left, OneMatrix)]
        terms = [term for term in terms if not isinstance(term[0], OneMatrix)]
        name = self.name(target)
        if target in self.gradients:
            W = self.gradients[target]
            summed = bias_gradient(self.definition(self.derivation.gradients[dict(self.layers)[W]]).value)
            terms.sort(key=lambda term: (term[0].arg,) != summed)
            (left, A), *others = terms
            yield from self.weight_gradient(W, left.arg, A)
            cut = self.view(f"{self.gradient_prefix}{self.name(W)}", self.gradient_of(W) + self.block_of(W)[1])
            for left, A in others:
                code = f"{cut}.addmm_({self.name(left.arg)}, {self.transposed(self.name(A))})"
                yield Statement(code, (left.arg, A))
        elif bias:
            terms.sort(key=lambda term: term[1].arg.name.replace("W", "b") != bias[0].name)
            (A, W), *others = terms
            yield from self.affine(target, A, W.arg, bias[0])
            for A, W in others:
                block, cut = self.block_of(W.arg)
                weights = self.view(self.name(W.arg), f"{block}{cut}")
                yield Statement(f"{name}.addmm_({weights}, {self.name(A)})", (A, target))
        else:
            (Delta, W), *others = terms
            yield from self.backward_product(target, Delta, W)
            for Delta, W in others:
                code = f"{name}.addmm_({self.weights_transposed(W)}, {self.name(Delta)})"
                yield Statement(code, (Delta, target))

    def definition(self, symbol: MatrixSymbol) -> Equation:
        return next(equation for equation in self.derivation.equations if equation.target == symbol)


class OnlyGradients:
    """Leaves out the loss, and what only it needs."""

    quadratic = None

    @cached_property
    def skipped(self) -> set[MatrixSymbol]:
        """What no gradient needs."""
        needed: set[MatrixSymbol] = set(self.gradients)
        for equation in reversed(self.derivation.equations):
            if equation.target in needed:
                needed.update(equation.uses)
        return {equation.target for equation in self.derivation.equations} - needed


class Each(OnlyGradients):
    """The gradient of each row's own loss: the last sum, over the rows, is left out."""

    head = "_make_each(self, n: int)", "step(x, y, blocks)", "For n rows: puts the gradient of each row into a column."

    def __init__(self, derivation: Derivation) -> None:
        super().__init__(for_one_row(derivation))


class EachOfRows(Each, Rows):
    def weight_gradient(self, W, Delta, A) -> Iterable[Statement]:
        delta = self.view(f"{self.name(Delta)}_column", f"{self.name(Delta)}.T[:, None]")
        yield Statement(f'torch.mul({delta}, {self.name(A)}.T, out=blocks["{self.name(W)}"])', (Delta, A))

    def bias_gradient(self, b, Delta) -> Iterable[Statement]:
        yield Statement(f'blocks["{self.name(b)}"].copy_({self.transposed(self.name(Delta))})', (Delta,))


class EachOfColumns(Each, Columns):
    def weight_gradient(self, W, Delta, A) -> Iterable[Statement]:
        """Of [W b], whose last column is Delta times one."""
        delta = self.view(f"{self.name(Delta)}_column", f"{self.name(Delta)}[:, None]")
        block = f'blocks["{self.block_of(W)[0]}"]'
        yield Statement(f"torch.mul({delta}, {self.with_one(A)}, out={block})", (Delta, A))


class Hessian(OnlyGradients):
    """The Hessian times a direction: the forward sweep over the gradient's equations."""

    head = "_make_hvp(self, n: int)", "step(x, y, N, beta)", "For n of N rows: puts or adds Hessian times direction."
    gradient_prefix = "dot_grad_"

    def __init__(self, derivation: Derivation) -> None:
        program = derivation.program
        directions = {symbol: program.notation.tangent(symbol) for symbol in program.parameters}
        sweep, moved = tangents(derivation.equations, directions, program.notation)
        inputs = (*program.inputs, *directions.values())
        gradients = {symbol: moved[g] for symbol, g in derivation.gradients.items() if g in moved}
        program = replace(program, inputs=inputs)
        super().__init__(
            replace(derivation, program=program, backward=derivation.backward + sweep, gradients=gradients)
        )

    def formula(self, equation: Equation) -> Iterable[Statement]:
        """The tangent of a cotangent times slope: that of the cotangent by the kernel, then what the slope's adds."""
        found = self.curved(equation)
        if found is None:
            return super().formula(equation)
        through, dot_g, g, dot_a, number = found
        out, a = self.name(equation.target), self.name(through.target)
        g_name, slope = self.name(g), PULLBACKS[self.activations[through.target]]
        call = self.kernel(slope.format(g=self.name(dot_g), a=a, z=self.name(through.uses[0]), out=out))
        A, number = through.target, self.printer._print(number)
        return [
            Statement(f"{g_name}.mul_({self.name(dot_a)})", (g, dot_a)),
            Statement(f"torch.addcmul({g_name}, {g_name}, {a}, value={number}, out={g_name})", (g, A)),
            Statement(call, (dot_g, A), equation.target, dot_g),
            Statement(f"{out}.add_({g_name})", (equation.target, g)),
        ]

    def curved(self, equation: Equation) -> tuple[Equation, MatrixSymbol, MatrixSymbol, MatrixSymbol, Expr] | None:
        """A, dot_g, g, dot_a, c where the formula is dot_g times the slope in a, plus g dot_a (1 + c a); or None."""
        t = Symbol("t", real=True)
        for through in self.program.equations:
            name, A = self.activations.get(through.target), through.target
            if A not in equation.uses or "{a}" not in PULLBACKS.get(name, "") or len(equation.uses) != 4:
                continue
            slope = diff(FUNCTIONS[name], z).xreplace({FUNCTIONS[name]: t})
            others = [symbol for symbol in equation.uses if symbol != A]
            for dot_g, g, dot_a in permutations(others):
                if not self.program.notation.is_cotangent(g.name) or self.is_read_after(equation, g):
                    continue
                rest = equation.value.formula - entry(dot_g) * slope.xreplace({t: entry(A)})
                number = cancel((rest / entry(g) / entry(dot_a) - 1) / entry(A))
                if is_number(number):
                    return through, dot_g, g, dot_a, number
        return None


class HessianOfRows(Hessian, Rows):
    pass


class HessianOfColumns(Hessian, Columns):
    pass


def for_one_row(derivation: Derivation) -> Derivation:
    """The same with the number of rows set to 1."""
    program = derivation.program
    sizes = {**program.sizes, program.inputs[0].shape[0]: Integer(1)}
    return replace(derivation, program=replace(program, sizes=sizes))


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
        self.inputs = sections((A, self.width(A) + 1) for A in self.left_factors())
        self.deltas = sections((Delta, self.width(Delta)) for Delta, _ in reversed(self.pairs))
        self.size = stop(self.deltas), stop(self.inputs)
        self.joint = self.size[0] * self.size[1] <= LARGEST_OUTER

    def setup(self, buffers: list[list[MatrixSymbol]], lines: list[str]) -> tuple[list[str], int]:
        used = "\n".join([*lines, *self.views.values()])
        setup = self.flat_views(used)
        setup += [f"inputs = new_ones({self.size[1]}{self.n})", f"deltas = new_empty({self.size[0]}{self.n})"]
        for buffer in [[self.X], *buffers]:
            names = " = ".join(name for name in map(self.name, buffer) if occurs(name, used) and buffer != [self.X])
            [A] = [symbol for symbol in buffer if symbol in self.inputs] or [None]
            [Delta] = [symbol for symbol in buffer if symbol in self.deltas] or [None]
            width = self.width(buffer[0])
            if A:
                start, end = self.inputs[A]
                setup.append(f"{self.with_one(A)} = inputs[{start}:{end}]")
                setup += [f"{names} = {self.with_one(A)}[:{width}]"] if names else []
            elif Delta:
                start, end = self.deltas[Delta]
                setup.append(f"{names} = deltas[{start}:{end}]")
            else:
                setup.append(f"{names} = new_empty({width}{self.n})")
        setup += [f"{name} = {code}" for name, code in self.views.items()]
        for block, (Delta, A) in zip(self.blocks(), reversed(self.pairs), strict=True):
            rows, columns = self.deltas[Delta], self.inputs[A]
            entries = f"indices[{rows[0]}:{rows[1]}, {columns[0]}:{columns[1]}]"
            setup += [f'_blocks(places)["{block.name}"].copy_({entries})'] * self.joint
        return setup, 0

    def entrywise(self, equation: Equation) -> Iterable[Statement]:
        yield from super().entrywise(equation)
        if equation == self.derivation.backward[0] and self.common_slope:
            yield self.all_slopes()

    @cached_property
    def common_slope(self) -> str | None:
        """Code for the slopes of all hidden layers at once, where they are one polynomial in the output."""
        t, slopes = Symbol("t", real=True), set()
        for equation in self.derivation.backward:
            if self.through_hidden(equation):
                a, g = entry(equation.through.target), entry(self.cotangent(equation))
                slopes.add(factor(equation.value.formula / g).xreplace({a: t}))
        return polynomial(slopes.pop(), t) if len(slopes) == 1 else None

    def all_slopes(self) -> Statement:
        self.view("one", "new_ones(())")
        self.view("slopes", "new_empty(inputs.shape)")
        return Statement(self.common_slope, tuple(self.inputs))

    def through_hidden(self, equation: Equation) -> bool:
        """Whether a backward equation goes back through the activation of a hidden layer."""
        through = equation.through.target if isinstance(equation.value, Elementwise) and equation.through else None
        return through in self.inputs and self.cotangent(equation) is not None

    def slope(self, equation: Equation) -> None:
        """The kernels of autograd cost more than they save here."""

    def formula(self, equation: Equation) -> Iterable[Statement]:
        """As elsewhere, but with the slopes that all hidden layers have computed at once."""
        if not self.common_slope or not self.through_hidden(equation):
            return super().formula(equation)
        A, g = equation.through.target, self.cotangent(equation)
        start, end = self.inputs[A]
        slope = self.view(f"slope_{self.name(A)}", f"slopes[{start}:{end - 1}]")
        return [Statement(f"{self.name(g)}.mul_({slope})", (g,), equation.target, g)]

    def weight_gradient(self, W, Delta, A) -> Iterable[Statement]:
        return ()

    def epilogue(self) -> Iterable[Statement]:
        self.view("outer", f"new_empty({self.size[0]}, {self.size[1]})")
        self.view("indices", f"torch.arange({self.size[0] * self.size[1]}, device=outer.device).view_as(outer)")
        self.view("flat_gradient", "self.flat_gradient")
        self.view("places", "indices.new_empty(flat_gradient.shape)")
        reads = tuple(symbol for pair in self.pairs for symbol in pair)
        yield Statement(f"{self.outer_product()}", reads)
        yield Statement("torch.take(outer, places, out=flat_gradient)", ())

    def outer_product(self) -> str:
        return f"torch.mm(deltas, {self.transposed('inputs')}, out=outer)"

    def add_to_loss(self, text: str) -> str:
        return f"loss.copy_({text})"

    def squares(self, quadratic: "Quadratic") -> Statement:
        error = self.name(quadratic.error)
        row = self.view(f"{error}_row", f"{error}.view(1, -1)")
        self.view("loss_1x1", "loss.view(1, 1)")
        ratio = self.printer._print(quadratic.ratio)
        return Statement(f"loss_1x1.addmm_({row}, {self.transposed(row)}, beta=0, alpha={ratio})", (quadratic.error,))


class OneRow(FewRows):
    """One sample: vectors instead of matrices."""

    head = "_make_one_row(self)", "step(x, y)", "For one row: vectors instead of matrices."
    n = ""

    def __init__(self, derivation: Derivation) -> None:
        super().__init__(for_one_row(derivation))

    def prologue(self) -> Iterable[Statement]:
        inputs = self.width(self.X)
        yield Statement(f"{self.view('x_row', f'x_one[:{inputs}].view(1, {inputs})')}.copy_(x)", ())
        if not self.fused or self.width(self.Y) != 1:
            yield Statement("y = y.T" if self.fused else "y = y.view(-1)", ())

    @cached_property
    def fused(self) -> MatrixSymbol | None:
        """The prediction, where the error is c (prediction - y): one operation computes both."""
        error = self.derivation.backward[0]
        _, difference = linear(error.value)
        if difference and difference[1] == self.Y and self.quadratic:
            equation = next(e for e in self.program.equations if e.target == difference[0])
            return difference[0] if affine(equation.value) and self.dies(difference[0], error) else None
        return None

    def affine(self, Z, A, W, b) -> Iterable[Statement]:
        if self.fused != Z:
            yield Statement(f"torch.mv({self.block_of(W)[0]}, {self.with_one(A)}, out={self.name(Z)})", (A,), Z)

    def entrywise(self, equation: Equation) -> Iterable[Statement]:
        if self.fused in equation.uses:
            A, W, _ = next(affine(e.value) for e in self.program.equations if e.target == self.fused)
            c = self.printer._print(linear(equation.value)[0])
            column = self.column(self.with_one(A))
            out = self.column(self.name(equation.target))
            code = f"torch.addmm(y, {self.block_of(W)[0]}, {column}, beta=-{c}, alpha={c}, out={out})"
            yield Statement(code, (A,), equation.target)
            if self.common_slope:
                yield self.all_slopes()
        else:
            yield from super().entrywise(equation)

    def column(self, name: str) -> str:
        return self.view(f"{name}_column", f"{name}.view(-1, 1)")

    def backward_product(self, target, Delta, W) -> Iterable[Statement]:
        if self.width(Delta) == 1:
            block, cut = self.block_of(W)
            row = self.view(f"{self.name(W)}_row", f"{block}{cut}.view(-1)")
            code = f"torch.mul({row}, {self.name(Delta)}, out={self.name(target)})"
        else:
            code = f"torch.mv({self.weights_transposed(W)}, {self.name(Delta)}, out={self.name(target)})"
        yield Statement(code, (Delta,), target)

    def weight_gradient(self, W, Delta, A) -> Iterable[Statement]:
        if not self.joint:
            code = f"torch.mul({self.column(self.name(Delta))}, {self.with_one(A)}, out={self.gradient_of(W)})"
            yield Statement(code, (Delta, A))

    def epilogue(self) -> Iterable[Statement]:
        return super().epilogue() if self.joint else ()

    def outer_product(self) -> str:
        return f"torch.mul({self.column('deltas')}, inputs, out=outer)"

    def squares(self, quadratic: "Quadratic") -> Statement:
        if self.width(quadratic.error) > 1:
            return super().squares(quadratic)
        error, ratio = self.name(quadratic.error), self.printer._print(quadratic.ratio)
        self.view("loss_1", "loss.view(1)")
        self.view("zero", "loss.new_zeros(())")
        code = f"torch.addcmul(zero, {error}, {error}, value={ratio}, out=loss_1)"
        return Statement(code, (quadratic.error,))


def sections(sizes: Iterable[tuple[MatrixSymbol, int]]) -> dict[MatrixSymbol, tuple[int, int]]:
    """Where each lies in one long vector."""
    found, start = {}, 0
    for symbol, size in sizes:
        found[symbol] = (start, start + size)
        start += size
    return found


def stop(sections: dict[MatrixSymbol, tuple[int, int]]) -> int:
    return max(end for _, end in sections.values())


def polynomial(formula: Expr, t: Symbol) -> str | None:
    """Code that puts a product of t and of one sum 1 + c t or 1 + c t^2 of `inputs` into `slopes`, or None."""
    if formula.free_symbols != {t} or not formula.is_polynomial(t):
        return None
    scale, factors = factor_list(expand(formula), t)
    coefficients = {part: Poly(part, t).all_coeffs()[::-1] for part, power in factors for _ in range(power)}
    sums = [part for part in coefficients if part != t]
    whole = expand(scale * Mul(*sums))
    if len(sums) > 2 or any(power > 1 for _, power in factors) or not sums:
        return None
    c = Poly(whole, t).all_coeffs()[::-1]
    times = ".mul_(inputs)" if t in coefficients else ""
    if c == [1, -1]:
        return f"torch.sub(one, inputs, out=slopes){times}"
    if c[:2] == [1, 0] and len(c) == 3:
        return f"torch.addcmul(one, inputs, inputs, value={c[2]}, out=slopes){times}"
    return None


def activations(derivation: Derivation) -> dict[MatrixSymbol, str]:
    """The name of the function, for each symbol that is one of FUNCTIONS of another."""
    found = {}
    for equation in derivation.program.equations:
        if isinstance(equation.value, Elementwise) and len(equation.uses) == 1:
            argument = entry(equation.uses[0])
            for name, formula in FUNCTIONS.items():
                if formula.xreplace({z: argument}) == equation.value.formula:
                    found[equation.target] = name
    return found


def linear(value: MatrixExpr) -> tuple[Expr, tuple[MatrixSymbol, MatrixSymbol] | None]:
    """c, (P, Q) of c (P - Q)."""
    if isinstance(value, Elementwise) and len(value.operands) == 2:
        for p, q in (tuple(value.operands), tuple(reversed(value.operands))):
            scale = cancel(value.formula / (p - q))
            if is_number(scale) and not scale.could_extract_minus_sign():
                return scale, (value.operands[p], value.operands[q])
    return Integer(1), None


def assign(statements: list[Statement], width) -> list[list[MatrixSymbol]]:
    """The symbols of each buffer: one takes over from another that no later statement reads."""
    last = {symbol: i for i, statement in enumerate(statements) for symbol in statement.reads}
    buffers: list[list[MatrixSymbol]] = []
    where: dict[MatrixSymbol, list[MatrixSymbol]] = {}
    for i, statement in enumerate(statements):
        target, over = statement.writes, statement.over
        if target is None:
            continue
        if over in where and last[over] == i:
            buffer = where[over]
        else:
            free = [b for b in buffers if width(b[0]) == width(target) and last.get(b[-1], -1) < i]
            buffer = free[0] if free else []
            if not free:
                buffers.append(buffer)
        buffer.append(target)
        where[target] = buffer
    return buffers


def occurs(name: str, text: str) -> bool:
    return re.search(rf"\b{name}\b", text) is not None
