"""Our gradients and autograd's meet here."""

import itertools
import re

import pytest
import torch

from derive.problems.network import Network
from generated import backward, dat, reference, run
from tests.helpers.gate import assert_agree, autograd, sequential
from tests.helpers.networks import NETWORKS


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("points", [1, 2, 7, 100, 1000])
def test_the_default_gradients_equal_autograds_bit_for_bit(points, dtype):
    for seed in range(30):
        parameters, x, y = run.sample(seed, points, dtype)
        _, mine = backward.value_and_grad(parameters, x, y)
        theirs = reference.gradients(seed, points, dtype)
        assert all(torch.equal(g, r) for g, r in zip(mine, theirs, strict=True)), f"seed {seed}"


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_any_network_agrees_with_autograd(network, emitted):
    for seed, rows in itertools.product(range(3), (1, 2, 17)):
        torch.manual_seed(seed)
        net = sequential(network, scale=2.0)
        x = torch.randn(rows, network.layers[0], dtype=torch.float64)
        y = torch.randn(rows, network.layers[-1], dtype=torch.float64)
        loss, gradients = emitted(network).value_and_grad(list(net.parameters()), x, y)
        assert_agree(gradients, autograd(network, net, x, y))
        assert_agree([emitted(network).forward(list(net.parameters()), x)], [net(x).detach()])
        expected = torch.nn.functional.mse_loss(net(x), y, reduction=network.reduction)
        torch.testing.assert_close(loss, expected.detach(), rtol=1e-14, atol=0)


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_the_emitted_reference_agrees_with_the_emitted_gradient(network, emitted):
    parameters, x, y = emitted(network, "run").sample(3, 20, torch.float64)
    _, gradients = emitted(network).value_and_grad(parameters, x, y)
    assert_agree(gradients, emitted(network, "reference").gradients(3, 20, torch.float64))


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_a_package_says_which_network_it_is(network, emitted):
    assert Network(**emitted(network).NETWORK) == network
    assert [tuple(p.shape) for p in sequential(network).parameters()] == list(emitted(network).SHAPES.values())


def test_no_rows_have_no_loss_and_no_gradient():
    parameters, _, _ = run.sample(5, 1, torch.float32)
    loss, gradients = backward.value_and_grad(parameters, torch.empty(0, 2), torch.empty(0, 1))
    assert loss == 0
    assert [g.shape for g in gradients] == [p.shape for p in parameters]
    assert all((gradient == 0).all() for gradient in gradients)


def test_a_mean_over_no_rows_is_refused(emitted):
    network = Network((2, 1), reduction="mean")
    parameters, _, _ = emitted(network, "run").sample(5, 1, torch.float32)
    with pytest.raises(ValueError, match="x: expected at least 1 row"):
        emitted(network).value_and_grad(parameters, torch.empty(0, 2), torch.empty(0, 1))


def test_inputs_may_be_strided_and_require_gradients():
    parameters, x, y = run.sample(6, 9, torch.float64)
    _, expected = backward.value_and_grad(parameters, x, y)
    wide = torch.zeros(18, 4, dtype=torch.float64)
    wide[::2, ::2] = x
    tracked = [parameter.clone().t().contiguous().t().requires_grad_() for parameter in parameters]
    loss, gradients = backward.value_and_grad(tracked, wide[::2, ::2], y)
    assert not loss.requires_grad and not any(gradient.requires_grad for gradient in gradients)
    assert_agree(gradients, expected)


def test_the_shapes_in_the_comments_are_the_shapes_of_the_tensors(emitted):
    line = re.compile(r"^(    (\w+) = .*)  # (\(.*?\))(?: .*)?$", re.MULTILINE)
    for network in NETWORKS:
        module = emitted(network)
        with open(module.__file__, encoding="utf-8") as file:
            source = file.read()
        checked, count = line.subn(r"\1; assert tuple(\2.shape) == \3, '\2'", source)
        assert count >= 6 * network.depth
        parameters, x, y = emitted(network, "run").sample(1, 13, torch.float32)
        scope = {"N": len(x)}
        exec(checked, scope)
        scope["forward"](parameters, x)
        for name in ("value_and_grad", "input_grad", "per_sample_grad"):
            scope[name](parameters, x, y)
        scope["jvp"](parameters, x, parameters)
        scope["hvp"](parameters, x, y, parameters)


def test_the_random_state_of_the_caller_is_left_alone():
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    run.sample(1, 2, torch.float32)
    reference.gradients(1, 2, torch.float32)
    assert torch.equal(torch.rand(3), expected)


def test_the_printed_numbers_of_the_notebook_agree_with_each_other(emitted):
    """The notebook prints 4 decimals of a 2-10-5-1 run: its gradients must be outer products of each other."""
    db3, loss = -1.8976, 0.9002
    db1 = torch.tensor([0.0065, 0.0037, -0.0113, -0.0054, -0.0011, -0.0105, 0.0058, 0.0083, 0.0044, -0.0121])
    dw1 = torch.tensor([26, 46, 15, 26, -45, -79, -21, -38, -4, -7, -42, -74, 23, 41, 33, 59, 17, 31, -48, -85]) / 1e4
    db2 = torch.tensor([-0.0764, 0.1035, 0.1162, 0.0371, 0.0461])
    dw3 = torch.tensor([-1.1295, -0.5753, -1.1748, -1.0965, -1.0258])
    a1 = torch.tensor([352, 341, 467, 493, 220, 231, 426, 493, 361, 348]) / 764
    x = torch.linalg.lstsq(db1[:, None], dw1.view(10, 2)).solution
    a2 = dw3 / db3

    module = emitted(Network((2, 10, 5, 1)))
    W1 = torch.randn(10, 2)
    W2 = torch.randn(5, 10)
    b1 = torch.logit(a1) - W1 @ x[0]
    b2 = torch.logit(a2) - W2 @ a1
    W3 = (db2 / (db3 * a2 * (1 - a2)))[None]
    y = (x**2).sum(1, keepdim=True) / 2
    b3 = y[0] + db3 / 2 - W3 @ a2
    value, gradients = module.value_and_grad([W1, b1, W2, b2, W3, b3], x, y)
    assert abs(value - loss) < 2e-4
    assert abs(gradients.b3.item() - db3) < 1e-4
    torch.testing.assert_close(gradients.W3[0], dw3, rtol=0, atol=1e-4)
    torch.testing.assert_close(gradients.b2, db2, rtol=0, atol=1e-4)
    torch.testing.assert_close(
        gradients.W2[0], -(torch.tensor([352, 341, 467, 493, 220, 231, 426, 493, 361, 348]) / 1e4), rtol=0, atol=2e-4
    )
    torch.testing.assert_close(gradients.W1, gradients.b1[:, None] * x, rtol=1e-5, atol=0)


def test_run_compares_what_it_wrote(tmp_path, capsys):
    assert run.main(["--compare", "--points", "50", "--dtype", "float64", "--out", str(tmp_path)]) == 0
    mine, theirs = (tmp_path / f"{name}_autograd.dat" for name in ("my", "torch"))
    assert mine.read_bytes() == theirs.read_bytes()
    table = capsys.readouterr().out
    assert [line.split()[0] for line in table.splitlines() if line.startswith("dLd")] == list(
        dat.headers(backward.SHAPES).values()
    )
