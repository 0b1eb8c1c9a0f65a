"""Entries and products in forms that do not overflow: sums of exp as exp of a logsumexp, less the largest."""

from collections.abc import Callable, Iterable

from sympy import (
    Add,
    Dummy,
    Expr,
    Identity,
    Integer,
    MatMul,
    MatrixExpr,
    MatrixSymbol,
    Mul,
    OneMatrix,
    Piecewise,
    Pow,
    Symbol,
    Trace,
    Transpose,
    ZeroMatrix,
    exp,
    tanh,
)

from derive.formulas import apart, sigmoid, stable
from derive.programs import (
    PLAIN,
    Elementwise,
    Notation,
    RowLogSumExp,
    RowMax,
    Scalar,
    atom,
    chain,
    core,
    elementwise,
    entry,
    flat_product,
    repeated,
    transposed,
)
from derive.reading.equations import Equations

LARGEST_ENTRY = "C", "largest entry of the row"  # what each is called, and why it is made
SHIFTED = "U", "less the largest of its row"
LOG_SUM = "M", "logsumexp over the row"
IS_LARGEST = "T", "1 where an entry is the largest of its row, else 0"
TIES = "K", "how many are the largest"
SHARES = "B", "share of each that is the largest"
MEAN = "V", "largest entry of the row, the mean of those that are"
SHIFTED_BACK = "S", "the largest added back"
MOST_IN_ONE_STEP = 6  # matrices in a formula; of more, gates are computed one by one
TURNS: tuple[Callable[[MatrixExpr], MatrixExpr], ...] = (lambda matrix: matrix, transposed)


