"""Closed forms: a derivation's equations put into one another and written in SymPy's own words, as textbooks do."""

from sympy import (
    Abs,
    Add,
    BlockMatrix,
    Determinant,
    DiagMatrix,
    Expr,
    HadamardPower,
    HadamardProduct,
    Identity,
    Inverse,
    KroneckerProduct,
    Lambda,
    MatAdd,
    MatMul,
    MatPow,
    MatrixBase,
    MatrixExpr,
    MatrixSymbol,
    Mul,
    OneMatrix,
    Pow,
    Symbol,
    Trace,
    Transpose,
    ZeroMatrix,
    log,
    sign,
)
from sympy.matrices.expressions.matexpr import MatrixElement
from sympy.matrices.expressions.slice import MatrixSlice

from derive.calculus.simplified import added, entry_by_entry, multiplied, trace
from derive.formulas import NamedFunction, in_powers_of
from derive.programs import (
    Arange,
    BlockSum,
    Derivation,
    Elementwise,
    LogAbsDet,
    LogDet,
    RowLogSumExp,
    RowMax,
    Scalar,
    SignDet,
    core,
    product,
    terms,
    transposed,
)


class ClosedForms:
    """The closed form of each symbol of a derivation: a matrix expression, or a number where torch has one."""

    def __init__(self, derivation: Derivation, original: dict[MatrixSymbol, Expr], sizes: dict[Symbol, Symbol]) -> None:
        self.scalars = derivation.program.scalars
        self.sizes = {own: given for given, own in sizes.items()}
        self.values: dict[MatrixSymbol, Expr] = dict(original)
        for equation in derivation.equations:
            value = self.of(equation.value)
            if equation.target.name in self.scalars and isinstance(value, MatrixExpr):
                value = trace(value)
            self.values[equation.target] = value

    def of(self, value: Expr) -> Expr:
        """One value with its symbols replaced by what they are."""
        if isinstance(value, MatrixSymbol):
            return self.values[value]
        if isinstance(value, Elementwise):
            return self.entrywise(value)
        if isinstance(value, Scalar):
            return self.number(value.number)
        if isinstance(value, MatAdd):
            return added(list(map(self.of, value.args)))
        if isinstance(value, MatMul):
            scale, factors = value.as_coeff_matrices()
            return multiplied(scale.xreplace(self.sizes), map(self.of, factors))
        if isinstance(value, Transpose):
            inner = self.of(value.arg)
            return inner.T if isinstance(inner, MatrixExpr) else inner
        if isinstance(value, Inverse):
            return self.of(value.arg).inv()
        if isinstance(value, MatPow):
            return self.of(value.base) ** value.exp
        if isinstance(value, KroneckerProduct | RowLogSumExp):
            return value.func(*map(self.of, value.args))
        if isinstance(value, RowMax):  # any number gives the same results; 0 leaves nothing of it
            return ZeroMatrix(*(size.xreplace(self.sizes) for size in value.shape))
        if isinstance(value, BlockSum):
            return BlockSum(self.of(value.matrix), self.of(value.factor), value.inner)
        if isinstance(value, MatrixSlice):
            rows, columns = (tuple(p.xreplace(self.sizes) for p in side) for side in (value.rowslice, value.colslice))
            return sliced(self.of(value.parent), rows, columns)
        if isinstance(value, BlockMatrix):
            rows, columns = value.blockshape
            return BlockMatrix([[self.block(value.blocks[i, j]) for j in range(columns)] for i in range(rows)])
        if isinstance(value, OneMatrix | ZeroMatrix | Identity | Arange | MatrixBase):
            return value.xreplace(self.sizes)
        raise ValueError(f"no closed form is known for {type(value).__name__}: {value}")

    def block(self, value: MatrixExpr) -> MatrixExpr:
        """A block; a number is a block of one entry."""
        result = self.of(value)
        return result if isinstance(result, MatrixExpr | MatrixBase) else result * Identity(1)

    def number(self, value: Expr) -> Expr:
        if isinstance(value, Trace):
            return trace(self.of(value.arg))
        if isinstance(value, LogDet):
            return log(Determinant(self.of(value.arg)))
        if isinstance(value, LogAbsDet):
            return log(Abs(Determinant(self.of(value.arg))))
        if isinstance(value, SignDet):
            return sign(Determinant(self.of(value.arg)))
        if isinstance(value, Determinant):
            return Determinant(self.of(value.arg))
        if not isinstance(value, MatrixElement):
            raise ValueError(f"no closed form is known for {type(value).__name__}: {value}")
        parent, i, j = value.args
        return MatrixElement(self.of(parent), i.xreplace(self.sizes), j.xreplace(self.sizes))

    def entrywise(self, value: Elementwise) -> Expr:
        """A formula as sums, Hadamard products and applyfunc."""
        scalars, matrices = {}, {}
        for u, operand in value.operands.items():
            inner = core(operand)
            if getattr(inner, "name", "") in self.scalars or isinstance(inner, OneMatrix):
                scalars[u] = self.of(inner)
            else:
                matrices[u] = self.of(operand)
        formula = in_powers_of(value.formula.xreplace(self.sizes))
        rows, columns = (size.xreplace(self.sizes) for size in value.shape)
        if not matrices:
            result = formula.xreplace(scalars)
            return result if (rows, columns) == (1, 1) else product(result, [OneMatrix(rows, columns)])
        return Entries(scalars, matrices, (rows, columns)).of(formula)


