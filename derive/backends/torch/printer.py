"""Operations as torch source. What torch has no name for here is an error, at build time."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from itertools import zip_longest

from sympy import (
    Add,
    And,
    Expr,
    Function,
    Heaviside,
    Integer,
    MatrixExpr,
    Max,
    Min,
    Mul,
    Or,
    Piecewise,
    Pow,
    Rational,
    Symbol,
    atan2,
    exp,
    pi,
    sympify,
    to_nnf,
    true,
)
from sympy.core.numbers import Exp1
from sympy.core.parameters import distribute
from sympy.core.relational import Relational
from sympy.logic.boolalg import BooleanFunction

from derive.backends import (
    KERNELS,
    NUMBER_FUNCTIONS,
    OPTIONS,
    PRODUCT,
    WIDTH,
    Attribute,
    Group,
    Index,
    Infix,
    Literal,
    Minus,
    Name,
    Range,
    Source,
    assigned,
    call,
    chained,
    dotted,
    method,
    plus,
)
from derive.formulas import NamedFunction, opened, sigmoid
from derive.operations import (
    Affine,
    Blocks,
    Constant,
    Contraction,
    Entry,
    Entrywise,
    Inner,
    Kronecker,
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
    Value,
    lower,
)
from derive.programs import Equation, Program, factors, is_number, terms

MOST_READABLE = 10**6  # a fraction with a larger denominator is written as a decimal if that is as exact
ONE = "one"  # the name of a 1 that is a tensor
NUMBERS = {"trace": "torch.trace", "det": "torch.linalg.det", "logdet": "torch.logdet"}
CONSTANTS = {"ones": "new_ones", "zeros": "new_zeros"}


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

    @property
    def fitting(self) -> str:
        """The code, on lines of its own where it and its shape would not fit on one."""
        return assigned(self.target, self.value, WIDTH - len(f"      # {self.shape}"))


class TorchPrinter:
    """Spells the operations and formulas of a program; sizes become numbers where the program knows them.

    `one` is how the 1 of 1 - a is spelled.
    """

    def __init__(self, program: Program, one: str = "1") -> None:
        self.program, self.one = program, one
        self.bound: dict[Symbol, Operation] = {}
        self.flat = self.single = False

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
            case Value(symbol=symbol):
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
            case Number(kind=kind, of=of):
                return call(NUMBERS[kind], self.of(of))
            case Entry(of=of, row=row, column=column):
                return Index(self.of(of), self.sizes((row, column)))
            case Kronecker(left=left, right=right):
                return call("torch.kron", self.laid_out(left), self.laid_out(right))
            case Contraction():
                return self.contraction(operation)
            case Slice(of=of, rows=rows, columns=columns):
                return Index(self.of(of), tuple(Range(*self.sizes(ends)) for ends in (rows, columns)))
            case Blocks():
                return self.blocks(operation)
        raise ValueError(f"torch has no name here for {type(operation).__name__}: {operation}")

    def text(self, expr: Expr) -> str:
        """A matrix expression or a formula as it is written."""
        return (self.of(lower(expr)) if isinstance(expr, MatrixExpr) else self.formula(expr)).text

    def sizes(self, shape: tuple[Expr, ...]) -> tuple[Source, ...]:
        return tuple(self.formula(sympify(size).xreplace(self.program.sizes)) for size in shape)

    @property
    def like(self) -> Source:
        """A tensor whose dtype and device constants take."""
        return Name(self.program.notation.torch(self.program.inputs[0].name))

    def constant(self, constant: Constant) -> Source:
        if constant.kind == "identity":
            given = {name: Attribute(self.like, name) for name in ("dtype", "device")}
            return call("torch.eye", self.sizes(constant.shape)[0], **given)
        if constant.kind == "entries":
            rows = tuple(Group(tuple(map(self.formula, row)), "[]") for row in constant.entries)
            return method(self.like, "new_tensor", Group(rows, "[]"))
        shape = () if self.single and constant.shape == (1, 1) else self.sizes(constant.shape)
        return method(self.like, CONSTANTS[constant.kind], Group(shape))

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

    def laid_out(self, operation: Operation) -> Source:
        """torch.kron wants its factors row by row in memory."""
        source = self.of(operation)
        return method(source, "contiguous") if isinstance(operation, Transposed) else source

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
        return joined([joined(list(map(self.block, row)), 1) for row in rows], 0)

    def block(self, block: Operation) -> Source:
        """A block has two dimensions, also where torch has a number without any."""
        source, inner = self.of(block), block.of if isinstance(block, Scaled) else block
        if block.shape != (1, 1) or (isinstance(inner, Constant) and not self.single):
            return source
        return method(source, "reshape", Literal("1"), Literal("1"))

    # formulas of numbers

    def formula(self, expr: Expr) -> Source:
        """A formula as source, its symbols as what they run over."""
        for kind, spell in SPELLINGS.items():
            if isinstance(expr, kind):
                return spell(self, expr)
        raise ValueError(f"torch has no name here for {type(expr).__name__}: {expr}")

    def symbol(self, expr: Symbol) -> Source:
        if expr in self.bound:
            return self.unrepeated(self.bound[expr])
        if expr.is_integer:
            return self.formula(self.program.sizes[expr]) if expr in self.program.sizes else Name(expr.name)
        return Name(self.program.notation.torch(expr.name))

    def integer(self, expr: Integer) -> Source:
        """Beyond what torch has in 64 bits as a decimal, or as a quotient if no decimal says the same."""
        if expr.p < 0:
            return Minus(self.formula(-expr))
        if expr.p < 2**63:
            return Literal(str(expr.p))
        decimal = repr(float(expr.p))
        return Literal(decimal) if Rational(decimal) == expr else Infix("/", Literal(str(expr.p)), Literal("1"))

    def rational(self, expr: Rational) -> Source:
        if expr.p < 0:
            return Minus(self.formula(-expr))
        if is_decimal(expr):
            return Literal(repr(expr.p / expr.q))
        return Infix("/", Literal(str(expr.p)), Literal(str(expr.q)))

    def scaled(self, scale: Expr, of: Source) -> Source:
        """A number in front, but a division where it is one over a number."""
        if scale.could_extract_minus_sign():
            return Minus(self.scaled(-scale, of))
        if is_decimal(scale):
            return times(self.formula(scale), of)
        numerator, denominator = scale.as_numer_denom()
        if numerator == 1:
            return of if denominator == 1 else Infix("/", of, self.formula(denominator))
        ratio = self.formula(numerator)
        if denominator != 1:
            ratio = Infix("/", ratio, self.formula(denominator))
        return times(ratio, of)

    def add(self, expr: Add) -> Source:
        first, *rest = terms(expr)
        source = Name(self.one) if first == 1 and self.one != "1" and not is_number(expr) else self.formula(first)
        for term in rest:
            negative = term.could_extract_minus_sign()
            source = Infix("-", source, self.formula(-term)) if negative else Infix("+", source, self.formula(term))
        return source

    def mul(self, expr: Mul) -> Source:
        """Left to right, numbers and sizes as one factor in front: 2 / N * (p - y)."""
        if expr.could_extract_minus_sign():
            return Minus(self.formula(-expr))
        scale, over, under = Integer(1), [], []
        for factor in factors(expr, self.program.notation):
            if is_number(factor):
                scale *= factor
            elif factor.is_Pow and factor.exp.is_number and factor.exp.is_negative:
                under.append(1 / factor)
            else:
                over.append(factor)
        if not over and not under:
            numbers, denominator = expr.as_numer_denom()
            source = chained("*", map(self.formula, Mul.make_args(numbers)))
            return source if denominator == 1 else Infix("/", source, self.formula(denominator))
        over, large, under = in_steps(over, under)
        source = self.scaled(scale, chained("*", map(self.formula, over))) if over else self.formula(scale)
        for above, below in zip_longest(large, under):
            source = source if above is None else Infix("*", source, self.formula(above))
            source = source if below is None else Infix("/", source, self.formula(below))
        return source

    def pow(self, expr: Pow) -> Source:
        base, exponent = expr.as_base_exp()
        if exponent.is_number and exponent.is_negative:
            return Infix("/", Literal("1"), self.formula(base**-exponent))
        if exponent == Rational(1, 2):
            return call("math.sqrt" if is_number(base) else "torch.sqrt", self.formula(base))
        if exponent == 2 and not is_number(base):
            return call("torch.square", self.formula(base))
        return Infix("**", self.formula(base), self.formula(exponent))

    def function(self, expr: Function) -> Source:
        name = type(expr).__name__
        if is_number(expr):
            if isinstance(expr, NamedFunction):
                return self.formula(opened(expr))
            if name in NUMBER_FUNCTIONS:
                return call(f"math.{name}", *map(self.formula, expr.args))
        path, *options = OPTIONS[name] if name in OPTIONS else (KERNELS.get(name),)
        if path is None or is_number(expr):
            raise ValueError(f"torch has no name here for {name}: {expr}")
        return call(path, *map(self.formula, expr.args), **dict(options))

    def heaviside(self, expr: Heaviside) -> Source:
        """A step, with its own value at 0; half of 1 + sign where that is a half."""
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
        """Nested torch.where; of numbers alone torch would make a tensor of its default dtype."""
        *branches, (last, condition) = expr.args
        if condition is not true:
            raise ValueError(f"torch needs a value where no condition holds: {expr}")
        source = self.formula(last)
        if all(is_number(branch) for branch, _ in expr.args):
            source = method(self.like, "new_tensor", source)
        for value, condition in reversed(branches):
            source = call("torch.where", self.formula(condition), self.formula(value), source)
        return source

    def relational(self, expr: Relational) -> Source:
        return Infix(expr.rel_op, self.formula(expr.lhs), self.formula(expr.rhs))


SPELLINGS: dict[type, Callable[[TorchPrinter, Expr], Source]] = {
    Symbol: TorchPrinter.symbol,
    Integer: TorchPrinter.integer,
    Rational: TorchPrinter.rational,
    type(pi): lambda _, expr: dotted("math.pi"),
    Exp1: lambda _, expr: dotted("math.e"),
    Add: TorchPrinter.add,
    Mul: TorchPrinter.mul,
    Pow: TorchPrinter.pow,
    Piecewise: TorchPrinter.piecewise,
    Max: TorchPrinter.extremum,
    Min: TorchPrinter.extremum,
    Heaviside: TorchPrinter.heaviside,
    atan2: lambda printer, expr: call("torch.atan2", *map(printer.formula, expr.args)),
    Relational: TorchPrinter.relational,
    And: lambda printer, expr: chained("&", map(printer.formula, expr.args)),
    Or: lambda printer, expr: chained("|", map(printer.formula, expr.args)),
    BooleanFunction: lambda printer, expr: printer.formula(to_nnf(expr, simplify=False)),
    Function: TorchPrinter.function,
}


def times(ratio: Source, of: Source) -> Source:
    """A number times a product, which comes after it from left to right."""
    if isinstance(of, Infix) and of.level == PRODUCT:
        return Infix(of.operator, times(ratio, of.left), of.right)
    return Infix("*", ratio, of)


def in_steps(over: list[Expr], under: list[Expr]) -> tuple[list[Expr], list[Expr], list[Expr]]:
    """The factors of a quotient, those among them that may be large where others are small, and the divisors.

    A power of these comes one factor at a time, each divided at once: z / (1 + z**2) * z is finite where
    z**2 / (1 + z**2) is not, and exp(-z**2) * z * z is 0 where exp(-z**2) * z**2 is nan.
    """
    below = set().union(*(factor.free_symbols for factor in under))
    fading = [factor for factor in over if fades(factor.as_base_exp()[0])]

    def grows(factor: Expr) -> bool:
        base, power = factor.as_base_exp()
        beside = factor not in fading and (base.is_Symbol or (bool(fading) and base.is_Add)) and len(over) > 1
        return (beside and power.is_Integer and power > 1) or bool(factor.free_symbols & below)

    large = [factor for factor in over if grows(factor)]
    if len(over) == len(large) == 1 == len(singles(large)):
        return over, [], singles(under)
    rest = [factor for factor in over if factor not in large]
    if large and fading:
        rest.sort(key=lambda factor: factor not in fading)
    return rest, singles(large), singles(under) if large else under


def fades(base: Expr) -> bool:
    """Whether it is an exp or a sigmoid, or the name that a part of a long formula has as one."""
    return isinstance(base, exp | sigmoid) or (base.is_Symbol and bool(re.match(r"(exp|sigmoid)[\d_]", base.name)))


def singles(factors: list[Expr]) -> list[Expr]:
    """The factors, a whole power as often as it says."""
    found = []
    for factor in factors:
        base, power = factor.as_base_exp()
        found += [base] * int(power) if power.is_Integer and 1 < power <= 4 else [factor]
    return found


def joined(sources: list[Source], axis: int) -> Source:
    if len(sources) == 1:
        return sources[0]
    return call("torch.cat", Group(tuple(sources)), Literal(str(axis)))


def is_zeros(operation: Operation) -> bool:
    return isinstance(operation, Constant) and operation.kind == "zeros"


def is_decimal(number: Expr) -> bool:
    """Whether it is written as a decimal: it has a large denominator, and the decimal says exactly the same."""
    return number.is_Rational and number.q > MOST_READABLE and Rational(repr(number.p / number.q)) == number


def lines(program: Program, equations: tuple[Equation, ...], one: str = "1") -> list[Line]:
    """The equations as lines of a function body."""
    printer = TorchPrinter(program, one)
    return [printer.line(equation) for equation in equations]


def summands(program: Program, equation: Equation) -> Line:
    """A gradient that is a sum over the rows, as the rows' own terms: the last sum left undone."""
    printer, operation = TorchPrinter(program), lower(equation.value)
    match operation:
        case Reduction(kind="sum", axis=0, of=of):
            value, rows = printer.of(of), of.shape[0]
        case Product(factors=(Transposed(of=left), right)):
            (column, row), rows = map(printer.of, (left, right)), left.shape[0]
            value = Infix("*", method(column, "unsqueeze", Literal("2")), method(row, "unsqueeze", Literal("1")))
    shape = Group(tuple(map(printer.formula, (rows, *program.shape(equation.target))))).text
    return Line(program.notation.torch(equation.target.name), value, shape, f"each row's {equation.meaning}")


def spell(program: Program, expr: MatrixExpr) -> str:
    """One expression as torch source."""
    return TorchPrinter(program).of(lower(expr)).text
