"""Closed forms: a derivation's equations put into one another and written in SymPy's own words, as textbooks do."""

from sympy import (
    ITE,
    Abs,
    Basic,
    BlockMatrix,
    Determinant,
    Dummy,
    Expr,
    Identity,
    Integer,
    Inverse,
    KroneckerProduct,
    Lambda,
    MatAdd,
    MatMul,
    MatPow,
    MatrixBase,
    MatrixExpr,
    MatrixSymbol,
    OneMatrix,
    Piecewise,
    Symbol,
    Trace,
    Transpose,
    ZeroMatrix,
    fraction,
    log,
    sign,
)
from sympy.matrices.expressions.matexpr import MatrixElement
from sympy.matrices.expressions.slice import MatrixSlice

from derive.calculus.alike import turned
from derive.calculus.entries import Entries, as_in_books
from derive.calculus.fronts import in_front, in_front_of, negated
from derive.calculus.simplified import added, multiplied, trace_of
from derive.formulas import in_powers_of
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
    Symmetric,
    chain,
    core,
    flat_product,
)


class ClosedForms:
    """The closed form of each symbol of a derivation: a matrix expression, or a number where torch has one."""

    def __init__(self, derivation: Derivation, original: dict[MatrixSymbol, Expr], sizes: dict[Symbol, Symbol]) -> None:
        self.scalars = derivation.program.scalars
        self.sizes = {own: given for given, own in sizes.items()}
        self.given: dict[Basic, Basic] = {
            Symmetric(given.name, *given.shape): given for own, given in original.items() if isinstance(own, Symmetric)
        }
        alone = {given: own for own, given in self.given.items()}
        self.values: dict[MatrixSymbol, Expr] = {own: alone.get(given, given) for own, given in original.items()}
        for equation in derivation.equations:
            value = self.of(equation.value)
            if equation.target.name in self.scalars and isinstance(value, MatrixExpr):
                value = trace_of(value)
            if equation.target.name in self.scalars and value.has(Piecewise):
                value = self.held(value)
            self.values[equation.target] = value
        self.values = {target: finished(value) for target, value in self.values.items()}

    def held(self, value: Expr) -> Expr:
        """A number with branches, of which one may be 0, as a symbol that may be divided by, times what it is last."""
        last = value.args[-1][0] if isinstance(value, Piecewise) else Integer(1)
        number = last if last.is_Rational and last != 0 else Integer(1)
        whole = Piecewise(*((part / number, where) for part, where in value.args)) if number != 1 else value
        known = {form: symbol for symbol, form in self.given.items()}
        symbol = known.get(whole.xreplace(self.given), Dummy(real=True))
        self.given[symbol] = whole.xreplace(self.given)
        return number * symbol

    def __getitem__(self, symbol: MatrixSymbol) -> Expr:
        """The closed form of a symbol, in what was given; ValueError where SymPy cannot hold it."""
        form = self.values[symbol].xreplace(self.given)
        check_letters(form)
        return form

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
            return turned(inner) if isinstance(inner, MatrixExpr) else inner
        if isinstance(value, Inverse):
            return inverted(self.of(value.arg))
        if isinstance(value, MatPow):
            return self.of(value.base) ** value.exp
        if isinstance(value, KroneckerProduct | RowLogSumExp):
            return value.func(*map(self.of, value.args))
        if isinstance(value, RowMax):  # any number gives the same results; 0 leaves nothing of it
            return ZeroMatrix(*(size.xreplace(self.sizes) for size in value.shape))
        if isinstance(value, BlockSum):
            matrix, factor = self.of(value.matrix), self.of(value.factor)
            square = factor.shape[0] == factor.shape[1]
            if isinstance(matrix, Identity) and value.inner and square:  # what the derivative of tr(A) tr(B) has
                return multiplied(trace_of(factor), [Identity(value.shape[0].xreplace(self.sizes))])
            return BlockSum(matrix, factor, value.inner)
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
            return trace_of(self.of(value.arg))
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
            turned_round = {u: -u for u, value in scalars.items() if value.could_extract_minus_sign()}
            result = as_in_books(formula.xreplace(turned_round))
            result = result.xreplace({u: -value if u in turned_round else value for u, value in scalars.items()})
            return result if (rows, columns) == (1, 1) else flat_product(result, [OneMatrix(rows, columns)])
        return Entries(scalars, matrices, (rows, columns)).written(formula)


def check_letters(expr: Expr) -> None:
    """Raises ValueError where a letter of a formula stands outside of it.

    Of a condition on a number with branches SymPy makes conditions, out of the function of a matrix that has them.
    """
    bound = {letter for formula in expr.atoms(Lambda) for letter in formula.variables} if expr.has(ITE) else set()
    if any(isinstance(symbol, Dummy) or symbol in bound for symbol in expr.free_symbols):
        raise ValueError(
            "a number that has branches inside is compared, which SymPy takes apart: relu(B) stays whole where "
            "max(0, B) does not"
        )


def inverted(matrix: MatrixExpr) -> MatrixExpr:
    """The inverse; of a sum with a rational number in front of it, that of the sum over the number."""
    total = matrix.arg if isinstance(matrix, Transpose) else matrix
    number, inner = in_front_of(total) if isinstance(total, MatAdd) else (Integer(1), total)
    if number == 1 or not number.is_Rational:
        return matrix.inv()
    return flat_product(1 / number, [(Transpose(inner) if isinstance(matrix, Transpose) else inner).inv()])


def finished(value: Expr) -> Expr:
    """A closed form as it is shown: the number that all terms have in common once, if that leaves less below them."""
    if not isinstance(value, MatAdd | MatMul):
        return value
    if isinstance(value, MatAdd):
        number, total = in_front(value)
        below = [fraction(chain(term)[0])[1] for term in total.args] if isinstance(total, MatAdd) else []
        return value if number.is_Rational or not any(d.is_Rational for d in below) else flat_product(number, [total])
    scale, factors = value.as_coeff_matrices()
    return negated(factors[0]) if scale == -1 and len(factors) == 1 and isinstance(factors[0], MatAdd) else value


def sliced(matrix: MatrixExpr, rows: tuple[Expr, ...], columns: tuple[Expr, ...]) -> MatrixExpr:
    """A slice; of a slice one of the whole: SymPy compares sizes for that, which may be symbols."""
    if isinstance(matrix, MatrixSlice):
        (top, *_), (left, *_) = matrix.rowslice, matrix.colslice
        rows, columns = (top + rows[0], top + rows[1], 1), (left + columns[0], left + columns[1], 1)
        return sliced(matrix.parent, rows, columns)
    return MatrixSlice(matrix, rows, columns)
