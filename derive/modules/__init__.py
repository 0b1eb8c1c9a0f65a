"""Torch modules: their graphs as torch.export records them, what each operation is by definition, and audits."""

from derive.modules.entries import Array, each, exact_numbers, exactly, inner, is_float, of_data
from derive.modules.evaluate import MEANINGLESS, OPERATIONS, definition, detaches, is_passed_over, row, run, step_value
from derive.modules.graph import Module, recorded, results
from derive.modules.identity import is_extreme, symbols
from derive.modules.named import add_module, module_and_example
from derive.modules.points import AGREEING, Different, Point, defined, in_decimals
from derive.modules.refusal import DROPOUT, Refused, Wrong
from derive.modules.sizes import different_sizes, telling_sizes
from derive.modules.steps import Graph, Input, Ref, Step
from derive.modules.trial import described
from derive.modules.verdict import Verdict, audit
from derive.modules.windows import per_axis
from derive.modules.written import COTANGENT

__all__ = [
    "AGREEING",
    "COTANGENT",
    "DROPOUT",
    "MEANINGLESS",
    "OPERATIONS",
    "Array",
    "Different",
    "Graph",
    "Input",
    "Module",
    "Point",
    "Ref",
    "Refused",
    "Step",
    "Verdict",
    "Wrong",
    "add_module",
    "audit",
    "defined",
    "definition",
    "described",
    "detaches",
    "different_sizes",
    "each",
    "exact_numbers",
    "exactly",
    "in_decimals",
    "inner",
    "is_extreme",
    "is_float",
    "is_passed_over",
    "module_and_example",
    "of_data",
    "per_axis",
    "recorded",
    "results",
    "row",
    "run",
    "step_value",
    "symbols",
    "telling_sizes",
]
