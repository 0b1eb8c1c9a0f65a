"""Any scalar SymPy expression of matrices as a straight-line program: one operation an equation, nothing twice.

Whatever acts entry by entry (sums, Hadamard products, applyfunc, a number times a matrix) becomes one formula. A matrix
and its transpose are one symbol. Every entry of a matrix is a variable of its own, and every symbol is real.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from sympy import (
    Basic,
    Expr,
    I,
    Integer,
    Lambda,
    MatrixBase,
    MatrixExpr,
    MatrixSymbol,
    OneMatrix,
    Symbol,
    functions,
    nan,
    preorder_traversal,
    sympify,
    zoo,
)
from sympy.core.function import AppliedUndef

from derive.formulas import stable
from derive.problems import Definition
from derive.programs import PLAIN, Equation, Notation, Program, atom, elementwise, needed
from derive.reading.agreement import check_agreement
from derive.reading.logsumexp import StableEquations

NodeRule = Callable[["Reader", Any], Any]
CHOLESKY = "S.inv()*x and log(Determinant(S)) are computed without it"
ORTHOGONAL = "the projection on the columns of X is X*(X.T*X).inv()*X.T"
INSTEAD = {  # of a node by the name of its type: what there is in its place
    **dict.fromkeys(("LofCholesky", "UofCholesky", "LofLU", "UofLU", "PofLU"), CHOLESKY),
    **dict.fromkeys(("QofQR", "RofQR"), ORTHOGONAL),
    "EigenValues": "their sum is Trace(X), their product Determinant(X), the sum of their k-th powers Trace(X**k)",
    "Permanent": "of a matrix with given sizes sympy.per(Matrix(X)) writes it out entry by entry",
    "EigenVectors": "with v given, its eigenvalue is the Rayleigh quotient v.T*S*v/Trace(v.T*v)",
    "SofSVD": "the squares of the singular values add up to Trace(X.T*X); their sum is the least of (Trace(U.T*U) + "
    "Trace(V.T*V))/2 where U*V.T = X",
}
OF_MATRIX = "; X.applyfunc({0}) is {0} of each entry"
EXPONENTIAL = ", and for the matrix exponential a polynomial is derived, as I + X + X**2/2"
NUMBER_RULES: dict[type, NodeRule] = {}  # by type of node: a number as a formula, and a 1 x 1 matrix as its entry
ENTRY_RULES: dict[type, NodeRule] = {}  # an entry of a matrix as a formula
MATRIX_RULES: dict[type, NodeRule] = {}  # a matrix that is no formula entry by entry
DEFINITION_RULES: dict[type, NodeRule] = {}  # the value of an equation that has a name

OF_ALL_KINDS = {
    Basic,
    MatrixExpr,
    MatrixBase,
    MatrixSymbol,
    Symbol,
    AppliedUndef,
}  # whose rules hold for all below them


def rule_for(table: dict[type, NodeRule], node: Basic, default: NodeRule) -> NodeRule:
    """The rule for a node: that of its type, or of the nearest type that it is one of."""
    return next((table[kind] for kind in type(node).__mro__ if kind in table), default)


def check_kinds(loss: Basic) -> None:
    """Raises ValueError for a node of somebody's own that would be read, and proved, as what it is derived from."""
    rows = {*NUMBER_RULES, *ENTRY_RULES, *MATRIX_RULES}
    for node in preorder_traversal(loss):
        own = type(node)
        kind = next((kind for kind in own.__mro__ if kind in rows), Basic)
        if kind is not own and kind not in OF_ALL_KINDS:
            raise ValueError(
                f"{own.__name__} is not supported: {node}; it is a {kind.__name__} with a meaning of its own"
            )


