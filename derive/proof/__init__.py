"""Shows that emitted source is the gradient: a torch that computes with symbols, definitions, and a judge."""

from derive.proof.expressions import LossCertificate, certify
from derive.proof.judge import NotProved
from derive.proof.networks import prove

__all__ = ["LossCertificate", "NotProved", "certify", "prove"]
