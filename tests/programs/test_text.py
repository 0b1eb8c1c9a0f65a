"""Expressions as text: what is read is what they are worth."""

import re

import pytest
import torch
from sympy import (
    BlockMatrix,
    Determinant,
    DiagonalMatrix,
    Dummy,
    HadamardPower,
    HadamardProduct,
    Identity,
    Lambda,
    MatMul,
    MatPow,
    MatrixSymbol,
    OneMatrix,
    Piecewise,
    Symbol,
    Trace,
    ZeroMatrix,
)

from derive import derivation
from derive.matrix import apply, total
from derive.programs import as_text
from tests.helpers.expressions import Draw, by_autograd, draw_inputs
from tests.helpers.read_text import part, worth
from tests.helpers.reference import value

NUMBERS = 400  # of expressions that are drawn


def drawn(number: int):
    """An expression with names that Python can read."""
    draw = Draw(number)
    loss = draw.loss()
    symbols = sorted(loss.atoms(MatrixSymbol) | ({draw.number} & loss.free_symbols), key=lambda symbol: symbol.name)
    return loss.xreplace(
        {
            symbol: MatrixSymbol(f"M{k}", *symbol.shape) if isinstance(symbol, MatrixSymbol) else Symbol("c", real=True)
            for k, symbol in enumerate(symbols)
        }
    )


def assert_worth(text: str, loss) -> None:
    given = draw_inputs(sorted(loss.atoms(MatrixSymbol) | loss.free_symbols, key=str), 0)
    exact = torch.as_tensor(value(loss, given), dtype=torch.float64).reshape(())
    found = part(worth(text, {symbol.name: part(tensor) for symbol, tensor in given.items()})).entries
    assert torch.allclose(found.reshape(()), exact, rtol=1e-9, atol=1e-12, equal_nan=True), text


@pytest.mark.parametrize("first", range(0, NUMBERS, 100))
def test_the_text_of_any_expression_is_worth_what_it_is(first):
    read = 0
    for loss in map(drawn, range(first, first + 100)):
        text = as_text(loss)
        if "Sum(" not in text:  # whose letters stand for numbers only inside
            assert_worth(text, loss)
            read += 1
    assert read > 80


x, A, B, S = (MatrixSymbol(name, *shape) for name, shape in zip("xABS", ((3, 1), (2, 3), (3, 2), (3, 3)), strict=True))
ones, eye, image = OneMatrix, Identity(3), MatrixSymbol("I", 3, 3)
t, d = Symbol("t", real=True), Dummy(real=True)


@pytest.mark.parametrize(
    ("loss", "text"),
    [
        (Trace(ones(3, 1) * x.T), "total(x.T)"),
        (Trace(x * ones(1, 3)), "total(x)"),
        (Trace(ones(3, 2) * A), "total(A)"),
        (Trace(A * B * ones(2, 2)), "total(A*B)"),
        (Trace(MatMul(ones(4, 2), A, ones(3, 4))), "tr(ones(4, 1)*total(A)*ones(1, 4))"),
        (Trace(MatMul(ones(1, 2), A, ones(3, 1))), "total(A)"),
        (Trace(ones(3, 3)), "tr(ones(3, 3))"),
        (Trace(HadamardPower(MatPow(S, 3), 2)), "tr((S**3).^2)"),
        (Trace(HadamardPower(S.T, 2)), "tr(S.T.^2)"),
        (Trace(HadamardPower(S.inv(), 2)), "tr((S**(-1)).^2)"),
        (Trace(MatPow(HadamardPower(S, 2), 3)), "tr((S.^2)**3)"),
        (Trace((t * eye + image) ** 2), "tr((t*eye + I)**2)"),
        (Determinant(eye + image.T * image), "det(I.T*I + eye)"),
        (
            Trace(S.applyfunc(Lambda(d, Piecewise((t * d, d > t), (d, True))))),
            "tr(apply(t1 -> Piecewise((t*t1, t < t1), (t1, True)), S))",
        ),
        (Trace(MatMul(S, DiagonalMatrix(image), ones(3, 3))), "total(S*(eye .* I))"),
        (
            Trace(BlockMatrix([[ZeroMatrix(1, 2), x[:1, :]], [B[:2, :], x[1:, :]]])),
            "tr(Matrix([[zeros(1, 2), x[:1, :]], [B[:2, :], x[1:, :]]]))",
        ),
    ],
)
def test_sums_of_entries_and_powers_of_them(loss, text):
    assert as_text(loss) == text
    assert_worth(text, loss)


over = HadamardPower(B, -1)
largest = apply(lambda u, v: Piecewise((u, u > v), (v, True)), A, B.T)
GRADIENTS = {
    "a quotient, squared": Trace(HadamardProduct(B, HadamardPower(S[:, :2], -1)).T * B),
    "what divides twice": total(HadamardProduct(A.T, over, over)),
    "the norm of a quotient": Trace(HadamardProduct(A.T, over).T * HadamardProduct(A.T, over)),
    "a larger one of a transpose": Trace(largest * S * largest.T),
    **{f"drawn, {number}": drawn(number) for number in range(1000, 1040)},
}


@pytest.mark.parametrize("loss", GRADIENTS.values(), ids=GRADIENTS)
def test_the_text_of_a_gradient_is_worth_what_it_is(loss):
    given = draw_inputs(sorted(loss.atoms(MatrixSymbol) | loss.free_symbols, key=str), 0)
    given = {symbol: tensor.abs() + 0.1 for symbol, tensor in given.items()}
    named = {symbol.name: part(tensor) for symbol, tensor in given.items()}
    _, *wanted = by_autograd(loss, given)
    for gradient, right in zip(derivation(loss, given, prove=False).gradients.values(), wanted, strict=True):
        text = as_text(gradient)
        if not re.search("BlockSum|Arange|Sum[(]", text):
            found = part(worth(text, named))
            found = found.of_size(len(right)) if right.ndim else found.entries.reshape(())
            assert torch.allclose(found.expand(right.shape), right, rtol=1e-7, atol=1e-9, equal_nan=True), text
