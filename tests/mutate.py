"""Mutation testing: a slip is put into a copy of the sources, and the tests run until one of them notices.

    python -m tests.mutate                                # every mutant of every module: days
    python -m tests.mutate generated derive/reverse.py    # of these
    python -m tests.mutate --sample 60 --seed 1           # at most so many a module, drawn at random

First each test is run alone, to know which lines it executes, what programs it starts and how long it takes. A mutant
then meets the tests that execute its lines or start its module as a program, the quick and successful ones first, for
as long as --budget allows. Tests that compare bytes with the derivation do not count where emitted modules are mutated.
What was killed is remembered in build/mutants and not tried again; a survivor must have its reason in survivors.toml.
"""

import argparse
import contextlib
import gc
import hashlib
import importlib.util
import itertools
import json
import math
import multiprocessing
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import coverage
import hypothesis
import pytest
import torch
from _pytest.runner import runtestprotocol

from tests.mutants import Mutant, mutants

ROOT = Path(__file__).parent.parent
WORK = ROOT / "build" / "mutants"
FOLDERS = ("derive", "generated")
COMPARING_BYTES = ("test_what_is_committed_is_what_is_derived", "test_what_is_installed_works_from_an_empty_folder")
GOAL = 0.95
MEMORY = 8 << 30  # bytes that a mutant may take
IMPORTS = 60  # seconds until the first test starts
PROGRAM = re.compile(rf"\b({'|'.join(FOLDERS)})(?:\.| import )(\w+)")
SURVIVED, TIMED_OUT, DIED = "", "timeout", "died"
FORK = multiprocessing.get_context("fork")
PRELOADED = (
    *("sympy", "mpmath", "hypothesis.extra.numpy", "torch.func", "torch.distributed", "safetensors.torch"),
    *("derive.build", "derive.prove", "derive.matrix_derivation"),
)


def in_fork(work: Callable[..., Any], *arguments: Any) -> Any:
    """What the function gives in a process of its own; TIMED_OUT where an alarm ended that, DIED where it crashed."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            os.close(read)
            with os.fdopen(write, "w") as answer:
                json.dump(work(*arguments), answer)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        text = answer.read()
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM:
        return TIMED_OUT
    return json.loads(text) if text else DIED


def run_pytest(tree: Path, changed: tuple[str, ...], files: list[str], plugin: object) -> int:
    """pytest in this process, a fork; it imports the tree's modules, of those before it only what is not changed."""
    os.setsid()
    os.chdir(tree)
    sys.path[:] = [str(tree), *(entry for entry in sys.path if entry not in ("", str(ROOT)))]
    for name in [name for name in sys.modules if name.partition(".")[0] in ("tests", *changed)]:
        del sys.modules[name]
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    null = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(null, standard)
    hypothesis.settings.register_profile("mutants", derandomize=True, database=None)
    hypothesis.settings.load_profile("mutants")
    options = ["-x", f"--basetemp={tree}.tmp", "-o", "addopts=", "-p", "no:cacheprovider", "-p", "no:terminal"]
    return int(pytest.main([*options, *files], plugins=[plugin]))


class Alone:
    """Runs each test, or every so many-th of them, in a process of its own and keeps what it did."""

    def __init__(self, tree: Path, first: int, step: int) -> None:
        self.tree, self.first, self.step = tree, first, step
        self.tests: dict[str, dict[str, Any]] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = items[self.first :: self.step]

    def pytest_runtest_protocol(self, item: pytest.Item) -> bool:
        self.tests[item.nodeid] = in_fork(self.observe, item)
        return True

    def observe(self, item: pytest.Item) -> dict[str, Any]:
        commands: list[str] = []
        sys.addaudithook(lambda event, given: commands.append(str(given[1])) if event == "subprocess.Popen" else None)
        include = [f"{self.tree}/{folder}/*" for folder in FOLDERS]
        tracer = coverage.Coverage(data_file=None, config_file=False, include=include)
        before = sum(os.times()[:4])
        with tracer.collect():
            reports = runtestprotocol(item, log=False, nextitem=None)
        seconds = sum(os.times()[:4]) - before
        data = tracer.get_data()
        return {
            "passed": all(report.outcome == "passed" for report in reports),
            "seconds": round(seconds, 3),
            "lines": {os.path.relpath(file, self.tree): sorted(data.lines(file)) for file in data.measured_files()},
            "starts": sorted(
                {f"{folder}/{stem}.py" for command in commands for folder, stem in PROGRAM.findall(command)}
            ),
        }


def observed(tree: Path, files: list[str], first: int, step: int) -> dict[str, dict[str, Any]]:
    plugin = Alone(tree, first, step)
    run_pytest(tree, FOLDERS, files, plugin)
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
        signal.alarm(int(20 + 20 * self.seconds[nodeid]))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.failed = self.failed or (report.nodeid if report.failed else SURVIVED)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self.failed = self.failed or (f"{report.nodeid} (import)" if report.failed else SURVIVED)


