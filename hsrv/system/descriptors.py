"""How many connections a process may hold without taking the application's descriptors, or its own last ones."""

import os
import resource
from pathlib import Path
from typing import Final

SHARE: Final = 1 / 8
"""Of the limit on open files: kept for the application, for logs and for what is on its way out."""

LEAST: Final = 4
"""Descriptors kept however low the limit is."""

USUAL: Final = 32
"""What a process without connections holds, where the system doesn't tell."""

IDLE_ENOUGH: Final = 2.0
"""Seconds after which an idle connection may be closed to make room. One that has just been served is likely to go on,
and to lose its next request would be worse than to tell a newcomer to come back."""

UNLIMITED: Final = 1 << 20


def most_connections() -> int:
    """How many connections this process may hold beside what it has open now, by the limit on open files."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        return UNLIMITED
    return max(1, limit - _open_now() - max(LEAST, int(limit * SHARE)))


def _open_now() -> int:
    try:
        return sum(1 for _ in Path("/dev/fd").iterdir()) - 1  # less the one that looks
    except OSError:
        return USUAL


class Reserve:
    """One descriptor that is open for nothing but to be given up: with it a connection can be accepted, and told why it
    is not served, when there is no other."""

    def __init__(self) -> None:
        self._fd = -1
        self.restore()

    @property
    def is_there(self) -> bool:
        return self._fd >= 0

    def spend(self) -> bool:
        """Give it up. False: it isn't there."""
        if self._fd < 0:
            return False
        os.close(self._fd)
        self._fd = -1
        return True

    def restore(self) -> None:
        """Have it again, if one is to be had."""
        if self._fd < 0:
            try:
                self._fd = _anything()
            except OSError:
                return  # nothing is free at present; the next call tries again


def _anything() -> int:
    return os.eventfd(0, os.EFD_CLOEXEC) if hasattr(os, "eventfd") else os.open(os.devnull, os.O_RDONLY)
