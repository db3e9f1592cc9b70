"""The terminal that the server was started in, and whether it has gone.

HUP means two things: a reload, and that the terminal in whose foreground we run has been closed. Only the second takes
our controlling terminal away. A server in the background, under nohup (HUP is ignored then) or a service manager goes
on when a terminal is closed.
"""

import contextlib
import errno
import os
import signal
from collections.abc import Callable, Iterable
from typing import Final

import anyio

LOOK_INTERVAL: Final = 1.0
"""Seconds between two looks at whether we run in the foreground: nothing tells of a change, and when the terminal has
gone it is too late to ask."""

GONE: Final = (errno.ENXIO, errno.EIO, errno.ENOTTY)
"""What /dev/tty is answered with where there is no controlling terminal, or not any more."""


REPEATS: Final = (0.1, 0.2, 0.5, 1.0)
"""Seconds after which Ctrl-C is passed on again to those who have not ended."""


async def repeat_interrupt(pids: Callable[[], Iterable[int]]) -> None:
    """A process that was about to read at a debugger's prompt (`hsrv.child.debugger`) when Ctrl-C came now waits in the
    read: Python acts on the signal when another one interrupts that."""
    for seconds in REPEATS:
        await anyio.sleep(seconds)
        for pid in list(pids()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT)


class Terminal:
    """Of this process."""

    def __init__(self) -> None:
        self._foreground = False
        """When we looked last."""
        self.look()

    @property
    def matters(self) -> bool:
        """Whether there is one at all."""
        return _in_foreground() is not None

    def look(self) -> None:
        """Note whether we run in its foreground."""
        now = _in_foreground()
        if now is not None:
            self._foreground = now

    def has_gone(self) -> bool:
        """Whether we ran in the foreground of one that is no more."""
        return self._foreground and _in_foreground() is None


def _in_foreground() -> bool | None:
    """None: there is no terminal. Of what can't be told (no descriptor is left) False: that is no reason to stop."""
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
