"""Expressions made at random, of matrices of any shape: the gradient is autograd's."""

import random

import pytest
import torch
from sympy import Determinant, HadamardProduct, Identity, Inverse, MatrixExpr, MatrixSymbol, Trace, exp, log, sin, tanh

from derive import derivation
from derive.matrix import apply, column_sum, diagonal, log_softmax, logsumexp, row_sum, softmax, total
from tests.helpers.reference import value

SYMBOLS = [
    MatrixSymbol(*given) for given in (("A", 3, 2), ("B", 2, 3), ("C", 2, 2), ("S", 3, 3), ("x", 2, 1), ("w", 3, 1))
]
FORMULAS = (sin, tanh, lambda u: u**2, lambda u: 1 / (1 + u**2), lambda u: log(1 + exp(u)))
SIZES = (1, 2, 3)


class Draw:
    """Random expressions of a given shape and depth."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def leaf(self, shape: tuple[int, int]) -> MatrixExpr | None:
        found = [s for s in SYMBOLS if s.shape == shape] + [s.T for s in SYMBOLS if s.T.shape == shape]
        return self.random.choice(found) if found else None

    def matrix(self, rows: int, columns: int, depth: int) -> MatrixExpr:
        leaf = self.leaf((rows, columns)) if depth <= 0 or self.random.random() < 0.15 else None
        if leaf is not None:
            return leaf
        kinds = ["product"] * 3 + ["sum"] * 2 + ["entrywise"] * 2 + ["formula"] * 2 + ["transpose", "softmax"]
        kinds += ["inverse"] * (rows == columns) + ["row"] * (columns == 1) + ["column"] * (rows == 1)
        return getattr(self, self.random.choice(kinds) if depth > -2 else "product")(rows, columns, depth - 1)

    def product(self, rows, columns, depth):
        inner = self.random.choice(SIZES)
        return self.matrix(rows, inner, depth) * self.matrix(inner, columns, depth)

    def sum(self, rows, columns, depth):
        return self.matrix(rows, columns, depth) + self.random.choice((1, -1, 2)) * self.matrix(rows, columns, depth)

    def entrywise(self, rows, columns, depth):
        return HadamardProduct(self.matrix(rows, columns, depth), self.matrix(rows, columns, depth))

    def formula(self, rows, columns, depth):
        return apply(self.random.choice(FORMULAS), self.matrix(rows, columns, depth))

    def transpose(self, rows, columns, depth):
        return self.matrix(columns, rows, depth).T

    def softmax(self, rows, columns, depth):
        return self.random.choice((softmax, log_softmax))(self.matrix(rows, columns, depth))

    def inverse(self, rows, columns, depth):
        inner = self.matrix(rows, rows, depth)
        return Inverse(inner.T * inner + Identity(rows))

    def row(self, rows, columns, depth):
        reduce = self.random.choice((row_sum, logsumexp, diagonal))
        return reduce(self.matrix(rows, rows if reduce is diagonal else self.random.choice(SIZES), depth))

    def column(self, rows, columns, depth):
        return column_sum(self.matrix(self.random.choice(SIZES), columns, depth))

    def scalar(self, depth: int):
        n = self.random.choice(SIZES)
        kind = self.random.choice(("total", "trace", "square", "determinant", "log", "two"))
        if kind == "total":
            return total(self.matrix(n, self.random.choice(SIZES), depth))
        if kind == "trace":
            return Trace(self.matrix(n, n, depth))
        if kind == "square":
            column = self.matrix(n, 1, depth)
            return Trace(column.T * column)
        if kind == "determinant":
            inner = self.matrix(2, 2, depth - 1)
            return Determinant(inner.T * inner + Identity(2))
        if kind == "log":
            return log(total(apply(exp, self.matrix(n, self.random.choice(SIZES), depth))))
        first, second = self.scalar(depth - 1), self.scalar(depth - 1)
        return self.random.choice((first + second, first * second, sin(first) * second))


@pytest.mark.parametrize("number", [*range(60), *(pytest.param(n, marks=pytest.mark.slow) for n in range(60, 200))])
def test_any_expression_has_the_gradient_that_autograd_finds(number):
    draw, variables = Draw(number), []
    while not variables:
        loss = draw.scalar(draw.random.choice(SIZES))
        variables = sorted(loss.atoms(MatrixSymbol), key=str)
    derived, namespace = derivation(loss, variables, prove=False), {}
    exec(derived.torch(), namespace)
    given = {s: torch.randn(*map(int, s.shape), dtype=torch.float64) for s in variables}
    while not ordinary(expected := by_autograd(loss, given)):
        given = {s: tensor / 2 for s, tensor in given.items()}
    mine, gradients = namespace["value_and_grad"](**{own.name: given[s] for own, s in derived.original.items()})
    for found, wanted, noise in zip((mine, *gradients), expected, noises(loss, given, expected), strict=True):
        assert (found - wanted).norm() <= 1e-9 * wanted.norm() + 1e-12 + 16 * noise


def by_autograd(loss, given):
    """The value, and the gradient in each variable."""
    leaves = {s: tensor.clone().requires_grad_() for s, tensor in given.items()}
    result = torch.as_tensor(value(loss, leaves)).reshape(())
    gradients = torch.autograd.grad(result, list(leaves.values()), materialize_grads=True, allow_unused=True)
    return result.detach(), *gradients


def noises(loss, given, parts):
    """How far each part moves where every input moves by an ulp or stays: so much of autograd's digits is rounding.

    Terms of 1e5 that cancel leave 1e-11 of noise, which are not the gradient's.
    """
    moved = [by_autograd(loss, {s: by_an_ulp(tensor) for s, tensor in given.items()}) for _ in range(4)]
    return [
        max((one - part).norm() for one in ones) for part, ones in zip(parts, zip(*moved, strict=True), strict=True)
    ]


def by_an_ulp(tensor):
    towards = torch.tensor([-torch.inf, 0.0, torch.inf], dtype=tensor.dtype)[torch.randint(3, tensor.shape)]
    return torch.where(towards == 0, tensor, tensor.nextafter(towards))


def ordinary(parts):
    """Whether numbers are of a size at which float64 has digits left for sin and the like; nan is not."""
    return all(part.abs().max() < 1e5 for part in parts)
