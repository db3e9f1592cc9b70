"""Log files that are rotated by somebody else.

Promises: every write goes to the file that has the name at that moment, so a rotation needs no signal, and what it
renamed gets no line after the next one; a file that can't be opened again is no reason to lose a line: the old one is
still there. A write is one system call on a descriptor in append mode, so lines of several processes don't mix.
"""

import os
from pathlib import Path
from typing import Final

from hsrv.logs.output import LineWriter

MODE: Final = 0o640
"""Of a new file: lines name clients and paths."""

_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
"""Non-blocking: the name may be that of a pipe."""


class LogFile:
    """One file by name."""

    def __init__(self, path: str) -> None:
        self.path: Final = Path(path).absolute()
        """Absolute: the application may change the working directory."""
        self._fd = -1
        self._place = (-1, -1)
        self._stays = False
        """The present name can't be opened."""

    def write(self, data: bytes) -> int:
        """Like os.write. Raises OSError."""
        if self._has_moved():
            self._open()
        return os.write(self._fd, data)

    def _has_moved(self) -> bool:
        try:
            found = self.path.stat()
        except OSError:
            return True
        return (found.st_dev, found.st_ino) != self._place

    def _open(self) -> None:
        try:
            fd = os.open(self.path, _FLAGS, MODE)
        except OSError as error:
            if self._fd < 0:
                raise
            if not self._stays:
                self._stays = True
                text = (
                    f"hsrv: {self.path} can't be opened again, the renamed file is used: {error.strerror}\n"
                )
                LineWriter(2).write(text.encode(errors="backslashreplace"))
            return
        if self._fd >= 0:
            os.close(self._fd)
        self._stays = False
        self._fd, found = fd, os.fstat(fd)
        self._place = found.st_dev, found.st_ino


def file_writer(path: str) -> LineWriter:
    """Writes whole lines to a file."""
    return LineWriter(-1, way=LogFile(path).write)


def prepare(path: str, owner: tuple[int, int] | None) -> None:
    """Create the file if it is missing, for `owner` (uid, gid). Raises OSError."""
    is_new = not os.path.lexists(path)
    fd = os.open(path, _FLAGS, MODE)
    try:
        if is_new and owner is not None:
            os.fchown(fd, *owner)
    finally:
        os.close(fd)
