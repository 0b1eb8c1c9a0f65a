"""Every node of a program has its row in every table, and what has none is refused there by name."""

from random import Random
from types import SimpleNamespace

import numpy
import pytest
from sympy import (
    Basic,
    BlockMatrix,
    Determinant,
    Expr,
    HadamardProduct,
    Identity,
    ImmutableDenseMatrix,
    Inverse,
    KroneckerProduct,
    MatAdd,
    MatMul,
    MatPow,
    MatrixExpr,
    MatrixSymbol,
    OneMatrix,
    Rational,
    Trace,
    ZeroMatrix,
    log,
    preorder_traversal,
    sin,
)
from sympy.matrices.expressions.matexpr import MatrixElement
from sympy.matrices.expressions.slice import MatrixSlice

from derive import derivation
from derive.backends.torch.printer import TorchPrinter
from derive.calculus import ClosedForms, pull_back, push_forward, rule
from derive.matrix import total
from derive.operations import evaluate, lower
from derive.paper.guide import RARE
from derive.paper.latex import latex
from derive.programs import (
    PLAIN,
    Arange,
    BlockSum,
    Equation,
    LogAbsDet,
    LogDet,
    Program,
    RowLogSumExp,
    RowMax,
    RowSoftmax,
    Scalar,
    SignDet,
    elementwise,
    entry,
)
from derive.programs.nodes import Node, OfDeterminant, OfRows
from derive.proof.definition import Evaluation
from derive.reading.reader import ENTRY_RULES, MATRIX_RULES, NUMBER_RULES

P, Q, S, T, K, c = (
    MatrixSymbol(*given) for given in (("P", 2, 3), ("Q", 2, 3), ("S", 2, 2), ("T", 2, 2), ("K", 4, 6), ("c", 1, 3))
)
INPUTS = (P, Q, S, T, K, c)
over = {entry(P): P, entry(Q): Q}
VALUES = {
    "symbol": MatAdd(P, Q),
    "Transpose": MatMul(P.T, S),
    "Inverse": Inverse(S),
    "solve": MatMul(Inverse(S), P),
    "MatPow": MatPow(S, 3),
    "Elementwise": elementwise(sin(entry(P)) * entry(Q) ** 2, over),
    "a view": elementwise(entry(P) * entry(c), {entry(P): P, entry(c): MatMul(OneMatrix(2, 1), c)}),
    "RowLogSumExp": RowLogSumExp(P),
    "RowMax": RowMax(P),
    "Trace": Scalar(Trace(MatMul(S, T))),
    "Determinant": Scalar(Determinant(S)),
    "LogDet": Scalar(LogDet(S)),
    "LogAbsDet": Scalar(LogAbsDet(S)),
    "SignDet": Scalar(SignDet(S)),
    "Arange": Arange(2),
    "MatrixElement": Scalar(MatrixElement(P, 1, 2)),
    "MatAdd": MatAdd(MatMul(3, S), MatMul(S, T)),
    "OneMatrix": MatMul(OneMatrix(1, 2), P),
    "KroneckerProduct": KroneckerProduct(P, S),
    "BlockSum": BlockSum(K, P, False),
    "BlockSum, inner": BlockSum(K, P, True),
    "MatrixSlice": MatrixSlice(P, (0, 2), (1, 3)),
    "BlockMatrix": BlockMatrix([[S, P], [T, Q]]),
    "Identity": elementwise(entry(S) * entry(Identity(2)), {entry(S): S, entry(Identity(2)): Identity(2)}),
    "ImmutableDenseMatrix": ImmutableDenseMatrix([[1, 2], [3, 4]]),
    "ZeroMatrix": ZeroMatrix(2, 2),
}


READ_AS_OTHERS = {"RowSoftmax": RowSoftmax(P)}


def derived(kind: type) -> set[type]:
    return {kind}.union(*map(derived, kind.__subclasses__()))


OURS = (derived(Node) | derived(OfDeterminant)) - {Node, OfDeterminant, OfRows}


def equation(value: MatrixExpr) -> Equation:
    return Equation(MatrixSymbol("F", *value.shape), value, "definition", "F")


