"""Torch modules: their graphs as torch.export records them, what each operation is by definition, and audits."""

from derive.modules.named import example_of, named_module
from derive.modules.refusal import Refused, Wrong
from derive.modules.verdict import Verdict, audit

__all__ = ["Refused", "Verdict", "Wrong", "audit", "example_of", "named_module"]
