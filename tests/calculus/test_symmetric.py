"""Symmetric matrices: the gradient in the free entries, against autograd in these entries alone."""

import re

import numpy
import pytest
import torch
from sympy import Determinant, Identity, MatrixSymbol, Symbol, Trace, log, symbols

from derive import derivation
from derive.gradient import main
from derive.matrix import softmax, total
from derive.programs import as_text
from derive.proof import NotProved
from tests.helpers.expressions import computed

n, m = symbols("n m", integer=True, positive=True)
S, A, V = (MatrixSymbol(name, n, n) for name in "SAV")
x, X = MatrixSymbol("x", n, 1), MatrixSymbol("X", n, m)
sigma = Symbol("sigma", positive=True)
LOSSES = [
    (log(Determinant(S)), "2*S**(-1) - (I .* S**(-1))", lambda S: torch.logdet(S)),
    (x.T * S * x, "2*x*x.T - (I .* (x*x.T))", lambda S, x: (x.T @ S @ x).sum()),
    (Trace(S * A), "A.T + A - (I .* A.T)", lambda S, A: torch.trace(S @ A)),
    (Trace(S**3), "6*S**2 - 3*(I .* S**2)", lambda S: torch.trace(S @ S @ S)),
    (
        log(Determinant(S + sigma * Identity(n))) + Trace(x.T * S.inv() * x),
        None,
        lambda S, x, sigma: torch.logdet(S + sigma * torch.eye(3)) + (x.T @ torch.linalg.solve(S, x)).sum(),
    ),
    (total(softmax(S.T * A * S).applyfunc(log)), None, lambda S, A: torch.log_softmax(S @ A @ S, 1).sum()),
    (S[0, 1] ** 2 * S[1, 0] + S[1, 1], None, lambda S: S[0, 1] ** 2 * S[1, 0] + S[1, 1]),
    (Trace((X * X.T - S).T * (X * X.T - S)), None, lambda S, X: ((X @ X.T - S) ** 2).sum()),
]


def numbers(loss):
    draw = torch.Generator().manual_seed(7)
    given = {}
    for symbol in sorted({*loss.free_symbols, S} - {n, m}, key=str):
        shape = [{n: 3, m: 2}.get(size, 1) for size in getattr(symbol, "shape", ())]
        given[symbol.name] = torch.rand(shape, generator=draw, dtype=torch.float64) + 0.1
    given["S"] = given["S"] @ given["S"].T + torch.eye(3, dtype=torch.float64)
    return given


def in_free_entries(function, given):
    """Autograd's gradient in a vector of the entries on and below the diagonal, at both of their places."""
    rows, columns = torch.tril_indices(3, 3)
    free = given["S"][rows, columns].clone().requires_grad_()
    whole = torch.zeros(3, 3, dtype=torch.float64).index_put((rows, columns), free)
    whole = whole.index_put((columns, rows), free)
    (by_entry,) = torch.autograd.grad(function(**{**given, "S": whole}), free)
    return torch.zeros_like(whole).index_put((rows, columns), by_entry).index_put((columns, rows), by_entry)


@pytest.mark.parametrize(("loss", "form", "function"), LOSSES)
def test_the_gradient_is_that_in_the_free_entries(loss, form, function):
    derived, given = derivation(loss, [S], symmetric=[S]), numbers(loss)
    value, gradients = computed(derived, **given)
    torch.testing.assert_close(value, function(**given))
    torch.testing.assert_close(gradients.S, in_free_entries(function, given))
    assert form is None or as_text(derived.gradients[S]) == form
    assert max(derived.compare(**given).values()) < 1e-12
    _, by_numpy = derived.numpy(**{name: array.numpy() for name, array in given.items()})
    numpy.testing.assert_allclose(by_numpy["S"], gradients.S.numpy(), rtol=1e-9)


