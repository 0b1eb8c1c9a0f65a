"""Programs as torch code on buffers that are allocated once."""

from derive.backends.fast.schedule import Schedule, schedule
from derive.backends.fast.steps import FlatBlock

__all__ = [
    "FlatBlock",
    "Schedule",
    "schedule",
]
