"""A formula that a person types is read against a list of what is allowed, and never runs."""

import ast
import os
import re
from pathlib import Path

import mpmath
import pytest
import torch
from sympy import Abs, Symbol, diff, lambdify, sign, simplify

from derive import build
from derive.formulas.losses import LOSSES
from derive.formulas.stable import opened, stable, z
from derive.formulas.typed import parse
from derive.packages.emit import render
from derive.problems.network import Network, parse_activations
from tests.helpers.gate import assert_agree, sequential
from tests.helpers.texts import OWN, REFUSED


@pytest.mark.parametrize("text", REFUSED, ids=range(len(REFUSED)))
def test_what_is_no_formula_is_refused_and_leaves_no_trace(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"activation: "):
        parse("activation", text, (z,))
    with pytest.raises(ValueError, match=re.escape(REFUSED[text])):
        parse("activation", text, (z,))
    assert os.listdir() == []


@pytest.mark.parametrize("text", ["p", "2*p - y", "p/2 + exp(y)"])
def test_a_loss_with_the_same_slope_everywhere_is_refused(text):
    with pytest.raises(ValueError, match=r"loss: .* has the slope .* everywhere"):
        Network(loss=text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("softmax(softmax(p))", "logsumexp, log_softmax, softmax, max, min of rows cannot stand in"),
        ("logsumexp(p - log_softmax(p))", "logsumexp, log_softmax, softmax, max, min of rows cannot stand in"),
        ("softmax(p) > y", "not allowed here: softmax(p) > y; allowed: numbers, p, y,"),
        ("logsumexp(p, y)", "logsumexp takes 1 argument, got 2"),
        ("max(p, y, 1)", "max takes 2 arguments, or 1, over its row, got 3"),
    ],
)
def test_a_loss_that_couples_a_row_twice_or_compares_is_refused(text, message):
    with pytest.raises(ValueError, match=f"^loss: {re.escape(message)}"):
        Network(loss=text)


@pytest.mark.parametrize("text", OWN)
def test_a_formula_of_ones_own_agrees_with_autograd(text, emitted):
    network = Network((3, 4, 2), activation=text, loss="abs(p - y)**3", reduction="mean")
    linear = sequential(Network((3, 4, 2), "identity"))
    W1, b1, W2, b2 = parameters = list(linear.parameters())
    x, y = torch.randn(7, 3, dtype=torch.float64), torch.randn(7, 2, dtype=torch.float64)
    p = OWN[text](x @ W1.T + b1) @ W2.T + b2
    want = torch.autograd.grad(((p - y).abs() ** 3).mean(), parameters, create_graph=True)
    along = [parameter.detach() for parameter in parameters]
    inner = sum((gradient * direction).sum() for gradient, direction in zip(want, along, strict=True))
    curvature = torch.autograd.grad(inner, parameters)
    want = [gradient.detach() for gradient in want]
    _, gradients = emitted(network).value_and_grad(parameters, x, y)
    assert_agree(gradients, want, 64.0)
    fast = emitted(network, "fast").FastGradient(parameters)
    torch.testing.assert_close(list(fast.value_and_grad(x, y)[1]), want, rtol=1e-13, atol=1e-15)
    curved = emitted(network).hvp(parameters, x, y, along)
    assert_agree(curved, curvature, 512.0)
    torch.testing.assert_close(list(fast.hvp(x, y, along)), list(curved), rtol=1e-11, atol=1e-14)


NAIVE = {
    "1/(1+exp(-z))": torch.sigmoid,
    "log(1+exp(z))": lambda x: -torch.nn.functional.logsigmoid(-x),
    "(exp(z) - exp(-z))/(exp(z) + exp(-z))": torch.tanh,
    "log(1/(1+exp(-z)))": torch.nn.functional.logsigmoid,
}


@pytest.mark.parametrize("text", NAIVE)
def test_a_naive_spelling_is_as_stable_as_torchs_kernel(text, emitted):
    module = emitted(Network((1, 1), output_activation=text))
    for dtype in (torch.float32, torch.float64):
        close = {"rtol": 8 * torch.finfo(dtype).eps, "atol": torch.finfo(dtype).tiny}
        for point in (-1e4, -200.0, -90.0, -2.0, 0.0, 2.0, 90.0, 200.0, 1e4):
            x, one = torch.tensor([[point]], dtype=dtype, requires_grad=True), torch.ones(1, 1, dtype=dtype)
            want = ((NAIVE[text](x) - one) ** 2).sum()
            want.backward()
            loss, gradients = module.value_and_grad([one, one[0] * 0], x, one)
            torch.testing.assert_close(loss, want.detach(), **close)
            torch.testing.assert_close(gradients.b1, x.grad[0], **close)


