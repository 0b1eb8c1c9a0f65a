"""Finds the slip in somebody's gradient: made in the derivation's own equations, it gives their numbers."""

from derive.diagnosis.diagnosis import Diagnostician, diagnose, drawn_point
from derive.diagnosis.expressions import ExpressionDoctor
from derive.diagnosis.report import Diagnosis, Explanation, GradientVerdict, by_name, relation_words
from derive.diagnosis.written import Misread, Written, named, written_arrays

__all__ = [
    "Diagnosis",
    "Diagnostician",
    "Explanation",
    "ExpressionDoctor",
    "GradientVerdict",
    "Misread",
    "Written",
    "by_name",
    "diagnose",
    "drawn_point",
    "named",
    "relation_words",
    "written_arrays",
]
