"""The one theorem, the sweep back and the sweep forward, what they make of a loss, and closed forms."""

from derive.calculus.abbreviated import abbreviated
from derive.calculus.closed import ClosedForms, check_letters
from derive.calculus.derivations import Computed, hvp, input_grad, jvp, of_parameters_alone, per_sample_grad
from derive.calculus.hessians import coefficient
from derive.calculus.named_slopes import with_slopes
from derive.calculus.reverse import derive, reachable
from derive.calculus.theorem import between_jumps, operation, pull_back, push_forward, rule

__all__ = [
    "ClosedForms",
    "Computed",
    "abbreviated",
    "between_jumps",
    "check_letters",
    "coefficient",
    "derive",
    "hvp",
    "input_grad",
    "jvp",
    "of_parameters_alone",
    "operation",
    "per_sample_grad",
    "pull_back",
    "push_forward",
    "reachable",
    "rule",
    "with_slopes",
]
