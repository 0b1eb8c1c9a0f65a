"""Equations as torch source. A strict printer: what torch has no name for here is an error, at build time."""

from dataclasses import dataclass
from functools import reduce

from sympy import (
    Add,
    And,
    Basic,
    BlockMatrix,
    Determinant,
    Expr,
    Identity,
    ImmutableDenseMatrix,
    Integer,
    Inverse,
    KroneckerProduct,
    MatAdd,
    MatMul,
    MatPow,
    MatrixExpr,
    MatrixSymbol,
    Max,
    Min,
    Mul,
    Not,
    OneMatrix,
    Or,
    Piecewise,
    Pow,
    Rational,
    Symbol,
    Trace,
    Transpose,
    ZeroMatrix,
    sympify,
    true,
)
from sympy.core.parameters import distribute
from sympy.core.relational import Relational
from sympy.matrices.expressions.matexpr import MatrixElement
from sympy.matrices.expressions.slice import MatrixSlice

from derive.backends.torch.code import ATOM, CHAIN, CONDITION, POWER, PRODUCT, SUM, Code
from derive.formulas import NamedFunction, opened
from derive.operations import affine
from derive.programs import (
    BlockSum,
    Elementwise,
    Equation,
    LogDet,
    Program,
    RowLogSumExp,
    Scalar,
    constant,
    core,
    factors,
    is_number,
    terms,
)

ELEMENTARY = (
    *("acos", "acosh", "asin", "asinh", "atan", "atanh", "cos", "cosh", "erf", "erfc", "erfinv", "exp"),
    *("floor", "log", "relu", "selu", "sigmoid", "sign", "sin", "sinh", "tan", "tanh"),
)
NUMBER_FUNCTIONS = {"cos", "cosh", "erf", "exp", "gamma", "log", "sin", "sinh", "tan", "tanh"}
KERNELS = {
    "Abs": "torch.abs",
    "ceiling": "torch.ceil",
    "loggamma": "torch.lgamma",
    **{name: f"torch.{name}" for name in ELEMENTARY},
    **{
        name: f"torch.nn.functional.{name}"
        for name in (
            "celu",
            "elu",
            "gelu",
            "hardsigmoid",
            "hardswish",
            "hardtanh",
            "leaky_relu",
            "logsigmoid",
            "mish",
            "relu6",
            "silu",
            "softplus",
            "softsign",
            "tanhshrink",
        )
    },
}
MOST_READABLE = 10**6  # a fraction with a larger denominator is written as a decimal
OPTIONS = {"gelu_tanh": ("torch.nn.functional.gelu", 'approximate="tanh"')}