class Entries:
    """A formula over the entries of matrices, as a matrix expression."""

    def __init__(
        self, scalars: dict[Symbol, Expr], matrices: dict[Symbol, MatrixExpr], shape: tuple[Expr, Expr]
    ) -> None:
        self.scalars, self.matrices, self.shape = scalars, matrices, shape

    def of(self, formula: Expr) -> Expr:
        """A matrix expression, or a number where no matrix is in the formula."""
        inside = [u for u in self.matrices if u in formula.free_symbols]
        if not inside:
            return formula.xreplace(self.scalars)
        if formula in self.matrices:
            return self.matrices[formula]
        if isinstance(formula, Add):
            return self.sum(formula)
        if isinstance(formula, Mul):
            return self.product(formula)
        if len(inside) == 1:
            return self.applied(formula, inside[0])
        if isinstance(formula, Pow) and formula.exp.is_Integer and formula.exp > 0:
            return HadamardPower(self.of(formula.base), formula.exp)
        if (len(formula.args) == 1 and isinstance(formula.args[0], Add | Mul | Pow)) or isinstance(formula, Pow):
            if isinstance(formula, Pow) and formula.exp.has(*inside):
                return self.kept(formula, inside)
            inner, t = self.of(formula.args[0]), self.variable()
            outer = t ** formula.exp.xreplace(self.scalars) if isinstance(formula, Pow) else formula.func(t)
            return inner.applyfunc(Lambda(t, outer))
        return self.kept(formula, inside)

    def variable(self) -> Symbol:
        """A name that no number in the formula has."""
        taken = {symbol.name for value in self.scalars.values() for symbol in value.free_symbols}
        names = ("t", "u", "w", *(f"t{number}" for number in range(len(taken))))
        return Symbol(next(name for name in names if name not in taken), real=True)

    def kept(self, formula: Expr, inside: list[Symbol]) -> MatrixExpr:
        variables = [Symbol(f"u{number}", real=True) for number in range(len(inside))]
        body = formula.xreplace({**self.scalars, **dict(zip(inside, variables, strict=True))})
        return Elementwise(Lambda(tuple(variables), body), *(self.matrices[u] for u in inside))

    def applied(self, formula: Expr, u: Symbol) -> MatrixExpr:
        if isinstance(formula, Pow) and formula.base == u and formula.exp.is_Integer:
            return HadamardPower(self.matrices[u], formula.exp)
        if isinstance(formula, NamedFunction) and formula.args == (u,):
            return self.matrices[u].applyfunc(formula.func)
        t = self.variable()
        return self.matrices[u].applyfunc(Lambda(t, formula.xreplace({**self.scalars, u: t})))

    def sum(self, formula: Add) -> MatrixExpr:
        parts = [self.of(term) for term in terms(formula)]
        return added([p if isinstance(p, MatrixExpr) else product(p, [OneMatrix(*self.shape)]) for p in parts])

    def product(self, formula: Mul) -> MatrixExpr:
        """Numbers in front; what runs over one matrix is one function of it."""
        scale, plain = Add(1), []
        functions: dict[Symbol, Expr] = {}
        for factor in formula.args:
            inside = [u for u in self.matrices if u in factor.free_symbols]
            if not inside:
                scale *= factor.xreplace(self.scalars)
            elif factor in self.matrices or len(inside) > 1:
                plain.append(self.of(factor))
            else:
                functions[inside[0]] = functions.get(inside[0], 1) * factor
        plain += [self.applied(factor, u) for u, factor in functions.items()]
        return multiplied(scale, [plain[0] if len(plain) == 1 else entry_by_entry(plain)])


