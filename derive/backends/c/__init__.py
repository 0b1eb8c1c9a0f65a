"""Programs as C that needs no library."""

from derive.backends.c.network import Sweep, network_holes
from derive.backends.c.printer import Place

__all__ = ["Place", "Sweep", "network_holes"]
