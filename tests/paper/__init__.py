"""The derivation as a document: what it says holds, and can be read."""
