"""Operations as torch source. What torch has no name for here is an error, at build time."""

from dataclasses import dataclass
from functools import reduce

import sympy
from sympy import (
    Expr,
    Function,
    Heaviside,
    Integer,
    MatrixExpr,
    Max,
    Min,
    Mul,
    Piecewise,
    Rational,
    log,
    pi,
    sympify,
    true,
)
from sympy.core.parameters import distribute

from derive.backends import (
    WIDTH,
    WORDS,
    Attribute,
    FormulaPrinter,
    Group,
    Index,
    Infix,
    Literal,
    Name,
    Range,
    Source,
    assigned,
    call,
    chained,
    dotted,
    method,
    plus,
    word,
)
from derive.backends.torch.functions import of_order, vanishes_with
from derive.formulas import NamedFunction, log1p, opened, over
from derive.operations import (
    Affine,
    Blocks,
    Constant,
    Contraction,
    Entry,
    Entrywise,
    Inner,
    Kronecker,
    NamedMatrix,
    Number,
    Operation,
    Power,
    Product,
    Reduction,
    Repeated,
    Scaled,
    Shape,
    Slice,
    Sum,
    Transposed,
    lower,
)
from derive.programs import Equation, Program, is_number

ONE = "one"  # the name of a 1 that is a tensor
NUMBER_CALLS = {"trace": "torch.trace", "det": "torch.linalg.det", "logdet": "torch.logdet"}
OF_SLOGDET = {"signdet": 0, "logabsdet": 1}  # its place among the results of torch.linalg.slogdet
CONSTANT_CALLS = {"ones": "new_ones", "zeros": "new_zeros"}


@dataclass(frozen=True)
class Line:
    """One assignment of the emitted code: of a tensor of `shape`; `meaning` says what it is."""

    target: str
    value: Source
    shape: str
    meaning: str

    @property
    def code(self) -> str:
        return f"{self.target} = {self.value.text}"

    @property
    def comment(self) -> str:
        """Shape and meaning; the shape alone where the two would not fit on the line."""
        both = f"{self.shape} {self.meaning}"
        return both if len(f"    {self.code}  # {both}") <= WIDTH else self.shape

    def written(self, comment: str) -> list[str]:
        """The code and what is said behind it; on several lines where it and its shape would not fit on one."""
        *lines, last = assigned(self.target, self.value, WIDTH - len(f"      # {self.shape}"))
        return [*lines, f"{last}  # {comment}"]


