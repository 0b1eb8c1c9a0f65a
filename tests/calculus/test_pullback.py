"""Pullbacks and pushforwards of layers against autograd: values, cotangents, gradcheck, and what is refused."""

import inspect
import itertools

import pytest
import torch
from sympy import (
    HadamardPower,
    HadamardProduct,
    Identity,
    MatrixSymbol,
    OneMatrix,
    Rational,
    Symbol,
    Trace,
    exp,
    sqrt,
    symbols,
    tanh,
)

from derive import pullback, pushforward
from derive.matrix import apply, column_sum, row_sum, softmax
from tests.helpers.expressions import computed

n, d, h = symbols("n d h", integer=True, positive=True)
t = Symbol("t", real=True)
X, W, V = MatrixSymbol("X", n, d), MatrixSymbol("W", d, h), MatrixSymbol("V", d, h)
Q, K, M, U = MatrixSymbol("Q", n, d), MatrixSymbol("K", n, d), MatrixSymbol("M", n, n), MatrixSymbol("U", n, d)
g, b = MatrixSymbol("g", 1, d), MatrixSymbol("b", 1, d)
one_n, one_d = OneMatrix(n, 1), OneMatrix(1, d)
centred = X - row_sum(X) * one_d / d
variance = row_sum(HadamardPower(centred, 2)) / d
EPS = Rational(1, 10**5)
H, C, Wr, Wz, Wn = (
    MatrixSymbol(name, *shape)
    for name, shape in zip(("H", "C", "Wr", "Wz", "Wn"), [(n, h), (n, h), (d, h), (d, h), (d, h)], strict=True)
)
Ur, Uz, Un, Wc, Uc = (MatrixSymbol(f"{name}", d if name[0] == "W" else h, h) for name in ("Ur", "Uz", "Un", "Wc", "Uc"))


def gate(function, W, U):
    return (X * W + H * U).applyfunc(function)


def logistic(t):
    return 1 / (1 + exp(-t))


reset, update = gate(logistic, Wr, Ur), gate(logistic, Wz, Uz)
fresh = (X * Wn + HadamardProduct(reset, H * Un)).applyfunc(tanh)
cell = HadamardProduct(reset, C) + HadamardProduct(update, gate(tanh, Wn, Un))
sigma = torch.sigmoid
over_rows = OneMatrix(n, 1) * column_sum(X) / n
spread = OneMatrix(n, 1) * column_sum(HadamardPower(X - over_rows, 2)) / n
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
    "batch norm": (
        HadamardProduct(apply(lambda u, v: u / sqrt(v + EPS), X - over_rows, spread), one_n * g) + one_n * b,
        [X, g, b],
        lambda X, g, b: torch.nn.functional.batch_norm(X, None, None, g[0], b[0], True, 0, 1e-5),
    ),
    "GRU": (
        HadamardProduct(OneMatrix(n, h) - update, fresh) + HadamardProduct(update, H),
        [X, H, Wr, Wz, Wn, Ur, Uz, Un],
        lambda X, H, Wr, Wz, Wn, Ur, Uz, Un: torch.lerp(
            torch.tanh(X @ Wn + sigma(X @ Wr + H @ Ur) * (H @ Un)), H, sigma(X @ Wz + H @ Uz)
        ),
    ),
    "LSTM": (
        HadamardProduct(gate(logistic, Wc, Uc), cell.applyfunc(tanh)),
        [X, H, C, Wr, Wz, Wn, Wc, Ur, Uz, Un, Uc],
        lambda X, H, C, Wr, Wz, Wn, Wc, Ur, Uz, Un, Uc: (
            sigma(X @ Wc + H @ Uc)
            * torch.tanh(sigma(X @ Wr + H @ Ur) * C + sigma(X @ Wz + H @ Uz) * torch.tanh(X @ Wn + H @ Un))
        ),
    ),
    "a number times": (t * X + exp(t) * U, [X, t], lambda X, t, U: t * X + torch.exp(t) * U),
    "product": (X * W, [X, W], lambda X, W: X @ W),
    "transpose": ((X * W).T, [X, W], lambda X, W: (X @ W).T),
    "itself": (X, [X], lambda X: X.clone()),
}
SIZES = {n: 4, d: 3, h: 2}


@pytest.mark.parametrize("name", ["layer norm", "batch norm"])
def test_the_backward_of_a_norm_is_as_short_as_by_hand(name):
    backward = pullback(*LAYERS[name][:2], prove=False).torch().split("# gradients")[1].split("return value")[0]
    assert backward.count(" = ") == 5 and backward.count(".sum(") == 4  # what is centred adds up to nothing


