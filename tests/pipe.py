"""A pipe in the place of a file: who reads the file waits until we let it."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def held_up(file: Path) -> Iterator[Callable[[], bool]]:
    """Whoever reads `file` waits; at the end it was empty, and is gone. Yields whether somebody waits."""
    os.mkfifo(file)
    ends: list[int] = []

    def is_read() -> bool:
        try:
            ends.append(os.open(file, os.O_WRONLY | os.O_NONBLOCK))
        except OSError as error:
            if error.errno != errno.ENXIO:  # nobody reads
                raise
        return bool(ends)

    try:
        yield is_read
    finally:
        file.unlink()
        for end in ends:
            os.close(end)