class TorchFormulas(FormulaPrinter):
    """Spells formulas of numbers and of tensors entry by entry."""

    @property
    def like(self) -> Source:
        """A tensor whose dtype and device constants take."""
        return Name(self.program.notation.torch(self.program.inputs[0].name))

    def constant_number(self, expr: Expr) -> Source:
        return dotted("math.pi" if expr == pi else "math.e")

    def integer(self, expr: Integer) -> Source:
        """Beyond what torch has in 64 bits as a decimal, or as a quotient if no decimal says the same."""
        if expr.p < 2**63:
            return Literal(str(expr.p))
        decimal = repr(float(expr.p))
        return Literal(decimal) if Rational(decimal) == expr else Infix("/", Literal(str(expr.p)), Literal("1"))

    def decimal(self, text: str) -> Source:
        return Literal(text)

    def mul(self, expr: Mul) -> Source:
        """A product with a logarithm that is infinite where the other factors are 0 is 0 there, as torch has it."""
        for part in expr.args:
            number, others = Mul(*(factor for factor in expr.args if factor != part)).as_coeff_Mul()
            if isinstance(part, log | log1p) and vanishes_with(others, part):
                name = "xlogy" if isinstance(part, log) else "special.xlog1py"
                return self.scaled(number, call(f"torch.{name}", self.formula(others), self.formula(part.args[0])))
        return super().mul(expr)

    def power(self, base: Expr, exponent: Expr) -> Source:
        if exponent == Rational(1, 2):
            return call("math.sqrt" if is_number(base) else "torch.sqrt", self.formula(base))
        if exponent == 2 and not is_number(base):
            return call("torch.square", self.formula(base))
        return Infix("**", self.formula(base), self.formula(exponent))

    def function(self, expr: Function) -> Source:
        if isinstance(expr, over) and not is_number(expr):
            below = self.formula(expr.args[0])
            quotient = self.quotient(Literal("1"), below)
            return call("torch.where", Infix(">", below, Literal("0")), quotient, Literal("0"))
        name, arguments = of_order(expr)
        if is_number(expr):
            if isinstance(expr, NamedFunction):
                return self.formula(opened(expr))
            if word(name).of_numbers:
                return call(f"math.{name}", *map(self.formula, expr.args))
        path, options = word(name).path, {option: Literal(f'"{value}"') for option, value in word(name).options}
        if not path or is_number(expr):
            known = ", ".join(
                sorted(w.function for w in WORDS if w.path and isinstance(getattr(sympy, w.function, None), type))
            )
            raise ValueError(f"torch has no function for {name}, as in {expr}; it has {known}")
        return call(path, *map(self.formula, arguments), **options)

    def heaviside(self, expr: Heaviside) -> Source:
        """Half of 1 + sign where the value at 0 is a half."""
        if expr.args[1] != Rational(1, 2):
            return self.formula(expr.rewrite(Piecewise))
        return Infix("/", Infix("+", call("torch.sign", self.formula(expr.args[0])), Literal("1")), Literal("2"))

    def extremum(self, expr: Max | Min) -> Source:
        name, bound = ("maximum", "min") if isinstance(expr, Max) else ("minimum", "max")
        numbers = [argument for argument in expr.args if is_number(argument)]
        others = [self.formula(argument) for argument in expr.args if not is_number(argument)]
        source = reduce(lambda found, other: call(f"torch.{name}", found, other), others)
        for number in numbers:
            source = call("torch.clamp", source, **{bound: self.formula(number)})
        return source

    def piecewise(self, expr: Piecewise) -> Source:
        """Nested torch.where; of two numbers torch would make a tensor of its default dtype."""
        *branches, (last, condition) = expr.args
        if condition is not true:
            raise ValueError(f"torch needs a value where no condition holds: {expr}")
        source = self.formula(last)
        if all(is_number(branch) for branch, _ in expr.args[-2:]):
            source = method(self.like, "new_tensor", source)
        for value, condition in reversed(branches):
            source = call("torch.where", self.formula(condition), self.formula(value), source)
        return source


