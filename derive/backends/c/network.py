"""A network's gradient as C: what goes into the holes of network.c and network.h."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sympy import MatrixSymbol

from derive.backends.c.fits import DOUBLE, KEPT_DIGITS, SINGLE, constants
from derive.backends.c.library import BITS, c_definitions
from derive.backends.c.penalty import PenaltyPrinter
from derive.backends.c.printer import CPrinter, Place
from derive.programs import Equation, Program

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
        "float_constants": [{"name": name, "value": value} for name, value in constants(SINGLE).items()],
        "double_constants": [{"name": name, "value": value} for name, value in constants(DOUBLE).items()],
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
        "entries": sum(printer.size(s.shape[0]) * printer.size(s.shape[1]) for s in program.parameters),
        "block": min(MANY_ROWS, max(FEW_ROWS, CACHE // features // LANES * LANES)),
        "features": features,
    }
    return source, header


def functions(printer: CPrinter, single: bool = False) -> list[str]:
    """The numbers and functions that a printer has needed, `single` in float alone."""
    definitions = list(printer.definitions())
    numbers = (
        f"static const real {name} = {(SINGLE if single else DOUBLE).rounded(expr.evalf(KEPT_DIGITS))}; /* {expr} */"
        for expr, name in printer.numbers.items()
    )
    return split_lines([BITS, *numbers, "", *c_definitions(set(printer.functions), single), *definitions])


def split_lines(texts: Iterable[str]) -> list[str]:
    return [line for text in texts for line in text.splitlines()]
