"""Backwards written by hand, held against torch modules."""