def meet(tree: Path, changed: str, seconds: dict[str, float]) -> str:
    """The test that failed first, or SURVIVED, where a source of that folder is changed."""
    plugin = Meeting(seconds)
    signal.alarm(IMPORTS)
    status = run_pytest(tree, (changed,), sorted({test.partition("::")[0] for test in seconds}), plugin)
    return plugin.failed or (SURVIVED if status in (0, 5) else DIED)


@dataclass
class Judge:
    """A worker: a copy of the sources, and how often each test has killed."""

    tree: Path
    tests: dict[str, dict[str, Any]]
    budget: float
    kills: Counter[str]

    def of(self, mutant: Mutant) -> list[str]:
        """The tests that can notice it."""
        folder = mutant.path.partition("/")[0]
        able = []
        for name, test in self.tests.items():
            if folder == "generated" and any(comparing in name for comparing in COMPARING_BYTES):
                continue
            lines = test["lines"].get(mutant.path, [])
            executes = bool(lines) if mutant.lines is None else not set(lines).isdisjoint(mutant.lines)
            if executes or mutant.path in test["starts"]:
                able.append(name)
        return able

    def ranked(self, names: list[str]) -> dict[str, float]:
        """The most promising tests with their seconds, within the budget."""
        best = sorted(names, key=lambda name: (0.1 + self.tests[name]["seconds"]) / (1 + self.kills[name]))
        seconds = [self.tests[name]["seconds"] for name in best]
        until = list(itertools.accumulate(seconds))
        return {name: cost for name, cost, sum_ in zip(best, seconds, until, strict=True) if sum_ <= self.budget}

    def verdict(self, mutant: Mutant) -> str:
        path = self.tree / mutant.path
        original, times = path.read_bytes(), path.stat()
        compiled = Path(importlib.util.cache_from_source(str(path)))
        try:
            compiled.unlink(missing_ok=True)
            path.write_text(mutant.text, encoding="utf-8")
            folder, ranked = mutant.path.partition("/")[0], self.ranked(self.of(mutant))
            first = next(iter(ranked), "").partition("::")[0]
            near = {name: cost for name, cost in ranked.items() if name.startswith(first)}
            by = in_fork(meet, self.tree, folder, near)
            if by == SURVIVED and len(near) < len(ranked):
                by = in_fork(meet, self.tree, folder, {n: cost for n, cost in ranked.items() if n not in near})
        finally:
            compiled.unlink(missing_ok=True)
            path.write_bytes(original)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        self.kills[by] += 1
        return by


