"""The derivation as a document: sections, steps, rules, worked numbers, figures, in LaTeX."""

from derive.paper.blocks import (
    Block,
    Boxed,
    Broken,
    Bullets,
    Chain,
    Display,
    Listing,
    Paragraph,
    Picture,
    Section,
    Table,
)
from derive.paper.document import expression_document, glossary, network_document, network_title
from derive.paper.figures import Circle, Figure, Label, Segment
from derive.paper.latex import derivation_latex

__all__ = [
    "Block",
    "Boxed",
    "Broken",
    "Bullets",
    "Chain",
    "Circle",
    "Display",
    "Figure",
    "Label",
    "Listing",
    "Paragraph",
    "Picture",
    "Section",
    "Segment",
    "Table",
    "derivation_latex",
    "expression_document",
    "glossary",
    "network_document",
    "network_title",
]
