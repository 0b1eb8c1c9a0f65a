"""Gradients of matrix expressions: against autograd, against what is published, and what is refused."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from sympy import (
    Abs,
    BlockMatrix,
    Determinant,
    Function,
    HadamardProduct,
    Heaviside,
    Identity,
    KroneckerProduct,
    Lambda,
    MatrixSymbol,
    Max,
    OneMatrix,
    Rational,
    Sum,
    Symbol,
    Trace,
    ZeroMatrix,
    cosh,
    erfi,
    exp,
    log,
    nan,
    sin,
    sinh,
    sqrt,
    symbols,
)

from derive import derivation, gradient
from derive.matrix import apply, column_sum, logsumexp, relu, sigmoid, softmax, total
from derive.matrix_derivation import MatrixDerivation
from derive.programs import add
from derive.proof import NotProved
from derive.proof import expressions as certify
from tests.helpers.cookbook import PROBLEMS, A, E, S, T, W, X, a, b, c, k, m, n, s, x
from tests.helpers.expressions import computed
from tests.helpers.gate import relative
from tests.helpers.reference import value
from tests.tools import cookbook

i, j = symbols("i j", integer=True)
PAGE = cookbook.PAGE.read_text(encoding="utf-8")
SIZES = {m: 4, n: 3, k: 2}


def tensors(derived, scale=1.0, positive=False, seed=0):
    """Random float64 tensors for the inputs of a derivation; square matrices are well away from singular."""
    draw, given = torch.Generator().manual_seed(seed), {}
    for symbol in derived.original.values():
        shape = [int(size.xreplace(SIZES)) for size in symbol.shape] if isinstance(symbol, MatrixSymbol) else []
        tensor = torch.randn(shape, generator=draw, dtype=torch.float64) * scale
        if len(shape) == 2 and shape[0] == shape[1]:
            tensor += 3 * scale * torch.eye(shape[0], dtype=torch.float64)
        given[symbol] = tensor.abs() + 0.1 if positive or not shape else tensor
    return given


def emitted(derived, given, function="value_and_grad"):
    namespace = {}
    exec(derived.torch(function=function == "loss"), namespace)
    return namespace[function](**{own.name: given[symbol] for own, symbol in derived.original.items()})


def by_autograd(loss, variable, given):
    leaves = {symbol: tensor.clone().requires_grad_(symbol == variable) for symbol, tensor in given.items()}
    result = value(loss, {**leaves, **SIZES})
    if not torch.is_tensor(result) or not result.requires_grad:
        return torch.zeros_like(given[variable])
    return torch.autograd.grad(result.reshape(()), leaves[variable])[0]


def close(mine, reference, tolerance=1e-9):
    assert mine.shape == reference.shape
    assert relative(mine, reference) <= tolerance


@pytest.mark.parametrize("problem", PROBLEMS, ids=[problem.source for problem in PROBLEMS])
def test_published(problem):
    derived = derivation(problem.loss, [problem.variable])
    assert cookbook.row(problem, derived) in PAGE, "python -m tests.tools.cookbook writes it anew"
    given = tensors(derived, positive=problem.positive)
    _, (mine,) = emitted(derived, given)
    close(mine, by_autograd(problem.loss, problem.variable, given))
    for form in (problem.answer, derived.gradients[problem.variable]):
        close(mine, torch.as_tensor(value(form, {**given, **SIZES}), dtype=torch.float64).reshape(mine.shape))


def test_enough_published_problems():
    assert len(PROBLEMS) >= 60
    assert PAGE.startswith(cookbook.HEAD) and PAGE.count("\n") == cookbook.HEAD.count("\n") + len(PROBLEMS)
    assert len({problem.source for problem in PROBLEMS}) == len(PROBLEMS)


@pytest.mark.parametrize(
    ("loss", "variable", "text"),
    [
        ((A * x - b).T * (A * x - b), x, "2*A.T*(A*x - b)"),
        (log(X.det()), X, "X.T**(-1)"),
        (Trace(X.T * S * X), X, "S*X + S.T*X"),
        (Trace(X), X, "I"),
        (Trace((E - A * W).T * (E - A * W)), W, "-2*A.T*(-A*W + E)"),
        (Trace((W.T * W - Identity(k)).T * (W.T * W - Identity(k))), W, "4*W*(-I + W.T*W)"),
        (Sum(S[i, j] * x[i, 0] * x[j, 0], (i, 0, n - 1), (j, 0, n - 1)), x, "(S + S.T)*x"),
        (Sum(S[i, j] * x[i, 0] * x[j, 0], (i, 0, n - 1), (j, 0, n - 1)), S, "x*x.T"),
        (Trace((s * X * T).T * S), s, "Trace(S.T*X*T)"),
        (log(Abs(Determinant(X))), X, "X.T**(-1)"),
        (sqrt(Trace(x.T * x)), x, "1/sqrt(Trace(x.T*x))*x"),
        (Trace(b.T * HadamardProduct(A, OneMatrix(m, 1) * x.T) * OneMatrix(n, 1)), b, "A*x"),
        (Trace(OneMatrix(1, m) * HadamardProduct(A, b * OneMatrix(1, n)) * x), x, "A.T*b"),
    ],
)
def test_textbook_forms(loss, variable, text):
    assert str(gradient(loss, variable)) == text


@pytest.mark.parametrize("matrix", [S, S.T], ids=str)
def test_what_was_solved_for_is_used_again(matrix):
    """Once for the value, and backwards once for each of the two gradients."""
    code = derivation(total((matrix.inv() * x).applyfunc(sin)), [S, x]).torch()
    assert code.count("linalg.solve(") == 3
    assert "linalg.inv(" not in derivation(Trace(A.T * A * S.inv()), [A]).torch()


def naive(t):
    return 1 / (1 + exp(-t))


SATURATING = {
    "softplus": (total(x.applyfunc(lambda t: log(1 + exp(t)))), lambda t: torch.nn.functional.softplus(t).sum()),
    "sigmoid": (total(x.applyfunc(naive)), lambda t: torch.sigmoid(t).sum()),
    "sigmoid, other way": (total(x.applyfunc(lambda t: exp(t) / (1 + exp(t)))), lambda t: torch.sigmoid(t).sum()),
    "log sigmoid": (total(x.applyfunc(naive).applyfunc(log)), lambda t: torch.nn.functional.logsigmoid(t).sum()),
    "silu": (total(x.applyfunc(lambda t: t / (1 + exp(-t)))), lambda t: torch.nn.functional.silu(t).sum()),
    "log sum exp": (log(OneMatrix(1, n) * x.applyfunc(exp)), lambda t: torch.logsumexp(t, 0).squeeze()),
    "log sum exp, Trace": (log(total(x.applyfunc(exp))), lambda t: torch.logsumexp(t, 0).squeeze()),
    "softmax entry": (
        Trace(OneMatrix(n, 1).T * x.applyfunc(exp).applyfunc(lambda t: t) / total(x.applyfunc(exp))),
        lambda t: torch.softmax(t, 0).sum(),
    ),
    "log of 1 - sigmoid": (
        total(x.applyfunc(lambda t: log(1 - naive(t)))),
        lambda t: torch.nn.functional.logsigmoid(-t).sum(),
    ),
    "tanh, by sinh": (total(x.applyfunc(lambda t: sinh(t) / cosh(t))), lambda t: torch.tanh(t).sum()),
    "tanh": (total(x.applyfunc(lambda t: (exp(t) - exp(-t)) / (exp(t) + exp(-t)))), lambda t: torch.tanh(t).sum()),
}


@pytest.mark.parametrize("name", SATURATING)
@pytest.mark.parametrize("size", [1.0, 40.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_saturation(name, size, dtype):
    loss, reference = SATURATING[name]
    derived = derivation(loss, [x])
    point = torch.tensor([[-size], [size], [size / 2]], dtype=dtype)
    result, (mine,) = emitted(derived, {x: point})
    leaf = point.clone().requires_grad_()
    expected = reference(leaf)
    (theirs,) = torch.autograd.grad(expected, leaf)
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(result, expected.detach(), rtol=64 * eps, atol=0)
    torch.testing.assert_close(mine, theirs, rtol=64 * eps, atol=64 * eps)


@pytest.mark.parametrize(
    ("loss", "pieces"),
    [
        (a.T * X.inv() * c, ["torch.linalg.solve"]),
        (log(X.det()), ["torch.logdet"]),
        (log(total(X.applyfunc(exp))), ["torch.logsumexp"]),
        (total(X.applyfunc(naive)), ["torch.sigmoid"]),
        (total(X.applyfunc(lambda t: log(1 + exp(t)))), ["torch.nn.functional.logsigmoid"]),
    ],
)
def test_stable_spelling(loss, pieces):
    source = derivation(loss, [X]).torch()
    assert all(piece in source for piece in pieces)


def test_zero_only_where_absent():
    assert gradient(Trace(S), X) == ZeroMatrix(n, n)
    assert gradient(Trace(S), s) == 0


@pytest.mark.parametrize("loss", [log(X.det()), Trace(X * S) * X.det(), 1 / Trace(X), sin(Trace(X * X.T))])
def test_what_sympy_says_is_zero_is_not(loss):
    assert gradient(loss, X) != ZeroMatrix(n, n)


WRONG = [
    (
        (A * x - b).T * (A * x - b),
        x,
        [("2 * M2", "3 * M2"), ("A @ x", "A @ x + A @ x"), ("A.T @ ", "A.T @ A @ A.T @ ")],
    ),
    (log(X.det()), X, [("inv(X.T)", "inv(X)"), ("logdet(X)", "logdet(X) + X[0, 0]"), ("logdet(X)", "logdet(2 * X)")]),
    (total((X * x).applyfunc(naive)), X, [(" @ x.T", " @ x.T + X"), ("1 - ", "2 - ")]),
]


@pytest.mark.parametrize("symbols_allowed", [0, certify.MOST_SYMBOLS], ids=["at points", "with symbols"])
@pytest.mark.parametrize(("loss", "variable", "slips"), WRONG, ids=["least squares", "log det", "sigmoid"])
def test_a_wrong_gradient_is_not_proved(loss, variable, slips, symbols_allowed, monkeypatch):
    monkeypatch.setattr(certify, "MOST_SYMBOLS", symbols_allowed)
    right = derivation(loss, [variable]).torch()
    for old, new in slips:
        wrong = MatrixDerivation(loss, [variable])
        source = right.replace(old, new)
        assert source != right
        wrong.torch = lambda source=source: source
        with pytest.raises(NotProved):
            wrong.prove()


def test_a_wrong_closed_form_is_not_proved():
    wrong = MatrixDerivation(Trace(X * S), [X])
    wrong.gradients = {X: S}
    with pytest.raises(NotProved, match="closed form"):
        wrong.prove()


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (Trace(X * S), "proved: the value"),
        (total(X.applyfunc(exp)), "proved: the value"),
        (log(X.det()), "proved: the value"),
        (total((X * x).applyfunc(naive)), "proved: the value"),
        (Trace((X + S * x * x.T).inv() * T), "exact, in rational numbers, at 2 random points"),
        (total(X.applyfunc(lambda t: t**s)), "to 45 digits, at 2 random points"),
    ],
)
def test_the_certificate_says_proved_only_of_an_identity_of_symbols(loss, words):
    certificate = derivation(loss, [X]).prove()
    assert words in str(certificate)
    assert certificate.exact == ("identical, with a symbol for each entry" in str(certificate))
    assert str(certificate).startswith("proved: " if certificate.exact else "checked numerically: the value")
    (shown,), said = certificate.shown, json.loads(certificate.json())
    assert (shown.entries, shown.checked)[not certificate.exact] == 5 and said["exact"] is certificate.exact
    assert said["loss"] == str(loss) and next(iter(said["sha256"].values())) in str(certificate)


K, P, W = MatrixSymbol("K", 8, 8), MatrixSymbol("P", 2, 2), MatrixSymbol("W", 21, 20)
R = apply(lambda t: 1 / (1 + t), HadamardProduct(P.T, P))


@pytest.mark.parametrize(
    ("loss", "variable", "words"),
    [
        (Trace(K.inv()), K, "exact, in rational numbers"),
        (Trace(K**12), K, "exact, in rational numbers"),
        (Trace(W.T * W), W, "to 45 digits"),
        (log(K.det()), K, "to 45 digits"),
        (Trace((apply(exp, K) + Identity(8)).inv()), K, "to 45 digits"),
        (Trace((apply(lambda t: Max(t, 0), K) + Identity(8)).inv()), K, "to 45 digits"),
        (Trace((R.T * R + Identity(2)).inv()), P, "exact, in rational numbers"),
    ],
)
def test_what_is_too_long_to_write_out_is_proved_in_seconds(loss, variable, words):
    assert words in str(derivation(loss, [variable]).prove())


def test_what_would_take_hours_is_refused_and_says_what_would_not():
    huge = MatrixSymbol("H", 1000, 1000)
    with pytest.raises(NotProved, match=r"^tr\(H\): 1000000 entries are too many .* sizes that are symbols"):
        derivation(Trace(huge), [huge])
    assert derivation(Trace(huge), [huge], prove=False).gradients == {huge: Identity(1000)}
    with pytest.raises(ValueError, match=r"K\*\*51; it stands at Trace; powers from -50 to 50 are derived$"):
        derivation(Trace(K**51), [K])


@pytest.mark.parametrize("problem", PROBLEMS[::7], ids=[problem.source for problem in PROBLEMS[::7]])
def test_function_passes_gradcheck(problem):
    derived = derivation(problem.loss, [problem.variable])
    given = tensors(derived, positive=problem.positive)
    own = next(own for own, symbol in derived.original.items() if symbol == problem.variable)
    namespace = {}
    exec(derived.torch(function=True), namespace)
    rest = {o.name: given[symbol] for o, symbol in derived.original.items() if o != own}

    def function(variable):
        return namespace["loss"](**rest, **{own.name: variable})

    assert torch.autograd.gradcheck(function, given[problem.variable].clone().requires_grad_())


def test_a_function_refuses_a_second_derivative():
    derived = derivation(Trace(X.T * X), [X])
    given = {symbol: tensor.requires_grad_() for symbol, tensor in tensors(derived).items()}
    (slope,) = torch.autograd.grad(emitted(derived, given, "loss"), given[X])
    close(slope, 2 * given[X].detach())
    with pytest.raises(RuntimeError, match=r"^create_graph: no second derivative is derived"):
        torch.autograd.grad(emitted(derived, given, "loss"), given[X], create_graph=True)


@pytest.mark.parametrize(
    "loss",
    [
        x.T * X * x,
        total((X * x).applyfunc(sin)),
        log(OneMatrix(1, n) * (X * x).applyfunc(exp)),
        Trace(x.T * (X + x * x.T).inv() * x),
        exp(-Trace(x.T * x) / 2),
        total(softmax((X * x).T) * x),
        x.T * relu(X * relu(X.T * x)),
    ],
)
def test_hvp_and_hessian(loss):
    v = MatrixSymbol("v", n, 1)
    derived = derivation(loss, [x])
    product = derived.hvp(v)
    given = tensors(product)
    _, (mine,) = emitted(product, given)

    def function(point):
        return value(loss, {**given, x: point, **SIZES}).reshape(())

    _, reference = torch.autograd.functional.hvp(function, given[x], given[v])
    close(mine, reference)
    hessian = value(derived.hessian(x), {**given, **SIZES})
    close(hessian, torch.autograd.functional.hessian(function, given[x]).reshape(3, 3))


def test_the_hessian_of_what_is_linear_is_zero():
    assert derivation(b.T * A * x, [x], prove=False).hessian(x) == ZeroMatrix(n, n)


def test_the_hessian_of_least_squares_reads_as_in_a_textbook():
    assert str(derivation((A * x - b).T * (A * x - b), [x]).hessian(x)) == "2*A.T*A"


F = Function("F")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: X, ["1 x 1", "Trace"]),
        (lambda: total(X.applyfunc(F)), ["ElementwiseApplyFunction", "sin(t)"]),
        (lambda: Trace(X ** Rational(1, 2)), ["MatPow", "Trace", "whole number"]),
        (lambda: Trace(A.T * A) + Trace(A * b), ["square"]),
        (lambda: "__import__('os').mkdir('canary')", ["loss: expected a SymPy expression, got str"]),
        (lambda: None, ["loss: expected a SymPy expression, got NoneType"]),
        (lambda: [X], ["loss: expected a SymPy expression, got list"]),
        (lambda: Lambda(s, s), ["loss: expected a SymPy expression, got IdentityFunction"]),
        (
            lambda: total(apply(lambda u: "__import__('os').mkdir('canary')", X)),
            ["apply: expected a function", "got str"],
        ),
        (lambda: nan, ["NaN is not supported", "finite"]),
        (lambda: 2**5000 * Trace(X), ["Integer is not supported", "1.8e308"]),
        (lambda: erfi(Trace(X)), ["torch has no function for erfi"]),
    ],
)
def test_refusals_say_what_where_and_what_instead(make, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, TypeError)) as error:
        derivation(make(), [X])
    assert "\n" not in str(error.value)
    assert all(word in str(error.value) for word in words)
    assert os.listdir() == []


@pytest.mark.parametrize("variables", [None, 5, "X", ["X"], [2 * X], [], [X, X]], ids=str)
def test_what_is_no_variable_is_named(variables):
    with pytest.raises((ValueError, TypeError), match=r"^variables: "):
        derivation(Trace(X), variables)


@pytest.mark.parametrize("directions", [(), (3,), ("x",), (x.T,), ({b: b},), (x, b)], ids=str)
def test_what_is_no_direction_is_named(directions):
    with pytest.raises((ValueError, TypeError), match=r"^hvp: "):
        derivation((A * x - b).T * (A * x - b), [x]).hvp(*directions)


def test_bad_tensors_are_named():
    derived = derivation((A * x - b).T * (A * x - b), [x])
    given = tensors(derived)
    with pytest.raises(ValueError, match="x: expected 2 dimensions"):
        emitted(derived, {**given, x: given[x].flatten()})
    with pytest.raises(ValueError, match="b: expected shape"):
        emitted(derived, {**given, b: given[b].T})
    with pytest.raises(TypeError, match=r"x: expected torch\.float64"):
        emitted(derived, {**given, x: given[x].float()})


def test_names_that_python_cannot_have():
    lam, two = Symbol("lambda"), MatrixSymbol("2X", 2, 2)
    derived = derivation(lam * Trace(two.T * two), [two, lam])
    assert "lambda_: torch.Tensor" in derived.torch()
    with pytest.raises(ValueError, match="rename"):
        derivation(Symbol("X") * Trace(X), [X])


def test_blocks_formulas_and_softmax():
    stacked = BlockMatrix([[X, S], [S, X.T]])
    for loss in (
        Trace(stacked * stacked),
        total(apply(lambda p, q: p * exp(q), X, S)),
        total(HadamardProduct(S, softmax(X))),
        total(softmax(X.T)) * Trace(X),
        total(HadamardProduct(S, X.T.applyfunc(exp))) / total(X.T.applyfunc(exp)),
        total(logsumexp(x.T * X * x)) * total(softmax((X * x).T).T + x),
        x.T * x * softmax(x.T) * softmax(x.T).T * x.T * x,
        total(apply(sin, apply(exp, X) * S)) + total(column_sum(apply(exp, X)) * x),
        total(logsumexp(X * S)) + X[0, 1] ** 2,
        Trace((X + s * Identity(n)).inv()),
    ):
        derived = derivation(loss, [X])
        given = tensors(derived)
        close(emitted(derived, given)[1][0], by_autograd(loss, X, given))


def test_emitted_source_is_formatted(tmp_path):
    for index, problem in enumerate(PROBLEMS):
        source = derivation(problem.loss, [problem.variable], prove=False).torch(function=True)
        (tmp_path / f"p{index}.py").write_text(source)
    command = [sys.executable, "-m", "ruff"]
    for task in (["format", "--check", "--line-length", "120"], ["check", "--line-length", "120"]):
        done = subprocess.run([*command, *task, str(tmp_path)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-3000:]


def test_shape_comments_hold():
    checked = 0
    for problem in PROBLEMS[::5]:
        derived = derivation(problem.loss, [problem.variable], prove=False)
        given = tensors(derived, positive=problem.positive)
        lines = []
        for line in derived.torch().splitlines():
            lines.append(line)
            if line.startswith("    ") and " = " in line and line.endswith(")") and "  # (" in line:
                name, shape = line.split(" = ")[0].strip(), line.rpartition("  # ")[2]
                if name.isidentifier():
                    lines.append(f"    assert {name}.shape == {shape}, {name!r}")
                    checked += 1
        namespace = {}
        exec("\n".join(lines), namespace)
        namespace["value_and_grad"](**{own.name: given[symbol] for own, symbol in derived.original.items()})
    assert checked >= 3 * len(PROBLEMS[::5])


def test_sums_with_indices():
    i, j, k_ = symbols("i j k_", integer=True)
    square = Sum(Sum(A[i, j] * x[j, 0], (j, 0, n - 1)) ** 2, (i, 0, m - 1))
    cyclic = Sum(X[i, j] * S[j, k_] * X[k_, i], (i, 0, n - 1), (j, 0, n - 1), (k_, 0, n - 1))
    pairs = Sum((x[i, 0] - x[j, 0]) ** 2 * X[i, j], (i, 0, n - 1), (j, 0, n - 1))
    for loss, variable in [(square, x), (cyclic, X), (pairs, x), ((x.T * S * x)[0, 0], x)]:
        derived = derivation(loss, [variable])
        given = tensors(derived)
        close(emitted(derived, given)[1][0], by_autograd(loss, variable, given))


def test_sizes_of_one():
    row, column, one = MatrixSymbol("row", 1, 3), MatrixSymbol("column", 3, 1), MatrixSymbol("one", 1, 1)
    for loss, variable in [(row * column, row), (row * S.subs(n, 3) * row.T, row), (exp(Trace(one)), one)]:
        derived = derivation(loss, [variable])
        given = tensors(derived)
        close(emitted(derived, given)[1][0], by_autograd(loss, variable, given))


@pytest.mark.parametrize(("left", "right"), [(A, X), (A.T, b.T), (b, A), (relu(A), b)], ids=str)
def test_a_kronecker_product_takes_matrices_however_they_lie_in_memory(left, right):
    loss = Trace(KroneckerProduct(left, right) * KroneckerProduct(left, right).T)
    derived = derivation(loss, loss.atoms(MatrixSymbol))
    given = tensors(derived)
    found = emitted(derived, {symbol: tensor.T.contiguous().T for symbol, tensor in given.items()})[1]
    for variable, slope in zip(derived.variables, found, strict=True):
        close(slope, by_autograd(loss, variable, given))


def test_symbolic_size_in_the_loss():
    loss = total((A * x - b).applyfunc(lambda t: t**2)) / symbols("m", integer=True, positive=True)
    derived = derivation(loss, [x])
    given = tensors(derived)
    close(emitted(derived, given)[1][0], by_autograd(loss, x, given))


@pytest.mark.parametrize("problem", PROBLEMS[::4], ids=[problem.source for problem in PROBLEMS[::4]])
def test_the_derivation_can_be_read(problem):
    derived = derivation(problem.loss, [problem.variable], prove=False)
    assert derived._repr_latex_() == derived.latex()
    assert derived.latex().count(r"\\") == len(derived.derivation.equations) - 1
    assert "## Backward pass" in derived.markdown()


def test_decimals_are_what_they_say():
    assert gradient(0.1 * Trace(X.T * X), X) == X / 5


@pytest.mark.parametrize("loss", [X.det(), log(X.det()), Trace(X.inv())])
def test_a_singular_matrix_is_refused_and_the_source_says_so(loss):
    derived = derivation(loss, [X])
    assert "is singular, it raises LinAlgError" in derived.torch()
    with pytest.raises(torch.linalg.LinAlgError):
        emitted(derived, {X: torch.ones(3, 3, dtype=torch.float64)})


def test_log_det_of_a_negative_determinant_is_nan_as_in_torch():
    derived = derivation(log(X.det()), [X])
    assert "nan where the determinant is negative" in derived.torch()
    result, _ = emitted(derived, {X: -torch.eye(3, dtype=torch.float64)})
    assert torch.isnan(result)


@pytest.mark.parametrize(
    "word", ["grad_W", "dot_W", "diff_W", "Delta3", "M", "M1", "value", "loss", "gradients", "result", "self"]
)
def test_a_name_of_an_input_is_just_a_name(word):
    """In code it is the argument's, beside the local names of what is computed."""
    W, named = MatrixSymbol("W", m, n), MatrixSymbol(word, n, n)
    loss = total((W * named).applyfunc(exp)) + total(HadamardProduct(W * named, W))
    derived = derivation(loss, [W, named], prove=False)
    given = {W: torch.randn(4, 3, dtype=torch.float64), named: torch.randn(3, 3, dtype=torch.float64)}
    assert max(derived.compare(**{str(symbol): tensor for symbol, tensor in given.items()}).values()) < 1e-12
    for function in ("value_and_grad", "loss"):
        namespace = {}
        exec(derived.torch(function=True), namespace)
        leaves = {symbol.name: tensor.clone().requires_grad_() for symbol, tensor in given.items()}
        result = namespace[function](**leaves)
        found = result[1] if function == "value_and_grad" else torch.autograd.grad(result, list(leaves.values()))
        for variable, mine in zip((W, named), found, strict=True):
            close(mine, by_autograd(loss, variable, given))


