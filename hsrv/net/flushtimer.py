"""A timer of the kernel, and a thread that waits for it without the GIL.

Promises: until the timer expires the thread doesn't run at all, so moving the timer on costs nothing but the system
call; once it expires, the callback is called in the thread as soon as the GIL is free, at the latest after
SWITCH_INTERVAL if Python code runs. Never compiled.
"""

import ctypes
import os
import struct
import sys
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from hsrv.system.realthreads import RealThread

SWITCH_INTERVAL: Final = 0.002
"""Seconds after which a thread that computes in Python is asked for the GIL (sys.setswitchinterval). With Python's
default of 5 ms a complete response could wait for longer than that."""

_CLOCK_MONOTONIC: Final = 1
_ITIMERSPEC: Final = struct.Struct("@llll")


class FlushTimer:
    """Calls back when it was not moved on in time."""

    def __init__(self, callback: Callable[[], None]) -> None:
        """Raises OSError where there is no such timer."""
        self.callback = callback
        self._library = _library()
        self._fd: int = self._library.timerfd_create(_CLOCK_MONOTONIC, os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError("timerfd_create failed")
        weakref.finalize(self, _expire_now, self._library, self._fd).atexit = False
        RealThread(partial(_watch, weakref.ref(self), self._fd)).start()
        if sys.getswitchinterval() > SWITCH_INTERVAL:
            sys.setswitchinterval(SWITCH_INTERVAL)

    def move_to(self, seconds: float) -> None:
        """It expires in so many seconds, and not before."""
        _set(self._library, self._fd, int(seconds * 1e9))


def _library() -> Any:
    """libc, called without releasing the GIL: these calls don't block, and another thread may be waiting for it."""
    library = ctypes.PyDLL(None)
    if not hasattr(library, "timerfd_create"):
        raise OSError("no timerfd")
    return library


def _set(library: Any, fd: int, nanoseconds: int) -> None:
    library.timerfd_settime(fd, 0, _ITIMERSPEC.pack(0, 0, *divmod(nanoseconds, 1_000_000_000)), None)


def _expire_now(library: Any, fd: int) -> None:
    _set(library, fd, 1)


def _watch(timer: "weakref.ref[FlushTimer]", fd: int) -> None:
    """The thread. Ends when the timer is no longer used, and closes it."""
    while True:
        os.read(fd, 8)
        found = timer()
        if found is None:
            os.close(fd)
            return
        found.callback()
        del found
