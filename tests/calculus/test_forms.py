"""Closed forms as text: letter by letter as books print them."""

import pytest
import torch
from sympy import (
    Abs,
    Determinant,
    DiagMatrix,
    HadamardProduct,
    Identity,
    Integer,
    KroneckerProduct,
    MatAdd,
    MatPow,
    Matrix,
    MatrixSymbol,
    Max,
    OneMatrix,
    Piecewise,
    Rational,
    Symbol,
    Trace,
    cos,
    exp,
    log,
    loggamma,
    sech,
    sin,
    sqrt,
    symbols,
    tanh,
)

from derive import derivation, gradient
from derive.gradient import main
from derive.matrix import apply, logsumexp, relu, row_sum, sigmoid, softmax, total
from derive.programs import as_text, flat_product, scaled
from tests.helpers.cookbook import PROBLEMS
from tests.helpers.read_text import part, worth
from tests.helpers.reference import value

m, n, k = symbols("m n k", integer=True, positive=True)
s, delta = Symbol("s", real=True), Symbol("delta", positive=True)
A, B, Q, K = (MatrixSymbol(name, m, n) for name in "ABQK")
V, G, P = MatrixSymbol("V", m, k), MatrixSymbol("G", m, k), MatrixSymbol("P", m, m)
S, X, Y = (MatrixSymbol(name, n, n) for name in "SXY")
W, U = MatrixSymbol("W", n, k), MatrixSymbol("U", m, n)
x, y, a, b, p = (MatrixSymbol(name, n, 1) for name in "xyabp")
u, t = MatrixSymbol("u", m, 1), MatrixSymbol("t", m, 1)
r = MatrixSymbol("r", 1, n)
C = Identity(n) - OneMatrix(n, n) / n
attention = Trace(G.T * softmax(Q * K.T / sqrt(n)) * V)
of_scores = "softmax(Q*K.T/sqrt(n)) .* (G*V.T - row_sum(softmax(Q*K.T/sqrt(n)) .* (G*V.T))*ones(1, m))"
residual = A * x - u


def logistic(z):
    return 1 / (1 + exp(-z))


def huber(z):
    return Piecewise((z**2 / 2, Abs(z) <= delta), (delta * (Abs(z) - delta / 2), True))


