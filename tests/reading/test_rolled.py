"""Sums that SymPy writes out entry by entry: read as the matrices that they came from."""

import numpy
import pytest
from sympy import Abs, Matrix, MatrixSymbol, Trace, exp, log, sqrt

from derive import derivation, gradient
from derive.programs import as_text

A, S = MatrixSymbol("A", 4, 3), MatrixSymbol("S", 3, 3)
x, y, b = MatrixSymbol("x", 3, 1), MatrixSymbol("y", 3, 1), MatrixSymbol("b", 4, 1)
FORMS = [
    (((A * x - b).T * (A * x - b))[0, 0], x, "2*A.T*(A*x - b)"),
    ((x.T * S * x)[0], x, "(S + S.T)*x"),
    ((x.T * S * x)[0], S, "x*x.T"),
    (sqrt((x.T * x)[0, 0]), x, "x/sqrt(x.T*x)"),
    (Matrix(x).dot(Matrix(y)), x, "y"),
    (Matrix(A * x - b).norm() ** 2, x, "2*A.T*(A*x - b)"),
    (sum(x[i, 0] ** 2 for i in range(3)), x, "2*x"),
    (sum(S[i, i] for i in range(3)), S, "I"),
    (Trace(Matrix(S)), S, "I"),
    (log(1 + exp((x.T * y)[0, 0])), x, "sigmoid(x.T*y)*y"),
    (sum((b[r, 0] - (A[r, :] * x)[0, 0]) ** 2 for r in range(4)), x, "2*A.T*(A*x - b)"),
    (sum(Abs(x[i, 0]) for i in range(3)), x, "sign(x)"),
    (sum((A - b * x.T)[i, j] ** 2 for i in range(4) for j in range(3)), x, "-2*(A - b*x.T).T*b"),
    ((x.T * (S + S.T) * x)[0, 0], S, "2*x*x.T"),
    ((((S + S.T) * x).T * ((S + S.T) * x))[0, 0], S, "2*(S + S.T)*x*x.T + 2*x*x.T*(S + S.T)"),
    ((x.T * S * x)[0, 0] ** 2 + (x.T * S**2 * x)[0, 0], x, "(S**2 + S.T**2)*x + 2*(x.T*S*x)*(S + S.T)*x"),
    ((Matrix(A) * Matrix(S) * Matrix(A).T).trace(), A, "A*(S.T + S)"),
    (log(Matrix(S).det()), S, "S.T**(-1)"),
]


@pytest.mark.parametrize(("loss", "variable", "text"), FORMS)
def test_what_is_written_out_is_read_as_matrices(loss, variable, text):
    assert as_text(gradient(loss, variable)) == text


def test_the_slope_of_a_determinant_that_is_written_out_is_finite_where_it_is_0():
    derived = derivation(Matrix(S).det(), [S])
    numpy.testing.assert_array_equal(derived.numpy(S=numpy.diag([0.0, 2, 3]))[1]["S"], numpy.diag([6.0, 0, 0]))


def test_the_code_does_not_grow_with_the_sizes():
    lengths = set()
    for n in (5, 25):
        A, x, b = MatrixSymbol("A", n, n), MatrixSymbol("x", n, 1), MatrixSymbol("b", n, 1)
        code = derivation(((A * x - b).T * (A * x - b))[0, 0], [x], prove=False).torch()
        lengths.add(code.split("# value")[1].count("\n"))
    assert len(lengths) == 1


@pytest.mark.parametrize("loss", [x[0, 0] * x[1, 0], x[0, 0] + 2 * x[1, 0] + x[2, 0], x[0, 0] ** 2 + x[1, 0] ** 2])
def test_what_is_no_sum_over_a_whole_axis_stays(loss):
    assert derivation(loss, [x]).prove().exact
