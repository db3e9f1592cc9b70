"""The files in which prometheus-client stores the metrics of one kind of one process.

Owns their format. The application may put anything into the directory: only regular files are read, never through a
link, and within limits; a file that isn't well formed is refused as a whole.

A file consists of the number of used bytes, and of entries: size of the key, key padded to eight bytes, value, time.
"""

import json
import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

FILE_LIMIT: Final = 8 * 1024 * 1024
"""Bytes of one file that are read: about 60,000 series of one kind, in one process."""

HEADER: Final = 8
"""Bytes before the first entry."""

_used: Final = struct.Struct("i")
_value: Final = struct.Struct("dd")

Values = dict[str, tuple[float, float]]
"""Key to value and time."""


class BadFile(Exception):
    """A file that can't be read or isn't well formed."""


Labels = tuple[tuple[str, str], ...]


class Key(NamedTuple):
    """A metric with its labels."""

    family: str
    name: str
    labels: Labels
    help: str


class Entry(NamedTuple):
    text: str
    """The key as in the file."""
    key: Key
    value: float
    at: float


def read(path: Path, limit: int = FILE_LIMIT) -> bytes:
    """The used part of a file; b"" if it was just created. Raises BadFile or FileNotFoundError."""
    try:
        # opening a FIFO or a device could block; a link may point anywhere
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise BadFile(f"can't be opened ({error.strerror})") from error
    try:
        return _read(fd, limit)
    except OSError as error:
        raise BadFile(f"can't be read ({error.strerror})") from error
    finally:
        os.close(fd)


def _read(fd: int, limit: int) -> bytes:
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        raise BadFile("not a regular file")
    head = os.pread(fd, HEADER, 0)
    if not head.strip(b"\0"):
        return b""
    used = _used.unpack_from(head)[0] if len(head) == HEADER else 0
    if not HEADER <= used <= found.st_size:
        raise BadFile(f"truncated, or not a file of prometheus-client: {used} used bytes of {found.st_size}")
    if used > limit:
        raise BadFile(f"it has {used} bytes, and {limit} more may be read")
    data = os.pread(fd, used, 0)
    if len(data) < used:
        raise BadFile("truncated while it was read")
    return data


def entries(data: bytes, known: dict[str, Key]) -> list[Entry]:
    """The entries of the data from `read`, all or none. `known`: keys of other files; those of this one are added.
    Raises BadFile."""
    found: list[Entry] = []
    for text, value, at in _entries(data):
        key = known.get(text)
        if key is None:
            key = known[text] = _key(text)
        found.append(Entry(text, key, value, at))
    return found


def _entries(data: bytes) -> Iterator[tuple[str, float, float]]:
    at = HEADER
    while at < len(data):
        try:
            (size,) = _used.unpack_from(data, at)
            if size < 0:  # would loop on this entry
                raise BadFile("malformed: a key of a negative size")
            end = at + _padded(size)
            value = _value.unpack_from(data, end)
            yield data[at + _used.size : at + _used.size + size].decode(), *value
        except (struct.error, UnicodeDecodeError) as error:
            raise BadFile(f"malformed: {error}") from error
        at = end + _value.size


def _key(text: str) -> Key:
    try:
        family, name, labels, explanation = json.loads(text)
        parts = [family, name, explanation, *labels, *labels.values()]
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise BadFile(f"malformed: an invalid key ({error})") from error
    if not all(isinstance(part, str) for part in parts):
        raise BadFile("malformed: an invalid key")
    return Key(family, name, tuple(sorted(labels.items())), explanation)


def size_of(key: str) -> int:
    """Size in bytes of an entry with this key."""
    return _padded(len(key.encode())) + _value.size


def _padded(size: int) -> int:
    """Bytes of size, key and padding; at least one byte of padding."""
    return size + _used.size + 8 - (size + _used.size) % 8


def write(values: Values, target: Path) -> None:
    """Write the file without mmap: with a full disk that would cause a signal (SIGBUS) instead of an error. Raises
    OSError."""
    data = bytearray(HEADER)
    for key, (value, at) in values.items():
        text = key.encode()
        data += _used.pack(len(text)) + text.ljust(_padded(len(text)) - _used.size) + _value.pack(value, at)
    _used.pack_into(data, 0, len(data))
    unfinished = target.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    with unfinished.open("xb") as file:  # a link that somebody puts there is not followed
        file.write(data)
    unfinished.replace(target)
