"""Mutation testing: a slip is put into a copy of the sources, and the tests run until one of them notices.

    python -m tests.tools.mutate calculus --sample 200    # of a room of derive/, so many that are drawn
    python -m tests.tools.mutate generated/fast.py    # a module, a folder, or `commands`: what lies on derive/ itself
    python -m tests.tools.mutate reading --tests reading calculus    # that meet the tests of these rooms only

First each test runs alone, to know which lines it executes, what programs it starts and how long it takes; that is
remembered until the test or a module that is mutated changes. A mutant then meets the tests that can notice it, the
quick and successful ones first, for BUDGET seconds, in a fork that imports again what imports the module that is
mutated; the first time that a test notices one, it has to pass without it.
Seconds are those of the processor: what else runs on the machine changes no verdict.
What was killed is remembered in build/mutants and not tried again; a survivor must have its reason in survivors.toml.
"""

import argparse
import ast
import bisect
import contextlib
import hashlib
import importlib.util
import itertools
import json
import math
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import coverage
import pytest
import torch
from _pytest.runner import runtestprotocol

from tests.tools.mutants import Mutant, mutants

ROOT = Path(__file__).parents[2]
WORK = ROOT / "build" / "mutants"
FOLDERS = ("derive", "generated")
READING = ("test_what_is_committed_is_what_is_derived", "test_rooms_import_from_below_and_by_their_doors")  # sources
NEAR = 5  # times sooner a test is met that lies in the room of the same name
FIRST = 30  # mutants that those of READING count as having noticed before, for they are quick and see much
BUDGET = 200  # seconds of tests that a mutant meets
ROUNDS = (3, 20, BUDGET)  # those up to each in one process, file by file
FILE = 200  # seconds of the tests of one file that are known, all of its functions before one with other arguments
LONGEST = 60  # seconds that a test takes at most, for mutants to meet it
IDLE = 10  # seconds by the clock to one of the processor, for each process that asks for it, until one hangs
MEMORY = 8 << 30  # bytes that it may take
IMPORTS = 60  # seconds until the first test starts
PROGRAM = re.compile(rf"\b({'|'.join(FOLDERS)})\b")
SURVIVED, DIED = "", "died"
PRELOADED = ("sympy", "mpmath", "torch.func", "torch.distributed")


def in_fork(work: Callable[..., Any], *arguments: Any) -> Any:
    """What the function gives in a process of its own, DIED where that ended before."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            os.setsid()
            os.close(read)
            with os.fdopen(write, "w") as answer:
                json.dump(work(*arguments), answer)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    return json.loads(text) if text else DIED


def end_after(seconds: float) -> None:
    """This process, or one that it starts from now on, ends when it has computed for so long."""
    used = sum(os.times()[:2])
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(used + seconds), resource.getrlimit(resource.RLIMIT_CPU)[1]))
    signal.alarm(math.ceil(IDLE * seconds * (1 + os.getloadavg()[0] / (os.cpu_count() or 1))))


def enter(tree: Path) -> None:
    """Makes this process, a fork, import the tree's modules."""
    os.chdir(tree)
    sys.path[:] = [str(tree), *(entry for entry in sys.path if entry not in ("", str(ROOT)))]
    forget({name for name in sys.modules if name.partition(".")[0] in ("tests", *FOLDERS)})
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))


def forget(names: set[str]) -> None:
    for name in names & sys.modules.keys():
        del sys.modules[name]


def run_pytest(files: list[str], plugin: object) -> int:
    """pytest in this process, a fork."""
    null = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(null, standard)
    left_out = [option for name in ("cacheprovider", "terminal", "xdist") for option in ("-p", f"no:{name}")]
    options = ["-x", "-m", "not slow", f"--basetemp={Path.cwd()}.tmp", "-o", "addopts=", *left_out]
    return int(pytest.main([*options, *files], plugins=[plugin]))


def module_names(path: str) -> tuple[str, str]:
    """Of a source, its own and that of the package that it lies in."""
    parts = path.removesuffix(".py").split("/")
    package = parts[:-1]
    return ".".join(package if parts[-1] == "__init__" else parts), ".".join(package)


