"""Torch modules and functions of tensors whose backward is written as text, each with examples of its arguments."""

import math

import torch
import torch.nn.functional as F
from torch import nn


class Of(nn.Module):
    """A function of tensors, and of layers that it is given."""

    def __init__(self, function, **layers):
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, *tensors):
        return self.function(self, *tensors)


class MLP(nn.Module):
    def __init__(self, activation=torch.sigmoid):
        super().__init__()
        self.fc1, self.fc2, self.activation = nn.Linear(2, 4), nn.Linear(4, 2), activation

    def forward(self, x):
        h = self.activation(self.fc1(x))
        return self.fc2(h)


class Attention(nn.Module):
    def __init__(self, d=2):
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(d, d, bias=False) for _ in range(3))

    def forward(self, x):
        q, k, v = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        s = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        p = torch.softmax(s, dim=-1)
        return p @ v


class CausalHeads(nn.Module):
    """As in nanoGPT."""

    def __init__(self, d=4, heads=2, longest=6):
        super().__init__()
        self.heads, self.c_attn, self.c_proj = heads, nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.register_buffer("bias", torch.tril(torch.ones(longest, longest)).view(1, 1, longest, longest))

    def forward(self, x):
        B, T, C = x.size()
        q, k, v = self.c_attn(x).split(C, dim=2)
        q, k, v = (t.view(B, T, self.heads, C // self.heads).transpose(1, 2) for t in (q, k, v))
        att = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
        att = att.masked_fill(self.bias[:, :, :T, :T] == 0, float("-inf"))
        att = F.softmax(att, dim=-1)
        y = att @ v
        y = y.transpose(1, 2).contiguous().view(B, T, C)
        return self.c_proj(y)


class FusedHeads(nn.Module):
    def __init__(self, d=4, heads=2):
        super().__init__()
        self.heads, self.qkv, self.proj = heads, nn.Linear(d, 3 * d), nn.Linear(d, d)

    def forward(self, x):
        B, N, D = x.shape
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        q, k, v = (t.view(B, N, self.heads, D // self.heads).transpose(1, 2) for t in (q, k, v))
        o = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.proj(o.transpose(1, 2).reshape(B, N, D))


class SwiGLU(nn.Module):
    def __init__(self, d=4, h=3):
        super().__init__()
        self.gate, self.up = nn.Linear(d, h, bias=False), nn.Linear(d, h, bias=False)
        self.down = nn.Linear(h, d, bias=False)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))


class GPTBlock(nn.Module):
    def __init__(self, d=4, h=8):
        super().__init__()
        self.ln1, self.ln2, self.attn = nn.LayerNorm(d), nn.LayerNorm(d), FusedHeads(d)
        self.fc1, self.fc2 = nn.Linear(d, h), nn.Linear(h, d)

    def forward(self, x):
        x = x + self.attn(self.ln1(x))
        return x + self.fc2(F.gelu(self.fc1(self.ln2(x))))


class LlamaBlock(nn.Module):
    def __init__(self, d=4):
        super().__init__()
        self.attention_norm, self.ffn_norm = nn.RMSNorm(d), nn.RMSNorm(d)
        self.attention, self.feed_forward = CausalHeads(d), SwiGLU(d)

    def forward(self, x):
        h = x + self.attention(self.attention_norm(x))
        return h + self.feed_forward(self.ffn_norm(h))


class Rope(nn.Module):
    def __init__(self, d=4, longest=6):
        super().__init__()
        self.q = nn.Linear(d, d, bias=False)
        angles = torch.arange(longest)[:, None] / 10 ** torch.arange(d // 2)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def forward(self, x):
        T = x.shape[1]
        a, b = self.q(x).chunk(2, -1)
        c, s = self.cos[:T], self.sin[:T]
        return torch.cat((a * c - b * s, a * s + b * c), -1)


class ResNetBlock(nn.Module):
    def __init__(self, channels=2):
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(2))
        self.bn1, self.bn2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += x
        return self.relu(out)


class ConvNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.pool, self.fc = nn.Conv2d(1, 2, 3, padding=1), nn.AvgPool2d(2), nn.Linear(8, 3)

    def forward(self, x):
        return self.fc(torch.flatten(self.pool(torch.relu(self.conv(x))), 1))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.wte, self.head = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
        self.head.weight = self.wte.weight

    def forward(self, i):
        return self.head(torch.tanh(self.wte(i)))


class Frozen(nn.Module):
    """A weight that is not trained, and a layer that is not used."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.unused = nn.Linear(2, 3), nn.Linear(3, 2), nn.Linear(2, 2)
        self.a.weight.requires_grad_(False)

    def forward(self, x):
        return self.b(torch.relu(self.a(x)))


class LanguageModel(nn.Module):
    """An embedding, and a loss by class."""

    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(5, 3), nn.Linear(3, 5)

    def forward(self, i, targets):
        logits = self.head(self.embedding(i))
        return F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1))


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.LSTM(3, 2, batch_first=True), nn.Linear(2, 4)

    def forward(self, x):
        states, _ = self.rnn(x)
        return self.head(states)


class VAE(nn.Module):
    """Two outputs."""

    def __init__(self):
        super().__init__()
        self.encoder, self.mean, self.log_var = nn.Linear(3, 4), nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, x, noise):
        h = torch.tanh(self.encoder(x))
        mu, lv = self.mean(h), self.log_var(h)
        z = mu + noise * torch.exp(0.5 * lv)
        return z, -0.5 * (1 + lv - mu.pow(2) - lv.exp()).sum(-1).mean()


def r(*shape):
    return torch.rand(*shape)


def i(*shape, below=5):
    return torch.arange(math.prod(shape)).reshape(shape) * 7 % below


def margin(s, x, w, y):
    """The loss of ArcFace: the angle with the true class is half a radian larger."""
    c = F.normalize(x) @ F.normalize(w).T
    true = F.one_hot(y, len(w))
    return F.cross_entropy(30 * (true * (c * math.cos(0.5) - torch.sqrt(1 - c**2) * math.sin(0.5)) + (1 - true) * c), y)


ACTIVATIONS = (
    *("celu", "elu", "gelu", "hardswish", "hardtanh", "leaky_relu", "logsigmoid", "mish", "relu", "relu6", "selu"),
    *("sigmoid", "silu", "softplus", "softsign", "tanh", "tanhshrink"),
)
CLASSES = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)  # their weights
HIDING = torch.tensor([[0.0, -math.inf, 0.0, 0.5], [0.0, 0.0, -math.inf, -math.inf]])
LAYERS = {  # what makes one, and its arguments
    **{name: (lambda name=name: MLP(getattr(F, name)), lambda: [r(3, 2)]) for name in ACTIVATIONS},
    "attention": (Attention, lambda: [r(2, 3, 2)]),
    "batch norm": (lambda: nn.BatchNorm1d(2), lambda: [r(4, 2)]),
    "batch norm in use": (lambda: nn.BatchNorm2d(2).eval(), lambda: [r(2, 2, 3, 2)]),
    "bilinear": (
        lambda: Of(
            lambda s, a, b: s.whole(a, b) + s.bare(a, b) + s.row(-a[0]),
            whole=nn.Bilinear(2, 3, 4),
            bare=nn.Bilinear(2, 3, 4, bias=False),
            row=nn.Linear(2, 4),
        ),
        lambda: [r(3, 2), r(3, 3)],
    ),
    "causal heads": (CausalHeads, lambda: [r(2, 3, 4)]),
    "classes": (LanguageModel, lambda: [i(2, 3), i(2, 3)]),
    "conv net": (ConvNet, lambda: [r(2, 1, 4, 4)]),
    "conv1d": (lambda: nn.Conv1d(2, 4, 3, 2, 1, groups=2), lambda: [r(2, 2, 7)]),
    "conv2d": (lambda: nn.Conv2d(2, 4, (3, 2), (2, 1), (1, 0), (1, 2), groups=2), lambda: [r(2, 2, 5, 6)]),
    "detached": (lambda: Of(lambda s, x: x * x.detach() + x), lambda: [r(2, 3)]),
    "dropout by its mask": (
        lambda: Of(lambda s, x, mask: s.fc(x * mask / 0.9), fc=nn.Linear(3, 2)),
        lambda: [r(2, 3), r(2, 3)],
    ),
    "frozen and unused": (Frozen, lambda: [r(3, 2)]),
    "fused heads": (FusedHeads, lambda: [r(2, 3, 4)]),
    "glu": (nn.GLU, lambda: [r(3, 4)]),
    "gpt block": (GPTBlock, lambda: [r(2, 3, 4)]),
    "group norm": (lambda: nn.GroupNorm(2, 4), lambda: [r(2, 4, 3)]),
    "gru in both directions": (lambda: nn.GRU(2, 1, 2, bidirectional=True), lambda: [r(2, 3, 2)]),
    "gru cell": (lambda: nn.GRUCell(3, 2), lambda: [r(2, 3), r(2, 2)]),
    "hidden keys": (
        lambda: Of(lambda s, q, k, v, mask: F.scaled_dot_product_attention(q, k, v, mask)),
        lambda: [r(2, 2, 3), r(2, 4, 3), r(2, 4, 3), HIDING],
    ),
    "indices": (
        lambda: Of(
            lambda s, x, i: (
                x[i].sum(1)
                + x.index_select(0, i[0])[:1]
                + x.gather(0, i).sum()
                + x[[1, 0, 1]]
                + (x.scatter_add(0, i, x[: len(i)]) * x).narrow(0, 1, 2).sum()
            )
        ),
        lambda: [r(5, 4), i(3, 4, below=4)],
    ),
    "ignored classes": (
        lambda: Of(
            lambda s, x, y: (
                F.cross_entropy(x, y, ignore_index=1)
                + F.cross_entropy(x, y, CLASSES, ignore_index=2, reduction="none")
                + F.cross_entropy(x, y, label_smoothing=0.1, reduction="sum")
                + F.cross_entropy(x, x.softmax(-1), label_smoothing=0.2)
            )
        ),
        lambda: [r(4, 3), i(4, below=3)],
    ),
    "infonce": (
        lambda: Of(lambda s, a, b: F.cross_entropy(F.normalize(a) @ F.normalize(b).T / 0.1, torch.arange(len(a)))),
        lambda: [r(3, 4), r(3, 4)],
    ),
    "instance norm": (lambda: nn.InstanceNorm1d(2, affine=True), lambda: [r(2, 2, 3)]),
    "layer norm": (lambda: nn.LayerNorm(3), lambda: [r(2, 4, 3)]),
    "layer norm of two axes": (lambda: nn.LayerNorm((2, 3)), lambda: [r(2, 2, 3)]),
    "layout": (
        lambda: Of(
            lambda s, x: (
                torch.stack((x, 2 * x), 1).flatten(1)[:, ::2]
                + x.flip(1).roll(1, 1)
                + x.repeat(1, 2)[:, 4:8]
                + F.pad(x, (1, 2))[:, 1:5]
                + x.tril()
                + x[:, 1:2].expand(3, 4)
                + x.repeat_interleave(2, 1)[:, :4]
                + x.select(1, 2)[:, None]
                + torch.cat(x.unbind(1)).unflatten(0, (4, 3)).permute(1, 0)
            )
        ),
        lambda: [r(3, 4)],
    ),
    "llama block": (LlamaBlock, lambda: [r(2, 3, 4)]),
    "losses": (
        lambda: Of(
            lambda s, x, y: (
                F.mse_loss(x, y) + F.l1_loss(x, y, reduction="sum") + F.smooth_l1_loss(x, y) + F.huber_loss(x, y)
            )
        ),
        lambda: [r(2, 3), 3 * r(2, 3)],
    ),
    "losses of probabilities": (
        lambda: Of(
            lambda s, x, y: (
                F.binary_cross_entropy_with_logits(x, y)
                + F.binary_cross_entropy(x.sigmoid(), y.sigmoid())
                + F.cross_entropy(x, y.softmax(-1))
                + F.kl_div(x, y, reduction="sum")
            )
        ),
        lambda: [r(2, 3), r(2, 3)],
    ),
    "lstm": (Tagger, lambda: [r(3, 2, 3)]),
    "lstm cell": (lambda: nn.LSTMCell(3, 2), lambda: [r(2, 3), (r(2, 2), r(2, 2))]),
    "largest of lines": (
        lambda: Of(lambda s, x: x.amax(0) + x.max(1, keepdim=True).values + x.min(0).values * x.max()),
        lambda: [r(3, 4)],
    ),
    "margin of an angle": (
        lambda: Of(margin),
        lambda: [r(2, 3), r(4, 3), i(2, below=4)],
    ),
    "max pool": (lambda: nn.MaxPool2d(3, 2, 1), lambda: [r(2, 2, 5, 7) - 1]),
    "mean pool": (lambda: nn.AvgPool2d(3, 2, 1), lambda: [r(2, 2, 5, 7)]),
    "mean of an image": (lambda: nn.AdaptiveAvgPool2d(1), lambda: [r(2, 2, 3, 4)]),
    "mlp in a row": (lambda: nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 3)), lambda: [r(4, 3)]),
    "nearest": (
        lambda: Of(
            lambda s, x, y: F.interpolate(x, scale_factor=2)[..., :3] + F.interpolate(y, scale_factor=(2, 3)).sum(1)
        ),
        lambda: [r(2, 2, 2), r(2, 2, 1, 1)],
    ),
    "prelu": (
        lambda: Of(
            lambda s, x, w, y, v: F.prelu(x, w) + F.prelu(y, w)[..., 0] + F.prelu(x[0], v),
        ),
        lambda: [r(3, 2) - 0.5, r(2), r(3, 2, 1) - 0.5, r(1)],
    ),
    "product of entries": (
        lambda: Of(lambda s, x: x.prod(1, keepdim=True) * x.prod(0) + x.prod()),
        lambda: [r(2, 3)],
    ),
    "products": (
        lambda: Of(
            lambda s, x, y, v: (
                torch.einsum("bnd,bmd->bnm", x, y) @ torch.outer(v, v)
                + torch.baddbmm(x @ y.mT, x, y.mT, beta=2, alpha=0.5)
                + torch.einsum("bnd,bme->bn", x, y)[..., None]
                + (x @ y.mT @ v)[..., None]
                + v.dot(v)
                + (v @ y).sum()
            )
        ),
        lambda: [r(2, 3, 4), r(2, 2, 4), r(2)],
    ),
    "reductions": (
        lambda: Of(
            lambda s, x: (
                x.sum(0)
                + x.mean(1, keepdim=True)
                + x.var(0)
                + x.std(1, keepdim=True)
                + x.norm(dim=0)
                + x.logsumexp(1, keepdim=True)
                + x.sum()
                + x.mean()
                + x.cumsum(1)
                + x.log_softmax(0)
            )
        ),
        lambda: [r(3, 4)],
    ),
    "repeated": (lambda: Of(lambda s, x, y: x * y + y), lambda: [r(2, 3, 4), r(3, 1)]),
    "resnet block": (ResNetBlock, lambda: [r(2, 2, 3, 4)]),
    "rms norm": (lambda: nn.RMSNorm(3, eps=1e-5), lambda: [r(2, 4, 3)]),
    "rnn cell": (lambda: nn.RNNCell(3, 2), lambda: [r(2, 3), r(2, 2)]),
    "rope": (Rope, lambda: [r(2, 3, 4)]),
    "shown keys": (
        lambda: Of(lambda s, q, k, v, mask: F.scaled_dot_product_attention(q, k, v, mask)),
        lambda: [r(2, 2, 3), r(2, 4, 3), r(2, 4, 3), HIDING.isfinite()],
    ),
    "similarity": (
        lambda: Of(lambda s, x, y: F.cosine_similarity(x, y) + F.cosine_similarity(x[:, None], y[None], -1).sum(1)),
        lambda: [r(2, 3), r(2, 3)],
    ),
    "swiglu": (SwiGLU, lambda: [r(2, 4)]),
    "tied": (Tied, lambda: [i(2, 3)]),
    "transposed conv1d": (lambda: nn.ConvTranspose1d(4, 2, 3, 2, 1, 1, groups=2), lambda: [r(2, 4, 2)]),
    "transposed conv2d": (
        lambda: nn.ConvTranspose2d(2, 2, (3, 2), (2, 1), (1, 0), bias=False, dilation=(1, 2)),
        lambda: [r(2, 2, 3, 2)],
    ),
    "transformer encoder layer": (
        lambda: nn.TransformerEncoderLayer(4, 2, 8, 0.0, batch_first=True),
        lambda: [r(2, 3, 4)],
    ),
    "two outputs": (VAE, lambda: [r(2, 3), r(2, 2)]),
    "by sizes": (
        lambda: Of(lambda s, x, w: (torch.tanh(x @ w) * w.shape[0] - x[:, :1] ** len(w) / x.shape[0]).sum() / len(x)),
        lambda: [r(2, 3), r(3, 4)],
    ),
    "branches": (
        lambda: Of(lambda s, x, y: x.clamp(0.2, 0.7) + torch.maximum(x, y) * torch.where(x > y, x, 2 * y)),
        lambda: [r(2, 3), r(2, 3)],
    ),
    "whole numbers as floats": (
        lambda: Of(
            lambda s, x, i, m: (
                x * (i.to(x.dtype) / 3) * (1 - m.type_as(x))
                + i.sum(0, dtype=x.dtype).sqrt() * m.to(x.dtype).mean()
                + i.prod(0, dtype=x.dtype) / 7
                + (x > 0.5).to(x.dtype).matmul(x.mT)[:, :1]
            )
        ),
        lambda: [r(2, 3), i(2, 3) + 1, i(2, 3, below=2) > 0],
    ),
    "what is given alone": (
        lambda: Of(
            lambda s, x, i: (
                torch.addcmul(x, x, x, value=0.5) * i.sort(1).indices
                + i.topk(2).values[:, :1] * x
                + F.unfold(i[None, None].to(x.dtype), (1, 2)).sum() * x
                + torch.softmax(x + torch.tensor([0.0, -math.inf, 0.0]), 1) / torch.full_like(x, 2)
            )
        ),
        lambda: [r(2, 3), torch.tensor([[2, 0, 1], [4, 5, 3]])],
    ),
    "windows of an image": (lambda: nn.Conv2d(2, 3, 3, padding="same"), lambda: [r(2, 2, 4, 5)]),
}
