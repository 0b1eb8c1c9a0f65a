"""python -m tests.tools.benchmark: how fast the emitted modules are, beside what else there is, in three minutes.

One thread, one process. Each result is checked against float64 autograd before it is timed. Rounds are interleaved, so
that a slow moment of the machine hits all; a line gives the median over rounds of theirs / ours, and its range.
Writes benchmark.md, the table, and benchmark.svg, time against rows, which the README shows.
"""

import argparse
import gc
import importlib
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy
import torch

from derive.packages.emit import render
from derive.problems.network import Network
from derive.system import write_package
from tests.helpers.gate import relative
from tests.tools import peers
from tests.tools.peers import Call

SECONDS = 150  # no new measurement begins later
CHUNK = 16384
ROWS = (1, 64, 1000, 10_000, 100_000, 1_000_000)
WIDE = [
    (Network((64, 256, 256, 1)), 4096),
    (Network((784, 1024, 1024, 10)), 256),
    (Network((8, 32, 32, 1), activation="relu"), 65536),
    (Network((2, 10, 10, 1), activation="tanh"), 10000),
    (Network((20, 60, 60, 3), activation="softplus"), 10000),
    (Network((20, 64, 64, 3), activation="gelu"), 10000),
    (Network((20, 64, 64, 3), activation="silu"), 10000),
]


@dataclass
class Line:
    """One comparison: how many times as long the peer takes."""

    regime: str
    peer: str
    ratios: list[float]
    ours: float
    theirs: float

    @property
    def cells(self) -> tuple[str, ...]:
        ratio, low, high = (f"{f(self.ratios):.2f}" for f in (statistics.median, min, max))
        return self.regime, self.peer, ratio, f"{low} .. {high}", f"{self.ours:.1f}", f"{self.theirs:.1f}"


HEADER = ("regime", "peer", "theirs / ours", "range", "ours, us", "theirs, us")


