"""Descriptors 0 to 2, which may be closed when a process starts (`<&-`, `>&-`, `2>&-`).

The next file or socket opened would get their numbers: output meant for a terminal would be written into it, and libuv
aborts a process that closes one of them.
"""

import io
import os
import sys

_MODES = (os.O_RDONLY, os.O_WRONLY, os.O_WRONLY)


def open_missing() -> None:
    """Open the null device for each that is closed, in this process and its children."""
    for fd, mode in enumerate(_MODES):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, mode)  # gets the lowest free number: lower ones are open by now
            os.set_inheritable(fd, True)
    # Python sets None for a descriptor that was closed, and writing to it would fail.
    if sys.stdin is None:
        sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, "r", closefd=False)))
    if sys.stdout is None:
        sys.stdout = _writer(1)
    if sys.stderr is None:
        sys.stderr = _writer(2)


def _writer(fd: int) -> io.TextIOWrapper:
    raw = io.FileIO(fd, "w", closefd=False)
    return io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", "backslashreplace")
