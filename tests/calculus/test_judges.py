"""The gradient before judges that have never met: each knows the network by its definition, not the others."""

import math
from collections.abc import Callable

import mpmath
import numpy
import pytest
import sympy
import torch

from derive.formulas.losses import p, y
from derive.formulas.stable import opened, z
from derive.problems.network import Network
from tests.helpers.gate import distance, sequential
from tests.helpers.networks import targets

NETWORKS = [
    Network((2, 3, 1)),
    Network((1, 1)),
    Network((2, 3, 2, 2), "tanh", reduction="mean"),
    Network((3, 2, 2), "softplus", "sigmoid", "binary_cross_entropy"),
    Network((2, 3), "identity", "tanh", "smooth_l1_loss", "mean"),
    Network((2, 2, 2), "gelu", "silu", "mse_loss"),
    Network((2, 2, 1), "z*exp(-z**2)", loss="log(1 + (p - y)**2)"),
    Network((2, 3, 1), ("relu",), loss="huber_loss"),
]
ANALYTIC = [network for network in NETWORKS if not {"relu", "gelu"} & {network.activation}]
Numbers = list[numpy.ndarray]


def case(network: Network, rows: int, dtype: torch.dtype = torch.float64):
    """Parameters, inputs and targets of a network."""
    torch.manual_seed(rows)
    net = sequential(network, dtype, 1.5)
    x, target = torch.randn(rows, network.layers[0], dtype=dtype), targets(network, rows).to(dtype)
    return [parameter.detach() for parameter in net.parameters()], x, target


def scalar_loss(network: Network, numbers, apply: Callable, sum_up: Callable):
    """The loss by its definition, of numbers of any kind: one entry after the other."""
    *parameters, x, target = numbers
    terms = []
    for row, wanted in zip(x, target, strict=True):
        a = list(row)
        for layer in range(network.depth):
            W, b = parameters[2 * layer], parameters[2 * layer + 1]
            sums = [sum_up([W[i][j] * a[j] for j in range(len(a))] + [b[i]]) for i in range(len(b))]
            a = [apply(network.function(layer + 1), {z: value}) for value in sums]
        terms += [apply(network.criterion().formula, {p: at, y: to}) for at, to in zip(a, wanted, strict=True)]
    return sum_up(terms) / (len(terms) if network.reduction == "mean" else 1)


def entries(parameters: list[torch.Tensor]):
    """Where each entry of each parameter is."""
    return [(k, index) for k, value in enumerate(parameters) for index in numpy.ndindex(*value.shape)]


def moved(numbers: Numbers, k: int, index: tuple[int, ...], step) -> Numbers:
    changed = [array.copy() for array in numbers]
    changed[k][index] += step
    return changed


def gradient_by(slope: Callable[[int, tuple[int, ...]], float], parameters) -> list[torch.Tensor]:
    gradients = [torch.zeros(value.shape, dtype=torch.float64) for value in parameters]
    for k, index in entries(parameters):
        gradients[k][index] = float(slope(k, index))
    return gradients


def with_functions(kind: str) -> Callable:
    """Applies a formula to numbers of a kind that sympy.lambdify knows."""
    compiled: dict[object, Callable] = {}

    def apply(formula: sympy.Expr, at: dict):
        if formula not in compiled:
            compiled[formula] = sympy.lambdify(list(at), opened(formula), kind)
        return compiled[formula](*at.values())

    return apply


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_50_digits_by_differences_at_120(network, dtype, emitted):
    """Within 8 eps sqrt(N width) of the norm of the gradient, for the dtype in which it was computed."""
    parameters, x, target = case(network, 3, dtype)
    _, mine = emitted(network).value_and_grad(parameters, x, target)
    with mpmath.workdps(120):
        step, apply = mpmath.mpf(10) ** -40, with_functions("mpmath")
        exact = [
            numpy.vectorize(mpmath.mpf, otypes=[object])(value.double().numpy()) for value in (*parameters, x, target)
        ]

        def slope(k, index):
            ahead, back = (
                scalar_loss(network, moved(exact, k, index, sign * step), apply, mpmath.fsum) for sign in (1, -1)
            )
            return (ahead - back) / (2 * step)

        true = [numpy.empty(value.shape, dtype=object) for value in parameters]
        for k, index in entries(parameters):
            true[k][index] = slope(k, index)
        off = mpmath.sqrt(mpmath.fsum((a - b) ** 2 for a, b in pairs(mine, true)))
        size = mpmath.sqrt(mpmath.fsum(b**2 for _, b in pairs(mine, true)))
        assert off <= 8 * torch.finfo(dtype).eps * math.sqrt(3 * max(network.layers)) * size


def pairs(mine, true):
    flat = [(a, b) for one, two in zip(mine, true, strict=True) for a, b in zip(one.flatten(), two.flat, strict=True)]
    return [(mpmath.mpf(a.item()), b) for a, b in flat]


