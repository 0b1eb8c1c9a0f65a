"""Scalar formulas: the tables of activations and losses, typed formulas, slopes, forms that do not overflow."""

from derive.formulas.compiled import compiled, over_entries
from derive.formulas.fractions import is_fraction
from derive.formulas.functions import FUNCTIONS
from derive.formulas.losses import LOSSES, REDUCTIONS, Loss, apart, logsumexp, p, w, y
from derive.formulas.rewritten import LOGARITHMS, rewritten
from derive.formulas.stable import NamedFunction, opened, sigmoid, slope, stable, z
from derive.formulas.typed import parse, shown

__all__ = [
    "FUNCTIONS",
    "LOGARITHMS",
    "LOSSES",
    "REDUCTIONS",
    "Loss",
    "NamedFunction",
    "apart",
    "compiled",
    "is_fraction",
    "logsumexp",
    "opened",
    "over_entries",
    "p",
    "parse",
    "rewritten",
    "shown",
    "sigmoid",
    "slope",
    "stable",
    "w",
    "y",
    "z",
]
