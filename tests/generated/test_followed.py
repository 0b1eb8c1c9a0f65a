"""Derivatives that torch would take through code which detaches: refused, where in silence they were zero."""

import pytest
import torch
from sympy import MatrixSymbol, Trace
from torch.autograd import forward_ad

from derive import derivation
from generated import backward, fast, run

P, X, Y = run.sample(1, 5, torch.float64)
D = tuple(torch.ones_like(parameter) for parameter in P)
READABLE = {
    "forward": lambda parameters, x: backward.forward(parameters, x),
    "value_and_grad": lambda parameters, x: backward.value_and_grad(parameters, x, Y)[0],
    "its gradient": lambda parameters, x: backward.value_and_grad(parameters, x, Y)[1].W2,
    "input_grad": lambda parameters, x: backward.input_grad(parameters, x, Y),
    "per_sample_grad": lambda parameters, x: backward.per_sample_grad(parameters, x, Y).W1,
    "jvp": lambda parameters, x: backward.jvp(parameters, x, D)[1],
    "jvp along": lambda parameters, x: backward.jvp(D, x.detach(), parameters)[1],
    "hvp": lambda parameters, x: backward.hvp(parameters, x, Y, D).W1,
    "hvp along": lambda parameters, x: backward.hvp(D, x.detach(), Y, parameters).W1,
}
FAST = fast.FastGradient(P)
ON_BUFFERS = {
    "value_and_grad": lambda x: FAST.value_and_grad(x, Y)[0].clone(),
    "per_sample_grad": lambda x: FAST.per_sample_grad(x, Y).W1,
    "hvp": lambda x: FAST.hvp(x, Y, D).W1.clone(),
    "y": lambda x: FAST.value_and_grad(X, x[:, :1])[0].clone(),
    "a flat direction": lambda x: FAST.hvp(X, Y, x.sum() * torch.ones(151, dtype=torch.float64)).W1.clone(),
}


def dual(function, x):
    with forward_ad.dual_level():
        return function(forward_ad.make_dual(x, torch.ones_like(x)))


WAYS = {
    "grad": lambda function, x: torch.func.grad(lambda x: function(x).sum())(x),
    "jvp": lambda function, x: torch.func.jvp(function, (x,), (torch.ones_like(x),)),
    "jacrev": lambda function, x: torch.func.jacrev(function)(x),
    "jacfwd": lambda function, x: torch.func.jacfwd(function)(x),
    "hessian": lambda function, x: torch.func.hessian(lambda x: function(x).sum())(x),
    "vmap of grad": lambda function, x: torch.vmap(torch.func.grad(lambda x: function(x).sum()))(x[None]),
    "grad of vmap": lambda function, x: torch.func.grad(lambda x: torch.vmap(function)(x[None]).sum())(x),
    "a dual number": dual,
}
FOUND = "torch.func or forward mode would take a derivative in it through here and find 0; "


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", READABLE)
def test_a_derivative_in_data_or_parameters_is_refused(name, way):
    if " along" not in name:
        with pytest.raises(ValueError, match=f"^x: {FOUND}"):
            WAYS[way](lambda x: READABLE[name](P, x), X)
    with pytest.raises(ValueError, match=f"^(direction.)?W2: {FOUND}"):
        WAYS[way](lambda W2: READABLE[name](P._replace(W2=W2), X), P.W2)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ON_BUFFERS)
def test_a_derivative_through_buffers_is_refused(name, way):
    with pytest.raises(ValueError, match=f"{FOUND}|does not go through buffers"):
        WAYS[way](ON_BUFFERS[name], X)


@pytest.mark.parametrize("name", [name for name in READABLE if " along" not in name])
def test_what_takes_no_derivative_stays_right(name):
    """vmap over data and over parameters, detached data, and data that a transform only passes by."""
    function = READABLE[name]
    expected = function(P, X)
    stacked = backward.Parameters(*(torch.stack([p, p]) for p in P))
    for found in (
        torch.vmap(lambda x: function(P, x))(torch.stack([X, X]))[1],
        torch.vmap(lambda *parameters: function(parameters, X))(*stacked)[1],
        torch.func.jvp(lambda x: function(P, x.detach()), (X,), (X,))[0],
        torch.func.functionalize(lambda x: function(P, x))(X),
    ):
        torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-15)
    slope = torch.func.grad(lambda s: (s * function(P, X)).sum())(torch.ones((), dtype=torch.float64))
    torch.testing.assert_close(slope, expected.sum(), rtol=1e-13, atol=1e-15)
    with forward_ad.dual_level():
        torch.testing.assert_close(function(P, X), expected, rtol=0, atol=0)


@pytest.mark.parametrize("way", WAYS)
def test_a_module_of_an_expression_refuses_too(way):
    A = MatrixSymbol("A", 2, 2)
    namespace = {}
    exec(derivation(Trace(A.T * A * A), [A]).torch(), namespace)
    a = torch.randn(2, 2, dtype=torch.float64)
    with pytest.raises(ValueError, match=f"^A: {FOUND}"):
        WAYS[way](lambda A: namespace["value_and_grad"](A=A)[0], a)
    both = torch.vmap(lambda A: namespace["value_and_grad"](A=A)[1].A)(torch.stack([a, a]))
    torch.testing.assert_close(both[1], namespace["value_and_grad"](A=a)[1].A)


def test_a_module_or_state_dict_for_parameters_is_named():
    net = torch.nn.Sequential(torch.nn.Linear(2, 10), torch.nn.Sigmoid())
    for given, kind in ((net, "Linear"), (torch.nn.Linear(2, 10), "Linear"), (net.state_dict(), "str")):
        with pytest.raises(TypeError, match=rf"got {kind}; pass net.parameters\(\), or Parameters.from_module\(net\)"):
            backward.value_and_grad(given, X, Y)