IN_PLACE = ("relu", "sigmoid", "sin", "tanh")  # as methods with an underscore
INTO = {
    "celu": "torch.ops.aten.elu.out({z}, out={out})",
    "elu": "torch.ops.aten.elu.out({z}, out={out})",
    "gelu": "torch.ops.aten.gelu.out({z}, out={out})",
    "gelu_tanh": 'torch.ops.aten.gelu.out({z}, approximate="tanh", out={out})',
    "hardsigmoid": "torch.ops.aten.hardsigmoid.out({z}, out={out})",
    "hardswish": "torch.ops.aten.hardswish.out({z}, out={out})",
    "hardtanh": "torch.clamp({z}, -1, 1, out={out})",
    "leaky_relu": "torch.ops.aten.leaky_relu.out({z}, out={out})",
    "logsigmoid": "torch.ops.aten.log_sigmoid.out({z}, out={out})",
    "mish": "torch.ops.aten.mish.out({z}, out={out})",
    "relu": "torch.clamp_min({z}, 0, out={out})",
    "relu6": "torch.clamp({z}, 0, 6, out={out})",
    "selu": "torch.ops.aten.elu.out({z}, 1.6732632423543772, 1.0507009873554805, out={out})",
    "sigmoid": "torch.sigmoid({z}, out={out})",
    "silu": "torch.ops.aten.silu.out({z}, out={out})",
    "sin": "torch.sin({z}, out={out})",
    "softplus": "torch.ops.aten.softplus.out({z}, out={out})",
    "tanh": "torch.tanh({z}, out={out})",
}
PULLBACKS = {  # cotangent g times slope, where torch has a kernel for it, at z or at the output a
    "celu": "torch.ops.aten.elu_backward.grad_input({g}, 1, 1, 1, False, {z}, grad_input={out})",
    "elu": "torch.ops.aten.elu_backward.grad_input({g}, 1, 1, 1, False, {z}, grad_input={out})",
    "gelu": "torch.ops.aten.gelu_backward.grad_input({g}, {z}, grad_input={out})",
    "gelu_tanh": 'torch.ops.aten.gelu_backward.grad_input({g}, {z}, approximate="tanh", grad_input={out})',
    "hardswish": "torch.ops.aten.hardswish_backward.out({g}, {z}, out={out})",
    "hardtanh": "torch.ops.aten.hardtanh_backward.grad_input({g}, {z}, -1, 1, grad_input={out})",
    "leaky_relu": "torch.ops.aten.leaky_relu_backward.grad_input({g}, {z}, 0.01, False, grad_input={out})",
    "mish": "{out}.copy_(torch.ops.aten.mish_backward.default({g}, {z}))",
    "relu": "torch.ops.aten.threshold_backward.grad_input({g}, {a}, 0, grad_input={out})",
    "relu6": "torch.ops.aten.hardtanh_backward.grad_input({g}, {z}, 0, 6, grad_input={out})",
    "selu": (
        "torch.ops.aten.elu_backward.grad_input({g}, 1.6732632423543772, 1.0507009873554805, 1, False, {z}, "
        "grad_input={out})"
    ),
    "sigmoid": "torch.ops.aten.sigmoid_backward.grad_input({g}, {a}, grad_input={out})",
    "silu": "torch.ops.aten.silu_backward.grad_input({g}, {z}, grad_input={out})",
    "softplus": "torch.ops.aten.softplus_backward.grad_input({g}, {z}, 1, 20, grad_input={out})",
    "tanh": "torch.ops.aten.tanh_backward.grad_input({g}, {a}, grad_input={out})",
}


WIDTH = 120  # of a line of emitted code
ONE = "one"  # the name of a 1 that is a tensor


@dataclass(frozen=True)
class Line:
    """One assignment of the emitted code: `code` assigns a tensor of `shape`; `meaning` says what it is."""

    code: str
    shape: str
    meaning: str

    @property
    def comment(self) -> str:
        """Shape and meaning; the shape alone where the two would not fit on the line."""
        both = f"{self.shape} {self.meaning}"
        return both if len(f"    {self.code}  # {both}") <= WIDTH else self.shape


