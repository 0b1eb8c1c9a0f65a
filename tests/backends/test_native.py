"""network.c computes what the derivation says, compiled or not, on any data; its functions are as exact as it says."""

import itertools
import os
import shutil
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from derive.formulas import FUNCTIONS as ACTIVATIONS
from derive.formulas import LOSSES
from derive.packages.emit import render
from derive.problems.network import Network
from generated.fast import FastGradient
from generated.native import NativeGradient
from tests.helpers.gate import assert_agree, autograd, criterion, distance, sequential
from tests.helpers.native import PLAIN, USED, compiled, gradient_by
from tests.helpers.networks import example, targets
from tests.helpers.programs import needs

ROOT = Path(__file__).parents[2]
ROWS = (0, 1, 2, 3, 5, 8, 9, 1000)


def table_rows() -> list[Network]:
    """Networks that have each activation and each loss of the tables between them."""
    hidden = itertools.cycle(ACTIVATIONS)
    return [
        Network(
            (3, 4, 5, 2),
            (next(hidden), next(hidden)),
            "sigmoid" if loss == "binary_cross_entropy" else "identity",
            loss,
            "mean" if index % 2 else "sum",
        )
        for index, loss in enumerate(LOSSES)
    ]


FORMULAS = [
    Network((2, 3, 1), "z / (1 + exp(-1.5 * z))", loss="(p - y)**4 / (1 + y**2)**0.3", reduction="mean"),
    Network((2, 3, 3, 2), ("sqrt(1 + z**2)", "cos(z) + z**3 / 3"), loss="log(1 + abs(p - y)) + erf(p)"),
    Network((2, 3, 3), "where(z > 0, z, exp(z) - 1)", loss="-y * log_softmax(2 * p)", reduction="mean"),
    Network((2, 3), loss="y*logsumexp(p)*(logsumexp(p) - p)"),
    Network((2, 17, 2), "max(z, 0.1 * z)", loss="min((p - y)**2, 4)"),
    Network((2, 4, 1), "min(exp(z), 1) + max(z, 0)"),
    Network((2, 3, 1), penalty="log(1 + abs(w)) - 3*w + exp(w)"),
    Network((2, 4, 4, 2), "tanh", penalty="0.05*w**2", skip=((1, 2), (0, 3)), reduction="mean"),
]


@pytest.fixture
def native(emitted):
    """A function from a network to the class of its package."""

    def of(network: Network) -> type:
        module = emitted(network, "native")
        with warnings.catch_warnings(action="error"):
            for double in (False, True):
                assert module._library(double, False)
        return module.NativeGradient

    return of


def double_backward(network, net, x, y, direction) -> list[torch.Tensor]:
    """The Hessian times a direction, by torch alone; a gradient that does not move is zero.

    Of binary_cross_entropy by that with logits: of its own second derivative torch loses four digits.
    """
    if (network.output_activation, network.loss) == ("sigmoid", "binary_cross_entropy"):
        network = replace(network, output_activation="identity", loss="binary_cross_entropy_with_logits")
        net = net[:-1]
    parameters = list(net.parameters())
    gradient = torch.autograd.grad(criterion(network, net(x), y), parameters, create_graph=True)
    moved = sum((g * d).sum() for g, d in zip(gradient, direction, strict=True))
    if not moved.requires_grad:
        return [torch.zeros_like(p) for p in parameters]
    return list(torch.autograd.grad(moved, parameters, materialize_grads=True))


@pytest.mark.parametrize("loss", ["cross_entropy", "(softmax(p) - y)**2", "y*logsumexp(p)"])
def test_where_softmax_is_one_and_zeros_the_loss_does_not_bend_by_it(loss, native, emitted):
    """What then cancels does so to the last bit, though compilers join a product and a sum."""
    network = Network((2, 3), loss=loss, reduction="mean")
    for dtype in (torch.float32, torch.float64):
        weights, bias = torch.tensor([[6e8, 1.1], [-1.3, 0.7], [1.9, 4e7]], dtype=dtype), torch.zeros(3, dtype=dtype)
        x, y = torch.randn(40, 2, dtype=dtype), torch.rand(40, 3, dtype=dtype)
        x, y = x[x[:, 0].abs() > 0.1], y[x[:, 0].abs() > 0.1]
        for kind in (native(network), emitted(network, "fast").FastGradient):
            assert not any(part.any() for part in kind((weights, bias)).hvp(x, y, torch.rand(9, dtype=dtype)))


