"""Gradients and what else is derived, before judges that know nothing of our rules."""
