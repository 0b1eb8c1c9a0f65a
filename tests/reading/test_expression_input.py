"""What is given to derivation: read as it is meant, or refused in one line that names it and what would be right."""

import re

import numpy
import pytest
import sympy
import torch
from sympy import (
    Abs,
    BlockMatrix,
    Determinant,
    DiagMatrix,
    Float,
    HadamardPower,
    HadamardProduct,
    Identity,
    Idx,
    IndexedBase,
    Integral,
    KroneckerProduct,
    Matrix,
    MatrixExpr,
    MatrixSymbol,
    OneMatrix,
    Rational,
    Sum,
    Symbol,
    Trace,
    exp,
    factorial,
    log,
    sin,
    sqrt,
    symbols,
    tanh,
)
from sympy.matrices.expressions import DiagonalOf, DotProduct
from sympy.matrices.expressions.factorizations import LofCholesky, SofSVD
from sympy.matrices.expressions.matexpr import MatrixElement

from derive import derivation, gradient
from derive.matrix import apply, diagonal, log_softmax, logsumexp, softmax, total
from tests.helpers.expressions import by_autograd, computed, draw_inputs
from tests.helpers.programs import ROOT

n, d, h, m = symbols("n d h m", integer=True, positive=True)
X, W, Y, P = MatrixSymbol("X", n, d), MatrixSymbol("W", d, h), MatrixSymbol("Y", n, h), MatrixSymbol("P", n, m)
c, q, b = MatrixSymbol("c", 1, h), MatrixSymbol("q", n, 1), MatrixSymbol("b", 1, 1)
A, z, s = MatrixSymbol("A", 3, 3), MatrixSymbol("z", 3, 1), Symbol("s")
i, j = symbols("i j", integer=True)
R = X * W
ROW = "X*W + c: X*W is (n, h) and c is (1, h); OneMatrix(n, 1)*c adds the row to every row"

