"""wsgi.file_wrapper: a file as the body of a response, sent by sendfile(2) where it is a real one (PEP 3333, "Optional
Platform-Specific File Handling").

What is returned to the server untouched is sent without being read; a middleware that looks into it iterates it, like
any other.
"""

import os
import stat
from typing import Any, Final, Self

BLOCK_SIZE: Final = 64 * 1024
"""Bytes per block where the application names no size: others have 8 KiB."""


class FileWrapper:
    """What `environ["wsgi.file_wrapper"]` makes."""

    def __init__(self, filelike: Any, blksize: int = BLOCK_SIZE) -> None:
        self.filelike = filelike
        self.blksize = blksize
        if hasattr(filelike, "close"):
            self.close = filelike.close

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        data: bytes = self.filelike.read(self.blksize)
        if data:
            return data
        raise StopIteration


def part_of(wrapper: FileWrapper) -> tuple[int, int, int] | None:
    """(descriptor, offset, bytes from there to the end) of a regular file; None: there is none behind it. The
    descriptor stays the application's."""
    try:
        fd = wrapper.filelike.fileno()
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            return None
        offset = wrapper.filelike.tell()
    except (
        AttributeError,
        OSError,
        ValueError,
        TypeError,
    ):  # io.UnsupportedOperation is an OSError and a ValueError
        return None
    return fd, offset, max(0, status.st_size - offset)
