"""What the emitted code is timed against: the same gradients by other means, each as a call without arguments."""

import ctypes
import importlib
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy
import torch

from derive.problems.network import Network

Call = Callable[[], Iterable]
ACTIVATIONS = {
    "sigmoid": torch.nn.Sigmoid,
    "tanh": torch.nn.Tanh,
    "relu": torch.nn.ReLU,
    "softplus": torch.nn.Softplus,
    "gelu": torch.nn.GELU,
    "silu": torch.nn.SiLU,
}


def sequential(network: Network, device: str, dtype: torch.dtype) -> torch.nn.Sequential:
    """The network as its users build it; the same weights for any dtype."""
    torch.manual_seed(0)
    parts: list[torch.nn.Module] = []
    for layer in range(network.depth):
        parts += [torch.nn.Linear(*network.layers[layer : layer + 2]), ACTIVATIONS[network.activation]()]
    return torch.nn.Sequential(*parts[:-1]).to(device, dtype)


def data(network: Network, rows: int, device: str, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.rand(rows, network.layers[0], generator=torch.Generator().manual_seed(1))
    y = (x**2).sum(1, keepdim=True).div(2).repeat(1, network.layers[-1])
    return x.to(device, dtype), y.to(device, dtype)


def autograd(net, x, y, chunk: int | None = None, model=None) -> Call:
    """The usual step: forget the gradient, forward, backward."""
    model, chunk = model or net, chunk or len(x)

    def call():
        net.zero_grad()
        for part, target in zip(x.split(chunk), y.split(chunk), strict=True):
            ((model(part) - target) ** 2).sum().backward()
        return [parameter.grad for parameter in net.parameters()]

    return call


def loss(parameters, x, y):
    """The loss as a plain function of the parameters, for torch.func; x one row or many."""
    for layer in range(0, len(parameters), 2):
        x = torch.nn.functional.linear(x, parameters[layer], parameters[layer + 1])
        x = torch.sigmoid(x) if layer + 2 < len(parameters) else x
    return ((x - y) ** 2).sum()


def functional(parameters, x, y) -> Call:
    gradient = torch.func.grad(loss)
    return lambda: gradient(parameters, x, y)


def each_by_vmap(parameters, x, y) -> Call:
    gradients = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))
    return lambda: gradients(parameters, x, y)


def double_backward(parameters, direction, x, y) -> Call:
    tracked = [parameter.clone().requires_grad_() for parameter in parameters]

    def call():
        first = torch.autograd.grad(loss(tracked, x, y), tracked, create_graph=True)
        return torch.autograd.grad(first, tracked, direction)

    return call


def by_numpy(parameters, x, y) -> Call:
    """A textbook's backward pass."""
    W1, b1, W2, b2, W3, b3, x, y = (tensor.numpy() for tensor in (*parameters, x, y))

    def call():
        a1 = 1 / (1 + numpy.exp(-(x @ W1.T + b1)))
        a2 = 1 / (1 + numpy.exp(-(a1 @ W2.T + b2)))
        d3 = 2 * (a2 @ W3.T + b3 - y)
        d2 = (d3 @ W3) * (1 - a2) * a2
        d1 = (d2 @ W2) * (1 - a1) * a1
        return d1.T @ x, d1.sum(0), d2.T @ a1, d2.sum(0), d3.T @ a2, d3.sum(0)

    return call


def notebook(parameters, x, y) -> Call:
    """The assignment's way: one row, and everything again for each parameter."""
    W1, b1, W2, b2, W3, b3 = parameters

    def sigmoid(z):
        return 1 / (1 + torch.exp(-z))

    def call():
        z1 = torch.mm(x, W1.T) + b1
        a1 = sigmoid(z1)
        z2 = torch.mm(a1, W2.T) + b2
        a2 = sigmoid(z2)
        p = torch.mm(a2, W3.T) + b3

        def d2():
            return 2 * (p - y) * W3 * (sigmoid(z2) * (1 - sigmoid(z2)))

        def d1():
            return torch.mm(d2(), W2) * (sigmoid(z1) * (1 - sigmoid(z1)))

        return d1().T @ x, d1(), d2().T @ a1, d2(), (2 * (p - y)).T @ a2, 2 * (p - y)

    return call


def by_jax(parameters, x, y) -> Call | None:
    """jit(value_and_grad), where JAX is installed."""
    try:
        jax = importlib.import_module("jax")
    except ImportError:
        return None
    jax.config.update("jax_enable_x64", True)
    *weights, x, y = (jax.numpy.asarray(tensor.numpy()) for tensor in (*parameters, x, y))

    def loss(parameters, x, y):
        for layer in range(0, len(parameters), 2):
            x = x @ parameters[layer].T + parameters[layer + 1]
            x = jax.nn.sigmoid(x) if layer + 2 < len(parameters) else x
        return ((x - y) ** 2).sum()

    compiled = jax.jit(jax.value_and_grad(loss))
    return lambda: jax.block_until_ready(compiled(weights, x, y))[1]