REFUSED = {
    "no terms": (lambda: Sum(z[i, 0], (i, 2, 0)), "a sum from 2 to 0 has no terms"),
    "an entry before the first": (lambda: z[-1, 0] ** 2, "entries are counted from 0 on, and the last of n is n - 1"),
    "a row": (lambda: total(HadamardPower(R + c, 2)), ROW),
    "a row in logsumexp": (lambda: total(logsumexp(R + c)), ROW),
    "a row in a function": (lambda: total((R + c).applyfunc(tanh)), ROW),
    "a row in a square": (
        lambda: Trace((R + c - Y).T * (R + c - Y)),
        "X*W is (n, h) and c is (1, h); OneMatrix(n, 1)*c adds the row to every row",
    ),
    "a column": (
        lambda: total(R + q),
        "X*W is (n, h) and q is (n, 1); q*OneMatrix(1, h) adds the column to every column",
    ),
    "a Hadamard product": (lambda: total(HadamardProduct(R, c)), "OneMatrix(n, 1)*c repeats the row in every row"),
    "an entry": (lambda: total(R + b), "Trace(b)*OneMatrix(n, h) adds it to every entry"),
    "a product": (lambda: total(X * MatrixSymbol("Q", m, n)), "X is (n, d) and Q is (m, n); the first needs as many"),
    "a trace": (lambda: Trace(P), "Trace needs a square matrix, and P is (n, m); total(...) adds all entries"),
    "a determinant": (lambda: log(Determinant(P)), "Determinant needs a square matrix, and P is (n, m)"),
    "a determinant that is 0": (lambda: log(Determinant(z * z.T)), "z*z.T has at most rank 1 of 3, so that its det"),
    "an inverse of less rank": (lambda: Trace(A * (A * z * z.T + z * z.T * A).inv()), "at most rank 2 of 3, so that"),
    "two shapes": (lambda: Trace(A) + total(MatrixSymbol("A", 4, 3)), "A (3, 3) and A (4, 3); rename one"),
    "a number and a matrix": (lambda: Symbol("A") * Trace(A), "A (3, 3) and the number A; rename one"),
    "two sizes": (
        lambda: total(MatrixSymbol("B", n, Symbol("n"))),
        "with this name, the number n and the number n",
    ),
    "an indexed base": (lambda: IndexedBase("u")[0] ** 2, "u[0]: Indexed is not supported; x[i, 0] is an entry"),
    "an index": (lambda: IndexedBase("u")[Idx("k")] ** 2, "k: Idx is not supported"),
    "no rows": (lambda: Trace(MatrixSymbol("Z", 0, 0)), "Z is (0, 0): a matrix needs at least one row and one column"),
    "imaginary": (lambda: Symbol("y", imaginary=True) * Trace(A), "y: expected a real number"),
    "complex": (lambda: Symbol("y", complex=True) * Trace(A), "y: expected a real number"),
    "infinite": (lambda: Symbol("y", infinite=True) * Trace(A), "y: expected a real number"),
    "noncommutative": (lambda: Symbol("y", commutative=False) * Trace(A), "y: expected a real number"),
    "softmax of a column": (lambda: total(softmax(z)), "z is a column (3, 1); softmax(z.T).T is the column"),
    "log_softmax of a column": (
        lambda: total(log_softmax(q)),
        "q is a column (n, 1); log_softmax(q.T).T is the column",
    ),
    "logsumexp of a column": (lambda: total(logsumexp(X.T * q)), "a column"),
    "a root": (lambda: Trace(A ** Rational(1, 2)), "of a root R of X, X = R*R, the gradient in R is derived"),
    "a Cholesky factor": (lambda: Trace(LofCholesky(A)), "S.inv()*x and log(Determinant(S)) are computed without it"),
    "singular values": (lambda: Trace(SofSVD(A)), "the least of (Trace(U.T*U) + Trace(V.T*V))/2 where U*V.T = X"),
    "the exponential of a matrix": (lambda: 2 * sympy.exp(A), "a polynomial is derived, as I + X + X**2/2"),
    "the logarithm of a matrix": (lambda: sympy.log(A), "X.applyfunc(log) is log of each entry"),
    "a derivative that SymPy has none for": (lambda: sympy.Derivative(Trace(A * A), A), "work it out first, or write"),
    "a permanent": (lambda: sympy.Permanent(A), "sympy.per(Matrix(X)) writes it out entry by entry"),
    "a size that nothing has": (lambda: total(z * OneMatrix(1, m)), "the size m is that of no MatrixSymbol"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_meaning_is_named_with_what_has_one(name):
    make, words = REFUSED[name]
    with pytest.raises(ValueError) as error:
        derivation(make(), [A], prove=False)
    assert "\n" not in str(error.value)
    assert words in str(error.value)


OUTSIDERS = [torch.tensor(3.0), torch.ones(1, 1), numpy.float64(3), numpy.ones((1, 1)), 3, 3.0, 1j, "3", [A], len]


@pytest.mark.parametrize("loss", OUTSIDERS, ids=lambda loss: type(loss).__name__)
def test_what_is_no_expression_of_sympy_is_no_loss(loss):
    with pytest.raises(TypeError, match=rf"^loss: expected a SymPy expression, got {type(loss).__name__}(; .*)?$"):
        derivation(loss, [A])


NO_MATRICES = {
    "a number": (lambda: total(s), "total: expected a matrix expression, got Symbol"),
    "a list of numbers": (lambda: diagonal([1, 2]), "diagonal: expected a matrix expression, got list"),
    "a function of a matrix": (lambda: total(sympy.sin(A)), "got sin; X.applyfunc(sin) is sin of each entry"),
    "several variables": (lambda: gradient(Trace(A), [A]), "expected one, got [A]; derivation(loss, variables)"),
    "an array": (lambda: softmax(numpy.eye(3)), "got ndarray; sympy.Matrix(...) of it is one"),
    "a function of numpy": (lambda: apply(lambda u: numpy.exp(u), A), "sympy.exp, not numpy's or torch's"),
    "no function": (lambda: apply("u", A), "apply: expected a function, and at least one matrix"),
    "a name": (lambda: derivation(Trace(A), ["A"]), "got 'A'; the symbol itself, not its name"),
    "words": (lambda: derivation(Trace(A), [A]).numpy(A="A"), "A: expected an array of numbers, got str"),
    "a list": (lambda: derivation(Trace(A), [A]).numpy(A=[1, 2]), "got shape (2,); A[:, None] is a column"),
    "a time": (lambda: derivation(Trace(A), [A], seconds="1"), "seconds: expected a number from 0.001"),
}


@pytest.mark.parametrize("name", NO_MATRICES)
def test_what_is_taken_for_a_matrix_or_a_function_is_named(name):
    make, words = NO_MATRICES[name]
    with pytest.raises((TypeError, ValueError)) as error:
        make()
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_variable_that_the_loss_does_not_have_is_said_to_be_absent():
    assert repr(derivation(Trace(A), [z], prove=False)).endswith("d/dz = 0, as z is not in the loss")


def test_an_index_that_no_size_bounds_is_proved_where_it_fits():
    x, y = MatrixSymbol("x", n, 1), MatrixSymbol("y", m, 1)
    assert derivation(Trace(x.T * x) + y[n, 0] ** 2, [y]).prove().exact
    assert derivation(Trace(y.T * y) + x[m, 0] ** 2, [x]).prove().exact


def test_an_integral_that_sympy_works_out_is_proved():
    assert derivation(Integral(exp(-(s**2)), (s, 0, c[0, 0])), [c]).gradients[c].has(exp)


def test_what_acts_as_a_tensor_is_no_loss():
    class Wrapped:
        def __torch_function__(self, *given):
            raise AssertionError

        def __float__(self):
            return 3.0

        _sympy_ = property(lambda self: Trace(A))

    with pytest.raises(TypeError, match=r"got Wrapped$"):
        derivation(Wrapped(), [A])


@pytest.mark.parametrize("kind", ["positive", "negative", "nonnegative", "integer", "nonzero"])
def test_what_is_known_of_a_number_does_no_harm(kind):
    t = Symbol("t", **{kind: True})
    assert gradient(t**2 * Trace(A), t) == 2 * t * Trace(A)


DECIMALS = {
    2 / 3: Rational(2, 3),
    1 / 3: Rational(1, 3),
    0.1: Rational(1, 10),
    0.044715: Rational(8943, 200000),
    0.7978845608028654: Rational("0.7978845608028654"),
    0.1 + 0.2: Rational("0.30000000000000004"),
    -1e-7: Rational(-1, 10**7),
    1.5e10: 15 * 10**9,
}


@pytest.mark.parametrize("number", DECIMALS)
def test_a_decimal_is_the_simplest_number_that_a_computer_has_it_as(number):
    (found,) = gradient(number * Trace(A), A, prove=False).as_coeff_mmul()[:1]
    assert found == DECIMALS[number]
    assert float(found) == number


LARGE = [1e20, -1e20, 1e300, 12345678901234567891, 10**25 + 1, 2**63, 1 - 2**64]


@pytest.mark.parametrize("number", LARGE)
def test_numbers_beyond_64_bits_run_and_are_proved(number):
    for loss, slope in ((number * Trace(A), number), (Trace(A) / factorial(30) / number, 1 / factorial(30) / number)):
        _, (gradient,) = computed(derivation(loss, [A]), A=torch.ones(3, 3, dtype=torch.float64))
        torch.testing.assert_close(gradient, float(slope) * torch.eye(3, dtype=torch.float64))


def test_a_decimal_of_many_digits_is_what_they_say():
    digits = "0.12345678901234567890123"
    assert gradient(Float(digits) * Trace(A), A, prove=False).args[0] == Rational(digits)


x, H, B = MatrixSymbol("x", 3, 1), MatrixSymbol("H", 1, 3), MatrixSymbol("B", 3, 3)
one, two, row = MatrixSymbol("one", 1, 1), MatrixSymbol("two", 1, 1), MatrixSymbol("row", 1, 3)
ONES = {
    "det of 1 x 1": Determinant(H * A * H.T + Identity(1)),
    "log det of 1 x 1": log(Determinant(H * A.T * A * H.T + Identity(1))),
    "det of a square": Determinant(x.T * x),
    "det of a symbol": Determinant(one) * Trace(one),
    "a 1 x 1 block": total(HadamardPower(BlockMatrix([[x.T * x, x.T], [x, B]]), 2)),
    "a 1 x 1 input as a block": total(HadamardPower(BlockMatrix([[one, x.T], [x, B]]), 2)),
    "one block": exp(Trace(BlockMatrix([[H * x]]))),
    "Kronecker of 1 x 1": Trace(KroneckerProduct(one, two)) ** 2,
    "Kronecker with 1 x 1": total(HadamardPower(KroneckerProduct(one, x, row), 2)),
    "ones on both sides": total(HadamardProduct(A + OneMatrix(3, 3), A / 2 + OneMatrix(3, 3) / 2)),
    "a multiple of ones": total(HadamardPower(A + 2 * OneMatrix(3, 3), 2)),
    "a number of ones": total(HadamardPower(A + s * OneMatrix(3, 3), 2)),
    "centering": Trace(A.T * A * (Identity(3) - OneMatrix(3, 3) / 3) * B),
    "ones in the middle": Trace(A * OneMatrix(3, 3) * B),
    "ones alone": total(OneMatrix(3, 2) * OneMatrix(2, 3)) * Trace(A),
    "a sum over one row": Sum(row[i, j] ** 2, (i, 0, 0), (j, 0, 2)),
    "a sum over one column": Sum(x[i, j] ** 3, (i, 0, 2), (j, 0, 0)),
    "a sum over one entry": Sum(exp(one[i, j]), (i, 0, 0), (j, 0, 0)),
    "a sum along a diagonal of one": Sum(one[i, i] ** 2, (i, 0, 0)),
    "an entry of a Kronecker product": Trace(KroneckerProduct(x, row)[:1, :1]),
    "a column of a Kronecker product": Trace(KroneckerProduct(one, row)[:, :1]),
    "sigmoid of a product with tanh": total(apply(lambda u, v: 1 / (1 + exp(-v * tanh(u))), x, row.T)),
    "Abs of log(1 + exp)": total(apply(lambda u: Abs(log(1 + exp(u)) - Rational(1, 3)), x)),
    "an entry of logsumexp": logsumexp(A)[1, 0] ** 2,
    "a slice of one entry": total(A[1:2, 2:3] * row),
    "softmax of one row": total(HadamardProduct(softmax(row), row)),
    "an inverse of 1 x 1": total((H * A.T * A * H.T + Identity(1)).inv() * row),
    "numbers": total(HadamardPower(A + Matrix([[1, 2, 3]] * 3), 2)) + Trace(Matrix([[2]]) * one),
    "two that need a root": total(apply(lambda u, v: sqrt(1 + u**2 + v**2), x, row.T)),
    "the inverse of a diagonal matrix": Trace(DiagMatrix(x).inv() * A),
    "the square of rows times numbers": total(apply(lambda u: u**2, DiagMatrix(x) * A)),
    "sin of columns over numbers": total(apply(sin, A * DiagMatrix(x).inv())),
    "a main diagonal": total(apply(sin, DiagonalOf(A))),
    "a matrix of zeros": Trace(Matrix.zeros(3, 3) * A + A),
    "one symbol for all entries": Trace(Matrix(3, 3, [s] * 9) * A),
    "a DotProduct": DotProduct(x, H) * s,
    "an entry of ones": MatrixElement(OneMatrix(3, 3), 1, 2) * Trace(A),
    "an entry of a transpose": MatrixElement((A * B).T, 1, 2) ** 2,
    "a part of ones": Trace(OneMatrix(4, 4)[0:3, 0:3] * A),
    "the sum of all blocks": total(BlockMatrix([[A, x], [H, Matrix([[s]])]])),
    "powers that are symbols": 2**s * 2 ** (-2 * s) * Trace(A) * 3**s,
}


@pytest.mark.parametrize("name", ONES)
def test_what_has_size_one_or_is_seldom_is_right_and_proved(name):
    loss = ONES[name]
    variables = sorted(loss.atoms(MatrixSymbol) | ({s} & loss.free_symbols), key=str)
    derived = derivation(loss, variables)
    given = draw_inputs(variables, 1)
    expected = by_autograd(loss, given)
    mine, gradients = computed(derived, **{symbol.name: tensor for symbol, tensor in given.items()})
    for found, wanted in zip((mine, *gradients), expected, strict=True):
        torch.testing.assert_close(found, wanted)


def test_a_hessian_finds_a_name_whatever_is_taken():
    taken = [MatrixSymbol(name, 3, 1) for name in ("v", "w", "direction", "direction_", "direction0")]
    loss = Trace(x.T * A * x) + sum(Trace(x.T * y) for y in taken)
    assert derivation(loss, [x], prove=False).hessian(x) == A + A.T


def test_a_sum_inside_has_indices_of_its_own():
    k = Symbol("k", integer=True)
    one, other = (
        derivation(Sum(x[i, 0] * Sum(row[0, j] * x[own, 0], (own, 0, 2)), (i, 0, 2), (j, 0, 2)), [x]) for own in (i, k)
    )
    assert one.gradients == other.gradients and one.value == other.value


def test_where_sympy_stops_the_page_has_what_is_derived():
    page = (ROOT / "derive" / "README.md").read_text(encoding="utf-8")
    table = page[page.index("| SymPy says |") : page.index("`(x.T*A*x)[0, 0]`")]
    rows = re.findall(r"^\| (.*) \| (.*) \| (.*) \|$", table, re.M)
    names: dict = {}
    exec("from sympy import *\nfrom derive.matrix import *", names)
    names |= {"x": MatrixSymbol("x", 3, 1), "y": MatrixSymbol("y", 3, 1), "S": A}
    for words, stops, derived in rows[1:]:
        for code in re.findall("`([^`]+)`", stops):
            with pytest.raises((AttributeError, NotImplementedError, TypeError, ValueError)) as error:
                eval(code, names)
            assert words in f"{type(error.value).__name__}: {error.value}", code
        for code in re.findall("`([^`]+)`", derived):
            value = eval(code, names)
            loss = total(value) if isinstance(value, MatrixExpr) else value
            derivation(loss, sorted(loss.atoms(MatrixSymbol), key=str), prove=False)
    assert len(rows) == 9
