"""The code that is emitted: readable, on buffers, in C."""