class TorchPrinter(TorchFormulas):
    """Spells the operations and formulas of a program."""

    flat = single = False  # whether a target is kept 1-D, or 0-D

    def line(self, equation: Equation) -> Line:
        self.flat = equation.target.name in self.program.rows
        self.single = self.program.shape(equation.target) == ()
        target = self.program.notation.torch(equation.target.name)
        return Line(target, self.of(lower(equation.value)), self.shape_text(equation.target), equation.meaning)

    def shape_text(self, matrix: MatrixExpr) -> str:
        """The shape of a tensor, as Python writes it: (N, 10), (10,), and () for a scalar."""
        return Group(tuple(map(self.formula, self.program.shape(matrix)))).text

    def of(self, operation: Operation) -> Source:
        """An operation as source."""
        match operation:
            case NamedMatrix(symbol=symbol):
                return Name(self.program.notation.torch(symbol.name))
            case Constant():
                return self.constant(operation)
            case Transposed(of=of):
                return Attribute(self.of(of), "T")
            case Power(of=of, exponent=-1):
                return call("torch.linalg.inv", self.of(of))
            case Power(of=of, exponent=exponent):
                return call("torch.linalg.matrix_power", self.of(of), self.formula(exponent))
            case Product(factors=parts):
                return self.product(parts)
            case Scaled(scale=scale, of=of):
                return self.scaled(scale.xreplace(self.program.sizes), self.of(of))
            case Sum(terms=parts):
                return self.sum(operation.shape, parts)
            case Affine():
                return self.affine(operation)
            case Entrywise():
                return self.entrywise(operation)
            case Reduction():
                return self.reduction(operation)
            case Repeated(shape=shape, of=of):
                return method(self.of(of), "expand", *self.sizes(shape))
            case Inner(left=left, right=right):
                return method(Infix("*", self.of(left), self.of(right)), "sum")
            case Number(kind=kind, of=of) if kind in OF_SLOGDET:
                return Index(call("torch.linalg.slogdet", self.of(of)), (Literal(str(OF_SLOGDET[kind])),))
            case Number(kind=kind, of=of):
                return call(NUMBER_CALLS[kind], self.of(of))
            case Entry(of=of, row=row, column=column):
                return Index(self.of(of), self.sizes((row, column)))
            case Kronecker(left=left, right=right, shape=shape):
                blocks = call("torch.einsum", Literal('"ij,kl->ikjl"'), self.of(left), self.of(right))
                return method(blocks, "reshape", *self.sizes(shape))
            case Contraction():
                return self.contraction(operation)
            case Slice(of=of, rows=rows, columns=columns):
                return Index(self.of(of), tuple(Range(*self.sizes(ends)) for ends in (rows, columns)))
            case Blocks():
                return self.blocks(operation)
        raise ValueError(f"torch has no name here for {type(operation).__name__}: {operation}")

    def source(self, expr: Expr) -> Source:
        """A matrix expression or a formula."""
        return self.of(lower(expr)) if isinstance(expr, MatrixExpr) else self.formula(expr)

    def sizes(self, shape: tuple[Expr, ...]) -> tuple[Source, ...]:
        return tuple(self.formula(sympify(size).xreplace(self.program.sizes)) for size in shape)

    def constant(self, constant: Constant) -> Source:
        given = {name: Attribute(self.like, name) for name in ("dtype", "device")}
        if constant.kind == "arange":
            return method(call("torch.arange", self.sizes(constant.shape)[0], **given), "unsqueeze", Literal("1"))
        if constant.kind == "identity":
            return call("torch.eye", self.sizes(constant.shape)[0], **given)
        if constant.kind == "entries":
            rows = tuple(Group(tuple(map(self.formula, row)), "[]") for row in constant.entries)
            return method(self.like, "new_tensor", Group(rows, "[]"))
        shape = () if self.single and constant.shape == (1, 1) else self.sizes(constant.shape)
        return method(self.like, CONSTANT_CALLS[constant.kind], Group(shape))

    def affine(self, affine: Affine) -> Source:
        operands = [self.of(part) for part in (affine.input, affine.weight, affine.bias)]
        if affine.bias.symbol.name in self.program.rows:
            return call("torch.nn.functional.linear", *operands)
        X, W, b = operands
        return plus(Infix("@", X, Attribute(W, "T")), b)

    def sum(self, shape: Shape, parts: tuple[Operation, ...]) -> Source:
        """What is repeated comes last; torch repeats it by itself."""
        ordered = sorted(parts, key=lambda part: isinstance(part, Repeated))
        return self.spread(shape, parts, reduce(plus, map(self.unrepeated, ordered)))

    def unrepeated(self, operation: Operation) -> Source:
        return self.of(operation.of if isinstance(operation, Repeated) else operation)

    def spread(self, shape: Shape, parts: tuple[Operation, ...], source: Source) -> Source:
        """The result of parts that torch repeats by itself; where all of them are repeated, so is the result."""
        shapes = [part.of.shape if isinstance(part, Repeated) else part.shape for part in parts]
        if all(any(own[axis] == shape[axis] for own in shapes) for axis in (0, 1)):
            return source
        return method(source, "expand", *self.sizes(shape))

    def entrywise(self, entrywise: Entrywise) -> Source:
        outer, self.bound = self.bound, dict(entrywise.operands)
        with distribute(False):
            source = self.formula(entrywise.formula.xreplace(self.program.sizes))
        self.bound = outer
        return self.spread(entrywise.shape, tuple(part for _, part in entrywise.operands), source)

    def reduction(self, reduction: Reduction) -> Source:
        of, axis = self.of(reduction.of), reduction.axis
        keep = {"keepdim": Literal("True")}
        if reduction.kind != "sum":
            path = f"torch.{reduction.kind}"
            if not any(word.path == path for word in WORDS):
                raise ValueError(f"torch has no name here for {type(reduction).__name__}: {reduction}")
            if axis is None:
                return call(path, of, Group((Literal("0"), Literal("1"))))
            return call(path, of, Literal(str(axis)), **keep)
        if axis is None:
            return method(of, "sum")
        return method(of, "sum", Literal(str(axis)), **({} if self.flat and axis == 0 else keep))

    def product(self, parts: tuple[Operation, ...]) -> Source:
        """A product, from the right where it ends in a column, and with linear solves for inverses."""
        for index in reversed(range(len(parts))):
            factor = parts[index]
            if isinstance(factor, Power) and factor.exponent == -1 and len(parts) > 1:
                matrix, left, right = self.of(factor.of), parts[:index], parts[index + 1 :]
                if right:
                    solved = call("torch.linalg.solve", matrix, self.product(right))
                    return Infix("@", self.product(left), solved) if left else solved
                return call("torch.linalg.solve", matrix, self.product(left), left=Literal("False"))
        if len(parts) > 2 and parts[-1].shape[1] == 1 and parts[0].shape[0] != 1:
            return Infix("@", self.of(parts[0]), self.product(parts[1:]))
        return chained("@", map(self.of, parts))

    def contraction(self, contraction: Contraction) -> Source:
        (m, n), (p, q) = contraction.factor.shape, contraction.shape
        sizes = (m, p, n, q) if contraction.inner else (p, m, q, n)
        blocks = method(self.of(contraction.blocks), "reshape", *self.sizes(sizes))
        pattern = Literal('"kilj,kl->ij"' if contraction.inner else '"ikjl,kl->ij"')
        return call("torch.einsum", pattern, blocks, self.of(contraction.factor))

    def blocks(self, blocks: Blocks) -> Source:
        """One block in zeros is padded; a row of blocks is put side by side, and the rows one under another."""
        rows = blocks.rows
        filled = [(i, j) for i, row in enumerate(rows) for j, block in enumerate(row) if not is_zeros(block)]
        if len(filled) == 1:
            ((i, j),) = filled
            heights, widths = [row[0].shape[0] for row in rows], [block.shape[1] for block in rows[0]]
            around = (sum(widths[:j]), sum(widths[j + 1 :]), sum(heights[:i]), sum(heights[i + 1 :]))
            return call("torch.nn.functional.pad", self.block(rows[i][j]), Group(self.sizes(around)))
        return concatenated([concatenated(list(map(self.block, row)), 1) for row in rows], 0)

    def block(self, block: Operation) -> Source:
        """A block has two dimensions, also where torch has a number without any."""
        source, inner = self.of(block), block.of if isinstance(block, Scaled) else block
        if block.shape != (1, 1) or (isinstance(inner, Constant) and not self.single):
            return source
        return method(source, "reshape", Literal("1"), Literal("1"))

    def entry(self, operand: Operation) -> Source:
        return self.unrepeated(operand)


