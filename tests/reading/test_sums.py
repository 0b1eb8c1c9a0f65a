"""Sums over indices: shifted ones, pairs, parts of a range, an index as a number; against autograd."""

import pytest
import torch
from sympy import KroneckerDelta, MatrixSymbol, Rational, Sum, Trace, exp, log, sin, sqrt, symbols

from derive import derivation
from tests.helpers.expressions import computed
from tests.helpers.gate import relative

n, m = symbols("n m", integer=True, positive=True)
i, j, k, d = symbols("i j k d", integer=True)
X, x, A, D = MatrixSymbol("X", m, n), MatrixSymbol("x", n, 1), MatrixSymbol("A", n, n), MatrixSymbol("D", m, m)
B, C = MatrixSymbol("B", 2, n), MatrixSymbol("C", n, 2)
over_i, over_j, over_k, over_d = (i, 0, m - 1), (j, 0, n - 1), (k, 0, m - 1), (d, 0, n - 1)


def apart(X):
    """The squares of all distances of rows."""
    return ((X[:, None] - X[None]) ** 2).sum(-1)


def upper(X):
    return torch.ones(len(X), len(X)).triu(1) > 0


SUMS = {
    "pairs": (Sum((X[i, j] - X[k, j]) ** 2, over_i, over_k, over_j), lambda X, **_: apart(X).sum()),
    "kernel": (
        Sum(exp(-Sum((X[i, d] - X[k, d]) ** 2, over_d)), over_i, over_k),
        lambda X, **_: torch.exp(-apart(X)).sum(),
    ),
    "pairs once": (
        Sum((sqrt(Sum((X[i, d] - X[k, d]) ** 2, over_d)) - D[i, k]) ** 2, (k, i + 1, m - 1), over_i),
        lambda X, D, **_: ((apart(X)[upper(X)].sqrt() - D[upper(X)]) ** 2).sum(),
    ),
    "pairs once, from below": (
        Sum(sin(X[i, 0] * X[k, 1]), (k, 0, i - 1), (i, 1, m - 1)),
        lambda X, **_: torch.sin(X[:, :1] @ X[:, 1:2].T).tril(-1).sum(),
    ),
    "an index as a number": (
        Sum(i * x[i, 0] ** 2 + 2**-i, (i, 0, n - 1)),
        lambda x, **_: (torch.arange(len(x))[:, None] * x**2 + 2.0 ** -torch.arange(len(x))[:, None]).sum(),
    ),
    "a column as a number": (
        Sum(j * X[i, j] ** 2, over_i, over_j),
        lambda X, **_: (torch.arange(X.shape[1]) * X**2).sum(),
    ),
    "differences": (Sum((x[i + 1, 0] - x[i, 0]) ** 2, (i, 0, n - 2)), lambda x, **_: (x.diff(dim=0) ** 2).sum()),
    "from 1": (
        Sum(i * (x[i, 0] - x[i - 1, 0] / 2) ** 2, (i, 1, n - 1)),
        lambda x, **_: (torch.arange(1, len(x))[:, None] * (x[1:] - x[:-1] / 2) ** 2).sum(),
    ),
    "counted from 1": (
        Sum(x[i - 1, 0] ** 3 * i, (i, 1, n)),
        lambda x, **_: (torch.arange(len(x)) + 1.0).to(x.dtype) @ x[:, 0] ** 3,
    ),
    "differences of rows": (
        Sum(Sum((X[i + 1, j] - X[i, j]) ** 2, (i, 0, m - 2)), over_j),
        lambda X, **_: (X.diff(dim=0) ** 2).sum(),
    ),
    "a part": (Sum(A[i, j] * x[j, 0], (i, 1, 2), (j, 0, 1)), lambda A, x, **_: (A[1:3, :2] @ x[:2]).sum()),
    "one of two rows": (Sum(B[1, j] * x[j, 0] ** 2, over_j), lambda B, x, **_: B[1] @ x[:, 0] ** 2),
    "one of two columns": (Sum(C[j, 1] * x[j, 0] ** 2, over_j), lambda C, x, **_: C[:, 1] @ x[:, 0] ** 2),
    "delta": (
        Sum(KroneckerDelta(i, j) * A[i, j] * x[i, 0], (i, 0, n - 1), over_j),
        lambda A, x, **_: torch.diag(A) @ x[:, 0],
    ),
    "delta of a row": (Sum(KroneckerDelta(i, 2) * x[i, 0] ** 2, (i, 0, n - 1)), lambda x, **_: x[2, 0] ** 2),
    "no determinant of a wide matrix": (log(9 + B[0, 0] * x[0, 0]), lambda B, x, **_: torch.log(9 + B[0, 0] * x[0, 0])),
    "of nothing but numbers": (
        Sum(Rational(1, 2) ** i * x[i, 0], (i, 0, n - 1)),
        lambda x, **_: 0.5 ** torch.arange(len(x), dtype=x.dtype) @ x[:, 0],
    ),
}


@pytest.mark.parametrize("name", SUMS)
def test_a_sum_over_indices_has_the_gradient_that_autograd_finds(name):
    loss, reference = SUMS[name]
    variable = X if loss.has(X) else x
    derived = derivation(loss, [variable])
    draw = torch.Generator().manual_seed(0)
    sizes = {m: 4, n: 5}
    given = {
        s.name: torch.randn(*(int(size.xreplace(sizes)) for size in s.shape), generator=draw, dtype=torch.float64)
        for s in derived.original.values()
    }
    value, (mine,) = computed(derived, **given)
    leaf = given[variable.name].clone().requires_grad_()
    expected = reference(**{**given, variable.name: leaf})
    (wanted,) = torch.autograd.grad(expected, leaf)
    assert relative(value, expected.detach()) < 1e-13
    assert relative(mine, wanted) < 1e-13


@pytest.mark.parametrize(
    "loss",
    [
        Sum(x[n - 1 - i, 0] * x[i, 0], (i, 0, n - 1)),
        Sum(x[2 * i, 0], (i, 0, 1)),
        Sum(Sum(sin(X[i, d] * X[k, d]), over_d), over_i, over_k),
        Sum(Trace(i * A) * x[i, 0], (i, 0, n - 1)),
    ],
    ids=["backwards", "every second", "three indices", "a trace that an index is in"],
)
def test_what_no_product_of_matrices_is_is_refused(loss):
    with pytest.raises(ValueError, match=r"it stands at .*; (an index of an entry|write it with matrices)"):
        derivation(loss, [X if loss.has(X) else x])


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (Sum(x[i, j], (i, 0, n - 1), (j, 0, 3)), "from 0 to 3, and the last one is 0"),
        (Sum(x[i, k], (i, 0, n - 1), over_k) * X[0, 0], "from 0 to m - 1, and the last one is 0"),
        (Sum(X[i + 1, j], over_i, over_j), "from 1 to m, and the last one is m - 1"),
        (Sum(X[i, j - 1], over_i, over_j), "from -1 to n - 2, and the last one is n - 1"),
    ],
)
def test_an_index_that_leaves_the_matrix_is_refused(loss, words):
    with pytest.raises(ValueError, match=words):
        derivation(loss, [X if loss.has(X) else x], prove=False)
