"""Programs as readable torch code."""

from derive.backends.torch.printer import (
    IN_PLACE,
    INTO,
    KERNELS,
    NUMBER_FUNCTIONS,
    ONE,
    PULLBACKS,
    WIDTH,
    Line,
    TorchPrinter,
    lines,
    spell,
    summands,
)

__all__ = [
    "INTO",
    "IN_PLACE",
    "KERNELS",
    "NUMBER_FUNCTIONS",
    "ONE",
    "PULLBACKS",
    "WIDTH",
    "Line",
    "TorchPrinter",
    "lines",
    "spell",
    "summands",
]
