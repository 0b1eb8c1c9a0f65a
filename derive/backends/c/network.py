"""A network's gradient as C: what goes into the holes of network.c, of network.h, and of device.h."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from sympy import MatrixSymbol

from derive.backends.c.fits import DOUBLE, KEPT_DIGITS, SINGLE, Precision, constants
from derive.backends.c.library import BITS, c_definitions
from derive.backends.c.penalty import PenaltyPrinter
from derive.backends.c.printer import CPrinter, Place
from derive.programs import Equation, Program

REAL_BYTES = 4  # of a number on a device
LANES = 16  # rows in the widest vector
FEW_ROWS, MANY_ROWS, CACHE = 128, 512, 49152  # rows at a time, at least and at most, and their entries
POINT_ARGUMENT, ROW_ARGUMENTS = "const real *parameters", "const real *x_rows, const real *y_rows"
HEADS = {
    "gradient": {
        "name": "add_gradient",
        "words": "Adds the gradient and the loss of so many of N rows.",
        "arguments": f"{POINT_ARGUMENT}, {ROW_ARGUMENTS}, real N, real *matrices, real *sums",
    },
    "hvp": {
        "name": "add_hvp",
        "words": "Adds the Hessian of the loss of so many of N rows, times the direction.",
        "arguments": f"{POINT_ARGUMENT}, const real *direction, {ROW_ARGUMENTS}, real N, real *matrices, real *sums",
    },
    "per_sample": {
        "name": "each_gradient",
        "words": "Puts the gradient of each of so many of N rows into a column.",
        "arguments": f"{POINT_ARGUMENT}, {ROW_ARGUMENTS}, long N, real *matrices, real *to",
    },
}
GRADIENT = {
    "name": "gradient",
    "add": "add_gradient",
    "point": POINT_ARGUMENT,
    "given": "parameters",
    "results": "real *loss, real *gradient",
    "fields": "given->parameters, given->x, given->y, given->N, given->loss, given->gradient",
    "result": "gradient",
}
HVP = {
    "name": "hvp",
    "add": "add_hvp",
    "point": f"{POINT_ARGUMENT}, const real *direction",
    "given": "parameters, direction",
    "results": "real *product",
    "fields": "given->parameters, given->direction, given->x, given->y, given->N, given->product",
    "result": "product",
}
PENALTY = {
    "name": "penalty",
    "words": "Adds the penalty on the weights and its gradient.",
    "arguments": POINT_ARGUMENT,
}
PENALTY_HVP = {
    "name": "penalty_hvp",
    "words": "Adds the Hessian of the penalty times the direction.",
    "arguments": f"{POINT_ARGUMENT}, const real *direction",
}


@dataclass(frozen=True)
class CSweep:
    """Equations of a program, and the parameter of each symbol that is a gradient, or a Hessian times a direction."""

    program: Program
    equations: tuple[Equation, ...]
    results: Mapping[MatrixSymbol, MatrixSymbol]


def network_holes(
    sweeps: Mapping[str, CSweep], places: Mapping[str, Place], penalty: CSweep | None, penalty_hvp: CSweep | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The holes of network.c and of network.h.

    `sweeps` are those of gradient, hvp and per_sample; `places` says where each parameter lies, by its name. The
    penalty and its Hessian times a direction come by themselves, where there is a penalty.
    """
    program = sweeps["gradient"].program
    printer = CPrinter(program, places)
    made = {name: printer.body(sweep.equations, sweep.results, name == "per_sample") for name, sweep in sweeps.items()}
    penalties = [
        {**head, "lines": PenaltyPrinter(sweep.program, printer).loops(sweep.equations, sweep.results)}
        for head, sweep in ((PENALTY, penalty), (PENALTY_HVP, penalty_hvp))
        if sweep is not None
    ]
    features = max(body.features for body in made.values())
    of_rows = f"totals[ENTRIES] += {printer.total(sweeps['gradient'].equations, 'work->part[ENTRIES]')};"
    source = {
        "float_constants": defined_constants(SINGLE),
        "double_constants": defined_constants(DOUBLE),
        "functions": functions(printer),
        "bodies": [{**HEADS[name], "pointers": body.pointers, "lines": body.lines} for name, body in made.items()],
        "penalties": penalties,
        "sums": [
            {
                **GRADIENT,
                "loss_of_rows": [of_rows],
                "penalty": ["NETWORK(penalty)(parameters, work->totals);"] * bool(penalty),
                "loss": ["*loss = (real)work->totals[ENTRIES];"],
            },
            {
                **HVP,
                "loss_of_rows": [],
                "penalty": ["NETWORK(penalty_hvp)(parameters, direction, work->totals);"] * bool(penalty_hvp),
                "loss": [],
            },
        ],
    }
    header = {
        "entries": entry_number(printer),
        "block": min(MANY_ROWS, max(FEW_ROWS, CACHE // features // LANES * LANES)),
        "features": features,
    }
    return source, header


def device_holes(sweep: CSweep, places: Mapping[str, Place], penalty: CSweep | None) -> dict[str, Any]:
    """The holes of device.h, of the sweep of a gradient; `places` says where each parameter lies, by its name.

    Raises ValueError where a formula has sin or cos, whose angles are turned back in double.
    """
    printer = CPrinter(sweep.program, places)
    body = printer.body(sweep.equations, sweep.results, False)
    penalties = [PenaltyPrinter(penalty.program, printer).loops(penalty.equations, penalty.results)] if penalty else []
    printer.functions["sqrt"] = None  # of Adam
    called = functions(printer, single=True)
    if printer.functions.keys() & {"sin", "cos"}:
        raise ValueError("--device: sin and cos are computed in double here; a network without them needs float alone")
    entries = entry_number(printer)
    sgd = REAL_BYTES * (2 * entries + 1 + body.features)
    return {
        "entries": entries,
        "features": body.features,
        "sgd_bytes": sgd,
        "adam_bytes": sgd + REAL_BYTES * (2 * entries + 2),
        "constants": defined_constants(SINGLE),
        "functions": called,
        "pointers": body.pointers,
        "lines": body.lines,
        "penalties": penalties,
        "loss": printer.total(sweep.equations, "sums[ENTRIES]"),
    }


def defined_constants(precision: Precision) -> list[str]:
    return [f"#define {name} {value}" for name, value in constants(precision).items()]


def entry_number(printer: CPrinter) -> int:
    """How many entries a flat vector has."""
    return sum(prod(map(printer.size, symbol.shape)) for symbol in printer.program.parameters)


def functions(printer: CPrinter, single: bool = False) -> list[str]:
    """The numbers and functions that a printer has needed, `single` in float alone."""
    definitions = list(printer.definitions())
    numbers = (
        f"static const real {name} = {(SINGLE if single else DOUBLE).rounded(expr.evalf(KEPT_DIGITS))}; /* {expr} */"
        for expr, name in printer.numbers.items()
    )
    texts = [BITS, *numbers, "", *c_definitions(set(printer.functions), single), *definitions]
    return [line for text in texts for line in text.splitlines()]
