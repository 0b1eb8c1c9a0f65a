"""Finds the slip in somebody's gradient: made in the derivation's own equations, it gives their numbers."""

from derive.diagnosis.diagnosis import Diagnostician, diagnose, drawn_point
from derive.diagnosis.expressions import ExpressionDoctor
from derive.diagnosis.report import Diagnosis, by_name, relation_words
from derive.diagnosis.written import Misread, Written, named

__all__ = [
    "Diagnosis",
    "Diagnostician",
    "ExpressionDoctor",
    "Misread",
    "Written",
    "by_name",
    "diagnose",
    "drawn_point",
    "named",
    "relation_words",
]
