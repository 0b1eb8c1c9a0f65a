"""python -m derive: lists what there is, and runs it."""

import ast
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from derive import __main__ as front

ROOT = Path(__file__).parents[2]
system_version = sys.modules["derive.system.version"]


def test_every_command_is_listed(capsys):
    """A command is a module of derive that ends with `finish(main)`."""
    commands = {
        path.stem
        for path in (ROOT / "derive").glob("[!_]*.py")
        if any("finish(main)" in ast.unparse(node) for node in ast.parse(path.read_text(encoding="utf-8")).body)
    }
    assert commands == set(front.COMMANDS)
    assert front.main([]) == front.main(["--help"]) == 0
    listed = capsys.readouterr().out
    assert all(listed.count(f"  python -m derive.{name} ") == 2 for name in commands)


def test_the_version_is_the_projects(capsys, monkeypatch, tmp_path):
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert front.main(["--version"]) == 0
    assert capsys.readouterr().out == f"derive {version}\n"
    monkeypatch.setattr(system_version, "__file__", str(tmp_path / "derive" / "system" / "version.py"))
    monkeypatch.setattr(metadata, "version", lambda name: {"derived-gradients": "1.2.3"}[name])
    assert system_version.version() == "1.2.3"
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", front.COMMANDS)
def test_each_command_says_the_version(command, capsys):
    with pytest.raises(SystemExit) as ended:
        front.main([command, "--version"])
    assert ended.value.code == 0
    assert front.main(["--version"]) == 0
    one, other = capsys.readouterr().out.splitlines()
    assert one == other


@pytest.mark.parametrize("command", front.COMMANDS)
def test_the_help_of_a_command_says_what_it_does_and_an_example_stands_alone(command, capsys):
    with pytest.raises(SystemExit) as ended:
        front.main([command, "--help"])
    shown = [" ".join(part.split()) for part in capsys.readouterr().out.split("\n\n")]
    said = [" ".join(part.split()) for part in sys.modules[f"derive.{command}"].__doc__.split("\n\n")]
    assert (
        ended.value.code == 0
        and shown[0].startswith(f"usage: python -m derive.{command} [-h]")
        and said == shown[1 : 1 + len(said)]
    )


def test_a_command_gets_what_follows_its_name(capsys):
    with pytest.raises(SystemExit) as ended:
        front.main(["build", "--layers"])
    assert ended.value.code == 2 and "--layers: expected one argument" in capsys.readouterr().err


def test_an_unknown_command_is_named_with_those_that_are_known(capsys):
    assert front.main(["biuld"]) == 2
    known = "audit, build, diagnose, exercise, gradient, module, prove"
    assert capsys.readouterr().err == f"python -m derive: no command 'biuld'; there are {known}\n"
