"""Any scalar SymPy expression of matrices as a straight-line program: one operation an equation, nothing twice.

Whatever acts entry by entry (sums, Hadamard products, applyfunc, a number times a matrix) becomes one formula. A matrix
and its transpose are one symbol. Every entry of a matrix is a variable of its own, and every symbol is real.
"""

import keyword
import re
import sys
from collections.abc import Callable, Iterable

from sympy import (
    Add,
    Basic,
    BlockDiagMatrix,
    BlockMatrix,
    Derivative,
    Determinant,
    DiagMatrix,
    DiagonalMatrix,
    DiagonalOf,
    DotProduct,
    Dummy,
    Expr,
    HadamardPower,
    HadamardProduct,
    Identity,
    ImmutableDenseMatrix,
    Integer,
    Integral,
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
    Sum,
    Symbol,
    Trace,
    Transpose,
    ZeroMatrix,
    exp,
    log,
    nan,
    sympify,
)
from sympy.core.function import AppliedUndef
from sympy.logic.boolalg import Boolean
from sympy.matrices.expressions.adjoint import Adjoint
from sympy.matrices.expressions.applyfunc import ElementwiseApplyFunction
from sympy.matrices.expressions.matexpr import MatrixElement
from sympy.matrices.expressions.slice import MatrixSlice

from derive.formulas import apart, stable
from derive.programs import (
    PLAIN,
    BlockSum,
    Elementwise,
    Equation,
    LogDet,
    Notation,
    Program,
    RowLogSumExp,
    RowMax,
    Scalar,
    atom,
    chain,
    constant,
    core,
    elementwise,
    entry,
    needed,
    product,
    repeated,
    transposed,
)
from derive.reading.agreement import check

RESERVED = {"torch", "math", "ctx", "Gradients", "NamedTuple", "value_and_grad", "tensors"}
LARGEST = int(sys.float_info.max)
MOST_FACTORS = 50  # of a matrix power; SymPy differentiates it factor by factor
ENTRYWISE = (MatAdd, HadamardProduct, HadamardPower, ElementwiseApplyFunction, Elementwise, DiagMatrix, DiagonalMatrix)
TURNS: tuple[Callable[[MatrixExpr], MatrixExpr], ...] = (lambda matrix: matrix, transposed)


