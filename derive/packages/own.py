"""What goes into the holes of steps.py, and of data.py and given.py, which read a person's own numbers."""

from typing import Any

from derive.backends.torch import ONE, lines
from derive.packages.readable import unpack
from derive.packages.subject import Subject, title_page
from derive.packages.templates import DERIVE
from derive.packages.text import constant_lines, function_lines, imports, names


def steps_page(subject: Subject) -> dict[str, Any]:
    """The lines of value_and_grad, each with the number of its step; parts of a long formula belong to it."""
    derivation, numbers = subject.derivation, subject.derived.labels
    body = lines(derivation.program, derivation.equations, ONE)
    steps: list[dict[str, str]] = []
    parts: list[dict[str, str]] = []
    for equation, line in zip(derivation.equations, body, strict=True):
        parts.append({"name": line.target, "meaning": line.meaning})
        if equation.target in numbers:
            steps += [{**part, "number": numbers[equation.target]} for part in parts]
            parts = []
    return {
        **title_page(subject),
        "imports": imports(names(body)),
        "constants": constant_lines(body),
        "steps": steps,
        "lines": function_lines(body, unpack(subject)),
    }


def data_page(subject: Subject) -> dict[str, Any]:
    network = subject.network
    return {"inputs": network.layers[0], "outputs": network.layers[-1], "classes": network.takes_classes}


def given_page(subject: Subject) -> dict[str, Any]:
    """The reader of numbers in TOML, which a package shares with derive."""
    source = (DERIVE / "system" / "given.py").read_text(encoding="utf-8")
    return {"source": source.replace("from derive.system.command", "from .command").splitlines()}
