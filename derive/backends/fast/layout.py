"""What a fast step lays out in memory, whatever it computes: buffers of n rows, flat vectors, views made at setup."""

import re
from collections.abc import Iterable
from dataclasses import replace

from sympy import Expr, MatrixSymbol, Symbol, sympify

from derive.backends import Literal, Source, call, method
from derive.backends.fast.steps import FastStep, FlatBlock, Statement, occurs, share
from derive.backends.torch import TorchPrinter
from derive.operations import Reduction, activations
from derive.programs import Derivation, Equation, Role, in_parts

FLAT = {
    "": "_parameter_blocks",
    "grad_": "_gradient_blocks",
    "dot_": "_direction_blocks",
    "dot_grad_": "_product_blocks",
}


class StepPrinter(TorchPrinter):
    """A step has n rows, out of N in all."""

    def sizes(self, shape: tuple[Expr, ...]) -> tuple[Source, ...]:
        rows = {self.program.data[0].shape[0]: Symbol("n", integer=True, positive=True)}
        return super().sizes(tuple(sympify(size).xreplace(rows) for size in shape))

    def reduction(self, reduction: Reduction) -> Source:
        """In the rows of a network's logsumexp 0 is the largest; torch's own would look for that once more."""
        if reduction.kind != "logsumexp":
            return super().reduction(reduction)
        total = method(call("torch.exp", self.of(reduction.of)), "sum", Literal("1"), keepdim=Literal("True"))
        return call("torch.log", total)


class Layout:
    """A step of statements, the memory that they write into, and the views of it that they use."""

    head: tuple[str, str, str]  # what makes a step, how the step is called, and what it does
    gradient_prefix = "grad_"

    def __init__(self, derivation: Derivation) -> None:
        self.program, self.activations = derivation.program, activations(derivation)
        self.derivation = self.split(derivation)
        self.program = self.derivation.program
        self.X, self.Y = self.program.data
        biases = {self.program.notation.layer(b.name): b for b in self.program.biases}
        self.layers = {W: biases.get(self.program.notation.layer(W.name)) for W in self.program.weights}
        self.gradients = {gradient: parameter for parameter, gradient in derivation.gradients.items()}
        self.printer = StepPrinter(self.program)
        self.views: dict[str, str] = {}

    def split(self, derivation: Derivation) -> Derivation:
        """Formulas that torch has no kernel for in parts that fit on a line."""
        taken = {equation.target.name for equation in derivation.equations}

        def parts(equations: tuple[Equation, ...]) -> tuple[Equation, ...]:
            return tuple(
                part
                for equation in equations
                for part in (
                    [equation] if self.has_kernel(equation) else in_parts(equation, derivation.program.notation, taken)
                )
            )

        program = replace(derivation.program, equations=parts(derivation.program.equations))
        return replace(derivation, program=program, backward=parts(derivation.backward))

    def has_kernel(self, equation: Equation) -> bool:
        """Whether torch has one function for it."""
        raise NotImplementedError

    def statements(self) -> Iterable[Statement]:
        raise NotImplementedError

    def blocks(self) -> list[FlatBlock]:
        """W1, b1, W2, ... one after the other."""
        shapes = {symbol: tuple(map(int, self.program.shape(symbol))) for symbol in self.program.parameters}
        return [FlatBlock(self.name(symbol), shape, {self.name(symbol): ""}) for symbol, shape in shapes.items()]

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

    def number(self, scale: Expr) -> str:
        """A number; if it is known at setup as a tensor, with which torch takes less time."""
        number = self.printer.text(scale)
        if scale.free_symbols - set(self.program.sizes):
            return number
        code = f"new_ones(()) * {number}"
        known = [name for name, made in self.views.items() if made == code]
        return known[0] if known else self.view("two" if scale == 2 else f"number{len(self.views)}", code)

    def kernel(self, call: str) -> str:
        """The call, with a kernel that torch finds slowly found at setup."""
        if found := re.search(r"torch\.ops\.aten\.(\w+)\.\w+", call):
            name = found[1] if found[1].endswith("backward") else f"{found[1]}_"
            return call.replace(found[0], self.view(name, found[0]))
        return call

    def step(self) -> FastStep:
        statements = list(self.statements())
        buffers = share(statements, self.width)
        homes = {symbol: number for number, symbols in enumerate(buffers) for symbol in symbols}
        lines = [statement.line(homes) for statement in statements]
        functions = sorted({name for line in lines for name in re.findall(r"\btorch\.(\w+)\(", line)})
        self.views |= {name: f"torch.{name}" for name in functions}
        lines = [re.sub(r"\btorch\.(\w+)\(", r"\1(", line) for line in lines] or ["pass"]
        used = "\n".join([*lines, *self.views.values()])
        made, entries = self.buffers(buffers, used)
        views = [f"{name} = {code}" for name, code in self.views.items()]
        setup = [*self.flat_views(used), *made, *views]
        owned = {"new_empty": "flat_gradient.new_empty", "new_ones": "flat_gradient.new_ones", "loss": "_loss"}
        code = "\n".join([*setup, *lines])
        mine = [f"{name} = self.{source}" for name, source in owned.items() if occurs(name, code)]
        return FastStep(*self.head, mine + setup, lines, entries)

    def flat_views(self, used: str) -> list[str]:
        """The matrices of the flat vectors, those that are used."""
        return [
            f'{prefix}{block.name} = self.{source}["{block.name}"]'
            for prefix, source in FLAT.items()
            for block in self.blocks()
            if occurs(f"{prefix}{block.name}", used)
        ]

    def buffers(self, buffers: list[list[MatrixSymbol]], used: str) -> tuple[list[str], int]:
        """The lines that make the buffers, and how many entries a row takes."""
        made, entries = [], 0
        for symbols in buffers:
            made.append(f"{self.names(symbols, used)} = new_empty(n, {self.width(symbols[0])})")
            entries += self.width(symbols[0])
        if occurs("ones", used):
            made.append("ones = new_ones(n)")
        return made, entries

    def names(self, symbols: Iterable[MatrixSymbol], used: str) -> str:
        """Those of the symbols that are used, as the targets of one assignment."""
        return " = ".join(name for name in map(self.name, symbols) if occurs(name, used))

    def block_of(self, W: MatrixSymbol) -> tuple[str, str]:
        """The matrix that a parameter, or its direction, is part of, and how it is cut out of that."""
        dotted = self.program.notation.role(W.name)[0] is Role.TANGENT
        prefix, name = ("dot_", self.name(W)[4:]) if dotted else ("", self.name(W))
        block = next(block for block in self.blocks() if name in block.views)
        return prefix + block.name, block.views[name]

    def gradient_of(self, parameter: MatrixSymbol) -> str:
        """The matrix that a parameter's gradient is part of."""
        return self.gradient_prefix + self.block_of(parameter)[0]
