"""What a build writes, and what its check notices."""