def test_a_number_may_be_called_as_the_letters_of_a_formula():
    (u0, u1), (named, y) = symbols("u0 u1", real=True), (MatrixSymbol(name, 2, 3) for name in "Ay")
    loss = total(apply(lambda u, t: u0 * u + exp(u1 * u * t) / (1 + u0 * u**2 + t**2), named, y))
    derived = derivation(loss, [named, u0])
    given = {s: torch.rand(s.shape if s in (named, y) else (), dtype=torch.float64) for s in (u0, u1, named, y)}
    leaves = {s: tensor.clone().requires_grad_() for s, tensor in given.items()}
    a, b, first, second = (leaves[s] for s in (named, y, u0, u1))
    expected = (first * a + torch.exp(second * a * b) / (1 + first * a**2 + b**2)).sum()
    for variable, wanted in zip((named, u0), torch.autograd.grad(expected, [a, first]), strict=True):
        close(getattr(computed(derived, **{s.name: tensor for s, tensor in given.items()})[1], variable.name), wanted)
        close(torch.as_tensor(value(derived.gradients[variable], given)), wanted)


@pytest.mark.parametrize("word", ["exp1", "exp_z", "sigmoid2", "sigmoid_"])
def test_an_input_that_is_called_as_a_part_of_a_network_is_computed_as_any_other(word):
    """Values of exp that a formula is made of are multiplied first; that is no matter of what an input is called."""
    codes = []
    for name in (word, "exterior"):
        named = MatrixSymbol(name, m, n)
        loss = total(apply(lambda u, t: u * (1 + t) ** 2 * sin(t), named, MatrixSymbol("y", m, n)))
        codes.append(derivation(loss, [named], prove=False).torch().replace(name, "exterior"))
    assert codes[0] == codes[1]