def test_no_bar_is_left_on_what_is_symmetric():
    derived = derivation(x.T * S * x, [x], symmetric=[S])
    assert (as_text(derived.gradients[x]), derived.hessian(x)) == ("2*S*x", 2 * S)
    lines = derivation(Trace((X * X.T - A).T * (X * X.T - A)), [X]).torch()
    assert lines.count("- A  #") == 1, "X X' is seen to be symmetric, and X X' - A computed once"
    assert "_check_symmetric" not in lines and "_check_symmetric" in derived.torch()


def test_the_proof_does_not_take_the_gradient_of_each_entry_by_itself():
    derived = derivation(log(Determinant(S)), [S], prove=False, symmetric=[S])
    wrong = re.sub(r"free_S = .*?  #", "free_S = 2 * grad_S  #", derived.torch())
    derived.torch = lambda: wrong
    with pytest.raises(NotProved, match="the gradient in S came out as"):
        derived.prove()


def test_the_curvature_is_along_symmetric_directions():
    loss = log(Determinant(S)) + Trace(x.T * S.inv() * x)
    along = derivation(loss, [S], symmetric=[S]).hvp({S: V})
    assert along.prove().exact
    given = numbers(loss)
    V_ = given["S"] @ given["S"]
    found = torch.tensor(along.numpy(**{k: a.numpy() for k, a in {**given, "V": V_}.items()})[1]["S"])

    def slope(S, x):
        step = torch.zeros((), dtype=torch.float64, requires_grad=True)
        moved = S + step * V_
        value = torch.logdet(moved) + (x.T @ torch.linalg.solve(moved, x)).sum()
        return torch.autograd.grad(value, step, create_graph=True)[0]

    torch.testing.assert_close(found, in_free_entries(slope, given))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda d: derivation(d.loss, [S], symmetric=[X]), r"symmetric: X is \(n, m\), and only a square matrix"),
        (lambda d: derivation(d.loss, [S], symmetric=[V]), "symmetric: V is not in the loss"),
        (lambda d: derivation(d.loss, [S], symmetric=["S"]), "symmetric: expected MatrixSymbols, got 'S'"),
        (lambda d: d.torch(function=True), "autograd takes each entry by itself"),
        (lambda d: d.numpy(S=numpy.arange(9.0).reshape(3, 3)), "S: expected a symmetric matrix"),
        (lambda d: d.compare(S=torch.arange(9.0).reshape(3, 3)), "differ by up to 4"),
        (lambda d: d.hvp({S: 2 * V}), "the direction for S is symmetric, too"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(call, message):
    derived = derivation(log(Determinant(S)), [S], prove=False, symmetric=[S])
    with pytest.raises((TypeError, ValueError), match=message):
        call(derived)


def test_typed_text_saved_and_diagnosed(tmp_path, capsys):
    text = "logdet(S) + tr(A*inv(S))"
    assert main([text, "--in", "S", "--symmetric", "S", "--out", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / "derivation.md").read_text(encoding="utf-8")
    assert "variable, symmetric" in page and r"\frac{dL}{d\boldsymbol{S}}" in page
    assert "def loss" not in (tmp_path / "out" / "gradient.py").read_text(encoding="utf-8")
    assert main([text, "--symmetric", "T"]) == 2 and "--symmetric: 'T' is not in the" in capsys.readouterr().err
    derived = derivation(log(Determinant(S)), [S], prove=False, symmetric=[S])
    assert "not taken for one variable" in str(derived.diagnose(lambda S: numpy.linalg.inv(S)))


@pytest.mark.parametrize("text", ["norm(S)^2", "tr(A*S)", "sum(A .* S)"])
def test_a_symmetric_matrix_is_square_without_a_shape(text, capsys):
    assert main([text, "--symmetric", "S"]) == 0
    assert "d/dS = " in capsys.readouterr().out
    assert main([text, "--symmetric", "S", "--shape", "S=3,2"]) == 2 and "(3, 2)" in capsys.readouterr().err