def test_a_loss_of_the_whole_row(emitted):
    network = Network((2, 3), loss="(softmax(p) - y)**2")
    W, b = torch.randn(3, 2, dtype=torch.float64).requires_grad_(), torch.randn(3, dtype=torch.float64).requires_grad_()
    x, y = torch.randn(5, 2, dtype=torch.float64), torch.rand(5, 3, dtype=torch.float64)
    want = torch.autograd.grad(((torch.softmax(x @ W.T + b, 1) - y) ** 2).sum(), [W, b])
    assert_agree(emitted(network).value_and_grad([W, b], x, y)[1], want, 64.0)


LOSSES_OF_ONES_OWN = {
    "max(p, y)": lambda p, y: torch.maximum(p, y),
    "where(p > y, 0.7*(p - y), 0.3*(y - p))": lambda p, y: torch.where(p > y, 0.7 * (p - y), 0.3 * (y - p)),
    "max(0.9*(p - y), -0.1*(p - y))": lambda p, y: torch.maximum(0.9 * (p - y), -0.1 * (p - y)),
    "max(min(p**2, 0.7), p)": lambda p, y: torch.maximum((p**2).clamp(max=0.7), p),
    "p*y": lambda p, y: p * y,
    "p/(1 + y**2)": lambda p, y: p / (1 + y**2),
    "p*logsumexp(y)": lambda p, y: p * y.logsumexp(1, True),
    "logsumexp(p)": lambda p, y: p.logsumexp(1, True).expand_as(p),
    "log_softmax(p)": lambda p, y: torch.log_softmax(p, 1),
    "-y*log(softmax(p))": lambda p, y: -y * torch.log_softmax(p, 1),
    "y*(max(p + 1 - y) - p)": lambda p, y: y * ((p + 1 - y).amax(1, True) - p),
    "max(p)**2 - min(p*y)*p": lambda p, y: p.amax(1, True) ** 2 - (p * y).amin(1, True) * p,
    "logsumexp(max(p, 0)) - p*y": lambda p, y: p.relu().logsumexp(1, True) - p * y,
    "logsumexp(tanh(p)) - p*y": lambda p, y: p.tanh().logsumexp(1, True) - p * y,
    "logsumexp(p)*logsumexp(-p)": lambda p, y: (p.logsumexp(1, True) * (-p).logsumexp(1, True)).expand_as(p),
}


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("text", LOSSES_OF_ONES_OWN)
def test_a_loss_of_ones_own_agrees_with_autograd(text, reduction, emitted):
    """The gradient, that of each row alone, and Hessian times direction."""
    network = Network((2, 3, 3), "tanh", loss=text, reduction=reduction)
    net = sequential(network)
    x, y = torch.randn(4, 2, dtype=torch.float64), torch.rand(4, 3, dtype=torch.float64)
    parameters = list(net.parameters())

    def loss(rows: slice) -> torch.Tensor:
        return getattr(LOSSES_OF_ONES_OWN[text](net(x[rows]), y[rows]), reduction)()

    want = torch.autograd.grad(loss(slice(None)), parameters, create_graph=True)
    module = emitted(network)
    scale = max(float(gradient.detach().norm()) for gradient in want)
    close = {"rtol": 1e-12, "atol": 1e-14 * scale}
    torch.testing.assert_close(list(module.value_and_grad(parameters, x, y)[1]), [w.detach() for w in want], **close)
    each = module.per_sample_grad(parameters, x, y)
    for row in range(4):
        alone = torch.autograd.grad(loss(slice(row, row + 1)), parameters)
        torch.testing.assert_close([gradient[row] for gradient in each], list(alone), **close)
    along = [torch.randn_like(parameter) for parameter in parameters]
    inner = sum((gradient * direction).sum() for gradient, direction in zip(want, along, strict=True))
    curved = list(torch.autograd.grad(inner, parameters, materialize_grads=True))
    torch.testing.assert_close(list(module.hvp(parameters, x, y, along)), curved, rtol=1e-11, atol=1e-13)
    fast = emitted(network, "fast").FastGradient(parameters)
    for chunk in (4, 3):
        fast._chunk = fast._hvp_chunk = chunk
        torch.testing.assert_close(list(fast.value_and_grad(x, y)[1]), [w.detach() for w in want], **close)
        torch.testing.assert_close(list(fast.hvp(x, y, along)), curved, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(list(fast.per_sample_grad(x, y)), list(each), **close)


ODD = [
    "log(z)",
    "sqrt(z)",
    "1/z",
    "z**(1/3)",
    "z*softsign(2) + mish(-2)",
    "exp(exp(exp(exp(z))))",
    "relu(relu(elu(z)))",
    "1/(exp(z) + exp(2*z) + exp(3*z) + exp(-z))",
    "z/(1 + z/(1 + z/(1 + z/(1 + z/(1 + z)))))",
    " + ".join(f"tanh({number}*z)" for number in range(1, 14)),
]


@pytest.mark.parametrize("text", ODD)
def test_every_page_of_an_odd_formula_is_written(text):
    pages = render(Network((2, 2, 1), text, loss="p*y"))
    assert (
        ast.literal_eval(re.search(r"NETWORK = (\{.*?\n\})", pages["backward.py"], re.DOTALL)[1])["activation"] == text
    )


def test_activations_are_split_at_commas_outside_of_calls():
    assert parse_activations("tanh,max(z, 0),relu") == ("tanh", "max(z, 0)", "relu")
    assert parse_activations("max(z, 0)") == "max(z, 0)"


SPECS = {
    "": "empty; keys are layers",
    "layers = [2, 3": "spec.toml:1",
    "activaton = 'tanh'": "unknown key 'activaton'; did you mean 'activation'?",
    "layers = [2, true]": "layers[1]: must be a whole number, got True",
    "layers = [2.0, 1]": "layers[0]: must be a whole number, got 2.0",
    "layers = '2-1'": "layers: expected a list",
    "layers = [2]": "layers: needs an input and an output size",
    "activation = 3": "activation: expected",
    "activation = ['tanh', 'relu', 'relu']": "2 hidden layers but 3 activations",
    "loss = ['mse_loss']": "loss: expected a name or a formula",
    "loss = 'binary_cross_entropy'": "output_activation must be one of sigmoid",
    "layers = [2, 1]\nlayers = [2, 1]": "spec.toml:2",
}


@pytest.mark.parametrize("text", SPECS, ids=range(len(SPECS)))
def test_a_bad_file_is_refused_in_one_line(text, tmp_path, capsys):
    path = tmp_path / "spec.toml"
    path.write_text(text)
    assert build.main([str(path), "--out", str(tmp_path / "package")]) == 2
    error = capsys.readouterr().err
    assert SPECS[text] in error and error.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["spec.toml"]


def test_a_file_that_cannot_be_read_is_named(tmp_path, capsys):
    for path in (tmp_path / "none.toml", tmp_path):
        assert build.main([str(path), "--out", str(tmp_path / "package")]) == 2
        assert str(path) in capsys.readouterr().err
    (tmp_path / "latin.toml").write_bytes(b"loss = '\xe9'")
    assert build.main([str(tmp_path / "latin.toml"), "--out", str(tmp_path / "package")]) == 2
    assert "not UTF-8 at byte 8" in capsys.readouterr().err


def test_flags_win_over_the_file_and_the_file_over_the_defaults(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("pyproject.toml").write_text("[tool.derive]\nlayers = [3, 2, 1]\nactivation = 'tanh'\n")
    Path("spec.toml").write_bytes(b"\xef\xbb\xbflayers = [4, 2]\nreduction = 'mean'\n")
    for argv, expected in [
        ([], Network((3, 2, 1), "tanh")),
        (["--layers", "5-1"], Network((5, 1), "tanh")),
        (["spec.toml"], Network((4, 2), reduction="mean")),
        (["spec.toml", "--reduction", "sum"], Network((4, 2))),
    ]:
        assert build.network_from(build.arguments(argv)) == expected


QUOTIENTS = [
    *("1/(1+exp(z))", "z*exp(-z)/(1+exp(-z))**2", "1/(1+exp(2*z))**3", "(exp(2*z)-1)/(exp(2*z)+1)", "1/(3+exp(z))"),
    *("1/(exp(z)+exp(-z))", "exp(z**2)/(1+exp(z**2))", "exp(z)/(exp(2*z)+2*exp(z)+1)", "log(exp(z)+exp(-z))"),
    *("1 - exp(-exp(z))", "exp(z) - exp(z - 1)", "sigmoid(z) - sigmoid(z - 1)", "1 - cos(2*z)", "log(1 + tanh(z))"),
    *("sqrt(1 + exp(z))", "exp(-z)*(1 + exp(-z))**(-1.5)", "1/(1 + exp(-z) + z**2)", "(1 + exp(z))/(2 + exp(z))"),
    *("tanh(exp(z))*exp(z)", "(exp(z) - exp(-z))/2", "log((1 + exp(z))/(2 + exp(z)))", "1/(exp(2*z) - exp(z) + 1)"),
    *("log(1+exp(2*z))/(1+exp(-z))", "log(1+exp(z)+exp(2*z))", "where(z > 0, 1/(1+exp(z)), exp(z)/(1+exp(z)))"),
    *("log1p(max(z, 0)) - log1p(max(-z, 0))", "hardswish(max(z, 0)) - z"),
]


@pytest.mark.parametrize("text", QUOTIENTS)
def test_the_form_in_which_nothing_overflows_is_the_same_function(text):
    formula = parse("activation", text, (z,))
    for expr in (formula, diff(formula, z), diff(formula, z, 2)):
        given, safe = (lambdify(z, opened(form), "mpmath") for form in (expr, stable(expr)))
        with mpmath.workdps(50):
            for point in map(mpmath.mpf, (-3.25, -0.5, 0.75, 2.5)):
                assert mpmath.almosteq(given(point), safe(point), 1e-40)


@pytest.mark.parametrize("u", ["exp(z)", "exp(-z**2)", "-sigmoid(z)", "exp(z) + exp(-z)"])
def test_log1p_overflows_no_sooner_than_log(u):
    assert stable(parse("activation", f"log1p({u})", (z,))) == stable(parse("activation", f"log(1 + {u})", (z,)))


@pytest.mark.parametrize(
    ("typed", "name"),
    [("ReLU", "relu"), ("LeakyReLU", "leaky_relu"), ("leaky-relu", "leaky_relu"), ("Tanh", "tanh"), ("SiLU", "silu")],
)
def test_activations_may_be_typed_as_the_classes_of_torch(typed, name):
    assert Network((2, 3, 1), typed, typed) == Network((2, 3, 1), name, name)
    assert Network((2, 3, 3, 1), (typed, "sin")).activation == (name, "sin")


@pytest.mark.parametrize("name", [name for name in LOSSES if hasattr(torch.nn.functional, name)])
def test_losses_may_be_typed_as_the_classes_of_torch(name):
    short = {"binary_cross_entropy": "bce", "binary_cross_entropy_with_logits": "bce_with_logits", "kl_div": "kl_div"}
    plain = short.get(name, name).replace("_loss", "").replace("_", "")
    (kind,) = [kind for kind in dir(torch.nn) if kind.lower() == f"{plain}loss"]
    for typed in (kind, name.replace("_", "-"), name.upper()):
        assert Network((2, 3, 1), output_activation="sigmoid", loss=typed).loss == name


@pytest.mark.parametrize("loss", ["exp(p)*erf(p)", "exp(p - y)*(1 + erf(p - y))", "exp(p)*sin(p)*erf(p)"])
def test_tangents_of_long_formulas_are_named(loss, emitted):
    network = Network((2, 3, 1), loss=loss)
    net, x, y = sequential(network), torch.rand(5, 2, dtype=torch.float64), torch.rand(5, 1, dtype=torch.float64)
    parameters, direction = list(net.parameters()), [torch.randn_like(parameter) for parameter in net.parameters()]
    value = eval(loss, {**vars(torch), "p": net(x), "y": y}).sum()
    slopes = torch.autograd.grad(value, parameters, create_graph=True)
    along = sum((slope * dot).sum() for slope, dot in zip(slopes, direction, strict=True))
    assert_agree(emitted(network).hvp(parameters, x, y, direction), torch.autograd.grad(along, parameters), 256)


@pytest.mark.parametrize("power", [3, 5, 7])
def test_the_slope_of_a_power_of_a_distance_is_one_term(power):
    u = Symbol("Y", real=True) - Symbol("Z", real=True)
    slope = stable(diff(Abs(-u) ** power, Symbol("Z", real=True)))
    assert not slope.is_Add and not slope.has(sign)
    assert simplify(slope + power * u ** (power - 2) * Abs(u)) == 0


def test_the_distance_of_logarithms_is_a_loss(emitted):
    network = Network((2, 3, 1), "tanh", "softplus", loss="abs(log(p) - log(y))")
    net = sequential(network)
    parameters, x = list(net.parameters()), torch.randn(5, 2, dtype=torch.float64)
    y = torch.rand(5, 1, dtype=torch.float64) + 0.1
    want = torch.autograd.grad((net(x).log() - y.log()).abs().sum(), parameters)
    torch.testing.assert_close(tuple(emitted(network).value_and_grad(parameters, x, y)[1]), want)
