"""Shows that emitted source is the gradient: a torch that computes with symbols, definitions, and a judge."""

from derive.proof.as_written import check_imports, texts_of_build
from derive.proof.certificate import Certificate, Evidence, NotProved, Undecided
from derive.proof.expressions import MOST_SYMBOLS, certify
from derive.proof.intermediates import Intermediates
from derive.proof.judge import Judge
from derive.proof.networks import TooWide, prove
from derive.proof.precision import differing_digits, settled, step
from derive.proof.stand_in import torch_stand_in
from derive.proof.tensor import BOOL, Tensor, symbol_entries, symbols

__all__ = [
    "BOOL",
    "MOST_SYMBOLS",
    "Certificate",
    "Evidence",
    "Intermediates",
    "Judge",
    "NotProved",
    "Tensor",
    "TooWide",
    "Undecided",
    "certify",
    "check_imports",
    "differing_digits",
    "prove",
    "settled",
    "step",
    "symbol_entries",
    "symbols",
    "texts_of_build",
    "torch_stand_in",
]
