"""Values, slopes and curvatures far from 0: as right as their condition allows, by judges of many digits."""

import math

import mpmath
import pytest
import torch
from sympy import HadamardProduct, MatrixSymbol, Trace, exp, sin

from derive import derivation
from derive.formulas import LOSSES
from derive.matrix import log_softmax, logsumexp, softmax, total
from derive.problems.network import Network
from tests.helpers.gate import criterion

DTYPES = [torch.float32, torch.float64]
SHIFTS = [0.0, 1e2, -1e4, 1e6, 2.0**23, -(2.0**23), 2.0**53, 1e30]  # of 2**53 + 1 and 1e30 + 1 nothing is left
COUPLED = {
    "cross_entropy": lambda s, y: [-b * mpmath.log(a) for a, b in zip(s, y, strict=True)],
    "(softmax(p) - y)**2": lambda s, y: [(a - b) ** 2 for a, b in zip(s, y, strict=True)],
    "y*(y - log_softmax(p))": lambda s, y: [b * (b - mpmath.log(a)) for a, b in zip(s, y, strict=True)],
    "y*logsumexp(2*p) - 2*y*p": lambda s, y: [
        b * (mpmath.log(sum(v**2 for v in s)) - 2 * mpmath.log(a)) for a, b in zip(s, y, strict=True)
    ],
}


def shifted(shift: float, dtype: torch.dtype) -> torch.Tensor:
    """Logits that are exact in the dtype: the shift + (0, 1, 2), as far as there are such."""
    return torch.tensor([shift, shift + 1, shift + 2], dtype=torch.float64).to(dtype)


def by_definition(losses, logits: torch.Tensor, y: torch.Tensor, direction: torch.Tensor):
    """Loss, gradient and Hessian times direction in the logits: 60 digits, and differences at 120."""
    with mpmath.workdps(120):
        z0, b, d = ([mpmath.mpf(value) for value in vector.tolist()] for vector in (logits, y, direction))
        h = mpmath.mpf(10) ** -30

        def loss(z):
            whole = mpmath.fsum(mpmath.exp(v - max(z)) for v in z)
            return mpmath.fsum(losses([mpmath.exp(v - max(z)) / whole for v in z], b))

        def moved(z, step, along):
            return [v + step * w for v, w in zip(z, along, strict=True)]

        def gradient(z):
            axes = [[int(i == j) for j in range(len(z))] for i in range(len(z))]
            return [(loss(moved(z, h, axis)) - loss(moved(z, -h, axis))) / (2 * h) for axis in axes]

        ahead, back = (gradient(moved(z0, step, d)) for step in (mpmath.mpf(10) ** -20, -(mpmath.mpf(10) ** -20)))
        return loss(z0), gradient(z0), [(a - c) / (2 * mpmath.mpf(10) ** -20) for a, c in zip(ahead, back, strict=True)]


def assert_digits(got: torch.Tensor, exact: list, times: float = 32.0) -> None:
    """Within some eps of the largest entry."""
    bound = times * torch.finfo(got.dtype).eps * max(map(abs, exact))
    assert all(abs(g - e) <= bound for g, e in zip(got.flatten().tolist(), exact, strict=True)), (got, exact)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("loss", COUPLED)
def test_a_network_keeps_the_digits_of_logits_of_any_size(loss, dtype, emitted):
    """What all logits of a row have in common is in none of the results, and in no rounding of them."""
    network = Network((1, 3), loss=loss)
    backward, fast = emitted(network), emitted(network, "fast")
    x, W, y = torch.zeros(1, 1, dtype=dtype), torch.zeros(3, 1, dtype=dtype), torch.tensor([[0.5, 0.25, 0.25]])
    y, along = y.to(dtype), torch.tensor([1.0, -0.5, 0.25], dtype=dtype)
    for shift in SHIFTS:
        logits = shifted(shift, dtype)
        exact, slope, curved = by_definition(COUPLED[loss], logits, y[0], along)
        both = backward, fast.FastGradient([W, logits])
        for value, gradient in (both[0].value_and_grad([W, logits], x, y), both[1].value_and_grad(x, y)):
            assert_digits(value, [exact])
            assert_digits(gradient.b1, slope)
        assert_digits(backward.per_sample_grad([W, logits], x, y).b1, slope)
        assert_digits(both[1].per_sample_grad(x, y).b1, slope)
        assert_digits(backward.hvp([W, logits], x, y, [W, along]).b1, curved)
        assert_digits(both[1].hvp(x, y, [W, along]).b1, curved)