class Reader:
    """Reads an expression into equations over symbols of its own.

    `matrix` gives a symbol, its transpose or a constant; `formula` an entry of a matrix and `scalar` a number as a
    formula over entries. `original` maps each input back to the symbol that it was in the expression.
    """

    def __init__(self) -> None:
        self.original: dict[MatrixSymbol, Basic] = {}
        self.inputs: dict[Basic, MatrixSymbol] = {}
        self.sizes: dict[Symbol, Symbol] = {}
        self.numbers: dict[Symbol, MatrixSymbol] = {}
        self.views: dict[tuple[Symbol, tuple[Expr, Expr]], MatrixExpr] = {}
        self.known: dict[object, MatrixSymbol] = {}
        self.shifts: list[tuple[MatrixExpr, ...]] = []
        self.equations: list[Equation] = []
        self.path: list[str] = []
        self.bound: dict[Symbol, Expr] = {}

    def program(self, loss: Basic, variables: Iterable[Basic]) -> Program:
        """The program of a scalar loss; the variables are its parameters."""
        check(loss, variables)
        given = sorted(
            {*loss.atoms(MatrixSymbol), *(v for v in variables if isinstance(v, MatrixSymbol))},
            key=lambda matrix: (matrix.name, str(matrix.shape)),
        )
        for matrix in given:
            for symbol in sorted(set().union(*(sympify(size).free_symbols for size in matrix.shape)), key=str):
                if symbol not in self.sizes:
                    name = self.name(symbol.name)
                    self.check_name(symbol, name)
                    self.sizes[symbol] = Symbol(name, integer=True, positive=True)
        for matrix in given:
            self.input(matrix)
        numbers = {s for s in loss.free_symbols | set(variables) if isinstance(s, Symbol) and s not in self.sizes}
        for symbol in sorted(numbers, key=lambda symbol: symbol.name):
            self.input(symbol)
        formula = stable(self.collected(self.scalar(loss)))
        self.check_sizes()
        operands = self.operands(formula, (Integer(1), Integer(1)))
        value = elementwise(formula, operands or {Symbol("1"): OneMatrix(1, 1)})
        target = MatrixSymbol(self.fresh("value"), 1, 1)
        if isinstance(value, MatrixSymbol) and self.equations and self.equations[-1].target == value:
            last = self.equations.pop()
            value = last.value
        self.equations.append(Equation(target, value, "loss", "loss"))
        equations = needed(tuple(self.equations), [target])
        notation = Notation(frozenset(symbol.name for symbol in (*self.original, *self.sizes.values())))
        scalars = [*self.numbers.values(), target]
        return Program(
            inputs=tuple(sorted(self.original, key=lambda symbol: symbol.name)),
            parameters=tuple(self.inputs[variable] for variable in variables),
            equations=equations,
            notation=notation,
            scalars=frozenset(symbol.name for s in scalars for symbol in (s, notation.cotangent(s))),
        )

    def check_sizes(self) -> None:
        """Every size is that of an input, so that it is known when the code runs."""
        known = set(self.sizes.values())
        for equation in self.equations:
            unknown = set().union(*(sympify(size).free_symbols for size in equation.shape)) - known
            if unknown:
                size = min(map(str, unknown))
                raise ValueError(f"the size {size} is that of no MatrixSymbol in the loss; give it a number")

    # names

    def name(self, text: str) -> str:
        """The name as Python can have it."""
        name = re.sub(r"\W", "_", text)
        if not name or name[0].isdigit() or name[0] == "_":
            name = f"v{name}"
        if keyword.iskeyword(name) or name in RESERVED:
            name += "_"
        return name

    def fresh(self, stem: str) -> str:
        """A name that no symbol has, in code or on a page: the stem, or with a number."""
        taken = {PLAIN.latex(s.name) for s in (*self.original, *self.known.values(), *self.sizes.values())}
        names = [f"{stem}{number}" for number in range(1, len(taken) + 2)]
        return next(name for name in ([stem] if len(stem) > 1 else []) + names if PLAIN.latex(name) not in taken)

    def input(self, given: Basic) -> MatrixSymbol:
        """The symbol of an input; a scalar symbol is a 1 x 1 matrix that torch has without dimensions."""
        if given not in self.inputs:
            name = self.name(given.name)
            self.check_name(given, name)
            shape = self.shape(given) if isinstance(given, MatrixSymbol) else (1, 1)
            symbol = MatrixSymbol(name, *shape)
            self.inputs[given] = symbol
            self.original[symbol] = given
            if not isinstance(given, MatrixSymbol):
                self.numbers[entry(symbol)] = symbol
        return self.inputs[given]

    def check_name(self, given: Basic, name: str) -> None:
        """Raises ValueError where another symbol has it, and says what the two are."""
        others = [other for symbol, other in self.original.items() if symbol.name == name]
        others += [size for size, symbol in self.sizes.items() if symbol.name == name and size != given]
        if others:
            two = f"{described(others[0])} and {described(given)}"
            raise ValueError(f"{given}: two different symbols with this name, {two}; rename one")

    def shape(self, node: MatrixExpr) -> tuple[Expr, Expr]:
        return tuple(sympify(size).xreplace(self.sizes) for size in node.shape)

    def unknown(self, node: Basic) -> Exception:
        return self.refuse(node, "see derive.matrix for what there is beside sums, products, inverses and applyfunc")

    def refuse(self, node: Basic, nearest: str) -> Exception:
        """The error for a node that is not supported: what it is, where it stands, what would work."""
        shape = f" of shape {tuple(node.shape)}" if isinstance(node, MatrixExpr | MatrixBase) else ""
        text = str(node)
        return ValueError(
            f"{type(node).__name__}{shape} is not supported: {text if len(text) < 80 else text[:77] + '...'}; "
            f"it stands at {' > '.join(self.path[:-1]) or 'the loss itself'}; {nearest}"
        )

    # numbers

    def scalar(self, node: Basic) -> Expr:
        """A scalar expression as a formula over the entries of 1 x 1 symbols."""
        self.path.append(type(node).__name__)
        try:
            return self._scalar(node)
        finally:
            self.path.pop()

    def _scalar(self, node: Basic) -> Expr:
        if isinstance(node, MatrixExpr | MatrixBase):
            return self.single(node)
        if node in self.bound:
            return self.bound[node]
        if isinstance(node, Symbol):
            return self.sizes[node] if node in self.sizes else entry(self.input(node))
        if isinstance(node, Trace):
            return self.trace(node.arg)
        if isinstance(node, DotProduct):
            x, y = (v if v.shape[1] == 1 else v.T for v in node.args)
            return self.trace(x.T * y)
        if isinstance(node, log) and isinstance(node.args[0], Determinant):
            return self.determinant(LogDet, node.args[0].arg)
        if isinstance(node, Determinant):
            return self.determinant(Determinant, node.arg)
        if isinstance(node, MatrixElement):
            return self.element(node.parent, node.i, node.j)
        if isinstance(node, Sum):
            return self.sum(node)
        if isinstance(node, Derivative | Integral):
            done = node.doit()
            if done.has(Derivative, Integral):
                raise self.refuse(node, "work it out first, or write the loss itself")
            return self.scalar(done)
        if isinstance(node, AppliedUndef):
            raise self.refuse(node, "give the function a formula, such as sin(t) or log(1 + exp(t))")
        if not isinstance(node, Expr | Boolean) and not (isinstance(node, Basic) and node.args):
            raise self.refuse(node, "a loss is a scalar expression")
        if not node.args:
            if node is nan or getattr(node, "is_real", True) is False or getattr(node, "is_finite", True) is False:
                raise self.refuse(node, "only real, finite numbers are supported")
            if node.is_Rational and abs(node) > LARGEST:
                raise self.refuse(node, "a number of torch is at most 1.8e308")
            return node
        return node.func(*(self.scalar(argument) for argument in node.args))

    def single(self, node: MatrixExpr) -> Expr:
        """The one entry of a 1 x 1 matrix."""
        if self.shape(node) != (1, 1):
            raise self.refuse(node, "a number is needed here: its Trace, total(...) or an entry [i, j] is one")
        if isinstance(node, MatrixBase):
            return self.scalar(node[0, 0])
        if isinstance(node, MatAdd | HadamardProduct):
            parts = [self.scalar(part) for part in node.args]
            return Add(*parts) if isinstance(node, MatAdd) else Mul(*parts)
        if isinstance(node, MatMul):
            scales, matrices = self.split(node)
            return self.traced(matrices) * Mul(*scales)
        if isinstance(node, MatPow | HadamardPower):
            return Pow(self.scalar(node.base), self.scalar(node.exp))
        if isinstance(node, Inverse):
            return 1 / self.scalar(node.arg)
        if isinstance(node, Transpose | Adjoint | DiagMatrix | DiagonalMatrix | DiagonalOf):
            return self.scalar(node.args[0])
        if isinstance(node, ElementwiseApplyFunction):
            return self.applied(node.function, [self.scalar(node.expr)])
        if isinstance(node, Elementwise):
            return self.applied(node.args[0], [self.scalar(operand) for operand in node.operands.values()])
        if isinstance(node, Identity | OneMatrix):
            return Integer(1)
        if isinstance(node, ZeroMatrix):
            return Integer(0)
        if isinstance(node, MatrixSlice):
            return self.element(node.parent, node.rowslice[0], node.colslice[0])
        if isinstance(node, RowLogSumExp):
            if self.shape(node.args[0]) == (1, 1):
                return self.scalar(node.args[0])
            return entry(self.logsumexp(self.matrix(node.args[0])))
        if isinstance(node, MatrixSymbol):
            return self.number(Trace(self.input(node)))
        if isinstance(node, KroneckerProduct):
            return Mul(*map(self.scalar, node.args))
        if isinstance(node, BlockMatrix | BlockDiagMatrix):
            return self.scalar(node.blocks[0, 0])
        if isinstance(node, BlockSum):
            return self.trace(node.matrix.T * node.factor)
        raise self.unknown(node)

    def determinant(self, kind: type[Expr], node: MatrixExpr) -> Expr:
        """det or log det; of one entry it is the entry or its logarithm."""
        if self.shape(node) == (1, 1):
            return log(self.scalar(node)) if kind is LogDet else self.scalar(node)
        return self.number(kind(self.matrix(node)))

    def number(self, value: Expr) -> Expr:
        """A trace, determinant or entry as an equation of its own."""
        return entry(self.define(Scalar(value)))

    def trace(self, node: MatrixExpr) -> Expr:
        if self.shape(node)[0] != self.shape(node)[1]:
            raise self.refuse(node, "only a square matrix has a trace; total(...) adds all entries")
        if isinstance(node, MatAdd):
            return Add(*map(self.trace, node.args))
        if isinstance(node, MatMul):
            scales, matrices = self.split(node)
            if not matrices:
                return Mul(*scales)
            return Mul(*scales) * self.traced(matrices)
        return self.scalar(node) if self.shape(node) == (1, 1) else self.traced([node])

    def traced(self, matrices: list[MatrixExpr]) -> Expr:
        """The trace of a product."""
        if not matrices:
            return Integer(1)
        value = product(Integer(1), self.chain(matrices))
        scale, parts = value.as_coeff_matrices() if isinstance(value, MatMul) else (1, [value])
        if any(isinstance(part, ZeroMatrix) for part in parts):
            return Integer(0)
        if len(parts) == 1 and isinstance(parts[0], OneMatrix | Identity):
            return scale * parts[0].shape[0]
        if len(parts) == 1 and isinstance(parts[0], Transpose):
            parts = [parts[0].arg]
        return scale * self.number(Trace(MatMul(*parts) if len(parts) > 1 else parts[0]))

    def element(self, parent: MatrixExpr, i: Expr, j: Expr) -> Expr:
        if isinstance(parent, MatrixBase):
            return self.scalar(parent[i, j])
        if self.shape(parent) == (1, 1):
            return self.scalar(parent)
        i, j = (sympify(index).xreplace(self.sizes) for index in (i, j))
        matrix = self.matrix(parent)
        if isinstance(matrix, OneMatrix | ZeroMatrix):
            return Integer(isinstance(matrix, OneMatrix))
        if isinstance(matrix, Transpose):
            matrix, i, j = matrix.arg, j, i
        if not (i.free_symbols | j.free_symbols) <= set(self.sizes.values()):
            raise self.refuse(parent[i, j], "an index is a number, or bound by a Sum over a whole row or column")
        if isinstance(matrix, Identity):
            return Integer(i == j)
        return self.number(MatrixElement(matrix, i, j))

    def sum(self, node: Sum) -> Expr:
        """A sum over entries as one over the matrix of its terms, whose rows and columns are its indices."""
        indices = tuple(limit[0] for limit in node.limits)
        if len(indices) == 1:
            return self.totalled(node.function, (*indices, Dummy()), (*self.lengths(node, node.limits), Integer(1)))
        *inner, first, second = node.limits
        body = Sum(node.function, *inner) if inner else node.function
        return self.totalled(body, (first[0], second[0]), self.lengths(node, [first, second]))

    def lengths(self, node: Sum, limits: Iterable[tuple[Symbol, Expr, Expr]]) -> tuple[Expr, ...]:
        if any(low != 0 for _, low, _ in limits):
            raise self.refuse(node, "a sum runs from 0 to the size minus 1; total(...) and Trace are sums")
        return tuple((high + 1).xreplace(self.sizes) for _, _, high in limits)

    def totalled(self, body: Expr, indices: tuple[Symbol, Symbol], shape: tuple[Expr, Expr]) -> Expr:
        entries = self.entries(self.indexed(body, indices, shape), shape)
        return self.traced_values([OneMatrix(1, shape[0]), entries, OneMatrix(shape[1], 1)])

    def traced_values(self, factors: list[MatrixExpr]) -> Expr:
        value = product(Integer(1), factors)
        scale, parts = value.as_coeff_matrices() if isinstance(value, MatMul) else (1, [value])
        if isinstance(value, ZeroMatrix) or all(isinstance(part, OneMatrix) for part in parts):
            return Integer(0) if isinstance(value, ZeroMatrix) else scale
        if len(parts) == 1:
            return scale * self.viewed(*parts)
        return scale * self.number(Trace(MatMul(*parts)))

    def indexed(self, node: Expr, indices: tuple[Symbol, Symbol], shape: tuple[Expr, Expr]) -> Expr:
        """A term of a sum: the entries that it is made of are views of that shape, rows and columns its indices."""
        self.path.append(type(node).__name__)
        try:
            if not set(indices) & node.free_symbols:
                return self.scalar(node)
            if isinstance(node, MatrixElement):
                return self.indexed_entry(node, indices, shape)
            if isinstance(node, Sum):
                return self.contracted(node, indices, shape)
            if isinstance(node, Symbol | Trace | Determinant):
                raise self.refuse(node, "write it with matrices: A*x, total(...), Trace(...)")
            return node.func(*(self.indexed(argument, indices, shape) for argument in node.args))
        finally:
            self.path.pop()

    def contracted(self, node: Sum, indices: tuple[Symbol, Symbol], shape: tuple[Expr, Expr]) -> Expr:
        """A sum inside a sum, as the product of a matrix over its first index and one over its second."""
        (k, *_), *others = node.limits
        body = Sum(node.function, *others) if others else node.function
        (length,) = self.lengths(node, [node.limits[0]])
        factors = Mul.make_args(body)
        outside = Mul(*(factor for factor in factors if not factor.has(k)))
        left = Mul(*(factor for factor in factors if factor.has(k) and not factor.has(indices[1])))
        right = Mul(*(factor for factor in factors if factor.has(k) and factor.has(indices[1])))
        if right.has(indices[0]):
            raise self.refuse(node, "write it with matrices: A*x, total(...), Trace(...)")
        L = self.entries(self.indexed(left, (indices[0], k), (shape[0], length)), (shape[0], length))
        if right == 1:
            view = repeated(self.product([L, OneMatrix(length, 1)]), shape)
        elif left.has(indices[0]):
            R = self.entries(self.indexed(right, (k, indices[1]), (length, shape[1])), (length, shape[1]))
            view = self.product([L, R])
        else:
            whole = left * right
            R = self.entries(self.indexed(whole, (k, indices[1]), (length, shape[1])), (length, shape[1]))
            view = repeated(self.product([OneMatrix(1, length), R]), shape)
        return self.indexed(outside, indices, shape) * self.viewed(view)

    def indexed_entry(self, node: MatrixElement, indices: tuple[Symbol, Symbol], shape: tuple[Expr, Expr]) -> Expr:
        matrix = self.matrix(node.parent)
        place: list[int | None] = []
        for axis, index in enumerate((node.i, node.j)):
            if index in indices:
                place.append(along := indices.index(index))
                if matrix.shape[axis] != shape[along]:
                    raise self.refuse(node, "each index of a Sum runs over a whole row or column")
            elif set(indices) & sympify(index).free_symbols:
                raise self.refuse(node, "each index of a Sum runs over a whole row or column")
            else:
                place.append(None)
                if matrix.shape[axis] != 1:
                    i = sympify(index).xreplace(self.sizes)
                    whole = [(Integer(0), size, Integer(1)) for size in matrix.shape]
                    whole[axis] = (i, i + 1, Integer(1))
                    matrix = self.sliced(matrix, *whole)
        if place == [0, 0] or place == [1, 1]:
            n = matrix.shape[0]
            column = self.product([self.entries(*self.on_diagonal(matrix)), OneMatrix(n, 1)])
            matrix, place = column, [place[0], None]
        if place in ([1, 0], [1, None], [None, 0]):
            matrix = transposed(matrix)
        return self.viewed(repeated(matrix, shape))

    # matrices, entry by entry

    def formula(self, node: MatrixExpr) -> Expr:
        """An entry of a matrix as a formula over entries of symbols and their views."""
        self.path.append(type(node).__name__)
        try:
            return self._formula(node)
        finally:
            self.path.pop()

    def _formula(self, node: MatrixExpr) -> Expr:
        shape = self.shape(node)
        if shape == (1, 1):
            return self.single(node)
        if isinstance(node, MatAdd):
            return Add(*map(self.formula, node.args))
        if isinstance(node, HadamardProduct):
            return Mul(*map(self.formula, node.args))
        if isinstance(node, HadamardPower):
            return Pow(*(self.formula(a) if isinstance(a, MatrixExpr) else self.scalar(a) for a in node.args))
        if isinstance(node, ElementwiseApplyFunction):
            return self.applied(node.function, [self.formula(node.expr)])
        if isinstance(node, Elementwise):
            return self.applied(node.args[0], [self.formula(operand) for operand in node.operands.values()])
        if isinstance(node, MatMul):
            return self.product_formula(node, shape)
        if isinstance(node, DiagMatrix):
            column = self.matrix(node.args[0])
            column = column if column.shape[1] == 1 else transposed(column)
            return self.viewed(repeated(column, shape)) * self.viewed(Identity(shape[0]))
        if isinstance(node, DiagonalMatrix):
            return self.on_diagonal(self.matrix(node.arg))[0]
        if isinstance(node, OneMatrix):
            return Integer(1)
        if isinstance(node, ZeroMatrix):
            return Integer(0)
        return self.viewed(self.matrix(node))

    def applied(self, function: Lambda, arguments: list[Expr]) -> Expr:
        """A function's formula with arguments in the place of its variables."""
        outer, self.bound = self.bound, {**self.bound, **dict(zip(function.variables, arguments, strict=True))}
        try:
            return self.scalar(function.expr)
        finally:
            self.bound = outer

    def on_diagonal(self, matrix: MatrixExpr) -> tuple[Expr, tuple[Expr, Expr]]:
        return self.viewed(matrix) * self.viewed(Identity(matrix.shape[0])), tuple(matrix.shape)

    def viewed(self, view: MatrixExpr) -> Expr:
        """The entry of a view, which is remembered as its operand."""
        if isinstance(view, OneMatrix | ZeroMatrix) or view == Identity(1):
            return Integer(not isinstance(view, ZeroMatrix))
        if isinstance(view, MatMul) and all(isinstance(factor, OneMatrix) for factor in view.args):
            return Mul(*(ones.shape[0] for ones in view.args[1:]))
        u = entry(view)
        self.views[u, tuple(view.shape)] = view
        return u

    def product_formula(self, node: MatMul, shape: tuple[Expr, Expr]) -> Expr:
        """A product that is entry by entry at its ends: numbers, diagonal factors, and what ones only repeat."""
        scales, matrices = self.split(node)
        if not matrices:
            return Mul(*scales)
        scale = Mul(*scales)
        first, *rest = matrices
        *start, last = matrices
        if rest and isinstance(first, DiagMatrix):
            column = self.matrix(first.args[0])
            column = column if column.shape[1] == 1 else transposed(column)
            return scale * self.viewed(repeated(column, shape)) * self.formula(joined(rest))
        if rest and isinstance(last, DiagMatrix):
            column = self.matrix(last.args[0])
            row = column if column.shape[0] == 1 and column.shape[1] != 1 else transposed(column)
            return scale * self.formula(joined(start)) * self.viewed(repeated(row, shape))
        if rest and isinstance(first, OneMatrix) and first.shape[1] == 1:
            return scale * self.viewed(repeated(self.matrix(joined(rest)), shape))
        if rest and isinstance(last, OneMatrix) and last.shape[0] == 1:
            return scale * self.viewed(repeated(self.matrix(joined(start)), shape))
        if not rest:
            return scale * self.formula(first)
        value = product(Integer(1), self.chain(matrices))
        number, parts = value.as_coeff_matrices() if isinstance(value, MatMul) else (1, [value])
        if any(isinstance(part, ZeroMatrix) for part in parts):
            return Integer(0)
        return scale * number * self.viewed(self.product(parts))

    def split(self, node: MatMul) -> tuple[list[Expr], list[MatrixExpr]]:
        """The numbers of a product, 1 x 1 matrices among them, and its other factors."""
        scales, matrices = [], []
        for factor in node.args:
            if not isinstance(factor, MatrixExpr | MatrixBase) or self.shape(factor) == (1, 1):
                scales.append(self.scalar(factor))
            elif isinstance(factor, Inverse) and isinstance(factor.arg, DiagMatrix):
                matrices.append(DiagMatrix(HadamardPower(factor.arg.args[0], -1)))
            elif isinstance(factor, OneMatrix) and 1 not in self.shape(factor):
                matrices += [OneMatrix(factor.shape[0], 1), OneMatrix(1, factor.shape[1])]
            elif isinstance(factor, MatMul):
                inner_scales, inner = self.split(factor)
                scales, matrices = [*scales, *inner_scales], [*matrices, *inner]
            else:
                matrices.append(factor)
        return scales, matrices

    def chain(self, matrices: list[MatrixExpr]) -> list[MatrixExpr]:
        """Factors as symbols; an inverse stays an inverse, and what it is applied to is solved for once."""
        factors = [self.factor(matrix) for matrix in matrices]
        for index in reversed(range(len(factors) - 1)):
            if isinstance(factors[index], Inverse):
                factors[index:] = [self.product(factors[index:])]
        return factors

    def factor(self, node: MatrixExpr) -> MatrixExpr:
        if isinstance(node, Transpose):
            return transposed(self.factor(node.arg))
        if isinstance(node, Inverse) or (isinstance(node, MatPow) and node.exp == -1):
            inner = self.matrix(node.args[0])
            return inner if isinstance(inner, Identity) else Inverse(inner)
        return self.matrix(node)

    def product(self, factors: list[MatrixExpr]) -> MatrixExpr:
        value = product(Integer(1), factors)
        if isinstance(value, MatrixSymbol | Transpose | Identity | OneMatrix):
            return value
        scale, parts = value.as_coeff_matrices() if isinstance(value, MatMul) else (1, [value])
        symbol = self.define(MatMul(*parts) if len(parts) > 1 else parts[0])
        return symbol if scale == 1 else self.entries(scale * self.viewed(symbol), tuple(symbol.shape))

    def entries(self, formula: Expr, shape: tuple[Expr, Expr]) -> MatrixExpr:
        """The matrix of a formula, as a symbol, its transpose or a constant."""
        formula = self.shifted_apart(stable(self.collected(formula)), shape)
        if formula == 0:
            return ZeroMatrix(*shape)
        operands = self.operands(formula, shape)
        if formula == 1:
            return OneMatrix(*shape)
        if not operands:
            return self.define(MatMul(formula, OneMatrix(*shape)))
        value = elementwise(formula, operands)
        if isinstance(value, MatrixSymbol | Transpose | Identity):
            return value
        return self.define(value)

    def operands(self, formula: Expr, shape: tuple[Expr, Expr]) -> dict[Symbol, MatrixExpr]:
        """What each entry of a formula runs over, in order of name."""
        found = {}
        for u in sorted(formula.free_symbols - set(self.sizes.values()), key=lambda symbol: symbol.name):
            found[u] = self.views[u, shape] if (u, shape) in self.views else repeated(self.numbers[u], shape)
        return found

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
                formula = merged(formula.xreplace({u: exp(m)}))
                if exponents.shape == (1, 1):
                    formula = self.shifted(formula, m, exponents)
        return formula

    def meanings(self, u: Symbol) -> list[tuple[tuple[Expr, Expr] | None, MatrixExpr]]:
        """The views that an entry stands for, with their shapes."""
        numbers = [(None, self.numbers[u])] if u in self.numbers else []
        return numbers + [(shape, view) for (known, shape), view in self.views.items() if known == u]

    def shifted(self, formula: Expr, m: Symbol, exponents: MatrixSymbol) -> Expr:
        """What is made of exp and divided by exp(m), with exp(z - m) in the place of exp(z)."""
        for v in sorted(formula.free_symbols - {m}, key=lambda symbol: symbol.name):
            for shape, view in self.meanings(v):
                value = self.value(core(view))
                traced = isinstance(value, Scalar) and isinstance(value.number, Trace)
                factors = list(chain(value.number.arg if traced else value)[1]) if value is not None else []
                for index, factor in enumerate(factors):
                    E = self.value(atom(factor))
                    if not isinstance(E, Elementwise) or not any(isinstance(f, exp) for f in Mul.make_args(E.formula)):
                        continue
                    self.views[m, tuple(E.shape)] = repeated(exponents, E.shape)
                    smaller = self.entries(merged(self.reread(E) * exp(-m)), tuple(E.shape))
                    factors[index] = transposed(smaller) if isinstance(factor, Transpose) else smaller
                    q = Dummy("q", real=True)
                    trial = merged(formula.xreplace({v: q * exp(m)}))
                    if trial.has(exp(m), exp(-m)):
                        break
                    if traced:
                        return self.shifted(trial.xreplace({q: self.traced_values(factors)}), m, exponents)
                    made = repeated(self.product(factors), shape) if shape else self.product(factors)
                    return self.shifted(trial.xreplace({q: self.viewed(made)}), m, exponents)
        return formula

    def exponents(self, view: MatrixExpr) -> MatrixExpr | None:
        """log of a view that is a sum of exp, as the logsumexp of what is under it."""
        inner = core(view)
        symbol = inner.arg if isinstance(inner, Transpose) else inner
        value = self.value(symbol)
        value = value.number.arg if isinstance(value, Scalar) and isinstance(value.number, Trace) else value
        if not isinstance(value, MatMul):
            return None
        factors = value.args
        summed = [factor for factor in factors if not isinstance(factor, OneMatrix)]
        if len(summed) != 1 or not isinstance(summed[0], MatrixSymbol | Transpose):
            return None
        (E,) = summed
        terms = self.value(E.arg if isinstance(E, Transpose) else E)
        if not isinstance(terms, Elementwise) or not isinstance(terms.formula, exp):
            return None
        Z = self.entries(self.reread(terms).args[0], tuple(terms.shape))
        Z = transposed(Z) if isinstance(E, Transpose) else Z
        of_all = isinstance(factors[0], OneMatrix) and isinstance(factors[-1], OneMatrix)
        if isinstance(factors[0], OneMatrix) and not of_all:
            Z = transposed(Z)
        result = self.logsumexp(Z, of_all)
        result = transposed(result) if isinstance(factors[0], OneMatrix) else result
        return transposed(result) if isinstance(inner, Transpose) else result

    def logsumexp(self, Z: MatrixExpr, of_all: bool = False) -> MatrixExpr:
        """The logsumexp of each row, or of all entries: the largest is taken out first, and added last.

        Of L, Z, U and M in `shifts` it is known that L - Z = M - U, in which nothing is as large as Z may be.
        """
        rows = [known for known in self.shifts if known[0] == transposed(Z) and isinstance(Z, Transpose)]
        if rows:
            Z, of_all = rows[0][1], True
        if of_all and 1 in Z.shape:
            Z, of_all = Z if Z.shape[0] == 1 else transposed(Z), False
        if Z.shape[1] == 1:
            return Z
        C, shape = self.define(RowMax(Z)), tuple(Z.shape)
        C = self.define(RowMax(transposed(C))) if of_all else C
        U = self.entries(self.viewed(Z) - self.viewed(repeated(C, shape)), shape)
        M = each = self.define(RowLogSumExp(U))
        M = self.define(RowLogSumExp(transposed(each))) if of_all else M
        L = self.entries(self.viewed(C) + self.viewed(M), tuple(C.shape))
        self.shifts += [(L, Z, U, M), *((L, known[0], each, M) for known in rows)]
        return L

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

    def reread(self, value: Elementwise) -> Expr:
        """The formula of an equation's value, its operands viewed as they stand there, which may be transposed."""
        return value.formula.xreplace({u: self.viewed(operand) for u, operand in value.operands.items()})

    def value(self, symbol: MatrixSymbol) -> MatrixExpr | None:
        """What a symbol stands for."""
        return next((equation.value for equation in self.equations if equation.target == symbol), None)

    # matrices that are no formula

    def matrix(self, node: MatrixExpr) -> MatrixExpr:
        """A matrix as a symbol, the transpose of one, or ones, zeros or the identity."""
        self.path.append(type(node).__name__)
        try:
            return self._matrix(node)
        finally:
            self.path.pop()

    def _matrix(self, node: MatrixExpr) -> MatrixExpr:
        if not isinstance(node, MatrixExpr | MatrixBase):
            raise self.refuse(node, "a matrix is needed here")
        shape = self.shape(node)
        if shape == (1, 1):
            return self.entries(self.single(node), shape)
        if isinstance(node, MatrixSymbol):
            return self.input(node)
        if isinstance(node, MatrixBase):
            return self.explicit(node)
        if isinstance(node, OneMatrix | ZeroMatrix | Identity):
            return node.xreplace(self.sizes)
        if isinstance(node, Transpose | Adjoint):
            return transposed(self.matrix(node.arg))
        if isinstance(node, (*ENTRYWISE, MatMul)):
            return self.entries(self._formula(node), shape)
        if isinstance(node, Inverse):
            return self.product([self.factor(node)])
        if isinstance(node, MatPow):
            return self.power(node)
        if isinstance(node, DiagonalOf):
            inner = self.matrix(node.arg)
            return self.product([self.entries(*self.on_diagonal(inner)), OneMatrix(inner.shape[1], 1)])
        if isinstance(node, KroneckerProduct):
            return self.kronecker(node, shape)
        if isinstance(node, BlockDiagMatrix):
            return self.matrix(BlockMatrix(node.blocks))
        if isinstance(node, BlockMatrix):
            rows, columns = node.blockshape
            blocks = [[self.matrix(node.blocks[i, j]) for j in range(columns)] for i in range(rows)]
            return self.define(BlockMatrix(blocks))
        if isinstance(node, MatrixSlice):
            return self.slice(node)
        if isinstance(node, RowLogSumExp):
            return self.logsumexp(self.matrix(node.args[0]))
        if isinstance(node, BlockSum):
            return self.define(BlockSum(self.matrix(node.matrix), self.matrix(node.factor), node.inner))
        raise self.unknown(node)

    def kronecker(self, node: KroneckerProduct, shape: tuple[Expr, Expr]) -> MatrixExpr:
        """Two by two; a 1 x 1 factor is a number."""
        numbers = [self.scalar(part) for part in node.args if self.shape(part) == (1, 1)]
        result, *others = (self.matrix(part) for part in node.args if self.shape(part) != (1, 1))
        for other in others:
            result = self.define(KroneckerProduct(result, other))
        return self.entries(Mul(*numbers) * self.viewed(result), shape) if numbers else result

    def power(self, node: MatPow) -> MatrixExpr:
        if not node.exp.is_Integer:
            raise self.refuse(node, "a matrix power needs a whole number; HadamardPower is the power entry by entry")
        if abs(node.exp) > MOST_FACTORS:
            raise self.refuse(node, f"powers from -{MOST_FACTORS} to {MOST_FACTORS} are derived")
        base = self.matrix(node.base)
        if isinstance(base, Identity) or node.exp == 0:
            return Identity(base.shape[0])
        positive = base if abs(node.exp) == 1 else self.define(MatPow(base, abs(node.exp)))
        return positive if node.exp > 0 else self.product([Inverse(positive)])

    def slice(self, node: MatrixSlice) -> MatrixExpr:
        if node.rowslice[2] != 1 or node.colslice[2] != 1:
            raise self.refuse(node, "slices with a step are not supported")
        rows, columns = (
            tuple(sympify(part).xreplace(self.sizes) for part in side) for side in (node.rowslice, node.colslice)
        )
        return self.sliced(self.matrix(node.parent), rows, columns)

    def sliced(self, matrix: MatrixExpr, rows: tuple[Expr, ...], columns: tuple[Expr, ...]) -> MatrixExpr:
        if isinstance(matrix, OneMatrix | ZeroMatrix):
            return matrix.func(rows[1] - rows[0], columns[1] - columns[0])
        if isinstance(matrix, Transpose):
            return transposed(self.define(MatrixSlice(matrix.arg, columns, rows)))
        return self.define(MatrixSlice(matrix, rows, columns))

    def explicit(self, node: MatrixBase) -> MatrixExpr:
        """A matrix of numbers; one of scalar expressions is a sum of its entries, each in its place."""
        if all(part.is_number for part in node):
            if all(part == 0 for part in node):
                return ZeroMatrix(*node.shape)
            return self.define(ImmutableDenseMatrix(node))
        if len(node) > 100:
            raise self.refuse(node, "use a MatrixSymbol for a matrix of so many entries")
        shape = tuple(map(Integer, node.shape))
        formula = Integer(0)
        for i in range(node.rows):
            for j in range(node.cols):
                unit = ImmutableDenseMatrix(*node.shape, lambda *place, here=(i, j): int(place == here))
                formula += self.scalar(node[i, j]) * self.viewed(self.define(unit))
        return self.entries(formula, shape)

    def define(self, value: MatrixExpr) -> MatrixExpr:
        """The symbol with this value, or the transpose of the symbol that has the transposed value.

        Of shape 1 x 1 it is a number.
        """
        single = tuple(value.shape) == (1, 1)
        value = number_of(value) if single else value
        if key(value) in self.known:
            return self.known[key(value)]
        if isinstance(value, Elementwise | MatMul | Inverse | MatPow | KroneckerProduct) and not single:
            flipped = transposed(value)
            if key(flipped) in self.known:
                return Transpose(self.known[key(flipped)])
            if bars(flipped) < bars(value):
                return Transpose(self.define(flipped))
        symbol = MatrixSymbol(self.fresh("s" if single else "M"), *value.shape)
        self.known[key(value)] = symbol
        if single:
            self.numbers[entry(symbol)] = symbol
        self.equations.append(Equation(symbol, value, "definition", symbol.name))
        return symbol


