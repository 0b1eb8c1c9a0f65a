"""Killed, interrupted, out of space, not allowed, two at once: what was there stays whole, and nothing is left behind.

Children are forked, so that each starts where the test is; a profiler in the child counts what it asks of the disk.
"""

import errno
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from derive import build
from derive.packages.emit import render
from derive.problems.network import Network
from derive.system import disk, typesetting, write_package
from generated import dat, run, train, weights
from tests.helpers.children import in_a_child
from tests.helpers.programs import PATIENCE, needs

ROOT = Path(__file__).parents[2]


def at_each_step(action: Callable[[], object], number: int = signal.SIGKILL, stride: int = 1):
    """Gives the status of one child after the other, each stopped a step later, until one is through."""
    for step in range(0, 2000, stride):
        status = in_a_child(action, step, number)
        if status == 0:
            assert step > 8
            return
        assert status == (-number if number == signal.SIGKILL else 130)
        yield status
    raise AssertionError("it never ends")


def state(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def small(word: str) -> dict[str, str]:
    return dict.fromkeys(("__init__.py", "backward.py", "derivation.tex"), f"# {disk.MARK}\n# {word}\n")


OLD, NEW = small("old"), small("new")


@pytest.fixture
def package(tmp_path) -> Path:
    """A package in which a person keeps things, too."""
    folder = tmp_path / "package"
    write_package(folder, OLD)
    (folder / "my_autograd.dat").write_text("numbers")
    (folder / "notes").mkdir()
    (folder / "notes" / "a.txt").write_text("note")
    return folder


def encoded(files: dict[str, str]) -> dict[str, bytes]:
    return {name: text.encode() for name, text in files.items()}


def states(package: Path, old: dict[str, str] = OLD, new: dict[str, str] = NEW) -> list[dict[str, bytes]]:
    found = state(package)
    return [{**found, **encoded(old)}, {**found, **encoded(new)}]


def test_a_build_killed_at_any_step_leaves_one_whole_package(package):
    either = states(package)
    for _ in at_each_step(lambda: write_package(package, NEW)):
        assert state(package) in either
        write_package(package, OLD)
        assert state(package) == either[0] and os.listdir(package.parent) == ["package"]
    assert state(package) == either[1]


@pytest.mark.parametrize("exchange", [True, False])
def test_a_package_is_replaced_in_one_step_or_file_by_file(exchange, package, monkeypatch):
    """By a path relative to the current folder; macOS and some file systems cannot exchange two folders."""
    monkeypatch.chdir(package.parent)
    write_package(Path("package"), {**OLD, "sheet.tex": OLD["derivation.tex"]})
    if not exchange:
        monkeypatch.setattr(disk.ctypes, "CDLL", lambda *_, **__: object())
    either, before = states(package), package.stat().st_ino
    write_package(Path("package"), NEW)
    assert state(package) == {name: text for name, text in either[1].items() if name != "sheet.tex"}
    assert os.listdir(package.parent) == ["package"] and (package.stat().st_ino != before) == exchange


def test_a_module_that_cannot_be_imported_is_not_written(package):
    before = state(package)
    with pytest.raises(ValueError, match=r"^backward\.py:2: no Python: .*; templates/backward\.py\.j2 writes it$"):
        write_package(package, {**NEW, "backward.py": "x = 1\nx = = 2\n"})
    assert state(package) == before


@pytest.mark.slow
def test_a_real_build_killed_here_and_there_leaves_one_whole_package(package):
    old, new = (render(network) for network in (Network((2, 3, 1)), Network((3, 2, 2), "tanh")))
    write_package(package, old)
    either = states(package, old, new)
    for _ in at_each_step(lambda: write_package(package, new), stride=7):
        assert state(package) in either
        write_package(package, old)
        assert os.listdir(package.parent) == ["package"]


def test_a_first_build_killed_at_any_step_leaves_no_package_or_a_whole_one(tmp_path):
    folder, whole = tmp_path / "package", encoded(NEW)
    for _ in at_each_step(lambda: write_package(folder, NEW)):
        assert not folder.exists() or state(folder) == whole
        write_package(folder, OLD)
        assert os.listdir(tmp_path) == ["package"]
        for name in os.listdir(folder):
            (folder / name).unlink()
        folder.rmdir()


def test_a_build_interrupted_at_any_step_leaves_one_whole_package_and_nothing_else(package):
    either = states(package)
    for _ in at_each_step(lambda: write_package(package, NEW), signal.SIGINT):
        assert state(package) in either
        assert os.listdir(package.parent) == ["package"]
        write_package(package, OLD)


def test_a_pdf_killed_at_any_step_belongs_to_its_package(package, monkeypatch):
    """pdflatex is played by one that takes as many steps on the disk."""

    def pdflatex(arguments, cwd, **options):
        (cwd / typesetting.PDF).write_bytes(b"%PDF of " + (cwd / "derivation.tex").read_bytes())
        return subprocess.CompletedProcess(arguments, 0, "", "")

    monkeypatch.setattr(subprocess, "run", pdflatex)
    monkeypatch.setattr(shutil, "which", lambda name: name)
    write_package(package, OLD, pdf=True)
    for _ in at_each_step(lambda: write_package(package, NEW, pdf=True)):
        found = state(package)
        assert found[typesetting.PDF] == b"%PDF of " + found["derivation.tex"]
        write_package(package, OLD, pdf=True)
        assert os.listdir(package.parent) == ["package"]
    write_package(package, OLD)
    assert typesetting.PDF not in state(package)


def drawn(seed: int) -> weights.Parameters:
    return run.sample(seed, 1, torch.float64)[0]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
def test_weights_killed_or_interrupted_at_any_step_are_whole(name, number, tmp_path):
    path = tmp_path / name
    weights.save(path, drawn(1))
    old = path.read_bytes()
    for _ in at_each_step(lambda: weights.save(path, drawn(2)), number):
        loaded = weights.load(path, torch.float64)
        assert any(all(map(torch.equal, loaded, drawn(seed))) for seed in (1, 2))
        assert number == signal.SIGKILL or os.listdir(tmp_path) == [name]
        weights.save(path, drawn(1))
        assert path.read_bytes() == old and os.listdir(tmp_path) == [name]


COMMANDS = {
    "run": (lambda seed, out: run.main(["--compare", "--seed", seed, "--out", str(out)]), 2),
    "train": (
        lambda seed, out: train.main(
            ["--seed", seed, "--epochs", "1", "--points", "3", "--out", f"{out}/w.pt", "--plot", f"{out}/p.png"]
        ),
        2,
    ),
}


@pytest.mark.skipif(torch.cuda.is_available(), reason="autograd does not outlive a fork where torch sees a device")
@pytest.mark.parametrize("name", COMMANDS)
def test_files_of_a_killed_command_are_each_whole(name, tmp_path, monkeypatch):
    action, files = COMMANDS[name]
    monkeypatch.setattr(train, "picture", lambda curve, *_: b"\x89PNG" + str(curve).encode() * 1000)
    whole = []
    for seed in ("1", "2"):
        assert action(seed, tmp_path) == 0
        whole.append(state(tmp_path))
    assert len(whole[0]) == files
    for _ in at_each_step(lambda: action("1", tmp_path)):
        found = state(tmp_path)
        assert all(found[file] in (whole[0][file], whole[1][file]) for file in whole[0])
        assert action("2", tmp_path) == 0
        assert state(tmp_path) == whole[1]


@pytest.mark.parametrize("limit", [500, 6000, 30000])
def test_a_build_without_space_says_so_and_changes_nothing(limit, tmp_path, capfd):
    package = tmp_path / "package"
    write_package(package, small("old"))
    before = state(package)

    def without_space() -> int:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        return build.main(["--layers", "3-2-2", "--out", str(package)])

    assert in_a_child(without_space) == 2
    assert capfd.readouterr().err == f"python -m derive.build: {package}: File too large\n"
    assert state(package) == before and os.listdir(package.parent) == ["package"]


DISK = """
mount -t tmpfs -o size=2m tmpfs "$1" && cd "$1" || exit 99
build() { python -m derive.build --out p --layers "$@"; }
run() { python -m generated.run --compare --seed "$@"; }
train() { python -m generated.train --points 9 --epochs 1 --seed "$@"; }
build 2-3-1 >/dev/null && run 1 >/dev/null && train 1 >/dev/null || exit 98
find . -type f | sort | xargs cksum >/dev/shm/$$
cat /dev/zero >full 2>/dev/null
build 2-4-1; echo $?; run 2; echo $?; train 2; echo $?
rm full
find . -type f | sort | xargs cksum | cmp - /dev/shm/$$ && echo the same
rm /dev/shm/$$
"""


@needs("unshare")
@pytest.mark.slow
def test_a_full_disk_leaves_what_was_there(tmp_path):
    alone = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*alone, "true"], capture_output=True).returncode:
        pytest.skip("no mounts in this environment")
    paths = {"PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    script = [*alone, "sh", "-c", DISK, "sh", str(tmp_path)]
    done = subprocess.run(script, capture_output=True, text=True, env={**os.environ, **paths})
    assert done.stdout == "2\n2\n2\nthe same\n"
    assert done.stderr.count("No space left on device\n") == done.stderr.count("\n") == 3


@pytest.fixture
def theirs():
    """A folder that a user without rights can reach."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o777)
    yield folder
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o777)
    shutil.rmtree(folder)


@pytest.mark.parametrize("locked", ["the folder", "its parent"])
def test_a_folder_that_may_not_be_written_is_named_and_stays(locked, theirs, capfd):
    package = theirs / "package"
    write_package(package, small("old"))
    before = state(package)
    (package if locked == "the folder" else theirs).chmod(0o555)

    def as_nobody() -> int:
        if os.getuid() == 0:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
        return build.main(["--layers", "3-2-2", "--out", str(package)])

    assert in_a_child(as_nobody) == 2
    assert capfd.readouterr().err == f"python -m derive.build: {package}: Permission denied\n"
    assert state(package) == before and os.listdir(theirs) == ["package"]


@pytest.mark.parametrize("rounds", [30, pytest.param(150, marks=pytest.mark.slow)])
def test_of_two_builds_at_once_the_last_wins_whole(rounds, tmp_path):
    folder = tmp_path / "package"
    either = [encoded(OLD), encoded(NEW)]
    for _ in range(rounds):
        gate, opened = os.pipe()
        children = []
        for files in (OLD, NEW):
            child = os.fork()
            if not child:
                os.close(opened)
                os.read(gate, 1)
                os._exit(in_this_process(lambda files=files: write_package(folder, files)))
            children.append(child)
        os.close(gate)
        os.close(opened)
        assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
        assert state(folder) in either and os.listdir(tmp_path) == ["package"]


def in_this_process(action: Callable[[], object]) -> int:
    try:
        action()
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        return 99
    return 0


READY = """
import importlib, runpy, sys
door = importlib.import_module({"derive": "derive.system", "generated": "generated.command"}[sys.argv[1].split(".")[0]])
begin = door.begin
door.begin = lambda *name, **needed: (begin(*name, **needed), print("ready", flush=True))
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
LONG = {
    "derive.build": ["--layers", "2-10-10-10-10-1", "--out", "package"],
    "derive.prove": [str(ROOT / "generated")],
    "generated.run": ["--points", "90000000"],
    "generated.train": ["--epochs", "1000000"],
}
FILES = {"derive.build": ["package"], "generated.run": ["my_autograd.dat"]}


def stopped(module: str, delay: float, number: int, where: Path) -> tuple[int, str]:
    """Status and errors of a command that gets a signal so many seconds after it has begun."""
    arguments = [sys.executable, "-c", READY, module, *LONG[module]]
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(arguments, cwd=where, env=variables, stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        time.sleep(delay)
        process.send_signal(number)
        try:
            errors = process.communicate(timeout=PATIENCE)[1]
        finally:
            process.kill()
    return process.returncode, errors


@pytest.mark.parametrize("module", LONG)
@pytest.mark.parametrize("delay", [0.0, *(pytest.param(d, marks=pytest.mark.slow) for d in (0.2, 0.6, 1.5, 3.0))])
def test_an_interrupt_at_any_time_is_status_130_and_no_traceback(module, delay, tmp_path):
    status, errors = stopped(module, delay, signal.SIGINT, tmp_path)
    assert status in (130, 0)  # 0 where it was done before the signal came
    assert errors == ""
    assert os.listdir(tmp_path) in ([], FILES.get(module, []))
    assert status == 130 or os.listdir(tmp_path) == FILES.get(module, [])


@pytest.mark.slow
def test_builds_killed_at_random_leave_one_whole_package(tmp_path):
    draw, folder = random.Random(0), tmp_path / "package"
    networks = [Network((2, 10, 10, 10, 10, 1)), Network((2, 2))]
    either = [encoded(render(network)) for network in networks]
    write_package(folder, render(networks[1]))
    for _ in range(12):
        stopped("derive.build", draw.uniform(0, 3), signal.SIGKILL, tmp_path)
        assert state(folder) in either
        write_package(folder, render(networks[1]))
        assert os.listdir(tmp_path) == ["package"]


@needs("pdflatex")
@pytest.mark.slow
def test_a_build_killed_while_pdflatex_runs_leaves_nothing_that_the_next_does_not_clear(tmp_path):
    arguments = [sys.executable, "-m", "derive.build", "--pdf", "--layers", "2-1", "--out", str(tmp_path / "package")]
    process = subprocess.Popen(arguments, cwd=ROOT, start_new_session=True)
    until = time.monotonic() + PATIENCE
    while process.poll() is None and not list(tmp_path.glob(".package.*.unfinished/typeset/derivation.log")):
        assert time.monotonic() < until
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "package").exists() and len(os.listdir(tmp_path)) == 1
    assert build.main(["--layers", "2-1", "--out", str(tmp_path / "package")]) == 0
    assert os.listdir(tmp_path) == ["package"]


def test_a_dat_file_goes_through_a_link_and_not_in_its_place(tmp_path):
    (tmp_path / "there.dat").write_text("old")
    (tmp_path / "link.dat").symlink_to("there.dat")
    dat.write(tmp_path / "link.dat", "new")
    assert (tmp_path / "link.dat").is_symlink() and (tmp_path / "there.dat").read_text() == "new"


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_what_is_no_file_is_not_replaced_by_one(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the name of a socket must be short
    with socket.socket(socket.AF_UNIX) as server:
        os.mkfifo(kind) if kind == "pipe" else server.bind(kind)
        before = os.stat(kind)
        with pytest.raises(OSError, match=r"not a file that can be replaced: ") as refused:
            dat.write(Path(kind), "new")
    assert refused.value.errno == errno.EINVAL and os.stat(kind) == before
