"""The disk and the terminal: how a command begins, ends and fails, and how files are read."""

from derive.system.command import (
    Parser,
    a_path,
    alone_in,
    begin,
    content,
    current_folder,
    failed,
    finish,
    on_terminal,
    one_line,
    uninterrupted,
)

__all__ = [
    "Parser",
    "a_path",
    "alone_in",
    "begin",
    "content",
    "current_folder",
    "failed",
    "finish",
    "on_terminal",
    "one_line",
    "uninterrupted",
]
