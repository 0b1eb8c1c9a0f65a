"""python -m tests.benchmark: how fast the emitted modules are, beside what else there is, in under two minutes.

One thread, one process. Each result is checked against float64 autograd before it is timed. Rounds are interleaved, so
that a slow moment of the machine hits all; a line gives the median over rounds of theirs / ours, and its range.
Writes benchmark.md, the table, and benchmark.svg, time against rows.
"""

import argparse
import gc
import importlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy
import torch

from derive.build import write_package
from derive.emit import render
from derive.network import Network

SECONDS = 110  # no new measurement begins later
CHUNK = 16384
Call = Callable[[], object]
WIDE = [
    (Network((64, 256, 256, 1)), 4096),
    (Network((784, 1024, 1024, 10)), 256),
    (Network((8, 32, 32, 1), activation="relu"), 65536),
    (Network((2, 10, 10, 1), activation="tanh"), 10000),
    (Network((20, 60, 60, 3), activation="softplus"), 10000),
    (Network((20, 64, 64, 3), activation="gelu"), 10000),
]


@dataclass
class Line:
    """One comparison: how many times as long the peer takes."""

    regime: str
    peer: str
    ratios: list[float]
    ours: float
    theirs: float

    def __str__(self) -> str:
        spread = f"[{min(self.ratios):.2f}..{max(self.ratios):.2f}]"
        ratio = statistics.median(self.ratios)
        return f"{self.regime:32} {self.peer:28} {ratio:7.2f} {spread:16} {self.ours:11.1f} us {self.theirs:11.1f} us"


def modules(network: Network, folder: Path):
    """The emitted package of a network: its fast and its readable module."""
    name = f"benchmark{len(list(folder.iterdir()))}"
    write_package(folder / name, render(network))
    return importlib.import_module(f"{name}.fast"), importlib.import_module(f"{name}.backward")


def sequential(network: Network, device: str, dtype: torch.dtype) -> torch.nn.Sequential:
    parts: list[torch.nn.Module] = []
    activation = {
        "sigmoid": torch.nn.Sigmoid,
        "tanh": torch.nn.Tanh,
        "relu": torch.nn.ReLU,
        "softplus": torch.nn.Softplus,
        "gelu": torch.nn.GELU,
    }[network.activation]
    for layer in range(network.depth):
        parts += [torch.nn.Linear(network.layers[layer], network.layers[layer + 1]), activation()]
    return torch.nn.Sequential(*parts[:-1]).to(device, dtype)