def test_what_the_readme_shows_is_what_comes_out():
    """Each line whose comment is a result; the first is SymPy's, and wrong."""
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    block = next(block for block in re.findall(r"```python\n(.*?)```", text, re.S) if "derivation(" in block)
    names: dict[str, object] = {}
    shown = {}
    for line in block.splitlines():
        code, _, result = line.partition("  # ")
        if re.match(r"(log|d\.(gradients|hessian))", code):
            shown[code] = (str(eval(code, names)), result)
        else:
            exec(code, names)
    assert len(shown) == 3
    assert shown["log(Determinant(S)).diff(S)"][0] == "0", "SymPy has learned it: show something that it gets wrong"
    assert all(found == result for found, result in shown.values()), shown


@pytest.mark.parametrize("at_zero", [0, Rational(1, 4), Rational(1, 2), 1])
def test_a_step_has_the_value_at_zero_that_it_says(at_zero):
    t = Symbol("t")
    derived = derivation((t + 3) * Heaviside(t, at_zero), [t])
    for point, step in ((-1.0, 0.0), (0.0, float(at_zero)), (1.0, 1.0)):
        value, gradients = computed(derived, t=torch.tensor(point, dtype=torch.float64))
        assert (value, gradients.t) == ((point + 3) * step, step)


def test_relu_and_sigmoid_are_torchs_at_zero_too():
    X = MatrixSymbol("X", 2, 3)
    derived = derivation(total(relu(X)) + total(sigmoid(X)), [X])
    x = torch.tensor([[-1.0, 0.0, 2.0], [0.0, -40.0, 40.0]], dtype=torch.float64, requires_grad=True)
    expected = x.relu().sum() + x.sigmoid().sum()
    value, gradients = computed(derived, X=x.detach())
    torch.testing.assert_close(value, expected.detach())
    torch.testing.assert_close(gradients.X, torch.autograd.grad(expected, x)[0], rtol=1e-14, atol=0)


