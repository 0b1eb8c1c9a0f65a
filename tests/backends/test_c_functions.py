"""The functions of numbers in network.c are as exact as it says, from 0 to the largest number."""

import ctypes
import math
import os

import mpmath
import pytest
import torch

from derive.backends.c.functions import C_FUNCTIONS
from derive.packages.emit import render
from tests.helpers.native import USED, compiled

EXACT = {
    "exp": (mpmath.exp, -103, 88.7),
    "expm1": (mpmath.expm1, -103, 88.7),
    "sigmoid": (lambda x: 1 / (1 + mpmath.exp(-x)), -87, 300),
    "logsigmoid": (lambda x: -mpmath.log1p(mpmath.exp(-x)), -300, 87),
    "tanh": (mpmath.tanh, -300, 300),
    "erf": (mpmath.erf, -300, 300),
    "erfc": (mpmath.erfc, -9, 9),
    "exp_of_square": (lambda x: mpmath.exp(-(x**2) / 2), -13, 13),
    "erfcx": (lambda x: mpmath.erfc(x) * mpmath.exp(x**2), -9, 1e4),
    "log_ndtr": (lambda x: mpmath.log(mpmath.erfc(-x / mpmath.sqrt(2)) / 2), -1e4, 12),
    "log": (mpmath.log, 1e-38, 1e38),
    "log1p": (mpmath.log1p, -0.9, 1e38),
    "sqrt": (mpmath.sqrt, 1e-38, 1e38),
    "sin": (mpmath.sin, -1e4, 1e4),
    "cos": (mpmath.cos, -1e4, 1e4),
}
LIMITS = {  # at 0, inf, -inf
    "exp": (1, math.inf, 0),
    "expm1": (0, math.inf, -1),
    "sigmoid": (0.5, 1, 0),
    "logsigmoid": (None, 0, -math.inf),
    "tanh": (0, 1, -1),
    "erf": (0, 1, -1),
    "erfc": (1, 0, 2),
    "exp_of_square": (1, 0, 0),
    "erfcx": (1, 0, math.inf),
    "log_ndtr": (None, 0, -math.inf),
    "log": (-math.inf, math.inf, math.nan),
    "log1p": (0, math.inf, math.nan),
    "sqrt": (0, math.inf, math.nan),
    "sin": (0, math.nan, math.nan),
    "cos": (1, math.nan, math.nan),
}
OF_SQUARE = {"exp_of_square": "exp_of_square(-(real)0.5, x[k])"}


@pytest.fixture(scope="session")
def functions(tmp_path_factory):
    """The functions of network.c on arrays, in float and in double."""
    folder = tmp_path_factory.mktemp("functions")
    for name, text in render(USED, ["network.c", "network.h"]).items():
        (folder / name).write_text(text)
    loops = [
        f"void all_{name}(const real *x, real *y, long n) {{ for (long k = 0; k < n; k++) y[k] = {call}; }}"
        for name, call in ({name: f"{name}_of(x[k])" for name in EXACT} | OF_SQUARE).items()
    ]
    source = "\n".join(['#include "network.c"', *loops])
    flags = ("-O2", "-march=native")
    options = {torch.float32: flags, torch.float64: (*flags, "-DNETWORK_DOUBLE")}
    return {dtype: compiled(folder, source, *given) for dtype, given in options.items()}


