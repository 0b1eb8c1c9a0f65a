"""The equations of a program as they are made: one operation each, and nothing twice."""

from collections.abc import Iterable

from sympy import (
    Add,
    Expr,
    Identity,
    Integer,
    Inverse,
    KroneckerProduct,
    MatMul,
    MatPow,
    MatrixExpr,
    MatrixSymbol,
    Mul,
    OneMatrix,
    Pow,
    Symbol,
    Trace,
    Transpose,
    ZeroMatrix,
    sympify,
)
from sympy.matrices.expressions.matexpr import MatrixElement
from sympy.matrices.expressions.slice import MatrixSlice

from derive.programs import (
    PLAIN,
    Elementwise,
    Equation,
    Notation,
    RowLogSumExp,
    RowMax,
    Scalar,
    comparable,
    constant_of,
    core,
    entry,
    repeated,
    symbol_for,
    transposed,
)
from derive.reading.names import Names


class Equations(Names):
    """Equations over symbols of their own; `views` says what an entry in a formula of some shape is the entry of."""

    def __init__(self, notation: Notation = PLAIN, symmetric: Iterable[MatrixSymbol] = ()) -> None:
        super().__init__(symmetric)
        self.notation = notation
        self.views: dict[tuple[Symbol, tuple[Expr, Expr]], MatrixExpr] = {}
        self.known: dict[object, MatrixSymbol] = {}
        self.equations: list[Equation] = []

    def assign(self, target: MatrixSymbol, value: MatrixExpr, rule: str) -> None:
        """An equation, whose target is known from then on."""
        self.inputs[target] = self.known[comparable(value)] = target
        self.equations.append(Equation(target, value, rule, self.notation.meaning(target.name)))

    def define(self, value: MatrixExpr, stem: str = "", rule: str = "") -> MatrixSymbol:
        """The symbol with this value, or the transpose of the symbol that has the transposed value.

        Of shape 1 x 1 it is a number.
        """
        single = tuple(value.shape) == (1, 1)
        value = as_number(value) if single else value
        if comparable(value) in self.known:
            return self.known[comparable(value)]
        if isinstance(value, Elementwise | MatMul | Inverse | MatPow | KroneckerProduct) and not single:
            flipped = transposed(value)
            if comparable(flipped) in self.known:
                return Transpose(self.known[comparable(flipped)])
            if bars_of_operands(flipped) < bars_of_operands(value):
                return Transpose(self.define(flipped))
        stem = self.letter_of_number(stem or "s") if single else stem or self.notation.unnamed
        symbol = symbol_for(self.fresh(stem), value)
        if single:
            self.numbers[entry(symbol)] = symbol
        self.assign(symbol, value, rule or ("entry by entry" if isinstance(value, Elementwise) else "definition"))
        return symbol

    def letter_of_number(self, stem: str) -> str:
        """The stem, or if somebody's entries are s_i another letter, as s_1 is a number."""
        theirs = {PLAIN.stem(symbol.name)[0] for symbol in self.original}
        return next((letter for letter in (stem, *"strc") if letter not in theirs), stem)

    def fresh(self, stem: str) -> str:
        """A name that no symbol has, in code or on a page: the stem, or with a number."""
        pages = Notation(frozenset(symbol.name for symbol in self.original))
        taken = {pages.latex(s.name, bold=False) for s in (*self.original, *self.known.values(), *self.sizes.values())}
        numbers = [*[None][: len(stem) - 1], *range(1, len(taken) + 2)]
        names = (self.notation.numbered(stem, n) for n in numbers)
        return next(name for name in names if pages.latex(name, bold=False) not in taken)

    def number(self, value: Expr) -> Expr:
        """A trace, determinant or entry as an equation of its own."""
        return entry(self.define(Scalar(value)))

    def value(self, symbol: MatrixExpr) -> MatrixExpr | None:
        """What a symbol stands for."""
        return next((equation.value for equation in self.equations if equation.target == symbol), None)

    def viewed(self, view: MatrixExpr) -> Expr:
        """The entry of a view, which is remembered as its operand."""
        if isinstance(view, OneMatrix | ZeroMatrix) or view == Identity(1):
            return Integer(not isinstance(view, ZeroMatrix))
        if isinstance(view, MatMul) and all(isinstance(factor, OneMatrix) for factor in view.args):
            return Mul(*(ones.shape[0] for ones in view.args[1:]))
        u = entry(view)
        self.views[u, tuple(view.shape)] = view
        return u

    def on_diagonal(self, matrix: MatrixExpr) -> tuple[Expr, tuple[Expr, Expr]]:
        """The formula and the shape of a matrix with zeros off its diagonal."""
        return self.viewed(matrix) * self.viewed(Identity(matrix.shape[0])), tuple(matrix.shape)

    def reread(self, value: Elementwise) -> Expr:
        """The formula of an equation's value, its operands viewed as they stand there, which may be transposed."""
        return value.formula.xreplace({u: self.viewed(operand) for u, operand in value.operands.items()})

    def meanings(self, u: Symbol) -> list[tuple[tuple[Expr, Expr] | None, MatrixExpr]]:
        """The views that an entry stands for, with their shapes."""
        numbers = [(None, self.numbers[u])] if u in self.numbers else []
        return numbers + [(shape, view) for (known, shape), view in self.views.items() if known == u]

    def operands(self, formula: Expr, shape: tuple[Expr, Expr]) -> dict[Symbol, MatrixExpr]:
        """What each entry of a formula runs over, in order of name."""
        symbols = sorted(formula.free_symbols - set(self.sizes.values()), key=lambda symbol: symbol.name)
        known = {u: self.views.get((u, shape)) or self.numbers.get(u) for u in symbols}
        self.check_size(u for u, operand in known.items() if operand is None)
        return {u: repeated(operand, shape) for u, operand in known.items()}

    def sliced(self, matrix: MatrixExpr, rows: tuple[Expr, ...], columns: tuple[Expr, ...]) -> MatrixExpr:
        if isinstance(matrix, OneMatrix | ZeroMatrix):
            return matrix.func(rows[1] - rows[0], columns[1] - columns[0])
        if isinstance(matrix, Transpose):
            return transposed(self.define(MatrixSlice(matrix.arg, columns, rows)))
        return self.define(MatrixSlice(matrix, rows, columns))

    def is_square(self, term: Expr) -> bool:
        """Whether it is the square of a symbol, or a symbol for a sum of squares of all entries of a matrix."""
        scale, term = term.as_coeff_Mul()
        if isinstance(term, Pow) and term.exp == 2:
            return bool(scale > 0) and term.base.is_Symbol
        meant = [core(view) for _, view in self.meanings(term)] if isinstance(term, Symbol) else []
        return bool(scale > 0) and bool(meant) and all(map(self.adds_squares, meant))

    def adds_squares(self, symbol: MatrixExpr) -> bool:
        value = self.value(symbol)
        value = value.number.arg if isinstance(value, Scalar) and isinstance(value.number, Trace) else value
        if not isinstance(value, MatMul):
            return False
        inside = [factor for factor in value.args if not isinstance(factor, OneMatrix)]
        if len(inside) == 2 == len(value.args):
            return transposed(inside[0]) == inside[1]
        terms = self.value(inside[0]) if len(inside) == 1 else None
        return isinstance(terms, Elementwise) and all(map(self.is_square, Add.make_args(terms.formula)))

    def check_sizes(self) -> None:
        """Every size is that of an input, so that it is known when the code runs."""
        known = set(self.sizes.values())
        for equation in self.equations:
            self.check_size(set().union(*(sympify(size).free_symbols for size in equation.shape)) - known)

    def check_size(self, unknown: Iterable[Symbol]) -> None:
        if names := sorted(map(str, unknown)):
            raise ValueError(f"the size {names[0]} is that of no MatrixSymbol in the loss; give it a number")


def as_number(value: MatrixExpr) -> MatrixExpr:
    """A 1 x 1 matrix as what torch computes without dimensions."""
    if isinstance(value, Scalar | Elementwise | RowLogSumExp | RowMax) or constant_of(value) is not None:
        return value
    if isinstance(value, MatrixSlice):
        return Scalar(MatrixElement(value.parent, value.rowslice[0], value.colslice[0]))
    return Scalar(Trace(value))


def bars_of_operands(value: MatrixExpr) -> int:
    """How many transposes are written in it, less those of what only repeats."""
    if isinstance(value, Elementwise):
        return sum(isinstance(operand, Transpose) for operand in value.operands.values())
    return sum(isinstance(part, Transpose) for part in value.args) if not isinstance(value, MatPow | Inverse) else 0
