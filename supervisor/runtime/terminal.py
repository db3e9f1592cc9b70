"""The terminal that the server was started in, and whether it was closed.

HUP has two meanings: a reload, or that the terminal in whose foreground the server runs was closed. Only with the
second the process loses its controlling terminal. A server in the background, under nohup (which ignores HUP) or under
a service manager keeps running when a terminal is closed.
"""

import contextlib
import errno
import os
import signal
from collections.abc import Callable, Iterable
from typing import Final

import anyio

LOOK_INTERVAL: Final = 1.0
"""Seconds between two checks whether the server runs in the foreground: a change isn't reported, and after the terminal
was closed it is too late to check."""

GONE: Final = (errno.ENXIO, errno.EIO, errno.ENOTTY)
"""Errors of opening /dev/tty when there is no controlling terminal, or no longer one."""


REPEATS: Final = (0.1, 0.2, 0.5, 1.0)
"""Seconds after which Ctrl-C is sent again to processes that have not ended."""


async def repeat_interrupt(pids: Callable[[], Iterable[int]]) -> None:
    """If Ctrl-C came just before a process began to read at a debugger's prompt (`hsrv.child.debugger`), it now waits
    in the read: Python handles the signal when another one interrupts the read."""
    for seconds in REPEATS:
        await anyio.sleep(seconds)
        for pid in list(pids()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT)


class Terminal:
    """The controlling terminal of this process."""

    def __init__(self) -> None:
        self._foreground = False
        """At the last check."""
        self.look()

    @property
    def matters(self) -> bool:
        """Whether there is one."""
        return _in_foreground() is not None

    def look(self) -> None:
        """Note whether the process runs in its foreground."""
        now = _in_foreground()
        if now is not None:
            self._foreground = now

    def has_gone(self) -> bool:
        """Whether the process ran in the foreground of a terminal that was closed."""
        return self._foreground and _in_foreground() is None


def _in_foreground() -> bool | None:
    """None: there is no terminal. False if it can't be found out (no descriptor is free): no reason to stop."""
    try:
        fd = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError as error:
        return None if error.errno in GONE else False
    try:
        return os.tcgetpgrp(fd) == os.getpgrp()
    except OSError as error:
        return None if error.errno in GONE else False
    finally:
        os.close(fd)
