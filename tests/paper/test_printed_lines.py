"""Every line of a derivation holds: read back from the page, computed at random matrices, against differences."""

import itertools
import re

import numpy as np
import pytest
from sympy import (
    Abs,
    BlockMatrix,
    DiagMatrix,
    HadamardPower,
    HadamardProduct,
    KroneckerProduct,
    MatAdd,
    MatMul,
    MatrixSymbol,
    Max,
    OneMatrix,
    Piecewise,
    Rational,
    Symbol,
    Trace,
    ZeroMatrix,
    exp,
    sin,
    symbols,
    tanh,
)

from derive.matrix import apply, log_softmax, logsumexp, sigmoid, softmax, total
from derive.matrix_derivation import MatrixDerivation
from derive.packages.emit import subject_of
from derive.paper import Boxed, Broken, Chain, Paragraph
from derive.paper.latex import latex
from derive.problems.network import Network
from tests.helpers.cookbook import PROBLEMS
from tests.helpers.follow import reading_of
from tests.helpers.read_tex import compute

m, n, k = symbols("m n k", integer=True, positive=True)
A, B, Q, X = (MatrixSymbol(letter, m, n) for letter in "ABQX")
C, T = (MatrixSymbol(letter, m, k) for letter in "CT")
K, V = (MatrixSymbol(letter, k, n) for letter in "KV")
W = MatrixSymbol("W", n, n)
S, x, t, s = MatrixSymbol("S", n, n), MatrixSymbol("x", n, 1), MatrixSymbol("t", 1, n), Symbol("s", real=True)
p, d, sigma = symbols("p d sigma", positive=True)
four_by_three = MatrixSymbol("X", 4, 3)
NAMES = ("diff_X", "dot_X", "grad_W", "W", "Delta3", "M", "M_1", "value", "lambda", "ctx", "G", "F", "V", "L", "i", "k")
NAMED = [MatrixSymbol(name, n, n) for name in NAMES]
HALF, UNDER = Rational(1, 2), [MatrixSymbol(name, n, n) for name in ("W1", "W_1", "W_1_")]
value = MatrixSymbol("value", n, n)
ones = BlockMatrix([[S, OneMatrix(n, 1)], [OneMatrix(k, n), OneMatrix(k, 1)]])
EXPRESSIONS = {
    **{problem.source: (problem.loss, [problem.variable]) for problem in PROBLEMS},
    "logsumexp of a transpose": (total(logsumexp(X.T)), [X]),
    "sizes that are numbers": (total(logsumexp(four_by_three.T)), [four_by_three]),
    "logsumexp of a transposed product": (total(logsumexp((A * S).T)), [A, S]),
    "softmax alone": (total(HadamardPower(softmax(X), 2)), [X]),
    "entropy": (-total(HadamardProduct(X, log_softmax(X))), [X]),
    "softmax of a transpose": (total(HadamardPower(softmax(X.T), 2)), [X]),
    "log softmax of a transpose": (total(HadamardProduct(log_softmax(X.T), B.T)), [X]),
    "attention": (total(HadamardProduct(softmax(Q * K.T) * V, B)), [Q, K, V]),
    "blocks": (total(HadamardPower(BlockMatrix([[X, T], [A, C]]) * ones, 3)), [X, S, T]),
    "slice": (total(HadamardPower(X[0:2, 1:2], 3)), [X]),
    "Kronecker square": (Trace(KroneckerProduct(S, S) * KroneckerProduct(S, S)), [S]),
    "Kronecker of a row and a column": (Trace(KroneckerProduct(x.T, x)), [x]),
    "Kronecker, both factors": (total(KroneckerProduct(X, T).applyfunc(sin)), [X, T]),
    "numbers": (s**2 * total(X.applyfunc(exp)) + sin(s) * Trace(S), [s, X, S]),
    "bias": (total((X * S + OneMatrix(m, 1) * t).applyfunc(tanh)), [X, S, t]),
    "quadratic form": (x.T * S.inv() * x, [x, S]),
    "cubes of distances": (total(apply(lambda u, w: Abs(u - w) ** 3, A, B)), [A, B]),
    "branches": (total(apply(lambda u: Piecewise((u**2, u < HALF), (exp(u), True)), A * S)), [A, S]),
    "larger of two, turned": (
        Trace(S - apply(lambda u: Piecewise((HALF, u <= HALF), (u, True)), W.T - S.T)),
        [S],
    ),
    "larger of two": (total(apply(lambda u: Max(u, HALF), A * S)), [A, S]),
    "inverse of a product": (Trace((X.T * X).inv() * S), [X, S]),
    "diagonal": (Trace(S * DiagMatrix(x) * S.T), [x, S]),
    "an input called value": (Trace(value.T * S * value), [value]),
    "a matrix called G": (total(HadamardPower(NAMED[10] * X.T * X, 2)), [NAMED[10], X]),
    "names that differ in a line below": (s**2 * Trace(UNDER[0] * UNDER[1] * UNDER[2]), UNDER),
    "branches beside a matrix": (Piecewise((s**2 * S[0, 0], s > HALF / 9), (S[0, 0], True)) * Trace(S), [s, S]),
    "larger of two numbers": (Max(s, HALF / 9) * total(X), [s, X]),
    "two softmaxes": (total(softmax(X)[0:1, 0:2] * softmax(S)[0:2, 0:1]), [X, S]),
    "powers whose exponent is a number": (total(HadamardPower(X.applyfunc(Abs), p)) ** (1 / p), [X, p]),
    "numbers called d and sigma": (d**2 * total(apply(lambda u: d * sigmoid(sigma * u), x)) + sigma * d, [x, d, sigma]),
    "entries": (S[0, 1] * total(X) ** 2 / S[1, 1], [S, X]),
    "names": (
        total(HadamardPower(NAMED[0] * NAMED[2] * NAMED[3], 2))
        + total(sum(itertools.starmap(HadamardProduct, itertools.pairwise(NAMED)), ZeroMatrix(n, n))),
        NAMED,
    ),
}
NETWORKS = {
    "default": Network(),
    "one unit": Network((1, 1)),
    "one layer": Network((3, 1)),
    "mean": Network((3, 4, 2), activation="relu", output_activation="tanh", reduction="mean"),
    "deep": Network((4, 5, 6, 5, 4, 3, 2), activation="tanh", reduction="mean"),
    "two activations": Network((3, 4, 4, 2), activation=("tanh", "gelu"), loss="huber_loss"),
    "formulas": Network((2, 3, 3, 1), activation="z*sigmoid(z)", loss="abs(p - y)**3"),
    "cross entropy": Network((4, 5, 3), activation="relu", loss="cross_entropy", reduction="mean"),
    "softmax in a formula": Network((3, 4, 3), activation="tanh", loss="(softmax(2*p) - y)**2"),
    "two row sums": Network((3, 4, 3), loss="logsumexp(p)*logsumexp(p - y)"),
    "kinks": Network((3, 4, 2), activation="hardswish", loss="huber_loss", reduction="mean"),
    "probabilities": Network((3, 4, 2), "mish", "sigmoid", "binary_cross_entropy"),
    "branches": Network((3, 4, 2), "selu", "sigmoid", "kl_div"),
    "a penalty": Network((3, 4, 2), "tanh", penalty="w**4/4", reduction="mean"),
    "a penalty, and layers skipped": Network((3, 4, 4, 4, 2), "tanh", penalty="0.05*w**2", skip=((1, 2), (1, 3))),
}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_line_of_an_expressions_derivation_holds(expression):
    whole = MatrixDerivation(*EXPRESSIONS[expression])
    reading = reading_of(whole.program).of(whole.document())
    assert reading.lines >= 2 * len(whole.derivation.equations) - 1


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_every_line_of_a_networks_derivation_holds(network):
    subject = subject_of(network)
    reading = reading_of(subject.derived.program)
    for symbol in subject.derived.program.inputs:
        shape, y = reading.values[symbol.name].shape, symbol.name == "Y"
        reading.values[symbol.name] = reading.draw.uniform(0.1, 0.9, shape) if y else reading.draw.normal(size=shape)
    reading.of(subject.document)
    same = sum(1 + len(section.others) for section in subject.document if section.others)
    assert reading.lines > 4 * (len(subject.derived.equations) - same)


