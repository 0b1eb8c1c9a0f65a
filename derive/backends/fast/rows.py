"""The fast steps in batch by features: rows are samples, as in the equations; buffers of n rows.

The operations are those of the equations, in their order, each in one call of torch where torch has one for it.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property

from sympy import Expr, Integer, MatrixExpr, MatrixSymbol, Mul, OneMatrix, Transpose

from derive.backends import (
    Attribute,
    Choice,
    Index,
    Infix,
    Kernel,
    Literal,
    Name,
    Range,
    Source,
    call,
    method,
    word,
)
from derive.backends.fast.layout import Layout
from derive.backends.fast.steps import Statement
from derive.operations import (
    Quadratic,
    affine,
    backward_product,
    bias_gradient,
    difference,
    entrywise_product,
    is_plain,
    is_zero_without,
    one_plus,
    products,
    quadratic,
    two_products,
    weight_gradient,
)
from derive.programs import Derivation, Elementwise, Equation, entry, is_number, needed


class Rows(Layout):
    """Loss and gradient of n rows out of N, put in place or added to what is there."""

    head = (
        "_make_rows",
        "step(x, y, N, beta)",
        "For n of N rows: puts (beta 0) or adds (beta 1) their part.",
    )

    def statements(self) -> Iterable[Statement]:
        yield from self.prologue()
        for equation in self.derivation.equations:
            if equation.target not in self.skipped:
                yield from self.operation(equation)
            if self.quadratic and equation.target == self.quadratic.error:
                yield self.squares(self.quadratic)

    def prologue(self) -> Iterable[Statement]:
        return ()

    def operation(self, equation: Equation) -> Iterable[Statement]:
        value, target = equation.value, equation.target
        if isinstance(value, Elementwise) and is_plain(equation):
            return self.entrywise(equation)
        if mapped := affine(value):
            return self.affine(target, *mapped)
        if operands := backward_product(value):
            return self.backward_product(target, *operands)
        if target in self.gradients and (operands := weight_gradient(value)):
            return self.weight_gradient(self.gradients[target], *operands)
        if target in self.gradients and (operands := bias_gradient(value)):
            return self.bias_gradient(self.gradients[target], *operands)
        if terms := products(value):
            return self.products(target, terms)
        return self.other(equation)

    def affine(self, Z: MatrixSymbol, A: MatrixSymbol, W: MatrixSymbol, b: MatrixSymbol | None) -> Iterable[Statement]:
        factors = self.source(A), self.transposed(W)
        function, first = ("torch.mm", ()) if b is None else ("torch.addmm", (self.source(b),))
        yield Statement(call(function, *first, *factors, out=self.source(Z)), (A,), (Z,))

    def backward_product(self, target: MatrixSymbol, Delta: MatrixSymbol, W: MatrixSymbol) -> Iterable[Statement]:
        code = call("torch.mm", self.source(Delta), self.source(W), out=self.source(target))
        yield Statement(code, (Delta,), (target,))

    def weight_gradient(self, W: MatrixSymbol, Delta: MatrixSymbol, A: MatrixSymbol) -> Iterable[Statement]:
        yield Statement(accumulated(self.gradient_of(W), self.transposed(Delta), self.source(A)), (Delta, A))

    def bias_gradient(self, b: MatrixSymbol, Delta: MatrixSymbol) -> Iterable[Statement]:
        yield Statement(put_or_added(self.gradient_of(b), method(self.source(Delta), "sum", Literal("0"))), (Delta,))

    def products(self, target: MatrixSymbol, terms: list[tuple[MatrixExpr, MatrixExpr]]) -> Iterable[Statement]:
        """A sum of products, term by term into one place; a row that is broadcast comes with the first."""
        bias = [right for left, right in terms if isinstance(left, OneMatrix)]
        for index, (left, right) in enumerate(term for term in terms if not isinstance(term[0], OneMatrix)):
            a, b = self.factor(left), self.factor(right)
            reads = tuple(symbol for symbol in (*left.free_symbols, *right.free_symbols) if symbol in self.assigned)
            out = self.source(target)
            if target in self.gradients:
                yield Statement(accumulated(self.gradient_of(self.gradients[target]), a, b, begins=not index), reads)
            elif index:
                yield Statement(method(out, "addmm_", a, b), (*reads, target))
            elif bias:
                yield Statement(call("torch.addmm", self.source(bias[0]), a, b, out=out), reads, (target,))
            else:
                yield Statement(call("torch.mm", a, b, out=out), reads, (target,))

    @cached_property
    def assigned(self) -> set[MatrixSymbol]:
        return {equation.target for equation in self.derivation.equations}

    def factor(self, expr: MatrixExpr) -> Source:
        return self.transposed(expr.arg) if isinstance(expr, Transpose) else self.source(expr)

    def other(self, equation: Equation) -> Iterable[Statement]:
        """As the equation says, with ordinary torch operations."""
        target, value = equation.target, self.printer.source(equation.value)
        if target == self.program.output:
            yield Statement(method(Name("loss"), "add_", value), equation.uses)
        elif target in self.gradients:
            yield Statement(put_or_added(self.gradient_of(self.gradients[target]), value), equation.uses)
        else:
            yield Statement(method(self.source(target), "copy_", value), equation.uses, (target,))

    def squares(self, quadratic: Quadratic) -> Statement:
        name = f"{self.name(quadratic.error)}_row"
        row = self.view(name, method(self.source(quadratic.error), "view", Literal("1"), Literal("-1")))
        column = self.transposed(name)
        loss = self.view("loss_1x1", method(Name("loss"), "view", Literal("1"), Literal("1")))
        code = method(loss, "addmm_", row, column, alpha=self.printer.source(quadratic.ratio))
        return Statement(code, (quadratic.error,))

    # formulas entry by entry

    def entrywise(self, equation: Equation) -> Iterable[Statement]:
        """The entries of a formula, in the memory of an operand that nothing else needs where torch can do that."""
        target, value, uses = equation.target, equation.value, equation.uses
        out, function = self.source(target), self.activations.get(target, "")
        if self.feeds_only_the_loss(target):
            yield Statement(self.printer.source(value), uses, targets=(self.name(target),))
        elif kernel := word(function).into:
            z = self.source(uses[0])
            in_place = method(z, f"{function}_") if word(function).in_place else None
            yield Statement(self.kernel(kernel, out, z=z), uses, (target,), uses if in_place else (), in_place)
        elif slope := self.slope(equation):
            yield self.pullback(equation, slope)
        elif found := difference(value) or entrywise_product(value):
            scale, P, Q = found
            function = "torch.sub" if difference(value) else "torch.mul"
            code = call(function, self.source(P), self.source(Q), out=out)
            yield Statement(self.times(scale, code), uses, (target,), uses)
        elif found := one_plus(value):
            P, c, Q = found
            p, q = self.source(P), self.source(Q)
            code = call("torch.addcmul", p, p, q, value=self.printer.source(c), out=out)
            yield Statement(code, uses, (target,), uses)
        elif pairs := two_products(value):
            (P, Q), (R, S) = pairs
            yield Statement(call("torch.mul", self.source(P), self.source(Q), out=out), (P, Q), (target,), (P, Q))
            yield Statement(method(out, "addcmul_", self.source(R), self.source(S)), (R, S, target))
        else:
            yield self.formula(equation)

    def times(self, scale: Expr, code: Source) -> Source:
        return code if scale == 1 else method(code, "mul_", self.number(scale))

    def slope(self, equation: Equation) -> Kernel | None:
        """What torch has for going back through the function that a backward formula goes back through."""
        kernel, g = self.pullback_through(equation.through), self.cotangent(equation)
        return kernel if g and is_zero_without(g, equation.value) else None

    def pullback_through(self, through: Equation | None) -> Kernel | None:
        return word(self.activations.get(origin(through).target, "")).pullback if through else None

    def has_kernel(self, equation: Equation) -> bool:
        return self.slope(equation) is not None

    def reads(self, equation: Equation) -> tuple[MatrixSymbol, ...]:
        """What the scheduled operation reads; a kernel of torch may read z where the formula has a, or a for z."""
        if (slope := self.slope(equation)) and (through := equation.through):
            activation = origin(through)
            return self.cotangent(equation), activation.target if slope.at_value else activation.uses[0]
        return equation.uses

    def pullback(self, equation: Equation, slope: Kernel) -> Statement:
        """Cotangent times slope in the cotangent's buffer, by the kernel that autograd calls."""
        g, at = reads = self.reads(equation)
        there = self.source(at)
        code = self.kernel(slope, self.source(equation.target), g=self.source(g), z=there, a=there)
        return Statement(code, reads, (equation.target,), (g,))

    def formula(self, equation: Equation) -> Statement:
        """A product with a cotangent in its buffer; anything else as one expression."""
        target, value, g = equation.target, equation.value, self.cotangent(equation)
        out = self.source(target)
        if g is None or not value.formula.is_Mul or entry(g) not in value.formula.args:
            code = method(out, "copy_", self.printer.source(value))
            return Statement(code, equation.uses, (target,), (g,) if g else ())
        rest = Mul(*(factor for factor in value.formula.args if factor != entry(g)), evaluate=False)
        other = self.number(rest) if is_number(rest) else self.printer.source(rest)
        return Statement(call("torch.mul", self.source(g), other, out=out), equation.uses, (target,), (g,))

    def cotangent(self, equation: Equation) -> MatrixSymbol | None:
        """The cotangent that a backward formula multiplies with a slope."""
        found = [symbol for symbol in equation.uses if self.program.notation.is_cotangent(symbol.name)]
        return found[0] if len(found) == 1 and equation.through else None

    def feeds_only_the_loss(self, symbol: MatrixSymbol) -> bool:
        users = [equation for equation in self.derivation.equations if symbol in equation.uses]
        return [equation.target for equation in users] == [self.program.output]

    @cached_property
    def quadratic(self) -> Quadratic | None:
        return quadratic(self.derivation)

    @cached_property
    def skipped(self) -> set[MatrixSymbol]:
        """What need not be computed."""
        return set(self.quadratic.replaced) if self.quadratic else set()


