"""A limit to the work of this process."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class OutOfTime(BaseException):
    """The work took longer than it may, which nothing that handles an error of the work can take for one."""


@contextmanager
def limited(seconds: float | None) -> Iterator[None]:
    """Raises OutOfTime after so many seconds of work of this process, and again until that arrives.

    Raises ValueError in any thread but the main one, and where no timer can be set to so many.
    """
    if seconds is None:
        yield
        return
    if threading.current_thread() is not threading.main_thread():
        raise ValueError("seconds: only work in the main thread can be given a limit")
    if not isinstance(seconds, int | float) or not 0.001 <= seconds <= 10**6:
        raise ValueError(f"seconds: expected a number from 0.001 to 1000000, got {seconds}")

    def stop(*_: object) -> None:
        raise OutOfTime(seconds)

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds, 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
