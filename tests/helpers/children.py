"""Actions in children that are forked, so that each starts where the test is, and that may die."""

import io
import os
import signal
import sys
from collections.abc import Callable

from derive.system import disk

WRITES = {
    *("chmod", "close", "flock", "link", "mkdir", "open", "rename", "replace", "rmdir", "unlink", "utime", "write"),
    *("__enter__", "__exit__"),
}


def touches_the_disk(event: str, called: object) -> bool:
    if event in ("call", "return"):
        return called.f_code is disk.swap.__code__
    name, home = getattr(called, "__name__", ""), getattr(called, "__module__", None)
    files = home in ("posix", "io", "_io", "fcntl") or isinstance(getattr(called, "__self__", None), io.IOBase)
    return event == "c_call" and files and name in WRITES


def in_a_child(action: Callable[[], object], step: int | None = None, number: int = signal.SIGKILL) -> int:
    """The exit status of a child that does it, minus the signal if it dies of one; at that step it gets `number`."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        done = -1

        def profile(frame, event, called):
            nonlocal done
            if touches_the_disk(event, frame if event in ("call", "return") else called):
                done += 1
                if done == step:
                    os.kill(os.getpid(), number)

        if step is not None:
            sys.setprofile(profile)
        os._exit(int(action() or 0))
    except KeyboardInterrupt:
        sys.setprofile(None)
        os._exit(130)
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        os._exit(99)