class Bench:
    """A device and a folder for what is emitted."""

    def __init__(self, device: str, folder: Path) -> None:
        self.device, self.folder = device, folder
        self.wait = torch.cuda.synchronize if device == "cuda" else lambda: None
        self.begin, self.compiling = time.perf_counter(), 0.0

    def modules(self, network: Network):
        """The emitted package of a network: its fast, its native and its readable module."""
        name = f"benchmark{len(list(self.folder.glob('benchmark*')))}"
        write_package(self.folder / name, render(network))
        return [importlib.import_module(f"{name}.{module}") for module in ("fast", "native", "backward")]

    def race(self, regime: str, ours: Call, others: dict[str, Call | None], rounds: int = 7) -> Iterator[Line]:
        """Each in turn, round by round, each for the same time."""
        calls = {"": ours, **{name: call for name, call in others.items() if call}}
        times: dict[str, list[float]] = {name: [] for name in calls}
        counts = {}
        for name, call in calls.items():
            call()
            counts[name] = max(1, round(0.015 / max(self.seconds(call, 1), 1e-6)))
        gc.collect()
        gc.disable()
        for _ in range(rounds):
            for name, call in calls.items():
                times[name].append(self.seconds(call, counts[name]) * 1e6)
        gc.enable()
        for name in list(calls)[1:]:
            ratios = [theirs / mine for mine, theirs in zip(times[""], times[name], strict=True)]
            yield Line(regime, name, ratios, statistics.median(times[""]), statistics.median(times[name]))

    def seconds(self, call: Call, count: int) -> float:
        """Of one call."""
        self.wait()
        begin = time.perf_counter()
        for _ in range(count):
            call()
        self.wait()
        return (time.perf_counter() - begin) / count

    def narrow(self, compiled: bool) -> Iterator[Line]:
        """2-10-10-1 for 1 to a million rows."""
        network = Network()
        fast_module, native_module, backward = self.modules(network)
        library = peers.compiled_c(self.folder) if self.device == "cpu" else None
        cases = [*((torch.float32, rows) for rows in ROWS), (torch.float64, 1), (torch.float64, 100_000)]
        for dtype, rows in cases:
            net = peers.sequential(network, self.device, dtype)
            values = tuple(parameter.detach() for parameter in net.parameters())
            begin, fast = time.perf_counter(), fast_module.FastGradient(values)
            native = native_module.NativeGradient(values)
            self.compiling = max(self.compiling, time.perf_counter() - begin)
            x, y = peers.data(network, rows, self.device, dtype)
            case = (values, x, y)
            others: dict[str, Call | None] = {
                "native.py": lambda f=native, x=x, y=y: f.value_and_grad(x, y)[1],
                "backward.py": lambda case=case: backward.value_and_grad(*case)[1],
                "autograd": peers.autograd(net, x, y),
                f"autograd, chunks of {CHUNK}": peers.autograd(net, x, y, CHUNK) if rows > CHUNK else None,
                "torch.func.grad": peers.functional(*case) if rows <= 1000 else None,
                "the notebook's code": peers.notebook(*case) if rows == 1 else None,
            }
            if self.device == "cpu":
                others["numpy"] = peers.by_numpy(*case)
                others["JAX jit"] = peers.by_jax(*case)
                others["one fused loop in C"] = peers.fused(library, *case) if dtype == torch.float32 else None
            if compiled and (dtype, rows) in ((torch.float32, 1), (torch.float32, 1000)):
                others["autograd, compiled"] = peers.autograd(net, x, y, None, torch.compile(net, dynamic=False))
            regime = f"{str(dtype).removeprefix('torch.')} N={rows}"
            reference = self.exact(network, net, x, y)
            eps = torch.finfo(dtype).eps
            for name, call in others.items():
                if call:
                    check(f"{regime}: {name}", call(), reference, 1e5 * eps)
            check(f"{regime}: native.py", native.value_and_grad(x, y)[1], reference, 64 * eps)
            check(f"{regime}: fast.py", fast.value_and_grad(x, y)[1], reference, 64 * eps)
            yield from self.race(
                regime, lambda f=fast, x=x, y=y: f.value_and_grad(x, y), others, 9 if rows < 1e5 else 5
            )

    def exact(self, network: Network, net: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> list[torch.Tensor]:
        """The gradient by float64 autograd, in parts that fit into memory."""
        double = peers.sequential(network, self.device, torch.float64)
        double.load_state_dict(net.state_dict())
        parts = zip(x.double().split(1 << 17), y.double().split(1 << 17), strict=True)
        gradients = [[g.clone() for g in peers.autograd(double, part, target)()] for part, target in parts]
        return [torch.stack(same).sum(0) for same in zip(*gradients, strict=True)]

    def each_and_hessian(self) -> Iterator[Line]:
        network = Network()
        fast_module, native_module, _ = self.modules(network)
        values = tuple(p.detach() for p in peers.sequential(network, self.device, torch.float32).parameters())
        fast, native = fast_module.FastGradient(values), native_module.NativeGradient(values)
        double = tuple(value.double() for value in values)
        for rows in (1000, 100_000):
            x, y = peers.data(network, rows, self.device, torch.float32)
            out = torch.empty(network.entries, rows, device=self.device)
            want = peers.each_by_vmap(double, x[:1000].double(), y[:1000].double())()
            check("per-sample", [g[:1000] for g in fast.per_sample_grad(x, y, out)], want, 3e-6)
            others = {
                "vmap(grad)": peers.each_by_vmap(values, x, y),
                "native.py": lambda x=x, y=y, out=out: native.per_sample_grad(x, y, out),
                "filling the output once": lambda out=out: out.fill_(1),
            }
            yield from self.race(
                f"per-sample N={rows}", lambda x=x, y=y, out=out: fast.per_sample_grad(x, y, out), others
            )
        direction = [torch.randn_like(value) for value in values]
        flat = torch.empty_like(fast.flat_parameters)
        for view, part in zip(fast_module._views(flat), direction, strict=True):
            view.copy_(part)
        for rows in (1, 1000, 100_000):
            x, y = peers.data(network, rows, self.device, torch.float32)
            along = [part.double() for part in direction]
            check("Hessian", fast.hvp(x, y, flat), peers.double_backward(double, along, x.double(), y.double())(), 1e-5)
            others = {
                "double backward": peers.double_backward(values, direction, x, y),
                "native.py": lambda x=x, y=y: native.hvp(x, y, flat),
            }
            yield from self.race(f"Hessian-vector N={rows}", lambda x=x, y=y: fast.hvp(x, y, flat), others)

    def wide(self) -> Iterator[Line]:
        for network, rows in WIDE:
            net = peers.sequential(network, self.device, torch.float32)
            fast_module, native_module, _ = self.modules(network)
            fast, native = fast_module.FastGradient(net.parameters()), native_module.NativeGradient(net.parameters())
            x, y = peers.data(network, rows, self.device, torch.float32)
            check(str(network), fast.value_and_grad(x, y)[1], self.exact(network, net, x, y), 1e-5)
            regime = f"{'-'.join(map(str, network.layers))} {network.activation} N={rows}"
            others = {
                "autograd": peers.autograd(net, x, y),
                "native.py": lambda f=native, x=x, y=y: f.value_and_grad(x, y),
            }
            yield from self.race(regime, lambda f=fast, x=x, y=y: f.value_and_grad(x, y), others, 5)

    def notes(self, lines: list[Line]) -> Iterator[str]:
        """What is no ratio to a peer: growth, accuracy, memory."""
        ours = {line.regime: line.ours for line in lines}
        if {"float32 N=100000", "float32 N=1000000"} <= ours.keys():
            growth = ours["float32 N=1000000"] / ours["float32 N=100000"] / 10
            yield f"growth: t(1000000) / (10 t(100000)) = {growth:.2f}"
        network, rows = Network(), 1_000_000
        net = peers.sequential(network, self.device, torch.float32)
        x, y = peers.data(network, rows, self.device, torch.float32)
        fast = importlib.import_module("benchmark0.fast").FastGradient(net.parameters())
        want = self.exact(network, net, x, y)
        native = importlib.import_module("benchmark0.native").NativeGradient(net.parameters())
        errors = {
            "native.py": native.value_and_grad(x, y)[1],
            "fast.py": fast.value_and_grad(x, y)[1],
            "autograd": peers.autograd(net, x, y)(),
        }
        told = (f"{name} {max(distances(got, want)):.1e}" for name, got in errors.items())
        yield f"float32 against float64 at N={rows}, in norm: {', '.join(told)}"
        if self.device == "cpu":
            yield f"peak memory above the data at N={rows}: {peak(rows)}"
            yield f"native.py at N={rows} with 2 threads: {self.threads(native, x, y):.2f} times as fast as with 1"
            yield f"native.py compiled for the first time: {self.compiling:.1f} s; load of the machine: {load()}"

    def threads(self, native, x: torch.Tensor, y: torch.Tensor) -> float:
        """How many times as fast two threads are as one, round by round."""
        times: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(7):
            for number, found in times.items():
                torch.set_num_threads(number)
                found.append(self.seconds(lambda: native.value_and_grad(x, y), 1))
        torch.set_num_threads(1)
        return statistics.median(one / two for one, two in zip(times[1], times[2], strict=True))


def load() -> str:
    """How many processes waited for a core, over 1, 5 and 15 minutes."""
    return ", ".join(f"{waiting:.1f}" for waiting in os.getloadavg())


def distances(got: Iterable, want: Iterable[torch.Tensor]) -> list[float]:
    """||g - r|| / ||r|| of each gradient."""
    found = []
    for g, r in zip(got, want, strict=True):
        g = (
            g.detach().cpu().double()
            if isinstance(g, torch.Tensor)
            else torch.from_numpy(numpy.array(g, numpy.float64))
        )
        found.append(relative(g.reshape(r.shape), r.cpu()))
    return found


def check(name: str, got: Iterable, want: list[torch.Tensor], gate: float) -> None:
    """Refuses a result that is not the gradient: no time of a wrong answer is worth anything."""
    error = max(distances(got, want))
    if not error <= gate:
        raise SystemExit(f"{name} is wrong: {error:.1e} from float64 autograd")


def peak(rows: int) -> str:
    """Peak memory above the data, each in a process of its own."""
    found = {}
    for name, call in {
        "native.py": "from generated.native import NativeGradient as F; f = F(n.parameters()); g = f.value_and_grad",
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
        found[name] = float(done.stdout) if done.returncode == 0 else math.nan
    return ", ".join(f"{name} {value:.1f} MB" for name, value in found.items())


COLORS = ("#d62728", "#1f77b4", "#2ca02c", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#8a8b00", "#0e7c8a")
DASHES = ("", "8 3", "2 3", "12 3 2 3", "5 5", "1 4", "14 4", "6 2 2 2", "3 1")  # colour alone says nothing to some
STYLE = (
    "<style>text { fill: #1c1c1c } .grid { stroke: #ddd } .paper { fill: #fff } @media (prefers-color-scheme: dark) "
    "{ text { fill: #e6e6e3 } .grid { stroke: #43474c } .paper { fill: #16181b } }</style>"
)
LEFT, TOP, BOTTOM, DECADE = 80, 40, 380, 90  # of the plot, and how wide a power of ten is


def svg(lines: list[Line]) -> str:
    """Time against rows, both logarithmic, a line for each peer that was timed at more than two sizes."""
    curves: dict[str, dict[int, float]] = {"fast.py": {}}
    for line in lines:
        if line.regime.startswith("float32 N="):
            rows = int(line.regime.removeprefix("float32 N="))
            curves["fast.py"][rows] = line.ours
            curves.setdefault(line.peer, {})[rows] = line.theirs
    curves = {name: curve for name, curve in curves.items() if len(curve) > 2 or name == f"autograd, chunks of {CHUNK}"}
    times = [value for curve in curves.values() for value in curve.values()]
    low, high = math.floor(math.log10(min(times))), math.ceil(math.log10(max(times)))

    def place(rows: float, value: float) -> tuple[float, float]:
        height = (BOTTOM - TOP) * (math.log10(value) - low) / (high - low)
        return LEFT + DECADE * math.log10(rows), BOTTOM - height

    right = place(max(ROWS), 1)[0]
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 860 430"',
        ' font-family="sans-serif" font-size="12">',
        "<title>Time for loss and gradient against rows</title>",
        STYLE,
        '<rect class="paper" width="860" height="430"/>',
        f'<text x="{LEFT}" y="24">microseconds for loss and gradient of 2-10-10-1, float32, one thread</text>',
        f'<text x="{(LEFT + right) / 2:.0f}" y="420" text-anchor="middle">rows</text>',
    ]
    for power in range(7):
        x, _ = place(10**power, 1)
        parts.append(f'<path d="M{x:.0f} {TOP}V{BOTTOM}" class="grid"/>')
        parts.append(f'<text x="{x:.0f}" y="{BOTTOM + 18}" text-anchor="middle">{10**power:,}</text>')
    for power in range(low, high + 1):
        _, y = place(1, 10.0**power)
        parts.append(f'<path d="M{LEFT} {y:.0f}H{right:.0f}" class="grid"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.0f}" text-anchor="end">{10.0**power:,.10g}</text>')
    slowest_first = sorted(curves.items(), key=lambda item: -math.log10(item[1][max(item[1])] / max(item[1])))
    for index, (name, curve) in enumerate(slowest_first):
        color, dashes = (of[list(curves).index(name) % len(of)] for of in (COLORS, DASHES))
        points = [place(*point) for point in sorted(curve.items())]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        width = 3.5 if name == "fast.py" else 1.5
        drawn = f'fill="none" stroke="{color}" stroke-width="{width}" stroke-dasharray="{dashes}"'
        parts.append(f'<polyline points="{path}" {drawn}/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>' for x, y in points]
        weight = ' font-weight="bold"' if name == "fast.py" else ""
        y = TOP + 12 + 20 * index
        parts.append(f'<path d="M{right + 12:.0f} {y - 4}h36" {drawn}/>')
        parts.append(f'<text x="{right + 54:.0f}" y="{y}"{weight}>{name}</text>')
    return "\n".join([*parts, "</svg>\n"])


def processor() -> str:
    """Its name, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.tools.benchmark", description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where it runs (cpu)")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent, metavar="DIR", help="of benchmark.md and .svg (tests/tools)"
    )
    parser.add_argument("--no-compile", action="store_true", help="without torch.compile, which starts slowly")
    options = parser.parse_args(argv)
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no CUDA device; use cpu")
    torch.set_num_threads(1)
    lines: list[Line] = []
    where = torch.cuda.get_device_name() if options.device == "cuda" else processor()
    title = f"torch {torch.__version__}, {where}, one thread"
    print(title, "  ".join(HEADER), sep="\n")
    with tempfile.TemporaryDirectory() as folder:
        sys.path.insert(0, folder)
        os.environ["XDG_CACHE_HOME"] = folder
        bench = Bench(options.device, Path(folder))
        measured = (bench.narrow(not options.no_compile), bench.each_and_hessian(), bench.wide())
        for line in (line for lines_of in measured for line in lines_of):
            lines.append(line)
            print("{:30} {:26} {:>6}  {:16} {:>10} {:>10}".format(*line.cells), flush=True)
            if time.perf_counter() - bench.begin > SECONDS:
                break
        notes = list(bench.notes(lines))
    print(*notes, f"{time.perf_counter() - bench.begin:.0f} s", sep="\n")
    rows = [HEADER, ("---",) * len(HEADER), *(line.cells for line in lines)]
    table = [f"| {' | '.join(row)} |" for row in rows]
    text = "\n".join(
        ["`python -m tests.tools.benchmark`", "", title, "", *table, "", *(f"- {note}" for note in notes), ""]
    )
    (options.out / "benchmark.md").write_text(text, encoding="utf-8")
    (options.out / "benchmark.svg").write_text(svg(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
