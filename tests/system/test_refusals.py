"""Commands in odd places and with odd or hostile input: one line that says what would be right, status 2, no trace."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from derive import build
from derive.packages import templates
from derive.packages.emit import render
from derive.problems.network import Network
from derive.problems.settings import LARGEST_FILE
from derive.system.command import LONGEST, content
from generated import run, train, weights

ROOT = Path(__file__).parents[2]
CANARY = "__import__('os').mkdir('canary')"


def refused(capfd, status: int, message: str) -> None:
    """What every refusal has."""
    error = capfd.readouterr().err
    assert status == 2
    assert message in error
    assert error.endswith("\n") and error[:-1].isprintable() and len(error) < LONGEST + 100


SPECS = {
    "UTF-16": ("layers = [2, 1]".encode("utf-16"), "spec.toml: not UTF-8 at byte 0"),
    "carriage returns alone": (b"layers = [2, 1]\rloss = 'mse_loss'\r", "spec.toml:1:16"),
    "a null byte": (b"layers = [2, 1]\0", "spec.toml:1:16"),
    "not a number": (b"layers = [2, nan]", "layers[1]: must be a whole number, got nan"),
    "infinity": (b"layers = [2, inf]", "layers[1]: must be a whole number, got inf"),
    "an infinite activation": (b"activation = inf", "activation: expected a list of names, got inf"),
    "a date": (b"layers = [1979-05-27, 2]", "layers[0]: must be a whole number, got datetime.date(1979, 5, 27)"),
    "27 digits": (b"layers = [2, 999999999999999999999999999]", "layers[1]: must be from 1 to 1000000"),
    "5000 digits": (b"layers = [2, " + b"9" * 5000 + b"]", "spec.toml: a number of too many digits"),
    "text in text": (b"layers = [[2, 1]]", "layers[0]: must be a whole number, got [2, 1]"),
    "no layers": (b"layers = []", "layers: needs an input and an output size"),
    "a table": (b"layers = {a = 1}", "layers[0]: must be a whole number, got 'a'"),
    "both a key and a table": (b"layers = [2, 1]\n[layers]\n", "spec.toml:2:8"),
    "no activations": (b"activation = []", "2 hidden layers but 0 activations"),
    "numbers for activations": (b"activation = [1, 2]", "activation: expected a name or a formula, got 1"),
    "an empty name": (b"reduction = ''", "reduction: no ''; known: sum, mean"),
    "a list for a name": (b"reduction = ['sum']", "reduction: expected a name, got ['sum']"),
    "a key with a line end": (b'"a\\nb" = 1', r"unknown key 'a\nb'; known: layers"),
    "the table of another file": (b"[tool.derive]\nlayers = [2, 1]", "unknown key 'tool'"),
    "brackets without end": (b"x = " + b"[" * 3000, "spec.toml: nested too deeply"),
    "too long": (b"#" * (LARGEST_FILE + 1), f"spec.toml: {LARGEST_FILE + 1} bytes, expected at most {LARGEST_FILE}"),
    "code in a loss": (f'loss = "{CANARY}"'.encode(), "spec.toml: loss: not allowed here"),
    "code in an activation": (f'activation = ["{CANARY}", "tanh"]'.encode(), "activation: not allowed here"),
    "code in a key": (f'"{CANARY}" = 1'.encode(), "unknown key"),
    "TeX": (rb"loss = '\write18{mkdir canary}'", "loss: "),
    "a template": (b"loss = '{{ cycler.__init__.__globals__.os.mkdir(1) }}'", "loss: "),
    "HTML": (b"activation = '<script>z</script>'", "activation: "),
    "a terminal's escape": (b'activation = "\\u001b[31m"', r"plain characters, got '\x1b[31m'"),
}


@pytest.mark.parametrize("case", SPECS)
def test_a_bad_or_hostile_spec_is_refused_and_leaves_no_trace(case, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    content, message = SPECS[case]
    Path("spec.toml").write_bytes(content)
    refused(capfd, build.main(["spec.toml", "--out", "package"]), message)
    assert os.listdir() == ["spec.toml"]


@pytest.mark.parametrize("content", [b"\xef\xbb\xbflayers = [2, 1]\r\n", b"layers = [0x2, 0b1]"], ids=ascii)
def test_a_byte_order_mark_and_any_spelling_of_whole_numbers_are_read(content, tmp_path):
    (tmp_path / "spec.toml").write_bytes(content)
    options = build.arguments([str(tmp_path / "spec.toml")])
    assert build.network_from(options) == Network((2, 1))


def test_a_file_that_cannot_be_read_or_has_more_than_it_says_is_named():
    with pytest.raises(OSError, match="Input/output error: '/proc/self/mem'"):
        content(Path("/proc/self/mem"), 100)
    with pytest.raises(ValueError, match="/proc/self/maps: 101 bytes, expected at most 100"):
        content(Path("/proc/self/maps"), 100)


PLACES: dict[str, tuple[Callable[[], object], list[str], str]] = {
    "a pipe for a spec": (lambda: os.mkfifo("spec"), ["spec"], "spec: not a file"),
    "a device for a spec": (lambda: None, ["/dev/zero"], "/dev/zero: not a file"),
    "a spec that links to itself": (lambda: os.symlink("spec", "spec"), ["spec"], "spec: Too many levels"),
    "a spec that links to nothing": (lambda: os.symlink("none", "spec"), ["spec"], "spec: no such file; expected TOML"),
    "an endless name for a spec": (lambda: None, ["s" * 5000], "sss: File name too long"),
    "no name for a spec": (lambda: None, [""], "expected a path, got ''"),
    "a pipe": (lambda: os.mkfifo("package"), ["--out", "package"], "package: Not a directory"),
    "a link to itself": (lambda: os.symlink("package", "package"), ["--out", "package"], "package: Too many levels"),
    "a file on the way": (lambda: Path("f").touch(), ["--out", "f/package"], "f: Not a directory"),
    "an endless name": (lambda: None, ["--out", "p" * 300], "ppp: File name too long"),
    "two lines": (lambda: None, ["--out", "a\nb"], r"'a\nb' cannot be imported"),
    "a surrogate": (lambda: None, ["--out", "\udcff"], r"'\udcff' cannot be imported"),
    "here": (lambda: None, ["--out", "."], "is or holds the current directory"),
    "above": (lambda: None, ["--out", ".."], "is or holds the current directory"),
    "the root": (lambda: None, ["--out", "/"], "/ is a file system of its own"),
    "the processes": (lambda: None, ["--out", "/proc/package"], "/proc/package: No such file or directory"),
    "a name that is taken": (lambda: None, ["--out", "torch"], "a package called torch would hide the module"),
    "a folder for a module": (lambda: os.makedirs("p/backward.py"), ["--out", "p"], "backward.py: not written by"),
    "a link for a module": (
        lambda: (os.mkdir("p"), os.symlink("/etc/passwd", "p/backward.py")),
        ["--out", "p"],
        "backward.py: not written by derive.build",
    ),
    "a pipe for a module": (
        lambda: (os.mkdir("p"), os.mkfifo("p/backward.py")),
        ["--out", "p"],
        "backward.py: not written by derive.build",
    ),
    "a check of a file": (lambda: Path("p").touch(), ["--check", "--out", "p"], "p: Not a directory"),
}


def listing() -> list[tuple[str, int]]:
    return sorted((str(path), path.lstat().st_mode) for path in Path().rglob("*"))


@pytest.mark.parametrize("case", PLACES)
def test_what_is_no_place_or_no_spec_is_refused_and_stays(case, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    make, arguments, message = PLACES[case]
    make()
    before = listing()
    try:
        status = build.main(["--layers", "2-1", *arguments])
    except SystemExit as ended:
        status = ended.code
    refused(capfd, status, message)
    assert listing() == before


def test_a_check_names_files_in_one_line_each_and_says_what_to_do(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert build.main(["--layers", "2-1", "--check", "--out", "a\nb"]) == 1
    *files, differ, first, second = capfd.readouterr().out.splitlines()
    assert files == [rf"{tmp_path}/a\nb/{name}: missing" for name in render(Network((2, 1)))]
    assert differ == rf"{len(files)} of the files in {tmp_path}/a\nb differ; this mends it:"
    assert [first, second] == ["python -m derive.build --layers 2-1 --out 'a", "b'"]


ARGUMENTS = {"derive.build": ["--layers", "2-1", "--out", "package"], "derive.prove": [], "generated.run": []}
MADE = {"derive.build": ["package"], "derive.prove": [], "generated.run": ["my_autograd.dat"]}


def shell(script: str, folder: Path, module: str, *flags: str, **variables: str) -> subprocess.CompletedProcess:
    """A command as "$@" of a shell script."""
    command = [sys.executable, *flags, "-m", module, *ARGUMENTS[module]]
    if module == "derive.prove":
        command.append(str(folder / "package"))
        build.write_package(folder / "package", render(Network((1, 1))))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    environment.pop("PYTHONUNBUFFERED", None)
    words = ["sh", "-c", script, "sh", *command]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, env=environment)


FINE = {
    "standard output closed": ('"$@" >&-', {}),
    "standard error closed": ('"$@" 2>&-', {}),
    "all closed": ('"$@" <&- >&- 2>&-', {}),
    "standard error full": ('"$@" 2>/dev/full', {}),
    "no HOME and no PATH": ('unset HOME PATH USER; "$@"', {}),
    "ASCII": ('"$@"', {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}),
    "no such locale": ('"$@"', {"LC_ALL": "xx_YY.none"}),
    "no folder for what is temporary": ('"$@"', {"TMPDIR": "/nonexistent"}),
    "without docstrings": ('"$@"', {"PYTHONOPTIMIZE": "2"}),
    "few open files": ('ulimit -n 16; "$@"', {}),
    "the bytes of others": ('touch .package.x.unfinished; mkdir .package.y.unfinished; "$@"; rm -rf .package*', {}),
}


@pytest.mark.slow
@pytest.mark.parametrize("module", ARGUMENTS)
@pytest.mark.parametrize("case", FINE)
def test_a_command_works_in_odd_circumstances(case, module, tmp_path):
    script, variables = FINE[case]
    done = shell(script, tmp_path, module, **variables)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(os.listdir(tmp_path)) == (MADE[module] or ["package"])


SAID = {
    "a full disk for what it prints": ('"$@" >/dev/full', "standard output: No space left on device\n", 2),
    "a full disk for its help": ('"$@" --help >/dev/full', "standard output: No space left on device\n", 2),
    "a reader who leaves": ('("$@"; echo $? >&2) | true', "141\n", 0),
    "more than it takes": ('"$@" --nope', "unrecognized arguments: --nope\n", 2),
    "two lines": ('"$@" "--a\nb"', "unrecognized arguments: --a\\nb\n", 2),
    "no letter": ('"$@" "$(printf "\\377")x"', r"\udcffx", 2),
    "no end": ('"$@" "$(head -c 100000 /dev/zero | tr "\\0" a)"', "aaa...aaa", 2),
}


@pytest.mark.slow
@pytest.mark.parametrize("module", ARGUMENTS)
@pytest.mark.parametrize("case", SAID)
def test_a_command_says_what_is_wrong_in_one_line(case, module, tmp_path):
    script, message, status = SAID[case]
    done = shell(script, tmp_path, module)
    assert done.returncode == status
    assert message in done.stderr and done.stderr.count("\n") == 1 and len(done.stderr) < LONGEST + 100


@pytest.mark.slow
@pytest.mark.parametrize("module", ["derive.build", "generated.run"])
def test_a_folder_that_is_gone_is_named(module, tmp_path):
    done = shell('mkdir gone; cd gone; rmdir ../gone; "$@"', tmp_path, module)
    assert done.returncode == 2 and "the current directory is gone" in done.stderr and done.stderr.count("\n") == 1
    assert os.listdir(tmp_path) == []


def test_hostile_neighbours_of_the_current_folder_are_not_imported(tmp_path):
    for name in ("templates", "generated", "derive"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(CANARY)
        (tmp_path / name / "backward.py.j2").write_text("{{ cycler.__init__.__globals__.os.mkdir('canary') }}")
    (tmp_path / "ast.py").write_text(CANARY)
    done = shell('"$@"', tmp_path, "derive.build", "-P")
    assert (done.returncode, done.stderr) == (0, "")
    assert not (tmp_path / "canary").exists() and "{{" not in (tmp_path / "package" / "backward.py").read_text()


@pytest.mark.parametrize(
    "name", ["-w.pt", "$(mkdir canary).pt", "a b\n.pt", os.fsdecode("späť.pt".encode()), "\udcff.pt"], ids=ascii
)
def test_a_file_may_have_any_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parameters = run.sample(1, 1, torch.float64)[0]
    weights.save(Path(name), parameters)
    assert os.listdir() == [name]
    assert all(map(torch.equal, parameters, weights.load(Path(name), torch.float64)))


BEFORE = {
    "links to one file": (lambda: os.symlink("my_autograd.dat", "torch_autograd.dat"), "are links to one file"),
    "a folder for the second file": (lambda: os.mkdir("torch_autograd.dat"), "torch_autograd.dat: Is a directory"),
    "a link to itself": (lambda: os.symlink("my_autograd.dat", "my_autograd.dat"), "my_autograd.dat: Too many levels"),
}


@pytest.mark.parametrize("case", BEFORE)
def test_a_run_writes_both_files_or_none(case, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    make, message = BEFORE[case]
    make()
    before = listing()
    refused(capfd, run.main(["--compare"]), message)
    assert listing() == before


TEMPLATES = {
    "missing": (Path.unlink, "templates/dat.py.j2: no such template"),
    "with a hole that nothing fills": (
        lambda path: path.write_text("{{ netwrk }}"),
        "templates/dat.py.j2: 'netwrk' is undefined; a hole is one of: ",
    ),
    "unfinished": (lambda path: path.write_text("x = 1\n{% for"), "templates/dat.py.j2:2: "),
    "without Python": (lambda path: path.write_text("x = 1\nx = = 2\n"), "dat.py:2: no Python: invalid syntax"),
    "with a null byte": (lambda path: path.write_text("x = 1\0"), "dat.py:1: no Python: source code"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "dat.py.j2: no such template"),
}


@pytest.mark.parametrize("case", TEMPLATES)
def test_a_bad_template_is_named_and_the_package_stays(case, tmp_path, monkeypatch, capfd):
    damage, message = TEMPLATES[case]
    monkeypatch.setattr(templates, "TEMPLATES", shutil.copytree(templates.TEMPLATES, tmp_path / "templates"))
    arguments = ["--layers", "1-1", "--out", str(tmp_path / "package")]
    assert build.main(arguments) == 0
    damage(tmp_path / "templates" / "dat.py.j2")
    capfd.readouterr()
    refused(capfd, build.main(arguments), message)
    monkeypatch.undo()
    assert build.main([*arguments, "--check"]) == 0


@pytest.mark.parametrize("device", ["cuda:99", "tpu", "", "cpu:0", "meta", "CPU", CANARY])
@pytest.mark.parametrize("command", [run, train], ids=["run", "train"])
def test_a_device_that_is_not_there_is_named_beside_those_that_are(command, device, capfd):
    with pytest.raises(SystemExit) as ended:
        command.main(["--device", device])
    refused(capfd, ended.value.code, f"argument --device: torch sees cpu{', cuda:0' * torch.cuda.is_available()}")


@pytest.mark.parametrize("name", ["\ufb01ne", "class"])
def test_a_name_that_an_import_reads_otherwise_is_warned_of(name, tmp_path, capsys):
    assert build.main(["--layers", "1-1", "--out", str(tmp_path / name)]) == 0
    assert f"--out: {name!r} is no Python name" in capsys.readouterr().err
