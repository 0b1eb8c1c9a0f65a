"""What holds of tensors for a while: by what names they write, what may not be cut, and where it is written into."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy
from sympy import Expr

NAMES: list[Callable[[Expr], Expr]] = []
UNCUT: list[int] = []
LOGS: list[list[numpy.ndarray]] = []


@contextmanager
def naming(name: Callable[[Expr], Expr]) -> Iterator[None]:
    """Tensors write what operators compute by the names that this gives."""
    NAMES.append(name)
    try:
        yield
    finally:
        NAMES.pop()


@contextmanager
def uncut(rows: int) -> Iterator[None]:
    """Raises Cut where an axis of so many rows, or of a multiple, is indexed by numbers."""
    UNCUT.append(rows)
    try:
        yield
    finally:
        UNCUT.pop()


@contextmanager
def recording() -> Iterator[list[numpy.ndarray]]:
    """The memory that is written into, view by view."""
    LOGS.append([])
    try:
        yield LOGS[-1]
    finally:
        LOGS.pop()
