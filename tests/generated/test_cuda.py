"""On a CUDA device, where torch sees one: what is emitted gives there what it gives on the processor."""

import pytest
import torch
from sympy import Determinant, MatrixSymbol, Trace, log

from derive import derivation, pullback
from derive.module import module_derivation
from derive.problems.network import Network
from generated import run, train, weights
from tests.helpers.beside_autograd import loaded, truth
from tests.helpers.gate import relative
from tests.helpers.layers import GPTBlock, r
from tests.helpers.networks import NETWORKS, targets
from tests.helpers.programs import torchrun

DEVICE = torch.device("cuda", 0)
CLOSE = {torch.float64: 1e-11, torch.float32: 1e-4}
WIDE = Network((64, 256, 128, 3), "silu", loss="smooth_l1_loss", bias="hidden")
MORE = [
    *NETWORKS,
    Network((3, 8, 5), "gelu", loss="cross_entropy", reduction="mean", penalty="0.05*w**2"),
    Network((3, 8, 8, 2), ("z*sigmoid(z)", "tanh"), loss="abs(p - y)**3", skip=((1, 2),)),
    WIDE,
    Network((20, 60, 50, 5), "softplus", "sigmoid", loss="binary_cross_entropy", reduction="batchmean"),
]
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
every = pytest.mark.parametrize("network", MORE, ids=str)


def drawn(network, rows, device, dtype):
    """Parameters, a direction for them, inputs and targets; the same numbers everywhere."""
    torch.manual_seed(rows)
    parameters, direction = ([torch.randn(s).double() / s[-1] ** 0.5 for s in network.shapes.values()] for _ in "pd")
    groups = parameters, direction, [torch.randn(rows, network.layers[0]).double(), targets(network, rows)]
    return ([one.to(torch.float32).to(device, dtype) for one in group] for group in groups)


def agree(mine, right):
    """What was computed on the device, and what the processor gives of the same numbers in float64."""
    mine, right = list(mine), list(right)
    assert len(mine) == len(right)
    for place, (g, expected) in enumerate(zip(mine, right, strict=True)):
        assert g.device == DEVICE and g.shape == expected.shape
        off = relative(g.cpu().double(), expected)
        assert off <= CLOSE[g.dtype], f"part {place} is off by {off}"


@every
@pytest.mark.parametrize("dtype", CLOSE, ids=str)
def test_each_function_of_the_readable_module(network, dtype, emitted):
    backward = emitted(network)

    def computed(device, dtype):
        parameters, direction, (x, y) = drawn(network, 50, device, dtype)
        yield backward.forward(parameters, x)
        loss, gradient = backward.value_and_grad(parameters, x, y)
        yield from (loss, *gradient, backward.input_grad(parameters, x, y))
        yield from backward.per_sample_grad(parameters, x, y)
        yield from backward.jvp(parameters, x, direction)
        yield from backward.hvp(parameters, x, y, direction)

    agree(computed(DEVICE, dtype), computed("cpu", torch.float64))


@every
@pytest.mark.parametrize("dtype", CLOSE, ids=str)
@pytest.mark.parametrize("kind", ["fast.FastGradient", "native.NativeGradient"])
def test_each_function_of_the_fast_ones(network, dtype, kind, emitted):
    module, name = kind.split(".")
    backward = emitted(network)

    def fast():
        parameters, direction, (x, y) = drawn(network, 70, DEVICE, dtype)
        made = getattr(emitted(network, module), name)(parameters)
        for rows in (1, 2, 70):
            loss, gradient = made.value_and_grad(x[:rows], y[:rows], copy=True)
            yield from (loss, *gradient, *(part.clone() for part in made.per_sample_grad(x[:rows], y[:rows])))
            yield from (part.clone() for part in made.hvp(x[:rows], y[:rows], direction))
        if network.reduction == "sum":
            loss, gradient = made.accumulate(zip(x.split(16), y.split(16), strict=True))
            yield from (loss, *gradient)

    def readable():
        parameters, direction, (x, y) = drawn(network, 70, "cpu", torch.float64)
        for rows in (1, 2, 70):
            loss, gradient = backward.value_and_grad(parameters, x[:rows], y[:rows])
            yield from (loss, *gradient, *backward.per_sample_grad(parameters, x[:rows], y[:rows]))
            yield from backward.hvp(parameters, x[:rows], y[:rows], direction)
        if network.reduction == "sum":
            loss, gradient = backward.value_and_grad(parameters, x, y)
            yield from (loss, *gradient)

    agree(fast(), readable())


