"""What is to be differentiated: a network, the settings that describe it, and where it is undefined."""

from derive.problems.domain import warnings
from derive.problems.network import Network, parse_activations, parse_layers
from derive.problems.settings import ANEW, network_of, settings, text_of

__all__ = [
    "ANEW",
    "Network",
    "network_of",
    "parse_activations",
    "parse_layers",
    "settings",
    "text_of",
    "warnings",
]
