"""An emitted package at work, as a person uses it."""
