"""Scalar formulas: the tables of activations and losses, typed formulas, slopes, forms that do not overflow."""

from derive.formulas.compiled import compiled, in_mpmath, over_entries
from derive.formulas.fractions import is_fraction
from derive.formulas.functions import FUNCTIONS
from derive.formulas.losses import LOSSES, REDUCTIONS, Loss, OfRow, apart, logsumexp, p, w, y
from derive.formulas.rewritten import LOGARITHMS, rewritten
from derive.formulas.stable import (
    AUXILIARY,
    NamedFunction,
    erfc,
    erfcx,
    in_powers_of,
    log1p,
    opened,
    over,
    root,
    sigmoid,
    slope_of_function,
    stable,
    z,
)
from derive.formulas.typed import ELEMENTWISE, absolute, check_count, parse, shortened

__all__ = [
    "AUXILIARY",
    "ELEMENTWISE",
    "FUNCTIONS",
    "LOGARITHMS",
    "LOSSES",
    "REDUCTIONS",
    "Loss",
    "NamedFunction",
    "OfRow",
    "absolute",
    "apart",
    "check_count",
    "compiled",
    "erfc",
    "erfcx",
    "in_mpmath",
    "in_powers_of",
    "is_fraction",
    "log1p",
    "logsumexp",
    "opened",
    "over",
    "over_entries",
    "p",
    "parse",
    "rewritten",
    "root",
    "shortened",
    "sigmoid",
    "slope_of_function",
    "stable",
    "w",
    "y",
    "z",
]
