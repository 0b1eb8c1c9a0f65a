"""What goes into the holes of steps.py, and of data.py and given.py, which read a person's own numbers."""

from typing import Any

from derive.packages.readable import unpack
from derive.packages.subject import Subject, title_page
from derive.packages.templates import DERIVE
from derive.packages.text import constant_lines, function_lines, imports, names
from derive.paper import step_lines


def steps_page(subject: Subject) -> dict[str, Any]:
    """The lines of value_and_grad, each with the number of its step; parts of a long formula belong to it."""
    steps = [
        (line, subject.derived.labels[target])
        for target, code in step_lines(subject.derived, subject.derivation).items()
        for line in code
    ]
    body = [line for line, _ in steps]
    return {
        **title_page(subject),
        "imports": imports(names(body)),
        "constants": constant_lines(body),
        "steps": [{"name": line.target, "meaning": line.meaning, "number": number} for line, number in steps],
        "lines": function_lines(body, unpack(subject)),
    }


def data_page(subject: Subject) -> dict[str, Any]:
    network = subject.network
    return {"inputs": network.layers[0], "outputs": network.layers[-1], "classes": network.takes_classes}


def given_page(subject: Subject) -> dict[str, Any]:
    """The reader of numbers in TOML, which a package shares with derive."""
    source = (DERIVE / "system" / "given.py").read_text(encoding="utf-8")
    return {"source": source.replace("from derive.system.command", "from .command").splitlines()}
