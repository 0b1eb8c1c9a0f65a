"""Which version this is, and the command lines that say it."""

import argparse
from importlib import metadata
from pathlib import Path
from typing import Any

from derive.system.command import Parser


def version() -> str:
    """The version that is installed, or that the source tree beside this package has."""
    project = Path(__file__).parents[2] / "pyproject.toml"
    if project.is_file():
        import tomllib

        return tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"]
    return metadata.version("derived-gradients")


class Paragraphs(argparse.HelpFormatter):
    """Fills each paragraph by itself, so that an example stands alone."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        fill = super()._fill_text
        return "\n\n".join(fill(part, width, indent) for part in text.split("\n\n"))


def parser_of(command: str, about: str | None, **more: Any) -> Parser:
    """The arguments of python -m derive.COMMAND; `about` says what it does."""
    more |= {"description": about, "formatter_class": Paragraphs}
    parser = Parser(prog=f"python -m derive.{command}", allow_abbrev=False, **more)
    parser.add_argument("--version", action="version", version=f"derive {version()}")
    return parser
