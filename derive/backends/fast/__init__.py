"""Programs as torch code on buffers that are allocated once."""

from derive.backends.fast.schedule import schedule
from derive.backends.fast.steps import Block

__all__ = [
    "Block",
    "schedule",
]
