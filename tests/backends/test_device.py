"""device.h takes the steps of torch's optimizers, in float alone and in as much memory as it says."""

import ctypes
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

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
PROCESSOR = ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16")
OURS = {"memset", "memcpy"}  # which compilers may call for loops


def emitted_to(folder: Path, network: Network) -> Path:
    (folder / "device.h").write_text(render(network, ["device.h"])["device.h"])
    (folder / "device.c").write_text(PROGRAM)
    return folder / "device.c"


def undefined(tool: str, path: Path) -> set[str]:
    """What a file calls and does not have."""
    listed = subprocess.run([tool, "-u", str(path)], capture_output=True, text=True, check=True).stdout.split()
    return {name for name in listed if name not in ("U", "w") and not name.startswith(("__cxa", "_ITM", "__gmon"))}


@dataclass
class Training:
    """A thousand steps of torch in double: where they begin, and with which rows; the losses before, and the end."""

    start: torch.Tensor
    x: torch.Tensor
    y: torch.Tensor
    losses: list[float]
    end: list[torch.Tensor]


STEPS, ROWS, AT_ONCE, RATE = 1000, 40, 4, 0.01


def trained(network: Network, optimizer: str, fast: ModuleType) -> Training:
    net = sequential(network)
    start = fast.FastGradient([p.float() for p in net.parameters()]).flat_parameters
    theirs = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer](net.parameters(), lr=RATE)
    x, y, losses = torch.rand(ROWS, network.layers[0], dtype=torch.float64), targets(network, ROWS), []
    for step in range(STEPS):
        rows = [(AT_ONCE * step + k) % ROWS for k in range(AT_ONCE)]
        theirs.zero_grad()
        weights = [parameter for parameter in net.parameters() if parameter.ndim == 2 and network.penalty]
        loss = criterion(network, net(x[rows]), y[rows]) + 0.005 * sum((W**2).sum() for W in weights)
        loss.backward()
        theirs.step()
        losses.append(loss.item())
    return Training(start, x.float(), y.float(), losses, [parameter.detach() for parameter in net.parameters()])


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_a_thousand_steps_are_those_of_torch(network, optimizer, emitted, tmp_path):
    source, library = emitted_to(tmp_path, network), tmp_path / "device.so"
    subprocess.run(["cc", *STRICT, "-O1", "-shared", "-fPIC", str(source), "-o", str(library)], check=True, timeout=60)
    assert {name.partition("@")[0] for name in undefined("nm", library)} <= OURS
    device, fast = ctypes.CDLL(str(library)), emitted(network, "fast")
    theirs = trained(network, optimizer, fast)
    device.parameters.restype, getattr(device, optimizer).restype = ctypes.c_void_p, ctypes.c_float
    place, arguments = device.parameters(), (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_long, ctypes.c_float)
    ctypes.memmove(place, theirs.start.data_ptr(), 4 * network.entries)
    getattr(device, optimizer).argtypes = arguments
    for step, loss in enumerate(theirs.losses):
        first = AT_ONCE * step % ROWS
        x, y = (data[first : first + AT_ONCE] for data in (theirs.x, theirs.y))
        value = getattr(device, optimizer)(x.data_ptr(), y.data_ptr(), AT_ONCE, RATE)
        assert abs(value - loss) <= 1e-4 * (1 + abs(loss))
    ctypes.memmove(theirs.start.data_ptr(), place, 4 * network.entries)
    for got, want in zip(fast._views(theirs.start), theirs.end, strict=True):
        assert relative(got.double(), want) < 1e-4


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
    for name, most in (("sgd", 2048), ("adam", 2560)):
        kept = PROGRAM.splitlines()
        program = "\n".join(line for line in kept if not line.startswith("real") or line.startswith(f"real {name}"))
        source.write_text(program)
        made = tmp_path / f"{name}.o"
        command = [
            "arm-none-eabi-gcc",
            *PROCESSOR,
            "-ffreestanding",
            *STRICT,
            "-Os",
            "-c",
            str(source),
            "-o",
            str(made),
        ]
        subprocess.run(command, check=True, timeout=60)
        assert undefined("arm-none-eabi-nm", made) <= OURS
        sizes = subprocess.run(["arm-none-eabi-size", str(made)], capture_output=True, text=True, check=True).stdout
        code = int(sizes.splitlines()[1].split()[0])
        assert code <= most, sizes


# Begins as a Cortex-M does, with the unit for floats on; then newlib's _start calls main.
ON_A_BOARD = """
#include <stdio.h>
#include "device.h"
void _start(void);
static void reset(void)
{
    *(volatile uint32_t *)0xE000ED88 |= 0xF << 20;
    _start();
}
__attribute__((section(".vectors"), used)) static const void *const vectors[] = {(void *)0x20100000, (void *)reset};
static adam_state state = {STATE};
static const real x[] = {X}, y[] = {Y};
int main(void)
{
    for (long step = 0, first = 0; step < STEPS; step++, first = (first + AT_ONCE) % ROWS)
        STEP(x + first * INPUTS, y + first * OUTPUTS, AT_ONCE, RATE);
    for (int k = 0; k < ENTRIES; k++) printf("%08lx\\n", (unsigned long)bits_of(state.sgd.parameters[k]));
    return 0;
}
"""
BOARD = [tool for tool in ("arm-none-eabi-gcc", "qemu-system-arm") if shutil.which(tool) is None]


@pytest.mark.slow
@pytest.mark.skipif(bool(BOARD), reason="needs gcc-arm-none-eabi, libnewlib-arm-none-eabi and qemu-system-arm")
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_a_thousand_steps_on_a_cortex_m4_are_those_of_torch(network, optimizer, emitted, tmp_path):
    emitted_to(tmp_path, network)
    fast = emitted(network, "fast")
    theirs = trained(network, optimizer, fast)
    source, program = tmp_path / "board.c", tmp_path / "board.elf"
    start, x, y = (", ".join(map(float.hex, part.flatten().tolist())) for part in (theirs.start, theirs.x, theirs.y))
    source.write_text(ON_A_BOARD)
    step = f"{optimizer}_step(&state{'.sgd' if optimizer == 'sgd' else ''}, __VA_ARGS__)"
    numbers = {"STEPS": STEPS, "AT_ONCE": AT_ONCE, "ROWS": ROWS, "RATE": f"{RATE}f", "X": x, "Y": y, "STEP(...)": step}
    given = [f"-D{name}={value}" for name, value in {"STATE": f".sgd.parameters = {{{start}}}", **numbers}.items()]
    laid = ("-Wl,--section-start=.vectors=0", "-Wl,-Tdata=0x20000000")  # where this board has its memory
    command = ["arm-none-eabi-gcc", *PROCESSOR, "--specs=rdimon.specs", "-Os", *given, str(source), *laid]
    subprocess.run([*command, "-o", str(program)], check=True, timeout=60)
    board = ["qemu-system-arm", "-M", "mps2-an386", "-nographic", "-semihosting", "-kernel", str(program)]
    done = subprocess.run(board, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True, timeout=100)
    words = [int(line, 16) for line in done.stdout.split()]
    flat = torch.tensor(struct.unpack(f"<{network.entries}f", struct.pack(f"<{network.entries}I", *words)))
    for got, want in zip(fast._views(flat), theirs.end, strict=True):
        assert relative(got.double(), want) < 1e-4
