"""Modules and examples of arguments, as a command names them."""

import importlib
import importlib.util
import inspect
import re
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from derive.modules.graph import example_tensor, is_module
from derive.modules.refusal import Refused
from derive.modules.steps import argument_names

MODULE = (
    "package.file:name, or file.py:name, of a module, a function of tensors, or what makes a module without arguments"
)
INPUT = "of an argument, in order: 'x: 2x3x4', or 'i: 2x3 of 7' for whole numbers below 7"
SHAPE = re.compile(r"\s*(?:(\w+)\s*:)?\s*(\d+(?:\s*x\s*\d+)*)?\s*(?:\bof\s+(\d+))?\s*")


def add_module(parser: ArgumentParser) -> None:
    """Lets a command take a module and examples of its arguments."""
    parser.add_argument("module", help=MODULE)
    parser.add_argument("--input", action="append", default=[], metavar="'NAME: SHAPE'", help=INPUT)


def module_and_example(options: Namespace) -> tuple[Any, tuple[Any, ...]]:
    """What a command was given.

    Raises Refused, or OSError where a file cannot be read.
    """
    module = named_module(options.module)
    return module, example_of(options.input, module)


def named_module(text: str) -> Any:
    """What package.file:name or file.py:name is: a module, a function of tensors, or what makes a module.

    Raises Refused where there is none.
    """
    file, _, name = text.rpartition(":")
    if not file:
        raise Refused(f"{text}: expected package.file:name, or file.py:name")
    found = imported(file)
    try:
        for part in name.split("."):
            found = getattr(found, part)
    except AttributeError:
        raise Refused(f"{file} has no {name}") from None
    if is_module(found) or not callable(found):
        return found if is_module(found) else refuse(text)
    if inspect.isbuiltin(found):
        return found
    needed = [one for one in inspect.signature(found).parameters.values() if one.default is one.empty]
    needed = [one for one in needed if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    if isinstance(found, type) and needed:
        raise Refused(
            f"{text} takes {needed[0].name}: name what makes one without arguments, as a function that calls it"
        )
    if needed:
        return found
    made = found()
    return made if is_module(made) else refuse(text)


def refuse(text: str) -> Any:
    raise Refused(f"{text} is no module, no function of tensors, and makes no module")


def imported(file: str) -> ModuleType:
    """A module of Python by its name, or by the path of its file.

    Raises Refused where it cannot be imported.
    """
    try:
        if not file.endswith(".py"):
            return importlib.import_module(file)
        spec = importlib.util.spec_from_file_location(Path(file).stem, file)
        if spec is None or spec.loader is None:
            raise Refused(f"{file}: no file of Python")
        found = importlib.util.module_from_spec(spec)
        sys.modules.setdefault(found.__name__, found)
        spec.loader.exec_module(found)
    except FileNotFoundError:
        raise
    except (Exception, SystemExit) as error:
        raise Refused(f"{file}: {type(error).__name__}: {error}") from error
    return found


def example_of(texts: Sequence[str], module: Any) -> tuple[Any, ...]:
    """An example of the arguments: 'x: 2x3x4', '2x3x4', 'i: 2x3 of 7', or 's: ' for a tensor of no dimensions.

    Raises Refused where one is not of this form, or its name is not that of the argument in this place.
    """
    names = argument_names(module)
    found = []
    for place, text in enumerate(texts):
        match = SHAPE.fullmatch(text)
        if match is None or not text.strip():
            raise Refused(f"{text!r}: expected 'name: 2x3x4', or 'name: 2x3 of 7' for whole numbers below 7")
        name, sizes, below = match.groups()
        if name and (place >= len(names) or names[place] != name):
            raise Refused(f"{name}: no argument has this name; they are {', '.join(names)}, in this order")
        shape = [int(size) for size in sizes.split("x")] if sizes else []
        found.append(example_tensor(shape, None if below is None else int(below)))
    return tuple(found)
