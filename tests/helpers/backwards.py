"""Layers and their backwards written by hand: right ones, and re-creations of wrong ones that were shipped."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass(frozen=True)
class Case:
    """What makes a layer, examples of its arguments, a right backward, and wrong ones by where they were."""

    layer: Callable[[], object]
    example: Callable[[], tuple[torch.Tensor, ...]]
    backward: str
    shipped: dict[str, tuple[str, str]]  # what stands there instead of what


class Attention(nn.Module):
    def forward(self, q, k, v):
        return torch.softmax(q @ k.mT / math.sqrt(q.shape[-1]), -1) @ v


class LinearAttention(nn.Module):
    """Without softmax, normalized by the sum of what was seen."""

    def forward(self, q, k, v):
        scores = (q @ k.mT).tril()
        return (scores @ v) / (q * k.cumsum(-2)).sum(-1, keepdim=True)


class GatedNorm(nn.Module):
    """out = rms(x) w silu(g) W'"""

    def __init__(self):
        super().__init__()
        self.w, self.W = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(2, 3))

    def forward(self, x, g):
        return F.linear(F.rms_norm(x, [3], self.w, 1e-5) * F.silu(g), self.W)


class SwiGLU(nn.Module):
    def forward(self, e, g):
        return F.silu(e) * g


class LinearCrossEntropy(nn.Module):
    """The loss of each row."""

    def __init__(self):
        super().__init__()
        self.W = nn.Parameter(torch.ones(3, 2))

    def forward(self, x, labels):
        return F.cross_entropy(F.linear(x, self.W), labels, reduction="none")


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(2), nn.Linear(2, 3), nn.Linear(3, 2)

    def forward(self, x):
        return x + self.down(F.relu(self.up(self.norm(x))))


def r(*shape: int) -> Callable[[], torch.Tensor]:
    return lambda: torch.rand(*shape)


def tensors(*shapes: tuple[int, ...]) -> Callable[[], tuple[torch.Tensor, ...]]:
    return lambda: tuple(torch.rand(*shape) for shape in shapes)


