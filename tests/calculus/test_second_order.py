"""Gradients in the inputs and a sample, Jacobian and Hessian times a direction: against torch.func, and their laws."""

import pytest
import torch
from torch.func import functional_call, grad, jvp

from derive.formulas.functions import FUNCTIONS
from derive.formulas.losses import LOSSES
from derive.problems.network import Network
from tests.helpers.gate import assert_agree, criterion, sequential
from tests.helpers.networks import NETWORKS, targets

KINDS = [
    *NETWORKS,
    *(Network((3, 4, 2, 2), activation, "identity", "squared_error", "mean") for activation in FUNCTIONS),
    *(
        Network((3, 4, 2), "tanh", "sigmoid" if loss == "binary_cross_entropy" else "identity", loss, reduction)
        for loss in LOSSES
        for reduction in ("sum", "mean")
    ),
]


def case(network: Network, rows: int = 6):
    """Parameters by name, a direction, data, and torch's loss as a function of the parameters and of x."""
    torch.manual_seed(4)
    net = sequential(network, scale=1.5)
    parameters = {name: value.detach() for name, value in net.named_parameters()}
    direction = {name: torch.randn_like(value) for name, value in parameters.items()}
    x, y = torch.randn(rows, network.layers[0], dtype=torch.float64), targets(network, rows)

    def predict(values, inputs):
        return functional_call(net, values, (inputs,))

    def loss(values, inputs, target):
        p = predict(values, inputs)
        if network.loss == "binary_cross_entropy":  # torch adds 1e-12 to the denominator of its second derivative
            return getattr(-target * p.log() - (1 - target) * (1 - p).log(), network.reduction)()
        return criterion(network, p, target)

    return parameters, direction, x, y, predict, loss


def curvature(parameters, along, loss):
    """Hessian times direction by double backward."""
    leaves = [value.clone().requires_grad_() for value in parameters.values()]
    first = torch.autograd.grad(loss(dict(zip(parameters, leaves, strict=True))), leaves, create_graph=True)
    inner = sum((g * d).sum() for g, d in zip(first, along, strict=True))
    return torch.autograd.grad(inner, leaves, materialize_grads=True)


@pytest.mark.parametrize("network", KINDS, ids=str)
def test_all_agree_with_torch_func(network, emitted):
    parameters, direction, x, y, predict, loss = case(network)
    module, values, along = emitted(network), list(parameters.values()), list(direction.values())

    inputs = grad(loss, argnums=1)(parameters, x, y)
    assert_agree([module.input_grad(values, x, y)], [inputs], 64.0)

    each = [list(grad(loss)(parameters, x[n : n + 1], y[n : n + 1]).values()) for n in range(len(x))]
    stacked = [torch.stack(rows) for rows in zip(*each, strict=True)]
    assert_agree(module.per_sample_grad(values, x, y), stacked, 64.0)

    moved = jvp(lambda p: predict(p, x), (parameters,), (direction,))
    assert_agree(module.jvp(values, x, along), moved, 64.0)

    curved = curvature(parameters, along, lambda named: loss(named, x, y))
    assert_agree(module.hvp(values, x, y, along), curved, 512.0)


@pytest.mark.parametrize(
    "network", [Network(), Network((3, 5, 4, 2), "gelu", "identity", "cross_entropy", "mean")], ids=str
)
def test_the_hessian_is_symmetric_and_linear(network, emitted):
    parameters, u, x, y, _, _ = case(network)
    module, values, u = emitted(network), list(parameters.values()), list(u.values())
    v = [torch.randn_like(value) for value in values]
    Hu, Hv = (module.hvp(values, x, y, direction) for direction in (u, v))
    inner = [sum(float((a * b).sum()) for a, b in zip(*pair, strict=True)) for pair in ((u, Hv), (v, Hu))]
    assert inner[0] == pytest.approx(inner[1], rel=1e-12)
    both = module.hvp(values, x, y, [2 * a - b for a, b in zip(u, v, strict=True)])
    for whole, a, b in zip(both, Hu, Hv, strict=True):
        torch.testing.assert_close(whole, 2 * a - b, rtol=1e-11, atol=1e-12)


def test_jvp_and_gradient_are_adjoint(emitted):
    """<w, J v> = <J^T w, v>, with J^T w from the gradient of a loss whose derivative in the prediction is w."""
    network = Network((3, 5, 2), "tanh", "identity", "p*y", "sum")
    parameters, direction, x, w, _, _ = case(network)
    values, along = list(parameters.values()), list(direction.values())
    module = emitted(network)
    left = float((w * module.jvp(values, x, along)[1]).sum())
    gradients = module.value_and_grad(values, x, w)[1]
    right = sum(float((a * b).sum()) for a, b in zip(gradients, along, strict=True))
    assert left == pytest.approx(right, rel=1e-12)


def test_a_wrong_direction_is_named(emitted):
    parameters, direction, x, y, _, _ = case(Network())
    values, along = list(parameters.values()), list(direction.values())
    module, turned = emitted(Network()), [along[0].T, *along[1:]]
    fast = emitted(Network(), "fast").FastGradient(values)
    for call in (
        lambda d: module.jvp(values, x, d),
        lambda d: module.hvp(values, x, y, d),
        lambda d: fast.hvp(x, y, d),
    ):
        with pytest.raises(ValueError, match=r"^direction.W1: expected shape \(10, 2\), got \(2, 10\) - transposed\?$"):
            call(turned)
        with pytest.raises(TypeError, match=r"^direction.W1: expected dtype torch.float32 or .*, got torch.float16"):
            call([part.half() for part in along])
