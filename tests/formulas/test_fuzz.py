"""A hundred thousand inputs for what reads text: each is right or refused, in bounded memory and time."""

import math
import os
import random
import re
import resource
import string
import tempfile
from collections.abc import Callable
from pathlib import Path

import mpmath
import numpy
import pytest
from sympy import lambdify

from derive.formulas.stable import z
from derive.formulas.typed import parse
from generated import dat
from tests.helpers.children import in_a_child
from tests.helpers.texts import BAD, NOTEBOOK, OWN, REFUSED

SPACE = 2**28  # bytes on top of what the tests take already
PRINTED = r"""z 0 1 2.5 1e9 1e-400 pi 1j True None _ __import__ 'os' é + - * / // % ** @ ( ) () [ ] { } , . : := ; # \
max min where exp log sqrt abs relu sigmoid softmax tanh erf gelu > <= == lambda if else for in not await yield import
f'{z}'"""
TOKENS = [*PRINTED.split(), "9" * 30, "\0", "\n", "\t", " "]


def spliced(draw: random.Random, text: str, letters: str) -> str:
    """The text after a few edits: letters put in, cut out, exchanged, repeated."""
    for _ in range(draw.randint(1, 4)):
        start = draw.randint(0, len(text))
        end = min(len(text), start + draw.choice((0, 1, 1, 2, 8, 100)))
        part = draw.choice(
            ("", draw.choice(letters), draw.choice(letters) * 3, text[start:end] * 2, text[end:start:-1])
        )
        text = text[:start] + part + text[end:]
    return text


JUDGE = {
    **{name: getattr(math, name) for name in ("cos", "erf", "exp", "log", "pi", "sin", "sqrt", "tanh")},
    **{"abs": abs, "max": max, "min": min, "where": lambda condition, a, b: a if condition else b},
    **{"relu": lambda u: max(u, 0), "sigmoid": lambda u: 1 / (1 + math.exp(-u)), "__builtins__": {}},
}
ONE_ARGUMENT = ["cos", "erf", "exp", "log", "sin", "sqrt", "tanh", "abs", "relu", "sigmoid", "-", "+"]


def tree(draw: random.Random, depth: int) -> str:
    """A formula of the grammar, which may still be too deep, undefined or without z."""
    if depth == 0:
        return draw.choice(["z", "z", "z", "0.5", "2", "1e-3", "pi"])
    a, b = tree(draw, depth - 1), tree(draw, draw.randint(0, depth - 1))
    kind = draw.randint(0, 9)
    if kind < 4:
        return f"({a} {draw.choice('+-*/')} {b})"
    if kind < 8:
        return f"{draw.choice(ONE_ARGUMENT)}({a})"
    return draw.choice([f"({a})**{draw.randint(-3, 3)}", f"max({a}, {b})", f"where({a} > {b}, {b}, {a})"])


def formulas(draw: random.Random) -> str:
    chance = draw.random()
    if chance < 0.05:
        return tree(draw, draw.randint(1, 4))
    if chance < 0.6:
        return "".join(draw.choices(TOKENS, k=draw.randint(0, 30)))
    return spliced(draw, draw.choice([*OWN, *REFUSED]), string.printable)


def check_formula(text: str) -> bool:
    try:
        formula = parse("activation", text, (z,))
    except ValueError as error:
        assert re.match(r"activation: \S", str(error)), text
        assert len(str(error)) < 700, text
        return False
    assert formula.free_symbols == {z}, text
    value = lambdify(z, formula, [JUDGE, "mpmath"])
    for point in (-1.25, 0.75):
        try:
            expected = eval(text.strip(), {**JUDGE, "z": point})
        except (ArithmeticError, ValueError, NameError, TypeError):  # outside of its domain, or of JUDGE
            continue
        with mpmath.workdps(30):
            assert complex(value(mpmath.mpf(point))) == pytest.approx(expected, rel=1e-9, abs=1e-9), text
    return True


def gradients(draw: random.Random) -> bytes:
    if draw.random() < 0.3:
        return bytes(draw.choices(b"dLw1b0.,[]-+eE \n\tinfa\xff\0", k=draw.randint(0, 80)))
    text = NOTEBOOK if draw.random() < 0.8 else draw.choice([*BAD])
    return spliced(draw, text, "dLdw1b23[],.-+e0 \ninfa").encode()


def check_gradients(path: Path, data: bytes) -> bool:
    path.write_bytes(data)
    try:
        found = dat.read(path)
    except ValueError as error:
        assert re.match(rf"{re.escape(str(path))}:\d+: \S", str(error)) and str(error).isprintable(), data
        return False
    parts = re.split(r"(?m)^(dLd[wb]\d+)\s*$", data.decode())
    assert list(found) == parts[1::2], data
    for array, body in zip(found.values(), parts[2::2], strict=True):
        numbers = [float(word) for word in re.split(r"[\[\],\s]+", body) if word]
        assert array.ndim == (2 if re.match(r"\s*\[\s*\[", body) else 1), data
        assert numpy.array_equal(array.ravel(), numbers, equal_nan=True), data
    return True


def in_bounded_memory(count: int, read: Callable[[random.Random], bool]) -> None:
    """Reads so many inputs in a child, some of which are right and some are not."""

    def every() -> int:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + SPACE
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        draw = random.Random(1)
        right = sum(read(draw) for _ in range(count))
        return 0 if count / 1000 < right < count / 2 else 98

    assert in_a_child(every) == 0
    assert os.listdir() == []


@pytest.mark.parametrize("count", [4_000, pytest.param(50_000, marks=pytest.mark.slow)])
def test_any_formula_is_read_or_refused(count, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    in_bounded_memory(count, lambda draw: check_formula(formulas(draw)))


@pytest.mark.parametrize("count", [4_000, pytest.param(50_000, marks=pytest.mark.slow)])
def test_any_file_of_gradients_is_read_right_or_refused(count, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as quick:
        in_bounded_memory(count, lambda draw: check_gradients(Path(quick, "fuzz.dat"), gradients(draw)))