def test_the_sweep_keeps_what_each_use_of_a_symbol_sends_back_and_what_has_no_name():
    y = MatrixSymbol("y", m, 1)
    d = derivation(Trace((A * x - y).T * (A * x - y)) + Trace(x.T * x) + Trace(y.T * y), [x], prove=False).derivation
    for step in d.backward:
        uses = [equation for equation, _ in d.ways[step.variable]]
        assert uses == [equation for equation in d.program.equations if step.variable in equation.uses]
        assert add([sent for _, sent in reversed(d.ways[step.variable])], step.value.shape) == step.value
        assert d.cotangents[step.variable] == step.target
    named = {step.variable: step.target for step in d.backward}
    unnamed = {value for symbol, value in d.cotangents.items() if symbol not in named}
    assert OneMatrix(1, 1) in unnamed and unnamed & {*named.values()}  # a number, or another one repeated
    assert all(value.atoms(MatrixSymbol) <= {*named.values()} for value in unnamed)
    alone = {equation.target for equation in d.program.equations if equation.uses == (y,)}
    assert alone and not d.cotangents.keys() & alone  # the loss does not move with x through them


def test_pages_are_saved_over_what_others_wrote_by_force_alone_and_with_a_pdf_if_asked(tmp_path, monkeypatch):
    d = derivation(Trace(X.T * X), [X], prove=False)
    (tmp_path / "gradient.py").write_text("of a person's own")
    with pytest.raises(FileExistsError, match=r"gradient\.py: not written by derive\.build; .* or add --force"):
        d.save(tmp_path)
    d.save(tmp_path, force=True)
    assert {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()} == d.pages
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(FileNotFoundError, match="needs pdflatex"):
        d.save(tmp_path, pdf=True)


def test_a_minus_stands_in_front_of_the_number():
    assert "    grad_s1 = -2 * s1  # ()\n" in derivation(total(sigmoid(W)) - total(W) ** 2, [W], prove=False).torch()
