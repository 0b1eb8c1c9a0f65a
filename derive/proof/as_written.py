"""What of a package is as it was written, so that what is proved is what Python runs."""

import ast
from itertools import zip_longest
from pathlib import Path

from derive.problems import ANEW, not_as_written, only_a_docstring, text_of
from derive.proof.calls import ARGUMENTS_OF, OF_PENALTY
from derive.proof.certificate import NotProved
from derive.proof.grammar import DERIVED_METHODS


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
    stems = {path.stem for path in folder.glob("*.py") if path.stem.isidentifier()}
    for line in not_as_written(folder, sorted({"__init__", "backward", "fast"} | stems)):
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
    pairs = zip_longest(text.splitlines(keepends=True), model.splitlines(keepends=True))
    for number, (line, emitted) in enumerate(pairs, 1):
        if line != emitted:
            raise NotProved(f"{path}:{number}: not as it is emitted: {(line or '').strip()!r}; {ANEW}")