def importers() -> dict[str, set[str]]:
    """Of each source, itself and the modules that import it, or one of these."""
    direct: dict[str, set[str]] = {}
    sources = {path: module_names(path) for folder in FOLDERS for path in under(folder)}
    for path, (name, package) in sources.items():
        for node in ast.walk(ast.parse((ROOT / path).read_bytes())):
            found = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                start = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
                origin = ".".join([*start, *filter(None, [node.module])])
                found = [origin, *(f"{origin}.{alias.name}" for alias in node.names)]
            for imported in found:
                direct.setdefault(imported, set()).add(name)
    closure = {}
    for path, (name, _) in sources.items():
        closure[path], left = {name}, [name]
        while left:
            new = direct.get(left.pop(), set()) - closure[path]
            closure[path] |= new
            left += new
    return closure


def import_again(names: set[str]) -> None:
    """What imports a module that has changed, as far as it can be imported; what remains is there for `import a.b`."""
    here = [name for name in sys.modules if name in names]
    forget(names)
    for name in here:
        with contextlib.suppress(BaseException):
            importlib.import_module(name)
    for name, module in list(sys.modules.items()):
        package, _, last = name.rpartition(".")
        if package in names and package in sys.modules and not hasattr(sys.modules[package], last):
            setattr(sys.modules[package], last, module)


class Alone:
    """Runs each test, or every so many-th of them, in a process of its own and keeps what it did, for FILE seconds."""

    def __init__(self, tree: Path, first: int, step: int) -> None:
        self.tree, self.first, self.step = tree, first, step
        self.left = FILE / step
        self.tests: dict[str, dict[str, Any]] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        functions: Counter[str] = Counter()
        places = {}
        for item in sorted(items, key=lambda item: digest(item.nodeid.encode())):
            name = item.nodeid.partition("[")[0]
            functions[name] += 1
            places[item] = functions[name]
        items[:] = sorted(places, key=places.__getitem__)[self.first :: self.step]

    def pytest_runtest_protocol(self, item: pytest.Item) -> bool:
        if self.left > 0:
            seen = in_fork(self.observe, item)
            self.tests[item.nodeid] = {"passed": False, "seconds": LONGEST} if seen == DIED else seen
            self.left -= self.tests[item.nodeid]["seconds"]
        return True

    def observe(self, item: pytest.Item) -> dict[str, Any]:
        end_after(LONGEST)
        commands: list[str] = []  # of those that Python runs and that name no folder, each may use all, and so a fork
        started = {"subprocess.Popen": lambda given: str(given[1]), "os.fork": lambda _: sys.executable}
        sys.addaudithook(lambda event, given: commands.append(started[event](given)) if event in started else None)
        include = [f"{self.tree}/{folder}/*" for folder in FOLDERS]
        tracer = coverage.Coverage(data_file=None, config_file=False, include=include)
        before = sum(os.times()[:4])
        with tracer.collect():
            reports = runtestprotocol(item, log=False, nextitem=None)
        seconds = sum(os.times()[:4]) - before
        data = tracer.get_data()
        named = [PROGRAM.findall(command) or FOLDERS * (sys.executable in command) for command in commands]
        return {
            "passed": all(report.outcome == "passed" for report in reports),
            "seconds": round(seconds, 3),
            "lines": {os.path.relpath(file, self.tree): sorted(data.lines(file)) for file in data.measured_files()},
            "starts": sorted(set().union(*named)),
        }


def observed(tree: Path, files: list[str], step: int, first: int) -> dict[str, dict[str, Any]]:
    plugin = Alone(tree, first, step)
    enter(tree)
    run_pytest(files, plugin)
    return plugin.tests


