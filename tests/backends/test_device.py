"""device.h takes the steps of torch's optimizers, in float alone and in as much memory as it says."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from derive import build
from derive.packages import render
from derive.problems import Network
from tests.helpers.gate import criterion, relative, sequential
from tests.helpers.networks import targets

NETWORKS = [
    Network(),
    Network((2, 4, 4, 1), "tanh", reduction="mean", penalty="0.005*w**2"),
    Network((3, 5, 4), "gelu", loss="cross_entropy", reduction="mean"),
]
PROGRAM = """
#include "device.h"
static adam_state state;
real *parameters(void) { return state.sgd.parameters; }
real sgd(const real *x, const real *y, long N, real rate) { return sgd_step(&state.sgd, x, y, N, rate); }
real adam(const real *x, const real *y, long N, real rate) { return adam_step(&state, x, y, N, rate); }
"""
STRICT = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-Wdouble-promotion", "-Wno-unused-function")
OURS = {"memset", "memcpy"}  # which compilers may call for loops


def emitted_to(folder: Path, network: Network) -> Path:
    (folder / "device.h").write_text(render(network, ["device.h"])["device.h"])
    (folder / "device.c").write_text(PROGRAM)
    return folder / "device.c"


def undefined(tool: str, path: Path) -> set[str]:
    """What a file calls and does not have."""
    listed = subprocess.run([tool, "-u", str(path)], capture_output=True, text=True, check=True).stdout.split()
    return {name for name in listed if name not in ("U", "w") and not name.startswith(("__cxa", "_ITM", "__gmon"))}


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_a_thousand_steps_are_those_of_torch(network, optimizer, emitted, tmp_path):
    source, library = emitted_to(tmp_path, network), tmp_path / "device.so"
    subprocess.run(["cc", *STRICT, "-O1", "-shared", "-fPIC", str(source), "-o", str(library)], check=True, timeout=60)
    assert {name.partition("@")[0] for name in undefined("nm", library)} <= OURS
    device = ctypes.CDLL(str(library))
    net, rate = sequential(network), 0.01
    fast = emitted(network, "fast")
    flat = fast.FastGradient([p.float() for p in net.parameters()]).flat_parameters
    device.parameters.restype, getattr(device, optimizer).restype = ctypes.c_void_p, ctypes.c_float
    place, arguments = device.parameters(), (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_long, ctypes.c_float)
    ctypes.memmove(place, flat.data_ptr(), 4 * network.entries)
    getattr(device, optimizer).argtypes = arguments
    theirs = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer](net.parameters(), lr=rate)
    x, y = torch.rand(40, network.layers[0], dtype=torch.float64), targets(network, 40)
    for step in range(1000):
        rows = [(4 * step + k) % 40 for k in range(4)]
        theirs.zero_grad()
        weights = [parameter for parameter in net.parameters() if parameter.ndim == 2 and network.penalty]
        loss = criterion(network, net(x[rows]), y[rows]) + 0.005 * sum((W**2).sum() for W in weights)
        loss.backward()
        theirs.step()
        mine, target = x[rows].float(), y[rows].float()
        value = getattr(device, optimizer)(mine.data_ptr(), target.data_ptr(), 4, rate)
        assert abs(value - loss.item()) <= 1e-4 * (1 + abs(loss.item()))
    ctypes.memmove(flat.data_ptr(), place, 4 * network.entries)
    for got, want in zip(fast._views(flat), net.parameters(), strict=True):
        assert relative(got.double(), want.detach()) < 1e-4


def test_a_device_is_asked_for_and_checked_and_sine_is_refused(tmp_path, capsys):
    folder, options = tmp_path / "mine", ["--layers", "2-3-1", "--out", str(tmp_path / "mine")]
    assert build.main(options) == 0 and not (folder / "device.h").exists()
    assert build.main([*options, "--device"]) == 0 and build.main([*options, "--check"]) == 0
    (folder / "device.h").write_text((folder / "device.h").read_text().replace("0.9f", "0.8f"))
    assert build.main(["--check", "--out", str(folder)]) == 1
    assert capsys.readouterr().out.rstrip().endswith("--device")
    assert build.main(options) == 0 and not (folder / "device.h").exists()
    assert build.main([*options, "--activation", "sin(z)", "--device"]) == 2
    assert "--device: sin and cos are computed in double here" in capsys.readouterr().err


def test_memory_that_is_not_as_much_as_it_says_does_not_compile(tmp_path):
    source = emitted_to(tmp_path, Network())
    text = (tmp_path / "device.h").read_text()
    (tmp_path / "device.h").write_text(text.replace("matrices[FEATURES]", "matrices[FEATURES + 1]"))
    done = subprocess.run(["cc", "-fsyntax-only", str(source)], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and "sgd_bytes" in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="needs gcc-arm-none-eabi")
def test_a_small_processor_takes_two_kilobytes_of_code_and_no_double(tmp_path):
    source = emitted_to(tmp_path, Network())
    processor = ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16", "-ffreestanding")
    for name, most in (("sgd", 2048), ("adam", 2560)):
        kept = PROGRAM.splitlines()
        program = "\n".join(line for line in kept if not line.startswith("real") or line.startswith(f"real {name}"))
        source.write_text(program)
        made = tmp_path / f"{name}.o"
        command = ["arm-none-eabi-gcc", *processor, *STRICT, "-Os", "-c", str(source), "-o", str(made)]
        subprocess.run(command, check=True, timeout=60)
        assert undefined("arm-none-eabi-nm", made) <= OURS
        sizes = subprocess.run(["arm-none-eabi-size", str(made)], capture_output=True, text=True, check=True).stdout
        code = int(sizes.splitlines()[1].split()[0])
        assert code <= most, sizes
