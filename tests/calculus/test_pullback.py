"""Pullbacks and pushforwards of layers against autograd: values, cotangents, gradcheck, and what is refused."""

import pytest
import torch
from sympy import HadamardPower, HadamardProduct, Identity, MatrixSymbol, OneMatrix, Rational, Trace, exp, sqrt, symbols

from derive import pullback, pushforward
from derive.matrix import apply, row_sum, softmax

n, d, h = symbols("n d h", integer=True, positive=True)
X, W, V = MatrixSymbol("X", n, d), MatrixSymbol("W", d, h), MatrixSymbol("V", d, h)
Q, K, M, U = MatrixSymbol("Q", n, d), MatrixSymbol("K", n, d), MatrixSymbol("M", n, n), MatrixSymbol("U", n, d)
g, b = MatrixSymbol("g", 1, d), MatrixSymbol("b", 1, d)
one_n, one_d = OneMatrix(n, 1), OneMatrix(1, d)
centred = X - row_sum(X) * one_d / d
variance = row_sum(HadamardPower(centred, 2)) / d
EPS = Rational(1, 10**5)
LAYERS = {  # the matrix, its variables, and torch's own
    "layer norm": (
        HadamardProduct(apply(lambda u, v: u / sqrt(v + EPS), centred, variance * one_d), one_n * g) + one_n * b,
        [X, g, b],
        lambda X, g, b: torch.nn.functional.layer_norm(X, X.shape[1:], g[0], b[0], 1e-5),
    ),
    "RMS norm": (
        HadamardProduct(apply(lambda u, v: u / sqrt(v + EPS), X, row_sum(HadamardPower(X, 2)) / d * one_d), one_n * g),
        [X, g],
        lambda X, g: torch.nn.functional.rms_norm(X, X.shape[1:], g[0], 1e-5),
    ),
    "attention": (
        softmax(Q * K.T / sqrt(d) + M) * U,
        [Q, K, U],
        lambda Q, K, U, M: torch.nn.functional.scaled_dot_product_attention(Q[None], K[None], U[None], M)[0],
    ),
    "SwiGLU": (
        HadamardProduct((X * W).applyfunc(lambda t: t / (1 + exp(-t))), X * V),
        [X, W, V],
        lambda X, W, V: torch.nn.functional.silu(X @ W) * (X @ V),
    ),
    "product": (X * W, [X, W], lambda X, W: X @ W),
    "transpose": ((X * W).T, [X, W], lambda X, W: (X @ W).T),
    "itself": (X, [X], lambda X: X.clone()),
}
SLOW = {"SwiGLU"}
SIZES = {n: 4, d: 3, h: 2}


def numbers(symbols_of, seed):
    draw = torch.Generator().manual_seed(seed)
    given = sorted(symbols_of, key=str)
    shapes = {s.name: [1 if size == 1 else int(size.xreplace(SIZES)) for size in s.shape] for s in given}
    return {name: torch.randn(shape, generator=draw, dtype=torch.float64) for name, shape in shapes.items()}


@pytest.mark.parametrize(
    "name", [*sorted(LAYERS.keys() - SLOW), *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
)
def test_a_layer_and_its_pullback_are_autograds(name):
    matrix, variables, reference = LAYERS[name]
    derived, namespace = pullback(matrix, variables), {}
    exec(derived.torch(function=True), namespace)
    given = numbers(derived.original.values(), 0)
    G = given.pop("G")
    leaves = {key: tensor.clone().requires_grad_() for key, tensor in given.items()}
    expected = reference(**leaves)
    wanted = torch.autograd.grad(expected, [leaves[str(v)] for v in derived.variables], G)
    torch.testing.assert_close(namespace["output"](**given), expected.detach())
    _, mine = namespace["value_and_grad"](**given, G=G)
    torch.testing.assert_close(tuple(mine), wanted)
    names = [str(v) for v in derived.variables]
    constant = {key: tensor for key, tensor in given.items() if key not in names}

    def layer(*tensors):
        return namespace["layer"](**dict(zip(names, tensors, strict=True)), **constant)

    assert torch.autograd.gradcheck(layer, [given[key].requires_grad_() for key in names])


@pytest.mark.parametrize("name", ["layer norm", "attention", "product"])
def test_a_pushforward_is_the_pullback_turned(name):
    matrix, variables, reference = LAYERS[name]
    directions = [MatrixSymbol(f"d{v}", *v.shape) for v in variables]
    derived = pushforward(matrix, variables, directions)
    namespace = {}
    exec(derived.torch(), namespace)
    given = numbers({*derived.original.values(), *matrix.atoms(MatrixSymbol), *directions}, 1)
    moving = [str(v) for v in variables]
    constant = {key: given[key] for key in {s.name for s in matrix.atoms(MatrixSymbol)} - set(moving)}
    _, wanted = torch.func.jvp(
        lambda *tensors: reference(**dict(zip(moving, tensors, strict=True)), **constant),
        tuple(given[key] for key in moving),
        tuple(given[f"d{key}"] for key in moving),
    )
    needed = {s.name: given[s.name] for s in derived.original.values()}
    torch.testing.assert_close(namespace["value_and_grad"](**needed)[1][0], wanted)


def test_the_pullback_of_a_product_is_that_of_the_book():
    assert {str(v): str(form) for v, form in pullback(X * W, [X, W]).gradients.items()} == {"X": "G*W.T", "W": "X.T*G"}


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: pullback(Trace(X * X.T), [X]), "pullback: expected a matrix expression"),
        (lambda: pullback(one_n.T * X * one_d.T, [X]), "is one number; derivation"),
        (lambda: pullback(X * W, [X], V), "the cotangent V has shape"),
        (lambda: pullback(X + Q, [X], Q), "the cotangent Q is in the matrix"),
        (lambda: pullback(X * W, [X], X * W), "expected a MatrixSymbol as the cotangent"),
        (lambda: pushforward(X * W, [X, W], [X]), "expected a direction for each of X, W"),
        (lambda: pushforward(X * W, [X], [W]), "W is no direction for X"),
        (lambda: pullback(X * Identity(d), "X"), "expected MatrixSymbols"),
    ],
)
def test_what_is_no_pullback_is_named(call, words):
    with pytest.raises((TypeError, ValueError), match=words):
        call()
