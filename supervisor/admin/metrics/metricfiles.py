"""The files in which prometheus-client keeps what one process counts of one kind of metric.

Owns how they are read and written. Whatever the application may have put into its directory: only regular files are
read, never through a link, and no more of them than the limits say; what isn't well formed is refused as a whole.

A file is the number of its bytes that are used, and entries: size of the key, key padded to eight bytes, value, time.
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
    """It can't be read, or isn't what it should be."""


Labels = tuple[tuple[str, str], ...]


class Key(NamedTuple):
    """What is counted."""

    family: str
    name: str
    labels: Labels
    help: str


class Entry(NamedTuple):
    text: str
    """Of the key, as it stands in the file."""
    key: Key
    value: float
    at: float


def read(path: Path, limit: int = FILE_LIMIT) -> bytes:
    """The part of it that is used; b"" for one that was just begun. Raises BadFile, and FileNotFoundError."""
    try:
        # a FIFO and a device would be waited for; a link may lead anywhere
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
        raise BadFile("no regular file")
    head = os.pread(fd, HEADER, 0)
    if not head.strip(b"\0"):
        return b""
    used = _used.unpack_from(head)[0] if len(head) == HEADER else 0
    if not HEADER <= used <= found.st_size:
        raise BadFile(
            f"cut, or no file of prometheus-client: {used} of {found.st_size} bytes are said to be used"
        )
    if used > limit:
        raise BadFile(f"it has {used} bytes, and {limit} more may be read")
    data = os.pread(fd, used, 0)
    if len(data) < used:
        raise BadFile("cut while it was read")
    return data


def entries(data: bytes, known: dict[str, Key]) -> list[Entry]:
    """What `read` gave, all or nothing of it. `known`: keys of other files, and now of this one. Raises BadFile."""
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
            if size < 0:  # the next entry would be this one again
                raise BadFile("broken: a key of a negative size")
            end = at + _padded(size)
            value = _value.unpack_from(data, end)
            yield data[at + _used.size : at + _used.size + size].decode(), *value
        except (struct.error, UnicodeDecodeError) as error:
            raise BadFile(f"broken: {error}") from error
        at = end + _value.size


def _key(text: str) -> Key:
    try:
        family, name, labels, explanation = json.loads(text)
        parts = [family, name, explanation, *labels, *labels.values()]
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise BadFile(f"broken: a key that is none ({error})") from error
    if not all(isinstance(part, str) for part in parts):
        raise BadFile("broken: a key that is none")
    return Key(family, name, tuple(sorted(labels.items())), explanation)


def size_of(key: str) -> int:
    """Bytes of an entry with this key."""
    return _padded(len(key.encode())) + _value.size


def _padded(size: int) -> int:
    """Bytes of a key's size, key and padding, of which there is at least one."""
    return size + _used.size + 8 - (size + _used.size) % 8


def write(values: Values, target: Path) -> None:
    """As prometheus-client would, but not by a mapping: with a full disk that would be a signal, not an error. Raises
    OSError."""
    data = bytearray(HEADER)
    for key, (value, at) in values.items():
        text = key.encode()
        data += _used.pack(len(text)) + text.ljust(_padded(len(text)) - _used.size) + _value.pack(value, at)
    _used.pack_into(data, 0, len(data))
    unfinished = target.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    with unfinished.open("xb") as file:  # whatever somebody puts there is not followed
        file.write(data)
    unfinished.replace(target)
