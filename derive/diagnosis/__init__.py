"""Finds the slip in somebody's gradient: made in the derivation's own equations, it gives their numbers."""

from derive.diagnosis.diagnosis import Diagnosis, Diagnostician, Explanation, Verdict, diagnose, drawn_inputs, relation
from derive.diagnosis.written import Misread, Written, named, written

__all__ = [
    "Diagnosis",
    "Diagnostician",
    "Explanation",
    "Misread",
    "Verdict",
    "Written",
    "diagnose",
    "drawn_inputs",
    "named",
    "relation",
    "written",
]