def data(network: Network, rows: int, device: str, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(rows, network.layers[0], generator=generator)
    y = (x**2).sum(1, keepdim=True) / 2
    return x.to(device, dtype), y.repeat(1, network.layers[-1]).to(device, dtype)


def squares(p: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return ((p - y) ** 2).sum()


def by_autograd(net, x, y, chunk: int | None = None, model=None) -> Call:
    """The usual step: forget the gradient, forward, backward."""
    model = model or net

    def call():
        net.zero_grad()
        for part, target in zip(x.split(chunk or len(x)), y.split(chunk or len(y)), strict=True):
            squares(model(part), target).backward()
        return [p.grad for p in net.parameters()]

    return call


def functional(net) -> Callable:
    """The loss as a function of the parameters, for torch.func."""
    names = [name for name, _ in net.named_parameters()]

    def loss(parameters, x, y):
        named = dict(zip(names, parameters, strict=True))
        return squares(torch.func.functional_call(net, named, (x,)), y)

    return loss


def by_numpy(parameters, x, y) -> Call:
    W1, b1, W2, b2, W3, b3, x, y = (tensor.numpy() for tensor in (*parameters, x, y))

    def call():
        a1 = 1 / (1 + numpy.exp(-(x @ W1.T + b1)))
        a2 = 1 / (1 + numpy.exp(-(a1 @ W2.T + b2)))
        d3 = 2 * (a2 @ W3.T + b3 - y)
        d2 = (d3 @ W3) * (1 - a2) * a2
        d1 = (d2 @ W2) * (1 - a1) * a1
        return d1.T @ x, d1.sum(0), d2.T @ a1, d2.sum(0), d3.T @ a2, d3.sum(0)

    return call


def by_notebook(parameters, x, y) -> Call:
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
    arrays = [jax.numpy.asarray(tensor.numpy()) for tensor in (*parameters, x, y)]

    def loss(parameters, x, y):
        for layer in range(0, len(parameters), 2):
            x = x @ parameters[layer].T + parameters[layer + 1]
            x = jax.nn.sigmoid(x) if layer + 2 < len(parameters) else x
        return ((x - y) ** 2).sum()

    compiled = jax.jit(jax.value_and_grad(loss))
    return lambda: jax.block_until_ready(compiled(arrays[:-2], *arrays[-2:]))[1]


def check(name: str, got, want, gate: float) -> None:
    """Refuses a result that is not the gradient: no time of a wrong answer is worth anything."""
    for g, r in zip(got, want, strict=True):
        g = (
            torch.as_tensor(numpy.asarray(g) if not isinstance(g, torch.Tensor) else g)
            .detach()
            .to("cpu", torch.float64)
        )
        r = r.detach().cpu()
        error = float((g.reshape(r.shape) - r).norm() / r.norm())
        if not error <= gate:
            raise SystemExit(f"{name} is wrong: {error:.1e} from float64 autograd")


def race(regime: str, ours: Call, peers: dict[str, Call | None], device: str, rounds: int = 7) -> Iterator[Line]:
    """Each in turn, round by round, each for the same time."""
    calls = {"": ours, **{name: call for name, call in peers.items() if call}}
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    times: dict[str, list[float]] = {name: [] for name in calls}

    def once(call: Call, count: int) -> float:
        wait()
        begin = time.perf_counter()
        for _ in range(count):
            call()
        wait()
        return (time.perf_counter() - begin) / count

    counts = {name: (call(), max(1, round(0.015 / max(once(call, 1), 1e-6))))[1] for name, call in calls.items()}
    gc.collect()
    gc.disable()
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(once(call, counts[name]) * 1e6)
    gc.enable()
    for name in list(calls)[1:]:
        ratios = [theirs / mine for mine, theirs in zip(times[""], times[name], strict=True)]
        yield Line(regime, name, ratios, statistics.median(times[""]), statistics.median(times[name]))


def narrow(device: str, compiled: bool, folder: Path) -> Iterator[Line]:
    """2-10-10-1 for 1 to a million rows."""
    network = Network()
    fast_module, backward = modules(network, folder)
    for dtype, rows in [
        *((torch.float32, rows) for rows in (1, 64, 1000, 10_000, 100_000, 1_000_000)),
        *((torch.float64, rows) for rows in (1, 100_000)),
    ]:
        torch.manual_seed(0)
        net = sequential(network, device, dtype)
        values = [p.detach() for p in net.parameters()]
        fast = fast_module.FastGradient(values)
        x, y = data(network, rows, device, dtype)
        regime = f"{str(dtype).removeprefix('torch.')} N={rows}"
        peers: dict[str, Call | None] = {
            "backward.py": lambda x=x, y=y, v=values: backward.value_and_grad(v, x, y)[1],
            "autograd": by_autograd(net, x, y),
        }
        if rows > CHUNK:
            peers[f"autograd, chunks of {CHUNK}"] = by_autograd(net, x, y, CHUNK)
        if rows <= 1000:
            gradient = torch.func.grad(functional(net))
            peers["torch.func.grad"] = lambda x=x, y=y, v=tuple(values), g=gradient: g(v, x, y)
        if rows == 1:
            peers["the notebook's code"] = by_notebook(values, x, y)
        if device == "cpu" and rows <= 100_000:
            peers["numpy"] = by_numpy(values, x, y)
        if device == "cpu":
            peers["JAX jit"] = by_jax(values, x, y)
        if compiled and dtype == torch.float32 and rows in (1, 1000, 1_000_000):
            peers["autograd, compiled"] = by_autograd(net, x, y, None, torch.compile(net, dynamic=False))
        reference = [torch.zeros_like(v, dtype=torch.float64) for v in values]
        double = sequential(network, device, torch.float64)
        double.load_state_dict(net.state_dict())
        for part, target in zip(x.double().split(1 << 17), y.double().split(1 << 17), strict=True):
            for total, g in zip(reference, by_autograd(double, part, target)(), strict=True):
                total += g
        precise = 1e-12 if dtype == torch.float64 else 1e-6
        check(f"{regime}: fast.py", fast.value_and_grad(x, y)[1], reference, precise * 3)
        for name, call in peers.items():
            if call:
                check(f"{regime}: {name}", call(), reference, precise * 3000)
        yield from race(
            regime, lambda f=fast, x=x, y=y: f.value_and_grad(x, y)[1], peers, device, 9 if rows < 1e5 else 5
        )


def each_and_hessian(device: str, folder: Path) -> Iterator[Line]:
    network, dtype = Network(), torch.float32
    fast_module, _ = modules(network, folder)
    torch.manual_seed(0)
    net = sequential(network, device, dtype)
    values = tuple(p.detach() for p in net.parameters())
    fast, loss = fast_module.FastGradient(values), functional(net)
    one_by_one = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))
    for rows in (1000, 100_000):
        x, y = data(network, rows, device, dtype)
        out = torch.empty(network.entries, rows, device=device)
        theirs = {"vmap(grad)": lambda x=x, y=y: one_by_one(values, x, y)}
        want = one_by_one(tuple(v.double() for v in values), x[:1000].double(), y[:1000].double())
        check("per-sample", [g[:1000] for g in fast.per_sample_grad(x, y, out)], want, 3e-6)
        yield from race(
            f"per-sample N={rows}", lambda x=x, y=y, o=out: fast.per_sample_grad(x, y, o), theirs, device, 5
        )
    direction = [torch.randn_like(v) for v in values]
    flat = torch.empty_like(fast.flat_parameters)
    for view, part in zip(fast_module._views(flat), direction, strict=True):
        view.copy_(part)

    def double_backward(values, direction, x, y):
        values = [v.clone().requires_grad_() for v in values]
        first = torch.autograd.grad(loss(values, x, y), values, create_graph=True)
        return torch.autograd.grad(first, values, direction)

    for rows in (1, 1000):
        x, y = data(network, rows, device, dtype)
        want = double_backward([v.double() for v in values], [d.double() for d in direction], x.double(), y.double())
        check("Hessian", fast.hvp(x, y, flat), want, 1e-5)
        theirs = {"double backward": lambda x=x, y=y: double_backward(values, direction, x, y)}
        yield from race(f"Hessian-vector N={rows}", lambda x=x, y=y: fast.hvp(x, y, flat), theirs, device, 7)


