"""The derivation as exercises: its lines with gaps, and what is wrong in lines that somebody has filled."""

from derive.exercises.answers import Examiner, filled_lines
from derive.exercises.sheet import exercise_sheet

__all__ = ["Examiner", "exercise_sheet", "filled_lines"]
