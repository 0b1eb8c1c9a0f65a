"""Each command of the README does what stands beside it."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from derive import build
from tests.helpers.programs import PATIENCE, ROOT

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
TABLE = TEXT[TEXT.index("| you have |") : TEXT.index("Settings can stand")]
COMMANDS = re.findall(r"`((?:derive|mine|torchrun)[^`]*)`", TABLE)
FILES = {
    "own.toml": "W1 = [[1, 2, 3], [4, 5, 6], [7, 8, 9], [1, 2, 3]]\nx = [1, 2, 3]\ny = [0.5, 0.5]\n",
    "theirs.dat": "dLdb3\n[1, 2]\n",
    "layers.py": (
        "import torch\n\n\n"
        "class Norm(torch.nn.LayerNorm):\n"
        "    def __init__(self):\n"
        "        super().__init__(4)\n\n"
        "    def forward(self, x):\n"
        "        return super().forward(x)\n"
    ),
    "my_backward.py": (
        "def backward(G, x, weight, bias):\n"
        "    d = x - x.mean(-1, keepdim=True)\n"
        "    r = (d.square().mean(-1, keepdim=True) + 1e-5).rsqrt()\n"
        "    h, g = d * r, G * weight\n"
        "    dx = r * (g - g.mean(-1, keepdim=True) - h * (g * h).mean(-1, keepdim=True))\n"
        "    return dx, (G * h).sum((0, 1)), G.sum((0, 1))\n"
    ),
}
FIRST = re.findall(r"^    python -m ([^#]*?) +#", TEXT, re.M)  # those of the first screen


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("readme")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    (build_mine,) = (command for command in COMMANDS if command.endswith("--out mine") and "--check" not in command)
    assert build.main([*shlex.split(build_mine)[1:-1], str(folder / "mine")]) == 0
    return folder


def test_there_are_commands_for_each_row():
    assert len(COMMANDS) == 16


def test_the_figures_are_those_of_the_benchmark():
    """Each ratio of the table, as it is rounded, in the row of benchmark.md that it is of."""
    measured = (ROOT / "tests/tools/benchmark.md").read_text(encoding="utf-8")
    ratios = {
        (n, peer): float(x) for n, peer, x in re.findall(r"\| float32 N=(\d+) \| ([^|]+) \| ([\d.]+) \|", measured)
    }
    table = TEXT[TEXT.index("Time over the time of") : TEXT.index("`backward.py` is for reading")]
    head, _, *rows = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("|")]
    sizes = [size.replace("N =", "").replace(",", "").strip() for size in head[1:]]
    assert len(rows) == 5
    for peer, *shown in rows:
        for size, ratio in zip(sizes, shown, strict=True):
            assert float(ratio) == pytest.approx(ratios[size, peer.strip()], rel=0.05), (peer, size)


def test_it_is_short_and_the_files_that_it_leads_to_are_there():
    assert len(TEXT.splitlines()) <= 150
    for page in (ROOT / "README.md", ROOT / "derive" / "README.md"):
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)|src=\"([^\"]+)\"", page.read_text(encoding="utf-8")):
            assert (page.parent / "".join(target)).is_file(), target


@pytest.mark.slow
@pytest.mark.parametrize("command", [*COMMANDS, *FIRST])
def test_each_command_works(command, folder):
    words = shlex.split(command.replace("10000000", "1000"))
    if words[0] == "torchrun":
        words = ["torch.distributed.run", "--standalone", *words[1:]]
    found = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert found.returncode == ("theirs.dat" in words), found.stderr  # which is wrong
    assert "Traceback" not in found.stderr
