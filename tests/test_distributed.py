"""Several processes on this machine give what one gives; one that dies ends them all and leaves no file."""

import os
import subprocess
import sys
from pathlib import Path

import numpy
import pytest

from generated import dat, run

ROOT = Path(__file__).parent.parent
POINTS = 2 * run.BLOCK + 12_345


def torchrun(processes: int, module: list[str], **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    found = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run([*command, *module], cwd=ROOT, env=found, capture_output=True, text=True, timeout=100)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    assert run.main(["--points", str(POINTS), "--dtype", "float64", "--out", str(folder)]) == 0
    return dat.read(folder / "my_autograd.dat")


def test_blocks_give_what_one_call_gives(alone):
    _, gradient = run.value_and_grad(*run.sample(127, POINTS, run.DTYPES["float64"]))
    for name, r in gradient._asdict().items():
        g = alone[f"dLd{name.lower()}"]
        assert numpy.linalg.norm(g - r.numpy()) <= 1e-12 * numpy.linalg.norm(r.numpy()), name


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3])
def test_the_number_of_processes_does_not_matter(processes, alone, tmp_path):
    options = ["--points", str(POINTS), "--dtype", "float64", "--out", str(tmp_path)]
    done = torchrun(processes, ["-m", "generated.run", *options])
    assert done.returncode == 0, done.stderr
    together = dat.read(tmp_path / "my_autograd.dat")
    assert list(together) == list(alone) and done.stdout.count("wrote") == 1
    for name, r in alone.items():
        assert numpy.linalg.norm(together[name] - r) <= 1e-12 * numpy.linalg.norm(r), name


@pytest.mark.slow
def test_a_process_that_dies_ends_the_job_and_leaves_no_file(tmp_path):
    script = tmp_path / "dies.py"
    script.write_text(
        "import os, sys\nfrom generated import run\n"
        "if os.environ['RANK'] == '1':\n    run.draw = lambda *_: os._exit(3)\n"
        "sys.exit(run.main(sys.argv[1:]))\n"
    )
    out = tmp_path / "out"
    out.mkdir()
    done = torchrun(2, [str(script), "--points", "1000", "--out", str(out)])
    assert done.returncode != 0 and "exitcode  : 3" in done.stderr
    assert list(out.iterdir()) == []
