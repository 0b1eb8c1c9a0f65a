"""Programs as readable torch code."""

from derive.backends.torch.printer import ONE, Line, TorchFormulas, TorchPrinter, lines, spell, summands

__all__ = ["ONE", "Line", "TorchFormulas", "TorchPrinter", "lines", "spell", "summands"]
