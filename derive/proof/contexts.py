"""What holds of tensors for a while: by what names they write, numbers beside them, what may not be cut, and logs."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

import numpy
from sympy import Expr

NAMINGS: list[Callable[[Expr], Expr]] = []
BESIDE: list[Callable[[Expr], Expr]] = []
KEPT: list[int] = []
LOGS: list[list[numpy.ndarray]] = []
Held = TypeVar("Held")


@contextmanager
def holding(stack: list[Held], value: Held) -> Iterator[Held]:
    stack.append(value)
    try:
        yield value
    finally:
        stack.pop()


def naming(name: Callable[[Expr], Expr]) -> AbstractContextManager[object]:
    """Tensors write what operators compute by the names that this gives."""
    return holding(NAMINGS, name)


def taking(number: Callable[[Expr], Expr]) -> AbstractContextManager[object]:
    """Tensors take the numbers beside them as this gives them."""
    return holding(BESIDE, number)


def uncut(rows: int) -> AbstractContextManager[object]:
    """Raises Cut where an axis of so many rows, or of a multiple, is indexed by numbers."""
    return holding(KEPT, rows)


def recording() -> AbstractContextManager[list[numpy.ndarray]]:
    """The memory that is written into, view by view."""
    return holding(LOGS, [])
