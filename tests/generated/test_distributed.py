"""Several processes on this machine give what one gives; one that dies ends them all and leaves no file."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from generated import dat, run, weights
from tests.helpers.gate import assert_agree, relative
from tests.helpers.programs import torchrun

ROOT = Path(__file__).parents[2]
POINTS = 2 * run.BLOCK + 12_345


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    assert run.main(["--points", str(POINTS), "--dtype", "float64", "--out", str(folder)]) == 0
    return dat.read(folder / "my_autograd.dat")


def test_blocks_give_what_one_call_gives(alone):
    _, gradient = run.value_and_grad(*run.sample(127, POINTS, run.DTYPES["float64"]))
    for name, r in gradient._asdict().items():
        g = alone[f"dLd{name.lower()}"]
        assert relative(torch.from_numpy(g), r) <= 1e-12, name


@pytest.mark.parametrize("processes", [2, 3])
def test_the_number_of_processes_does_not_matter(processes, alone, tmp_path):
    options = ["--points", str(POINTS), "--dtype", "float64", "--out", str(tmp_path)]
    done = torchrun(processes, ["-m", "generated.run", *options])
    assert done.returncode == 0, done.stderr
    together = dat.read(tmp_path / "my_autograd.dat")
    assert list(together) == list(alone) and done.stdout.count("wrote") == 1
    for name, r in alone.items():
        assert relative(torch.from_numpy(together[name]), torch.from_numpy(r)) <= 1e-12, name


TRAINING = ["--epochs", "3", "--points", "103", "--batch", "16", "--dtype", "float64"]


@pytest.mark.parametrize("processes", [pytest.param(2, marks=pytest.mark.slow), 3])
def test_training_gives_the_same_weights_for_any_number_of_processes(processes, tmp_path):
    """A batch of 16 and a last one of 7 divide by neither; the sum over processes rounds otherwise, no more."""
    found = []
    for name, start in (("alone", lambda module: module_run(module)), ("spread", lambda m: torchrun(processes, m))):
        done = start(["-m", "generated.train", *TRAINING, "--out", str(tmp_path / f"{name}.pt")])
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("wrote") == done.stdout.count("in the last") == 1
        found.append(weights.load(tmp_path / f"{name}.pt", torch.float64))
    assert_agree(*found, times=1e4)


@pytest.mark.parametrize("name", ["run", "train"])
def test_no_thread_of_the_group_outlives_the_command(name, tmp_path):
    """One that still frees a tensor while Python ends would abort the process, now and then."""
    script = tmp_path / "watched.py"
    script.write_text(
        "import sys, weakref\nimport torch.distributed as distributed\nfrom generated import run, train\n"
        "groups, end = [], distributed.destroy_process_group\n"
        "distributed.destroy_process_group = lambda: (groups.append(weakref.ref(distributed.group.WORLD)), end())\n"
        f"assert {name}.main(sys.argv[1:]) == 0\nassert len(groups) == 1 and groups[0]() is None\n"
    )
    options = TRAINING if name == "train" else ["--points", "100"]
    done = torchrun(1, [str(script), *options, "--out", str(tmp_path / "w.pt" if name == "train" else tmp_path)])
    assert done.returncode == 0, done.stderr


def module_run(module: list[str]) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *module], cwd=ROOT, capture_output=True, text=True)


DEATHS = {
    "before the first point": ("run", "run.draw = lambda *_: os._exit(3)", "exitcode  : 3", ["--points", "1000"]),
    "in the second epoch": (
        "train",
        "real = train.step_gradient\n"
        "    calls = iter(range(100))\n"
        "    train.step_gradient = lambda *a: os.kill(os.getpid(), 9) if next(calls) == 9 else real(*a)",
        "exitcode  : -9",
        TRAINING,
    ),
}


@pytest.mark.parametrize("when", DEATHS)
def test_a_process_that_dies_ends_the_job_and_leaves_no_file(when, tmp_path):
    name, death, message, options = DEATHS[when]
    script, out = tmp_path / "dies.py", tmp_path / "out"
    script.write_text(
        f"import os, sys\nfrom generated import run, train\nif os.environ['RANK'] == '1':\n    {death}\n"
        f"sys.exit({name}.main(sys.argv[1:]))\n"
    )
    out.mkdir()
    done = torchrun(2, [str(script), *options, "--out", str(out if name == "run" else out / "w.pt")])
    assert done.returncode != 0 and message in done.stderr
    assert list(out.iterdir()) == []


def test_bad_usage_is_said_once_whatever_the_number_of_processes():
    done = torchrun(2, ["-m", "generated.run", "--points", "0"])
    assert done.returncode != 0 and done.stderr.count("expected a whole number") == 1
