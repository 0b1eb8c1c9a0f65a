"""The one theorem, the sweep back and the sweep forward, and closed forms."""

from derive.calculus.closed import ClosedForms, coefficient
from derive.calculus.reverse import derive, reachable
from derive.calculus.tangent import tangents
from derive.calculus.theorem import elementwise_pullback, pullback, pushforward, rule

__all__ = [
    "ClosedForms",
    "coefficient",
    "derive",
    "elementwise_pullback",
    "pullback",
    "pushforward",
    "reachable",
    "rule",
    "tangents",
]
