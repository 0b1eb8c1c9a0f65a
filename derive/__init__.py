"""Derives the gradient of a network with SymPy and emits it as torch code, with its derivation and its proof."""