@pytest.mark.parametrize("network", table_rows(), ids=str)
def test_each_row_of_the_tables_agrees_with_autograd_in_double(network, native, emitted):
    kind = native(network)
    for dtype, rows in itertools.product((torch.float64, torch.float32), ROWS[1:]):
        net = sequential(network, torch.float64)
        x, y = torch.randn(rows, 3, dtype=torch.float64), targets(network, rows)
        net, x, y = (part.to(dtype) for part in (net, x, y))
        of = kind(net.parameters())
        direction = torch.randn_like(of.flat_parameters)
        loss, gradient = of.value_and_grad(x, y, copy=True)
        product = [part.clone() for part in of.hvp(x, y, direction)]
        each = of.per_sample_grad(x, y)
        parts = [part.double() for part in emitted(network, "fast")._views(direction)]
        net, x, y = (part.double() for part in (net, x, y))
        gate = 32 * (rows * 5) ** 0.5
        expected = criterion(network, net(x), y).detach()
        assert abs(loss - expected) <= gate * torch.finfo(dtype).eps * (1 + abs(expected))
        assert_close(gradient, autograd(network, net, x, y), gate)
        assert_close(product, double_backward(network, net, x, y, parts), 8 * gate)
        for row in range(min(rows, 3)):
            own = autograd(network, net, x[row : row + 1], y[row : row + 1])
            assert_close([part[row] for part in each], own, gate)


def assert_close(got, want, gate: float) -> None:
    """In the precision of what is got; what comes from cancelling terms is as near as these are."""
    size = max(r.norm() for r in want)
    for g, r in zip(got, want, strict=True):
        assert (g.double() - r).norm() <= gate * torch.finfo(g.dtype).eps * (r.norm() + 0.05 * size)


@pytest.mark.parametrize("network", FORMULAS, ids=str)
def test_formulas_agree_with_the_readable_module_in_double(network, native, emitted):
    kind, readable = native(network), emitted(network)
    for dtype, rows in itertools.product((torch.float64, torch.float32), ROWS[1:]):
        net, x, y = example(network, rows, dtype)
        y = targets(network, rows).to(dtype)
        of = kind(net.parameters())
        parameters = [p.double() for p in of.parameters]
        loss, gradient = of.value_and_grad(x, y)
        expected, exact = readable.value_and_grad(parameters, x.double(), y.double())
        gate = 64 * (rows * 5) ** 0.5
        assert distance(loss.double(), expected) * 2.0**-52 <= gate * torch.finfo(dtype).eps
        assert_close(gradient, exact, gate)
        if rows > 3:
            total, sums = of.accumulate([(x[:3], y[:3]), (x[:0], y[:0]), (x[3:], y[3:])])
            assert_close([total[None], *sums], [expected[None], *exact], gate)
        direction = [torch.randn_like(p) for p in parameters]
        product = of.hvp(x, y, [part.to(dtype) for part in direction])
        wanted = readable.hvp(parameters, x.double(), y.double(), [part.to(dtype).double() for part in direction])
        assert_close(product, wanted, 8 * gate)
        assert_close(of.per_sample_grad(x, y), readable.per_sample_grad(parameters, x.double(), y.double()), gate)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float", "double"])
