"""Packages emitted for the tests, imported as a user would import them."""

import importlib
import itertools
import sys
from functools import cache
from types import ModuleType

import pytest

from derive.build import write_package
from derive.emit import render
from derive.network import Network


@pytest.fixture(scope="session")
def emitted(tmp_path_factory):
    """A function from a network to its imported package; each package is built once."""
    root = tmp_path_factory.mktemp("emitted")
    sys.path.insert(0, str(root))
    numbers = itertools.count()

    @cache
    def package(network: Network, module: str = "backward") -> ModuleType:
        name = f"package{next(numbers)}" if module == "" else package(network, "").__name__
        if module == "":
            write_package(root / name, render(network))
            return importlib.import_module(name)
        return importlib.import_module(f"{name}.{module}")

    yield package
    sys.path.remove(str(root))
