"""How many connections a process may hold while leaving descriptors for the application and for the server itself."""

import os
import resource
from pathlib import Path
from typing import Final

SHARE: Final = 1 / 8
"""Fraction of the limit on open files reserved for the application, for logs and for connections being closed."""

LEAST: Final = 4
"""Descriptors reserved however low the limit is."""

USUAL: Final = 32
"""Assumed descriptors of a process without connections, if the system doesn't report them."""

IDLE_ENOUGH: Final = 2.0
"""Seconds after which an idle connection may be closed to make room. A connection that has just been served will
probably send another request; losing that would be worse than answering a new connection with 503."""

UNLIMITED: Final = 1 << 20


def most_connections() -> int:
    """How many connections this process may hold in addition to the files open now, by the limit on open files."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        return UNLIMITED
    return max(1, limit - _open_now() - max(LEAST, int(limit * SHARE)))


def _open_now() -> int:
    try:
        return sum(1 for _ in Path("/dev/fd").iterdir()) - 1  # without the descriptor of this listing
    except OSError:
        return USUAL


class Reserve:
    """One spare descriptor that can be given up: it makes room to accept a connection and refuse it with an answer when
    no other descriptor is left."""

    def __init__(self) -> None:
        self._fd = -1
        self.restore()

    @property
    def is_there(self) -> bool:
        return self._fd >= 0

    def spend(self) -> bool:
        """Give it up. False: there is none."""
        if self._fd < 0:
            return False
        os.close(self._fd)
        self._fd = -1
        return True

    def restore(self) -> None:
        """Open it again, if possible."""
        if self._fd < 0:
            try:
                self._fd = _anything()
            except OSError:
                return  # nothing is free at present; the next call tries again


def _anything() -> int:
    return os.eventfd(0, os.EFD_CLOEXEC) if hasattr(os, "eventfd") else os.open(os.devnull, os.O_RDONLY)
