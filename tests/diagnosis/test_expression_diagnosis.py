"""Where is my mistake, of an expression: slips in gradients written by hand are named, and nothing that is not so."""

import numpy
import pytest
from numpy.linalg import inv
from sympy import Determinant, HadamardProduct, MatrixSymbol, Symbol, Trace, log, symbols

from derive import derivation
from derive.matrix import logsumexp, sigmoid, total

n, d, k = symbols("n d k", integer=True, positive=True)
X, W, Y = MatrixSymbol("X", n, d), MatrixSymbol("W", d, k), MatrixSymbol("Y", n, k)
S, x, U, V, R = (MatrixSymbol(*a) for a in (("S", d, d), ("x", d, 1), ("U", n, k), ("V", d, k), ("R", n, d)))
c = Symbol("c")


def softmax(z):
    e = numpy.exp(z)
    return e / e.sum(1, keepdims=True)


def squash(z):
    return 1 / (1 + numpy.exp(-z))


SUBJECTS = {
    "least squares": (Trace((X * W - Y).T * (X * W - Y)) / n + c * Trace(W.T * W), [W]),
    "a Gaussian": (log(Determinant(S)) + Trace(x.T * S.inv() * x), [S, x]),
    "softmax": (total(logsumexp(X * W)) - total(HadamardProduct(Y, X * W)), [W]),
    "sigmoid": (Trace((sigmoid(X * W) - Y).T * (sigmoid(X * W) - Y)), [X, W]),
    "factors": (Trace((R - U * V.T).T * (R - U * V.T)), [U, V]),
    "a number": (c**2 * Trace(X.T * X), [c, X]),
}
RIGHT = {
    "least squares": lambda X, W, Y, c: 2 * X.T @ (X @ W - Y) / len(X) + 2 * c * W,
    "a Gaussian": lambda S, x: {"S": inv(S).T - inv(S).T @ x @ x.T @ inv(S).T, "x": (inv(S) + inv(S).T) @ x},
    "softmax": lambda X, W, Y: X.T @ (softmax(X @ W) - Y),
    "sigmoid": lambda X, W, Y: (back(X, W, Y, 1) @ W.T, X.T @ back(X, W, Y, 1)),
    "factors": lambda R, U, V: (-2 * (R - U @ V.T) @ V, -2 * (R - U @ V.T).T @ U),
    "a number": lambda c, X: {"c": 2 * c * (X * X).sum(), "X": 2 * c**2 * X},
}


def back(X, W, Y, slopes):
    a = squash(X @ W)
    return 2 * (a - Y) * (a * (1 - a)) ** slopes


SLIPS = [
    ("least squares", lambda X, W, Y, c: X.T @ (X @ W - Y) / len(X) + c * W, "a factor 2 is missing"),
    ("least squares", lambda X, W, Y, c: 2 * X.T @ (X @ W - Y) / len(X), "a term is left out"),
    ("least squares", lambda X, W, Y, c: 2 * X.T @ (X @ W - Y) / len(X) - 2 * c * W, "minus a term is taken"),
    ("least squares", lambda X, W, Y, c: 2 * X.T @ (X @ W - Y) + 2 * c * W, "it is multiplied by n"),
    ("a Gaussian", lambda S, x: {**RIGHT["a Gaussian"](S, x), "x": 2 * inv(S) @ x}, "transposed factor"),
    (
        "a Gaussian",
        lambda S, x: {**RIGHT["a Gaussian"](S, x), "S": inv(S) - inv(S).T @ x @ x.T @ inv(S).T},
        "transposed factor",
    ),
    ("a Gaussian", lambda S, x: {**RIGHT["a Gaussian"](S, x), "S": RIGHT["a Gaussian"](S, x)["S"].T}, "transposed"),
    ("softmax", lambda X, W, Y: X.T @ (Y - softmax(X @ W)), "the sign is the other"),
    ("softmax", lambda X, W, Y: X.T @ (softmax((X @ W).T).T - Y), "softmax over columns"),
    (
        "softmax",
        lambda X, W, Y: X.T @ ((softmax(X @ W) - Y) * softmax(X @ W) * (1 - softmax(X @ W))),
        "softmax entry by entry",
    ),
    ("sigmoid", lambda X, W, Y: (back(X, W, Y, 0) @ W.T, X.T @ back(X, W, Y, 0)), "slope left out"),
    ("sigmoid", lambda X, W, Y: (back(X, W, Y, 2) @ W.T, X.T @ back(X, W, Y, 2)), "slope twice"),
    ("sigmoid", lambda X, W, Y: (back(X, W, Y, 1) @ W.T, X.T @ back(X, W, Y, 1) / len(X)), "it is divided by n"),
    ("factors", lambda R, U, V: (2 * (R - U @ V.T) @ V, 2 * (R - U @ V.T).T @ U), "the sign is the other"),
    ("factors", lambda R, U, V: (-2 * (R - U @ V.T) @ V, 2 * (R - U @ V.T).T @ U), "the sign is the other"),
    ("a number", lambda c, X: {"c": c * (X * X).sum(), "X": 2 * c**2 * X}, "a factor 2 is missing"),
]


