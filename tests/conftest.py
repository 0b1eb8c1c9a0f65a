"""Packages emitted for the tests, imported as a user would import them."""

import importlib
import itertools
import os
import signal
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: the workers share the cores

import torch

from derive.packages.emit import TARGETS, render
from derive.problems.network import Network

signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background a shell has it ignored, and children too


@pytest.fixture(autouse=True)
def seeded():
    """Each test draws the same numbers, whichever tests ran before it in its process."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def emitted(tmp_path_factory):
    """A function from a network to a module of its package: that of the default network is the one that lies here.

    Of other networks each file is written once, when it is first needed.
    """
    root = tmp_path_factory.mktemp("emitted")
    sys.path.insert(0, str(root))
    numbers = itertools.count()

    @cache
    def folder(network: Network) -> Path:
        path = root / f"package{next(numbers)}"
        path.mkdir()
        return path

    @cache
    def module(network: Network, name: str = "backward") -> ModuleType:
        if network == Network():
            return importlib.import_module(f"generated.{name}")
        path = folder(network)
        others = [target for target in TARGETS if target.endswith(".py")] if name not in ("backward", "fast") else []
        needed = {"__init__.py", "backward.py", f"{name}.py", *others}
        missing = [target for target in needed if not (path / target).exists()]
        for target, text in render(network, missing).items():
            (path / target).write_text(text, encoding="utf-8")
        importlib.invalidate_caches()
        return importlib.import_module(f"{path.name}.{name}")

    yield module
    sys.path.remove(str(root))