def test_an_angle_that_is_far_is_turned_back_beside_those_that_are_near(dtype, native):
    network = Network((1, 3, 1), "sin(z) * cos(2 * z)", loss="mse_loss")
    of = native(network)([torch.ones(shape, dtype=dtype) for shape in ((3, 1), (3,), (1, 3), (1,))])
    x, y = torch.linspace(-9, 9, 64, dtype=dtype)[:, None], torch.zeros(64, 1, dtype=dtype)
    near = [part.clone() for part in of.per_sample_grad(x, y)]
    x[[3, 40]] = torch.tensor([[3e6], [torch.inf]], dtype=dtype)
    z = x.double() + 1
    a, slope = z.sin() * (2 * z).cos(), z.cos() * (2 * z).cos() - 2 * z.sin() * (2 * z).sin()
    error = 2 * (3 * a + 1)
    expected = {"W1": error * slope * x.double(), "b1": error * slope, "W2": error * a, "b2": error}
    for (name, wanted), got, before in zip(expected.items(), of.per_sample_grad(x, y), near, strict=True):
        flat, before = got.reshape(64, -1)[:, :1], before.reshape(64, -1)[:, :1]
        others = [row for row in range(64) if row not in (3, 40)]
        assert (flat[others] - before[others]).abs().max() <= 16 * torch.finfo(dtype).eps * before.abs().max(), name
        assert abs(flat[3] - wanted[3]) <= 1000 * torch.finfo(dtype).eps * abs(wanted[3]), name
        assert flat[40].isnan(), name


def test_what_c_cannot_read_is_computed_by_the_fast_module(native):
    of = native(Network())(sequential(Network()).parameters())
    x, y = torch.rand(2, 9, dtype=torch.float64).T, torch.rand(1, 9, dtype=torch.float64).T
    negative = torch.complex(x, -x).conj().imag[:1, :1].expand(1, 2)
    for given, target in ((x, y), (negative, y[:1]), (x[:0], y[:0])):
        loss, gradient = of.value_and_grad(given, target, copy=True)
        again, same = of.value_and_grad(given.clone().contiguous(), target.clone())
        assert_agree([loss, *gradient], [again, *same])
    wide = torch.empty(151, 12, dtype=torch.float64)
    for out in (wide[:, :9], None):
        assert_agree(of.per_sample_grad(x, y, out), of.per_sample_grad(x.contiguous(), y.contiguous()))


@pytest.mark.parametrize("network", [Network(), Network((3, 4, 5, 2), "tanh", reduction="mean")], ids=str)
def test_batches_add_up_and_an_optimizer_steps_on_a_bound_module(network, native):
    net, x, y = example(network, 60)
    of = native(network)(net.parameters())
    loss, gradient = of.value_and_grad(x, y, copy=True)
    total, sums = of.accumulate((x[i : i + 7], y[i : i + 7]) for i in range(0, 60, 7))
    assert_agree([total, *sums], [loss, *gradient])
    of.bind(net)
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3)
    before, _ = of.value_and_grad(x, y, copy=True)
    optimizer.step()
    after, _ = of.value_and_grad(x, y)
    assert after < before
    with pytest.raises(ValueError, match=r"x: expected shape \(\d+, \d\), got"):
        of.value_and_grad(x[:, :1], y)