@pytest.fixture(scope="module")
def subjects():
    return {name: derivation(*subject, prove=False) for name, subject in SUBJECTS.items()}


def kinds(diagnosis):
    return [set(some) for e in diagnosis.explanations for some in (e.kinds, *e.same)]


@pytest.mark.parametrize("name", SUBJECTS)
def test_what_is_right_agrees_in_each_form_in_which_it_can_be_returned(name, subjects):
    subject, right = subjects[name], RIGHT[name]
    assert subject.diagnose(right).agrees and str(subject.diagnose(right)).endswith("all gradients agree")
    assert subject.diagnose(lambda **given: (1.5, right(**given))).agrees
    drawn = numpy.random.default_rng(5)
    shapes = {"X": (6, 3), "W": (3, 2), "Y": (6, 2), "S": (3, 3), "x": (3, 1), "U": (6, 2), "V": (3, 2), "R": (6, 3)}
    given = {str(s): drawn.normal(size=shapes[str(s)]) for s in subject.original.values() if str(s) != "c"}
    given |= {"S": given["S"] @ given["S"].T + numpy.eye(3)} if "S" in given else {}
    given |= {"c": 0.7} if c in subject.original.values() else {}
    assert subject.diagnose(right, **given).agrees


@pytest.mark.parametrize("place", range(len(SLIPS)))
def test_a_slip_is_named_with_its_step_and_both_lines(place, subjects):
    name, wrong, kind = SLIPS[place]
    diagnosis = subjects[name].diagnose(wrong)
    assert not diagnosis.agrees and {kind} in kinds(diagnosis), (kinds(diagnosis), str(diagnosis))
    assert "    with the slip  " in str(diagnosis) and "It gives all of these numbers" in str(diagnosis)


def test_what_no_slip_gives_is_said_to_be_so_and_nothing_is_named(subjects):
    """Numbers by which a gradient is multiplied that nobody would come by."""
    draw = numpy.random.default_rng(0)
    for name, subject in subjects.items():
        for _ in range(5):

            def odd(name=name, **given):
                found = RIGHT[name](**given)
                parts = found.values() if isinstance(found, dict) else found if isinstance(found, tuple) else [found]
                made = [numpy.asarray(part) * draw.uniform(1.3, 1.9, numpy.shape(part)) for part in parts]
                return (
                    dict(zip(found, made, strict=True))
                    if isinstance(found, dict)
                    else tuple(made)
                    if len(made) > 1
                    else made[0]
                )

            diagnosis = subject.diagnose(odd)
            assert not diagnosis.agrees and not diagnosis.explanations
            assert "No slip that is known, and no two, gives these numbers." in str(diagnosis)


def test_a_transposed_gradient_is_called_so(subjects):
    diagnosis = subjects["softmax"].diagnose(lambda **given: RIGHT["softmax"](**given).T)
    assert not diagnosis.agrees and "dL/dW is transposed" in str(diagnosis)


BAD = {
    "a word": (lambda X, W, Y: "no", {}, TypeError, "function: W: expected an array of numbers, got str"),
    "another name": (lambda X, W, Y: {"Q": X}, {}, ValueError, "function: 'Q': no variable; known: W"),
    "nothing": (lambda X, W, Y: {}, {}, ValueError, "function: returned no gradient"),
    "a shape": (lambda X, W, Y: X, {}, ValueError, "W: expected a gradient of shape"),
    "three axes": (lambda X, W, Y: X[None], {}, ValueError, "function: W: expected 2 dimensions"),
    "a point with a part missing": (RIGHT["softmax"], {"X": [[1.0]]}, ValueError, "W: no numbers are given for it"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_gradient_is_named(case, subjects):
    function, given, error, said = BAD[case]
    with pytest.raises(error, match=f"^{said}"):
        subjects["softmax"].diagnose(function, **given)


def test_of_several_variables_each_has_to_be_there(subjects):
    with pytest.raises(TypeError, match="expected gradients in U, V, by name or in this order"):
        subjects["factors"].diagnose(lambda R, U, V: U)
    with pytest.raises(ValueError, match="finite not at these numbers"):
        subjects["a Gaussian"].diagnose(RIGHT["a Gaussian"], S=numpy.zeros((2, 2)), x=numpy.ones((2, 1)))
