"""Programs that a test starts or needs, and how long it waits for one on a busy machine."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE = 600  # seconds after which a program hangs


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skips where a program is missing, but not in CI, where the test then fails."""
    missing = [program for program in programs if shutil.which(program) is None]
    return pytest.mark.skipif(bool(missing) and "CI" not in os.environ, reason=f"not installed: {', '.join(missing)}")


def torchrun(processes: int, module: list[str], **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    found = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run([*command, *module], cwd=ROOT, env=found, capture_output=True, text=True, timeout=PATIENCE)
