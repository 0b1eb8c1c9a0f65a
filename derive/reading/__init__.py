"""Turns a network or a matrix expression into a straight-line program."""

from derive.reading.expression import Reader
from derive.reading.forward import forward

__all__ = [
    "Reader",
    "forward",
]
