"""The spelling of emitted code: brackets where Python needs them, and nothing that has no spelling."""

import operator
import random
from contextlib import suppress
from fractions import Fraction

import numpy
import pytest
import torch
from sympy import MatrixExpr, MatrixSymbol, exp, log

from derive import derivation
from derive.backends import Infix, Minus, Name, plus, signed_terms
from derive.backends.c.formulas import Conditional
from derive.backends.torch import TorchPrinter, rows_summands
from derive.matrix import apply, total
from derive.programs import PLAIN, Equation, Program
from tests.helpers.expressions import computed
from tests.helpers.reference import value

MATRICES = {
    name: numpy.array([[Fraction(entry) for entry in row] for row in rows])
    for name, rows in {"a": [[1, 3], [5, 2]], "b": [[2, -7], [1, 4]], "c": [[-1, 6], [3, 1]]}.items()
}
OPERATIONS = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "@": operator.matmul,
}


def tree(draw, depth):
    """Source made at random, and the matrix that it is worth when each step is done by itself."""
    if depth == 0:
        name = draw.choice(list(MATRICES))
        return Name(name), MATRICES[name]
    source, number = tree(draw, draw.randrange(depth))
    if draw.random() < 0.2:
        return Minus(source), -number
    sign = draw.choice(list(OPERATIONS))
    other, second = tree(draw, draw.randrange(depth))
    made = plus(source, other) if sign == "+" and draw.random() < 0.5 else Infix(sign, source, other)
    return made, OPERATIONS[sign](number, second)


def test_source_is_worth_what_its_parts_are_put_together():
    draw, checked = random.Random(0), 0
    while checked < 2000:
        with suppress(ZeroDivisionError):
            source, number = tree(draw, 6)
            for text in (source.text, " ".join(signed_terms(source))):
                assert (eval(text, dict(MATRICES)) == number).all(), text
            checked += 1


def test_a_choice_that_is_a_term_has_brackets_wherever_it_breaks():
    choice = Conditional(Name("a"), Name("b"), Name("c"))
    assert list(signed_terms(Infix("+", choice, choice))) == ["(a ? b : c)", "+ (a ? b : c)"]
    assert Infix("+", choice, Name("d")).text == "(a ? b : c) + d"


x, y, u, v = (MatrixSymbol(name, 3, 1) for name in "xyuv")
a, b = MatrixSymbol("a", 3, 1), MatrixSymbol("b", 3, 1)
LOGS = {
    "a sum of exp": total(apply(lambda s, t, p, q: 1 + log(exp(s - p) + exp(t - q)), x, y, u, v)),
    "with a factor": total(apply(lambda s, t, p, q: p * log(exp(s - p) + exp(t - q)), x, y, u, v)),
    "of numbers": total(a) * log(exp(total(a) + 1) + exp(total(b) + 2)),
    "of three": total(apply(lambda s, t, p: 2 - log(exp(s + 1) + exp(t - 3) + exp(-p)), x, y, u)),
}


@pytest.mark.parametrize("name", LOGS)
def test_no_bracket_is_lost_without_a_proof(name):
    loss = LOGS[name]
    variables = sorted(loss.atoms(MatrixSymbol), key=str)
    derived = derivation(loss, variables, prove=False)
    given = {s: torch.randn(3, 1, dtype=torch.float64, requires_grad=True) for s in variables}
    expected = value(loss, given).reshape(())
    mine, gradients = computed(derived, **{s.name: tensor.detach() for s, tensor in given.items()})
    torch.testing.assert_close(mine, expected.detach())
    for found, wanted in zip(gradients, torch.autograd.grad(expected, list(given.values())), strict=True):
        torch.testing.assert_close(found, wanted)


class Cholesky(MatrixExpr):
    shape = property(lambda self: self.args[0].shape)


def test_what_has_no_spelling_is_named():
    program = Program((x,), (), (), PLAIN)
    for node in (Cholesky(MatrixSymbol("S", 2, 2)), Cholesky(MatrixSymbol("R", 2, 3)).T):
        with pytest.raises(ValueError, match=r"^no operation is known for Cholesky: Cholesky\([SR]\)$"):
            TorchPrinter(program).source(node)


def test_what_is_no_sum_over_rows_alone_has_no_terms_of_rows():
    b, G = MatrixSymbol("b", 1, 2), MatrixSymbol("G", 1, 2)
    with pytest.raises(ValueError, match="G is no sum over the rows alone: b"):
        rows_summands(Program((b,), (b,), (), PLAIN), Equation(G, b, "", ""))
