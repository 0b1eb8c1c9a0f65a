"""Every row of the tables: its gradient against autograd, at its kinks, saturated, and proved."""

import math
import re
from collections.abc import Callable
from functools import partial

import mpmath
import pytest
import sympy
import torch

from derive.formulas.functions import FUNCTIONS
from derive.formulas.losses import LOSSES
from derive.formulas.stable import NamedFunction, opened, slope_of_function, z
from derive.packages.emit import render
from derive.problems.network import Network
from derive.proof import prove
from derive.proof.algebra import Algebra
from tests.helpers.gate import Activation, assert_agree, autograd, criterion, noises, sequential
from tests.helpers.networks import targets

SHAPES = [(1, 1), (2, 1, 1), (3, 7, 4, 2), (2, 5, 4, 3, 3, 2)]
KINKS = {
    "relu": [0],
    "leaky_relu": [0],
    "elu": [0],
    "selu": [0],
    "celu": [0],
    "softsign": [0],
    "softplus": [20],
    "relu6": [0, 6],
    "hardtanh": [-1, 1],
    "hardsigmoid": [-3, 3],
    "hardswish": [-3, 3],
}
SATURATED = [-1e14, -1e4, -1000, -200, -90, -40, -19, -3, -1e-3, 0, 1e-3, 3, 19, 21, 40, 90, 200, 1000, 1e4, 1e14]


KEPT = {  # what people have written in their settings; tests of each row cannot see that one is gone
    "identity sigmoid tanh logsigmoid sin relu leaky_relu elu selu celu softplus silu gelu gelu_tanh mish": FUNCTIONS,
    "softsign tanhshrink relu6 hardtanh hardsigmoid hardswish": FUNCTIONS,
    "mse_loss squared_error l1_loss smooth_l1_loss huber_loss binary_cross_entropy_with_logits": LOSSES,
    "binary_cross_entropy cross_entropy poisson_nll_loss soft_margin_loss gaussian_nll_loss kl_div": LOSSES,
}


@pytest.mark.parametrize("names", KEPT)
def test_no_row_is_lost(names):
    assert set(names.split()) <= KEPT[names].keys()


def test_each_row_is_kept():
    assert set(" ".join(KEPT).split()) == FUNCTIONS.keys() | LOSSES.keys()


def check(network: Network, emitted) -> None:
    for seed, rows in ((0, 1), (1, 5), (2, 23)):
        torch.manual_seed(seed)
        net = sequential(network, scale=1.5)
        x, y = torch.randn(rows, network.layers[0], dtype=torch.float64), targets(network, rows)
        autograds = partial(gradient_at, network=network, net=net, x=x, y=y)
        given = [parameter.detach().clone() for parameter in net.parameters()]
        loss, gradients = emitted(network).value_and_grad(given, x, y)
        torch.testing.assert_close(loss, criterion(network, net(x), y).detach(), rtol=1e-13, atol=1e-14)
        expected = autograds(given)
        assert_agree(gradients, expected, noise=noises(autograds, given, expected))


def gradient_at(given: list[torch.Tensor], network: Network, net: torch.nn.Module, x, y) -> list[torch.Tensor]:
    """torch's own, at these parameters."""
    torch.nn.utils.vector_to_parameters(torch.cat([tensor.flatten() for tensor in given]), net.parameters())
    return autograd(network, net, x, y)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("activation", FUNCTIONS)
def test_each_activation_agrees_with_autograd(activation, shape, emitted):
    check(Network(shape, activation=activation, output_activation=activation), emitted)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("loss", LOSSES)
def test_each_loss_agrees_with_autograd(loss, reduction, emitted):
    output = "sigmoid" if loss == "binary_cross_entropy" else "identity"
    for shape in SHAPES:
        check(Network(shape, "tanh", output, loss, reduction), emitted)


