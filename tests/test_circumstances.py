"""What conftest gives to every test: the same numbers and surroundings, and the name of a test that changes them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
TESTS = """
import os, random, numpy, pytest, torch

DRAWN = set()


@pytest.mark.parametrize("number", range(3))
def test_draws(number):
    DRAWN.add((random.random(), numpy.random.random(), torch.rand(()).item()))
    assert len(DRAWN) == 1


def test_sees():
    assert not {"RANK", "COLUMNS", "PYTHONWARNINGS"} & os.environ.keys()
    assert open(os.devnull).encoding.lower() == "utf-8"


def test_leaves_a_variable():
    os.environ["LEFT"] = "1"


def test_leaves_a_type():
    torch.set_default_dtype(torch.float64)


def test_leaves_nothing(monkeypatch):
    monkeypatch.setenv("RANK", "1")
"""
SHELL = {"RANK": "1", "COLUMNS": "20", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONWARNINGS": "ignore"}


def test_no_test_sees_the_shell_or_another_test(tmp_path):
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    (tmp_path / "test_a.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", "-c", os.devnull, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **SHELL}, capture_output=True, text=True)
    marked = [line for line in done.stdout.splitlines() if line.startswith(("ERROR ", "FAILED "))]
    said = [line.partition("::")[2].partition(" ")[0] for line in marked]  # where CI is set, the reason follows
    assert said == ["test_leaves_a_variable", "test_leaves_a_type"], done.stdout
