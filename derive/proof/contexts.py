"""What holds of tensors for a while: by what names they write, what may not be cut, and where it is written into."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy
from sympy import Expr

NAMINGS: list[Callable[[Expr], Expr]] = []
KEPT: list[int] = []
LOGS: list[list[numpy.ndarray]] = []


@contextmanager
def naming(name: Callable[[Expr], Expr]) -> Iterator[None]:
    """Tensors write what operators compute by the names that this gives."""
    NAMINGS.append(name)
    try:
        yield
    finally:
        NAMINGS.pop()


@contextmanager
def uncut(rows: int) -> Iterator[None]:
    """Raises Cut where an axis of so many rows, or of a multiple, is indexed by numbers."""
    KEPT.append(rows)
    try:
        yield
    finally:
        KEPT.pop()


@contextmanager
def recording() -> Iterator[list[numpy.ndarray]]:
    """The memory that is written into, view by view."""
    LOGS.append([])
    try:
        yield LOGS[-1]
    finally:
        LOGS.pop()
