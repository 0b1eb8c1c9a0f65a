"""The proof holds for what is emitted, and for nothing that is nearly it."""
