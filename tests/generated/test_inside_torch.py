"""The emitted gradient inside torch: as an autograd function, as an operator, and with modules and state_dicts."""

import operator

import pytest
import torch
from torch.autograd import forward_ad

from derive.problems.network import Network
from generated import backward, function, run
from tests.helpers.gate import assert_agree, autograd, sequential

NETWORKS = [
    Network((2, 3, 1), activation="tanh"),
    Network((3, 4, 2), activation="softplus", output_activation="tanh", reduction="mean"),
    Network((3, 4, 2), activation="silu", loss="cross_entropy", reduction="mean"),
    Network((1, 1), activation="z*sin(z)", loss="(p - y)**4"),
    Network(),
]


def drawn(network: Network, rows: int = 5) -> tuple[torch.nn.Sequential, torch.Tensor, torch.Tensor]:
    torch.manual_seed(4)
    x = torch.randn(rows, network.layers[0], dtype=torch.float64, requires_grad=True)
    y = torch.rand(rows, network.layers[-1], dtype=torch.float64)
    return sequential(network, scale=1.5), x, y


@pytest.mark.parametrize("kind", ["loss", "loss_op"])
@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_gradcheck_passes(network, kind, emitted):
    net, x, y = drawn(network)
    loss = getattr(emitted(network, "function"), kind)
    assert torch.autograd.gradcheck(lambda x, *ps: 3 * loss(ps, x, y), (x, *net.parameters()))


@pytest.mark.parametrize("kind", ["loss", "loss_op"])
@pytest.mark.parametrize("network", NETWORKS[:3], ids=str)
def test_a_training_step_gives_autograds_gradient(network, kind, emitted):
    net, x, y = drawn(network)
    want = [-2 * gradient for gradient in autograd(network, net, x, y)]
    (-2 * getattr(emitted(network, "function"), kind)(net.parameters(), x, y)).backward()
    assert_agree([parameter.grad for parameter in net.parameters()], want)
    assert_agree([x.grad], [-2 * emitted(network).input_grad(list(net.parameters()), x, y)])


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_opcheck_passes(network, emitted):
    net, x, y = drawn(network)
    operator = emitted(network, "function").value_and_grads_op
    parameters = list(net.parameters())
    for sample in [
        (parameters, x, y, True),
        (parameters, x.detach(), y, False),
        ([parameter.detach() for parameter in parameters], x, y, True),
        ([parameters[0].detach(), *parameters[1:]], x.detach(), y, False),
    ]:
        torch.library.opcheck(operator, sample)


@pytest.mark.parametrize("kind", ["loss", "loss_op"])
def test_only_what_is_asked_for_is_given(kind):
    loss = getattr(function, kind)
    parameters, x, y = run.sample(1, 5, torch.float64)
    assert not loss(parameters, x, y).requires_grad
    W1, *rest = parameters
    W1 = W1.clone().requires_grad_()
    loss([W1, *rest], x, y).backward()
    assert torch.equal(W1.grad, backward.value_and_grad(parameters, x, y)[1].W1)
    assert all(parameter.grad is None for parameter in rest) and x.grad is None
    tracked = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(loss(parameters, tracked, y), tracked)
    assert torch.equal(slope, backward.input_grad(parameters, x, y))
    with torch.inference_mode():
        assert loss(parameters, x, y) == backward.value_and_grad(parameters, x, y)[0]


@pytest.mark.parametrize("kind", ["loss", "loss_op"])
def test_what_is_not_derived_is_refused(kind):
    loss = getattr(function, kind)
    parameters, x, y = run.sample(1, 5, torch.float64)
    with pytest.raises(ValueError, match=r"y: no gradient in y is derived"):
        loss(parameters, x, y.clone().requires_grad_())
    with pytest.raises(ValueError, match=r"x: expected shape \(5, 2\), got \(5, 3\)"):
        loss(parameters, torch.rand(5, 3, dtype=torch.float64), y)
    tracked = x.clone().requires_grad_()
    with pytest.raises(RuntimeError, match=r"create_graph: no second derivative is derived; backward.hvp"):
        torch.autograd.grad(loss(parameters, tracked, y) + tracked.sum() ** 2, tracked, create_graph=True)
    with pytest.raises(RuntimeError, match=r"create_graph: "):
        torch.autograd.functional.hessian(lambda x: loss(parameters, x, y), x)


@pytest.mark.parametrize("kind", ["loss", "loss_op"])
@pytest.mark.parametrize("place", range(8))
def test_no_tangent_is_lost(kind, place):
    parameters, x, y = run.sample(1, 5, torch.float64)
    tensors = [*parameters, x, y]
    with forward_ad.dual_level():
        tensors[place] = forward_ad.make_dual(tensors[place], torch.ones_like(tensors[place]))
        with pytest.raises(RuntimeError, match=r"jvp"):
            getattr(function, kind)(tensors[:6], *tensors[6:])


