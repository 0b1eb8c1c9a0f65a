"""Straight-line programs: one operation an equation, each name assigned once, before it is used."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from typing import ClassVar

from sympy import (
    Basic,
    Expr,
    Lambda,
    MatMul,
    MatrixExpr,
    MatrixSymbol,
    OneMatrix,
    Piecewise,
    ShapeError,
    Symbol,
    Transpose,
    ZeroMatrix,
    sympify,
)

from derive.programs.nodes import Elementwise, PositiveNumber, RowMax, Scalar, SignDet
from derive.programs.notation import Notation, SymbolKind


def core(view: MatrixExpr) -> MatrixExpr:
    """What a view repeats: b of 1 b, c of c 1', s of 1 s 1', and anything else itself."""
    if not isinstance(view, MatMul):
        return view
    inner = [index for index, factor in enumerate(view.args) if not isinstance(factor, OneMatrix)]
    if len(inner) != 1:
        return view
    (index,) = inner
    left, right = view.args[:index], view.args[index + 1 :]
    broadcast = all(ones.shape[1] == 1 for ones in left) and all(ones.shape[0] == 1 for ones in right)
    return view.args[index] if broadcast and isinstance(view.args[index], MatrixExpr) else view


def repeated(core: MatrixExpr, shape: tuple[Expr, Expr]) -> MatrixExpr:
    """The view of that shape that repeats a row, a column or a 1 x 1 matrix."""
    factors = [core]
    if core.shape[0] != shape[0]:
        factors.insert(0, OneMatrix(shape[0], 1))
    if core.shape[1] != shape[1]:
        factors.append(OneMatrix(1, shape[1]))
    return MatMul(*factors) if len(factors) > 1 else core


def entry(operand: MatrixExpr) -> Symbol:
    """The scalar that stands for any entry of a matrix, or of a view of one, in a formula."""
    inner = core(operand)
    if isinstance(inner, MatrixSymbol):
        return Symbol(inner.name, positive=True) if isinstance(inner, PositiveNumber) else Symbol(inner.name, real=True)
    flipped = isinstance(inner, Transpose) and isinstance(inner.arg, MatrixSymbol)
    return Symbol(f"{inner.arg.name}'" if flipped else f"<{inner}>", real=True)


def elementwise(formula: Expr, operands: dict[Symbol, MatrixExpr]) -> MatrixExpr:
    """The formula over those operands that occur in it, or an operand itself, or a number times ones."""
    formula = sympify(formula)
    used = {u: operand for u, operand in operands.items() if u in formula.free_symbols}
    if not used:
        ones = OneMatrix(*next(iter(operands.values())).shape)
        return ZeroMatrix(*ones.shape) if formula == 0 else ones if formula == 1 else MatMul(formula, ones)
    return used[formula] if formula in used else Elementwise(Lambda(tuple(used), formula), *used.values())


@dataclass(frozen=True)
class Equation:
    """target = value, one operation; `rule` and `meaning` say why it holds and what it is.

    A backward equation also knows the forward equation that it goes back `through` and the `variable` it is about.
    """

    target: MatrixSymbol
    value: MatrixExpr
    rule: str
    meaning: str
    through: "Equation | None" = None
    variable: MatrixSymbol | None = None
    _repr_latex_: ClassVar[Callable[["Equation"], str]]  # the paper's

    @property
    def shape(self) -> tuple[Expr, Expr]:
        return self.target.shape

    @cached_property
    def uses(self) -> tuple[MatrixSymbol, ...]:
        """The matrix symbols of the right-hand side, in order of name."""
        return tuple(sorted(self.value.atoms(MatrixSymbol), key=lambda symbol: symbol.name))

    @property
    def varies_with(self) -> tuple[MatrixSymbol, ...]:
        """The symbols that a derivative goes through."""
        match self.value:
            case RowMax() | Scalar(number=SignDet()):
                return ()
            case Elementwise(formula=Piecewise(args=cases)) if all(value.is_number for value, _ in cases):
                return ()
        return self.uses


@dataclass(frozen=True)
class Program:
    """A forward computation of one scalar.

    `inputs` are given from outside; those in `parameters` are what the gradient is taken in. `sizes` gives numbers to
    the size symbols that have one; the number of rows N has none. `rows` are the 1 x n symbols that torch keeps 1-D,
    `scalars` the 1 x 1 symbols that it keeps 0-D.
    `prediction` is what a network's loss compares with the targets.
    """

    inputs: tuple[MatrixSymbol, ...]
    parameters: tuple[MatrixSymbol, ...]
    equations: tuple[Equation, ...]
    notation: Notation
    sizes: dict[Symbol, int] = field(default_factory=dict)
    rows: frozenset[str] = frozenset()
    prediction: MatrixSymbol | None = None
    scalars: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        known = {symbol.name for symbol in self.inputs}
        for equation in self.equations:
            check_equation(equation, known)
            known.add(equation.target.name)

    def of_kind(self, *kinds: SymbolKind) -> tuple[MatrixSymbol, ...]:
        """What is given of these kinds, as a network's weights."""
        return tuple(symbol for symbol in self.inputs if self.notation.kind(symbol.name) in kinds)

    @property
    def data(self) -> tuple[MatrixSymbol, ...]:
        """A network's inputs and targets; of these two those that the program has."""
        return self.of_kind(SymbolKind.INPUTS, SymbolKind.TARGETS)

    @property
    def weights(self) -> tuple[MatrixSymbol, ...]:
        return self.of_kind(SymbolKind.WEIGHTS)

    @property
    def biases(self) -> tuple[MatrixSymbol, ...]:
        return self.of_kind(SymbolKind.BIASES)

    @property
    def output(self) -> MatrixSymbol:
        return self.equations[-1].target

    def predicting(self) -> tuple[tuple[Equation, ...], tuple[Equation, ...]]:
        """The equations up to the prediction, and those of the loss."""
        split = [equation.target for equation in self.equations].index(self.prediction) + 1
        return self.equations[:split], self.equations[split:]

    def shape(self, matrix: MatrixExpr) -> tuple[Expr, ...]:
        """The shape as torch has it, numbers where they are known; the loss is a scalar."""
        if matrix == self.output or getattr(matrix, "name", "") in self.scalars:
            return ()
        rows, columns = (sympify(size).xreplace(self.sizes) for size in matrix.shape)
        return (columns,) if getattr(matrix, "name", "") in self.rows else (rows, columns)


