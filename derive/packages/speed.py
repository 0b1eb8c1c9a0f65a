"""What goes into the holes of the modules that are for speed: fast.py, native.py, the C, and what chooses of them."""

from collections.abc import Iterator
from math import prod
from typing import Any

from derive.backends.fast import FlatBlock
from derive.backends.torch import lines
from derive.packages.native import FASTER, faster_from, holes_of_device
from derive.packages.subject import Subject, classes_page, penalty_page, title_page
from derive.packages.templates import named_by_text
from derive.packages.text import no_rows_lines


def backends_page(subject: Subject) -> dict[str, Any]:
    return {**penalty_page(subject), "faster_from": faster_from(subject.network), "rule": FASTER}


def fast_page(subject: Subject) -> dict[str, Any]:
    network, plan = subject.network, subject.plan
    refusal = no_rows_lines(lines(subject.of_rows.program, subject.of_rows.equations))
    return {
        **title_page(subject),
        **penalty_page(subject),
        **classes_page(subject),
        "layout": plan.layout,
        "entries": network.entries,
        "entries_per_row": plan.entries("_make_rows"),
        "hessian_entries_per_row": plan.entries("_make_hvp"),
        "refuse_no_rows": refusal,
        "inputs": network.layers[0],
        "outputs": network.layers[-1],
        "scale": [*refusal, "self._results.div_(N)"] if refusal else [],
        "steps": plan.steps,
        "blocks": plan.blocks,
        "blocks_meaning": plan.blocks_meaning,
        "views": [{"number": number, **view} for number, view in enumerate(flat_views(plan.blocks))],
    }


def flat_views(blocks: list[FlatBlock]) -> Iterator[dict[str, Any]]:
    """Each parameter: its name, how many entries of a flat vector it has, and its shape as a view of these."""
    for part in (part for block in blocks for part in block.parts):
        sizes = ", ".join(map(str, part.shape[::-1] if part.transposed else part.shape))
        view = f".view(*rows, {sizes}){'.mT' if part.transposed else ''}"
        yield {"name": part.name, "size": prod(part.shape), "cut": view if len(part.shape) == 2 else ""}


def c_page(subject: Subject) -> dict[str, Any]:
    source, _ = subject.native
    return {**title_page(subject), **source, "identity": subject.header["identity"]}


def header_page(subject: Subject) -> dict[str, Any]:
    return subject.header


def device_page(subject: Subject) -> dict[str, Any]:
    of_device = holes_of_device(subject.network, subject.of_rows, subject.of_penalty, subject.plan.blocks)
    return named_by_text("device.h.j2", {**title_page(subject), **of_device})


def native_page(subject: Subject) -> dict[str, Any]:
    return {**title_page(subject), **penalty_page(subject), "identity": subject.header["identity"]}