def slopes(activation: str, theirs: Callable, point: float, dtype: torch.dtype, emitted) -> list[torch.Tensor]:
    """d(a - 1/4)^2/dz at one pre-activation: emitted, and that of torch's function."""
    module = emitted(Network((1, 1), output_activation=activation, loss="squared_error"))
    x = torch.tensor([[point]], dtype=dtype, requires_grad=True)
    y = torch.full_like(x, 0.25)
    ((theirs(x) - y) ** 2).sum().backward()
    _, gradients = module.value_and_grad([torch.ones(1, 1, dtype=dtype), torch.zeros(1, dtype=dtype)], x, y)
    return [gradients.b1, x.grad[0]]


@pytest.mark.parametrize("activation", KINKS)
def test_the_value_at_a_kink_is_torchs(activation, emitted):
    for kink in KINKS[activation]:
        torchs = getattr(torch.nn.functional, activation, Activation(activation))
        got, want = slopes(activation, torchs, float(kink), torch.float64, emitted)
        assert got.item() == pytest.approx(want.item(), rel=1e-14)


def test_each_row_with_a_kink_is_tested_at_it():
    bent = (sympy.Piecewise, sympy.Abs, sympy.sign, sympy.Max, sympy.Min)
    with_branches = {name for name, row in FUNCTIONS.items() if opened(row).has(*bent)}
    assert with_branches == set(KINKS)


