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
    Values,
)
from derive.paper.document import expression_document, glossary, network_document, network_title
from derive.paper.figures import Circle, Curve, Figure, Label, Segment
from derive.paper.latex import derivation_latex
from derive.paper.passes import goal, step_lines, step_title
from derive.paper.prose import prose
from derive.paper.rules import examples
from derive.paper.worked import DECIMALS, MOST_DECIMALS, SHOWN_AS_DRAWN, Shown

__all__ = [
    "DECIMALS",
    "MOST_DECIMALS",
    "SHOWN_AS_DRAWN",
    "Block",
    "Boxed",
    "Broken",
    "Bullets",
    "Chain",
    "Circle",
    "Curve",
    "Display",
    "Figure",
    "Label",
    "Listing",
    "Paragraph",
    "Picture",
    "Section",
    "Segment",
    "Shown",
    "Table",
    "Values",
    "derivation_latex",
    "examples",
    "expression_document",
    "glossary",
    "goal",
    "network_document",
    "network_title",
    "prose",
    "step_lines",
    "step_title",
]