FORMS = [
    (attention, Q, f"({of_scores})*K/sqrt(n)"),
    (attention, K, f"({of_scores}).T*Q/sqrt(n)"),
    (attention, V, "softmax(Q*K.T/sqrt(n)).T*G"),
    (-total(apply(lambda c, z: c * log(logistic(z)) + (1 - c) * log(1 - logistic(z)), t, A * x)), x,
     "A.T*(sigmoid(A*x) - t)"),
    (
        -t.T * (A * x).applyfunc(logistic).applyfunc(log)
        - (OneMatrix(m, 1) - t).T * (A * x).applyfunc(lambda z: log(1 - logistic(z))),
        x,
        "A.T*(sigmoid(A*x) - t)",
    ),
    (-(s + n) * log(1 + Trace(x.T * x) / s) / 2, x, "-(n + s)*x/(s + x.T*x)"),
    (log(Determinant(A.T * A + delta * Identity(n))), A, "2*A*(A.T*A + delta*I)**(-1)"),
    (Trace(x.T * S * x) / Trace(x.T * X * x), x, "(S + S.T)*x/(x.T*X*x) - (x.T*S*x)*(X + X.T)*x/(x.T*X*x)**2"),
    (total(logsumexp(A * W)) - Trace(G.T * A * W), W, "A.T*(softmax(A*W) - G)"),
    (Trace(G.T * relu(U * W)), W, "U.T*(G .* (U*W > 0))"),
    (Trace(G.T * apply(lambda z: Piecewise((0, z <= 0), (6, z >= 6), (z, True)), V)), V, "G .* ((V > 0) & (V < 6))"),
    (s * total(relu(OneMatrix(m, 1) - HadamardProduct(t, A * x))), x, "-s*A.T*(t .* (t .* (A*x) < 1))"),
    (total(apply(lambda z: Max(delta * z, (delta - 1) * z), residual)), x,
     "A.T*(delta*Heaviside(A*x - u) + (delta - 1)*Heaviside(u - A*x))"),
    (-s * log(logistic(Trace(x.T * y))) - (1 - s) * log(1 - logistic(Trace(x.T * y))), x, "(sigmoid(x.T*y) - s)*y"),
    (Trace((u - A * (A.T * A).inv() * A.T * u).T * (u - A * (A.T * A).inv() * A.T * u)), u,
     "2*u - 2*A*(A.T*A)**(-1)*A.T*u"),
    (total(HadamardProduct(Identity(n), Identity(n), X)), X, "I"),
    (logsumexp(r), r, "softmax(r)"),
    (s * logsumexp(r / s), s, "logsumexp(r/s) - (r*softmax(r/s).T)/s"),
    (s * logsumexp(x.T / s), s, "logsumexp(x.T/s) - (softmax(x.T/s)*x)/s"),
    (residual.T * residual / m, x, "2*A.T*(A*x - u)/m"),
    (Trace((X * C).T * X * C), X, "2*X*(I - ones(n, n)/n)"),
    (s * Trace(X.T * X) + log(Determinant(X)), X, "X.T**(-1) + 2*s*X"),
    (1 / Trace(x.T * S * x), x, "-(S + S.T)*x/(x.T*S*x)**2"),
    (total(DiagMatrix(x) * S), x, "row_sum(S)"),
    (Trace(S * DiagMatrix(x)), x, "diagonal(S)"),
    (Trace(KroneckerProduct(S, X)), X, "tr(S)*I"),
    (total(x) ** 3, x, "3*total(x)**2*ones(n, 1)"),
    (total(residual.applyfunc(huber)), x,
     "A.T*apply(t -> Piecewise((t, Abs(t) <= delta), (delta*sign(t), True)), A*x - u)"),
    (total(HadamardProduct(P, u * u.T)), u, "(P + P.T)*u"),
    (total(x.applyfunc(tanh)), x, "1 - tanh(x).^2"),
    (total(x.applyfunc(sech)), x, "-(tanh(x) ./ cosh(x))"),
    (total(sigmoid(x)), x, "sigmoid(x) .* (1 - sigmoid(x))"),
    (Trace((W.T * W - Identity(k)).T * (W.T * W - Identity(k))), W, "4*W*(W.T*W - I)"),
    (log(Determinant(S * X * Y)), X, "X.T**(-1)"),
    ((W * W.T * x - y).T * (W * W.T * x - y), W, "2*((W*W.T*x - y)*x.T + x*(W*W.T*x - y).T)*W"),
    (Max(0, s + Trace((X * (a - p)).T * X * (a - p)) - Trace((X * (a - b)).T * X * (a - b))), X,
     "2*Heaviside(s + (a - p).T*X.T*X*(a - p) - (a - b).T*X.T*X*(a - b))*X*((a - p)*(a - p).T - (a - b)*(a - b).T)"),
    (Trace(x.T * y) / sqrt(Trace(x.T * x)), x, "y/sqrt(x.T*x) - (x.T*y)*x/(x.T*x)**(3/2)"),
    (row_sum(X).T * row_sum(X), X, "2*row_sum(X)*ones(1, n)"),
    (relu(s + Trace((x - a).T * (x - a)) - Trace((x - b).T * (x - b))), a,
     "-2*Piecewise((0, s + (x - a).T*(x - a) - (x - b).T*(x - b) <= 0), (1, True))*(x - a)"),
    (total((u - A * x).applyfunc(lambda e: Max(e / 4, -3 * e / 4))), x,
     "A.T*(3*Heaviside(A*x - u) - Heaviside(u - A*x))/4"),
    (Trace(S * (-X / s).applyfunc(exp)), X, "-(S.T .* exp(-X/s))/s"),
    (-total((u - A * x).applyfunc(log)), x, "A.T*(u - A*x).^(-1)"),
    (total((X * W).applyfunc(lambda t: 2 * sqrt(t))), W, "X.T*(X*W).^(-1/2)"),
    (2 * total((X * W).applyfunc(lambda t: t * sqrt(t))) / 3, W, "X.T*sqrt(X*W)"),
    (Trace((u - A * x).T * (u - A * x)) / (s + Trace(x.T * x)), s, "-((u - A*x).T*(u - A*x))/(s + x.T*x)**2"),
    (Trace((x - OneMatrix(n, 1) * total(x) / n).T * (x - OneMatrix(n, 1) * total(x) / n)) / n, x,
     "2*(x - total(x)*ones(n, 1)/n)/n"),
    ((total(logsumexp(Q * K.T / s)) - Trace(Q * K.T / s)) / m, Q, "(softmax(Q*K.T/s) - I)*K/(m*s)"),
    (-(s**2) * total(HadamardProduct(softmax(B / s), A - logsumexp(A) * OneMatrix(1, n))), A,
     "s**2*(softmax(A) - softmax(B/s))"),
    (Trace((S - U.T * U).T * (S - U.T * U)) / 4, U, "U*(2*U.T*U - S.T - S)/2"),
    (Trace((P - HadamardProduct(P, u * u.T)).T * (P - HadamardProduct(P, u * u.T))), u,
     "-2*(P .* (P - (P .* (u*u.T))) + (P .* (P - (P .* (u*u.T)))).T)*u"),
    (sqrt(Trace(x * x.T) / n + Rational(1, 10**6)), x, "x/(n*sqrt(1/1000000 + (x.T*x)/n))"),
    (total(x.applyfunc(lambda z: Abs(z) ** delta)), x, "delta*(sign(x) .* Abs(x).^(delta - 1))"),
    (total(x.applyfunc(lambda z: Max(0, z) ** 2)), x, "2*Max(0, x)"),
    (total(x.applyfunc(lambda z: Abs(z) ** 3)), x, "3*(x .* Abs(x))"),
    (-total(apply(lambda y, p: y * log(p) + (1 - y) * log(1 - p), y, x)), x, "(1 - y) ./ (1 - x) - (y ./ x)"),
    (total(x.applyfunc(loggamma)), x, "digamma(x)"),
    (log(Determinant((X + Y) / 2)), X, "(X + Y).T**(-1)"),
    (OneMatrix(1, n) * HadamardProduct(S, x * OneMatrix(1, n)) * r.T, r, "x.T*S"),
    (s * Trace(A * x * u.T), s, "u.T*A*x"),
    (s * Abs(Determinant(X)), X, "s*sign(det(X))*det(X)*X.T**(-1)"),
]  # fmt: skip


