"""What a fast step lays out in memory, whatever it computes: buffers of n rows, flat vectors, views made at setup."""

from collections.abc import Iterable
from dataclasses import replace

from sympy import Expr, MatrixSymbol, Symbol, sympify

from derive.backends import (
    Attribute,
    Call,
    Group,
    Index,
    Infix,
    Kernel,
    Literal,
    Name,
    Source,
    call,
    dotted,
    method,
    names_in,
)
from derive.backends.fast.steps import Assignment, FastStep, FlatBlock, Statement, share
from derive.backends.torch import TorchPrinter
from derive.operations import Reduction, activations
from derive.programs import Derivation, Equation, Role, in_parts

VECTORS = {  # the blocks of each flat vector, by what stands before the name of a matrix in it
    "": "_parameter_blocks",
    "grad_": "_gradient_blocks",
    "dot_": "_direction_blocks",
    "dot_grad_": "_product_blocks",
}
IN_STEPS = {"new_empty": "flat_gradient.new_empty", "new_ones": "flat_gradient.new_ones", "loss": "_loss"}
FROM_TORCH, KERNELS = Name("torch"), dotted("torch.ops.aten")


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
        self.views: dict[str, Source] = {}

    def split(self, derivation: Derivation) -> Derivation:
        """Formulas that torch has no kernel for in parts that fit on a line."""
        taken = {equation.target.name for equation in derivation.equations}

        def parts(equations: tuple[Equation, ...]) -> tuple[Equation, ...]:
            return tuple(
                part
                for equation in equations
                for part in ([equation] if self.has_kernel(equation) else in_parts(equation, taken))
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
        shapes = {self.name(symbol): tuple(map(int, self.program.shape(symbol))) for symbol in self.program.parameters}
        return [FlatBlock(name, shape, (name,)) for name, shape in shapes.items()]

    def name(self, symbol: MatrixSymbol) -> str:
        return self.program.notation.torch(symbol.name)

    def source(self, symbol: MatrixSymbol) -> Source:
        return Name(self.name(symbol))

    def width(self, symbol: MatrixSymbol) -> int:
        return int(symbol.shape[1].xreplace(self.program.sizes))

    def view(self, name: str, code: Source) -> Source:
        """A view that is made at setup."""
        self.views[name] = code
        return Name(name)

    def transposed(self, matrix: MatrixSymbol | str) -> Source:
        name = matrix if isinstance(matrix, str) else self.name(matrix)
        return self.view(f"{name}_T", Attribute(Name(name), "T"))

    def number(self, scale: Expr) -> Source:
        """A number; if it is known at setup as a tensor, with which torch takes less time."""
        number = self.printer.source(scale)
        if scale.free_symbols - set(self.program.sizes):
            return number
        code = Infix("*", call("new_ones", Group(())), number)
        known = [name for name, made in self.views.items() if made == code]
        return Name(known[0]) if known else self.view("two" if scale == 2 else f"number{len(self.views)}", code)

    def kernel(self, kernel: Kernel, out: Source, **tensors: Source) -> Source:
        """The call, with a kernel that torch finds slowly found at setup."""
        match path := dotted(kernel.path):
            case Attribute(of=Attribute(of=of, name=name)) if of == KERNELS:
                path = self.view(name if "g" in kernel.arguments else f"{name}_", path)
        return kernel.code(out, path, **tensors)

    def step(self) -> FastStep:
        statements = list(self.statements())
        buffers = share(statements, self.width)
        homes = {symbol: number for number, symbols in enumerate(buffers) for symbol in symbols}
        functions: set[str] = set()

        def at_setup(part: Source) -> Source:
            match part:
                case Call(function=Attribute(of=of, name=name)) if of == FROM_TORCH:
                    functions.add(name)
                    return replace(part, function=Name(name))
            return part

        written = [statement.line(homes) for statement in statements]
        lines = [replace(line, value=line.value.changed(at_setup)) for line in written]
        self.views |= {name: Attribute(FROM_TORCH, name) for name in sorted(functions)}
        used = names_in([*(line.value for line in lines), *self.views.values()])
        made, entries = self.buffers(buffers, used)
        setup = [
            *self.flat_views(used),
            *made,
            *(Assignment((name,), code) for name, code in self.views.items()),
        ]
        code = names_in(line.value for line in [*setup, *lines])
        owned = [Assignment((name,), dotted(f"self.{source}")) for name, source in IN_STEPS.items() if name in code]
        begin, run = ([line.text for line in part] for part in ([*owned, *setup], lines))
        return FastStep(*self.head, begin, run or ["pass"], entries)

    def flat_views(self, used: frozenset[str]) -> list[Assignment]:
        """The matrices of the flat vectors, those that are used."""
        return [
            Assignment((prefix + block.name,), Index(dotted(f"self.{vector}"), (Literal(f'"{block.name}"'),)))
            for prefix, vector in VECTORS.items()
            for block in self.blocks()
            if prefix + block.name in used
        ]

    def buffers(self, buffers: list[list[MatrixSymbol]], used: frozenset[str]) -> tuple[list[Assignment], int]:
        """The lines that make the buffers, and how many entries a row takes."""
        widths = [self.width(symbols[0]) for symbols in buffers]
        made = [
            Assignment(self.names(symbols, used), call("new_empty", Name("n"), Literal(str(width))))
            for symbols, width in zip(buffers, widths, strict=True)
        ]
        return made, sum(widths)

    def names(self, symbols: Iterable[MatrixSymbol], used: frozenset[str]) -> tuple[str, ...]:
        """Those of the symbols that are used, as the targets of one assignment."""
        return tuple(name for name in map(self.name, symbols) if name in used)

    def block_of(self, W: MatrixSymbol) -> tuple[str, FlatBlock]:
        """The matrix that a parameter, or its direction, is part of: its name, and how it is cut."""
        role, other = self.program.notation.role(W.name)
        prefix, name = ("dot_", self.program.notation.torch(other)) if role is Role.TANGENT else ("", self.name(W))
        block = next(block for block in self.blocks() if name in block.parameters)
        return prefix + block.name, block

    def gradient_of(self, parameter: MatrixSymbol) -> str:
        """The matrix that a parameter's gradient is part of."""
        return self.gradient_prefix + self.block_of(parameter)[0]