class TorchPrinter:
    """Spells matrix expressions and scalar formulas; sizes become numbers where the program knows them.

    A node of class C is spelled by the method _print_C, or by that of the nearest class that C comes from.
    `one` is how the 1 of 1 - a is spelled.
    """

    def __init__(self, program: Program, one: str = "1") -> None:
        self.program, self.one = program, one
        self.bound: dict[Symbol, MatrixExpr] = {}
        self.flat = self.single = False

    def equation(self, equation: Equation) -> str:
        self.flat = equation.target.name in self.program.rows
        self.single = self.program.shape(equation.target) == ()
        return f"{self._print(equation.target)} = {self._print(equation.value)}"

    def shape(self, matrix: MatrixExpr) -> str:
        """The shape of a tensor, as Python writes it: (N, 10), (10,), and () for a scalar."""
        return shape_text(tuple(map(self._print, self.program.shape(matrix))))

    def _print(self, expr: Basic) -> Code:
        """Raises ValueError for a node that no method spells."""
        expr = sympify(expr)
        for kind in type(expr).__mro__:
            method = getattr(self, f"_print_{kind.__name__}", None)
            if method is not None:
                return method(expr)
        raise self._unknown(expr)

    def _unknown(self, expr: Basic) -> ValueError:
        return ValueError(f"torch has no name here for {type(expr).__name__}: {expr}")

    def _print_MatrixSymbol(self, expr: MatrixSymbol) -> Code:
        return Code(self.program.notation.torch(expr.name))

    def _print_Symbol(self, expr: Symbol) -> Code:
        if expr in self.bound:
            return self._view(self.bound[expr]).at(ATOM)
        if expr.is_integer:
            return self._print(self.program.sizes[expr]) if expr in self.program.sizes else Code(expr.name)
        return Code(self.program.notation.torch(expr.name))

    def _print_Transpose(self, expr: Transpose) -> Code:
        return Code(f"{self._atom(expr.arg)}.T")

    def _print_Elementwise(self, expr: Elementwise) -> Code:
        """The formula; where all that it runs over is repeated, so is the result."""
        outer, self.bound = self.bound, expr.operands
        with distribute(False):
            code = self._print(expr.formula.xreplace(self.program.sizes))
        self.bound = outer
        shapes = [core(operand).shape for operand in expr.operands.values()]
        if all(any(shape[axis] == expr.shape[axis] for shape in shapes) for axis in (0, 1)):
            return code
        return Code(f"{code.at(ATOM)}.expand({self._sizes(expr.shape)})")

    def _view(self, view: MatrixExpr) -> Code:
        """A view where torch repeats it by itself."""
        return self._print(core(view))

    def _print_RowLogSumExp(self, expr: RowLogSumExp) -> Code:
        axes = "(0, 1)" if expr.shape == (1, 1) else "1, keepdim=True"
        return Code(f"torch.logsumexp({self._print(expr.args[0])}, {axes})")

    def _print_MatAdd(self, expr: MatAdd) -> Code:
        """A row that is broadcast comes last; with one product it is the bias of torch's linear."""
        if (found := affine(expr)) and found[2].name in self.program.rows:
            return Code(f"torch.nn.functional.linear({', '.join(map(self._print, found))})")
        parts = sorted(expr.args, key=lambda term: core(term) != term)
        return reduce(Code.plus, map(self._view, parts))

    def _print_MatMul(self, expr: MatMul) -> Code:
        """Ones at the ends are a broadcast of a row or column, or a sum over rows, columns or all entries."""
        scale, matrices = expr.as_coeff_matrices()
        left, right = (
            isinstance(m, OneMatrix) and 1 in m.shape and len(matrices) > 1 for m in (matrices[0], matrices[-1])
        )
        code = self._product(matrices[left : len(matrices) - right])
        adds_rows, adds_columns = left and matrices[0].shape[0] == 1, right and matrices[-1].shape[1] == 1
        if ((left or right) and expr.shape == (1, 1)) or (adds_rows and adds_columns):
            code = Code(f"{code.at(ATOM)}.sum()")
        elif left or right:
            text = code.at(ATOM)
            if adds_rows:
                text += ".sum(0)" if self.flat else ".sum(0, keepdim=True)"
            if adds_columns:
                text += ".sum(1, keepdim=True)"
            if left != adds_rows or right != adds_columns:
                text += f".expand({self._sizes(expr.shape)})"
            code = Code(text)
        return self._scaled(scale.xreplace(self.program.sizes), code)

    def _product(self, matrices: list[MatrixExpr]) -> Code:
        """A product, from the right where it ends in a column, and with linear solves for inverses."""
        for index in reversed(range(len(matrices))):
            factor = matrices[index]
            if isinstance(factor, Inverse) and len(matrices) > 1:
                left, right = matrices[:index], matrices[index + 1 :]
                if right:
                    solved = Code(f"torch.linalg.solve({self._print(factor.arg)}, {self._product(right)})")
                    return self._product(left).chained(solved) if left else solved
                return Code(f"torch.linalg.solve({self._print(factor.arg)}, {self._product(left)}, left=False)")
        if len(matrices) > 2 and matrices[-1].shape[1] == 1 and matrices[0].shape[0] != 1:
            return self._atom(matrices[0]).chained(self._product(matrices[1:]))
        if len(matrices) == 1:
            return self._print(matrices[0])
        first, *rest = map(self._atom, matrices)
        return reduce(Code.chained, rest, first)

    def _atom(self, expr: Basic) -> Code:
        return self._print(expr).at(ATOM)

    def _sizes(self, shape: tuple[Expr, Expr]) -> str:
        return ", ".join(self._print(sympify(size).xreplace(self.program.sizes)) for size in shape)

    def _print_Scalar(self, expr: Scalar) -> Code:
        return self._print(expr.number)

    def _print_Trace(self, expr: Trace) -> Code:
        """tr(P Q) as the sum of the entries of P^T * Q."""
        factors = list(expr.arg.args) if isinstance(expr.arg, MatMul) else [expr.arg]
        if len(factors) == 1:
            return Code(f"torch.trace({self._print(factors[0])})")
        summed = factors[isinstance(factors[0], OneMatrix) : len(factors) - isinstance(factors[-1], OneMatrix)]
        row = not isinstance(factors[0], OneMatrix) or factors[0].shape[0] == 1
        column = not isinstance(factors[-1], OneMatrix) or factors[-1].shape[1] == 1
        if len(summed) < len(factors) and row and column and expr.arg.shape == (1, 1):
            return Code(f"{self._product(summed).at(ATOM)}.sum()")
        first, *rest = factors
        if len(rest) > 1 and rest[0] == first.T and not any(isinstance(f, Inverse) for f in factors):
            first, rest = factors[-1], factors[:-1]
        turned = first.arg if isinstance(first, Transpose) else Transpose(first)
        return Code(f"({self._atom(turned)} * {self._product(rest).at(ATOM)}).sum()")

    def _print_Determinant(self, expr: Determinant) -> Code:
        return Code(f"torch.linalg.det({self._print(expr.arg)})")

    def _print_LogDet(self, expr: LogDet) -> Code:
        return Code(f"torch.logdet({self._print(expr.arg)})")

    def _print_MatrixElement(self, expr: MatrixElement) -> Code:
        return Code(f"{self._atom(expr.parent)}[{self._print(expr.i)}, {self._print(expr.j)}]")

    def _print_Inverse(self, expr: Inverse) -> Code:
        return Code(f"torch.linalg.inv({self._print(expr.arg)})")

    def _print_MatPow(self, expr: MatPow) -> Code:
        return Code(f"torch.linalg.matrix_power({self._print(expr.base)}, {self._print(expr.exp)})")

    def _print_KroneckerProduct(self, expr: KroneckerProduct) -> Code:
        left, right = (self._print(f) + ".contiguous()" * isinstance(f, Transpose) for f in expr.args)
        return Code(f"torch.kron({left}, {right})")

    def _print_BlockSum(self, expr: BlockSum) -> Code:
        (m, n), (p, q) = expr.factor.shape, expr.shape
        sizes = (m, p, n, q) if expr.inner else (p, m, q, n)
        blocks = f"{self._atom(expr.matrix)}.reshape({self._sizes(sizes)})"
        pattern = "kilj,kl->ij" if expr.inner else "ikjl,kl->ij"
        return Code(f'torch.einsum("{pattern}", {blocks}, {self._print(expr.factor)})')

    def _print_MatrixSlice(self, expr: MatrixSlice) -> Code:
        """A block; of one entry the entry."""
        if expr.shape == (1, 1):
            return self._print(MatrixElement(expr.parent, expr.rowslice[0], expr.colslice[0]))
        rows, columns = (f"{self._print(low)}:{self._print(high)}" for low, high, _ in (expr.rowslice, expr.colslice))
        return Code(f"{self._atom(expr.parent)}[{rows}, {columns}]")

    def _print_BlockMatrix(self, expr: BlockMatrix) -> Code:
        """One block in zeros is padded; a row of blocks is put side by side, and the rows one under another."""
        rows, columns = expr.blockshape
        blocks = [[expr.blocks[i, j] for j in range(columns)] for i in range(rows)]
        filled = [(i, j) for i in range(rows) for j in range(columns) if not isinstance(blocks[i][j], ZeroMatrix)]
        if len(filled) == 1:
            ((i, j),) = filled
            heights, widths = expr.rowblocksizes, expr.colblocksizes
            around = (sum(widths[:j]), sum(widths[j + 1 :]), sum(heights[:i]), sum(heights[i + 1 :]))
            return Code(f"torch.nn.functional.pad({self._block(blocks[i][j])}, ({self._sizes(around)}))")
        bands = [self._joined([self._block(block) for block in row], 1) for row in blocks]
        return Code(self._joined(bands, 0))

    def _block(self, block: MatrixExpr) -> Code:
        """A tensor of two dimensions, also where torch has a number."""
        if block.shape != (1, 1) or isinstance(block, OneMatrix | ZeroMatrix | Identity):
            return self._print(block)
        number = constant(block)
        if number is not None:
            return Code(f"{self.like}.new_full((1, 1), {self._print(number)})")
        return Code(f"{self._atom(block)}.reshape(1, 1)")

    def _joined(self, texts: list[str], axis: int) -> str:
        return texts[0] if len(texts) == 1 else f"torch.cat(({', '.join(texts)}), {axis})"

    @property
    def like(self) -> str:
        """A tensor whose dtype and device constants take."""
        return self._print(self.program.inputs[0])

    def _print_ImmutableDenseMatrix(self, expr: ImmutableDenseMatrix) -> Code:
        rows = ", ".join(f"[{', '.join(map(self._print, row))}]" for row in expr.tolist())
        return Code(f"{self.like}.new_tensor([{rows}])")

    def _print_Identity(self, expr: Identity) -> Code:
        size = self._print(sympify(expr.shape[0]).xreplace(self.program.sizes))
        return Code(f"torch.eye({size}, dtype={self.like}.dtype, device={self.like}.device)")

    def _print_OneMatrix(self, expr: OneMatrix) -> Code:
        return Code(f"{self.like}.new_ones({self._shape(expr)})")

    def _print_ZeroMatrix(self, expr: ZeroMatrix) -> Code:
        return Code(f"{self.like}.new_zeros({self._shape(expr)})")

    def _shape(self, expr: MatrixExpr) -> str:
        return "()" if self.single and expr.shape == (1, 1) else f"({self._sizes(expr.shape)})"

    def _scaled(self, scale: Expr, code: Code) -> Code:
        """scale * code with the number in front, but a division by it where it is one over a number."""
        if scale.is_Rational and scale.q > MOST_READABLE:
            return self._print(scale).times(code, CHAIN)
        if scale.could_extract_minus_sign():
            return self._scaled(-scale, code).negative()
        numerator, denominator = scale.as_numer_denom()
        if numerator == 1:
            return code if denominator == 1 else code.over(self._print(denominator))
        ratio = self._print(numerator)
        return (ratio if denominator == 1 else ratio.over(self._print(denominator))).times(code, CHAIN)

    def _print_Add(self, expr: Add) -> Code:
        first, *rest = terms(expr)
        code = Code(self.one) if first == 1 and not is_number(expr) else self._print(first)
        for term in rest:
            negative = term.could_extract_minus_sign()
            code = code.minus(self._print(-term)) if negative else code.plus(self._print(term))
        return code

    def _print_Mul(self, expr: Mul) -> Code:
        """Left to right, numbers and sizes as one factor in front: 2 / N * (p - y)."""
        if expr.could_extract_minus_sign():
            return self._print(-expr).negative()
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
            code = reduce(Code.times, map(self._print, Mul.make_args(numbers)))
            return code if denominator == 1 else code.over(self._print(denominator))
        code = self._scaled(scale, reduce(Code.times, map(self._print, over))) if over else self._print(scale)
        return reduce(Code.over, map(self._print, under), code)

    def _print_Pow(self, expr: Pow) -> Code:
        base, exponent = expr.as_base_exp()
        if exponent.is_number and exponent.is_negative:
            return Code("1").over(self._print(base**-exponent))
        if exponent == Rational(1, 2):
            return Code(f"{'math' if is_number(base) else 'torch'}.sqrt({self._print(base)})")
        if exponent == 2 and not is_number(base):
            return Code(f"torch.square({self._print(base)})")
        power = "**" if base.is_Atom and exponent.is_Integer else " ** "
        return Code(power.join(map(self._atom, (base, exponent))), POWER)

    def _print_Function(self, expr: Expr) -> Code:
        if isinstance(expr, NamedFunction) and is_number(expr):
            return self._print(opened(expr))
        name = type(expr).__name__
        kernel, *options = OPTIONS[name] if name in OPTIONS else (KERNELS.get(name),)
        if is_number(expr) and name in NUMBER_FUNCTIONS:
            kernel = f"math.{name}"
        elif kernel is None or is_number(expr):
            raise self._unknown(expr)
        return Code(f"{kernel}({', '.join([*map(self._print, expr.args), *options])})")

    def _print_atan2(self, expr: Expr) -> Code:
        return Code(f"torch.atan2({', '.join(map(self._print, expr.args))})")

    def _print_Heaviside(self, expr: Expr) -> Code:
        return Code(f"(torch.sign({self._print(expr.args[0])}) + 1) / 2", PRODUCT)

    def _print_Max(self, expr: Max) -> Code:
        return self._extremum("maximum", "min", list(expr.args))

    def _print_Min(self, expr: Min) -> Code:
        return self._extremum("minimum", "max", list(expr.args))

    def _extremum(self, name: str, bound: str, arguments: list[Expr]) -> Code:
        numbers = [argument for argument in arguments if is_number(argument)]
        first, *rest = [argument for argument in arguments if not is_number(argument)]
        text = self._print(first)
        for argument in rest:
            text = f"torch.{name}({text}, {self._print(argument)})"
        for number in numbers:
            text = f"torch.clamp({text}, {bound}={self._print(number)})"
        return Code(text)

    def _print_Piecewise(self, expr: Piecewise) -> Code:
        """Nested torch.where; of numbers alone torch would make a tensor of its default dtype."""
        *branches, (text, condition) = [(self._print(value), condition) for value, condition in expr.args]
        if condition is not true:
            raise ValueError(f"torch needs a value where no condition holds: {expr}")
        if all(is_number(branch) for branch, _ in expr.args):
            text = f"{self.like}.new_tensor({text})"
        for value, condition in reversed(branches):
            text = f"torch.where({self._print(condition)}, {value}, {text})"
        return Code(text)

    def _print_Relational(self, expr: Relational) -> Code:
        return Code(f"{self._print(expr.lhs)} {expr.rel_op} {self._print(expr.rhs)}", CONDITION)

    def _print_And(self, expr: And) -> Code:
        return Code(" & ".join(map(self._atom, expr.args)), CONDITION)

    def _print_Or(self, expr: Or) -> Code:
        return Code(" | ".join(map(self._atom, expr.args)), CONDITION)

    def _print_Not(self, expr: Not) -> Code:
        return Code(f"~{self._atom(expr.args[0])}")

    def _print_Integer(self, expr: Integer) -> Code:
        return Code(str(expr.p), SUM if expr.p < 0 else ATOM)

    def _print_Rational(self, expr: Rational) -> Code:
        if expr.q > MOST_READABLE:
            return Code(repr(expr.p / expr.q), SUM if expr.p < 0 else ATOM)
        return Code(f"{expr.p} / {expr.q}", SUM if expr.p < 0 else PRODUCT)

    def _print_Pi(self, expr: Expr) -> Code:
        return Code("math.pi")

    def _print_Exp1(self, expr: Expr) -> Code:
        return Code("math.e")


def lines(program: Program, equations: tuple[Equation, ...], one: str = "1") -> list[Line]:
    """The equations as lines of a function body."""
    printer = TorchPrinter(program, one)
    return [Line(printer.equation(e), printer.shape(e.target), e.meaning) for e in equations]


def summands(program: Program, equation: Equation) -> Line:
    """A gradient that is a sum over the rows, as the rows' own terms: the last sum left undone."""
    left, right = equation.value.args
    if isinstance(left, OneMatrix):
        code = spell(program, right)
    else:
        code = f"{spell(program, left.arg)}.unsqueeze(2) * {spell(program, right)}.unsqueeze(1)"
    shape = shape_text((left.shape[1], *program.shape(equation.target)))
    return Line(f"{spell(program, equation.target)} = {code}", shape, f"each row's {equation.meaning}")


def spell(program: Program, expr: MatrixExpr) -> str:
    """One expression as torch source."""
    return TorchPrinter(program)._print(expr)


def shape_text(shape: tuple) -> str:
    """A shape as Python writes it: (N, 10), (10,), and () for a scalar."""
    return f"({shape[0]},)" if len(shape) == 1 else f"({', '.join(map(str, shape))})"
