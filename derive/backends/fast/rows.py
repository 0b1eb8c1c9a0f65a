"""The fast steps in batch by features: rows are samples, as in the equations; buffers of n rows.

The operations are those of the equations, in their order, each in one call of torch where torch has one for it.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property

from sympy import Expr, Integer, MatrixExpr, MatrixSymbol, Mul, OneMatrix, Transpose

from derive.backends import Kernel, word
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
        "_make_rows(self, n: int)",
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
        yield from self.epilogue()

    def prologue(self) -> Iterable[Statement]:
        return ()

    def epilogue(self) -> Iterable[Statement]:
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
        function = "torch.mm(" if b is None else f"torch.addmm({self.name(b)}, "
        code = f"{function}{self.name(A)}, {self.transposed(self.name(W))}, out={self.name(Z)})"
        yield Statement(code, (A,), (Z,))

    def backward_product(self, target: MatrixSymbol, Delta: MatrixSymbol, W: MatrixSymbol) -> Iterable[Statement]:
        yield Statement(f"torch.mm({self.name(Delta)}, {self.name(W)}, out={self.name(target)})", (Delta,), (target,))

    def weight_gradient(self, W: MatrixSymbol, Delta: MatrixSymbol, A: MatrixSymbol) -> Iterable[Statement]:
        delta = self.transposed(self.name(Delta))
        yield Statement(f"{self.gradient_of(W)}.addmm_({delta}, {self.name(A)}, beta=beta)", (Delta, A))

    def bias_gradient(self, b: MatrixSymbol, Delta: MatrixSymbol) -> Iterable[Statement]:
        g, total = self.gradient_of(b), f"{self.name(Delta)}.sum(0)"
        yield Statement(f"{g}.copy_({total}) if beta == 0 else {g}.add_({total})", (Delta,))

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
                code = f"torch.addmm({self.name(bias[0])}, {a}, {b}, out={self.name(target)})"
                yield Statement(code, reads, (target,))
            else:
                yield Statement(f"torch.mm({a}, {b}, out={self.name(target)})", reads, (target,))

    @cached_property
    def assigned(self) -> set[MatrixSymbol]:
        return {equation.target for equation in self.derivation.equations}

    def factor(self, expr: MatrixExpr) -> str:
        return self.transposed(self.name(expr.arg)) if isinstance(expr, Transpose) else self.name(expr)

    def other(self, equation: Equation) -> Iterable[Statement]:
        """As the equation says, with ordinary torch operations."""
        target, text = equation.target, self.printer.text(equation.value)
        if target == self.program.output:
            yield Statement(f"loss.add_({text})", equation.uses)
        elif target in self.gradients:
            g = self.gradient_of(self.gradients[target])
            yield Statement(f"{g}.copy_({text}) if beta == 0 else {g}.add_({text})", equation.uses)
        else:
            yield Statement(f"{self.name(target)}.copy_({text})", equation.uses, (target,))

    def squares(self, quadratic: Quadratic) -> Statement:
        error = self.name(quadratic.error)
        row = self.view(f"{error}_row", f"{error}.view(1, -1)")
        code = f"loss_1x1.addmm_({row}, {self.transposed(row)}, alpha={self.printer.text(quadratic.ratio)})"
        self.view("loss_1x1", "loss.view(1, 1)")
        return Statement(code, (quadratic.error,))

    # formulas entry by entry

    def entrywise(self, equation: Equation) -> Iterable[Statement]:
        """The entries of a formula, in the memory of an operand that nothing else needs where torch can do that."""
        target, value, uses = equation.target, equation.value, equation.uses
        out, function = self.name(target), self.activations.get(target, "")
        if self.feeds_only_the_loss(target):
            yield Statement(f"{out} = {self.printer.text(value)}", uses)
        elif kernel := word(function).into:
            call = self.kernel(kernel.code(out, z=self.name(uses[0])))
            in_place = f"{self.name(uses[0])}.{function}_()" if word(function).in_place else ""
            yield Statement(call, uses, (target,), uses if in_place else (), in_place)
        elif slope := self.slope(equation):
            yield self.pullback(equation, slope)
        elif found := difference(value) or entrywise_product(value):
            scale, P, Q = found
            function = "sub" if difference(value) else "mul"
            code = f"torch.{function}({self.name(P)}, {self.name(Q)}, out={out}){self.times(scale)}"
            yield Statement(code, uses, (target,), uses)
        elif found := one_plus(value):
            P, c, Q = found
            p, q = self.name(P), self.name(Q)
            code = f"torch.addcmul({p}, {p}, {q}, value={self.printer.text(c)}, out={out})"
            yield Statement(code, uses, (target,), uses)
        elif pairs := two_products(value):
            (P, Q), (R, S) = pairs
            yield Statement(f"torch.mul({self.name(P)}, {self.name(Q)}, out={out})", (P, Q), (target,), (P, Q))
            yield Statement(f"{out}.addcmul_({self.name(R)}, {self.name(S)})", (R, S, target))
        else:
            yield self.formula(equation)

    def times(self, scale: Expr) -> str:
        return "" if scale == 1 else f".mul_({self.number(scale)})"

    def slope(self, equation: Equation) -> Kernel | None:
        """What torch has for going back through the function that a backward formula goes back through."""
        kernel, g = self.pullback_through(equation.through), self.cotangent(equation)
        return kernel if g and is_zero_without(g, equation.value) else None

    def pullback_through(self, through: Equation | None) -> Kernel | None:
        return word(self.activations.get(through.target, "")).pullback if through else None

    def has_kernel(self, equation: Equation) -> bool:
        return self.slope(equation) is not None or word(self.activations.get(equation.target, "")).into is not None

    def reads(self, equation: Equation) -> tuple[MatrixSymbol, ...]:
        """What the scheduled operation reads; a kernel of torch may read z where the formula has a, or a for z."""
        if (slope := self.slope(equation)) and (through := equation.through):
            return self.cotangent(equation), through.target if slope.at_value else through.uses[0]
        return equation.uses

    def pullback(self, equation: Equation, slope: Kernel) -> Statement:
        """Cotangent times slope in the cotangent's buffer, by the kernel that autograd calls."""
        g, at = reads = self.reads(equation)
        code = slope.code(self.name(equation.target), g=self.name(g), z=self.name(at), a=self.name(at))
        return Statement(self.kernel(code), reads, (equation.target,), (g,))

    def formula(self, equation: Equation) -> Statement:
        """A product with a cotangent in its buffer; anything else as one expression."""
        target, value, g = equation.target, equation.value, self.cotangent(equation)
        out = self.name(target)
        if g is None or not value.formula.is_Mul or entry(g) not in value.formula.args:
            return Statement(f"{out}.copy_({self.printer.text(value)})", equation.uses, (target,), (g,) if g else ())
        rest = Mul(*(factor for factor in value.formula.args if factor != entry(g)), evaluate=False)
        text = self.number(rest) if is_number(rest) else self.printer.text(rest)
        return Statement(f"torch.mul({self.name(g)}, {text}, out={out})", equation.uses, (target,), (g,))

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

    head = "_make_each(self, n: int)", "step(x, y, blocks)", "For n rows: puts the gradient of each row into a column."

    def __init__(self, derivation: Derivation) -> None:
        super().__init__(for_one_row(derivation))


class EachOfRows(Each):
    def weight_gradient(self, W: MatrixSymbol, Delta: MatrixSymbol, A: MatrixSymbol) -> Iterable[Statement]:
        delta = self.view(f"{self.name(Delta)}_column", f"{self.name(Delta)}.T[:, None]")
        yield Statement(f'torch.mul({delta}, {self.name(A)}.T, out=blocks["{self.name(W)}"])', (Delta, A))

    def bias_gradient(self, b: MatrixSymbol, Delta: MatrixSymbol) -> Iterable[Statement]:
        yield Statement(f'blocks["{self.name(b)}"].copy_({self.transposed(self.name(Delta))})', (Delta,))


def for_one_row(derivation: Derivation) -> Derivation:
    """The same with the number of rows set to 1."""
    program = derivation.program
    sizes = {**program.sizes, program.data[0].shape[0]: Integer(1)}
    return replace(derivation, program=replace(program, sizes=sizes))


def is_zero_without(g: MatrixSymbol, value: MatrixExpr) -> bool:
    """Whether a formula is a slope times g, with nothing added, as from another way to the loss."""
    return isinstance(value, Elementwise) and value.formula.xreplace({entry(g): Integer(0)}) == 0