def test_no_number_is_called_as_an_entry_of_a_column_is():
    for letter in "xsMC":
        column = MatrixSymbol(letter, n, 1)
        whole = MatrixDerivation(Trace(S) ** 2 + Trace(column.T * column) ** 2 + total(logsumexp(t)), [S, column, t])
        signs = [latex(whole.program, e.target) for e in whole.program.equations[:-1] if e.shape == (1, 1)]
        assert len(signs) > 2 and not any(sign.startswith(letter) for sign in signs)


def test_a_sum_that_is_taken_away_is_in_brackets():
    """As H times a direction has it, of least squares in two factors."""
    values = {letter: np.random.default_rng(n).normal(size=(2, 2)) for n, letter in enumerate("BQX")}
    tex = latex(None, MatAdd(2 * B, MatMul(-1, MatAdd(Q, 2 * X))))
    np.testing.assert_allclose(compute(tex, values), 2 * values["B"] - (values["Q"] + 2 * values["X"]))


@pytest.mark.parametrize(
    ("tex", "why"),
    [
        (r"\sum_{i, j} A_{i,j} \, B_{i,k}", "free"),
        (r"\sum_{i, j} A_{i,j} \, \Bigl(\sum_{j=1}^{3} B_{i,j}\Bigr)", "bound twice"),
        (r"\sum_{m, j} A_{m,j}", "is a size"),
        (r"\sum_{i, j} A_{i,j} \, b_{j}", "two ranges"),
        (r"d\boldsymbol{A} \boldsymbol{B}^{\top}", "behind it"),
        (r"d\boldsymbol{A} \odot \boldsymbol{B}", "behind it"),
        (r"\boldsymbol{C}", "introduced nowhere"),
        (r"m + -m", "nothing to multiply"),
        (r"d \, m", "introduced nowhere"),
        (r"\langle d, m \rangle", "d of what"),
        (r"\boldsymbol{A}^{\top}^{\top}", "a power of what"),
        (r"\langle \boldsymbol{A}, \boldsymbol{b} \rangle", "inner product"),
    ],
)
def test_a_line_that_can_be_misread_is_noticed(tex, why):
    values = {"A": np.ones((3, 2)), "B": np.ones((3, 2)), "b": np.ones((3, 1)), "m": 3, "diff A": np.ones((3, 2))}
    with pytest.raises(AssertionError, match=why):
        compute(tex, values)


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_an_index_keeps_its_meaning_through_a_document(network):
    """i is a point, j a unit of the layer that the equation is about; what else is summed over is the layer before."""
    document = subject_of(network).document
    for section in (section for section in document if re.fullmatch(r"[BF]\d+", section.anchor)):
        for block in section.blocks:
            rows = " ".join(row.right for row in getattr(block, "rows", ()))
            text = block.text if isinstance(block, Paragraph) else rows
            for letters, indices in re.findall(r"(?<![a-z])([XYZAE]|\\Delta)_\{(?:\d+;)?([a-z],[a-z])\}", text):
                assert indices in ("i,j", "i,k"), f"{letters}: {indices} in {text}"


def test_the_letters_of_indices_and_sizes_are_introduced():
    items = [item for s in subject_of(Network()).document for block in s.blocks for item in getattr(block, "items", ())]
    for letter in ("$i$", "$j$", "$k$", "$N$", "$l$", "$n_{l}$"):
        assert any(letter in item for item in items), letter


@pytest.mark.parametrize("expression", ["MN 9.12, Kronecker", "an entry", "slice", "blocks", "absent", "larger of two"])
def test_pages_hold_no_python(expression):
    for section in MatrixDerivation(*EXPRESSIONS[expression]).document():
        for block in section.blocks:
            text = repr(block) if isinstance(block, Boxed | Broken | Chain | Paragraph) else ""
            assert not re.search(r"True|False|BlockSum|\\left\[|None|0:", text)