def closed_forms(*known: Equation) -> ClosedForms:
    """Closed forms over the inputs, and over the targets of some equations."""
    program = SimpleNamespace(scalars=frozenset({e.target.name for e in known if isinstance(e.value, Scalar)}))
    made = (MatrixSymbol(f"{role} {s.name}", *s.shape) for s in (*INPUTS, *(e.target for e in known)) for role in ROLES)
    originals = {symbol: symbol for symbol in (*INPUTS, *made)}
    return ClosedForms(SimpleNamespace(program=program, equations=known), originals, {})


ROLES = ("grad", "dot")
TABLES = {
    "pullback": lambda e: [pull_back(e, s, PLAIN.cotangent(e.target)) for s in e.varies_with],
    "pushforward": lambda e: [push_forward(e, {s: PLAIN.tangent(s)}) for s in e.varies_with],
    "torch": lambda e: TorchPrinter(Program(INPUTS, INPUTS, (e,), PLAIN)).line(e).code,
    "closed forms": lambda e: closed_forms(e),
    "definition": lambda e: worth(closed_forms().of(e.value), numbers(INPUTS)),
    "LaTeX": lambda e: latex(None, e.value),
    "numbers": lambda e: evaluate((e,), {s: rows.astype(float) for s, rows in numbers(INPUTS).items()})[e.target],
}


def test_each_node_that_is_an_operation_has_an_example():
    known = {kind for kind in lower.registry if issubclass(kind, Expr)}
    examples = {type(node) for value in VALUES.values() for node in preorder_traversal(value)}
    assert {kind.__name__ for kind in known - examples} == set()


def test_each_node_of_ours_is_an_operation_or_is_read_as_others():
    operations = {kind for kind in lower.registry if issubclass(kind, Expr)} - {Expr}
    assert {kind.__name__ for kind in OURS - operations} == READ_AS_OTHERS.keys()


def test_no_node_of_ours_is_derived_from_another():
    """Tables know nodes by isinstance: they would have the rows of the other for it."""
    assert [kind.__name__ for kind in OURS if OURS.intersection(kind.__mro__[1:])] == []


def test_each_node_of_ours_is_explained_where_a_page_has_it():
    """But those that are written as everybody writes them."""
    usual = {"Arange", "Elementwise", "LogAbsDet", "LogDet", "Scalar", "SignDet"}
    assert {kind.__name__ for kind in OURS.difference(RARE)} - READ_AS_OTHERS.keys() == usual


@pytest.mark.parametrize("name", READ_AS_OTHERS)
def test_what_is_read_as_others_has_a_definition_of_its_own_and_its_gradient_is_proved(name):
    value = READ_AS_OTHERS[name]
    assert type(value).__name__ == name
    assert worth(value, numbers(INPUTS)).shape == value.shape
    derivation(total(HadamardProduct(value, value)), [P])


def test_each_node_that_is_an_operation_can_be_read_and_a_matrix_also_if_it_has_one_entry():
    known = {kind for kind in lower.registry if issubclass(kind, Expr)}
    rows = {*NUMBER_RULES, *ENTRY_RULES, *MATRIX_RULES} - {Basic, MatrixExpr}  # which are all others
    ours = {"LogAbsDet", "LogDet", "Scalar", "SignDet"}
    assert {kind.__name__ for kind in known if not rows & set(kind.__mro__)} == ours
    one = {*NUMBER_RULES} - {Basic, MatrixExpr}
    assert {kind.__name__ for kind in (*ENTRY_RULES, *MATRIX_RULES) if not one & set(kind.__mro__)} == set()


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("name", VALUES)
def test_each_node_has_its_row_in_each_table(name, table):
    TABLES[table](equation(VALUES[name]))


def numbers(symbols) -> dict:
    """An odd fraction for each entry, and 2 more on a diagonal, so that determinants are positive."""
    draw = Random(0)

    def number(i: int, j: int, symbol: MatrixSymbol) -> Rational:
        return Rational(2 * draw.randrange(50) + 1, 97) + 2 * (i == j and symbol.shape[0] == symbol.shape[1])

    return {
        symbol: numpy.array([[number(i, j, symbol) for j in range(symbol.shape[1])] for i in range(symbol.shape[0])])
        for symbol in symbols
    }