class Meeting:
    """Runs the tests that are named, in that order and each with a time limit, until one fails."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds = seconds
        self.places = {test: place for place, test in enumerate(seconds)}
        self.failed = SURVIVED

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted((i for i in items if i.nodeid in self.places), key=lambda i: self.places[i.nodeid])

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        end_after(20 + 20 * self.seconds[nodeid])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.failed = self.failed or (report.nodeid if report.failed else SURVIVED)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self.failed = self.failed or (f"{report.nodeid} (import)" if report.failed else SURVIVED)


def meet(changed: set[str], files: list[str], seconds: dict[str, float]) -> str:
    """The test of some files that failed first, or SURVIVED, where these modules are changed."""
    plugin = Meeting(seconds)
    end_after(IMPORTS)
    import_again(changed)
    status = run_pytest(files, plugin)
    return plugin.failed or (SURVIVED if status in (0, 5) else DIED)


def able(mutant: Mutant, tests: dict[str, dict[str, Any]]) -> list[str]:
    """The tests that execute a line of the mutant or start a program of its folder, and where it lies outside of
    functions, all that are beside such a test; of derive/ those, too, that read its sources.
    """
    folder = mutant.path.partition("/")[0]

    def meets(name: str, test: dict[str, Any]) -> bool:
        lines = test["lines"].get(mutant.path, [])
        return folder in test["starts"] or not set(lines).isdisjoint(mutant.lines or lines) or reads(name)

    found = [name for name, test in tests.items() if meets(name, test)]
    if mutant.lines is None:
        files = {file_of(name) for name in found}
        found = [name for name in tests if file_of(name) in files]
    return [name for name in found if folder == "derive" or not reads(name)]


def as_executed(found: list[Mutant], tests: dict[str, dict[str, Any]]) -> list[Mutant]:
    """Those whose lines no test executes as outside of functions: then they are if at all when they are imported."""
    executed: dict[str, set[int]] = {mutant.path: set() for mutant in found}
    for test in tests.values():
        for path in executed.keys() & test["lines"].keys():
            executed[path].update(test["lines"][path])
    return [m if m.lines and not executed[m.path].isdisjoint(m.lines) else replace(m, lines=None) for m in found]


def reads(test: str) -> bool:
    """Whether it is one of READING."""
    return any(name in test for name in READING)


def words_of(text: str) -> list[str]:
    """The longer ones, of a test those behind its file."""
    return re.findall(r"\w{5,}", text.rpartition("::")[2])


def file_of(test: str) -> str:
    return test.partition("::")[0]


def judged(tree: Path, shares: list[list[Mutant]], tests: dict[str, dict[str, Any]], place: int) -> list[str]:
    """Who killed each mutant of a share."""
    kills = Counter(dict.fromkeys(filter(reads, tests), FIRST))
    sound: set[str] = set()
    verdicts = []
    dependent = importers()
    enter(tree)
    for path in sorted({path for test in tests.values() for path in test["lines"]}):
        with contextlib.suppress(ImportError):
            importlib.import_module(module_names(path)[0])
    for done, mutant in enumerate(as_executed(shares[place], tests), 1):
        near = f"tests/{mutant.path.split('/')[1]}/"
        costs = {name: (0.1 + tests[name]["seconds"]) / (1 + kills[name]) for name in able(mutant, tests)}
        best = sorted(costs, key=lambda name, near=near, costs=costs: costs[name] / NEAR ** name.startswith(near))
        if mutant.lines is None:  # many tests are able: first those near, or whose name says what the line is about
            about = set(words_of(mutant.change.partition(" => ")[0]))
            best.sort(key=lambda n, near=near, about=about: not (n.startswith(near) or about & set(words_of(n))))
        until = itertools.accumulate(tests[name]["seconds"] for name in best)
        rounds: list[dict[str, dict[str, float]]] = [{} for _ in ROUNDS]  # of each, its files
        for name, sum_ in zip(best, until, strict=True):
            if sum_ <= BUDGET:
                files = rounds[bisect.bisect_left(ROUNDS, sum_)]
                files.setdefault(file_of(name), {})[name] = tests[name]["seconds"]
        if mutant.lines is None:  # where no test is begun for want of time, the file may fail to import
            met = {file for files in rounds for file in files}
            rounds[-1] |= {file: {} for file in (file_of(name) for name in best) if file not in met}
        changed = dependent[mutant.path]
        by = SURVIVED
        while rounds and not by:
            files = rounds[0]
            seconds = {name: time for of_file in files.values() for name, time in of_file.items()}
            put(tree / mutant.path, mutant.text)
            by = in_fork(meet, changed, list(files), seconds) if files else SURVIVED
            put(tree / mutant.path, mutant.original)
            if by in seconds and by not in sound and in_fork(meet, changed, [file_of(by)], {by: seconds[by]}):
                print(f"left out, for it fails without a mutant, too: {by}", file=sys.stderr, flush=True)
                del tests[by], files[file_of(by)][by]
                by = SURVIVED
            elif by:
                sound.add(by)
            else:
                del rounds[0]
        verdicts.append(by)
        kills[verdicts[-1]] += 1
        if verdicts[-1] == SURVIVED:
            print(mutant, file=sys.stderr, flush=True)
        else:
            with (WORK / "killed.txt").open("a") as memory:
                memory.write(f"{key(mutant)} {verdicts[-1]}\n")
        print(f"{done} of {len(shares[place])} mutants", file=sys.stderr, flush=True)
    return verdicts


def put(path: Path, text: str) -> None:
    """Writes a source, and leaves no bytecode of the one before it."""
    Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)
    path.write_text(text, encoding="utf-8")


def trees(count: int) -> list[Path]:
    """Copies of what git knows of, and of what it does not ignore."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    found = [WORK / f"tree{number}" for number in range(count)]
    for tree in found:
        shutil.rmtree(tree, ignore_errors=True)
        for name in names:
            if (ROOT / name).is_file():
                (tree / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, tree / name)
    return found


