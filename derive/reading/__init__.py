"""Turns a network or a matrix expression into a straight-line program."""

from derive.reading import matrices, scalars  # which give Reader its rules
from derive.reading.forward import forward
from derive.reading.reader import Reader
from derive.reading.rolled import rolled

__all__ = [
    "Reader",
    "forward",
    "matrices",
    "rolled",
    "scalars",
]
