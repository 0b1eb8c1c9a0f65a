"""Terms of a network's layers and of its loss."""