def wide(device: str, folder: Path) -> Iterator[Line]:
    for network, rows in WIDE:
        torch.manual_seed(0)
        net = sequential(network, device, torch.float32)
        fast = modules(network, folder)[0].FastGradient(net.parameters())
        x, y = data(network, rows, device, torch.float32)
        double = sequential(network, device, torch.float64)
        double.load_state_dict(net.state_dict())
        check(str(network), fast.value_and_grad(x, y)[1], by_autograd(double, x.double(), y.double())(), 1e-5)
        regime = f"{'-'.join(map(str, network.layers))} {network.activation} N={rows}"
        peers = {"autograd": by_autograd(net, x, y)}
        yield from race(regime, lambda f=fast, x=x, y=y: f.value_and_grad(x, y), peers, device, 5)


def peak(rows: int = 1_000_000) -> str:
    """Peak memory above the data, each in a process of its own."""
    found = {}
    for name, call in {
        "fast.py": "from generated.fast import FastGradient as F; f = F(n.parameters()); g = f.value_and_grad",
        "autograd": "g = lambda x, y: ((n(x) - y) ** 2).sum().backward()",
    }.items():
        code = (
            "import torch; torch.set_num_threads(1); from generated.reference import Net; n = Net();"
            f"x = torch.rand({rows}, 2); y = x.sum(1, keepdim=True); {call}; g(x[:2000], y[:2000]);"
            "m = lambda: next(int(l.split()[1]) for l in open('/proc/self/status') if l.startswith('VmHWM'));"
            "b = m(); g(x, y); print((m() - b) / 1024)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        found[name] = float(done.stdout) if done.returncode == 0 else float("nan")
    return ", ".join(f"{name} {value:.1f} MB" for name, value in found.items())


def svg(lines: list[Line]) -> str:
    """Time against rows, both logarithmic, a line for each peer."""
    curves: dict[str, dict[int, float]] = {}
    for line in lines:
        if line.regime.startswith("float32 N="):
            rows = int(line.regime.removeprefix("float32 N="))
            curves.setdefault("fast.py", {})[rows] = line.ours
            curves.setdefault(line.peer, {})[rows] = line.theirs
    times = [value for curve in curves.values() for value in curve.values()]
    low, high = numpy.log10(min(times)), numpy.log10(max(times))

    def place(rows: int, value: float) -> tuple[float, float]:
        return 70 + 90 * float(numpy.log10(rows)), 360 - 320 * float((numpy.log10(value) - low) / (high - low))

    colors = ["#d62728", "#1f77b4", "#2ca02c", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"]
    parts = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 820 410" font-family="sans-serif" font-size="12">']
    parts.append('<rect width="820" height="410" fill="white"/>')
    for power in range(7):
        x = place(10**power, min(times))[0]
        parts.append(f'<path d="M{x:.0f} 40V360" stroke="#ddd"/><text x="{x:.0f}" y="378" text-anchor="middle">')
        parts.append(f"{10**power}</text>")
    for power in range(int(numpy.ceil(low)), int(high) + 1):
        y = place(1, 10.0**power)[1]
        parts.append(f'<path d="M70 {y:.0f}H610" stroke="#ddd"/><text x="62" y="{y + 4:.0f}" text-anchor="end">')
        parts.append(f"{10.0**power:g}</text>")
    parts.append('<text x="340" y="400" text-anchor="middle">rows</text><text x="20" y="24">microseconds a call</text>')
    for index, (name, curve) in enumerate(curves.items()):
        color, points = colors[index % len(colors)], [place(*point) for point in sorted(curve.items())]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>' for x, y in points]
        parts.append(f'<text x="625" y="{50 + 20 * index}" fill="{color}">{name}</text>')
    return "\n".join([*parts, "</svg>\n"])


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark", description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where it runs (cpu)")
    parser.add_argument(
        "--out", type=Path, default=Path(), metavar="DIR", help="of benchmark.md and benchmark.svg (here)"
    )
    parser.add_argument("--compile", action="store_true", help="torch.compile as a peer, which takes a minute to start")
    options = parser.parse_args(argv)
    begin = time.perf_counter()
    torch.set_num_threads(1)
    lines: list[Line] = []
    title = f"torch {torch.__version__}, {options.device}, one thread"
    print(f"{title}\n{'regime':32} {'peer':28} theirs / ours {'':17} ours {'':9} theirs")
    with tempfile.TemporaryDirectory() as folder:
        sys.path.insert(0, folder)
        for measured in (
            narrow(options.device, options.compile, Path(folder)),
            each_and_hessian(options.device, Path(folder)),
            wide(options.device, Path(folder)),
        ):
            for line in measured:
                lines.append(line)
                print(line, flush=True)
                if time.perf_counter() - begin > SECONDS:
                    break
    ours = {line.regime: line.ours for line in lines}
    notes = []
    if {"float32 N=100000", "float32 N=1000000"} <= ours.keys():
        notes.append(f"growth t(1e6) / (10 t(1e5)): {ours['float32 N=1000000'] / ours['float32 N=100000'] / 10:.2f}")
    if options.device == "cpu":
        notes.append(f"peak memory above the data at N=1000000: {peak()}")
    print("\n".join([*notes, f"{time.perf_counter() - begin:.0f} s"]))
    table = ["| regime | peer | theirs / ours | range |", "|---|---|---|---|"]
    for line in lines:
        spread = f"{min(line.ratios):.2f} .. {max(line.ratios):.2f}"
        table.append(f"| {line.regime} | {line.peer} | {statistics.median(line.ratios):.2f} | {spread} |")
    (options.out / "benchmark.md").write_text("\n".join([title, "", *table, "", *notes, ""]), encoding="utf-8")
    (options.out / "benchmark.svg").write_text(svg(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