def shared(work: Callable[..., Any], folders: list[Path], *arguments: Any) -> list[Any]:
    """What the function gives for each folder, in processes at the same time."""
    with ThreadPoolExecutor(len(folders)) as pool:
        return list(pool.map(lambda place: in_fork(work, folders[place], *arguments, place), range(len(folders))))


def digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:20]


def key(mutant: Mutant) -> str:
    return digest(mutant.path.encode(), mutant.text.encode())


def measured(folders: list[Path], files: list[str], paths: list[str]) -> dict[str, dict[str, Any]]:
    """What each test of these files that passes does, by name; remembered until the file, what tests share, or a module
    that is mutated and that it executes changes.
    """
    memory = WORK / "tests.json"
    known = json.loads(memory.read_text()) if memory.exists() else {}
    helpers = [ROOT / "tests" / "conftest.py", *sorted((ROOT / "tests" / "helpers").glob("*.py"))]
    base = digest(*(path.read_bytes() for path in helpers)).encode()
    modules = {path: digest((ROOT / path).read_bytes()) for folder in FOLDERS for path in under(folder)}

    def changed(name: str) -> bool:
        then = known.get(name, {"key": ""})
        if then["key"] != digest(base, (ROOT / name).read_bytes()):
            return True
        executed = {path for test in then["tests"].values() for path in test.get("lines", ())}
        return any(then["modules"].get(p) != modules[p] for p in paths if p in executed or p not in then["modules"])

    for name in filter(changed, files):
        print(f"running each test of {name} alone", file=sys.stderr, flush=True)
        tests = {test: what for part in shared(observed, folders, [name], len(folders)) for test, what in part.items()}
        known[name] = {"key": digest(base, (ROOT / name).read_bytes()), "modules": modules, "tests": tests}
        memory.write_text(json.dumps(known))
    tests = {test: what for name in files for test, what in known[name]["tests"].items()}
    for test in [test for test, what in tests.items() if not what["passed"]]:
        print(f"left out, for it fails or takes more than {LONGEST} seconds: {test}", file=sys.stderr)
        del tests[test]
    return tests


def under(folder: str) -> list[str]:
    """The modules of a folder, and those of the folders in it."""
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("*.py"))


def tests_of(rooms: list[str]) -> list[str]:
    """The test files of these rooms, or files, or all."""
    found = [path for room in rooms for path in (under(f"tests/{room}") or [room])] if rooms else under("tests")
    if missing := [path for path in found if not (ROOT / path).is_file()]:
        raise SystemExit(f"{missing[0]}: neither a room of tests/ nor a file")
    return [path for path in found if Path(path).name.startswith("test_")]


def sources(room: str) -> list[str]:
    """The modules of a room of derive/ and of those in it, of its commands, of a folder, or the module of that path."""
    if room == "commands":
        return sorted(str(path.relative_to(ROOT)) for path in (ROOT / "derive").glob("*.py"))
    found = under(f"derive/{room}") or under(room) or [room] * (ROOT / room).is_file()
    if not found:
        raise SystemExit(f"{room}: neither a room of derive/ nor a folder or file with Python")
    return found