class StableEquations(Equations):
    """Equations whose formulas do not overflow where their values do not.

    Of L, Z, U and M in `shifts` it is known that L - Z = M - U, in which nothing is as large as Z may be.
    """

    def __init__(self, notation: Notation = PLAIN, symmetric: Iterable[MatrixSymbol] = ()) -> None:
        super().__init__(notation, symmetric)
        self.shifts: list[tuple[MatrixExpr, ...]] = []

    def entries(self, formula: Expr, shape: tuple[Expr, Expr], stem: str = "", rule: str = "") -> MatrixExpr:
        """The matrix of a formula, as a symbol, its transpose or a constant; a symbol that is made has that stem."""
        value = self.written(formula, shape)
        constants = MatrixSymbol | Transpose | Identity | ZeroMatrix | OneMatrix
        return value if isinstance(value, constants) else self.define(value, stem, rule)

    def written(self, formula: Expr, shape: tuple[Expr, Expr]) -> MatrixExpr:
        """The matrix of a formula, in a form that does not overflow."""
        formula = self.collected(formula)
        if self.notation is PLAIN and len(formula.free_symbols) > MOST_IN_ONE_STEP:
            formula = self.in_steps(formula, shape)
        formula = self.shifted_apart(stable(formula), shape)
        if formula in (0, 1):
            return ZeroMatrix(*shape) if formula == 0 else OneMatrix(*shape)
        operands = self.operands(formula, shape)
        return elementwise(formula, operands) if operands else MatMul(formula, OneMatrix(*shape))

    def in_steps(self, formula: Expr, shape: tuple[Expr, Expr]) -> Expr:
        """The formula over equations of their own for the gates in its products and sums, and for what they are of."""
        if isinstance(formula, Add | Mul):
            return formula.func(*(self.in_steps(part, shape) for part in formula.args))
        if len(formula.free_symbols) < 2 or not isinstance(formula, tanh | Pow):
            return formula
        gate = formula if isinstance(formula, tanh) else stable(formula)
        if not isinstance(gate, tanh | sigmoid):
            return formula
        z = self.viewed(self.entries(self.in_steps(gate.args[0], shape), shape))
        return self.viewed(self.entries(gate.func(z), shape))

    def multiplied(self, factors: list[MatrixExpr]) -> MatrixExpr:
        """A product of symbols, as a symbol, its transpose or a constant."""
        value = flat_product(Integer(1), factors)
        if isinstance(value, MatrixSymbol | Transpose | Identity | OneMatrix):
            return value
        scale, parts = chain(value)
        symbol = self.define(joined(parts))
        return symbol if scale == 1 else self.entries(scale * self.viewed(symbol), tuple(symbol.shape))

    def trace_of(self, factors: list[MatrixExpr]) -> Expr:
        """The trace of a product of symbols."""
        scale, (first, *rest) = chain(flat_product(Integer(1), factors))
        if isinstance(first, ZeroMatrix):
            return Integer(0)
        if isinstance(first, OneMatrix | Identity) and not rest:
            return scale * first.shape[0]
        if tuple(first.shape) == (1, 1) and not rest:
            return scale * self.viewed(first)
        turned = isinstance(first, Transpose) and not rest
        return scale * self.number(Trace(first.arg if turned else joined([first, *rest])))

    def collected(self, formula: Expr) -> Expr:
        """Sums of exp under a logarithm or a fraction bar as exp of a logsumexp, which does not overflow."""
        for u in sorted(formula.free_symbols, key=lambda symbol: symbol.name):
            if formula.is_polynomial(u):
                continue
            for shape, view in self.meanings(u):
                exponents = self.exponents(view)
                if exponents is None:
                    continue
                m = self.viewed(repeated(exponents, shape)) if shape else entry(exponents)
                formula = with_one_exp(formula.xreplace({u: exp(m)}))
                if exponents.shape == (1, 1):
                    formula = self.shifted(formula, m, exponents)
        return formula

    def shifted(self, formula: Expr, m: Symbol, exponents: MatrixExpr) -> Expr:
        """What is made of exp and divided by exp(m), with exp(z - m) in the place of exp(z)."""
        for v in sorted(formula.free_symbols - {m}, key=lambda symbol: symbol.name):
            for shape, view in self.meanings(v):
                value, traced = self.untraced(core(view))
                factors = list(chain(value)[1]) if value is not None else []
                for index, factor in enumerate(factors):
                    E = self.value(atom(factor))
                    if not isinstance(E, Elementwise) or not any(isinstance(f, exp) for f in Mul.make_args(E.formula)):
                        continue
                    self.views[m, tuple(E.shape)] = repeated(exponents, E.shape)
                    smaller = self.entries(with_one_exp(self.reread(E) * exp(-m)), tuple(E.shape))
                    factors[index] = transposed(smaller) if isinstance(factor, Transpose) else smaller
                    q = Dummy("q", real=True)
                    trial = with_one_exp(formula.xreplace({v: q * exp(m)}))
                    if trial.has(exp(m), exp(-m)):
                        break
                    if traced:
                        return self.shifted(trial.xreplace({q: self.trace_of(factors)}), m, exponents)
                    made = repeated(self.multiplied(factors), shape) if shape else self.multiplied(factors)
                    return self.shifted(trial.xreplace({q: self.viewed(made)}), m, exponents)
        return formula

    def untraced(self, symbol: MatrixExpr) -> tuple[MatrixExpr | None, bool]:
        """What a symbol stands for, or what it is the trace of, and whether it is one."""
        value = self.value(symbol)
        if isinstance(value, Scalar) and isinstance(value.number, Trace):
            return value.number.arg, True
        return value, False

    def exponents(self, view: MatrixExpr) -> MatrixExpr | None:
        """log of a view that is a sum of exp, as the logsumexp of what is under it."""
        inner = core(view)
        value, _ = self.untraced(inner.arg if isinstance(inner, Transpose) else inner)
        if not isinstance(value, MatMul):
            return None
        of_columns, of_rows = (isinstance(value.args[end], OneMatrix) for end in (0, -1))
        summed = [factor for factor in value.args if not isinstance(factor, OneMatrix)]
        if len(summed) != 1 or not isinstance(summed[0], MatrixSymbol | Transpose):
            return None
        (E,) = summed
        terms = self.value(E.arg if isinstance(E, Transpose) else E)
        if not isinstance(terms, Elementwise) or not isinstance(terms.formula, exp):
            return None
        Z = self.entries(self.reread(terms).args[0], tuple(terms.shape))
        if isinstance(E, Transpose) != (of_columns and not of_rows):
            Z = transposed(Z)
        result = self.logsumexp(Z, of_columns and of_rows)
        return transposed(result) if isinstance(inner, Transpose) != of_columns else result

    def logsumexp(self, Z: MatrixExpr, of_all: bool = False) -> MatrixExpr:
        """The logsumexp of each row, or of all entries: the largest is taken out first, and added last."""
        rows = [known for known in self.shifts if known[0] == transposed(Z) and isinstance(Z, Transpose)]
        if rows:
            Z, of_all = rows[0][1], True
        if of_all and 1 in Z.shape:
            Z, of_all = Z if Z.shape[0] == 1 else transposed(Z), False
        if Z.shape[1] == 1:
            return Z
        C, shape = self.define(RowMax(Z), *LARGEST_ENTRY), tuple(Z.shape)
        C = self.define(RowMax(transposed(C)), *LARGEST_ENTRY) if of_all else C
        U = self.entries(self.viewed(Z) - self.viewed(repeated(C, shape)), shape, *SHIFTED)
        M = each = self.define(RowLogSumExp(U), *LOG_SUM)
        M = self.define(RowLogSumExp(transposed(each)), *LOG_SUM) if of_all else M
        L = self.entries(self.viewed(C) + self.viewed(M), tuple(C.shape), *SHIFTED_BACK)
        self.shifts += [(L, Z, U, M), *((L, known[0], each, M) for known in rows)]
        return L

    def largest(self, Z: MatrixExpr) -> MatrixExpr:
        """The largest entry of each row, as the mean of those that are: so it moves with each by an equal share.

        Which they are does not change between ties, so that no derivative goes through it.
        """
        if Z.shape[1] == 1:
            return Z
        shape, ones = tuple(Z.shape), OneMatrix(Z.shape[1], 1)
        z, c = self.viewed(Z), self.viewed(repeated(self.define(RowMax(Z), *LARGEST_ENTRY), shape))
        T = self.entries(Piecewise((0, z < c), (1, True)), shape, *IS_LARGEST)  # 1 for nan, which is then in the mean
        k = self.viewed(repeated(self.define(MatMul(T, ones), *TIES), shape))
        B = self.entries(Piecewise((0, z < c), (z / k, True)), shape, *SHARES)
        return self.define(MatMul(B, ones), *MEAN)

    def shifted_apart(self, formula: Expr, shape: tuple[Expr, Expr]) -> Expr:
        """The formula with logsumexp(Z) - Z in its sums as logsumexp(U) - U, where U = Z - C 1'."""
        for L, Z, U, M in self.shifts:
            for turned in TURNS:
                if tuple(turned(Z).shape) == shape and entry(turned(L)) in formula.free_symbols:
                    z, u, m = (self.viewed(repeated(turned(matrix), shape)) for matrix in (Z, U, M))
                    value = self.value(atom(Z))
                    written = turned(value if atom(Z) == Z else transposed(value)) if value is not None else Z
                    for q in (z, self.reread(written) if isinstance(written, Elementwise) else z):
                        formula = apart(formula, entry(turned(L)), q, u, m)
        return formula


def with_one_exp(formula: Expr) -> Expr:
    """Products of exp as one exp."""

    def one(part: Mul) -> Expr:
        powers = [factor.args[0] for factor in part.args if isinstance(factor, exp)]
        return Mul(exp(Add(*powers)), *(factor for factor in part.args if not isinstance(factor, exp)))

    return formula.replace(lambda part: isinstance(part, Mul), one) if formula.has(exp) else formula


def joined(matrices: list[MatrixExpr]) -> MatrixExpr:
    return MatMul(*matrices) if len(matrices) > 1 else matrices[0]
