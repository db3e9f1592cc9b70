"""Descriptors 0 to 2, which a process may be started without (`<&-`, `>&-`, `2>&-`).

The next file or socket that is opened would get their numbers: what is meant for a terminal would be written into it,
and libuv aborts a process that closes one of them.
"""

import io
import os
import sys

_MODES = (os.O_RDONLY, os.O_WRONLY, os.O_WRONLY)


def open_missing() -> None:
    """Each that is not open becomes the null device, here and in whatever is started from here."""
    for fd, mode in enumerate(_MODES):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, mode)  # the lowest number that is free: those below are open by now
            os.set_inheritable(fd, True)
    # Python has none for a descriptor that was not open, and whoever writes to it would fail.
    if sys.stdin is None:
        sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, "r", closefd=False)))
    if sys.stdout is None:
        sys.stdout = _writer(1)
    if sys.stderr is None:
        sys.stderr = _writer(2)


def _writer(fd: int) -> io.TextIOWrapper:
    raw = io.FileIO(fd, "w", closefd=False)
    return io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", "backslashreplace")
