"""python -m derive.gradient: typed expressions against the same in SymPy's words; what is written; what is refused."""

import os
import re

import numpy
import pytest
import torch
from sympy import (
    Determinant,
    DiagMatrix,
    HadamardProduct,
    MatrixSymbol,
    Max,
    Rational,
    Symbol,
    Trace,
    exp,
    log,
    pi,
    sqrt,
    symbols,
)

from derive import derivation, matrix_text
from derive.gradient import main
from derive.matrix import apply, relu, softmax, total

n, m, k = symbols("n m k", integer=True, positive=True)
x, y, w, b = (MatrixSymbol(name, n, 1) for name in "xywb")
A, X, S = MatrixSymbol("A", m, n), MatrixSymbol("X", m, n), MatrixSymbol("S", n, n)
GIVEN = {"x": ("n",), "w": ("n",), "A": ("m", "n"), "X": ("m", "n"), "S": ("n", "n"), "c": ()}
c = Symbol("c", real=True)
z = MatrixSymbol("z", m, 1)
TEXTS = {
    "x'*S*x": Trace(x.T * S * x),
    "norm2(A*x - z)^2": Trace((A * x - z).T * (A * x - z)),
    "(A*x - z)'*(A*x - z)/2": Trace((A * x - z).T * (A * x - z)) / 2,
    "logdet(S) + x'*inv(S)*x": log(Determinant(S)) + Trace(x.T * S.inv() * x),
    "sum(log(ones + exp(-z .* (X*w))))": total(HadamardProduct(-z, X * w).applyfunc(lambda t: log(1 + exp(t)))),
    "-c*sum(softmax(X) .* A) ./ 2": -c * total(HadamardProduct(softmax(X), A)) / 2,
    "tr(S^2*S.T) - 2^-1*x'*x": Trace(S**2 * S.T) - Trace(x.T * x) / 2,
    "sum(relu(X).^2) + norm(x)": Trace(relu(X).T * relu(X)) + sqrt(Trace(x.T * x)),
    "x'*diag(w)*x + c": Trace(x.T * HadamardProduct(w, x)) + c,
    "x.T @ S @ x + sum(1 ./ w)": Trace(x.T * S * x) + total(w.applyfunc(lambda t: 1 / t)),
    "sum(1./w) + 2.*x'*x - sum(3.5.*w.^2.)": total(w.applyfunc(lambda t: 1 / t - 7 * t**2 / 2)) + 2 * Trace(x.T * x),
    "logdet(x'*ones + w'*ones)": log(total(x) + total(w)),
    "sum(kron(x'*w, A)) + kron(2, c)": Trace(x.T * w) * total(A) + 2 * c,
    ".5*sum(x.^.5) + c.^-.5/.2e1": total(x.applyfunc(sqrt)) / 2 + 1 / (2 * sqrt(c)),
    "sqrt(x'*x + 1e-3)*exp(c)": sqrt(Trace(x.T * x) + Rational(1, 1000)) * exp(c),
    "mean(A) + sum(X)/m": total(A) / (m * n) + total(X) / m,
    "sum(diag(x')*S) + w'*diag(S)": total(DiagMatrix(x) * S) + Trace(S * DiagMatrix(w)),
    "kron(x', w')*kron(w, x) + kron(2*x, w)'*kron(x, w)": Trace(x.T * w) ** 2 + 2 * Trace(x.T * x) * Trace(w.T * w),
    "norm(kron(x*w', 2*z'*A*x))^2": 4 * Trace(x.T * x) * Trace(w.T * w) * Trace(z.T * A * x) ** 2,
    "pi*x'*x": pi * Trace(x.T * x),
    "sum(max(A, X)) + sum(max(c, x))": total(apply(Max, A, X)) + total(apply(lambda t: Max(c, t), x)),
}


def at(loss, seed=0):
    """The value at random numbers, and the gradients by name."""
    draw, given = numpy.random.default_rng(seed), {}
    for name in ("x", "w", "A", "X", "S", "c", "z"):
        shape = {"A": (3, 2), "X": (3, 2), "S": (2, 2), "z": (3, 1), "c": ()}.get(name, (2, 1))
        given[name] = draw.uniform(0.5, 1.5, shape) + (3 * numpy.eye(2) if name == "S" else 0)
    found = derivation(loss, sorted(loss.atoms(MatrixSymbol), key=str), prove=False)
    return found.numpy(**{str(s): given[str(s)] for s in found.original.values()})


@pytest.mark.parametrize("text", TEXTS)
def test_a_typed_expression_is_what_it_says(text):
    loss, names = matrix_text.parsed(
        text, {name: shape for name, shape in GIVEN.items() if f"{name}" in names_in(text)}
    )
    assert set(names) <= names_in(text) - {"m"}
    (value, gradients), (wanted, others) = at(loss), at(TEXTS[text])
    assert value == pytest.approx(wanted, rel=1e-13)
    assert gradients.keys() == others.keys()
    for name, gradient in gradients.items():
        numpy.testing.assert_allclose(gradient, others[name], rtol=1e-12)