def numbers(symbols_of, seed):
    draw = torch.Generator().manual_seed(seed)
    given = sorted(symbols_of, key=str)
    shapes = {
        s.name: [1 if size == 1 else int(size.xreplace(SIZES)) for size in getattr(s, "shape", ())] for s in given
    }
    return {name: torch.randn(shape, generator=draw, dtype=torch.float64) for name, shape in shapes.items()}


@pytest.mark.parametrize("name", LAYERS)
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
    assert f"of shape {matrix.shape};" in namespace["output"].__doc__
    _, mine = namespace["value_and_grad"](**given, G=G)
    torch.testing.assert_close(tuple(mine), wanted)
    names = [str(v) for v in derived.variables]
    constant = {key: tensor for key, tensor in given.items() if key not in names}

    def layer(*tensors):
        return namespace["layer"](**dict(zip(names, tensors, strict=True)), **constant)

    assert torch.autograd.gradcheck(layer, [given[key].requires_grad_() for key in names])


@pytest.mark.parametrize("name", ["RMS norm", "attention", "SwiGLU"])
def test_a_layer_takes_leading_dimensions_and_is_an_operator_of_torch(name):
    matrix, variables, reference = LAYERS[name]
    derived, namespace = pullback(matrix, variables, prove=False), {}
    exec(derived.torch(function=True), namespace)
    given = numbers(derived.original.values(), 0)
    given.pop("G")
    names = list(inspect.signature(namespace["layer"]).parameters)
    torch.library.opcheck(namespace["layer_op"], tuple(given[key].requires_grad_() for key in names))
    draw = torch.Generator().manual_seed(1)
    wide = {
        key: torch.randn((2, 1, *tensor.shape) if key in "KQU" else (3, *tensor.shape), generator=draw).to(tensor)
        if key in "XQKU"
        else tensor.detach()
        for key, tensor in given.items()
    }
    leaves = {key: tensor.requires_grad_() for key, tensor in wide.items()}
    found, expected = namespace["layer"](**leaves), by_loops(reference, leaves)
    torch.testing.assert_close(found, expected)
    with pytest.raises(ValueError, match=r"^expected at least one matrix, got leading dimensions \(0,"):
        namespace["layer"](**{key: tensor[:0] if tensor.ndim > 2 else tensor for key, tensor in wide.items()})
    moving, G = [leaves[str(v)] for v in variables], torch.randn(expected.shape, generator=draw).to(expected)
    torch.testing.assert_close(torch.autograd.grad(found, moving, G), torch.autograd.grad(expected, moving, G))


def by_loops(reference, tensors):
    """The reference for one matrix after the other."""
    leading = torch.broadcast_shapes(*(tensor.shape[:-2] for tensor in tensors.values()))
    wide = {key: tensor.expand(*leading, *tensor.shape[-2:]) for key, tensor in tensors.items()}
    places = list(itertools.product(*map(range, leading)))
    return torch.stack([reference(**{key: wide[key][place] for key in wide}) for place in places]).reshape(
        *leading, *reference(**{key: wide[key][places[0]] for key in wide}).shape
    )


@pytest.mark.parametrize("name", ["layer norm", "attention", "product"])
def test_a_pushforward_is_the_pullback_turned(name):
    matrix, variables, reference = LAYERS[name]
    directions = [MatrixSymbol(f"d{v}", *v.shape) for v in variables]
    derived = pushforward(matrix, variables, directions)
    given = numbers({*derived.original.values(), *matrix.atoms(MatrixSymbol), *directions}, 1)
    moving = [str(v) for v in variables]
    constant = {key: given[key] for key in {s.name for s in matrix.atoms(MatrixSymbol)} - set(moving)}
    _, wanted = torch.func.jvp(
        lambda *tensors: reference(**dict(zip(moving, tensors, strict=True)), **constant),
        tuple(given[key] for key in moving),
        tuple(given[f"d{key}"] for key in moving),
    )
    needed = {s.name: given[s.name] for s in derived.original.values()}
    torch.testing.assert_close(computed(derived, **needed)[1][0], wanted)


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
        (lambda: pushforward(X * W, [X], [W]), "pushforward: the direction for X has shape"),
        (lambda: pullback(X * Identity(d), "X"), "expected MatrixSymbols"),
        (lambda: pullback(Symbol("c", complex=True) * X, [X]), "c: expected a real number"),
    ],
)
def test_what_is_no_pullback_is_named(call, words):
    with pytest.raises((TypeError, ValueError), match=words):
        call()
