"""Documents as Markdown, LaTeX, HTML and SVG."""

from derive.paper.formats.page import Page
from derive.paper.formats.pages import HtmlPage, MarkdownPage, TexPage, svg

__all__ = [
    "HtmlPage",
    "MarkdownPage",
    "Page",
    "TexPage",
    "svg",
]
