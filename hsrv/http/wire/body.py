"""Framing of request bodies (RFC 9112 sections 6 and 7): bytes as received to the bytes of the body. Pure.

Promises: a decoder takes exactly the body's bytes from the front of the buffer and not one of the next
request, however they arrive. A chunked body has one reading: what could be read in another way is refused.
"""

import re
from enum import Enum, auto
from typing import Final, Protocol

from hsrv.common.errors import ClientError
from hsrv.common.request import RequestHead
from hsrv.http.wire.grammar import TOKEN, is_field_line

MAX_SIZE_LINE: Final = 512
"""Bytes of a chunk's size with its extensions."""

FRAMING_PER_BYTE: Final = 8
FRAMING_ALLOWANCE: Final = 16 * 1024
"""Bytes around the chunks: sizes, extensions, line ends. Each byte of content makes up for so many, and beyond that so
many may come. A byte in a chunk of its own has five; without a bound a client could make us read hundreds."""

LINES_AT_ONCE: Final = 128
"""Lines of framing, two for each chunk, that are read before others get a turn. They take about 0.1 ms; in 64 KiB there
may be 21,000."""

MAX_TRAILERS: Final = 16 * 1024
"""Bytes of trailer fields. They are read to find the end, and dropped."""

FORBIDDEN_TRAILERS: Final = frozenset({b"content-length", b"host", b"transfer-encoding"})
"""Refused: framing or routing after the body (RFC 9110 section 6.5.1) is an attack on software that merges trailers
into the head. Other fields that don't belong in a trailer section are dropped, which does no harm."""

_QUOTED: Final = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*+"'
_EXTENSION: Final = (
    rb"[ \t]*+;[ \t]*+" + TOKEN + rb"(?:[ \t]*+=[ \t]*+(?:" + TOKEN + rb"|" + _QUOTED + rb"))?"
)
_size_line: Final = re.compile(rb"([0-9A-Fa-f]{1,16})(?:" + _EXTENSION + rb")*").fullmatch


class BodyDecoder(Protocol):
    """Takes one body from the front of a buffer."""

    done: bool
    """The whole body was taken."""
    paused: bool
    """There may be more at the front of the buffer: it would have taken too long at once."""

    def decode(self, buffer: bytearray, most: int) -> bytes:
        """Remove what of the body is at the front of `buffer`; return at most `most` bytes of its content.

        b"": nothing more to be had before more arrives, `paused` or `done`. Raises ClientError (400, 413).
        """
        ...


class SizedBody:
    """A body of known length; also none at all."""

    __slots__ = ("_left", "done", "paused")

    def __init__(self, length: int) -> None:
        self.paused = False
        self._left = length
        self.done = length == 0

    def decode(self, buffer: bytearray, most: int) -> bytes:
        data = bytes(buffer[: min(self._left, most)])
        del buffer[: len(data)]
        self._left -= len(data)
        self.done = self._left == 0
        return data


NO_BODY: Final = SizedBody(0)
"""One for all requests: it never changes."""


class _Next(Enum):
    """What of a chunked body comes next."""

    SIZE = auto()
    DATA = auto()
    DATA_END = auto()
    TRAILER = auto()
    NOTHING = auto()


class ChunkedBody:
    """A body in chunks (RFC 9112 section 7.1) of at most `limit` bytes altogether."""

    __slots__ = ("_framing", "_left", "_limit", "_next", "_room", "_trailers", "done", "paused")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._room = limit
        """Bytes that further chunks may hold."""
        self._left = 0
        """Bytes of this chunk still to come."""
        self._framing = FRAMING_ALLOWANCE
        """Bytes of framing that may come before more content."""
        self._trailers = 0
        self._next = _Next.SIZE
        self.done = False
        self.paused = False

    def decode(self, buffer: bytearray, most: int) -> bytes:
        parts: list[bytes] = []
        lines = LINES_AT_ONCE
        self.paused = False
        while self._next is not _Next.NOTHING:
            if self._next is not _Next.DATA:
                if not lines:
                    self.paused = True
                    break
                if not self._take_framing(buffer):
                    break
                lines -= 1
                continue
            data = bytes(buffer[: min(self._left, most)])
            if not data:
                break
            parts.append(data)
            most -= len(data)
            self._take_data(buffer, len(data))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _take_data(self, buffer: bytearray, size: int) -> None:
        del buffer[:size]
        self._left -= size
        if self._left == 0:
            self._next = _Next.DATA_END

    def _take_framing(self, buffer: bytearray) -> bool:
        """Read one line of what surrounds the data. False: it is not complete."""
        if self._next is _Next.SIZE:
            line = _take_line(buffer, MAX_SIZE_LINE, "chunk size")
            if line is not None:
                self._begin_chunk(line)
        elif self._next is _Next.DATA_END:
            line = _take_line(buffer, 0, "end of a chunk")
            if line is not None:
                self._next = _Next.SIZE
        else:
            line = _take_line(buffer, MAX_TRAILERS - self._trailers, "trailer section")
            if line is not None:
                self._check_trailer(line)
        return line is not None

    def _begin_chunk(self, line: bytes) -> None:
        match = _size_line(line)
        if match is None:
            raise ClientError(400, "malformed chunk size")
        digits: bytes = match[1]
        self._framing -= len(line) + 4  # and the ends of this line and of the data
        if self._framing < 0:
            raise ClientError(400, "too much framing around the chunks")
        self._left = int(digits, 16)
        self._framing = min(self._framing + self._left * FRAMING_PER_BYTE, FRAMING_ALLOWANCE)
        self._room -= self._left
        if self._room < 0:
            raise ClientError(413, f"request body exceeds {self._limit} bytes")
        self._next = _Next.DATA if self._left else _Next.TRAILER

    def _check_trailer(self, line: bytes) -> None:
        if not line:
            self._next = _Next.NOTHING
            self.done = True
        elif is_field_line(line) is None:
            raise ClientError(400, "malformed trailer field")
        elif line.partition(b":")[0].lower() in FORBIDDEN_TRAILERS:
            raise ClientError(400, "forbidden trailer field")
        else:
            self._trailers += len(line)


def _take_line(buffer: bytearray, longest: int, what: str) -> bytes | None:
    """Remove one line; without its CRLF. None: incomplete. ClientError: too long, or a bare LF."""
    end = buffer.find(b"\r\n", 0, longest + 2)
    if end >= 0:
        line = bytes(buffer[:end])
        del buffer[: end + 2]
        return line
    if len(buffer) > longest + 1 or b"\n" in buffer or buffer[longest:].strip(b"\r"):
        raise ClientError(400, f"malformed {what}")
    return None


def body_decoder(head: RequestHead, limit: int) -> BodyDecoder:
    """The decoder of the body that follows `head`; done at once when there is none.

    `limit`: bytes of a chunked body. A declared length was checked when the head was taken.
    """
    if head.chunked:
        return ChunkedBody(limit)
    return SizedBody(head.content_length) if head.content_length else NO_BODY