@pytest.mark.parametrize("portable", [False, True])
def test_the_bits_do_not_depend_on_the_number_of_threads_and_are_those_of_one_call(portable, emitted, monkeypatch):
    network = Network((2, 10, 10, 1), penalty="0.05*w**2", reduction="mean")
    of = emitted(network, "native").NativeGradient(sequential(network, torch.float32).parameters(), portable=portable)
    rows = 3 * of._part + 77
    x, y, direction = torch.rand(rows, 2), torch.rand(rows, 1), torch.randn(network.entries)
    found = []
    for threads in (1, 2, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        loss, gradient = of.value_and_grad(x, y, copy=True)
        found.append([loss, *gradient, *(part.clone() for part in of.hvp(x, y, direction)), *of.per_sample_grad(x, y)])
        assert len(of._work) == threads
    of._at_once = rows
    loss, gradient = of.value_and_grad(x, y)
    found.append([loss, *gradient, *of.hvp(x, y, direction), *found[0][1 + 2 * len(gradient) :]])
    for others in found[1:]:
        assert all(torch.equal(one, other) for one, other in zip(found[0], others, strict=True))
    assert_agree(gradient, emitted(network).value_and_grad(of.parameters, x, y)[1], 300)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float", "double"])
@pytest.mark.parametrize("rows", [30000, 30001])
def test_gradients_of_rows_that_go_past_the_caches_have_the_bits_of_those_of_few(rows, dtype):
    of = NativeGradient(sequential(Network(), dtype).parameters(), portable=True)
    x, y = torch.rand(rows, 2, dtype=dtype), torch.rand(rows, 1, dtype=dtype)
    every = of.per_sample_grad(x, y)
    parts = [of.per_sample_grad(*part) for part in zip(x.split(5000), y.split(5000), strict=True)]
    assert all(torch.equal(one, torch.cat(others)) for one, *others in zip(every, *parts, strict=True))


@pytest.mark.parametrize("rows", [9, 5000])
@pytest.mark.parametrize("move", ["share_memory_", "resize_"])
def test_memory_that_torch_has_moved_is_found_again(move, rows):
    of = NativeGradient(sequential(Network(), torch.float64).parameters())
    x, y = torch.rand(rows, 2, dtype=torch.float64), torch.rand(rows, 1, dtype=torch.float64)
    of.hvp(x, y, of.parameters)
    for storage in (of.flat_parameters.untyped_storage(), of.flat_gradient.untyped_storage()):
        getattr(storage, move)(*[10 * len(storage)] * (move == "resize_"))
    of.flat_parameters.mul_(2)
    of.flat_gradient.zero_()
    like = FastGradient(of.parameters)
    for name in ("value_and_grad", "per_sample_grad"):
        torch.testing.assert_close(getattr(of, name)(x, y), getattr(like, name)(x, y))
    torch.testing.assert_close(of.hvp(x, y, of.parameters), like.hvp(x, y, like.parameters))
    with pytest.raises(ValueError, match="shares memory with the results of the call before"):
        of.value_and_grad(of.flat_gradient[:2].view(1, 2), y[:1])


@needs("clang")
def test_portable_bits_are_those_of_another_compiler_and_instruction_set(tmp_path):
    of = NativeGradient(sequential(Network(), torch.float32).parameters(), portable=True)
    x, y = torch.rand(333, 2), torch.rand(333, 1)
    portable = ("-O2", "-ffp-contract=off", "-DBYTES=64", "-I", str(ROOT / "generated"))
    there = gradient_by(compiled(tmp_path, PLAIN, *portable, compiler="clang"), of.flat_parameters, x, y)
    loss, _ = of.value_and_grad(x, y)
    assert torch.equal(there, torch.cat([of.flat_gradient, loss[None]]))


# compilers, and the folder that libraries lie in

ASK = """
import sys, warnings, torch
from generated.backward import SHAPES
from generated.native import NativeGradient, _library
warnings.simplefilter("always")
of = NativeGradient([torch.ones(shape) for shape in SHAPES.values()])
NativeGradient([torch.ones(shape) for shape in SHAPES.values()])
loss, gradient = of.value_and_grad(torch.ones(3, 2), torch.ones(3, 1))
print(_library(False, False) is not None, round(loss.item(), 3))
"""


def asked(folder: Path, **variables: str) -> subprocess.Popen:
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder), **variables}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", ASK], cwd=ROOT, env=environment, text=True, **pipes)


def script(folder: Path, text: str) -> str:
    path = folder / "compiler"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


