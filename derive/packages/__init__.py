"""Which template makes which file of a package."""

from derive.packages.digits import lost_digits, lost_digits_of
from derive.packages.emit import (
    ON_DEMAND,
    TARGETS,
    document_pages,
    expression_pages,
    expression_source,
    layer_source,
    render,
)
from derive.packages.expression import dimension_lines, forward_text
from derive.packages.templates import page
from derive.packages.text import imports

__all__ = [
    "ON_DEMAND",
    "TARGETS",
    "dimension_lines",
    "document_pages",
    "expression_pages",
    "expression_source",
    "forward_text",
    "imports",
    "layer_source",
    "lost_digits",
    "lost_digits_of",
    "page",
    "render",
]
