"""The functions and operators that typed text has, and what to write for those that it has not."""

from collections.abc import Callable
from difflib import get_close_matches
from operator import add, mul, neg, sub, truediv

from sympy import (
    Abs,
    Determinant,
    DiagMatrix,
    Expr,
    HadamardPower,
    HadamardProduct,
    KroneckerProduct,
    MatMul,
    MatrixExpr,
    Trace,
    log,
    sqrt,
)

from derive.formulas import ELEMENTWISE
from derive.matrix import apply, column_sum, diagonal, log_softmax, logsumexp, row_sum, softmax, total
from derive.programs import flat

NO_SUCH_SIGN = "an expression is tr(A'*X), say"
MATRIX_FUNCTIONS: dict[str, tuple[str, Callable[..., Expr]]] = {  # what comes out, and how
    "tr": ("number of a square", Trace),
    "trace": ("number of a square", Trace),
    "det": ("number of a square", Determinant),
    "logdet": ("number of a square", lambda X: log(Determinant(X))),
    "sum": ("number", total),
    "total": ("number", total),
    "mean": ("number", lambda X: total(X) / (X.shape[0] * X.shape[1])),
    "norm": ("number", lambda X: sqrt(Trace(X.T * X))),
    "norm2": ("number", lambda X: sqrt(Trace(X.T * X))),
    "norm1": ("number", lambda X: total(X.applyfunc(Abs))),
    "inv": ("square", lambda X: X.inv()),
    "transpose": ("turned", lambda X: X.T),
    "diag": ("diagonal", lambda X: DiagMatrix(X) if 1 in X.shape else diagonal(X)),
    "row_sum": ("column", row_sum),
    "column_sum": ("row", column_sum),
    "logsumexp": ("column", logsumexp),
    "softmax": ("same", softmax),
    "log_softmax": ("same", log_softmax),
}
OTHER_WORDS = {  # what is written for functions that others have
    **dict.fromkeys(("chol", "cholesky"), "inv(S)*x and logdet(S) are computed without it"),
    **dict.fromkeys(("derivative", "diff", "grad", "gradient"), "type the loss itself; --in says in what"),
    **dict.fromkeys(("dot", "inner"), "x'*y is that number"),
    **dict.fromkeys(("eig", "eigvals", "svd"), "tr(A), det(A) and norm(A) are computed without it"),
    **dict.fromkeys(
        ("expm", "logm", "sqrtm"), "a polynomial, as I + X + X^2/2, is derived; exp(X) acts entry by entry"
    ),
    **dict.fromkeys(("integral", "integrate", "limit"), "work it out first, and type the result"),
    "ln": "log(x) is it",
    "hadamard": "A.*B is the product entry by entry",
    "matmul": "A*B is the product",
    "nuclear": "it is the least of (norm(U)^2 + norm(V)^2)/2 where U*V' is the matrix",
    **dict.fromkeys(("std", "var"), "norm(x - mean(x)*ones)^2/n is the variance of x"),
    "pinv": "inv(A'*A)*A' is it, where A has full column rank",
    "vec": "vec(A)'*vec(B) is tr(A'*B)",
}
NOT_TYPED = {  # what is written for signs that have no meaning here
    "|": "norm(x) is ||x||, abs(c) is |c|, and det(A) is |A|",
    "[": "an entry is not typed; in Python it is X[0, 0]",
    "=": "type what stands right of = alone; row_sum(X) and column_sum(X) are along an axis",
    "\\": "inv(A)*b is A\\b",
    ".": "a function stands before what it is of: sum(x), inv(A), norm(x)",
}


def instead(name: str, count: int) -> str:
    """What to write for a function that there is not."""
    if name in MATRIX_FUNCTIONS:
        return f"one matrix is expected, got {'a number' if count == 1 else f'{count} arguments'}"
    known = [*MATRIX_FUNCTIONS, "kron", *(known for known in ELEMENTWISE if known != "where")]
    near = get_close_matches(name.lower(), [one for one in known if one[0] == name[0].lower()], 1)
    there = f"there are {', '.join([*MATRIX_FUNCTIONS, 'kron'])}, and entry by entry exp, log, tanh, relu and others"
    meant = OTHER_WORDS.get(name.lower()) or (f"did you mean {near[0]}?" if near else there)
    return f"no such function of {count} argument{'s' * (count > 1)}; {meant}"


def kronecker_product(left: MatrixExpr, right: MatrixExpr) -> MatrixExpr:
    """Numbers stand in front: of a product of matrices SymPy takes them out itself, and fails."""
    (a, lefts), (b, rights) = flat(left), flat(right)
    return a * b * KroneckerProduct(MatMul(*lefts).doit(deep=False), MatMul(*rights).doit(deep=False))


def entry_by_entry_of(function: Callable[..., Expr], values: list[Expr]) -> Expr:
    """A function of numbers, and of the entries of those values that are matrices."""

    def formula(*entries: Expr) -> Expr:
        left = iter(entries)
        return function(*(next(left) if isinstance(value, MatrixExpr) else value for value in values))

    matrices = [value for value in values if isinstance(value, MatrixExpr)]
    if len(matrices) == 1:
        return matrices[0].applyfunc(formula)
    return apply(formula, *matrices) if matrices else formula()


MADE_OF_NUMBERS: dict[str, Callable[..., Expr]] = {
    **{"negative": neg, "+": add, "-": sub, "product": mul, "scaled": mul, "over": truediv, "power": pow},
    **{"transpose": lambda number: number, "kron": mul, "entry power": pow, ".*": mul, "./": truediv},
}
MADE_OF_MATRICES = {
    **MADE_OF_NUMBERS,
    "transpose": lambda X: X.T,
    "kron": lambda X, Y: kronecker_product(X, Y) if isinstance(Y, MatrixExpr) else X * Y,
    "entry power": HadamardPower,
    ".*": HadamardProduct,
    "./": lambda X, Y: HadamardProduct(X, HadamardPower(Y, -1)),
}