@pytest.mark.parametrize("kind", ["loss", "loss_op"])
def test_what_is_no_tensor_is_named(kind):
    loss = getattr(function, kind)
    parameters, x, y = run.sample(1, 5, torch.float64)
    with pytest.raises(TypeError, match=r"^x: expected a torch.Tensor, got ndarray; torch.from_numpy\(x\)"):
        loss(parameters, x.numpy(), y)
    with pytest.raises(TypeError, match=r"^y: expected a torch.Tensor, got list$"):
        loss(parameters, x, [1.0])
    with pytest.raises(TypeError, match=r"^b3: expected a torch.Tensor, got NoneType$"):
        loss([*parameters[:-1], None], x, y)
    with pytest.raises(TypeError, match=r"^parameters: expected a sequence of tensors, got int$"):
        loss(3, x, y)


def test_the_gradients_of_the_operator_have_no_record_of_their_own():
    parameters, x, y = run.sample(1, 5, torch.float64)
    tracked = [parameter.clone().requires_grad_() for parameter in parameters]
    _, _, gradients = function.value_and_grads_op(tracked, x, y, False)
    assert not any(gradient.requires_grad for gradient in gradients)
    with pytest.raises(ValueError, match="in_x: must be true"):
        function.value_and_grads_op(tracked, x.clone().requires_grad_(), y, False)


def test_packages_have_operators_of_their_own(emitted):
    modules = [emitted(network, "function") for network in NETWORKS]
    assert len({module.value_and_grads_op._qualname for module in modules}) == len(modules)


def test_the_operator_is_called_after_its_package():
    assert function.value_and_grads_op._qualname == "derived::generated_value_and_grads"


def test_parameters_are_taken_from_a_module_and_put_into_one():
    net, other = sequential(Network()), sequential(Network())
    before = [parameter.detach().clone() for parameter in net.parameters()]
    taken = backward.Parameters.from_module(net)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(taken, net.parameters(), strict=True))
    assert not any(tensor.requires_grad for tensor in taken)
    assert taken.to_module(other) is other
    for module in (net, other):
        assert all(torch.equal(a, b) for a, b in zip(module.parameters(), before, strict=True))
    assert all(parameter.requires_grad for parameter in other.parameters())
    state = sequential(Network()).state_dict()
    assert all(torch.equal(a, b) for a, b in zip(taken, taken.to_module(state).values(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(taken, backward.Parameters.from_module(state), strict=True))
    with torch.inference_mode():
        backward.Parameters.from_module(net).to_module(other)


def test_a_module_that_does_not_match_is_shown_beside_ours():
    net = sequential(Network((2, 10, 1)))
    before = [parameter.clone() for parameter in net.parameters()]
    both = r"W1 \(10, 2\), .*b3 \(1,\), got 0.weight \(10, 2\), .*2.bias \(1,\)$"
    with pytest.raises(ValueError, match=both):
        backward.Parameters.from_module(net)
    with pytest.raises(ValueError, match=both):
        run.sample(1, 1, torch.float64)[0].to_module(net)
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
    with pytest.raises(ValueError, match="got none"):
        backward.Parameters.from_module({})
    with pytest.raises(TypeError, match="state_dict, got int"):
        backward.Parameters.from_module(3)
    with pytest.raises(TypeError, match=r"a: expected a torch.Tensor, got int"):
        backward.Parameters.from_module({"a": 3})
    with pytest.raises(TypeError, match=r"W1: expected a torch.Tensor, got int"):
        backward.Parameters(*range(6)).to_module(sequential(Network()))


@pytest.mark.parametrize("change", [lambda b: b.to_sparse(), lambda b: b.to("meta"), lambda b: b[:1].expand(10)])
def test_a_target_that_cannot_take_each_entry_stays_as_it_was(change):
    state = {name: torch.zeros_like(value) for name, value in sequential(Network()).state_dict().items()}
    state["2.bias"] = change(state["2.bias"])
    with pytest.raises(ValueError, match=r"target: its tensor for b2 is sparse, expanded or on meta"):
        run.sample(1, 1, torch.float64)[0].to_module(state)
    assert not state["0.weight"].any()


class Model(torch.nn.Module):
    def __init__(self, parameters):
        super().__init__()
        self.weights = torch.nn.ParameterList(map(torch.clone, parameters))

    def forward(self, x, y):
        return function.loss_op(list(self.weights), x, y)


def test_compile_and_export_keep_the_operator_whole():
    parameters, x, y = run.sample(1, 5, torch.float64)
    model = Model(parameters)
    torch.compile(model, backend="aot_eager", fullgraph=True)(x, y).backward()
    assert_agree([weight.grad for weight in model.weights], backward.value_and_grad(parameters, x, y)[1])
    nodes = torch.export.export(model, (x, y)).graph.nodes
    called = [node.target for node in nodes if node.op == "call_function" and node.target is not operator.getitem]
    assert called == [torch.ops.derived.generated_value_and_grads.default]