LAYER_NORM = """
def backward(G, input, weight, bias):
    mu = input.mean(-1, keepdim=True)
    rstd = torch.rsqrt(input.var(-1, keepdim=True, unbiased=False) + 1e-5)
    xhat = (input - mu) * rstd
    g = G * weight
    dx = rstd * (g - g.mean(-1, keepdim=True) - xhat * (g * xhat).mean(-1, keepdim=True))
    return dx, (G * xhat).sum((0, 1)), G.sum((0, 1))
"""
RMS_NORM = """
class RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight):
        r = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)
        ctx.save_for_backward(x, weight, r)
        return x * r * weight

    @staticmethod
    def backward(ctx, dy):
        x, w, r = ctx.saved_tensors
        n, g = x * r, dy * w
        dx = r * (g - n * (g * n).sum(-1, keepdim=True) / x.shape[-1])
        return dx, (dy * n).sum(0)
"""
ATTENTION = """
def forward(q, k, v):
    s = torch.einsum("bid,bjd->bij", q, k) / q.size(-1) ** 0.5
    p = (s - s.amax(-1, keepdim=True)).exp()
    p = p / p.sum(-1, keepdim=True)
    return p @ v, (q, k, v, p)

def backward(dO, saved):
    q, k, v, p = saved
    dP = dO @ v.transpose(-2, -1)
    dS = p * (dP - (dP * p).sum(-1, keepdim=True)) / math.sqrt(q.shape[-1])
    return {"q": dS @ k, "k": dS.mT @ q, "v": p.mT @ dO}
"""
LINEAR_ATTENTION = """
def backward(G, q, k, v):
    total = k.cumsum(-2)
    z = (q * total).sum(-1, keepdim=True)
    scores = (q @ k.mT).tril()
    out = scores @ v / z
    dscores = (G @ v.mT / z).tril()
    dz = -(G * out).sum(-1, keepdim=True) / z
    dk = dscores.mT @ q + (dz * q).flip(-2).cumsum(-2).flip(-2)
    return {"q": dscores @ k + dz * total, "k": dk, "v": scores.mT @ (G / z)}
"""
GATED_NORM = """
Gradients = typing.NamedTuple("Gradients", [("grad_x", torch.Tensor), ("grad_g", torch.Tensor),
                                            ("grad_w", torch.Tensor), ("grad_W", torch.Tensor)])

def backward(G, x, g, w, W):
    rstd = torch.rsqrt(torch.square(x).mean(-1, keepdim=True) + 0.00001)
    xhat = x * rstd
    s = torch.sigmoid(g)
    y = xhat * w * g * s
    dy = G @ W
    dxhat = dy * w * g * s
    dx = rstd * (dxhat - xhat * (dxhat * xhat).mean(-1, keepdim=True))
    dg = dy * xhat * w * s * (1 + g * (1 - s))
    return Gradients(dx, dg, (dy * xhat * g * s).sum(0), G.T @ y)
"""
SWIGLU = """
def backward(G, e, g):
    s = torch.sigmoid(e)
    de = G * g * s * (1 + e * (1 - s))
    dg = G * e * s
    return de, dg
"""
BATCH_NORM = """
def backward(G, input, weight):
    c = input - input.mean(0)
    rstd = (c.square().mean(0) + 1e-5) ** -0.5
    xhat = c * rstd
    dx = weight * rstd * (G - G.mean(0) - xhat * (G * xhat).mean(0))
    return {"input": dx, "weight": (G * xhat).sum(0), "bias": G.sum(0)}
"""
CROSS_ENTROPY = """
def backward(G, x, labels, W):
    dz = torch.softmax(x @ W.T, -1)
    dz[torch.arange(len(labels)), labels] -= 1
    dz *= G[:, None]
    return {"x": dz @ W, "W": dz.T @ x}
"""
MLP = """
def backward(G, x, norm_weight, norm_bias, up_weight, up_bias, down_weight):
    mu = x.mean(-1, keepdim=True)
    rstd = 1 / torch.sqrt(((x - mu) ** 2).mean(-1, keepdim=True) + 1e-5)
    xhat = (x - mu) * rstd
    n = xhat * norm_weight + norm_bias
    a = n @ up_weight.T + up_bias
    h = torch.clamp(a, min=0)
    da = torch.where(a > 0, G @ down_weight, 0.0)
    dn = da @ up_weight
    g = dn * norm_weight
    dx = G + rstd * (g - g.mean(-1, keepdim=True) - xhat * (g * xhat).mean(-1, keepdim=True))
    return {"x": dx, "norm_weight": (dn * xhat).sum(0), "norm_bias": dn.sum(0), "up_weight": da.T @ n,
            "up_bias": da.sum(0), "down_weight": G.T @ h, "down_bias": G.sum(0)}
"""
CASES = {
    "LayerNorm": Case(
        lambda: nn.LayerNorm(3),
        tensors((2, 1, 3)),
        LAYER_NORM,
        {"the mean of g lost": ("g - g.mean(-1, keepdim=True) - xhat", "g - xhat")},
    ),
    "RMSNorm": Case(
        lambda: nn.RMSNorm(3, eps=1e-6),
        tensors((2, 3)),
        RMS_NORM,
        {"unsloth 4533": ("return dx, (dy * n).sum(0)", "return dx, None")},
    ),
    "attention": Case(
        Attention,
        tensors((1, 2, 2), (1, 2, 2), (1, 2, 2)),
        ATTENTION,
        {
            "the FlashAttention-2 paper, flash-attention 373": ('"k": dS.mT @ q', '"k": dS @ q'),
            "the sum of rows over the wrong axis": ("(dP * p).sum(-1,", "(dP * p).sum(-2,"),
        },
    ),
    "linear attention": Case(
        LinearAttention,
        tensors((2, 2), (2, 2), (2, 3)),
        LINEAR_ATTENTION,
        {"flash-linear-attention 875": (" + (dz * q).flip(-2).cumsum(-2).flip(-2)", "")},
    ),
    "gated norm and linear": Case(
        GatedNorm,
        tensors((2, 3), (2, 3)),
        GATED_NORM,
        {"flash-linear-attention 1071": ("G.T @ y", "G.T @ (xhat * w)")},
    ),
    "SwiGLU": Case(
        SwiGLU,
        tensors((1, 2), (1, 2)),
        SWIGLU,
        {"unsloth 3314": ("dg = G * e * s", "dg = G * g * s"), "a sign": ("(1 - s)", "(1 + s)")},
    ),
    "BatchNorm in training": Case(
        lambda: nn.BatchNorm1d(2),
        tensors((3, 2)),
        BATCH_NORM,
        {"CrypTen 143": ("(G - G.mean(0) - xhat * (G * xhat).mean(0))", "G")},
    ),
    "linear and cross-entropy": Case(
        LinearCrossEntropy,
        lambda: (torch.rand(2, 2), torch.tensor([2, 0])),
        CROSS_ENTROPY,
        {"Liger-Kernel 968, 1298": ("dz *= G[:, None]", "dz *= G[0]")},
    ),
    "a residual block": Case(
        Mlp,
        tensors((2, 2)),
        MLP,
        {
            "the skip lost": ("dx = G + rstd", "dx = rstd"),
            "the slope of relu lost": ("torch.where(a > 0, G @ down_weight, 0.0)", "G @ down_weight"),
        },
    ),
}
HEAD = "import math\nimport typing\n\nimport torch\n\n"
