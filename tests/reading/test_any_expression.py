"""Expressions made at random, of matrices of any shape and name: no crash, and the gradient is autograd's."""

import pytest
from sympy import MatrixSymbol

from derive import derivation
from tests.helpers.expressions import Draw, by_autograd, computed, draw_inputs, ordinary
from tests.helpers.gate import noises


@pytest.mark.parametrize("number", [*range(60), *(pytest.param(n, marks=pytest.mark.slow) for n in range(60, 300))])
def test_any_expression_has_the_gradient_that_autograd_finds(number):
    draw = Draw(number)
    loss = draw.loss()
    variables = sorted(loss.atoms(MatrixSymbol) | ({draw.number} & loss.free_symbols), key=lambda symbol: symbol.name)
    derived = derivation(loss, variables, prove=False)
    given = draw_inputs(variables, number)
    while not ordinary(expected := by_autograd(loss, given)):
        given = {symbol: tensor / 2 for symbol, tensor in given.items()}
    mine, gradients = computed(derived, **{own.name: given[s] for own, s in derived.original.items()})

    def of_tensors(tensors):
        return by_autograd(loss, dict(zip(given, tensors, strict=True)))

    moved = noises(of_tensors, list(given.values()), expected)
    for found, wanted, noise in zip((mine, *gradients), expected, moved, strict=True):
        assert found.shape == wanted.shape
        assert (found - wanted).norm() <= 1e-9 * wanted.norm() + 1e-12 + 16 * noise