def concatenated(sources: list[Source], axis: int) -> Source:
    if len(sources) == 1:
        return sources[0]
    return call("torch.cat", Group(tuple(sources)), Literal(str(axis)))


def is_zeros(operation: Operation) -> bool:
    return isinstance(operation, Constant) and operation.kind == "zeros"


def lines(program: Program, equations: tuple[Equation, ...], one: str = "1") -> list[Line]:
    """The equations as lines of a function body."""
    printer = TorchPrinter(program, one)
    return [printer.line(equation) for equation in equations]


def rows_summands(program: Program, equation: Equation) -> Line:
    """A gradient that is a sum over the rows, as the rows' own terms: the last sum left undone."""
    printer, operation = TorchPrinter(program), lower(equation.value)
    match operation:
        case Reduction(kind="sum", axis=0, of=of):
            value, rows = printer.of(of), of.shape[0]
        case Product(factors=(Transposed(of=left), right)):
            (column, row), rows = map(printer.of, (left, right)), left.shape[0]
            value = Infix("*", method(column, "unsqueeze", Literal("2")), method(row, "unsqueeze", Literal("1")))
        case _:
            raise ValueError(f"{equation.target} is no sum over the rows alone: {equation.value}")
    shape = Group(tuple(map(printer.formula, (rows, *program.shape(equation.target))))).text
    return Line(program.notation.torch(equation.target.name), value, shape, f"each row's {equation.meaning}")


def spell(program: Program, expr: MatrixExpr) -> str:
    """One expression as torch source."""
    return TorchPrinter(program).source(expr).text