@pytest.mark.parametrize("kind", ["elu", "celu", "softsign", "huber_loss", "smooth_l1_loss"])
def test_the_curvature_at_a_kink_of_a_slope_is_torchs(kind, emitted):
    network = Network((1, 1), loss=kind) if kind in LOSSES else Network((1, 1), output_activation=kind)
    for kink in (-1.0, 0.0, 1.0):
        given = [torch.ones(1, 1).double(), torch.full((1,), kink).double()]
        x, y = torch.zeros(1, 1).double(), torch.full((1, 1), 0.0 if kind in LOSSES else 0.25).double()
        direction = [*map(torch.ones_like, given)]

        def autograds(W, b, x=x, y=y):
            z = torch.nn.functional.linear(x, W, b)
            return criterion(network, z if kind in LOSSES else getattr(torch.nn.functional, kind)(z), y)

        _, expected = torch.autograd.functional.hvp(autograds, tuple(given), tuple(direction))
        fast = emitted(network, "fast").FastGradient(given)
        for got in (emitted(network).hvp(given, x, y, direction), fast.hvp(x, y, direction)):
            torch.testing.assert_close(tuple(got), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("activation", [name for name in FUNCTIONS if name != "identity"])
def test_each_slope_is_as_right_as_torchs_where_it_is_saturated(activation, dtype, emitted):
    """Against 400 digits: never further off than torch by more than rounding, and finite where torch is."""
    a = opened(FUNCTIONS[activation])
    exact = sympy.lambdify(z, 2 * (a - sympy.Rational(1, 4)) * sympy.diff(a, z), "mpmath")
    eps = torch.finfo(dtype).eps
    for point in SATURATED:
        got, want = (value.item() for value in slopes(activation, Activation(activation), point, dtype, emitted))
        with mpmath.workdps(400):
            truth = exact(mpmath.mpf(torch.tensor(point, dtype=dtype).item()))
        assert math.isfinite(got), point
        assert abs(got - truth) <= 4 * abs(want - truth) + 64 * eps * abs(truth) + torch.finfo(dtype).tiny, point


@pytest.mark.parametrize("scale", [1, 30, 1000, 1e5])
def test_a_saturated_network_has_no_nan(scale, emitted):
    """Peers give nan here: a sigmoid network at weight scale 1000."""
    for network in (Network((3, 7, 4, 2)), Network((3, 7, 4, 2), loss="cross_entropy", reduction="mean")):
        for dtype in (torch.float32, torch.float64):
            torch.manual_seed(0)
            net = sequential(network, dtype, scale)
            x, y = torch.randn(40, 3, dtype=dtype), targets(network, 40).to(dtype)
            _, gradients = emitted(network).value_and_grad(list(net.parameters()), x, y)
            want = autograd(network, net, x, y)
            assert all(torch.isfinite(g).all() for g in gradients)
            assert_agree(gradients, want, 64.0 if dtype == torch.float64 else 512.0)


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy_with_logits", "soft_margin_loss"])
def test_losses_are_stable_where_the_prediction_is_extreme(loss, emitted):
    network = Network((2, 3), loss=loss)
    module = emitted(network)
    for dtype in (torch.float32, torch.float64):
        for size in (1.0, 50.0, 1e4):
            W = size * torch.tensor([[1, 0], [0, 1], [-1, -1]], dtype=dtype)
            x = torch.tensor([[1.0, -1.0], [0.5, 0.25], [0.0, 0.0]], dtype=dtype)
            y = torch.tensor([[1, 0, 0], [0, 0, 1], [0, 1, 0]], dtype=dtype)
            leaf, b = W.clone().requires_grad_(), torch.zeros(3, dtype=dtype)
            prediction = x @ leaf.T + b
            if loss == "soft_margin_loss":  # torch's own overflows, and its gradient is nan
                expected = -torch.nn.functional.logsigmoid(y * prediction).sum()
            else:
                expected = criterion(network, prediction, y)
            expected.backward()
            value, gradients = module.value_and_grad([W, b], x, y)
            torch.testing.assert_close(value, expected.detach(), rtol=8 * torch.finfo(dtype).eps, atol=0)
            assert_agree([gradients.W1], [leaf.grad], 64.0)


@pytest.mark.parametrize("name", [name for name, row in FUNCTIONS.items() if isinstance(row, NamedFunction)])
def test_the_slope_is_the_derivative_of_the_definition(name):
    """Exactly, and at 30 digits as a second judge that knows no algebra."""
    function = FUNCTIONS[name].func
    derivative = sympy.diff(opened(function.definition), z)
    assert Algebra(open_functions=True).identical(opened(slope_of_function(function)), derivative)
    first, second = (sympy.lambdify(z, opened(e), "mpmath") for e in (slope_of_function(function), derivative))
    with mpmath.workdps(30):
        for point in (-7.25, 0.125, 2.5, 25.0):
            assert abs(first(mpmath.mpf(point)) - second(mpmath.mpf(point))) < 1e-25


ROWS = [
    *(Network((1, 1, 1), activation) for activation in FUNCTIONS),
    *(Network((1, 1), "identity", "sigmoid" if loss == "binary_cross_entropy" else "tanh", loss) for loss in LOSSES),
    Network((1, 2), "identity", "identity", "cross_entropy", "mean"),
]


@pytest.mark.slow
@pytest.mark.parametrize("network", ROWS, ids=str)
def test_each_row_is_proved(network, tmp_path):
    for name, text in render(network, ["__init__.py", "backward.py", "fast.py"]).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    certificate = prove(tmp_path)
    assert sum(shown.entries for shown in certificate.shown) > 6 * network.entries


@pytest.mark.slow
@pytest.mark.parametrize("network", ROWS, ids=str)
def test_each_row_has_its_document(network):
    pages = render(network, ["derivation.tex", "derivation.md", "derivation.html"])
    assert all(
        "delta" in text and network.loss.replace("_", "") in re.sub(r"[\\_]", "", text) for text in pages.values()
    )


def test_the_slope_as_sympy_writes_it_is_nan_where_ours_is_not(emitted):
    """What published tools emit: exp(-z)/(1 + exp(-z))^2 of a sigmoid network at weight scale 1000, in float32."""
    net = sequential(Network((3, 7, 4, 2)), torch.float32, 1000)
    x = torch.randn(40, 3)
    z1 = net[0](x).detach()
    naive = sympy.lambdify(z, sympy.diff(opened(FUNCTIONS["sigmoid"]), z), [{"exp": torch.exp}])(z1)
    assert naive.isnan().any()
    _, gradients = emitted(Network((3, 7, 4, 2))).value_and_grad(list(net.parameters()), x, torch.rand(40, 2))
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
