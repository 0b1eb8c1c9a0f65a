"""What is to be differentiated: a network, its definitions, its settings in a file, and the package for it."""

from derive.problems.definitions import Definition, N, definitions
from derive.problems.domain import no_least_value, typed_formulas, warnings
from derive.problems.network import (
    MOST_PROVED,
    SETTING_NAMES,
    Network,
    as_flag,
    parse_activations,
    parse_layers,
    parse_skip,
)
from derive.problems.package import ANEW, network_of, not_as_written, only_a_docstring, shadowing, text_of
from derive.problems.settings import settings
from derive.problems.targets import targets

__all__ = [
    "ANEW",
    "MOST_PROVED",
    "SETTING_NAMES",
    "Definition",
    "N",
    "Network",
    "as_flag",
    "definitions",
    "network_of",
    "no_least_value",
    "not_as_written",
    "only_a_docstring",
    "parse_activations",
    "parse_layers",
    "parse_skip",
    "settings",
    "shadowing",
    "targets",
    "text_of",
    "typed_formulas",
    "warnings",
]
