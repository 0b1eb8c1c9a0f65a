"""Each operation that audits know is what torch computes, on numbers of both signs."""

import math

import numpy
import pytest
import torch
import torch.nn.functional as F
from mpmath import mp, mpf

from derive.modules import evaluate
from derive.modules.entries import decimal, lifted_by, of_data
from derive.modules.graph import recorded
from derive.modules.steps import Graph


def r(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def positive(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, dtype=torch.float64) + 0.1


def within(*shape: int) -> torch.Tensor:
    return 2 * torch.rand(*shape, dtype=torch.float64) - 1


i = torch.tensor([[1, 0, 3], [2, 3, 3]])
MASK = torch.tensor([[True, False, True], [True, True, False]])
HIDDEN = torch.tensor([[0.0, -math.inf, 0.0], [0.0, 0.5, -math.inf]], dtype=torch.float64)
ONE, TWO = ((True, layers, 0.0, True, False, False) for layers in (1, 2))  # what recurrent networks are told
BATCHED = False, 1, 0.0, True, False, True


def states(x, layers):
    """What is kept of a recurrent network, of each layer."""
    return x[None, :, :2].repeat(layers, 1, 1), x[None, :, 1:].repeat(layers, 1, 1)


ARITHMETIC = (
    lambda x, y, i: x + y,
    lambda x, y, i: torch.add(x, y, alpha=3),
    lambda x, y, i: x - y,
    lambda x, y, i: torch.sub(x, y, alpha=0.5),
    lambda x, y, i: 1 - x,
    lambda x, y, i: torch.rsub(x, y, alpha=2),
    lambda x, y, i: x * y[:1],
    lambda x, y, i: x / y,
    lambda x, y, i: 2 / x,
    lambda x, y, i: x / i.sum(),
    lambda x, y, i: (i + 1) * (i - 2) - i // 2 + x,
    lambda x, y, i: x**3 + x**-2,
    lambda x, y, i: 2**x,
    lambda x, y, i: y.abs() ** x,
    lambda x, y, i: torch.maximum(x, y) + torch.minimum(x, y) * 2,
    lambda x, y, i: torch.max(x, y) - 3 * torch.min(x, y),
    lambda x, y, i: x.clamp(-0.3, 0.4) + x.clamp(min=0.1) + x.clamp(max=0.2),
    lambda x, y, i: torch.clamp_min(x, 0.1) * torch.clamp_max(y, 0.1),
    lambda x, y, i: torch.addcmul(x, x, y, value=0.5) + torch.addcdiv(x, y, y, value=2),
    lambda x, y, i: torch.lerp(x, y, 0.3) + torch.lerp(x, y, x),
    lambda x, y, i: torch.where(x > y, x, 0.5) + torch.where(x > 0, 1, 2),
    lambda x, y, i: x.masked_fill(x < y, 2.0) + x.masked_fill(i > 1, -1.0),
    lambda x, y, i: (x >= y) * x + (x <= 0.1).double() + (x == y).to(x.dtype) + (x != x).float(),
    lambda x, y, i: ((x > 0) & (y > 0) | ~(x > y)).double(),
    lambda x, y, i: torch.bitwise_and(x > 0, torch.bitwise_or(y > 0, x < y)) * x,
    lambda x, y, i: torch.logical_and(x > 0, y > 0) * torch.logical_not(torch.logical_or(x > 0, y < 0)) + x,
    lambda x, y, i: ((i > 1) & (i < 3) | (i == 0) | ~(i >= 1) | (i <= 0) | (i != 1)) * x,
)
FORMULAS = (
    lambda x, y, i: x.abs() + x.neg() + x.square() + x.reciprocal() + x.sign() + torch.sgn(x) + torch.positive(x),
    lambda x, y, i: x.exp() + x.expm1() + x.sin() + x.cos() + x.tan() + x.sinh() + x.cosh() + x.tanh() + x.atan(),
    lambda x, y, i: x.erf() + x.erfc() + x.asinh() + x.sigmoid(),
    lambda x, y, i: F.relu(x) + F.relu6(9 * x) + F.leaky_relu(x) + F.leaky_relu(x, 0.2) + F.threshold(x, 0.1, 7.0),
    lambda x, y, i: F.elu(x) + F.elu(x, 0.7) + F.selu(x) + F.celu(x) + F.celu(x, 0.7) + F.softsign(x) + F.tanhshrink(x),
    lambda x, y, i: F.gelu(x) + F.gelu(x, approximate="tanh") + F.silu(x) + F.mish(x) + F.logsigmoid(x),
    lambda x, y, i: F.hardswish(4 * x) + F.hardsigmoid(4 * x) + F.hardtanh(x) + F.softplus(x) + F.softplus(x, 2, 1),
    lambda x, y, i: F.softplus(30 * x),
)
OF_POSITIVE = (
    lambda x, y, i: x.log() + x.log1p() + x.log2() + x.log10() + x.sqrt() + x.rsqrt() + (1 + x).acosh(),
    lambda x, y, i: torch.div(x, y) ** 0.5,
)
WITHIN = (lambda x, y, i: x.asin() + x.acos() + x.atanh(),)
LAYOUT = (
    lambda x, y, i: torch.zeros(4, 3).double().index_copy(0, i[1, :2], x),
    lambda x, y, i: (
        F.pixel_shuffle(x.T.reshape(1, 6, 1, 1).repeat(1, 2, 1, 1).reshape(1, 12, 1, 1), 2) + x.type_as(y).sum()
    ),
    lambda x, y, i: x.mT.contiguous() + y.T.clone() + torch.ops.aten.alias(x).T,
    lambda x, y, i: x.T @ y + torch.t(x) @ y + x.mT @ y + x.transpose(0, 1) @ y + x.permute(1, 0) @ y,
    lambda x, y, i: x.swapaxes(0, 1) @ y + torch.movedim(x, 0, 1) @ y,
    lambda x, y, i: x.reshape(3, 2) + x.view(3, 2) + x.reshape_as(y.T) + x.view_as(y.T),
    lambda x, y, i: x.flatten() + y.unflatten(1, (3, 1)).unflatten(-1, (1, 1)).flatten(),
    lambda x, y, i: x.unsqueeze(1).squeeze(1) + x[None].squeeze() + x[:, None].squeeze((0, 1)),
    lambda x, y, i: x[0].expand(4, 3) + x[:1].expand(4, -1) + x[1].expand_as(torch.zeros(4, 3)),
    lambda x, y, i: x[:, 1:] + x[:, ::2] + x.narrow(1, 0, 2) + x.select(1, 2)[:, None],
    lambda x, y, i: sum(x.split(1, 0)) + sum(y.chunk(2)) + torch.cat(y.split([1, 1])).sum(0, keepdim=True),
    lambda x, y, i: torch.cat((x, y), 1) @ torch.stack((x, y), -1).reshape(6, 2),
    lambda x, y, i: x.tril() + x.triu(1) + x.tril(-1) + torch.ones(2, 3).double().tril() + i.tril(),
    lambda x, y, i: x.repeat(2, 1) + torch.cat((y, y)) + x.repeat_interleave(2, 0),
    lambda x, y, i: F.pad(x, (1, 0, 0, 2)) + F.pad(x, (1, 0, 0, 2), value=2.0),
    lambda x, y, i: x + torch.full((2, 3), 0.5) + torch.full_like(x, 2) + x.new_full((2, 3), 3) + x.new_ones(2, 3),
    lambda x, y, i: (
        x + x.new_zeros(2, 3) + torch.ones(2, 3) + torch.zeros(2, 3) + torch.zeros_like(x) + torch.ones_like(x)
    ),
    lambda x, y, i: x * torch.arange(3) + torch.arange(1, 7, 2) + torch.arange(2, 5).double() + torch.eye(2, 3),
    lambda x, y, i: torch.where(torch.eye(2, 3, dtype=torch.bool), x, y) + x[[1, 0]],
    lambda x, y, i: x @ torch.eye(3, dtype=torch.float64) + torch.scalar_tensor(2.0),
    lambda x, y, i: x.clone() + x.detach() + x.contiguous() + torch.flip(x, (0, 1)) + x.roll(1, 1) + x.roll(2),
    lambda x, y, i: x.diagonal() + y.diagonal(1),
    lambda x, y, i: F.embedding(i, torch.cat((x, y))) + F.one_hot(i, 4)[..., :3],
    lambda x, y, i: torch.cat((x, y)).gather(0, i) + x.gather(1, i.clamp(max=2)),
    lambda x, y, i: (
        torch.zeros(4, 3).double().scatter_add(0, i, x) + torch.zeros(4, 3).double().index_add(0, i[0], x.T @ x)
    ),
    lambda x, y, i: (
        torch.cat((x, y)).index_select(0, i[0]) + torch.cat((x, y))[i[0]] + torch.cat((x, y))[i[0], i[1].clamp(max=2)]
    ),
    lambda x, y, i: x.index_put((i[0].clamp(max=1), i[1].clamp(max=2)), y[0], accumulate=True),
    lambda x, y, i: sum(x.unbind(1)) + sum(y.unbind(0))[:2] + x.to(torch.float32).double()[:, 0] * 0,
)
WRITING = (lambda x, y, i: written(x, y), lambda x, y, i: x[0] * torch.tensor([1.0, 2.0, 3.0]).float())
SUMS = (
    lambda x, y, i: x.cumprod(1) + x.sort(0).values * y.sort(1, descending=True).indices,
    lambda x, y, i: x.topk(2).values * x.topk(2, largest=False).indices + x.topk(1, 0).values[:, :2],
    lambda x, y, i: (
        torch.einsum("...ij,...kj->...ik", x[None], y[None])
        + torch.einsum("...j,j->...", x, y[0])
        + torch.einsum("n...i,n...j->nij", image(x), image(y)).sum()
    ),
    lambda x, y, i: torch.linalg.inv(x @ y.T) + torch.linalg.det(x.T[:1] @ x[:, :1]) + torch.logdet(x @ x.T),
    lambda x, y, i: torch.linalg.solve(x @ y.T, x) + torch.linalg.solve(x.T @ x + torch.eye(3).double(), y, left=False),
    lambda x, y, i: x.sum() + x.mean() + x.sum(0) + x.mean(0) + i.sum(0) + x.sum((0, 1)) + x.prod(),
    lambda x, y, i: x.sum(-1, keepdim=True) * x.mean(1, keepdim=True) + x.prod(0),
    lambda x, y, i: (
        x.var() + x.var(0) + x.var(1, unbiased=False)[:, None] + x.var((0, 1), correction=2) + x.std(0, correction=0)
    ),
    lambda x, y, i: x.std() + x.std(0),
    lambda x, y, i: x.cumsum(1) + x.amax(0) + x.amin(1, keepdim=True) + x.max() + x.min(),
    lambda x, y, i: x.max(1).values + x.max(1).indices + x.min(1).values * x.min(1).indices,
    lambda x, y, i: x.argmax() + x.argmax(0) * x + x.argmin(1, keepdim=True),
    lambda x, y, i: (x > y).double().argmax(1) + (x > y).double().min(1).indices,  # the first of those that are equal
    lambda x, y, i: x.sum().mean(0) * x.sum().softmax(0) + x.sum().amax(0),
    lambda x, y, i: x.softmax(0) + torch.log_softmax(x, 1) + x.logsumexp(1, keepdim=True) + x.logsumexp((0, 1)),
    lambda x, y, i: x.norm() + x.norm(dim=1, keepdim=True) + torch.linalg.vector_norm(y, dim=0),
    lambda x, y, i: x @ y.T + torch.mm(x, y.mT) + torch.addmm(x @ x.T, x, y.T, beta=2, alpha=0.5),
    lambda x, y, i: torch.bmm(x[None], y.T[None]) + torch.baddbmm(x[None, :, :2], x[None], y.T[None]) + x.mv(y[0]),
    lambda x, y, i: torch.dot(x[0], y[1]) + x[0] @ y[1] + x @ y[0] + torch.outer(x[0], y[1])[:2, :2],
    lambda x, y, i: torch.einsum("ij,kj->ik", x, y) + torch.einsum("ij,ij", x, y) + torch.einsum("ij->j", x)[:2],
    lambda x, y, i: x.reshape(1, 2, 1, 3) @ y.reshape(2, 1, 3, 1),
    lambda x, y, i: F.linear(x, y, x[:, 0]) + F.linear(x, y),
)
LAYERS = (
    lambda x, y, i: F.kl_div(x, y.abs(), reduction="sum") + F.kl_div(x, y, log_target=True),
    lambda x, y, i: (
        F.binary_cross_entropy(x.sigmoid(), y.sigmoid()) + F.binary_cross_entropy((x > 0).double(), y.sigmoid())
    ),
    lambda x, y, i: F.huber_loss(x, y, delta=0.5) + F.smooth_l1_loss(x, y, beta=0.3) + F.smooth_l1_loss(3 * x, y),
    lambda x, y, i: F.cosine_similarity(x, y) + F.cosine_similarity(x, y[:1], 1),
    lambda x, y, i: (
        F.cross_entropy(x, i[0, :2], label_smoothing=0.2)
        + F.cross_entropy(x, i[0, :2], ignore_index=1, label_smoothing=0.1)
    ),
    lambda x, y, i: F.prelu(x, y[0]) + F.prelu(x, y[0, :1]) + F.instance_norm(torch.stack((x, y))).sum(0),
    lambda x, y, i: F.instance_norm(
        torch.stack((x, y)), y[0, :2], y[1, :2].abs(), y[1, :2], x[0, :2], use_input_stats=False
    ),
    lambda x, y, i: F.scaled_dot_product_attention(
        image(x)[:, :1].repeat(1, 4, 1, 1), image(y), image(x), enable_gqa=True
    ),
    lambda x, y, i: torch.lstm(torch.stack((x, y)), states(x, 2), weights(y, 4, 2), True, 2, 0.0, False, False, False)[
        0
    ],
    lambda x, y, i: torch.lstm(
        torch.stack((x, y), 1), states(x, 1), weights(y, 4, 1, False), False, 1, 0.0, True, False, True
    )[2],
    lambda x, y, i: torch.gru(torch.stack((x, y)), states(x, 1)[0], weights(y, 3), *ONE)[1],
    lambda x, y, i: torch.rnn_tanh(
        torch.stack((x, y)), states(x, 2)[0], weights(y, 1, 2), True, 2, 0.0, True, False, False
    )[0],
    lambda x, y, i: torch.rnn_relu(
        torch.stack((x, y)), states(x, 1)[0], weights(y, 1), True, 1, 0.0, True, False, False
    )[0],
    lambda x, y, i: (
        F.layer_norm(x, (3,), y[0], y[1]) + F.layer_norm(x, (2, 3), eps=0.1) + F.rms_norm(x, (3,), y[0], 1e-3)
    ),
    lambda x, y, i: F.rms_norm(x, (3,)) + F.dropout(x, 0.5, training=False) + F.dropout(x, 0.0),
    lambda x, y, i: F.group_norm(torch.stack((x, y), 1), 2, y[0, :2], y[1, :2]),
    lambda x, y, i: (
        F.batch_norm(x, None, None, y[0], y[1], training=True) + F.batch_norm(x, y[0], y[1].abs(), y[1], y[0])
    ),
    lambda x, y, i: torch.ops.aten._native_batch_norm_legit_functional(x, y[0], y[1], y[1], y[0], True, 0.1, 1e-5)[0],
    lambda x, y, i: F.batch_norm(torch.stack((x, y), 1), y[0, :2], y[1, :2].abs(), y[1, :2], y[0, :2], eps=0.1),
    lambda x, y, i: F.scaled_dot_product_attention(x[None], y[None], x[None], is_causal=True),
    lambda x, y, i: (
        F.scaled_dot_product_attention(x, x, y, scale=0.3) + F.scaled_dot_product_attention(x, y, y, HIDDEN[:, ::2])
    ),
    lambda x, y, i: F.scaled_dot_product_attention(x, y, x, MASK[:, :2] == MASK[:, :2].T),
    lambda x, y, i: F.mse_loss(x, y) + F.mse_loss(x, y, reduction="sum") + F.l1_loss(x, y, reduction="none"),
    lambda x, y, i: F.binary_cross_entropy_with_logits(x, y),
    lambda x, y, i: (
        F.cross_entropy(x, i[0, :2])
        + F.cross_entropy(x, y, reduction="none")
        + F.cross_entropy(x, y.abs(), label_smoothing=0.1)
    ),
    lambda x, y, i: (
        F.cross_entropy(x, i[0, :2], y[0].abs(), reduction="sum")
        + F.cross_entropy(x, i[0, :2], y[0].abs(), ignore_index=0)
    ),
    lambda x, y, i: F.nll_loss(x, i[0, :2]) + F.nll_loss(x.T.reshape(1, 3, 2), i[:1, :2], reduction="none"),
    lambda x, y, i: F.nll_loss(x.T.reshape(1, 3, 1, 2), i[:1, None, :2]) + F.glu(x.T.reshape(1, 6)),
    lambda x, y, i: F.bilinear(x, y, torch.stack((x.T @ y, y.T @ x)), x[:, 0]) + F.bilinear(x, y, (x.T @ y)[None]),
    lambda x, y, i: torch.lstm_cell(x, (y[:, :1], x[:, :1]), *cell(x, y, 4))[0],
    lambda x, y, i: torch.lstm_cell(x, (y[:, :1], x[:, :1]), *cell(x, y, 4))[1],
    lambda x, y, i: torch.gru_cell(x, y[:, :1], *cell(x, y, 3)),
    lambda x, y, i: torch.rnn_tanh_cell(x, y[:, :1], *cell(x, y, 1)) + torch.rnn_relu_cell(x, y[:, :1], *cell(x, y, 1)),
)
WINDOWS = (
    lambda x, y, i: F.interpolate(image(x), scale_factor=2) + F.interpolate(image(y), (12, 8)),
    lambda x, y, i: F.interpolate(x[None], 5) + F.interpolate(y[None], 5),
    lambda x, y, i: (
        F.conv1d(x, y.reshape(1, 2, 3), padding="same", dilation=2) + F.conv1d(x, y.reshape(1, 2, 3), padding="valid")
    ),
    lambda x, y, i: F.conv2d(image(x), image(y)[:, :, :2, :4], padding="same"),
    lambda x, y, i: F.conv_transpose1d(x[None], torch.stack((x, y), 1)[:, :, :2], y[0, :2], 2, 1, 1, dilation=2),
    lambda x, y, i: F.conv_transpose2d(image(x), image(y)[:, :1, :2, :3], None, (2, 1), (0, 1), groups=2),
    lambda x, y, i: F.unfold(image(x), (2, 3), 2, 1, (1, 2)) @ F.unfold(image(x), (2, 3), 2, 1, (1, 2)).mT,
    lambda x, y, i: (
        F.fold(F.unfold(image(x), (2, 3), 1, 1, 2), (6, 4), (2, 3), 1, 1, 2)
        + F.adaptive_avg_pool2d(image(y), (4, 3)).sum()
    ),
    lambda x, y, i: F.adaptive_avg_pool1d(image(x)[0, 0], 3).sum() + F.adaptive_avg_pool2d(image(x), 1)[0, :, :, 0],
    lambda x, y, i: F.conv1d(x.reshape(1, 2, 3), y[:, :, None].expand(2, 3, 2)[:, :2], x[:, 0]),
    lambda x, y, i: (
        F.conv1d(x, y.reshape(1, 2, 3), padding=2, stride=2)
        + F.conv1d(x, y.reshape(1, 2, 3), padding=4, dilation=2)[:, ::3]
    ),
    lambda x, y, i: F.conv2d(image(x), image(y)[:1, :, :2, :3], stride=(2, 1), padding=(1, 2)),
    lambda x, y, i: sum(F.max_pool2d(image(x), (3, 2), (1, 2), 1, (2, 1), return_indices=True)),
    lambda x, y, i: F.conv2d(image(x), image(y)[:, :1, :2, :2], y[:, 0], groups=2, dilation=2),
    lambda x, y, i: (
        F.avg_pool2d(image(x), 2) + F.max_pool2d(image(y), 2) + F.max_pool2d(image(x), (3, 2), (1, 2), 1, (2, 1)).sum()
    ),
    lambda x, y, i: F.avg_pool2d(image(x), (3, 2), 1, 1) + F.avg_pool1d(x, 2, 1).sum() + F.max_pool1d(y, 2, 1, 1).sum(),
)


def cell(x, y, gates):
    """Weights and biases of a cell with one hidden entry."""
    return (
        (x[0] * y[0])[None].repeat(gates, 1),
        y[0, :1, None].repeat(gates, 1),
        x[1, :1].repeat(gates),
        y[1, 1:2].repeat(gates),
    )


def weights(x, gates, layers=1, biases=True):
    """Of a recurrent layer from three entries to two, and of one more from these."""
    numbers = x.flatten().cumsum(0).sin()
    found = []
    for width in (3, 2)[:layers]:
        shapes = [(2 * gates, width), (2 * gates, 2), *[(2 * gates,)] * 2][: 4 if biases else 2]
        found += [numbers.repeat(8)[: math.prod(shape)].reshape(shape) for shape in shapes]
    return found


def image(x):
    return (x.flatten()[:, None] * torch.arange(1, 9).double()).cumsum(0).reshape(1, 2, 6, 4).sin().repeat(2, 1, 1, 1)


def written(x, y):
    """Writes into memory, which torch.export writes otherwise."""
    out = torch.zeros_like(x)
    out += torch.empty_like(x).copy_(x) + x.new_empty(2, 3).fill_(2) * torch.empty(3).fill_(3)
    out[0] *= 2
    out[:, 1:] = y[:, 1:]
    out[:, 0].fill_(0.5)
    out[1].add_(y[0], alpha=2).sub_(1)
    return out


def graph_of(functions, x, y) -> tuple[Graph, list[torch.Tensor]]:
    def all_of_them(x, y, i):
        return tuple(torch.as_tensor(function(x, y, i)) for function in functions)

    return recorded(all_of_them, {"x": x, "y": y, "i": i}), list(all_of_them(x, y, i))


TABLES = {
    "arithmetic": (ARITHMETIC, r),
    "formulas": (FORMULAS, r),
    "formulas of positive numbers": (OF_POSITIVE, positive),
    "formulas of numbers within 1": (WITHIN, within),
    "layout": (LAYOUT, r),
    "writing": (WRITING, r),
    "sums": (SUMS, r),
    "layers": (LAYERS, r),
    "windows": (WINDOWS, r),
}
SEEN: dict[str, set[str]] = {}


@pytest.fixture(scope="module")
def graphs():
    torch.manual_seed(0)
    found = {}
    for name, (functions, draw) in TABLES.items():
        x, y = draw(2, 3), draw(2, 3)
        found[name] = (*graph_of(functions, x, y), {"x": x.numpy(), "y": y.numpy(), "i": i.numpy()})
    return found


@pytest.mark.parametrize("name", TABLES)
def test_operations_are_what_torch_computes(name, graphs):
    graph, wanted, given = graphs[name]
    with mp.workdps(40), lifted_by(decimal):
        results = evaluate.run(graph, {key: of_data(data) for key, data in given.items()})
    for place, (got, value) in enumerate(zip(results, wanted, strict=True)):
        assert got.shape == tuple(value.shape), (name, place)
        assert not value.is_floating_point() or all(isinstance(entry, mpf) for entry in got.flat), (name, place)
        numpy.testing.assert_allclose(
            numpy.array(got, dtype=float), value.double().numpy(), rtol=1e-12, atol=1e-12, err_msg=f"{name} {place}"
        )


def test_each_operation_is_among_them(graphs):
    called = {step.operation for graph, _, _ in graphs.values() for step in graph.steps}
    found = {evaluate.row(operation) for operation in called}
    assert evaluate.OPERATIONS.keys() - found == set()
