"""The disk and the terminal: how a command begins, ends and fails, and how files are read."""

from derive.system.command import (
    a_path,
    begin,
    content,
    current_folder,
    decoded,
    failed,
    finish,
    one_line,
)
from derive.system.disk import check_place, differences, staying, write_package
from derive.system.given import LAYOUTS, Given, given_numbers
from derive.system.limit import OutOfTime, limited
from derive.system.progress import progress, watched
from derive.system.typesetting import check_pdflatex, typeset
from derive.system.version import parser_of, version

__all__ = [
    "LAYOUTS",
    "Given",
    "OutOfTime",
    "a_path",
    "begin",
    "check_pdflatex",
    "check_place",
    "content",
    "current_folder",
    "decoded",
    "differences",
    "failed",
    "finish",
    "given_numbers",
    "limited",
    "one_line",
    "parser_of",
    "progress",
    "staying",
    "typeset",
    "version",
    "watched",
    "write_package",
]