def described(symbol: Basic) -> str:
    """A symbol with its shape, or what else it is."""
    return f"{symbol} {tuple(symbol.shape)}" if isinstance(symbol, MatrixSymbol) else f"the number {symbol}"


def key(value: MatrixExpr) -> object:
    """Equal for equal values."""
    if isinstance(value, Elementwise):
        return value.formula, frozenset(value.operands.items())
    return value


def number_of(value: MatrixExpr) -> MatrixExpr:
    """A 1 x 1 matrix as what torch computes without dimensions."""
    if isinstance(value, Scalar | Elementwise | RowLogSumExp | RowMax) or constant(value) is not None:
        return value
    if isinstance(value, MatrixSlice):
        return Scalar(MatrixElement(value.parent, value.rowslice[0], value.colslice[0]))
    return Scalar(Trace(value))


def bars(value: MatrixExpr) -> int:
    """How many transposes are written in it, less those of what only repeats."""
    if isinstance(value, Elementwise):
        return sum(isinstance(operand, Transpose) for operand in value.operands.values())
    return sum(isinstance(part, Transpose) for part in value.args) if not isinstance(value, MatPow | Inverse) else 0


def merged(formula: Expr) -> Expr:
    """Products of exp as one exp."""

    def one(part: Mul) -> Expr:
        powers = [factor.args[0] for factor in part.args if isinstance(factor, exp)]
        return Mul(exp(Add(*powers)), *(factor for factor in part.args if not isinstance(factor, exp)))

    return formula.replace(lambda part: isinstance(part, Mul), one) if formula.has(exp) else formula


def joined(matrices: list[MatrixExpr]) -> MatrixExpr:
    return MatMul(*matrices) if len(matrices) > 1 else matrices[0]