def names_in(text):
    return set(re.findall(r"[A-Za-z]\w*", text)) - {"T"}


REFUSED = {
    "A*": "expected a number, a name or a bracket at the end",
    "tr(A'*(B": "expected \\) at the end",
    "x + 1": "c\\*ones adds c to every entry",
    "foo(x)": "foo: no such function",
    "inverse(A)": "did you mean inv\\?",
    "tr(chol(A))": "inv\\(S\\)\\*x and logdet\\(S\\) are computed without it",
    "x'x": "between factors there is a \\*",
    "A*x": "it is a matrix \\(n, 1\\); tr\\(...\\), sum\\(...\\) or norm\\(...\\)\\^2 of it is a number$",
    "lam*w'*w": "it is a matrix .* of it is a number; --shape lam= makes lam a number, and then it is one$",
    "log(1 + exp(-y*w'*x))": "--shape y= makes y a number",
    "sum(A.^A)": "\\.\\^ needs a number as the exponent; exp\\(B.\\*log\\(A\\)\\) is A.\\^B",
    **dict.fromkeys(("sum(x.^2^3)", "tr(S^2.^2)", "c^-2^2", "sum(S**2**2)"), "brackets say which"),
    "sum(x'*ones)*x'*x": "ones: its size follows from nothing here",
    "tr(I)*x'*x": "I: its size follows from nothing here",
    **dict.fromkeys(
        ("max(1, sum(max(0, A)))", "sum(max(A, norm(max(A, X))))", "relu(norm(max(A, 0)) - 1)"),
        "a number that has branches inside is compared",
    ),
    "x^2": "of a column or a row; .\\^ is",
    "tr(A)*B": "it is a matrix",
    "tr(A'*A) + c*tr(B)": "--shape c= makes c a number, and then it is one$",
    "x*y": "\\* of two columns; x'\\*y is their number",
    "x^T*x": "X' or X.T is the transpose",
    "norm(A x - b)": "between factors there is a \\*",
    "log det(S)": "log: what it is of stands in brackets",
    "||x||^2": "norm\\(x\\) is \\|\\|x\\|\\|",
    "A[0, 0]": "an entry is not typed; in Python it is X\\[0, 0\\]",
    "y = A*x": "what stands right of = alone",
    "np.sum(x)": "a function stands before what it is of: sum\\(x\\)",
    "xᵀ*x": "ᵀ is not; ' is the transpose",
    "sum(X, 1)": "sum: one matrix is expected, got 2 arguments",
    "det(2)": "det: one matrix is expected, got a number",
    "Tr(X)": "did you mean tr\\?",
    "per(X)": "per: no such function of 1 argument; there are tr, ",
    "Derivative(x'*x, x)": "type the loss itself; --in says in what",
    "Limit(x, 0)": "work it out first",
    "sum(min(A))": "min takes 2 arguments, got 1",
    "__import__('os')": "not allowed here: __import__",
    "x.real": "not allowed here: .real",
    "inv(A)/inv(B)": "/ divides by a number",
    "A*B + B*A*C'*x": "do not agree",
    "(" * 100 + "x": "nested more than",
    "x" * 3000: "at most 2000 plain characters",
    "1/0*x'*x": "only real, finite numbers",
    **dict.fromkeys(("log(0*x'*x)", "1/norm(x - x)", "sqrt(0*x'*x - 1)"), "it has no real, finite value"),
    "x'*inv(0*x*x')*x": "What an inverse is taken of has none",
    "": "expected an expression, as tr\\(A'",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_expression_is_refused_in_one_line(text, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([text, "--shape", "C=2,3"] if "C'" in text else [text]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert re.search(REFUSED[text], line.strip()), line
    assert os.listdir() == []


@pytest.mark.parametrize(
    "text", ["sum(abs(log(x) - w))", "sum(abs(sqrt(x) + c*w))", "abs(log(c) - 1)*x'*x", "abs(norm(x) - 1)"]
)
def test_an_absolute_value_is_of_numbers_that_are_real(text):
    """SymPy takes the slope of Abs(log(x)) over the complex numbers, with arg and im in it."""
    loss, names = matrix_text.parsed(text, {"c": ()} if "c" in text else {})
    derived, namespace = derivation(loss, [*names.values()]), {}
    exec(derived.torch(), namespace)
    draw, leaves = torch.Generator().manual_seed(0), {}
    for name in names:
        shape = () if name == "c" else (3, 1)
        leaves[name] = torch.rand(shape, generator=draw, dtype=torch.float64).add(0.2).requires_grad_()
    _, found = namespace["value_and_grad"](**leaves)
    functions = {name: getattr(torch, name) for name in ("sum", "abs", "log", "sqrt", "norm")}
    wanted = torch.autograd.grad(eval(text.replace("'*", ".T@"), functions, leaves).sum(), list(leaves.values()))
    torch.testing.assert_close(tuple(found), wanted)


def test_an_expression_may_begin_with_minus_and_have_sizes_of_shapes(capsys):
    assert main(["-sum(log(A*x))/m", "--in", "x", "--shape", "A=m,n", "--no-proof"]) == 0
    assert "  d/dx = -A.T*(A*x).^(-1)/m\n" in capsys.readouterr().out


def test_the_command_prints_the_closed_form_and_writes_what_runs(capsys, tmp_path):
    folder = tmp_path / "here"
    text = "tr((Y - U*V')'*(Y - U*V'))"
    assert main([text, "--in", "U,V", "--shape", "Y=m,n", "--out", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert "d/dU = -2*(Y - U*V.T)*V" in printed
    assert f"proved: the value and the gradient in U, V of {text}\n" in printed
    page = (folder / "derivation.md").read_text()
    assert f"# The gradient of `{text}`" in page
    assert "with $`k = 2`$, $`m = 3`$ and $`n = 2`$" in page
    meanings = re.findall(r"\| (F\d, [^|]*) \|", page)
    assert meanings and len({*meanings}) == len(meanings)
    gradient = r"-2 \, (\boldsymbol{Y} - \boldsymbol{U} \boldsymbol{V}^{\top})^{\top} \boldsymbol{U}"  # as printed
    assert "d/dV = -2*(Y - U*V.T).T*U" in printed
    assert page.count(f"= {gradient} ") == 2  # in the box, and at the end of the lines that lead to it
    assert sorted(os.listdir(folder)) == [
        *("computation.svg", "derivation.html", "derivation.md", "derivation.tex", "gradient.py")
    ]
    namespace = {}
    exec((folder / "gradient.py").read_text(), namespace)
    Y, U, V = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in ((4, 3), (4, 2), (3, 2)))
    loss = ((Y - U @ V.T) ** 2).sum()
    wanted = torch.autograd.grad(loss, (U, V))
    value, mine = namespace["value_and_grad"](Y=Y, U=U, V=V)
    torch.testing.assert_close((value, *mine), (loss.detach(), *wanted))
    assert main([text, "--in", "U,V", "--out", str(folder)]) == 0  # its own files are replaced
    (folder / "gradient.py").write_text("mine = 1\n")
    assert main([text, "--out", str(folder)]) == 2
    assert (folder / "gradient.py").read_text() == "mine = 1\n"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["x'*x", "--in", "y"], "--in: 'y' is not in the expression; there are x"),
        (["x'*x", "--shape", "A=2,3"], "A: a shape is given for it"),
        (["x'*x", "--shape", "x=0"], "--shape: expected a name and sizes"),
        (["x'*x", "--shape", "x=2", "--shape", "x=3"], "--shape: two for x"),
        (["x'*A*x", "--shape", "A=2,3"], "do not agree"),
    ],
)
def test_what_is_wrong_with_the_command_is_named(argv, words, capsys):
    assert main(argv) == 2
    assert words in capsys.readouterr().err


def test_numbers_beside_autograd_and_numpys():
    derived = derivation(Trace((A * x - z).T * (A * x - z)), [x, A])
    given = {
        name: torch.randn(shape, dtype=torch.float64) for name, shape in (("A", (3, 2)), ("x", (2, 1)), ("z", (3, 1)))
    }
    assert max(derived.compare(**given).values()) < 1e-14
    assert derived.compare(**given).keys() == {"value", "x", "A"}
    scaled = derivation(c * Trace(A * S * A.T), [A, c], prove=False)
    assert max(scaled.compare(A=given["A"], S=numpy.eye(2), c=0.3).values()) < 1e-14
    value, gradients = derived.numpy(**{name: tensor.numpy() for name, tensor in given.items()})
    residual = given["A"] @ given["x"] - given["z"]
    assert value == pytest.approx((residual**2).sum().item())
    numpy.testing.assert_allclose(gradients["A"], 2 * residual @ given["x"].T)
    wide = MatrixSymbol("B", n, 2 * n + 1)
    squares = derivation(Trace(wide.T * wide), [wide], prove=False)
    assert squares.numpy(B=numpy.ones((2, 5)))[0] == 10
    with pytest.raises(ValueError, match=r"B: expected shape \(n, 2\*n \+ 1\), got \(2, 4\)"):
        squares.numpy(B=numpy.ones((2, 4)))
    tall = MatrixSymbol("C", n + 1, 2)
    with pytest.raises(ValueError, match=r"C: no input has n rows or columns"):
        derivation(Trace(tall.T * tall), [tall], prove=False).numpy(C=numpy.ones((3, 2)))
    with pytest.raises(ValueError, match=r"x: no numbers are given for it; the inputs are A, x, z"):
        derived.numpy(A=1, z=1)
    with pytest.raises(ValueError, match=r"y: no input; the inputs are"):
        derived.compare(**given, y=1)
    assert repr(derived).splitlines()[1] == "  d/dx = 2*A.T*(A*x - z)"
    assert derived.html().startswith("<!DOCTYPE html>")
