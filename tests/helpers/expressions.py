"""Expressions made at random, with sizes of 1 and names that are taken, and autograd's answer with its noise."""

import random
import re

import torch
from sympy import (
    Abs,
    BlockDiagMatrix,
    BlockMatrix,
    Determinant,
    DiagMatrix,
    DiagonalMatrix,
    HadamardPower,
    HadamardProduct,
    Identity,
    Inverse,
    KroneckerProduct,
    Matrix,
    MatrixExpr,
    MatrixSymbol,
    Max,
    Ne,
    Not,
    OneMatrix,
    Piecewise,
    Rational,
    Sum,
    Symbol,
    Trace,
    ZeroMatrix,
    cos,
    exp,
    log,
    sin,
    sqrt,
    symbols,
    tanh,
)

from derive.matrix import apply, column_sum, diagonal, log_softmax, logsumexp, row_sum, softmax, total
from tests.helpers.reference import value

NAMES = re.findall(
    r"\S+",
    """A B C X grad_A grad_grad_A grad_M1 grad_s1 dot_A diff_A M1 M2 M3 s1 s2 s3 value value_ torch math lambda tensors
    Gradients one N n _x 2X W^{(1)} ctx loss float int E I S G F0 u0 t entry0 v w gradients grad_value x' beta_1 True
    value_and_grad _checked print self""",
)
FORMULAS = (
    sin,
    tanh,
    lambda u: u**2,
    lambda u: 1 / (1 + u**2),
    lambda u: log(1 + exp(u)),
    lambda u: sqrt(2) * u / 3 + 1,
    lambda u: Piecewise((u**2, u > 1), (2 * u - 1, True)),
    lambda u: Piecewise((sin(u) / u, Ne(u, 0)), (1, True)),
    lambda u: Piecewise((u, Not((u > 1) & (u < 2))), (u**2 / 3, True)),
    lambda u: Max(u, Rational(1, 7)),
    lambda u: Abs(u - Rational(1, 3)),
)
OF_TWO = (
    lambda u, v: u * exp(-(v**2)),
    lambda u, v: log(exp(u) + exp(v)),
    lambda u, v: 1 - log(exp(u + 1) + exp(v - u)),
    lambda u, v: u / (1 + v**2) - v,
    lambda u, v: Piecewise((u, u > v), (v, True)),
)
SIZES = (1, 1, 2, 3)


