"""Torch modules: their graphs as torch.export records them, what each operation is by definition, and audits."""

from derive.modules.entries import Array, decimal, each, exactly, inner, is_float, lifted_by
from derive.modules.entrywise import ENTRYWISE_OPERATIONS
from derive.modules.evaluate import (
    MEANINGLESS,
    definition,
    detaches,
    is_passed_over,
    known_at_first,
    row,
    run,
    steps_evaluated,
)
from derive.modules.graph import Module, recorded, results
from derive.modules.identity import has_largest, symbols_of
from derive.modules.layers import RMS_EPSILON
from derive.modules.layout import ENDLESS
from derive.modules.named import add_module, module_and_example
from derive.modules.points import AGREEING, Different, ModulePoint, point_with_value
from derive.modules.refusal import DROPOUT, Refused, Wrong
from derive.modules.sizes import different_sizes, large_sizes, least_sizes, one_row, telling_sizes
from derive.modules.steps import Graph, Input, Ref, Step
from derive.modules.trial import example_shapes, gives_autograds
from derive.modules.verdict import Verdict, audit
from derive.modules.windows import per_axis
from derive.modules.written import COTANGENT_NAME

__all__ = [
    "AGREEING",
    "COTANGENT_NAME",
    "DROPOUT",
    "ENDLESS",
    "ENTRYWISE_OPERATIONS",
    "MEANINGLESS",
    "RMS_EPSILON",
    "Array",
    "Different",
    "Graph",
    "Input",
    "Module",
    "ModulePoint",
    "Ref",
    "Refused",
    "Step",
    "Verdict",
    "Wrong",
    "add_module",
    "audit",
    "decimal",
    "definition",
    "detaches",
    "different_sizes",
    "each",
    "exactly",
    "example_shapes",
    "gives_autograds",
    "has_largest",
    "inner",
    "is_float",
    "is_passed_over",
    "known_at_first",
    "large_sizes",
    "least_sizes",
    "lifted_by",
    "module_and_example",
    "one_row",
    "per_axis",
    "point_with_value",
    "recorded",
    "results",
    "row",
    "run",
    "steps_evaluated",
    "symbols_of",
    "telling_sizes",
]
