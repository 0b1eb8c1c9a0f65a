"""Programs as readable torch code."""

from derive.backends.torch.printer import ONE, Line, TorchPrinter, lines, spell, summands

__all__ = ["ONE", "Line", "TorchPrinter", "lines", "spell", "summands"]
