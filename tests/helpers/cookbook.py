"""Published gradients: where they are printed, the loss, the variable, and the answer that is printed there.

MC is Petersen & Pedersen, The Matrix Cookbook (2012), by equation; MN is Magnus & Neudecker, Matrix Differential
Calculus; the others are named. Where a book has a symmetric matrix, the answer is the one for independent entries.
"""

from dataclasses import dataclass, field

from sympy import (
    Abs,
    Determinant,
    DiagMatrix,
    DiagonalMatrix,
    Expr,
    HadamardPower,
    HadamardProduct,
    Identity,
    KroneckerProduct,
    MatMul,
    MatrixSymbol,
    OneMatrix,
    Piecewise,
    Rational,
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

from derive.matrix import apply, diagonal, logsumexp, row_sum, softmax, total
from derive.programs import BlockSum

m, n, k = symbols("m n k", integer=True, positive=True)
s = Symbol("s", real=True)
A, D, E = MatrixSymbol("A", m, n), MatrixSymbol("D", n, k), MatrixSymbol("E", m, k)
S, T, X = (MatrixSymbol(name, n, n) for name in "STX")
F, P = MatrixSymbol("F", k, m), MatrixSymbol("P", m, m)
Z, Y = MatrixSymbol("Z", m, n), MatrixSymbol("Y", m, n)
W = MatrixSymbol("W", n, k)
a, b, x = MatrixSymbol("a", n, 1), MatrixSymbol("b", m, 1), MatrixSymbol("x", n, 1)
c, y = MatrixSymbol("c", n, 1), MatrixSymbol("y", m, 1)
one_m, one_n = OneMatrix(m, 1), OneMatrix(n, 1)
invX, invXT = X.inv(), X.T.inv()


@dataclass(frozen=True)
class Problem:
    source: str
    loss: Expr
    variable: Expr
    answer: Expr
    positive: bool = field(default=False)


def logistic(t):
    return 1 / (1 + exp(-t))


r = A * x - b
R = Z * D - E
M_ = x.T * S * x

PROBLEMS = [
    # determinants
    Problem("MC 49", Determinant(X), X, Determinant(X) * invXT),
    Problem("MC 51", Determinant(S * X * T), X, Determinant(S * X * T) * invXT),
    Problem("MC 53", Determinant(Z.T * Z), Z, 2 * Determinant(Z.T * Z) * Z * (Z.T * Z).inv()),
    Problem("MC 55", log(Determinant(Z.T * Z)), Z, 2 * Z * (Z.T * Z).inv()),
    Problem("MC 57", log(Determinant(X)), X, invXT),
    Problem("MC 58", Determinant(X**3), X, 3 * Determinant(X) ** 3 * invXT),
    # inverses
    Problem("MC 61", a.T * X.inv() * c, X, -invXT * a * c.T * invXT),
    Problem("MC 62", Determinant(X.inv()), X, -Determinant(X.inv()) * invXT),
    Problem("MC 63", Trace(S * X.inv() * T), X, -(X.inv() * T * S * X.inv()).T),
    Problem("MC 64", Trace((X + S).inv()), X, -((X + S).inv() * (X + S).inv()).T),
    # first order
    Problem("MC 69", x.T * a, x, a),
    Problem("MC 70", b.T * Z * a, Z, b * a.T),
    Problem("MC 71", a.T * Z.T * b, Z, b * a.T),
    Problem("MC 72", a.T * X * a, X, a * a.T),
    # second order
    Problem("MC 77", b.T * Z * Z.T * b, Z, 2 * b * b.T * Z),
    Problem("MC 76", total(X) ** 2, X, 2 * Trace(OneMatrix(n, n) * X) * OneMatrix(n, n)),
    Problem("MC 78", (S * x + a).T * T * (X * x + c), x, S.T * T * (X * x + c) + X.T * T.T * (S * x + a)),
    Problem("MC 81", M_, x, (S + S.T) * x),
    Problem("MC 82", a.T * X.T * S * X * c, X, S.T * X * a * c.T + S * X * c * a.T),
    Problem("MC 83", (X * a + c).T * S * (X * a + c), X, (S + S.T) * (X * a + c) * a.T),
    Problem("MC 84", (x - S * a).T * T * (x - S * a), a, -S.T * (T + T.T) * (x - S * a)),
    Problem("MC 86", (x - a).T * T * (x - a), x, (T + T.T) * (x - a)),
    Problem("MC 88", (x - S * a).T * T * (x - S * a), S, -(T + T.T) * (x - S * a) * a.T),
    Problem("MC 91", a.T * X**3 * c, X, a * c.T * X.T**2 + X.T * a * c.T * X.T + X.T**2 * a * c.T),
    Problem("MC 97", x.T * S * x + a.T * x, x, (S + S.T) * x + a),
    # traces
    Problem("MC 99", Trace(X), X, Identity(n)),
    Problem("MC 100", Trace(X * S), X, S.T),
    Problem("MC 101", Trace(P * Z * A.T), Z, P.T * A),
    Problem("MC 102", Trace(P * Z * S * Z.T), Z, P.T * Z * S.T + P * Z * S),
    Problem("MC 104", Trace(X.T * S), X, S),
    Problem("MC 105", Trace(KroneckerProduct(S, X)), X, Trace(S) * Identity(n)),
    Problem("MC 106", Trace(X**2), X, 2 * X.T),
    Problem("MC 107", Trace(X**2 * S), X, (X * S + S * X).T),
    Problem("MC 108", Trace(X.T * S * X), X, S * X + S.T * X),
    Problem("MC 115", Trace(Z.T * Z), Z, 2 * Z),
    Problem("MC 116", Trace(T.T * X.T * S * X * T), X, S.T * X * T * T.T + S * X * T * T.T),
    Problem("MC 117", Trace(X.T * S * X * T), X, S * X * T + S.T * X * T.T),
    Problem("MC 119", Trace(R * R.T), Z, MatMul(2, R, D.T)),
    Problem("MC 121", Trace(X**4), X, 4 * X.T**3),
    Problem("MC 122", Trace(S * X**2), X, (X * S + S * X).T),
    Problem("MC 124", Trace(S * X.inv() * T), X, -(X.inv() * T * S * X.inv()).T),
    Problem(
        "MC 126",
        Trace((Z.T * P * Z).inv() * S),
        Z,
        -P * Z * (Z.T * P * Z).inv() * S * (Z.T * P * Z).inv()
        - P.T * Z * (Z.T * P.T * Z).inv() * S.T * (Z.T * P.T * Z).inv(),
    ),
    # norms
    Problem("MC 129", sqrt(Trace((x - a).T * (x - a))), x, (x - a) / sqrt(Trace((x - a).T * (x - a)))),
    Problem("MC 131", x.T * x, x, 2 * x),
    Problem("MC 132", Trace(Z * Z.T), Z, 2 * Z),
    Problem("matrixcalculus.org, Frobenius norm", sqrt(Trace(X.T * X)), X, X / sqrt(Trace(X.T * X))),
    # statistics and learning
    Problem("Boyd & Vandenberghe 1.2.1, least squares", r.T * r, x, 2 * A.T * r),
    Problem("Hastie et al. 3.43, ridge", r.T * r + s * (x.T * x), x, 2 * A.T * r + 2 * s * x),
    Problem("Hastie et al. 3.43, in the penalty", Trace(r.T * r) + s * Trace(x.T * x), s, Trace(x.T * x)),
    Problem(
        "Bishop 4.91, logistic regression",
        -total(HadamardProduct(y, (A * x).applyfunc(lambda t: log(logistic(t)))))
        - total(HadamardProduct(one_m - y, (A * x).applyfunc(lambda t: log(1 - logistic(t))))),
        x,
        A.T * ((A * x).applyfunc(logistic) - y),
    ),
    Problem(
        "Bishop 4.109, softmax regression",
        total(logsumexp(Z * D)) - Trace(E.T * Z * D),
        D,
        Z.T * (softmax(Z * D) - E),
    ),
    Problem(
        "Boyd & Vandenberghe A.4.2, log sum exp",
        log(one_m.T * (A * x + b).applyfunc(exp)),
        x,
        A.T * apply(lambda t, w: exp(t) / w, A * x + b, one_m * (one_m.T * (A * x + b).applyfunc(exp))),
    ),
    Problem(
        "Bishop 2.117, Gaussian likelihood in the mean",
        Rational(-1, 2) * (x - a).T * S.inv() * (x - a),
        a,
        (S.inv() + S.T.inv()) * (x - a) / 2,
    ),
    Problem(
        "MC 396, Gaussian likelihood in the covariance",
        -log(Determinant(X)) / 2 - Trace(a.T * X.inv() * a) / 2,
        X,
        -invXT / 2 + invXT * a * a.T * invXT / 2,
    ),
    Problem(
        "Rayleigh quotient, MN 18.12",
        Trace(x.T * S * x) / Trace(x.T * x),
        x,
        (S + S.T) * x / Trace(x.T * x) - 2 * Trace(x.T * S * x) / Trace(x.T * x) ** 2 * x,
    ),
    Problem("Lee & Seung, factorisation", Trace((Y - A * S).T * (Y - A * S)), S, -2 * A.T * (Y - A * S)),
    Problem(
        "Rumelhart et al., one hidden layer",
        Trace((E - Z.applyfunc(tanh) * W).T * (E - Z.applyfunc(tanh) * W)) / 2,
        Z,
        HadamardProduct((Z.applyfunc(tanh) * W - E) * W.T, Z.applyfunc(lambda t: 1 - tanh(t) ** 2)),
    ),
    Problem(
        "Huber 1964",
        total(r.applyfunc(lambda t: Piecewise((t**2 / 2, Abs(t) <= 1), (Abs(t) - Rational(1, 2), True)))),
        x,
        A.T * r.applyfunc(lambda t: Piecewise((t, Abs(t) <= 1), (t / Abs(t), True))),
    ),
    # entry by entry
    Problem("Minka 2000, Hadamard", total(HadamardProduct(A, Z)), Z, A),
    Problem("Minka 2000, Hadamard power", total(HadamardPower(Z, 3)), Z, 3 * HadamardPower(Z, 2)),
    Problem("MN 9.14, functions", total(Z.applyfunc(sin)), Z, Z.applyfunc(cos)),
    Problem(
        "SymPy issue 25118, product of function and matrix",
        a.T * (X * x).applyfunc(sin),
        x,
        X.T * HadamardProduct(a, (X * x).applyfunc(cos)),
    ),
    Problem("SymPy issue 21347, quotient of traces", 1 / Trace(X), X, -Identity(n) / Trace(X) ** 2),
    Problem(
        "matrixcalculus.org, exp of a quadratic form",
        exp(-Trace(x.T * S * x) / 2),
        x,
        -exp(-Trace(x.T * S * x) / 2) * (S + S.T) * x / 2,
    ),
    Problem("Minka 2000, diagonal matrix", Trace(S * DiagMatrix(x)), x, diagonal(S)),
    Problem("Minka 2000, diagonal of a product", Trace(S * DiagonalMatrix(X)), X, DiagonalMatrix(S)),
    Problem("MN 9.10, diagonal scaling", Trace(S * DiagMatrix(x) * T), x, diagonal(T * S)),
    Problem(
        "MN 9.12, Kronecker",
        Trace(KroneckerProduct(A, X).T * MatrixSymbol("K", m * n, n * n)),
        A,
        BlockSum(MatrixSymbol("K", m * n, n * n), X, False),
    ),
    Problem("row sums", row_sum(Z).T * row_sum(Z), Z, 2 * Z * one_n * one_n.T),
    Problem("entropy", total(x.applyfunc(lambda t: t * log(t))), x, x.applyfunc(lambda t: log(t) + 1), positive=True),
    Problem("an entry", X[0, 1] ** 2, X, 2 * X[0, 1] * (Identity(n)[:, 0:1] * Identity(n)[:, 1:2].T)),
    Problem("absent", Trace(S.T * S), X, ZeroMatrix(n, n)),
]