FAULTS = {
    "missing": ("", "there is no compiler"),
    "failing": ("echo no space left on device >&2; exit 3", "ended with 3: no space left on device"),
    "lying": ("exit 0", "No such file"),
    "spoiling": ('test "$1" = --version && exit; for last; do :; done; echo spoilt > "$last"', "file too short"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_where_nothing_can_be_compiled_a_warning_says_so_once(fault, tmp_path):
    text, reason = FAULTS[fault]
    compiler = script(tmp_path, text) if text else str(tmp_path / "none")
    output, errors = asked(tmp_path, CC=compiler).communicate(timeout=100)
    assert output == "False 299.984\n", errors
    assert errors.count("RuntimeWarning: network.c is not compiled: ") == 1
    assert reason in errors and "fast.py computes instead" in errors
    assert not list(tmp_path.glob("derive/*"))


REFUSED = {
    "sums in another order": ("-Ofast", "sums, nan and infinity have to be computed as they stand"),
    "no nan": ("-ffinite-math-only", "sums, nan and infinity have to be computed as they stand"),
    "numbers with more digits": ("-mfpmath=387", "numbers have to be rounded as real is"),
    "constants in float": ("-fsingle-precision-constant -DNETWORK_DOUBLE", "numbers_as_wide_as_real"),
    "vectors of too many rows": ("-DBYTES=128", "block_of_vectors"),
    "double for float": ("-DNETWORK_DOUBLE", "undefined symbol: gradient_by_float"),
    "functions of other names": ("-DNETWORK_PREFIX=my_", "undefined symbol: gradient_by_float"),
}


@pytest.mark.parametrize("flags", REFUSED)
def test_flags_by_which_numbers_would_be_others_are_refused(flags, tmp_path):
    given, reason = REFUSED[flags]
    output, errors = asked(tmp_path, CFLAGS=f"-O1 {given}", CC="gcc").communicate(timeout=100)
    assert output == "False 299.984\n" and reason in errors


@needs("clang")
@pytest.mark.parametrize("double", [(), ("-DNETWORK_DOUBLE",)], ids=["float", "double"])
def test_a_sum_is_in_its_order_where_clang_is_told_that_none_matters(double, tmp_path):
    for name, text in render(Network((1, 1, 1), "log(1 + z**2)"), ["network.c", "network.h"]).items():
        (tmp_path / name).write_text(text)
    least = "volatile real x = 1e-12f; const double y = log1p_of(x) / x; return !(y > 0.99999 && y < 1.00001);"
    (tmp_path / "main.c").write_text(f'#include "network.c"\nint main(void) {{ {least} }}')
    command = ["clang", "-O2", "-funsafe-math-optimizations", *double, "main.c", "-o", "main"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    subprocess.run([tmp_path / "main"], check=True, timeout=10)


def test_a_compiler_that_hangs_is_ended(emitted, tmp_path, monkeypatch):
    module = emitted(Network(), "native")
    monkeypatch.setattr(module, "_LONGEST", 0.5)
    with pytest.raises(subprocess.TimeoutExpired):
        module._run([script(tmp_path, "sleep 60 & echo $! > " + str(tmp_path / "child") + "; wait")])
    status = Path(f"/proc/{(tmp_path / 'child').read_text().strip()}/status")
    for _ in range(100):
        if not status.exists() or "zombie" in status.read_text():
            return
        time.sleep(0.1)
    pytest.fail("the child of the compiler goes on")


def test_an_interrupt_is_one_also_where_the_compiler_has_just_ended(emitted, monkeypatch):
    def interrupted(process, timeout):
        process.wait()
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "communicate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        emitted(Network(), "native")._run(["true"])


@pytest.mark.parametrize("place", ["a file", "open to others", "a link"])
def test_a_folder_that_is_not_the_users_own_is_not_used(place, emitted, tmp_path, monkeypatch):
    module = emitted(Network(), "native")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "derive"
    if place == "a file":
        folder.touch()
    elif place == "a link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        folder.symlink_to(tmp_path / "elsewhere")
    else:
        folder.mkdir(mode=0o755)
    with pytest.raises(OSError, match=r"exists|is not a folder of the user's own alone"):
        module._cache()


def test_processes_that_compile_at_once_leave_one_library_which_is_made_again_where_it_is_empty(tmp_path):
    started = [asked(tmp_path) for _ in range(3)]
    for process in started:
        output, errors = process.communicate(timeout=300)
        assert (output, errors) == ("True 299.984\n", "")
    (library,) = (tmp_path / "derive").iterdir()
    assert library.suffix == ".so"
    library.write_bytes(b"")
    for changed in ({}, {"CC": script(tmp_path, 'exec cc "$@"')}):
        output, errors = asked(tmp_path, **changed).communicate(timeout=300)
        assert (output, errors) == ("True 299.984\n", "")
    assert len(list((tmp_path / "derive").iterdir())) == 2


PROGRAM = """
#include "network.h"
int main(void)
{
    static workspace work;
    static real parameters[ENTRIES], gradients[ENTRIES], x[INPUTS] = {1, 2}, y[OUTPUTS] = {3}, loss;
    gradient(parameters, x, y, 1, &loss, gradients, &work);
    return loss == 9 && gradients[ENTRIES - 1] == -6 ? 0 : 1;
}
"""


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("-O2", "-DNETWORK_DOUBLE"),
        ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"),
    ],
)
def test_a_program_that_includes_the_header_alone_needs_no_library(options, tmp_path):
    (tmp_path / "main.c").write_text(PROGRAM)
    generated = ROOT / "generated"
    command = ["cc", *options, "-I", str(generated), str(tmp_path / "main.c"), str(generated / "network.c")]
    subprocess.run([*command, "-o", str(tmp_path / "main")], check=True, timeout=120)
    subprocess.run([tmp_path / "main"], check=True, timeout=10)


PORTABLE = ("-ffp-contract=off", "-DBYTES=64", "-fno-math-errno", "-fno-trapping-math")
THROUGH_PIPES = """
#include <stdio.h>
#include "network.c"
int main(void)
{
    static workspace work;
    static real parameters[ENTRIES], x[ROWS * INPUTS], y[ROWS * OUTPUTS], results[ENTRIES + 1];
    fread(parameters, sizeof(real), ENTRIES, stdin);
    fread(x, sizeof(real), ROWS * INPUTS, stdin);
    fread(y, sizeof(real), ROWS * OUTPUTS, stdin);
    gradient(parameters, x, y, ROWS, results + ENTRIES, results, &work);
    fwrite(results, sizeof(real), ENTRIES + 1, stdout);
    return 0;
}
"""
BITS = pytest.mark.parametrize("network", [USED, Network((2, 10, 10, 1), "gelu", reduction="mean")], ids=str)


def of_some_rows(network: Network, folder: Path) -> tuple[torch.Tensor, ...]:
    for name, text in render(network, ["network.c", "network.h"]).items():
        (folder / name).write_text(text)
    rows, inputs = 333, network.layers[0]
    return torch.randn(network.entries), torch.randn(rows, inputs), torch.rand(rows, 1)


@needs("clang")
@BITS
def test_the_bits_are_the_same_from_each_compiler_and_instruction_set(network, tmp_path):
    data, results = of_some_rows(network, tmp_path), []
    for compiler, *options in (("cc", "-O3"), ("cc", "-O1"), ("cc", "-O3", "-mavx2", "-mfma"), ("clang", "-O2")):
        library = compiled(tmp_path, PLAIN, *options, *PORTABLE, compiler=compiler)
        results.append(gradient_by(library, *data))
    assert all(torch.equal(result, results[0]) for result in results)


MACHINES = {  # of which what follows qemu- runs what a compiler makes; on an i386 a long has 32 bits
    "aarch64": ("aarch64-linux-gnu-gcc",),
    "i386": ("i686-linux-gnu-gcc", "-msse2", "-mfpmath=sse"),
}


@pytest.mark.slow
@pytest.mark.parametrize("machine", MACHINES)
@BITS
def test_the_bits_are_the_same_on_another_machine(machine, network, tmp_path):
    runner, compiler = f"qemu-{machine}", MACHINES[machine][0]
    if not (shutil.which(runner) and shutil.which(compiler)):
        pytest.skip(f"needs qemu-user, {compiler} and its libc6-dev-*-cross")
    data = of_some_rows(network, tmp_path)
    here = gradient_by(compiled(tmp_path, PLAIN, "-O2", *PORTABLE), *data)
    source, program = tmp_path / "piped.c", tmp_path / "piped"
    source.write_text(THROUGH_PIPES)
    options = ("-std=gnu99", "-O2", "-static", f"-DROWS={len(data[1])}", *PORTABLE)
    subprocess.run([*MACHINES[machine], *options, str(source), "-o", str(program)], check=True, timeout=120)
    given = b"".join(part.numpy().tobytes() for part in data)
    done = subprocess.run([runner, str(program)], input=given, capture_output=True, check=True, timeout=60)
    there = torch.frombuffer(bytearray(done.stdout), dtype=torch.float32)
    assert torch.equal(there, here)