class Reader(StableEquations):
    """Reads an expression into equations over symbols of its own, each node by the rule for its type.

    `matrix` gives a symbol, its transpose or a constant; `formula` an entry of a matrix and `scalar` a number as a
    formula over entries.
    """

    def __init__(self, notation: Notation = PLAIN, symmetric: Iterable[MatrixSymbol] = ()) -> None:
        super().__init__(notation, symmetric)
        self.path: list[str] = []
        self.bound: dict[Symbol, Expr] = {}

    def program(self, loss: Basic, variables: Iterable[Basic]) -> Program:
        """The program of a scalar loss; the variables are its parameters."""
        self.all_inputs(loss, variables)
        formula = stable(self.collected(self.scalar(loss)))
        return self.finished(formula, variables)

    def of_matrix(self, matrix: MatrixExpr) -> tuple[Program, MatrixExpr]:
        """The program of a matrix, which a number of it ends, and what it is there: a symbol or a transpose."""
        self.all_inputs(matrix, ())
        result = self.matrix(matrix)
        result = result if isinstance(atom(result), MatrixSymbol) else self.define(result)
        made = [equation.target for equation in self.equations]
        last = self.equations if atom(result) not in made else self.equations[: made.index(atom(result)) + 1]
        self.equations = list(last)
        ones = OneMatrix(1, result.shape[0]), OneMatrix(result.shape[1], 1)
        return self.finished(self.trace_of([ones[0], result, ones[1]]), ()), result

    def all_inputs(self, loss: Basic, variables: Iterable[Basic]) -> None:
        """Takes all that is given."""
        check_agreement(loss, variables)
        check_kinds(loss)
        given = sorted(
            {*loss.atoms(MatrixSymbol), *(v for v in variables if isinstance(v, MatrixSymbol))},
            key=lambda matrix: (matrix.name, str(matrix.shape)),
        )
        self.inputs_of(given)
        numbers = {s for s in loss.free_symbols | set(variables) if isinstance(s, Symbol) and s not in self.sizes}
        for symbol in sorted(numbers, key=lambda symbol: symbol.name):
            self.input(symbol)

    def finished(self, formula: Expr, variables: Iterable[Basic]) -> Program:
        """The program whose last equation is the number with this formula."""
        self.check_sizes()
        operands = self.operands(formula, (Integer(1), Integer(1)))
        value = elementwise(formula, operands or {Symbol("1"): OneMatrix(1, 1)})
        target = MatrixSymbol(self.fresh("value"), 1, 1)
        if isinstance(value, MatrixSymbol) and self.equations and self.equations[-1].target == value:
            value = self.equations.pop().value
        self.equations.append(Equation(target, value, "loss", "loss"))
        notation = Notation(frozenset(symbol.name for symbol in (*self.original, *self.sizes.values())))
        scalars = [*self.numbers.values(), target]
        return Program(
            inputs=tuple(sorted(self.original, key=lambda symbol: symbol.name)),
            parameters=tuple(self.inputs[variable] for variable in variables),
            equations=needed(tuple(self.equations), [target]),
            notation=notation,
            scalars=frozenset(symbol.name for s in scalars for symbol in (s, notation.cotangent(s))),
        )

    def inputs_of(self, given: Iterable[MatrixSymbol]) -> None:
        """Takes matrices that are given, and the symbols in their shapes for sizes."""
        for matrix in given:
            for symbol in sorted(set().union(*(sympify(size).free_symbols for size in matrix.shape)), key=str):
                self.size(symbol)
        for matrix in given:
            self.input(matrix)

    def definition(self, definition: Definition) -> None:
        """An equation of that target; its value is a sum of products, or a formula entry by entry."""
        with self.at(definition.value):
            value = rule_for(DEFINITION_RULES, definition.value, Reader.unknown)(self, definition.value)
        self.assign(definition.target, value, definition.rule)

    def scalar(self, node: Basic) -> Expr:
        """A number, also the one entry of a 1 x 1 matrix, as a formula over the entries of 1 x 1 symbols."""
        with self.at(node):
            if isinstance(node, MatrixExpr | MatrixBase) and self.shape(node) != (1, 1):
                function = next(iter(self.path[-2:-1]), "")
                beside = OF_MATRIX.format(function) + EXPONENTIAL * (function == "exp")
                numbers = "a number is needed here: its Trace, total(...) or an entry [i, j] is one"
                raise self.refuse(node, numbers + beside * (function in dir(functions)))
            return self.single(node)

    def single(self, node: Basic) -> Expr:
        found: Expr = rule_for(NUMBER_RULES, node, Reader.unknown)(self, node)
        if found.has(I, nan, zoo):
            raise self.refuse(node, "it has no real, finite value, whatever the entries are")
        return found

    def formula(self, node: Basic) -> Expr:
        """An entry of a matrix, or a number, as a formula over entries of symbols and their views."""
        with self.at(node):
            if not isinstance(node, MatrixExpr | MatrixBase) or self.shape(node) == (1, 1):
                return self.single(node)
            return rule_for(ENTRY_RULES, node, lambda read, node: read.viewed(read.matrix(node)))(self, node)

    def matrix(self, node: Basic) -> MatrixExpr:
        """A matrix as a symbol, the transpose of one, or ones, zeros or the identity."""
        with self.at(node):
            if not isinstance(node, MatrixExpr | MatrixBase):
                raise self.refuse(node, "a matrix is needed here")
            if self.shape(node) == (1, 1):
                return self.entries(self.single(node), self.shape(node))
            return rule_for(MATRIX_RULES, node, Reader.entrywise)(self, node)

    def entrywise(self, node: MatrixExpr) -> MatrixExpr:
        return self.entries(rule_for(ENTRY_RULES, node, Reader.unknown)(self, node), self.shape(node))

    def applied(self, function: Lambda, arguments: Iterable[Expr]) -> Expr:
        """A function's formula with arguments in the place of its variables."""
        outer, self.bound = self.bound, {**self.bound, **dict(zip(function.variables, arguments, strict=True))}
        try:
            return self.scalar(function.expr)
        finally:
            self.bound = outer

    @contextmanager
    def at(self, node: Basic) -> Iterator[None]:
        """What is read in it is read for that node."""
        self.path.append(type(node).__name__)
        yield
        self.path.pop()

    def unknown(self, node: Basic) -> NoReturn:
        beside = "see derive.matrix for what there is beside sums, products, inverses and applyfunc"
        raise self.refuse(node, INSTEAD.get(type(node).__name__, beside))

    def refuse(self, node: Basic, nearest: str) -> ValueError:
        """The error for a node that is not supported: what it is, where it stands, what would work."""
        shape = f" of shape {tuple(node.shape)}" if isinstance(node, MatrixExpr | MatrixBase) else ""
        text = str(node)
        return ValueError(
            f"{type(node).__name__}{shape} is not supported: {text if len(text) < 80 else text[:77] + '...'}; "
            f"it stands at {' > '.join(self.path[:-1]) or 'the loss itself'}; {nearest}"
        )