def sliced(matrix: MatrixExpr, rows: tuple[Expr, ...], columns: tuple[Expr, ...]) -> MatrixExpr:
    """A slice; of a slice one of the whole: SymPy compares sizes for that, which may be symbols."""
    if isinstance(matrix, MatrixSlice):
        (top, *_), (left, *_) = matrix.rowslice, matrix.colslice
        rows, columns = (top + rows[0], top + rows[1], 1), (left + columns[0], left + columns[1], 1)
        return sliced(matrix.parent, rows, columns)
    return MatrixSlice(matrix, rows, columns)


def coefficient(expr: MatrixExpr, v: MatrixSymbol) -> MatrixExpr:
    """M, of a column M v that is linear in v.

    Raises ValueError where it is not written as products, sums and Hadamard products.
    """
    if expr == v:
        return Identity(v.shape[0])
    if isinstance(expr, ZeroMatrix):
        return ZeroMatrix(expr.shape[0], v.shape[0])
    if isinstance(expr, MatAdd):
        return added([coefficient(part, v) for part in expr.args])
    if isinstance(expr, MatMul):
        scale, factors = expr.as_coeff_matrices()
        places = [index for index, factor in enumerate(factors) if factor.has(v)]
        if scale.has(v) and not places:
            return added([product(number, [*factors, row]) for number, row in row_terms(scale, v)])
        if len(places) == 1 and not scale.has(v):
            left, factor, right = factors[: places[0]], factors[places[0]], factors[places[0] + 1 :]
            if factor.shape[1] == 1:
                number = trace(product(Add(1), right)) if right else 1
                return product(scale * number, [*left, coefficient(factor, v)])
            if isinstance(factor, MatAdd):
                return added([coefficient(product(scale, [*left, part, *right]), v) for part in factor.args])
            if factor.shape[0] == 1 and right:
                row = [transposed(part) for part in reversed(right)]
                return product(scale, [*left, *row, coefficient(transposed(factor), v)])
    if isinstance(expr, HadamardProduct):
        inside = [part for part in expr.args if part.has(v)]
        outside = [part for part in expr.args if not part.has(v)]
        if len(inside) == 1 and outside:
            weight = outside[0] if len(outside) == 1 else HadamardProduct(*outside)
            return product(Add(1), [DiagMatrix(weight), coefficient(inside[0], v)])
    raise ValueError(f"the Hessian cannot be read off {expr}; hvp(direction) gives its product with a direction")


def row_terms(scale: Expr, v: MatrixSymbol) -> list[tuple[Expr, MatrixExpr]]:
    """Coefficients and rows, of a number that is a sum of coefficients times rows times v."""
    result = []
    for term in Add.make_args(scale.expand()):
        traces = [factor for factor in Mul.make_args(term) if factor.has(v)]
        if len(traces) != 1 or not isinstance(traces[0], Trace):
            raise ValueError(f"the Hessian cannot be read off {term}, which is no product of a row and {v}")
        for part in MatAdd.make_args(traces[0].arg):
            number, factors = part.as_coeff_matrices() if isinstance(part, MatMul) else (1, [part])
            result.append((term / traces[0] * number, trace_row(list(factors), v)))
    return result


def trace_row(factors: list[MatrixExpr], v: MatrixSymbol) -> MatrixExpr:
    """The row r with tr(product) = r v."""
    (index,) = [index for index, factor in enumerate(factors) if factor.has(v)]
    around, factor = [*factors[index + 1 :], *factors[:index]], factors[index]
    if factor.shape[1] == 1:
        return product(Add(1), [*around, coefficient(factor, v)])
    return product(Add(1), [*[transposed(part) for part in reversed(around)], coefficient(transposed(factor), v)])