class OnlyGradients(Rows):
    """Leaves out the loss, and what only it needs."""

    quadratic = None

    @cached_property
    def skipped(self) -> set[MatrixSymbol]:
        """What no gradient needs."""
        kept = {equation.target for equation in needed(self.derivation.equations, self.gradients, self.reads)}
        return {equation.target for equation in self.derivation.equations} - kept


class Each(OnlyGradients):
    """The gradient of each row's own loss: the last sum, over the rows, is left out."""

    head = "_make_each", "step(x, y, blocks)", "For n rows: puts the gradient of each row into a column."

    def __init__(self, derivation: Derivation) -> None:
        super().__init__(for_one_row(derivation))


class EachOfRows(Each):
    def weight_gradient(self, W: MatrixSymbol, Delta: MatrixSymbol, A: MatrixSymbol) -> Iterable[Statement]:
        column = Index(Attribute(self.source(Delta), "T"), (Range(), Literal("None")))
        delta, row = self.view(f"{self.name(Delta)}_column", column), Attribute(self.source(A), "T")
        yield Statement(call("torch.mul", delta, row, out=each_block(self.name(W))), (Delta, A))

    def bias_gradient(self, b: MatrixSymbol, Delta: MatrixSymbol) -> Iterable[Statement]:
        yield Statement(method(each_block(self.name(b)), "copy_", self.transposed(Delta)), (Delta,))


def origin(through: Equation) -> Equation:
    """The activation that a backward equation goes back through; the tangent of one goes through that equation."""
    return through.through or through


def accumulated(gradient: str, left: Source, right: Source, begins: bool = True) -> Source:
    """A product into a gradient: with what is there taken `beta` times, or where it does not begin, once."""
    return method(Name(gradient), "addmm_", left, right, **({"beta": Name("beta")} if begins else {}))


def put_or_added(gradient: str, value: Source) -> Source:
    g = Name(gradient)
    return Choice(Infix("==", Name("beta"), Literal("0")), method(g, "copy_", value), method(g, "add_", value))


def each_block(name: str) -> Source:
    """Where the gradients of each row lie, of a matrix of the flat vector."""
    return Index(Name("blocks"), (Literal(f'"{name}"'),))


def for_one_row(derivation: Derivation) -> Derivation:
    """The same with the number of rows set to 1."""
    program = derivation.program
    sizes = {**program.sizes, program.data[0].shape[0]: Integer(1)}
    return replace(derivation, program=replace(program, sizes=sizes))
