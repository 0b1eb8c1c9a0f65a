"""The same circumstances for each test, on any machine and in any order, and packages emitted for the tests."""

import hashlib
import importlib
import locale
import os
import random
import re
import signal
import sys
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import ModuleType

import mpmath
import numpy
import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: the workers share the cores

import torch

from derive.packages.emit import TARGETS, render
from derive.problems.network import Network

# Tests and what they start see these variables of the shell, and no rank, locale, proxy, terminal or option of Python.
PLACES = r"PATH|HOME|USER|CI|STRIDE|TE?MP(DIR)?|LD_\w+|DYLD_\w+|PYTHON(PATH|HOME|DONTWRITEBYTECODE)|PYTEST_\w+"
PROCESSORS = r"\w+_NUM_THREADS|(ATEN|MKL|DNNL|ONEDNN|CUDA)_\w+"
for variable in [name for name in os.environ if not re.fullmatch(f"{PLACES}|{PROCESSORS}", name)]:
    del os.environ[variable]
os.environ |= {"LC_ALL": "C.UTF-8", "TZ": "UTC"}
with suppress(locale.Error):
    locale.setlocale(locale.LC_ALL, "")  # torch reads its own sources by the locale
time.tzset()
os.umask(0o022)
signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background a shell has it ignored, and children too


def circumstances() -> dict[str, object]:
    """What a test finds and must leave: state of the process that others depend on."""
    return {
        "folder": os.getcwd(),
        "variables": {n: text for n, text in os.environ.items() if not re.match("MPL|PYTEST|TORCH|TRITON", n)},
        "path": list(sys.path),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGALRM, signal.SIGXFSZ)],
        "profiler": (sys.getprofile(), sys.gettrace()),
        "recursion": sys.getrecursionlimit(),
        "locale": locale.setlocale(locale.LC_ALL),
        "digits": mpmath.mp.prec,
        "printing": numpy.get_printoptions(),
        "numbers": (torch.get_default_dtype(), torch.get_default_device(), torch.get_num_threads()),
        "autograd": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")),
        "process group": torch.distributed.is_initialized(),
    }


@pytest.fixture(autouse=True)
def alike():
    """Each test draws the same numbers, whichever tests ran before it in its process, and leaves it as it was."""
    before = circumstances()
    random.seed(0)
    numpy.random.seed(0)
    torch.manual_seed(0)
    yield
    assert circumstances() == before


@pytest.fixture(scope="session")
def of_all(tmp_path_factory):
    """The folder that the tests of one run, in all processes, have in common."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session", autouse=True)
def libraries(of_all):
    """Libraries are compiled once, and in a hurry."""
    os.environ["XDG_CACHE_HOME"] = str(of_all / "cache")
    os.environ["CFLAGS"] = "-O1"


@pytest.fixture(scope="session")
def emitted(of_all):
    """A function from a network to a module of its package: that of the default network is the one that lies here.

    Of other networks each file is written once, when it is first needed, whichever process needs it.
    """
    root = of_all / "emitted"
    root.mkdir(exist_ok=True)
    sys.path.insert(0, str(root))

    def folder(network: Network) -> Path:
        path = root / f"package_{hashlib.sha256(repr(network).encode()).hexdigest()[:16]}"
        path.mkdir(exist_ok=True)
        return path

    @cache
    def module(network: Network, name: str = "backward") -> ModuleType:
        if network == Network():
            return importlib.import_module(f"generated.{name}")
        path = folder(network)
        others = (
            [target for target in TARGETS if target.endswith((".py", ".c", ".h"))]
            if name not in ("backward", "fast")
            else []
        )
        needed = {"__init__.py", "backward.py", f"{name}.py", *others}
        missing = [target for target in needed if not (path / target).exists()]
        for target, text in (render(network, missing) if missing else {}).items():
            own = path / f"{target}.{os.getpid()}"
            own.write_text(text, encoding="utf-8")
            own.replace(path / target)  # at once, as another process may read it
        importlib.invalidate_caches()
        return importlib.import_module(f"{path.name}.{name}")

    yield module
    sys.path.remove(str(root))
