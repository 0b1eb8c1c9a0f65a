"""Programs that a test starts or needs, and how long it waits for one on a busy machine."""

import os
import shutil

import pytest

PATIENCE = 600  # seconds after which a program hangs


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skips where a program is missing, but not in CI, where the test then fails."""
    missing = [program for program in programs if shutil.which(program) is None]
    return pytest.mark.skipif(bool(missing) and "CI" not in os.environ, reason=f"not installed: {', '.join(missing)}")
