"""How far long work is, with an estimate: said on standard error by commands; a library's caller hears nothing."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic
from typing import TypeVar

from derive.system.command import on_terminal

LONG = 2  # seconds, after which somebody who waits is told
RARELY = 30  # seconds between two lines where there is no terminal, at most
BAR_WIDTH = 30
WATCHED = ContextVar("watched", default=False)
Item = TypeVar("Item")


@contextmanager
def watched() -> Iterator[None]:
    """Meanwhile somebody waits, and is told."""
    token = WATCHED.set(True)
    try:
        yield
    finally:
        WATCHED.reset(token)


def progress(items: Iterable[Item], what: str, total: int) -> Iterator[Item]:
    """The items; once they take long, says how many of all are done and how long the others may take.

    A terminal shows a bar, gone at the end; anything else gets a line, and the next when twice the time is over.
    """
    if not WATCHED.get():
        yield from items
        return
    start, bar = monotonic(), on_terminal()
    next_time, drawn = start + LONG, False
    for done, item in enumerate(items, 1):
        yield item
        now = monotonic()
        if now < next_time or done >= total:
            continue
        said = f"{what}: {done} of {total}, about {(now - start) / done * (total - done):.0f} s left"
        if bar:
            said, drawn = f"\r\x1b[K[{'#' * (done * BAR_WIDTH // total):{BAR_WIDTH}}] {said}", True
        print(said, end="" if bar else "\n", file=sys.stderr, flush=True)
        next_time = now + (0.1 if bar else min(now - start, RARELY))
    if drawn:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
