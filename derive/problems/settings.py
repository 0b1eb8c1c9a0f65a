"""A network described in TOML: a file given to derive.build, or [tool.derive] of the pyproject.toml that lies here."""

import difflib
import re
import tomllib
from pathlib import Path

from derive.formulas import shortened
from derive.problems.network import SETTING_NAMES
from derive.problems.package import text_of

LARGEST_FILE = 2**17  # bytes


def settings(path: Path | None) -> dict[str, object]:
    """The fields of a Network that the file gives; without a path those of [tool.derive], if there are any.

    Raises ValueError or OSError that names the file, what is wrong and what would be right.
    """
    if path is not None:
        return fields(path, toml_of(path))
    here = Path("pyproject.toml")
    if not here.is_file():
        return {}
    table = toml_of(here).get("tool", {})
    table = table.get("derive", {}) if isinstance(table, dict) else {}
    if not isinstance(table, dict):
        raise TypeError(f"{here}: tool.derive: expected a table, got {shortened(table)}")
    return fields(here, table) if table else {}


def toml_of(path: Path) -> dict[str, object]:
    try:
        text = text_of(path, LARGEST_FILE).removeprefix("\ufeff")
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; expected TOML with the keys {', '.join(SETTING_NAMES)}") from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
        line, column = place.groups() if place else (text.count("\n") + 1, "end")
        raise ValueError(f"{path}:{line}:{column}: {str(error).partition(' (at ')[0]}") from None
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else "a number of too many digits"
        raise ValueError(f"{path}: {reason}") from None


def fields(path: Path, table: dict[str, object]) -> dict[str, object]:
    known = list(SETTING_NAMES)
    if not table:
        raise ValueError(f"{path}: empty; keys are {', '.join(known)}, as layers = [2, 10, 10, 1]")
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"{path}: unknown key {shortened(key)}; {hint}known: {', '.join(known)}")
    return dict(table)
