"""What goes into the holes of the derivation, in each format, and of its figures."""

from collections.abc import Callable
from typing import Any

from derive.packages.subject import Subject
from derive.paper import Figure, Picture, Section, glossary, network_title, prose
from derive.paper.formats import HtmlPage, Page, svg


def derivation_page(page: Page, sheet: bool = False) -> Callable[[Subject], dict[str, Any]]:
    """The derivation as a document in the format of that page, or its first section alone, which is a sheet."""

    def holes(subject: Subject) -> dict[str, Any]:
        document = subject.document[:1] if sheet else subject.document
        return page_holes(page, network_title(subject.network), document)

    return holes


def page_holes(page: Page, title: str, document: list[Section]) -> dict[str, Any]:
    """A document, whose first section stands before the table of contents."""
    sheet, *others = page.sections(document)
    return {"title": page.text(title), "sheet": sheet, "sections": others}


def html_page(subject: Subject) -> dict[str, Any]:
    """The document as one file of HTML."""
    about = prose("about.derivation", what=f"`{subject.network}`")
    return html_holes(network_title(subject.network), about, subject.document, glossary(subject.derivation))


def html_holes(title: str, about: str, document: list[Section], terms: list[dict[str, str]]) -> dict[str, Any]:
    """A document as one file of HTML; the terms of a glossary say what to show beside a symbol."""
    page = HtmlPage({term["tex"]: term["name"] for term in terms})
    sections = page.sections(document)
    return {
        "contents": [placed for placed, section in zip(sections, document, strict=True) if section.level == 2],
        "title": page.text(title),
        "about": page.text(about),
        "sections": sections,
        "glossary": [
            {key: page.escape(term[key]) for key in ("name", "meaning", "shape", "code")}
            | {"formula": page.formula(term["tex"])}
            for term in terms
        ],
    }


def figure_page(name: str) -> Callable[[Subject], dict[str, Any] | None]:
    """One of the document's figures as SVG; None where it has none of that name."""

    def holes(subject: Subject) -> dict[str, Any] | None:
        figure = figures(subject.document).get(name)
        return None if figure is None else {"figure": svg(figure)}

    return holes


def figures(document: list[Section]) -> dict[str, Figure]:
    """The figures of a document by name."""
    blocks = (block for section in document for block in section.blocks)
    return {block.figure.name: block.figure for block in blocks if isinstance(block, Picture)}