@pytest.mark.parametrize("network", ANALYTIC, ids=str)
def test_a_complex_step(network, emitted):
    """The imaginary part of the loss at W + ih, over h: no difference is taken, so that no digit is lost."""
    parameters, x, target = case(network, 4)
    _, mine = emitted(network).value_and_grad(parameters, x, target)
    numbers = [value.numpy().astype(complex) for value in (*parameters, x, target)]
    apply = by_real_part(with_functions("numpy"))
    want = gradient_by(
        lambda k, index: scalar_loss(network, moved(numbers, k, index, 1e-30j), apply, sum).imag / 1e-30, parameters
    )
    for got, by_step in zip(mine, want, strict=True):
        assert distance(got, by_step) <= 256


def by_real_part(apply: Callable) -> Callable:
    """Branches are those of the real part, on which numpy decides the order of complex numbers anyway."""
    return lambda formula, at: apply(formula.replace(sympy.Abs, lambda u: sympy.Piecewise((u, u > 0), (-u, True))), at)


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_finite_differences(network, emitted):
    parameters, x, target = case(network, 4)
    module = emitted(network)
    _, mine = module.value_and_grad(parameters, x, target)
    numbers, apply = [value.numpy() for value in (*parameters, x, target)], with_functions("math")

    def slope(k, index):
        ahead, back = (scalar_loss(network, moved(numbers, k, index, h), apply, math.fsum) for h in (1e-5, -1e-5))
        return (ahead - back) / 2e-5

    for got, by_differences in zip(mine, gradient_by(slope, parameters), strict=True):
        torch.testing.assert_close(got, by_differences, rtol=1e-6, atol=1e-8)


def test_scalars_that_sympy_differentiates_one_by_one(emitted):
    """The loss of two rows as one expression in numbered symbols; the answer is evaluated at 30 digits."""
    network = Network((2, 2, 1))
    parameters, x, target = case(network, 2)
    _, mine = emitted(network).value_and_grad(parameters, x, target)
    arrays = [value.numpy() for value in (*parameters, x, target)]
    names = [numpy.array(sympy.symbols(f"s{k}_:{a.size}"), dtype=object).reshape(a.shape) for k, a in enumerate(arrays)]
    loss = scalar_loss(network, names, lambda formula, at: opened(formula).xreplace(at), sum)
    pairs_of = [zip(name.flat, array.flat, strict=True) for name, array in zip(names, arrays, strict=True)]
    point = {symbol: sympy.Rational(float(value)) for each in pairs_of for symbol, value in each}
    want = gradient_by(lambda k, index: sympy.diff(loss, names[k][index]).evalf(30, subs=point), parameters)
    for got, by_sympy in zip(mine, want, strict=True):
        assert distance(got, by_sympy) <= 16


def loops(sizes: tuple[int, ...], parameters: Numbers, x: numpy.ndarray, y: numpy.ndarray) -> Numbers:
    """The chain rule of a sigmoid network with squared error, written by hand as loops over numbers."""
    depth = len(sizes) - 1
    gradients = [numpy.zeros_like(value) for value in parameters]
    for n in range(len(x)):
        a = [list(x[n])]
        for layer in range(depth):
            W, b = parameters[2 * layer], parameters[2 * layer + 1]
            below, above = a[-1], []
            for i in range(sizes[layer + 1]):
                total = b[i]
                for j in range(sizes[layer]):
                    total += W[i, j] * below[j]
                above.append(total if layer == depth - 1 else 1 / (1 + math.exp(-total)))
            a.append(above)
        delta = [2 * (a[-1][i] - y[n, i]) for i in range(sizes[-1])]
        for layer in reversed(range(depth)):
            W, below = parameters[2 * layer], a[layer]
            for i in range(sizes[layer + 1]):
                gradients[2 * layer + 1][i] += delta[i]
                for j in range(sizes[layer]):
                    gradients[2 * layer][i, j] += delta[i] * below[j]
            delta = [
                sum(delta[i] * W[i, j] for i in range(sizes[layer + 1])) * below[j] * (1 - below[j])
                for j in range(sizes[layer])
            ]
    return gradients


@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("layers", [(2, 10, 10, 1), (1, 1), (3, 2, 4, 2)], ids=str)
def test_three_loops_in_numpy(layers, rows, emitted):
    network = Network(layers)
    parameters, x, target = case(network, rows)
    want = loops(layers, [value.numpy() for value in parameters], x.numpy(), target.numpy())
    _, mine = emitted(network).value_and_grad(parameters, x, target)
    fast = emitted(network, "fast").FastGradient(parameters).value_and_grad(x, target)[1]
    for one, two, by_loops in zip(mine, fast, want, strict=True):
        assert distance(one, torch.from_numpy(by_loops)) <= 16
        assert distance(two, torch.from_numpy(by_loops)) <= 16