@pytest.mark.parametrize(("loss", "variable", "text"), FORMS)
def test_the_text_of_a_gradient_is_the_books_and_is_worth_what_the_gradient_is(loss, variable, text):
    form = gradient(loss, variable)
    assert as_text(form) == text
    sizes = {symbol: size for symbol, size in ((m, 4), (n, 3), (k, 2)) if form.has(symbol) or loss.has(symbol)}
    generator, given = torch.Generator().manual_seed(0), dict(sizes)
    for symbol in sorted((form.free_symbols | form.atoms(MatrixSymbol)) - sizes.keys(), key=str):
        shape = [sizes[size] if size in sizes else int(size) for size in getattr(symbol, "shape", ())]
        given[symbol] = torch.rand(shape, generator=generator, dtype=torch.float64)
    found = worth(text, {symbol.name: part(number) for symbol, number in given.items()})
    exact = torch.atleast_2d(torch.as_tensor(value(form, given)))
    torch.testing.assert_close(found.of_size(len(exact)), exact)


def test_most_published_gradients_are_printed_in_the_words_of_the_book():
    found = [(as_text(gradient(q.loss, q.variable, prove=False)), as_text(q.answer)) for q in PROBLEMS]
    assert sum(ours == book for ours, book in found) >= 58


def test_a_result_says_what_it_is_the_gradient_of_as_it_was_written():
    assert repr(derivation((A * x - u).T * (A * x - u), [x])).splitlines() == [
        "the gradient of (A*x - u).T*(A*x - u)",
        "  d/dx = 2*A.T*(A*x - u)",
    ]