def of_function(library: ctypes.CDLL, name: str, x: torch.Tensor) -> torch.Tensor:
    y = torch.empty_like(x)
    getattr(library, f"all_{name}")(ctypes.c_void_p(x.data_ptr()), ctypes.c_void_p(y.data_ptr()), ctypes.c_long(len(x)))
    return y


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float", "double"])
@pytest.mark.parametrize("name", EXACT)
def test_each_function_is_as_exact_as_it_says(name, dtype, functions):
    exact, least, most = EXACT[name]
    points = torch.randn(1500, dtype=torch.float64) * 3
    points = torch.cat([points, points.sign() * 10 ** torch.empty(1500, dtype=torch.float64).uniform_(-12, 2.4)])
    if least > 0:
        points = torch.cat([points.abs(), 10 ** torch.empty(500, dtype=torch.float64).uniform_(-37, 37)])
    points = points[(points > least) & (points < most)].to(dtype)
    worst = 0.0
    with mpmath.workdps(50):
        for x, y in zip(points.tolist(), of_function(functions[dtype], name, points).tolist(), strict=True):
            want = exact(mpmath.mpf(x))
            _, exponent = mpmath.frexp(want)
            unit = (
                mpmath.ldexp(1, max(exponent - 1, -126 if dtype is torch.float32 else -1022)) * torch.finfo(dtype).eps
            )
            worst = max(worst, float(abs(y - want) / unit))
    assert worst <= C_FUNCTIONS[name].ulp


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float", "double"])
def test_erfc_keeps_its_digits_where_nearly_nothing_is_left(dtype, functions):
    points = torch.linspace(-8, 9 if dtype is torch.float32 else 26, 2000, dtype=dtype)
    with mpmath.workdps(50):
        for x, y in zip(points.tolist(), of_function(functions[dtype], "erfc", points).tolist(), strict=True):
            want = mpmath.erfc(x)
            assert abs(y - want) <= C_FUNCTIONS["erfc"].ulp * torch.finfo(dtype).eps * want, x


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float", "double"])
@pytest.mark.parametrize("name", EXACT)
def test_each_function_has_its_limits(name, dtype, functions):
    x = torch.tensor([0, math.inf, -math.inf, math.nan, math.inf], dtype=dtype)
    x[4:].view(torch.int32 if dtype is torch.float32 else torch.int64)[0] += 1  # none of whose first digits says so
    *limits, unknown, signalling = of_function(functions[dtype], name, x).tolist()
    assert math.isnan(unknown) and math.isnan(signalling)
    for limit, value in zip(LIMITS[name], limits, strict=True):
        assert limit is None or value == limit or (math.isnan(value) and math.isnan(limit))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float", "double"])
@pytest.mark.parametrize("name", ["sin", "cos"])
def test_angles_of_any_size_are_turned_back_exactly(name, dtype, functions):
    """Also those next to a multiple of pi / 2, where all but the last digits of the angle go."""
    largest = math.log10(torch.finfo(dtype).max)
    points = 10 ** torch.empty(1000, dtype=torch.float64).uniform_(4, largest)
    quarters = [float(k * mpmath.pi / 2) for k in torch.randint(1, 10**9, (200,)).tolist()]
    hard = [6381956970095103 * 2.0**797, 16367173 * 2.0**72, torch.finfo(dtype).max]
    points = torch.cat([points, -points, torch.tensor([*quarters, *hard], dtype=torch.float64)]).to(dtype)
    points = points[points.isfinite()]
    with mpmath.workdps(400):
        for x, y in zip(points.tolist(), of_function(functions[dtype], name, points).tolist(), strict=True):
            want = getattr(mpmath, name)(x)
            unit = mpmath.ldexp(torch.finfo(dtype).eps, mpmath.frexp(want)[1] - 1)
            assert abs(y - want) <= C_FUNCTIONS[name].ulp * unit, x


IN_DOUBLE = {"logsigmoid": torch.nn.functional.logsigmoid, "exp_of_square": lambda x: torch.exp(-x * x / 2)}
STRIDE = int(os.environ.get("STRIDE", "2039"))
AT_ONCE = 2**20


@pytest.mark.slow
@pytest.mark.parametrize("name", EXACT)
def test_each_function_is_as_exact_as_it_says_at_all_floats(name, functions):
    """Against torch in double; every STRIDE-th of the 2^32 floats, and with STRIDE=1 all."""
    own = getattr(torch, name, None) or getattr(torch.special, name, None)
    function, tiny = IN_DOUBLE.get(name) or own, torch.finfo(torch.float32).tiny
    for start in range(-(2**31), 2**31, AT_ONCE * STRIDE):
        numbers = torch.arange(start, min(start + AT_ONCE * STRIDE, 2**31), STRIDE, dtype=torch.int64)
        x = numbers.to(torch.int32).view(torch.float32)
        y, want = of_function(functions[torch.float32], name, x), function(x.double())
        unit = 2.0 ** (want.abs().clamp(min=tiny).log2().floor()) * torch.finfo(torch.float32).eps
        wrong = ~((y.double() - want).abs() <= C_FUNCTIONS[name].ulp * unit)
        same = (y == want.float()) | (y.isnan() & want.isnan())
        assert not (wrong & ~same).any(), x[wrong & ~same][:3]
