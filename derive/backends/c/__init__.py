"""Programs as C that needs no library."""

from derive.backends.c.network import CSweep, device_holes, network_holes
from derive.backends.c.printer import Place
from derive.backends.c.shared import each_value_once

__all__ = ["CSweep", "Place", "device_holes", "each_value_once", "network_holes"]
