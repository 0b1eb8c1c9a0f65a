"""Losses as scalar SymPy formulas in the prediction p and the target y, entry by entry; the reduction adds the entries.

To add one, add a row to LOSSES. The names are those of torch.nn.functional.
"""

from sympy import Expr, Symbol

p = Symbol("p", real=True)
y = Symbol("y", real=True)

LOSSES: dict[str, Expr] = {
    "mse_loss": (p - y) ** 2,
}

REDUCTIONS = ("sum", "mean")