def test_sums_over_blocks_have_the_words_of_the_page():
    B = MatrixSymbol("B", m * n, m * n)
    loss = Trace(KroneckerProduct(P, S) * B)
    assert as_text(gradient(loss, S, prove=False)) == "overblocks(B.T, P)"
    assert as_text(gradient(loss, P, prove=False)) == "inblocks(B.T, S)"


def test_a_softmax_stays_whole_in_the_loss():
    assert as_text(Trace(S.T * softmax(X))) == "tr(S.T*softmax(X))"


def test_a_typed_expression_is_printed_as_it_was_typed(capsys):
    assert main(["norm2(A*x - b)^2 + c*x'*x", "--in", "x", "--shape", "c=", "--no-proof"]) == 0
    assert capsys.readouterr().out.splitlines()[:2] == [
        "the gradient of norm2(A*x - b)^2 + c*x'*x",
        "  d/dx = 2*A.T*(A*x - b) + 2*c*x",
    ]


def test_what_stands_in_a_long_gradient_several_times_has_a_name():
    assert repr(derivation(attention, [Q, K, V], prove=False)).splitlines()[1:] == [
        "  d/dQ = grad_M2*K/sqrt(n)",
        "  d/dK = grad_M2.T*Q/sqrt(n)",
        "  d/dV = M4.T*G",
        "  where M4 = softmax(Q*K.T/sqrt(n))",
        "  grad_M2 = M4 .* (G*V.T - row_sum(M4 .* (G*V.T))*ones(1, m))",
    ]


def test_matrices_that_are_written_out_stay_one():
    turning, B2 = Matrix([[cos(s), -sin(s)], [sin(s), cos(s)]]), MatrixSymbol("B2", 2, 2)
    text = as_text(gradient(Trace((turning * B2).T * B2), s))
    assert "Matrix([[-sin(s), cos(s)], [-cos(s), -sin(s)]])" in text and "\n" not in text


def test_a_name_stands_for_one_thing():
    u, v = x - total(x) / n * OneMatrix(n, 1), y - total(y) / n * OneMatrix(n, 1)
    text = repr(derivation(Trace(u.T * v) / sqrt(Trace(u.T * u) * Trace(v.T * v)), [x, y], prove=False))
    named = [line.split(" = ")[0].removeprefix("  where ").strip() for line in text.splitlines()[3:]]
    assert len(named) == len({*named}) > 3


def test_neighbouring_powers_of_one_matrix_are_one_power():
    for count, factors in {2: (X, X), 3: (X**2, X), 4: (X, X**3), 5: (X**2, X**3)}.items():
        assert flat_product(Integer(1), list(factors)) == MatPow(X, count)
    assert len(flat_product(Integer(1), [X, X.inv()]).args) == 2  # the identity where there is an inverse


@pytest.mark.parametrize(
    "matrix", [X, X + Y, X.applyfunc(tanh) + Y, X.applyfunc(tanh), X * Y, X.T, Identity(n)], ids=str
)
def test_a_number_times_a_matrix_keeps_its_kind_and_is_worth_so_much(matrix):
    draw = torch.Generator().manual_seed(7)
    given = {symbol: torch.randn(3, 3, generator=draw, dtype=torch.float64) for symbol in (X, Y)} | {n: 3}
    times = scaled(Rational(5, 2), matrix)
    torch.testing.assert_close(value(times, given), 2.5 * value(matrix, given))
    assert isinstance(times, MatAdd) or not isinstance(matrix, MatAdd)
