"""What the commands have in common, in derive and in an emitted package: how they end, and what they say of errors."""

import errno
import io
import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

import pytest

from derive.system import command
from generated import command as emitted

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.parametrize("module", [command, emitted], ids=["derive", "generated"])
ERRORS = {
    "what torch says for its own people is left out": (RuntimeError("size 3\nException raised from f"), "size 3"),
    "the path first": (FileNotFoundError(errno.ENOENT, "No such file", "w.pt"), "w.pt: No such file"),
    "no path": (OSError(errno.ENOSPC, "No space left"), "No space left"),
    "of a tree of files": (OSError([("a", "b", "a: denied"), ("c", "d", "c: denied")]), "a: denied"),
    "lines of others stay": (ValueError("a\nb"), "a\nb"),
    "nothing": (MemoryError(), "MemoryError"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_an_error_is_described_by_what_it_says(case, module):
    error, text = ERRORS[case]
    assert module.described(error) == text


def ended(module, main: str, stdout: int, *options: str) -> tuple[int, str]:
    """Status and errors of a command whose main is this."""
    script = f"from {module.__name__} import Parser, finish\nfinish(lambda: {main})"
    arguments = [sys.executable, *options, "-c", script]
    done = subprocess.run(arguments, cwd=ROOT, stdout=stdout, stderr=subprocess.PIPE, text=True)
    return done.returncode, done.stderr


@pytest.mark.parametrize("options", [(), ("-u",)], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("main", ["print(1) or 0", "Parser().parse_args(['--help'])"], ids=["result", "help"])
def test_a_full_disk_is_said_and_a_reader_who_left_is_not(main, options, module):
    with open("/dev/full", "wb") as full:
        assert ended(module, main, full, *options) == (2, "standard output: No space left on device\n")
    read, write = os.pipe()
    os.close(read)
    assert ended(module, main, write, *options) == (141, "")
    os.close(write)
    assert ended(module, main, subprocess.DEVNULL, *options) == (0, "")


def test_the_status_is_that_of_main_and_an_interrupt_is_130(module):
    assert ended(module, "3", subprocess.DEVNULL) == (3, "")
    assert ended(module, "__import__('signal').raise_signal(2)", subprocess.DEVNULL) == (130, "")


SWALLOWED = {
    "caught": """
try:
    signal.raise_signal(2)
except BaseException:
    pass
""",
    "another error in its place": """
try:
    try:
        signal.raise_signal(2)
    finally:
        raise OSError
except OSError:
    pass
""",
    "in the end of an object": """
class Ended:
    def __del__(self):
        signal.raise_signal(2)
Ended()
""",
    "in what C calls": """
ctypes.CFUNCTYPE(None)(lambda: signal.raise_signal(2))()
""",
    "again and again": """
for _ in range(20):
    try:
        signal.raise_signal(2)
    except BaseException:
        pass
""",
}


@pytest.mark.parametrize("way", SWALLOWED)
def test_an_interrupt_that_is_swallowed_comes_again(way, module):
    body = "import ctypes, signal, time" + SWALLOWED[way] + "time.sleep(60)"
    assert ended(module, f"exec({body!r}, {{}})", subprocess.DEVNULL) == (130, "")


def test_an_interrupt_that_comes_while_one_ends_the_command_is_none(module):
    body = """
import signal
begin = signal.signal
def once_more(number, handler):
    if handler is signal.SIG_IGN:
        signal.raise_signal(2)
    return begin(number, handler)
signal.signal = once_more
signal.raise_signal(2)
"""
    assert ended(module, f"exec({body!r}, {{}})", subprocess.DEVNULL) == (130, "")


def test_of_an_interrupt_that_somebody_keeps_the_status_tells(module):
    body = """
import builtins, signal
try:
    signal.raise_signal(2)
except BaseException as error:
    builtins.kept = error
print("done")
"""
    assert ended(module, f"exec({body!r}, {{}})", subprocess.DEVNULL) == (130, "")


def test_of_what_fails_after_an_interrupt_nothing_is_said(module, capfd):
    try:
        try:
            raise KeyboardInterrupt
        finally:
            raise OSError(errno.EEXIST, "exists")
    except OSError as error:
        assert module.failed("name", error) == 130
    assert capfd.readouterr().err == ""


def test_what_must_not_be_interrupted_is_not_when_an_interrupt_comes_again(module):
    body = """
import signal, time
try:
    signal.raise_signal(2)
except BaseException as error:
    with uninterrupted():
        del error
        time.sleep(0.1)
        print("whole", flush=True)
time.sleep(60)
"""
    script = f"from {module.__name__} import finish, uninterrupted\nfinish(lambda: exec({body!r}, globals()))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "whole\n", "")


def test_an_interrupt_that_is_ignored_stays_so(module):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(SystemExit) as stopped:
            module.finish(lambda: signal.getsignal(signal.SIGINT) is signal.SIG_IGN)
    finally:
        signal.signal(signal.SIGINT, before)
    assert stopped.value.code is True


def test_an_interrupt_is_put_off_and_not_lost(module):
    with pytest.raises(KeyboardInterrupt), module.uninterrupted():
        signal.raise_signal(signal.SIGINT)
        done = True
    assert done
    with module.uninterrupted():
        pass
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_thread_that_gets_no_interrupts_puts_none_off(module):
    def work():
        with module.uninterrupted():
            return signal.getsignal(signal.SIGINT)

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(work).result() is signal.default_int_handler


def test_an_error_of_what_is_unfinished_names_what_was_asked_for(module, tmp_path):
    with pytest.raises(OSError, match="No space") as error, module.alone_in(tmp_path, "w.pt"):
        raise OSError(errno.ENOSPC, "No space", str(tmp_path / ".w.pt.x.unfinished"))
    assert (error.value.errno, error.value.filename) == (errno.ENOSPC, str(tmp_path / "w.pt"))
    with pytest.raises(IsADirectoryError) as error, module.alone_in(tmp_path, "w.pt"):
        raise OSError(errno.EISDIR, "a folder", "other")
    assert error.value.filename == "other"


def test_what_is_unfinished_of_that_name_is_removed_and_nothing_else(module, tmp_path):
    for name in (".w.pt.1.unfinished", ".v.pt.1.unfinished", "w.pt", ".w.pt.unfinished"):
        (tmp_path / name).touch()
    (tmp_path / ".w.pt.2.unfinished").mkdir()
    (tmp_path / ".w.pt.2.unfinished" / "part").touch()
    with module.alone_in(tmp_path, "w.pt"):
        left = sorted(os.listdir(tmp_path))
    assert left == [".v.pt.1.unfinished", ".w.pt.unfinished", "w.pt"]


@pytest.mark.parametrize(("found", "said"), [((3, 10, 4), "needs Python 3.11 or newer, found "), ((3, 11, 0), "")])
def test_an_old_python_is_named(found, said, module, monkeypatch):
    monkeypatch.setattr(sys, "version_info", found)
    assert module.missing({}) == (said and said + sys.version.split()[0])


VERSIONS = [
    ({}, "needs numpy 1.26 or newer, found none: pip install 'numpy>=1.26'"),
    ({"numpy": "1.9.3"}, "needs numpy 1.26 or newer, found 1.9.3: pip install 'numpy>=1.26'"),
    (
        {"numpy": "1.26.0", "torch": "2.5.1+cu121"},
        "needs torch 2.6 or newer, found 2.5.1+cu121: pip install 'torch>=2.6'",
    ),
    ({"numpy": "2.0rc1", "torch": "2.10.0a0+git"}, ""),
]


@pytest.mark.parametrize(("found", "said"), VERSIONS, ids=str)
def test_a_package_that_is_too_old_or_missing_is_named_with_what_is_needed(found, said, module, monkeypatch):
    def version(name: str) -> str:
        if name not in found:
            raise metadata.PackageNotFoundError(name)
        return found[name]

    monkeypatch.setattr(metadata, "version", version)
    assert module.missing({"numpy": "1.26", "torch": "2.6"}) == said


def test_a_flag_that_is_given_twice_is_refused_and_none_of_its_values_dropped(module, capfd):
    parser = module.Parser(prog="command")
    parser.add_argument("--skip", default="0-0")
    parser.add_argument("spec", nargs="?")
    assert vars(parser.parse_args(["of.toml", "--skip", "1-3"])) == {"skip": "1-3", "spec": "of.toml"}
    with pytest.raises(SystemExit, match="2"):
        parser.parse_args(["--skip", "1-3", "--skip=3-5"])
    assert capfd.readouterr().err == "command: argument --skip: given twice\n"


def test_a_long_or_odd_text_takes_one_line(module):
    assert module.one_line("a\nb\t\x1b[31m\u202e") == r"a\nb\t\x1b[31m\u202e"
    assert module.one_line("ü" * module.LONGEST) == "ü" * module.LONGEST
    assert module.one_line("ab" * module.LONGEST) == "ab" * (module.LONGEST // 4) + "..." + "ab" * (module.LONGEST // 4)


def test_bytes_of_a_file_are_read_up_to_a_bound(module, tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    assert module.content(tmp_path / "a", 5) == b"12345"
    with pytest.raises(ValueError, match="a: 5 bytes, expected at most 4"):
        module.content(tmp_path / "a", 4)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe: not a file"):
        module.content(tmp_path / "pipe", 4)
    with pytest.raises(IsADirectoryError):
        module.content(tmp_path, 1 << 20)


@pytest.mark.parametrize("no_colour", ["", "1"])
def test_a_terminal_shows_verdicts_in_colour_unless_no_color_is_set(module, no_colour, monkeypatch):
    monkeypatch.setenv("NO_COLOR", no_colour)
    monkeypatch.setenv("TERM", "xterm")
    for watched in (True, False):
        stream = io.StringIO()
        stream.isatty = lambda watched=watched: watched
        module.colour_verdicts(stream)
        print("dLdw1  0  ok\ndLdw2  3  WRONG\nNOT all gradients agree\nproved: it is ok", file=stream)
        plain = re.sub(r"\x1b\[\d+m", "", stream.getvalue())
        assert plain == "dLdw1  0  ok\ndLdw2  3  WRONG\nNOT all gradients agree\nproved: it is ok\n"
        found = re.findall(r"\x1b\[(\d\d)m(.*?)\x1b\[0m", stream.getvalue())
        expected = [("32", "ok"), ("31", "WRONG"), ("31", "NOT all gradients agree"), ("32", "proved")]
        assert found == (expected if watched and not no_colour else [])
