"""Documents as Markdown, LaTeX, HTML and SVG."""

from derive.paper.formats.page import Page
from derive.paper.formats.pages import HtmlPage, MarkdownPage, TexPage
from derive.paper.formats.svg import svg

__all__ = [
    "HtmlPage",
    "MarkdownPage",
    "Page",
    "TexPage",
    "svg",
]