A, B = MatrixSymbol("A", 2, 3), MatrixSymbol("B", 2, 3)
EXPRESSIONS = {
    "softmax": (Trace(softmax(A) * B.T), lambda a, b: (a.softmax(1) * b).sum()),
    "log_softmax": (-Trace(log_softmax(2 * A) * B.T), lambda a, b: -((2 * a).log_softmax(1) * b).sum()),
    "columns": (Trace(softmax(A.T) * B), lambda a, b: (a.softmax(0) * b).sum()),
    "written out": (
        total(HadamardProduct(A.applyfunc(exp), B)) / total(A.applyfunc(exp)),
        lambda a, b: (a.flatten().softmax(0) * b.flatten()).sum(),
    ),
    "logsumexp": (total(logsumexp(A).applyfunc(sin)), lambda a, b: a.logsumexp(1).sin().sum()),
}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", EXPRESSIONS)
def test_an_expression_keeps_the_digits_of_logits_of_any_size(name, dtype):
    """By autograd in float64 at the same logits less their largest, where that is what they mean."""
    loss, in_torch = EXPRESSIONS[name]
    variables = [variable for variable in (A, B) if loss.has(variable)]
    found = derivation(loss, variables)
    curved = found.hvp(*(MatrixSymbol(f"V{variable}", 2, 3) for variable in variables))
    functions = [{}, {}]
    for each, namespace in zip((found, curved), functions, strict=True):
        exec(each.torch(), namespace)
    given = {"B": torch.tensor([[1.0, 2.0, -1.0], [0.5, 0.0, 1.5]], dtype=dtype)}
    along = {"VA": torch.tensor([[0.5, -1.0, 0.25], [1.0, 0.0, 2.0]], dtype=dtype), "VB": given["B"] + 1}
    for shift in SHIFTS if name != "logsumexp" else SHIFTS[:2]:
        given["A"] = torch.stack([shifted(shift, dtype), shifted(shift, dtype).flip(0)])
        data = {str(variable): given[str(variable)] for variable in variables}
        exact = {name: value.double() for name, value in data.items()}
        exact["A"] -= 0 if name == "logsumexp" else shift
        leaves = [value.requires_grad_() for value in exact.values()]
        value = in_torch(exact["A"], exact.get("B"))
        slopes = torch.autograd.grad(value, leaves, create_graph=True)
        moved = sum((s * along[f"V{name}"].double()).sum() for s, name in zip(slopes, data, strict=True))
        second = torch.autograd.grad(moved, leaves)
        got, gradients = functions[0]["value_and_grad"](**data)
        directions = {name: value for name, value in along.items() if name[1:] in data}
        slope, curvature = functions[1]["value_and_grad"](**data, **directions)
        assert_digits(got, [value.item()])
        assert_digits(slope, [moved.item()], 128)
        for mine, theirs in ((gradients, slopes), (curvature, second)):
            for variable, e in zip(data, theirs, strict=True):
                assert_digits(getattr(mine, variable), e.flatten().tolist(), 128)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_masked_logits_stay_finite(dtype, emitted):
    """A logit of minus infinity has the probability 0, and its gradient is 0."""
    network = Network((1, 3), loss="(softmax(p) - y)**2")
    x, W, y = torch.zeros(1, 1, dtype=dtype), torch.zeros(3, 1, dtype=dtype), torch.tensor([[0.5, 0.5, 0]], dtype=dtype)
    b = torch.tensor([1e6, float("-inf"), 1e6 + 2], dtype=dtype)
    leaf = b.clone().requires_grad_()
    ((leaf.softmax(0) - y) ** 2).sum().backward()
    for value, gradient in (
        emitted(network).value_and_grad([W, b], x, y),
        emitted(network, "fast").FastGradient([W, b]).value_and_grad(x, y),
    ):
        assert torch.isfinite(value)
        torch.testing.assert_close(gradient.b1, leaf.grad)


@pytest.mark.parametrize("loss", ["sqrt(0.01 + (p - y)**2)", "log(1 + (p - y)**2)", "(p - y)**2/(1 + (p - y)**2)"])
def test_the_curvature_of_a_mean_has_the_digits_of_that_of_a_sum(loss, emitted):
    """Of one point with one output, where the two are one number; far out, where the terms of a curvature cancel."""
    W, y = torch.ones(1, 1), torch.zeros(1, 1)
    for x in (torch.full((1, 1), 10.0**k) for k in range(6)):
        total, mean = (
            emitted(Network((1, 1), loss=loss, reduction=reduction)).hvp([W, y[0]], x, y, [0 * W, 1 + y[0]])
            for reduction in ("sum", "mean")
        )
        torch.testing.assert_close(mean.b1, total.b1, rtol=1e-5, atol=0)


