"""Commands: how they end, what they leave on the disk, what they refuse."""
