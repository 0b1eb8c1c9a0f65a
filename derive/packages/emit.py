"""Which template makes which file."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from sympy import MatrixExpr, MatrixSymbol

from derive.packages.documents import (
    derivation_page,
    figure_page,
    figures,
    html_holes,
    html_page,
    page_holes,
)
from derive.packages.expression import expression_page, function_page, pullback_page
from derive.packages.readable import backward_page, steps_page
from derive.packages.reference import reference_page, run_page, train_page
from derive.packages.speed import backends_page, c_page, device_page, fast_page, header_page, native_page
from derive.packages.subject import Subject, subject_of, title_page
from derive.packages.templates import DERIVE, page
from derive.paper import SHOWN_AS_DRAWN, Section, Shown, glossary, prose
from derive.paper.formats import MarkdownPage, Page, TexPage, svg
from derive.problems import Network
from derive.programs import Derivation, Program


def plain_page(subject: Subject) -> dict[str, Any]:
    return {}


def command_page(subject: Subject) -> dict[str, Any]:
    """The commands of a package end as those of derive do."""
    return {"source": (DERIVE / "system" / "command.py").read_text(encoding="utf-8").splitlines()}


def data_page(subject: Subject) -> dict[str, Any]:
    network = subject.network
    return {"inputs": network.layers[0], "outputs": network.layers[-1], "classes": network.takes_classes}


def given_page(subject: Subject) -> dict[str, Any]:
    """The reader of numbers in TOML, which a package shares with derive."""
    source = (DERIVE / "system" / "given.py").read_text(encoding="utf-8")
    return {"source": source.replace("from derive.system.command", "from .command").splitlines()}


FORMATS: dict[str, Page] = {"derivation.md": MarkdownPage(), "derivation.tex": TexPage()}
TARGETS: dict[str, Callable[[Subject], dict[str, Any] | None]] = {
    "__init__.py": title_page,
    "backends.py": backends_page,
    "backward.py": backward_page,
    "command.py": command_page,
    "computation.svg": figure_page("computation"),
    "dat.py": plain_page,
    "data.py": data_page,
    "derivation.html": html_page,
    **{name: derivation_page(of) for name, of in FORMATS.items()},
    "function.py": title_page,
    "given.py": given_page,
    "network.svg": figure_page("network"),
    "numbers.svg": figure_page("numbers"),
    "quotients.svg": figure_page("quotients"),
    "slopes.svg": figure_page("slopes"),
    "weight.svg": figure_page("weight"),
    "fast.py": fast_page,
    "reference.py": reference_page,
    "native.py": native_page,
    "network.c": c_page,
    "network.h": header_page,
    "ranks.py": plain_page,
    "run.py": run_page,
    "show.py": plain_page,
    "steps.py": steps_page,
    "train.py": train_page,
    "weights.py": plain_page,
}
ON_DEMAND: dict[str, Callable[[Subject], dict[str, Any] | None]] = {
    "device.h": device_page,
    "sheet.tex": derivation_page(TexPage(), sheet=True),
}


def template_of(name: str) -> str:
    """The template of a file: its own, but figures share one, and the sheet is a derivation of one section."""
    return f"{'figure.svg' if name.endswith('.svg') else name.replace('sheet', 'derivation')}.j2"


def render(network: Network, names: Iterable[str] = tuple(TARGETS), shown: Shown = SHOWN_AS_DRAWN) -> dict[str, str]:
    """The text of each file of the package for a network, or of those that are named; pages show those numbers.

    A figure that the pages do not have is no file.

    Raises ValueError where a template is missing, no template, or has a hole that nothing fills.
    """
    subject = replace(subject_of(network), shown=shown)
    targets = TARGETS | ON_DEMAND
    holes = {name: targets[name](subject) for name in names}
    return {name: page(template_of(name), of) for name, of in holes.items() if of is not None}


def expression_pages(derivation: Derivation, headline: str, document: list[Section]) -> dict[str, str]:
    """The derivation of a matrix expression, in each format."""
    return document_pages(headline, prose("about.expression"), document, glossary(derivation))


def document_pages(
    title: str, about: str, document: list[Section], terms: list[dict[str, str]] | None = None
) -> dict[str, str]:
    """A document in each format and as HTML, which shows the terms of a glossary, and its figures."""
    return {
        **{name: page(template_of(name), page_holes(of, title, document)) for name, of in FORMATS.items()},
        "derivation.html": page("derivation.html.j2", html_holes(title, about, document, terms or [])),
        **{f"{name}.svg": page("figure.svg.j2", {"figure": svg(figure)}) for name, figure in figures(document).items()},
    }


def expression_source(derivation: Derivation, title: str, function: bool) -> str:
    """The module of a matrix expression."""
    text = page("expression.py.j2", expression_page(derivation, title))
    if function:
        text += page("expression_function.py.j2", function_page(derivation))
    return text


def layer_source(program: Program, result: MatrixExpr, cotangent: MatrixSymbol, derivation: Derivation) -> str:
    """What follows the module of a pullback: the matrix itself, and as a function of autograd."""
    return page("expression_layer.py.j2", pullback_page(program, result, cotangent, derivation))
