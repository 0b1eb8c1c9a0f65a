"""Which template makes which file of a package."""

from derive.packages.emit import expression_source, render

__all__ = [
    "expression_source",
    "render",
]
