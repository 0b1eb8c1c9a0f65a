"""What is proved and checked is what Python imports: nothing lies in the folder that it would run instead."""

import importlib.util
import os
import py_compile
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from derive import build, prove
from derive.packages.emit import TARGETS, render
from derive.problems.network import Network

SMALL = Network((1, 1))
LIE = "delta1 = 2 * (z1 - y)", "delta1 = 7 * (z1 - y)"


@pytest.fixture(scope="module")
def files():
    return render(SMALL)


@pytest.fixture
def folder(files, tmp_path):
    build.write_package(tmp_path / "package", files)
    return tmp_path / "package"


def compiled(folder: Path, mode: py_compile.PycInvalidationMode, level: int = -1) -> None:
    """A compiled backward.py of another source, which Python takes to be that of the source there."""
    path, true = folder / "backward.py", (folder / "backward.py").read_text()
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    path.write_text(true.replace(*LIE))
    os.utime(path, ns=times)
    made = Path(py_compile.compile(str(path), invalidation_mode=mode, optimize=level))
    path.write_text(true)
    os.utime(path, ns=times)
    if mode is py_compile.PycInvalidationMode.CHECKED_HASH:
        content = bytearray(made.read_bytes())
        content[8:16] = importlib.util.source_hash(true.encode())
        made.write_bytes(content)


def package_over_module(folder):
    (folder / "backward").mkdir()
    (folder / "backward" / "__init__.py").write_text("")


def extension_over_module(folder):
    (folder / f"fast{EXTENSION_SUFFIXES[0]}").write_bytes(b"")


def extension_over_package(folder):
    (folder / f"__init__{EXTENSION_SUFFIXES[-1]}").write_bytes(b"")


def compiled_without_source(folder):
    py_compile.compile(str(folder / "fast.py"), cfile=str(folder / "fast.pyc"))
    (folder / "fast.py").unlink()


def another_python(folder):
    made = folder / "__pycache__" / "fast.cpython-399.pyc"
    made.parent.mkdir()
    made.write_bytes(bytes([0, 0, 13, 10, 1, 0, 0, 0]) + bytes(100))


def cookie(folder):
    path = folder / "backward.py"
    path.write_text(f"# coding: raw_unicode_escape\n{path.read_text()}# \\u000atorch.square = None\n")


MODES = py_compile.PycInvalidationMode
FOREIGN = {
    "package": (package_over_module, "backward/__init__.py: Python would import it in the place of backward.py"),
    "extension": (extension_over_module, "in the place of fast.py"),
    "extension of the package": (extension_over_package, "in the place of __init__.py"),
    "compiled without source": (compiled_without_source, "fast.pyc: Python would import it in the place of fast.py"),
    "another python": (another_python, "fast.cpython-399.pyc: Python would run it in the place of fast.py"),
    "cookie": (cookie, "backward.py: Python would read it as raw-unicode-escape; a source is UTF-8"),
    **{
        f"{mode.name} {level}": (
            lambda folder, mode=mode, level=level: compiled(folder, mode, level),
            "pyc: Python would run it in the place of backward.py, whose source it is not",
        )
        for mode in MODES
        for level in (0, 1, 2)
    },
}


@pytest.mark.parametrize("case", FOREIGN)
def test_what_python_would_run_in_the_place_of_a_source_is_refused(case, folder, capsys):
    make, message = FOREIGN[case]
    make(folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert prove.main([str(folder)]) == 1
    said = capsys.readouterr().err
    assert said.startswith("NOT proved: ") and message in said and said.count("\n") == 1
    assert build.main(["--check", "--layers", "1-1", "--out", str(folder)]) == 1
    assert message in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_what_python_itself_compiles_is_no_reason_to_refuse(folder, capsys):
    for mode in MODES:
        for level in (0, 1, 2):
            py_compile.compile(str(folder / "backward.py"), invalidation_mode=mode, optimize=level)
    path = folder / "fast.py"
    py_compile.compile(str(path))
    path.write_text(path.read_text() + "\n")  # and so what is compiled is old
    for name in ("data", "fast_data"):
        (folder / name).mkdir()
    assert prove.main([str(folder)]) == 0
    path.write_text(path.read_text()[:-1])
    assert build.main(["--check", "--layers", "1-1", "--out", str(folder)]) == 0, capsys.readouterr().out


@pytest.mark.parametrize("name", ["torch", "functools", "ctypes"])
def test_what_torch_or_a_module_of_the_standard_library_is_called_is_refused_beside_the_package(name, folder, capsys):
    (folder.parent / f"{name}.py").write_text("")
    assert prove.main([str(folder)]) == 1
    assert f"{name}.py: Python would import it in the place of {name}; rename it" in capsys.readouterr().err


def test_what_is_compiled_is_looked_for_where_python_puts_it_by_itself(folder, capsys, monkeypatch, tmp_path):
    compiled(folder, MODES.TIMESTAMP)
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path / "elsewhere"))
    assert prove.main([str(folder)]) == 1
    assert "pyc: Python would run it in the place of backward.py" in capsys.readouterr().err


INITS = ["import torch\ntorch.square = abs\n", '"""A package."""\n__all__ = []\n', "=", None]


@pytest.mark.parametrize("text", INITS, ids=range(len(INITS)))
def test_an_init_that_does_anything_is_refused(text, folder, capsys):
    path = folder / "__init__.py"
    path.unlink() if text is None else path.write_text(text)
    assert prove.main([str(folder)]) == 1
    assert "__init__.py: no such file" if text is None else "__init__.py: holds more" in capsys.readouterr().err


MODULES = sorted(name for name in TARGETS if name.endswith(".py") and name not in ("__init__.py", "backward.py"))


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_word_for_word_what_is_emitted(name, folder, capsys):
    path = folder / name
    path.write_text(f"{path.read_text()}\n\ndel print\n")
    assert prove.main([str(folder)]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"NOT proved: {path}:") and said.count("\n") == 1


def test_of_a_module_that_is_of_no_build_nothing_is_said_to_be_shown(folder, capsys):
    (folder / "notes.py").write_bytes(b"\xef\xbb\xbfanswer = 42\n")
    assert prove.main([str(folder)]) == 0
    assert "\nnotes.py:\n    not of the build, and nothing is shown of it\n" in capsys.readouterr().out


OTHERS = [
    'NETWORK["reduction"] = "mean"',
    "NETWORK = dict(NETWORK)",
    "del NETWORK",
    "def NETWORK(): ...",
    "NETWORK |= {}",
]


@pytest.mark.parametrize("line", OTHERS)
def test_a_package_says_once_what_its_network_is(line, folder, capsys):
    path = folder / "backward.py"
    path.write_text(f"{path.read_text()}\n\n{line}\n")
    assert prove.main([str(folder)]) == 1
    assert "the template has no such line" in capsys.readouterr().err


def test_the_check_sees_the_ends_of_lines(folder, capsys):
    path = folder / "backward.py"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert build.main(["--check", "--layers", "1-1", "--out", str(folder)]) == 1
    assert "backward.py: stale or edited" in capsys.readouterr().out
