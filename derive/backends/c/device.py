"""A network's training steps as C for devices: what goes into the holes of device.h."""

from collections.abc import Mapping
from typing import Any

from derive.backends.c.fits import SINGLE, constants
from derive.backends.c.network import CSweep, functions
from derive.backends.c.penalty import PenaltyPrinter
from derive.backends.c.printer import CPrinter, Place

REAL_BYTES = 4  # bytes


def device_holes(sweep: CSweep, places: Mapping[str, Place], penalty: CSweep | None) -> dict[str, Any]:
    """The holes of device.h, of the sweep of a gradient; `places` says where each parameter lies, by its name.

    Raises ValueError where a formula has sin or cos, whose angles are turned back in double.
    """
    program = sweep.program
    printer = CPrinter(program, places)
    body = printer.body(sweep.equations, sweep.results, False)
    penalties = [PenaltyPrinter(penalty.program, printer).loops(penalty.equations, penalty.results)] if penalty else []
    printer.functions["sqrt"] = None  # of Adam
    called = functions(printer, single=True)
    if printer.functions.keys() & {"sin", "cos"}:
        raise ValueError("--device: sin and cos are computed in double here; a network without them needs float alone")
    entries = sum(printer.size(s.shape[0]) * printer.size(s.shape[1]) for s in program.parameters)
    sgd = REAL_BYTES * (2 * entries + 1 + body.features)
    return {
        "entries": entries,
        "features": body.features,
        "sgd_bytes": sgd,
        "adam_bytes": sgd + REAL_BYTES * (2 * entries + 2),
        "constants": [{"name": name, "value": value} for name, value in constants(SINGLE).items()],
        "functions": called,
        "pointers": body.pointers,
        "lines": body.lines,
        "penalties": penalties,
        "loss": printer.total(sweep.equations, "sums[ENTRIES]"),
    }
