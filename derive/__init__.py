"""Derives gradients with SymPy, of networks and of any matrix expression, and emits them as torch code with a proof."""

__all__ = ["derivation", "gradient"]


def __getattr__(name: str) -> object:
    """Loaded when asked for, so that the commands of this package start without them."""
    if name in __all__:
        from derive import matrix_derivation

        return getattr(matrix_derivation, name)
    raise AttributeError(f"module 'derive' has no attribute {name!r}")