OF_DIFFERENCES = [
    "log(exp(p - y) + 2)",
    "log(cosh(p - y))",
    "tanh(3*(p - y))**2",
    "max(0.9*(y - p), 0.1*(p - y))",
    "0.3*(p - y + 1)**2",
    "softplus(0.7*(p - y) - 1)",
    "(softmax(3*(p - y)) - 0.2)**2",
]


@pytest.mark.parametrize("loss", OF_DIFFERENCES)
def test_what_is_near_its_target_is_subtracted_from_it_first(loss, emitted):
    """A loss of p - y has the digits that p - y has, wherever p and y are: theirs is exact here."""
    network, size = Network((1, 2), loss=loss), 2.0**22
    x, W, d = torch.zeros(1, 1), torch.zeros(2, 1), torch.tensor([0.5, -0.75])
    names = ("backward", "fast", "native")[: 3 if loss == OF_DIFFERENCES[0] else 2]
    modules = [emitted(network, name) for name in names]

    def results(c: float) -> list[list[torch.Tensor]]:
        given, y, along = [W, c + d], torch.full((1, 2), c), [W, torch.tensor([1.0, 0.25])]
        found = [[modules[0].value_and_grad(given, x, y), modules[0].hvp(given, x, y, along)]]
        for module, kind in zip(modules[1:], ("FastGradient", "NativeGradient"), strict=False):
            own = getattr(module, kind)(given)
            found.append([own.value_and_grad(x, y, copy=True), own.hvp(x, y, along)])
        return [[loss, gradient.b1, product.b1] for (loss, gradient), product in found]

    for far, near in zip(results(size), results(0.0), strict=True):
        for got, want in zip(far, near, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-6, atol=0)


@pytest.mark.parametrize("activation", ["identity", "sigmoid", "max(z, 0)", "min(3, z)", "clip(z, 0, 1)", "relu"])
def test_no_loss_is_a_number_where_a_prediction_is_none(activation, emitted):
    """Beside nan every comparison is false, and binary_cross_entropy was 100 there."""
    of_all = [name for name in LOSSES if (name == "binary_cross_entropy") == (activation == "sigmoid")]
    for loss in [*(of_all if activation in ("identity", "sigmoid") else []), "max(abs(p - y), 1)"]:
        module = emitted(Network((1, 1), output_activation=activation, loss=loss))
        one = torch.ones(1, 1)
        value, _ = module.value_and_grad([one, one[0] * math.nan], one, one)
        assert math.isnan(value), loss


HUBER = "where(abs(p - y) < 1, (p - y)**2/2, abs(p - y) - 0.5)"


@pytest.mark.parametrize("loss", [*(name for name in LOSSES if name != "binary_cross_entropy"), HUBER])
def test_the_slope_of_a_loss_is_no_number_where_torchs_is_none(loss, emitted):
    """That of huber_loss was 0 beside nan, as the sign of nan is to torch."""
    network, one, p = Network((1, 1), loss=loss), torch.ones(1, 1), torch.full((1, 1), math.nan, requires_grad=True)
    criterion(Network((1, 1), loss="smooth_l1_loss" if loss == HUBER else loss), p, one).backward()
    of_none = [one, one[0] * math.nan]
    fast = emitted(network, "fast").FastGradient(of_none)
    for gradient in (emitted(network).value_and_grad(of_none, one, one)[1], fast.value_and_grad(one, one)[1]):
        assert math.isnan(gradient.b1) == math.isnan(p.grad), loss


def test_what_fades_is_multiplied_before_its_factors_overflow(emitted):
    """Of exp(-p) (p - y)^2, whose square alone is infinite in float32 from 1.8e19 on."""
    network = Network((1, 1), loss="(p - y)**2 * exp(-p)")
    parameters = [torch.tensor([[1.0]]), torch.tensor([0.0])]
    x, y = torch.tensor([[1e25], [1e30]]), torch.zeros(2, 1)
    fast = emitted(network, "fast").FastGradient(parameters)
    for gradient in (fast.value_and_grad(x, y)[1], fast.hvp(x, y, parameters)):
        assert [part.abs().sum() for part in gradient] == [0, 0]
