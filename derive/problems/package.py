"""An emitted package: the network that it says it is for, and what Python would run when it is imported."""

import ast
import codecs
import importlib
import io
import sys
import tokenize
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from importlib.machinery import PathFinder, SourceFileLoader
from importlib.util import cache_from_source
from pathlib import Path
from types import CodeType

from derive.problems.network import Network
from derive.system import content

LARGEST_SOURCE = 2**24  # bytes
ANEW = "if another version wrote it, python -m derive.build writes it anew"
UNCHECKED, HASHED = 1, 3  # flags of a .pyc, PEP 552: Python takes an unchecked one whatever the source says


def network_of(source: str, path: Path) -> Network:
    """The network that the package says it is for.

    Raises ValueError where it does not say so as this version writes it.
    """
    try:
        for node in ast.parse(source, str(path)).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "NETWORK":
                return Network(**ast.literal_eval(node.value))
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"{path}: not as this version writes it ({error}); {ANEW}") from None
    raise ValueError(f"{path}: no NETWORK in it; {ANEW}")


def text_of(path: Path, most: int = LARGEST_SOURCE) -> str:
    """The text in a file, of at most so many bytes.

    Raises OSError, or ValueError where it is no file, too large or not UTF-8.
    """
    try:
        return content(path, most).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 at byte {error.start}") from None


def not_as_written(folder: Path, modules: Iterable[str]) -> Iterator[str]:
    """A line for each module of which Python would run something else than the source, read as UTF-8."""
    folder = folder.absolute()
    importlib.invalidate_caches()
    for module in modules:
        path = folder / f"{module}.py"
        spec = PathFinder.find_spec(module, [str(folder)])
        if spec is None:
            continue
        if spec.origin != str(path):
            place = spec.origin or folder / module
            yield f"{place}: Python would import it in the place of {path.name}; remove it"
        elif (encoding := coding(path)) not in ("utf-8", "utf-8-sig"):
            yield f"{path}: Python would read it as {encoding}; a source is UTF-8 and says nothing else"
        else:
            yield from (
                f"{place}: Python would run it in the place of {path.name}, whose source it is not; remove it"
                for place in stale(path)
            )


def shadowing(folder: Path, modules: Iterable[str]) -> Iterator[str]:
    """A line for each module that a file beside the package would be imported in the place of."""
    beside = str(folder.absolute().parent)
    others = [place for place in sys.path if str(Path(place).absolute()) != beside]
    for module in modules:
        found = PathFinder.find_spec(module, [beside])
        if found is not None and found.loader is not None and PathFinder.find_spec(module, others) is not None:
            yield f"{found.origin}: Python would import it in the place of {module}; rename it"


def only_a_docstring(source: str) -> bool:
    """Whether a module does nothing when it is imported, as the `__init__` of a package that is to be proved."""
    return all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in ast.parse(source).body)


def coding(path: Path) -> str:
    """The encoding in which Python would read a source."""
    try:
        return codecs.lookup(tokenize.detect_encoding(io.BytesIO(content(path, LARGEST_SOURCE)).readline)[0]).name
    except SyntaxError as error:
        return str(error)


def stale(path: Path) -> Iterator[Path]:
    """The compiled files that Python, of this version or another, would run although the source says otherwise."""
    known: list[Path] = []
    for level, optimization in enumerate(("", 1, 2)):
        chosen = Path(cache_from_source(str(path), optimization=optimization))  # PYTHONPYCACHEPREFIX moves it
        places = dict.fromkeys((chosen, path.parent / "__pycache__" / chosen.name))
        yield from (place for place in places if place.is_file() and not Compiled(place, level).is_of(path))
        known += places
    for place in sorted((path.parent / "__pycache__").glob(f"{path.stem}.*.pyc")):
        with open(place, "rb") as file:
            flags = int.from_bytes(file.read(8)[4:], "little") & HASHED
        if flags == UNCHECKED and place not in known:
            yield place


class Compiled(SourceFileLoader):
    """Loads a source as Python does that finds this compiled file beside it; nothing is written."""

    source_to_code: Callable[..., CodeType]

    def __init__(self, compiled: Path, level: int) -> None:
        super().__init__("", "")
        self.compiled = compiled
        self.source_to_code = partial(compile, mode="exec", dont_inherit=True, optimize=level)

    def is_of(self, source: Path) -> bool:
        """Whether what is run is what the source says."""
        self.path = str(source)
        with suppress(Exception):  # what Python cannot load either
            return self.get_code(self.name) == self.source_to_code(content(source, LARGEST_SOURCE), str(source))
        return False

    def get_data(self, path: str) -> bytes:
        return super().get_data(path if path == self.path else str(self.compiled))

    def set_data(self, *_: object, **__: object) -> None:
        pass