def chosen(paths: list[str], sample: int | None) -> tuple[list[Mutant], Counter[str]]:
    """So many mutants of the modules as are asked for, each text once, and how many each module has."""
    everything = [m for path in paths for m in mutants(path, (ROOT / path).read_text(encoding="utf-8"))]
    sizes = Counter(mutant.path for mutant in everything)
    alike: Counter[tuple[bytes, ...]] = Counter()  # each has its own place, whatever changes elsewhere
    places = {}
    for mutant in everything:
        what = (mutant.path.encode(), *mutant.nodes)
        alike[what] += 1
        places[mutant] = digest(*what, str(alike[what]).encode())
    everything.sort(key=places.__getitem__)
    kept: dict[tuple[str, str], Mutant] = {}
    for mutant in everything:
        if len(kept) == sample:
            break
        if mutant.compiles and mutant.text != mutant.original:
            kept.setdefault((mutant.path, mutant.text), mutant)
    return list(kept.values()), sizes


def margin(killed: int, tried: int) -> float:
    """Half of the 95 % interval (Wilson) of a rate known from a sample."""
    rate, z = killed / tried, 1.96
    return z / (1 + z * z / tried) * math.sqrt(rate * (1 - rate) / tried + z * z / (4 * tried * tried))


def survivors(found: list[Mutant], folders: list[Path], files: list[str]) -> set[Mutant]:
    """Those that nothing has killed."""
    memory = WORK / "killed.txt"
    killed = {row.partition(" ")[0] for row in memory.read_text().splitlines()} if memory.exists() else set()
    left = [mutant for mutant in found if key(mutant) not in killed]
    if not left:
        return set()
    shares = [left[place :: len(folders)] for place in range(len(folders))]
    verdicts = shared(judged, folders, shares, measured(folders, files, sorted({mutant.path for mutant in left})))
    pairs = [pair for share, by in zip(shares, verdicts, strict=True) for pair in zip(share, by, strict=True)]
    return {mutant for mutant, by in pairs if by == SURVIVED}


def line(name: str, size: int, tried: int, left: int, open_: int) -> str:
    """A line of the table. Survivors that are explained change nothing that can be seen: the share is of the others."""
    rest = tried - left + open_
    error = f" ± {margin(tried - left, rest):.1%}" if tried < size else ""
    share = f"{(tried - left) / rest:.1%}{error}" if rest else ""
    return f"{name:36} {size:7} {tried:6} {share:>14} {left - open_:9} {open_:5}"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.tools.mutate", description=__doc__.splitlines()[0])
    parser.add_argument(
        "rooms", nargs="+", help="rooms of derive/ such as calculus, commands, generated, folders or files"
    )
    parser.add_argument("--sample", type=int, help="of so many mutants that are drawn (all)")
    parser.add_argument("--tests", nargs="+", default=[], help="of rooms such as calculus, or files (all)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="mutants at a time (one a core)")
    options = parser.parse_args(argv)
    paths = [path for room in options.rooms for path in sources(room)]
    for name in PRELOADED:
        importlib.import_module(name)
    group, sizes = chosen(paths, options.sample)
    alive = survivors(group, trees(options.jobs), tests_of(options.tests))
    table = tomllib.loads((ROOT / "tests" / "tools" / "survivors.toml").read_text(encoding="utf-8"))
    reasons = {(path, change) for path, rows in table.items() for row in rows for change in row["changes"]}
    unexplained = [mutant for mutant in group if mutant in alive and (mutant.path, mutant.change) not in reasons]
    tried, left, open_ = (Counter(m.path for m in found) for found in (group, alive, unexplained))
    print(f"{'module':36} {'mutants':>7} {'tried':>6} {'noticed':>14} {'explained':>9} {'open':>5}")
    for path in filter(tried.get, paths):
        print(line(path, sizes[path], tried[path], left[path], open_[path]))
    print(line("together", sizes.total(), tried.total(), left.total(), open_.total()))
    print(*unexplained, sep="\n", end="\n" if unexplained else "")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