class Draw:
    """Random expressions of a given shape and depth; each number makes one loss, the same on any machine."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.names = self.random.sample(NAMES, len(NAMES))
        self.symbols: dict[tuple[int, int], list[MatrixSymbol]] = {}
        self.number = Symbol(self.names.pop(), real=True)

    def loss(self):
        """A loss of at least one matrix."""
        while True:
            loss = self.scalar(self.random.choice((1, 2, 3)))
            if loss.atoms(MatrixSymbol):
                return loss

    def size(self) -> int:
        return self.random.choice(SIZES)

    def leaf(self, rows: int, columns: int) -> MatrixExpr:
        turned = rows != columns and self.random.random() < 0.3
        shape = (columns, rows) if turned else (rows, columns)
        known = self.symbols.setdefault(shape, [])
        if len(known) < 2 and self.names:
            known.append(MatrixSymbol(self.names.pop(), *shape))
        symbol = self.random.choice(known)
        return symbol.T if turned else symbol

    def matrix(self, rows: int, columns: int, depth: int) -> MatrixExpr:
        if depth <= 0 or self.random.random() < 0.15:
            return self.leaf(rows, columns)
        kinds = ["product"] * 3 + ["sum", "entrywise", "formula", "two"] * 2
        kinds += ["transpose", "softmax", "ones", "scaled", "block", "slice", "kron", "power", "spread", "numbers"]
        kinds += ["inverse", "identity", "diagonals", "square"] * (rows == columns)
        kinds += ["row"] * 2 * (columns == 1) + ["column"] * 2 * (rows == 1)
        return getattr(self, self.random.choice(kinds))(rows, columns, depth - 1)

    def product(self, rows, columns, depth):
        inner = self.size()
        return self.matrix(rows, inner, depth) * self.matrix(inner, columns, depth)

    def sum(self, rows, columns, depth):
        return self.matrix(rows, columns, depth) + self.random.choice((1, -1, 2)) * self.matrix(rows, columns, depth)

    def entrywise(self, rows, columns, depth):
        return HadamardProduct(self.matrix(rows, columns, depth), self.matrix(rows, columns, depth))

    def formula(self, rows, columns, depth):
        return apply(self.random.choice(FORMULAS), self.matrix(rows, columns, depth))

    def two(self, rows, columns, depth):
        return apply(self.random.choice(OF_TWO), self.matrix(rows, columns, depth), self.matrix(rows, columns, depth))

    def transpose(self, rows, columns, depth):
        return self.matrix(columns, rows, depth).T

    def softmax(self, rows, columns, depth):
        function, inner = self.random.choice((softmax, log_softmax)), self.matrix(rows, columns, depth)
        return function(inner) if columns > 1 or rows == 1 else function(inner.T).T

    def ones(self, rows, columns, depth):
        ones, number = OneMatrix(rows, columns), self.random.choice((2, -1, Rational(1, 3), self.number))
        inner = self.matrix(rows, columns, depth)
        return self.random.choice((inner + number * ones, number * ones - inner, HadamardProduct(inner, number * ones)))

    def spread(self, rows, columns, depth):
        """A product with ones, which repeats or sums."""
        inner = self.size()
        return self.random.choice(
            (
                lambda: OneMatrix(rows, inner) * self.matrix(inner, columns, depth),
                lambda: self.matrix(rows, inner, depth) * OneMatrix(inner, columns),
                lambda: self.matrix(rows, inner, depth) * OneMatrix(inner, inner) * self.matrix(inner, columns, depth),
                lambda: self.matrix(rows, columns, depth) + ZeroMatrix(rows, columns),
            )
        )()

    def scaled(self, rows, columns, depth):
        number = self.random.choice((self.number, Rational(-5, 7), sqrt(2), self.scalar(depth)))
        return number * self.matrix(rows, columns, depth)

    def block(self, rows, columns, depth):
        if rows == 1 and columns == 1:
            return BlockMatrix([[self.matrix(1, 1, depth)]])
        if rows == 1:
            return BlockMatrix([[self.matrix(1, 1, depth), self.matrix(1, columns - 1, depth)]])
        if columns == 1:
            return BlockMatrix([[self.matrix(rows - 1, 1, depth)], [self.matrix(1, 1, depth)]])
        if self.random.random() < 0.3 and rows == columns:
            return BlockDiagMatrix(self.matrix(1, 1, depth), self.matrix(rows - 1, rows - 1, depth))
        return BlockMatrix(
            [
                [self.matrix(1, columns - 1, depth), self.matrix(1, 1, depth)],
                [self.matrix(rows - 1, columns - 1, depth), self.matrix(rows - 1, 1, depth)],
            ]
        )

    def slice(self, rows, columns, depth):
        more, wider = self.random.choice((0, 1)), self.random.choice((0, 1))
        top, left = self.random.randint(0, more), self.random.randint(0, wider)
        whole = self.leaf if self.random.random() < 0.5 else lambda *shape: self.matrix(*shape, depth)
        return whole(rows + more, columns + wider)[top : top + rows, left : left + columns]

    def kron(self, rows, columns, depth):
        left, right = self.matrix(rows, 1, depth), self.matrix(1, columns, depth)
        one = self.matrix(1, 1, depth)
        return self.random.choice(
            (
                KroneckerProduct(left, right),
                KroneckerProduct(right, left),
                KroneckerProduct(one, self.matrix(rows, columns, depth)),
                KroneckerProduct(one, left, right),
            )
        )

    def power(self, rows, columns, depth):
        return HadamardPower(self.matrix(rows, columns, depth), self.random.choice((2, 3)))

    def numbers(self, rows, columns, depth):
        number = Matrix(rows, columns, lambda i, j: Rational(self.random.randint(-4, 4), 3))
        return self.matrix(rows, columns, depth) + number

    def inverse(self, rows, columns, depth):
        inner = self.matrix(rows, rows, depth)
        return Inverse(inner.T * inner + Identity(rows))

    def identity(self, rows, columns, depth):
        return self.matrix(rows, rows, depth) + self.random.choice((1, -2, self.number)) * Identity(rows)

    def diagonals(self, rows, columns, depth):
        column = DiagMatrix(self.matrix(rows, 1, depth))
        return self.random.choice(
            (column, column * self.matrix(rows, rows, depth), DiagonalMatrix(self.matrix(rows, rows, depth)))
        )

    def square(self, rows, columns, depth):
        return self.matrix(rows, rows, depth) ** self.random.choice((2, 3))

    def row(self, rows, columns, depth):
        reduce, width = self.random.choice((row_sum, logsumexp, diagonal)), self.random.choice((2, 3))
        return reduce(self.matrix(rows, rows if reduce is diagonal else width, depth))

    def column(self, rows, columns, depth):
        return column_sum(self.matrix(self.size(), columns, depth))

    def scalar(self, depth: int):
        kinds = "total total trace trace square determinant log_determinant log entry indices root two two number"
        return getattr(self, f"of_{self.random.choice(kinds.split())}")(depth)

    def of_total(self, depth):
        return total(self.matrix(self.size(), self.size(), depth))

    def of_trace(self, depth):
        n = self.size()
        return Trace(self.matrix(n, n, depth))

    def of_square(self, depth):
        column = self.matrix(self.size(), 1, depth)
        return self.random.choice((Trace(column.T * column), (column.T * column)[0, 0]))

    def of_determinant(self, depth):
        n = self.size()
        inner = self.matrix(self.size(), n, depth - 1)
        return Determinant(inner.T * inner + Identity(n))

    def of_log_determinant(self, depth):
        return log(self.of_determinant(depth))

    def of_log(self, depth):
        return log(total(apply(exp, self.matrix(self.size(), self.size(), depth))))

    def of_root(self, depth):
        return sqrt(1 + self.of_square(depth) ** 2)

    def of_entry(self, depth):
        rows, columns = self.size(), self.size()
        return self.matrix(rows, columns, depth)[self.random.randrange(rows), self.random.randrange(columns)]

    def of_indices(self, depth):
        rows, columns = self.size(), self.size()
        i, j = symbols("i j", integer=True)
        first, second, x = self.leaf(rows, columns), self.leaf(rows, columns), self.leaf(columns, 1)
        over_i, over_j = (i, 0, rows - 1), (j, 0, columns - 1)
        return self.random.choice(
            (
                lambda: Sum(first[i, j] * second[i, j], over_i, over_j),
                lambda: Sum(Sum(first[i, j] * x[j, 0], over_j) ** 2, over_i),
                lambda: Sum(sin(x[j, 0]) * self.number, over_j),
                lambda: Sum((x[i, 0] - x[j, 0]) ** 2, (i, 0, columns - 1), over_j),
            )
        )()

    def of_number(self, depth):
        return self.number * self.scalar(depth - 1) + self.number**2

    def of_two(self, depth):
        first, second = self.scalar(depth - 1), self.scalar(depth - 1)
        return self.random.choice((first + second, first * second, sin(first) * second, cos(first) - second / 3))


def computed(derived, **given):
    """What the module that is emitted for a derivation gives: value and gradients."""
    namespace = {}
    exec(derived.torch(), namespace)
    return namespace["value_and_grad"](**given)


def draw_inputs(given, seed: int) -> dict:
    """A float64 tensor for each symbol."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {s: tuple(map(int, s.shape)) if isinstance(s, MatrixSymbol) else () for s in given}
    return {s: torch.randn(shape, generator=generator, dtype=torch.float64) for s, shape in shapes.items()}


def by_autograd(loss, given):
    """The value, and the gradient in each variable."""
    leaves = {s: tensor.clone().requires_grad_() for s, tensor in given.items()}
    result = torch.as_tensor(value(loss, leaves)).reshape(()) + 0 * sum(tensor.sum() for tensor in leaves.values())
    gradients = torch.autograd.grad(result, list(leaves.values()))
    return result.detach(), *gradients


def ordinary(parts):
    """Whether numbers are of a size at which float64 has digits left for sin and the like; nan is not."""
    return all(part.abs().max() < 1e5 for part in parts)