def trees(count: int) -> list[Path]:
    """Copies of what git knows of, and of what it does not ignore; bytecode that is there stays."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    found = [WORK / f"tree{number}" for number in range(count)]
    for tree in found:
        for path in tree.rglob("*.*"):
            if path.is_file() and "__pycache__" not in path.parts:
                path.unlink()
        for name in names:
            if (ROOT / name).is_file():
                (tree / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, tree / name)
    return found


def digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:20]


def keys_of(files: list[str]) -> dict[str, str]:
    """By test file: what changes when it, or what it may use, does."""
    mutating = ("mutants.py", "mutate.py")
    helpers = [p for p in (ROOT / "tests").glob("*.*") if p.name not in (*files, *mutating) and p.suffix != ".toml"]
    used = [*helpers, *(p for folder in (*FOLDERS, "templates") for p in (ROOT / folder).glob("*.*"))]
    base = digest(*(path.read_bytes() for path in sorted(used)))
    return {f"tests/{name}": digest(base.encode(), (ROOT / "tests" / name).read_bytes()) for name in files}


def measured(folders: list[Path]) -> dict[str, dict[str, Any]]:
    """What each test does, by name; remembered for a test file until it, or what it may use, changes."""
    memory = WORK / "tests.json"
    known = json.loads(memory.read_text()) if memory.exists() else {}
    keys = keys_of(sorted(path.name for path in (ROOT / "tests").glob("test_*.py")))
    new = [name for name, key in keys.items() if known.get(name, {}).get("key") != key]
    if new:
        print(f"running each test of {len(new)} files alone", file=sys.stderr)
        shares = [(observed, tree, new, first, len(folders)) for first, tree in enumerate(folders)]
        with FORK.Pool(len(folders)) as pool:
            parts = pool.starmap(in_fork, shares, chunksize=1)
        for name in new:
            known[name] = {"key": keys[name], "tests": {}}
        for test, what in itertools.chain.from_iterable(part.items() for part in parts):
            known[test.partition("::")[0]]["tests"][test] = what
        memory.write_text(json.dumps(known))
    tests = {test: what for name in keys for test, what in known[name]["tests"].items()}
    for test, what in tests.items():
        if not what["passed"]:
            print(f"left out, for it does not pass: {test}", file=sys.stderr)
    return {test: what for test, what in tests.items() if what["passed"]}


def chosen(paths: list[str], sample: int | None, seed: int) -> dict[str, tuple[list[Mutant], int]]:
    """By module: the mutants that are asked for, each text once, and how many there are."""
    found = {}
    for path in paths:
        everything = mutants(path, (ROOT / path).read_text(encoding="utf-8"))
        random.Random(f"{seed} {path}").shuffle(everything)
        kept: dict[str, Mutant] = {}
        for mutant in everything:
            if len(kept) == sample:
                break
            if mutant.compiles and mutant.text != mutant.source.module.code:
                kept.setdefault(mutant.text, mutant)
        found[path] = list(kept.values()), len(everything) if len(kept) == sample else len(kept)
    return found


WORKERS: list[Judge] = []
MUTANTS: list[Mutant] = []


def appoint(free: Any, tests: dict[str, dict[str, Any]], budget: float) -> None:
    """Makes this process a judge with a tree of its own."""
    WORKERS[:] = [Judge(free.get(), tests, budget, Counter())]


def judged(number: int) -> tuple[int, str]:
    return number, WORKERS[0].verdict(MUTANTS[number])


def verdicts(found: list[Mutant], folders: list[Path], tests: dict[str, dict[str, Any]], budget: float) -> list[str]:
    """Who killed each mutant; what is remembered as killed stays so."""
    memory = WORK / "killed.txt"
    killed = dict(line.split(" ", 1) for line in memory.read_text().splitlines()) if memory.exists() else {}
    keys = [digest(mutant.path.encode(), mutant.text.encode()) for mutant in found]
    by = [killed.get(key, SURVIVED) for key in keys]
    open_ = [number for number, test in enumerate(by) if test == SURVIVED]
    MUTANTS[:] = found
    free = FORK.Queue()
    for tree in folders:
        free.put(tree)
    with FORK.Pool(len(folders), appoint, (free, tests, budget)) as pool, memory.open("a") as remembered:
        for done, (number, test) in enumerate(pool.imap_unordered(judged, open_), 1):
            by[number] = test
            if test != SURVIVED:
                remembered.write(f"{keys[number]} {test}\n")
                remembered.flush()
            else:
                print(f"\r{found[number]}", file=sys.stderr)
            print(f"\r{done} of {len(open_)} mutants ", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return by


class Reasons:
    """survivors.toml: why no test kills a mutant. A row that explains nothing any more is stale."""

    def __init__(self) -> None:
        table = tomllib.loads((ROOT / "tests" / "survivors.toml").read_text(encoding="utf-8"))
        self.of = {(path, change): row["reason"] for path in table for row in table[path] for change in row["changes"]}

    def stale(self, path: str, verdicts: dict[Mutant, str]) -> list[str]:
        """The changes listed for a module that no mutant of it is, or that a test kills."""
        listed = {change for module, change in self.of if module == path}
        if not listed:
            return []
        existing = {mutant.change for mutant in mutants(path, (ROOT / path).read_text(encoding="utf-8"))}
        survived = {mutant.change for mutant, by in verdicts.items() if by == SURVIVED}
        killed = {mutant.change for mutant, by in verdicts.items() if by != SURVIVED} - survived
        return sorted((listed - existing) | (listed & killed))


def margin(killed: int, tried: int, all_of_them: bool) -> float:
    """Half of the 95 % interval (Wilson) of a rate known from a sample."""
    if all_of_them or tried == 0:
        return 0.0
    rate, z = killed / tried, 1.96
    return z / (1 + z * z / tried) * math.sqrt(rate * (1 - rate) / tried + z * z / (4 * tried * tried))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutate", description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="*", default=FOLDERS, help="modules or folders (all)")
    parser.add_argument("--sample", type=int, help="at most so many mutants a module (all)")
    parser.add_argument("--seed", type=int, default=1, help="of the sample (1)")
    parser.add_argument("--budget", type=float, default=60, help="seconds of tests that a mutant meets (60)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="mutants at a time (one a core)")
    options = parser.parse_args(argv)
    for name in PRELOADED:
        importlib.import_module(name)
    gc.freeze()  # so that forks share the memory
    paths = []
    for path in options.paths:
        inside = sorted((ROOT / path).glob("*.py"))
        paths += [str(file.relative_to(ROOT)) for file in inside] or [path]
    folders = trees(options.jobs)
    tests = measured(folders)
    modules = chosen(paths, options.sample, options.seed)
    found = [mutant for group, _ in modules.values() for mutant in group]
    by = dict(zip(found, verdicts(found, folders, tests, options.budget), strict=True))
    reasons, wrong = Reasons(), []
    print(f"{'module':32} {'mutants':>7} {'tried':>6} {'killed':>7} {'explained':>9} {'open':>5}")
    for path, (group, size) in modules.items():
        verdict = {mutant: by[mutant] for mutant in group}
        survivors = [mutant for mutant in group if by[mutant] == SURVIVED]
        unexplained = [mutant for mutant in survivors if (path, mutant.change) not in reasons.of]
        killed = len(group) - len(survivors)
        spread = margin(killed, len(group), len(group) == size)
        rate = f"{killed / max(1, len(group)):.1%}" + (f" ± {spread:.1%}" if spread else "")
        print(
            f"{path:32} {size:7} {len(group):6} {rate:>14} {len(survivors) - len(unexplained):5} {len(unexplained):5}"
        )
        wrong += map(str, unexplained)
        wrong += [f"{path}: survivors.toml is stale: {change}" for change in reasons.stale(path, verdict)]
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
