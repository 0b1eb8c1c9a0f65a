"""network.c, compiled by tests as they like."""

import ctypes
import subprocess
from pathlib import Path

import torch

from derive.problems.network import Network

USED = Network(
    (1, 1, 1, 1, 1),
    ("tanh(z) + erf(z) + sin(z) + cos(z) + gelu(z)", "elu", "log(1 + erf(z)) + logsigmoid(z)"),
    loss="log(1 + (p - y)**2) + sqrt(1 + p**2) + softplus(p)",
)

PLAIN = """
#include "network.c"
void plain_gradient(const real *parameters, const real *x, const real *y, long N, real *loss, real *results, void *work)
{
    gradient(parameters, x, y, N, loss, results, work);
}
"""


def compiled(folder: Path, source: str, *options: str, compiler: str = "cc") -> ctypes.CDLL:
    path = folder / f"library{len(list(folder.iterdir()))}.so"
    (folder / "source.c").write_text(source)
    command = [compiler, "-std=gnu99", *options, "-shared", "-fPIC", "-I", str(folder), str(folder / "source.c")]
    subprocess.run([*command, "-o", str(path)], check=True, timeout=120)
    return ctypes.CDLL(str(path))


def gradient_by(library: ctypes.CDLL, parameters: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Gradient and loss, by a library of PLAIN in float."""
    results, work = torch.empty(len(parameters) + 1), torch.empty(2**20, dtype=torch.float64)
    at = [ctypes.c_void_p(t.data_ptr()) for t in (parameters, x, y, results[-1:], results, work)]
    library.plain_gradient(*at[:3], ctypes.c_long(len(x)), *at[3:])
    return results
