"""The fast steps of Hessian times direction: the equations of the gradient, each beside its directional derivative.

In features by batch a value and its tangent lie in one buffer, side by side feature by feature. A layer is then one
product with a matrix of weights and their direction, its reverse sweep one with the same matrix, and its share of the
result one product of pairs.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from math import prod

from sympy import Integer, MatrixExpr, MatrixSymbol, OneMatrix, Transpose, ZeroMatrix

from derive.backends import Kernel, word
from derive.backends.fast.columns import Columns
from derive.backends.fast.rows import OnlyGradients
from derive.backends.fast.steps import Statement, occurs
from derive.calculus import tangents
from derive.operations import activations, affine, products
from derive.programs import NETWORK, Derivation, Elementwise, Equation, Role, elementwise, entry, needed


def with_slopes(derivation: Derivation) -> Derivation:
    """The same with the slope of each activation as an equation of its own, in the forward pass."""
    program, names = derivation.program, activations(derivation)
    forward, backward = list(program.equations), []
    for equation in derivation.backward:
        found = [symbol for symbol in equation.uses if program.notation.is_cotangent(symbol.name)]
        through = equation.through
        if through and is_formula(equation) and is_formula(through) and len(found) == len(through.uses) == 1:
            g, A = found[0], through.target
            value, rest = (
                elementwise(equation.value.formula.xreplace({entry(g): Integer(number)}), equation.value.operands)
                for number in (1, 0)
            )
            if isinstance(value, Elementwise) and isinstance(rest, ZeroMatrix):
                S = program.notation.made(Role.SLOPE, A)
                rule = f"slope of {through.rule}"
                kernel = word(names.get(A, "")).pullback
                at_output = A in value.atoms(MatrixSymbol) or (kernel is not None and kernel.at_value)
                forward.insert(forward.index(through) + at_output, Equation(S, value, rule, rule, through))
                equation = replace(equation, value=elementwise(entry(g) * entry(S), {entry(g): g, entry(S): S}))
        backward.append(equation)
    return replace(derivation, program=replace(program, equations=tuple(forward)), backward=tuple(backward))


def curvature(derivation: Derivation) -> Derivation:
    """The gradient beside its directional derivative: each tangent as soon as what it is made of is known."""
    named = with_slopes(derivation)
    program = named.program
    directions = {symbol: program.notation.tangent(symbol) for symbol in program.parameters}
    sweep, moved = tangents(named.equations, directions, program.notation)
    gradients = {symbol: moved[gradient] for symbol, gradient in named.gradients.items() if gradient in moved}
    kept = {equation.target for equation in needed(named.equations + sweep, gradients.values())}
    slopes = {equation.through: equation for equation in program.equations if is_slope(equation)}
    waiting = {tangent.through: by_slope(tangent, slopes) for tangent in sweep if tangent.target in kept}
    known = {*program.inputs, *directions.values()}
    delayed: list[Equation] = []

    def beside(equations: tuple[Equation, ...]) -> Iterable[Equation]:
        for equation in equations:
            if equation in waiting:
                delayed.append(waiting[equation])
            yield from settled()
            known.add(equation.target)
            yield equation
            yield from settled()

    def settled() -> Iterable[Equation]:
        for tangent in list(delayed):
            if known.issuperset(tangent.uses):
                delayed.remove(tangent)
                known.add(tangent.target)
                yield tangent

    forward, backward = tuple(beside(program.equations)), tuple(beside(named.backward))
    program = replace(program, inputs=(*program.inputs, *directions.values()), equations=forward)
    return Derivation(program, backward, gradients)


def is_formula(equation: Equation) -> bool:
    return isinstance(equation.value, Elementwise)


def is_slope(equation: Equation) -> bool:
    return NETWORK.role(equation.target.name)[0] is Role.SLOPE


def by_slope(tangent: Equation, slopes: dict[Equation | None, Equation]) -> Equation:
    """The tangent of an activation as its slope times the tangent of what it is applied to."""
    slope = slopes.get(tangent.through)
    if slope is None:
        return tangent
    S, (moving,) = slope.target, [symbol for symbol in tangent.uses if symbol != undotted(symbol)]
    value = elementwise(entry(S) * entry(moving), {entry(S): S, entry(moving): moving})
    return replace(tangent, value=value)


class Hessian(OnlyGradients):
    """Hessian times direction of n rows out of N, put in place or added to what is there."""

    head = (
        "_make_hvp(self, n: int)",
        "step(x, y, N, beta)",
        "For n of N rows: puts (beta 0) or adds (beta 1) Hessian times direction.",
    )
    gradient_prefix = "dot_grad_"

    def __init__(self, derivation: Derivation) -> None:
        super().__init__(curvature(derivation))

    def slope(self, equation: Equation) -> None:
        """A slope is an equation of its own here."""

    def has_kernel(self, equation: Equation) -> bool:
        return super().has_kernel(equation) or self.slope_kernel(equation) is not None

    def slope_kernel(self, equation: Equation) -> tuple[Kernel, Equation] | None:
        """What computes a slope, as the pullback of a cotangent of one, and what it is the slope of.

        None where torch has none.
        """
        through = equation.through if is_slope(equation) else None
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
        at, out = self.name(reads[0]), self.name(target)
        if word(self.activations[through.target]).whole:
            ones, g = [Statement(f"{out}.fill_(1)", (), (target,))], out
        else:
            ones, g = [], self.view("one", "new_ones(())")
        return [*ones, Statement(self.kernel(kernel.code(out, g=g, a=at, z=at)), reads, (target,))]


class HessianOfColumns(Hessian, Columns):
    """In pairs: what has a tangent lies beside it, and both go through a layer in one product.

    For Z = A W^T + 1 b the row [A, dot A] times the stack [W^T, dot W^T; 0, W^T] is [Z, dot Z]; and the stack times the
    column of dot Delta and Delta is that of dot G and G, where G is the cotangent of A. Which block is where is read
    from the terms of the equations.
    """

    def __init__(self, derivation: Derivation) -> None:
        super().__init__(derivation)
        self.merged: set[MatrixSymbol] = set()
        self.stacks: dict[MatrixSymbol, tuple[int, int]] = {}

    @cached_property
    def paired(self) -> set[MatrixSymbol]:
        """What takes part in a product and has a tangent that is computed, too."""
        parts = set()
        for equation in self.derivation.equations:
            if terms := products(equation.value):
                parts |= {equation.target, *(inner(factor) for term in terms for factor in term)}
        computed = self.assigned - self.skipped - self.gradients.keys()
        return {part for part in parts & computed if self.program.notation.tangent(part) in computed}

    # where the halves of a pair are

    def place(self, symbol: MatrixSymbol) -> tuple[str, int]:
        value = undotted(symbol)
        return (value.name, self.half(symbol)) if value in self.paired else (symbol.name, 0)

    def half(self, symbol: MatrixSymbol) -> int:
        """A value comes before its tangent, but the tangent of a cotangent before that."""
        value = undotted(symbol)
        return int((symbol == value) == self.program.notation.is_cotangent(value.name))

    def buffer_width(self, symbol: MatrixSymbol) -> tuple[int, bool]:
        return self.width(symbol), undotted(symbol) in self.paired

    def buffers(self, buffers: list[list[MatrixSymbol]], used: str) -> tuple[list[str], int]:
        entries = self.width(self.X) + self.left_factors[self.X]
        made = [f"{self.with_one(self.X)} = new_ones({entries}, n)"]
        for symbols in buffers:
            width, paired = self.buffer_width(symbols[0])
            if paired:
                one = any(self.left_factors.get(symbol) for symbol in symbols)
                made += self.halves(symbols, used, one)
                entries += 2 * (width + one)
            else:
                made.append(f"{self.names(symbols, used)} = new_empty({width}, n)")
                entries += width
        if self.stacks:
            made.append(f"stacked = new_empty({self.stop})")
        return made, entries

    def halves(self, symbols: list[MatrixSymbol], used: str, one: bool) -> list[str]:
        """A buffer of pairs, with a last pair of one and zero if it is a factor of an affine map; its two halves."""
        width = self.width(symbols[0])
        pairs = list(dict.fromkeys(pair for symbol in symbols if occurs(pair := self.pair(symbol), used)))
        pairs = pairs or [self.pair(symbols[0])]
        lines = [f"{' = '.join(pairs)} = {'new_zeros' if one else 'new_empty'}({width + one}, 2, n)"]
        lines += [f"{pairs[0]}[{width}, 0].fill_(1)"] if one else []
        for half in (0, 1):
            if names := self.names([symbol for symbol in symbols if self.half(symbol) == half], used):
                lines.append(f"{names} = {pairs[0]}[:{width}, {half}]")
        return lines

    def pair(self, symbol: MatrixSymbol) -> str:
        return f"{self.name(undotted(symbol))}_pair"

    def rows(self, symbol: MatrixSymbol) -> str:
        """A buffer of pairs as a matrix of two rows a feature."""
        width, pair = self.width(symbol), self.pair(symbol)
        return self.view(pair.removesuffix("pair") + "rows", f"{pair}[:{width}].view({2 * width}, n)")

    def with_one(self, A: MatrixSymbol) -> str:
        name = super().with_one(A)
        return self.view(name, f"{self.pair(A)}[:, 0]") if A in self.paired and self.left_factors[A] else name

    # the weights beside their direction

    def stack(self, W: MatrixSymbol) -> str:
        """The matrix that takes [A, 1, dot A] to [Z, dot Z], feature by feature; one row a feature where A is X."""
        start, end = self.stacks.setdefault(W, (self.stop, self.stop + prod(self.stack_shape(W))))
        return self.view(f"{self.block_of(W)[0]}_stack", f"stacked[{start}:{end}].view{self.stack_shape(W)}")

    @property
    def stop(self) -> int:
        """Where the last of the stacks ends."""
        return sum(prod(self.stack_shape(W)) for W in self.stacks)

    def stack_shape(self, W: MatrixSymbol) -> tuple[int, int]:
        first, inputs, one = next(iter(self.layers)) == W, self.width(W), self.layers[W] is not None
        return (1 if first else 2) * inputs + one, 2 * self.outputs(W)

    def places(self) -> list[str]:
        """Where each entry of the stacked weights is taken from: parameters, direction or the zero after them."""
        size = sum(prod(block.shape) for block in self.blocks())
        lines = [
            "index = torch.arange(len(point), device=point.device)",
            "places = index[-1:].expand(stacked.shape).clone()",
            f"at, dot_at = _blocks(index[:{size}]), _blocks(index[{size}:-1])",
        ]
        for W, (start, end) in self.stacks.items():
            rows, columns = self.stack_shape(W)
            name = f"{self.block_of(W)[0]}_places"
            lines.append(f"{name} = places[{start}:{end}].view({rows}, {columns // 2}, 2)")
            Z = next(e.target for e in self.program.equations if (found := affine(e.value)) and found[1] == W)
            both = (Z, self.program.notation.tangent(Z))
            for half, target in enumerate(symbol for symbol in both if symbol in self.assigned):
                for left, right in self.terms(target):
                    if not isinstance(left, OneMatrix):
                        lines.append(f"{name}[{self.stack_rows(left)}, :, {half}].copy_({self.stacked(left, right)})")
        return lines if self.stacks else []

    def stack_rows(self, A: MatrixSymbol) -> str:
        """The rows of a stack that multiply A, or its tangent."""
        return ":" if A == self.X else "::2" if undotted(A) == A else "1::2"

    def stacked(self, A: MatrixSymbol, W: Transpose) -> str:
        """What stands there: the weights, with their biases where A is no tangent."""
        block = f'{"dot_at" if W.arg != undotted(W.arg) else "at"}["{self.block_of(undotted(W.arg))[0]}"]'
        return block if undotted(A) == A else f"{block}[:{self.width(A)}]"

    def statements(self) -> Iterable[Statement]:
        statements = list(super().statements())
        if self.stacks:
            self.view("point", "self._point")
            yield Statement("torch.index_select(point, 0, places, out=stacked)")
        yield from statements

    # the operations

    def operation(self, equation: Equation) -> Iterable[Statement]:
        target, terms = equation.target, products(equation.value)
        if terms and target in self.gradients:
            return self.gradient(self.gradients[target], terms)
        if terms and undotted(target) in self.merged:
            return ()
        if terms:
            left, right = terms[0] if not isinstance(terms[0][0], OneMatrix) else terms[1]
            if undotted(left) in self.paired or (left == self.X and undotted(target) in self.paired):
                self.merged.add(undotted(target))
                return [self.merge(target, undotted(left), right)]
        return super().operation(equation)

    def merge(self, target: MatrixSymbol, factor: MatrixSymbol, weights: MatrixExpr) -> Statement:
        """A value and its tangent, or what is needed of them, from a factor and its tangent in one product."""
        stack, dot = self.stack(undotted(inner(weights))), self.program.notation.tangent
        if isinstance(weights, MatrixSymbol):
            left = self.view(f"{stack}_{self.name(undotted(target))}", f"{stack}[:{2 * self.width(target)}]")
            right = self.rows(factor)
        elif factor == self.X:
            left, right = self.transposed(stack), self.with_one(factor)
        else:
            left, right = self.transposed(stack), self.rows_with_one(factor)
        reads = (factor, dot(factor)) if factor != self.X else ()
        if undotted(target) in self.paired:
            value = undotted(target)
            return Statement(f"torch.mm({left}, {right}, out={self.rows(target)})", reads, (value, dot(value)))
        half = self.view(f"{left}_half", f"{left}[{self.half(target)}::2]")
        return Statement(f"torch.mm({half}, {right}, out={self.name(target)})", reads, (target,))

    def rows_with_one(self, A: MatrixSymbol) -> str:
        """A buffer of pairs as a matrix of two rows a feature, and one of ones where the layer has biases."""
        if not self.left_factors[A]:
            return self.rows(A)
        return self.view(f"{self.name(A)}_one_rows", f"{self.pair(A)}.view({2 * self.width(A) + 2}, n)[:-1]")

    def gradient(self, parameter: MatrixSymbol, terms: list[tuple[MatrixExpr, MatrixExpr]]) -> Iterable[Statement]:
        """The gradient of [W b], whose sum over rows and over the two terms is one; that of b comes with it."""
        if parameter not in self.layers:
            return
        factors = {symbol for term in terms for symbol in map(inner, term)}
        if len(terms) == 2 and all(undotted(symbol) in self.paired for symbol in factors):
            A, Delta = (next(map(undotted, map(inner, parts))) for parts in (terms[0][1:], terms[0][:1]))
            width, outputs = self.width(A) + self.left_factors[A], self.width(Delta)
            cut = "" if self.left_factors[A] else f"[:{width}]"
            left = self.view(f"{self.name(A)}_one_pairs", f"{self.pair(A)}{cut}.view({width}, -1)")
            right = self.view(f"{self.name(Delta)}_pairs_T", f"{self.pair(Delta)}[:{outputs}].view({outputs}, -1).T")
            yield Statement(f"{self.gradient_of(parameter)}.addmm_({left}, {right}, beta=beta)", tuple(factors))
            return
        for left, A in terms:
            Delta = inner(left)
            if undotted(A) == A:
                yield from self.weight_gradient(parameter, Delta, A)
            else:
                block, delta = self.gradient_of(parameter), self.transposed(self.name(Delta))
                cut = self.view(f"{block}_weights", f"{block}[:{self.width(A)}]")
                yield Statement(f"{cut}.addmm_({self.name(A)}, {delta}, beta=beta)", (Delta, A))

    def terms(self, symbol: MatrixSymbol) -> list[tuple[MatrixExpr, MatrixExpr]]:
        """The products that a symbol is the sum of."""
        return next(found for e in self.derivation.equations if e.target == symbol and (found := products(e.value)))


def undotted(symbol: MatrixSymbol) -> MatrixSymbol:
    """What a tangent is the tangent of; anything else itself."""
    role, other = NETWORK.role(symbol.name)
    return MatrixSymbol(other, *symbol.shape) if role is Role.TANGENT else symbol


def inner(factor: MatrixExpr) -> MatrixExpr:
    return factor.arg if isinstance(factor, Transpose) else factor
