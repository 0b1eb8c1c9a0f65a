"""Which template makes which file of a package."""

from derive.packages.emit import TARGETS, expression_source, render

__all__ = [
    "TARGETS",
    "expression_source",
    "render",
]
