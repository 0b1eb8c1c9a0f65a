"""What of a package is as it was written, so that what is proved is what Python runs."""

import ast
import sys
from collections.abc import Callable, Container, Iterator
from itertools import zip_longest
from pathlib import Path

from derive.packages import ON_DEMAND, TARGETS
from derive.problems import ANEW, not_as_written, only_a_docstring, shadowing, text_of
from derive.proof.calls import ARGUMENTS_OF, OF_PENALTY
from derive.proof.certificate import NotProved
from derive.proof.grammar import DERIVED_METHODS

SOURCES = tuple(name for name in (*TARGETS, *ON_DEMAND) if name.endswith((".py", ".c", ".h")))
AS_EMITTED = "word for word what is emitted, whose words tests hold, and not proved here"
IMPORTED = ("torch", "numpy", *sorted(sys.stdlib_module_names))  # by sources of the build, and by what they import
OF_NO_BUILD = "not of the build, and nothing is shown of it"


def texts_of_build(folder: Path) -> dict[str, str]:
    """The sources of the build that lie in a folder, but for `__init__`."""
    return {name: text_of(folder / name) for name in SOURCES if name != "__init__.py" and (folder / name).exists()}


def said_of_others(folder: Path, shown: Container[str]) -> dict[str, str]:
    """What is said of each module in the folder that is not shown to be right."""
    others = sorted(path.name for path in folder.glob("*.py") if path.name not in shown and path.name != "__init__.py")
    return {name: AS_EMITTED if name in SOURCES else OF_NO_BUILD for name in others}


def as_the_template(source: str) -> tuple[str, ...]:
    """The functions whose words are the template's, which the grammar has let pass."""
    found = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            found += [f"{node.name}.{part.name}" for part in node.body if isinstance(part, ast.FunctionDef)]
        elif isinstance(node, ast.FunctionDef):
            found.append(node.name)
    run = {*ARGUMENTS_OF, *OF_PENALTY, *DERIVED_METHODS, "__init__", "accumulate"}
    return tuple(name for name in found if name.rpartition(".")[2] not in run)


def check_imports(folder: Path) -> None:
    """Raises NotProved where Python would run anything but the sources that lie in the folder."""
    names = {path.name for path in folder.glob("*.py")} | {name for name in SOURCES if name.endswith(".py")}
    modules = sorted(stem for name in names if (stem := Path(name).stem).isidentifier())
    for line in (*not_as_written(folder, modules), *shadowing(folder, IMPORTED)):
        raise NotProved(line)
    path = folder / "__init__.py"
    try:
        alone = only_a_docstring(text_of(path))
    except FileNotFoundError:
        raise NotProved(f"{path}: no such file, so that Python may import another folder of this name") from None
    except SyntaxError:
        alone = False
    if not alone:
        raise NotProved(f"{path}: holds more than a docstring, and Python runs it before what is proved; {ANEW}")


def check_word_for_word(text: str, model: str, path: Path) -> None:
    """Raises NotProved with the first line that is not as it is emitted."""
    for number, line in differing_lines(text, model, str):
        raise NotProved(f"{path}:{number}: not as it is emitted: {line!r}; {ANEW}")


def first_edit(sources: dict[Path, str], models: dict[str, str]) -> str:
    """In words, the first line that is not as it is derived, whatever its comment; nothing where there is none."""
    for path, text in sources.items():
        for number, line in differing_lines(text, models[path.name], lambda line: line.partition("#")[0].split()):
            return f"; {path}:{number} is the first line that is not as it is derived: {line!r}"
    return ""


def differing_lines(text: str, model: str, said: Callable[[str], object]) -> Iterator[tuple[int, str]]:
    """The lines of a text, and their numbers, that do not say what those of the model say."""
    pairs = zip_longest(text.splitlines(keepends=True), model.splitlines(keepends=True), fillvalue="")
    return ((number, line.strip()) for number, (line, other) in enumerate(pairs, 1) if said(line) != said(other))
