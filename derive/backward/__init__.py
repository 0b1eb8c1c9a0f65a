"""The backward of a torch module as text: from its graph to equations, back through them, and each line proved."""

from derive.backward.derivation import ModuleDerivation, module_derivation

__all__ = ["ModuleDerivation", "module_derivation"]
