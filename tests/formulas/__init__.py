"""Scalar formulas: the tables, what people type, digits at every size."""
