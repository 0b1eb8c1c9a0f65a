"""Programs as readable torch code."""

from derive.backends.torch.printer import ONE, Line, TorchFormulas, TorchPrinter, lines, rows_summands, spell

__all__ = ["ONE", "Line", "TorchFormulas", "TorchPrinter", "lines", "rows_summands", "spell"]
