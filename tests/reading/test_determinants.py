"""Logarithms of products with determinants, where the determinants themselves under- and overflow."""

import math

import pytest
import torch
from sympy import Abs, Determinant, KroneckerProduct, MatrixSymbol, Trace, exp, log, pi, sqrt, symbols

from derive import derivation
from derive.programs import as_text
from tests.helpers.expressions import computed
from tests.helpers.gate import relative

n = symbols("n", integer=True, positive=True)
X, Y, x = MatrixSymbol("X", n, n), MatrixSymbol("Y", n, n), MatrixSymbol("x", n, 1)
one = MatrixSymbol("r", 1, 1)


def logdet(matrix):
    """log |det|."""
    return torch.linalg.slogdet(matrix)[1]


PRODUCTS = {  # the loss, and what it is in torch
    "size": (log(Abs(X.det())), lambda X, **_: logdet(X)),
    "scaled": (log(Determinant(2 * pi * X)), lambda X, **_: logdet(2 * torch.pi * X)),
    "product": (log(X.det() * Y.det()), lambda X, Y, **_: logdet(X) + logdet(Y)),
    "quotient": (log(X.det() / Y.det()), lambda X, Y, **_: logdet(X) - logdet(Y)),
    "reciprocal": (log(1 / X.det()), lambda X, **_: -logdet(X)),
    "root": (log(sqrt(X.det())), lambda X, **_: logdet(X) / 2),
    "square": (log(X.det() ** 2), lambda X, **_: 2 * logdet(X)),
    "root of a product": (log(sqrt(X.det() * Y.det())), lambda X, Y, **_: (logdet(X) + logdet(Y)) / 2),
    "size of a product": (log(Abs(X.det() * Trace(Y))), lambda X, Y, **_: logdet(X) + torch.log(abs(torch.trace(Y)))),
    "with a number": (log(X.det() * Trace(Y)), lambda X, Y, **_: logdet(X) + torch.log(torch.trace(Y))),
    "density": (
        log(exp(-Trace(x.T * X.inv() * x) / 2) / sqrt((2 * pi) ** n * X.det())),
        lambda X, x, **_: -(x * torch.linalg.solve(X, x)).sum() / 2 - logdet(2 * torch.pi * X) / 2,
    ),
}


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize(("size", "scale"), [(3, 1.0), (150, 1e-3), (150, 1e3)])
def test_the_log_of_a_product_with_determinants_is_finite_wherever_it_is_defined(name, size, scale):
    loss, reference = PRODUCTS[name]
    derived = derivation(loss, [X])
    draw = torch.Generator().manual_seed(0)
    noise = torch.randn(2, size, size, generator=draw, dtype=torch.float64) / size
    given = dict(zip("XY", scale * (noise + torch.eye(size, dtype=torch.float64)), strict=True))
    given["x"] = 0.01 * torch.randn(size, 1, generator=draw, dtype=torch.float64)
    value, gradients = computed(derived, **{s.name: given[s.name] for s in derived.original.values()})
    leaf = given["X"].clone().requires_grad_()
    expected = reference(**{**given, "X": leaf})
    (wanted,) = torch.autograd.grad(expected, leaf)
    assert relative(value, expected.detach()) < 1e-12
    assert relative(gradients.X, wanted) < 1e-10


def test_the_log_of_a_negative_product_is_nan_and_of_two_negative_determinants_is_not():
    negative = torch.diag(torch.tensor([-1.0, 2.0], dtype=torch.float64))
    derived = derivation(log(X.det() * Y.det()), [X])
    assert computed(derived, X=negative, Y=torch.eye(2, dtype=torch.float64))[0].isnan()
    assert computed(derived, X=negative, Y=negative)[0] == torch.log(torch.tensor(4.0, dtype=torch.float64))


def test_a_determinant_to_a_power_that_is_a_symbol_is_that_many_times_its_logarithm():
    A, B = MatrixSymbol("A", n, n), MatrixSymbol("B", n, n)
    derived = derivation(log(Determinant(KroneckerProduct(A, B))), [A])
    assert derived.gradients[A] == n * A.T**-1
    A_, B_ = torch.diag(torch.tensor([-1.0, 2.0, 3.0])), torch.diag(torch.tensor([1.0, -2.0, 3.0]))
    value, _ = computed(derived, A=1e-20 * A_, B=B_)
    assert value.item() == pytest.approx(3 * (2 * math.log(6) - 60 * math.log(10)), rel=1e-6)
    assert computed(derived, A=A_, B=B_ @ B_)[0].isnan()


@pytest.mark.parametrize(("matrix", "text"), [(X**3, "3*det(X)**3*X.T**(-1)"), (X.inv(), "-X.T**(-1)/det(X)")])
def test_the_determinant_of_a_power_is_a_power_of_the_determinant(matrix, text):
    derived = derivation(Determinant(matrix), [X])
    assert as_text(derived.gradients[X]) == text and derived.prove().exact
    assert "matrix_power" not in derived.torch() and "matrix_power" not in derivation(log(matrix.det()), [X]).torch()


def test_bars_and_inverses_do_not_part_equal_determinants():
    text = derivation(log(Determinant(X.T) * Determinant(X) / Determinant(Y.inv())), [X]).torch()
    assert text.count("slogdet(X)") == 1 and "inv(Y)" not in text and "X.T)[" not in text


def test_a_determinant_of_one_entry_is_that_entry():
    derived = derivation(log(Determinant(one) * X.det()), [one])
    assert derived.prove()
