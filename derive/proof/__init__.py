"""Shows that emitted source is the gradient: a torch that computes with symbols, definitions, and a judge."""

from derive.proof.certificate import Certificate
from derive.proof.expressions import certify
from derive.proof.judge import Judge, NotProved
from derive.proof.networks import prove

__all__ = ["Certificate", "Judge", "NotProved", "certify", "prove"]