def test_more_rows_than_a_chunk(emitted):
    parameters, _, _ = drawn(Network(), 1, DEVICE, torch.float32)
    made = emitted(Network(), "fast").FastGradient(parameters)
    _, _, (x, y) = drawn(Network(), 2 * made._chunk + 5, DEVICE, torch.float32)
    loss, gradient = made.value_and_grad(x, y)
    right, wanted = emitted(Network()).value_and_grad([p.double() for p in parameters], x.double(), y.double())
    agree([loss, *gradient], [right.cpu(), *(part.cpu() for part in wanted)])


def test_an_optimizer_steps_on_a_bound_module(emitted):
    losses = []
    for device in ("cpu", DEVICE):
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Linear(2, 10), torch.nn.Sigmoid(), torch.nn.Linear(10, 10))
        net = torch.nn.Sequential(*net, torch.nn.Sigmoid(), torch.nn.Linear(10, 1)).double().to(device)
        _, _, (x, y) = drawn(Network(), 64, device, torch.float64)
        made = emitted(Network(), "fast").FastGradient(net.parameters())
        made.bind(net)
        optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
        for _ in range(20):
            made.value_and_grad(x, y)
            optimizer.step()
        losses.append(made.value_and_grad(x, y)[0].item())
    assert losses[1] == pytest.approx(losses[0], rel=1e-9)


@pytest.mark.parametrize("kind", ["loss", "loss_op"])
def test_inside_autograd(kind, emitted):
    parameters, _, (x, y) = drawn(Network(), 5, DEVICE, torch.float64)
    moving = [one.requires_grad_() for one in (x, *parameters)]
    loss = getattr(emitted(Network(), "function"), kind)
    assert torch.autograd.gradcheck(lambda x, *ps: 3 * loss(ps, x, y), moving)


def test_what_lies_on_another_device_is_named(emitted):
    parameters, _, (x, y) = drawn(Network(), 5, DEVICE, torch.float64)
    for call in (
        emitted(Network()).value_and_grad,
        lambda p, *data: emitted(Network(), "fast").FastGradient(p).value_and_grad(*data),
    ):
        with pytest.raises(ValueError, match=r"x: .*cpu"):
            call(parameters, x.cpu(), y)


def test_an_expression_and_a_layer():
    S, X, W = MatrixSymbol("S", 3, 3), MatrixSymbol("X", 4, 3), MatrixSymbol("W", 3, 2)
    texts = [
        derivation(log(Determinant(S)) + Trace(X * S.inv() * X.T), [S, X]).torch(),
        pullback(X * S * W, [X, S, W]).torch(),
    ]
    torch.manual_seed(0)
    given = {"S": torch.eye(3).double() + 0.1, "X": torch.randn(4, 3).double(), "W": torch.randn(3, 2).double()}
    for text, extra in zip(texts, ({}, {"G": torch.randn(4, 2).double()}), strict=True):
        tensors = given | extra if extra else {name: given[name] for name in "SX"}
        there = {name: tensor.to(DEVICE) for name, tensor in tensors.items()}
        function = loaded(text).value_and_grad
        (value, gradient), (right, wanted) = function(**there), function(**tensors)
        agree([value, *gradient], [right, *wanted])


def test_the_text_of_a_module():
    derived = module_derivation(GPTBlock(4, 8).double(), [r(2, 3, 4).double()])
    text = loaded(derived.source())
    names = text.forward.__code__.co_varnames[: text.forward.__code__.co_argcount]
    _, cotangents, gradients, tensors = truth(derived.module)
    _, saved = text.forward(*(tensors[name].to(DEVICE) for name in names))
    mine = text.backward(*(one.to(DEVICE) for one in cotangents), saved)
    agree(mine.values(), [gradients[name] for name in mine])


def test_the_commands(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    for options in ([], ["--points", "1000", "--dtype", "float64"], ["--points", "600000"], ["--backend", "torch"]):
        assert run.main(["--device", "cuda", "--compare", "--force", *options]) == 0, capfd.readouterr().out
    assert run.main(["--device", "cuda", "--backend", "native", "--force"]) == 2
    assert "--backend native: computes on the CPU, not on cuda:0" in capfd.readouterr().err
    found = []
    for device in ("cpu", "cuda"):
        options = ["--epochs", "3", "--points", "100", "--dtype", "float64", "--out", f"{device}.pt"]
        assert train.main(["--device", device, *options]) == 0
        found.append(list(weights.load(tmp_path / f"{device}.pt", torch.float64)))
    for mine, wanted in zip(*reversed(found), strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-9, atol=1e-12)


def test_a_process_of_a_group(tmp_path):
    options = ["--device", "cuda", "--points", "600000", "--compare", "--out", str(tmp_path)]
    done = torchrun(1, ["-m", "generated.run", *options])
    assert done.returncode == 0 and "all gradients agree" in done.stdout, done.stdout + done.stderr
