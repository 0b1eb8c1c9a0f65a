"""The fast steps of Hessian times direction: the equations of the gradient, each beside its directional derivative."""

from collections.abc import Iterable
from dataclasses import replace

from sympy import MatrixExpr, MatrixSymbol, OneMatrix

from derive.backends import Group, Kernel, Literal, Name, call, method, word
from derive.backends.fast.columns import Columns, first_rows
from derive.backends.fast.rows import OnlyGradients, accumulated
from derive.backends.fast.steps import Statement
from derive.calculus import hvp, with_slopes
from derive.operations import activations
from derive.programs import Derivation, Equation, Notation, Role, needed


def curvature(derivation: Derivation) -> Derivation:
    """The gradient beside its directional derivative: each tangent as soon as what it is made of is known."""
    names = activations(derivation)

    def read_by_slope(activation: Equation) -> bool:
        kernel = word(names.get(activation.target, "")).pullback
        return kernel is not None and kernel.at_value

    named = with_slopes(derivation, read_by_slope)
    program, moved = named.program, hvp(named)
    gradients = {s: moved.results[s.name] for s in program.parameters if moved.results[s.name]}
    kept = needed(moved.equations, gradients.values())
    waiting = {tangent.through: tangent for tangent in moved.equations[len(named.equations) :] if tangent in kept}
    inputs = *program.inputs, *map(program.notation.tangent, program.parameters)
    known = set(inputs)
    delayed: list[Equation] = []

    def beside(equations: tuple[Equation, ...]) -> Iterable[Equation]:
        for equation in equations:
            if equation in waiting:
                delayed.append(waiting[equation])
            yield from settled()
            known.add(equation.target)
            yield equation
            yield from settled()

    def read(tangent: Equation) -> tuple[MatrixSymbol, ...]:
        """A mask that has no name is read off the value, where torch's kernel does."""
        through = tangent.through
        off_value = through and not has_slope(program.notation, tangent) and read_by_slope(through)
        return (*tangent.uses, through.target) if through and off_value else tangent.uses

    def settled() -> Iterable[Equation]:
        for tangent in list(delayed):
            if known.issuperset(read(tangent)):
                delayed.remove(tangent)
                known.add(tangent.target)
                yield tangent

    forward, backward = tuple(beside(program.equations)), tuple(beside(named.backward))
    return Derivation(replace(program, inputs=inputs, equations=forward), backward, gradients)


def has_slope(notation: Notation, equation: Equation) -> bool:
    """Whether it is made of a slope that has a name, or the tangent of one."""
    made_of = {*equation.uses, equation.through.target} if equation.through else equation.uses
    return any(notation.role(symbol.name)[0] is Role.SLOPE for symbol in made_of)


class Hessian(OnlyGradients):
    """Hessian times direction of n rows out of N, put in place or added to what is there."""

    head = (
        "_make_hvp",
        "step(x, y, N, beta)",
        "For n of N rows: puts (beta 0) or adds (beta 1) Hessian times direction.",
    )
    gradient_prefix = "dot_grad_"

    def __init__(self, derivation: Derivation) -> None:
        super().__init__(curvature(derivation))

    def slope(self, equation: Equation) -> Kernel | None:
        """Of a mask; any other slope is an equation of its own here."""
        return None if has_slope(self.program.notation, equation) else super().slope(equation)

    def is_tangent(self, symbol: MatrixSymbol) -> bool:
        return self.program.notation.role(symbol.name)[0] is Role.TANGENT

    def has_kernel(self, equation: Equation) -> bool:
        return super().has_kernel(equation) or self.slope_kernel(equation) is not None

    def slope_kernel(self, equation: Equation) -> tuple[Kernel, Equation] | None:
        """What computes a slope, as the pullback of a cotangent of one, and what it is the slope of.

        None where torch has none.
        """
        slope = self.program.notation.role(equation.target.name)[0] is Role.SLOPE
        through = equation.through if slope else None
        kernel = self.pullback_through(through)
        return (kernel, through) if kernel and through else None

    def reads(self, equation: Equation) -> tuple[MatrixSymbol, ...]:
        if found := self.slope_kernel(equation):
            kernel, through = found
            return (through.target,) if kernel.at_value else through.uses
        return super().reads(equation)

    def entrywise(self, equation: Equation) -> Iterable[Statement]:
        if (found := self.slope_kernel(equation)) is None:
            return super().entrywise(equation)
        kernel, through = found
        reads, target = self.reads(equation), equation.target
        at, out = self.source(reads[0]), self.source(target)
        if word(self.activations[through.target]).whole:
            ones, g = [Statement(method(out, "fill_", Literal("1")), (), (target,))], out
        else:
            ones, g = [], self.view("one", call("new_ones", Group(())))
        return [*ones, Statement(self.kernel(kernel, out, g=g, a=at, z=at), reads, (target,))]


class HessianOfColumns(Hessian, Columns):
    """In features by batch a product comes transposed, and a row of ones brings the direction of the biases."""

    def products(self, target: MatrixSymbol, terms: list[tuple[MatrixExpr, MatrixExpr]]) -> Iterable[Statement]:
        if target in self.gradients:
            W = self.gradients[target]
            plain_first = sorted(terms, key=lambda term: self.is_tangent(term[1]))
            for index, (left, A) in enumerate(plain_first if W in self.layers else ()):
                yield from self.weight_gradient(W, left.arg, A, begins=not index)
            return
        out = self.source(target)
        for index, (A, right) in enumerate(term for term in terms if not isinstance(term[0], OneMatrix)):
            if isinstance(right, MatrixSymbol):
                weights, factor = self.weights(right), self.source(A)
            elif not self.is_tangent(A):
                weights, factor = self.transposed(self.block_of(right.arg)[0]), Name(self.with_one(A))
            else:
                weights, factor = self.transposed(self.weights(right.arg).text), self.source(A)
            if index:
                yield Statement(method(out, "addmm_", weights, factor), (A, target))
            else:
                yield Statement(call("torch.mm", weights, factor, out=out), (A,), (target,))

    def weight_gradient(
        self, W: MatrixSymbol, Delta: MatrixSymbol, A: MatrixSymbol, begins: bool = True
    ) -> Iterable[Statement]:
        """Of a tangent that of W alone: the gradient of b comes with a row of ones."""
        if not self.is_tangent(A):
            yield from super().weight_gradient(W, Delta, A)
            return
        block = self.gradient_of(W)
        name = f"{block}_weights"
        self.view(name, first_rows(block, self.width(A)))
        yield Statement(accumulated(name, self.source(A), self.transposed(Delta), begins), (Delta, A))