KERNEL = """
#include <math.h>
#include <string.h>
enum { T = 128, H = 10 };
void gradient(const float *P, const float *x, const float *y, long n, float *G) {
    const float *W1 = P, *b1 = P + 20, *W2 = P + 30, *b2 = P + 130, *W3 = P + 140, *b3 = P + 150;
    float *g1 = G, *h1 = G + 20, *g2 = G + 30, *h2 = G + 130, *g3 = G + 140, *h3 = G + 150;
    memset(G, 0, 151 * sizeof(float));
    for (long s = 0; s < n; s += T) {
        int m = n - s < T ? (int)(n - s) : T;
        float X[2][T] = {{0}}, A[H][T], B[H][T], D[H][T], E[H][T], p[T];
        for (int t = 0; t < m; t++) X[0][t] = x[2 * (s + t)], X[1][t] = x[2 * (s + t) + 1];
        for (int i = 0; i < H; i++)
            for (int t = 0; t < T; t++)
                A[i][t] = 1 / (1 + expf(-(b1[i] + W1[2 * i] * X[0][t] + W1[2 * i + 1] * X[1][t])));
        for (int i = 0; i < H; i++) {
            float z[T];
            for (int t = 0; t < T; t++) z[t] = b2[i];
            for (int j = 0; j < H; j++)
                for (int t = 0; t < T; t++) z[t] += W2[H * i + j] * A[j][t];
            for (int t = 0; t < T; t++) B[i][t] = 1 / (1 + expf(-z[t]));
        }
        for (int t = 0; t < T; t++) p[t] = b3[0];
        for (int j = 0; j < H; j++)
            for (int t = 0; t < T; t++) p[t] += W3[j] * B[j][t];
        for (int t = 0; t < T; t++) p[t] = t < m ? 2 * (p[t] - y[s + t]) : 0;
        memset(E, 0, sizeof E);
        for (int i = 0; i < H; i++) {
            float u = 0, v = 0;
            for (int t = 0; t < T; t++) {
                D[i][t] = W3[i] * p[t] * B[i][t] * (1 - B[i][t]);
                u += p[t] * B[i][t], v += D[i][t];
            }
            g3[i] += u, h2[i] += v;
            for (int j = 0; j < H; j++) {
                float w = 0;
                for (int t = 0; t < T; t++) w += D[i][t] * A[j][t], E[j][t] += W2[H * i + j] * D[i][t];
                g2[H * i + j] += w;
            }
        }
        for (int i = 0; i < H; i++) {
            float u = 0, v = 0, w = 0;
            for (int t = 0; t < T; t++) {
                float d = E[i][t] * A[i][t] * (1 - A[i][t]);
                u += d * X[0][t], v += d * X[1][t], w += d;
            }
            g1[2 * i] += u, g1[2 * i + 1] += v, h1[i] += w;
        }
        for (int t = 0; t < T; t++) h3[0] += p[t];
    }
}
"""


def compiled_c(folder: Path) -> ctypes.CDLL | None:
    """All of 2-10-10-1 in one loop over tiles of rows, as a compiler vectorises it; None where there is no compiler."""
    if shutil.which("cc") is None:
        return None
    source, library = folder / "kernel.c", folder / "kernel.so"
    source.write_text(KERNEL)
    command = [
        "cc",
        "-Ofast",
        "-march=native",
        "-mprefer-vector-width=512",
        "-shared",
        "-fPIC",
        "-o",
        str(library),
        str(source),
        "-lm",
    ]
    done = subprocess.run(command, capture_output=True)
    return ctypes.CDLL(str(library)) if done.returncode == 0 else None


def fused(library: ctypes.CDLL | None, parameters, x, y) -> Call | None:
    if library is None:
        return None
    flat = torch.cat([parameter.flatten() for parameter in parameters])
    out = torch.empty_like(flat)
    pointers = [ctypes.c_void_p(tensor.data_ptr()) for tensor in (flat, x, y)]
    arguments = (*pointers, ctypes.c_long(len(x)), ctypes.c_void_p(out.data_ptr()))
    parts = [part.view_as(p) for part, p in zip(out.split([p.numel() for p in parameters]), parameters, strict=True)]

    def call(keep=(flat, x, y)):
        library.gradient(*arguments)
        return parts

    return call