@dataclass(frozen=True)
class Derivation:
    """A program and the equations of its reverse sweep; `gradients` maps a parameter to the symbol of its gradient.

    `cotangents` has dL/d of each symbol that the sweep came through: a symbol, or where it has no name what it is;
    `ways` what each equation sends back to a symbol, in their order; that is added.
    """

    program: Program
    backward: tuple[Equation, ...]
    gradients: dict[MatrixSymbol, MatrixSymbol]
    cotangents: dict[MatrixSymbol, MatrixExpr] = field(default_factory=dict)
    ways: dict[MatrixSymbol, list[tuple[Equation, MatrixExpr]]] = field(default_factory=dict)
    _repr_latex_: ClassVar[Callable[["Derivation"], str]]  # the paper's

    def __post_init__(self) -> None:
        known = {e.target.name for e in self.program.equations} | {s.name for s in self.program.inputs}
        for equation in self.backward:
            check_equation(equation, known)
            known.add(equation.target.name)

    @property
    def equations(self) -> tuple[Equation, ...]:
        return self.program.equations + self.backward

    @cached_property
    def steps(self) -> dict[MatrixSymbol, Equation]:
        """The equation that computes each symbol."""
        return {equation.target: equation for equation in self.equations}

    @cached_property
    def labels(self) -> dict[MatrixSymbol, str]:
        """What pages call the steps: F1, F2, ... of the forward pass, and B1, B2, ... of the backward pass."""
        passes = (("F", self.program.equations), ("B", self.backward))
        return {e.target: f"{letter}{number}" for letter, steps in passes for number, e in enumerate(steps, 1)}


def shifts(equations: Iterable[Equation]) -> dict[MatrixSymbol, MatrixSymbol]:
    """Z, for each U = Z - C 1' where C is the largest of each row of something: they have the same derivatives."""
    largest = {equation.target for equation in equations if isinstance(equation.value, RowMax)}
    found = {}
    for equation in equations:
        operands = equation.value.operands if isinstance(equation.value, Elementwise) else {}
        for c, C in operands.items():
            for z, Z in operands.items():
                if equation.value.formula == z - c and isinstance(Z, MatrixSymbol) and largest & C.atoms(MatrixSymbol):
                    found[equation.target] = Z
    return found


def needed(
    equations: tuple[Equation, ...],
    results: Iterable[MatrixSymbol],
    reads: Callable[[Equation], Iterable[MatrixSymbol]] = attrgetter("uses"),
) -> tuple[Equation, ...]:
    """Those of the equations that the results depend on, where each reads so many symbols."""
    wanted, kept = set(results), []
    for equation in reversed(equations):
        if equation.target in wanted:
            kept.append(equation)
            wanted.update(reads(equation))
    return tuple(reversed(kept))


def substitute(value: Basic, replacements: dict[MatrixSymbol, MatrixExpr]) -> Basic:
    """The value with symbols replaced, its form kept: SymPy would re-multiply, 2*(a - y) becomes 2*a - 2*y."""
    if value in replacements:
        return replacements[value]
    if isinstance(value, Elementwise):
        operands = (substitute(operand, replacements) for operand in value.operands.values())
        return Elementwise(value.args[0], *operands)
    if not value.has(MatrixSymbol):
        return value
    return value if isinstance(value, MatrixSymbol) else value.func(*(substitute(a, replacements) for a in value.args))


def check_equation(equation: Equation, known: set[str]) -> None:
    """A straight line: uses only what is known, assigns a new name, and has equal shapes on both sides."""
    for symbol in equation.uses:
        if symbol.name not in known:
            raise ValueError(f"{equation.target.name} uses {symbol.name}, which has no value yet")
    if equation.target.name in known:
        raise ValueError(f"{equation.target.name} is assigned twice")
    if tuple(equation.value.shape) != tuple(equation.target.shape):
        raise ShapeError(f"{equation.target.name}: {equation.target.shape}, but its value: {equation.value.shape}")
