"""What the commands of this package have in common: errors are one line and exit status 2, an interrupt is 130."""

import _thread
import argparse
import os
import re
import shutil
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import Any, NoReturn, TextIO

PYTHON = (3, 11)
LONGEST = 1000  # letters of a message
BAD = r"\bWRONG\b|\bNOT (?:proved|all gradients agree)|\bdo NOT agree"
VERDICTS = re.compile(rf"(?P<bad>{BAD})|^proved\b|^all gradients agree|(?<=  )ok\b", re.M)


class Once(argparse.Action):
    """Keeps the value of a flag or an argument: of two values the first would be dropped in silence."""

    of: argparse.Namespace | None = None

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None) -> None:
        if self.of is namespace:
            raise argparse.ArgumentError(self, "given twice")
        self.of = namespace
        setattr(namespace, self.dest, values)


class Parser(argparse.ArgumentParser):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.register("action", None, Once)

    def error(self, message: str) -> None:
        self.exit(2, f"{self.prog}: {one_line(message)}\n")

    def print_help(self, file: TextIO | None = None) -> None:
        print(self.format_help(), end="", file=file)  # argparse passes over a full disk

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        if sys.stdout:
            sys.stdout.flush()  # of --help, while a full disk is still noticed
        super().exit(status, message)


def a_path(text: str) -> Path:
    """An argument type: a path that a file can have."""
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError(f"expected a path, got {text!r}")
    return Path(text)


def begin(name: str, **needed: str) -> None:
    """To be called before the slow imports: an interrupt ends them at once, as there is nothing to clean up yet.

    Ends the command with status 2 where Python, or a package that is needed from this version on, is too old.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    found = missing(needed)
    if found:
        print(f"{name}: {found}", file=sys.stderr)
        sys.exit(2)


def missing(needed: dict[str, str]) -> str:
    """What is too old or not there; empty if nothing is."""
    from importlib import metadata  # slow, and so not before an interrupt is quiet

    if sys.version_info[:2] < PYTHON:
        return f"needs Python {'.'.join(map(str, PYTHON))} or newer, found {sys.version.split()[0]}"
    for name, least in needed.items():
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            found = "none"
        if numbers(found) < numbers(least):
            return f"needs {name} {least} or newer, found {found}: pip install '{name}>={least}'"
    if "torch" in needed and current_folder() is None:
        return "the current directory is gone, and torch cannot be loaded without one"
    return ""


def numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", text)[:2]))


def current_folder() -> Path | None:
    """Where we are; None if that is gone."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return None


def finish(main: Callable[[], int]) -> None:
    """Ends the program with the status of a command; a reader who leaves early or a full disk is no traceback.

    So is an interrupt, whoever swallows it: then it comes again; of one that somebody keeps, the status tells.
    """
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.reconfigure(errors="backslashreplace")
        colour_verdicts(stream)
    try:
        sys.unraisablehook = quiet(sys.unraisablehook)
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, interrupt)
        status = status_of(main)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        status = 130 if Swallowed.came else status
    except KeyboardInterrupt:
        Swallowed.ends = True
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        status = 130
    sys.exit(status)


def status_of(main: Callable[[], int]) -> int:
    """That of a command, or of what it wrote that did not arrive."""
    try:
        status = main()
        if sys.stdout:
            sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141 if isinstance(error, BrokenPipeError) else failed("standard output", error)  # as for SIGPIPE
    return status


class Swallowed:
    """What an interrupt carries with it: when it is gone and the command is not, the interrupt comes again."""

    came = False
    unheard = False
    ends = False  # the command does, and raises no other

    def __del__(self) -> None:
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            Swallowed.unheard = True
            _thread.start_new_thread(come_again, ())  # not from here, where it would be swallowed again


def come_again() -> None:
    """Sends the interrupt until it is heard: one that comes just before a wait begins does not end the wait."""
    while Swallowed.unheard:
        if os.name == "posix":
            os.kill(os.getpid(), signal.SIGINT)
        else:
            _thread.interrupt_main()
        time.sleep(0.05)


def interrupt(*_: object) -> None:
    """A handler of SIGINT."""
    Swallowed.came, Swallowed.unheard = True, False
    if not Swallowed.ends:
        raise KeyboardInterrupt(Swallowed())


def quiet(hook: Callable[[Any], object]) -> Callable[[Any], object]:
    """Says nothing of an interrupt that came where none can be raised, as in a callback; it comes again."""
    return lambda found: None if isinstance(found.exc_value, KeyboardInterrupt) else hook(found)


@contextmanager
def alone_in(folder: Path, unfinished: str) -> Iterator[None]:
    """Holds a lock on a folder, which dies with the process, and removes what others left there unfinished.

    That is what is called .name.*.unfinished, where `unfinished` is the name. An OSError is one about the name.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(ImportError, OSError):  # without locks nobody knows who is dead
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX)
            for path in folder.glob(f".{escape(unfinished)}.*.unfinished"):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)
        yield
    except OSError as error:
        if not error.strerror or (error.filename is not None and ".unfinished" not in str(error.filename)):
            raise
        raise type(error)(error.errno, error.strerror, str(folder / unfinished)) from None
    finally:
        os.close(handle)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Puts an interrupt off until the end, so that what is begun is finished."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    late: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: late.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if late:
            signal.raise_signal(signal.SIGINT)


def on_terminal() -> bool:
    """Whether somebody watches standard error."""
    return sys.stderr is not None and sys.stderr.isatty()


def colour_verdicts(stream: Any) -> None:
    """What a terminal shows of a verdict has a colour, unless NO_COLOR is set, as no-color.org has it."""
    if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return
    write = stream.write

    def coloured(text: str) -> int:
        write(VERDICTS.sub(lambda found: f"\x1b[{31 if found['bad'] else 32}m{found[0]}\x1b[0m", text))
        return len(text)

    stream.write = coloured


def failed(name: str, error: BaseException) -> int:
    """Says in one line what went wrong, but not of an interrupt, or of what failed after one; returns the status."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, KeyboardInterrupt):
            return 130
        cause = cause.__context__
    print(f"{name}: {one_line(described(error))}", file=sys.stderr)
    return 2


def described(error: BaseException) -> str:
    """What an error says, the path first."""
    if isinstance(error, OSError) and error.args and isinstance(error.args[0], list):  # of a whole tree of files
        return str(error.args[0][0][-1])
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{os.fsdecode(error.filename)}: {error.strerror}"
    text = str(error)
    if isinstance(error, RuntimeError):
        text = text.partition("\n")[0]  # what torch says below it is for its own people
    return text or type(error).__name__


def one_line(text: str) -> str:
    """The text with what no line can hold escaped, and with its middle left out where it is long."""
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]}...{text[-LONGEST // 2 :]}"
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def content(path: Path, most: int) -> bytes:
    """The bytes of a file, at most so many.

    Raises OSError, or ValueError where it is no file or larger.
    """
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        raise ValueError(f"{path}: not a file")
    try:
        data = bytearray()
        with open(path, "rb") as file:
            while status.st_size <= most and (part := file.read(min(2**20, most + 1 - len(data)))):
                data += part
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(path)) from None
    if max(status.st_size, len(data)) > most:
        raise ValueError(f"{path}: {max(status.st_size, len(data))} bytes, expected at most {most}")
    return bytes(data)


def decoded(path: Path, data: bytes, encoding: str = "utf-8") -> str:
    """The text of a file that has these bytes, without a mark in front.

    Raises ValueError with file, line and byte where it is none.
    """
    try:
        return data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}:{line}: not plain text: byte 0x{data[error.start]:02x}") from None
