"""Derives gradients with SymPy, of networks and of any matrix expression, and emits them as torch code with a proof."""

from derive.matrix_derivation import derivation, gradient

__all__ = ["derivation", "gradient"]
