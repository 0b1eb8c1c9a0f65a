"""Derives gradients with SymPy, of networks and of any matrix expression, and emits them as torch code with a proof."""

__all__ = ["derivation", "gradient", "pullback", "pushforward"]


def __getattr__(name: str) -> object:
    """Loaded when asked for, so that the commands of this package start without them."""
    if name in __all__:
        from derive import matrix_derivation, matrix_function

        return getattr(matrix_derivation if hasattr(matrix_derivation, name) else matrix_function, name)
    raise AttributeError(f"module 'derive' has no attribute {name!r}")
