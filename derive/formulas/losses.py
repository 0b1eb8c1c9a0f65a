"""Losses as scalar SymPy formulas in the prediction p and the target y, entry by entry; the reduction adds the entries.

To add one, add a row to LOSSES. The names are those of torch.nn.functional, with torch's defaults. A formula may use
logsumexp(p), the log of the sum of exp over the row, and largest(p), its largest entry: they couple its entries.
"""

from dataclasses import dataclass

from sympy import Abs, Add, Expr, Function, Piecewise, Rational, Symbol, exp, log

from derive.formulas.stable import logsigmoid

p = Symbol("p", real=True)
y = Symbol("y", real=True)
w = Symbol("w", real=True)  # a weight, in a penalty


class OfRow(Function):
    """A number of the whole row; its argument is any entry of that row."""

    nargs = 1

    def _eval_is_extended_real(self) -> bool:
        return True


class logsumexp(OfRow):
    """log of the sum over the row of exp."""


class largest(OfRow):
    """The largest entry; where several are, it moves with each by an equal share, as torch's amax."""


def apart(formula: Expr, whole: Expr, q: Expr, u: Expr, m: Expr) -> Expr:
    """The formula with k (whole - q) in its sums as k (m - u).

    For whole = logsumexp(q), u = q - c and m = logsumexp(u) the two are one; c, which may be large, is not in m - u.
    """

    def in_sum(part: Add) -> Expr:
        k = part.coeff(whole)
        others = part - k * whole
        rest = others + k * q
        shorter = rest == 0 or len(Add.make_args(rest)) < len(Add.make_args(others))
        return rest + k * (m - u) if k != 0 and shorter else part

    return formula.replace(lambda part: isinstance(part, Add) and part.has(whole), in_sum)


@dataclass(frozen=True)
class Loss:
    """A formula in p and y; a mean divides by the number of entries, or of rows if `per_row`, a batchmean by the rows.

    Targets are numbers from 0 to 1; with `distribution` those of a row add up to 1.

    `torch` calls torch's own, with {p}, {y} and {reduction} to fill in; empty if torch has none.
    """

    formula: Expr
    torch: str = ""
    per_row: bool = False
    distribution: bool = False


def _in_torch(name: str, arguments: str = "{p}, {y}") -> str:
    return f'torch.nn.functional.{name}({arguments}, reduction="{{reduction}}")'


_d = p - y
_near = Piecewise((_d**2 / 2, Abs(_d) < 1), (Abs(_d) - Rational(1, 2), True))
_log_p = Piecewise((-100, log(p) <= -100), (log(p), True))  # nan where p is
_log_1_p = Piecewise((-100, log(1 - p) <= -100), (log(1 - p), True))

LOSSES: dict[str, Loss] = {
    "mse_loss": Loss(_d**2, _in_torch("mse_loss")),
    "squared_error": Loss(_d**2),  # the assignment's, without 1/N
    "l1_loss": Loss(Abs(_d), _in_torch("l1_loss")),
    "smooth_l1_loss": Loss(_near, _in_torch("smooth_l1_loss")),
    "huber_loss": Loss(_near, _in_torch("huber_loss")),
    "binary_cross_entropy_with_logits": Loss(
        -y * logsigmoid(p) - (1 - y) * logsigmoid(-p), _in_torch("binary_cross_entropy_with_logits")
    ),
    # torch's own backward divides by max(p (1 - p), 1e-12), which is no derivative: past |logit| 27 the two differ
    "binary_cross_entropy": Loss(-y * _log_p - (1 - y) * _log_1_p, _in_torch("binary_cross_entropy")),
    "cross_entropy": Loss(y * (logsumexp(p) - p), _in_torch("cross_entropy"), per_row=True, distribution=True),
    "poisson_nll_loss": Loss(exp(p) - y * p, _in_torch("poisson_nll_loss")),
    "soft_margin_loss": Loss(-logsigmoid(y * p), _in_torch("soft_margin_loss")),
    "gaussian_nll_loss": Loss(
        _d**2 / 2, _in_torch("gaussian_nll_loss", "{p}, {y}, torch.ones_like({y})")
    ),  # variance 1
    "kl_div": Loss(Piecewise((0, y <= 0), (y * (log(y) - p), True)), _in_torch("kl_div"), distribution=True),
}

REDUCTIONS = ("sum", "mean", "batchmean")  # torch.nn.functional's words; the last divides the sum by the rows