def worth(value: Expr, given: dict) -> numpy.ndarray:
    found = Evaluation(given)
    return found.entries(value) if isinstance(value, MatrixExpr) else numpy.array([[found.scalar(value)]])


@pytest.mark.parametrize("name", [name for name in VALUES if name != "RowMax"])  # whose closed form is any number
def test_numbers_are_what_the_definition_says(name):
    e = equation(VALUES[name])
    numpy.testing.assert_allclose(TABLES["numbers"](e), TABLES["definition"](e).astype(float), rtol=1e-12)


@pytest.mark.parametrize("name", [name for name, value in VALUES.items() if value.has(MatrixSymbol)])
def test_what_goes_back_is_the_transpose_of_what_goes_forward(name):
    e = equation(VALUES[name])
    g, forms = PLAIN.cotangent(e.target), closed_forms(e)
    for symbol in e.varies_with:
        v = PLAIN.tangent(symbol)
        given = numbers([*INPUTS, g, v])
        forwards = worth(forms.of(push_forward(e, {symbol: v})), given)
        backwards = worth(forms.of(pull_back(e, symbol, g)), given)
        assert forwards.shape == e.target.shape
        assert backwards.shape == symbol.shape
        assert abs(((forwards * given[g]).sum() - (backwards * given[v]).sum()).evalf(40)) < 1e-30


class Cholesky(MatrixExpr):
    """A node that nobody knows."""

    shape = property(lambda self: self.args[0].shape)


class Permanent(Expr):
    """A number that nobody knows."""

    arg = property(lambda self: self.args[0])


UNKNOWN = {
    "square": Cholesky(S),
    "not square": Cholesky(P),
    "in a product": MatMul(Cholesky(S), P),
    "turned": MatMul(Cholesky(P).T, S),
    "inverted": Inverse(Cholesky(S)),
    "in a sum": MatAdd(S, Cholesky(S)),
    "a number": Scalar(Permanent(S)),
    "in a block": BlockMatrix([[S, Cholesky(P)]]),
    "in a formula": elementwise(entry(Cholesky(S)) + entry(S), {entry(Cholesky(S)): Cholesky(S), entry(S): S}),
}
REFUSING = {
    **TABLES,
    "reading": lambda e: derivation(total(e.value), [S], prove=False),
}


@pytest.mark.parametrize("table", REFUSING)
@pytest.mark.parametrize("name", UNKNOWN)
def test_a_node_that_nobody_knows_is_refused_by_name(name, table):
    with pytest.raises(ValueError, match=r"Cholesky|Permanent"):
        REFUSING[table](equation(UNKNOWN[name]))


class PseudoInverse(Inverse):
    """What SymPy takes for an inverse."""


class Spread(Trace):
    """What SymPy takes for a trace."""


class log2(log):
    """What SymPy takes for the natural logarithm."""


@pytest.mark.parametrize("loss", [total(MatMul(PseudoInverse(S), P)), Spread(S), log2(Trace(S))], ids=str)
def test_a_node_that_derives_from_one_with_a_rule_is_not_read_as_that(loss):
    with pytest.raises(ValueError, match=r"^(PseudoInverse|Spread|log2) is not supported"):
        derivation(loss, [S])


@pytest.mark.parametrize("name", VALUES)
def test_each_node_has_a_rule_in_words(name):
    e = equation(VALUES[name])
    assert all(rule(e, symbol) for symbol in e.varies_with)


@pytest.mark.parametrize("name", ["square", "not square", "in a sum", "a number"])
def test_no_rule_in_words_is_made_up_for_a_node_that_nobody_knows(name):
    e = equation(UNKNOWN[name])
    with pytest.raises(ValueError, match=r"Cholesky|Permanent"):
        [rule(e, symbol) for symbol in (S, P) if e.value.has(symbol)]
