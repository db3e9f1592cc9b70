"""The usual codec: RFC 6455 section 5 in one pass over what was received. Pure.

The usual frame, a small message that is whole and not compressed, is read by `_whole_message`; any other step by step:
head, payload, message (`partial`). It refuses the same input as `WsprotoCodec`, at the same point and with the same
code: `tests/unit/asyncpool/websocket/codecs/test_codecs_agree.py` compares them on any bytes, cut anywhere.

Payloads are decompressed, checked for UTF-8 and counted as they come: nothing waits for the end of a large frame.
"""

import struct
from collections.abc import Callable
from functools import cache
from typing import Final

from hsrv.asyncpool.websocket.codecs.deflate import (
    DEFLATE_FROM,
    MAX_INFLATED,
    Deflater,
    DeflateTerms,
    Inflater,
)
from hsrv.asyncpool.websocket.codecs.events import (
    EMPTY_PART,
    INVALID_DATA,
    NO_STATUS,
    PART,
    PROTOCOL_ERROR,
    TOO_BIG,
    Close,
    Event,
    FrameError,
    MessagePart,
    Ping,
    Pong,
    Received,
    may_be_sent,
    received_utf8,
)
from hsrv.asyncpool.websocket.codecs.partial import BINARY, FIN, TEXT, PartialFrame, PartialMessage

RSV1: Final = 0x40
RSV: Final = 0x70
MASKED: Final = 0x80
CONTINUATION, CLOSE, PING, PONG = 0x0, 0x8, 0x9, 0xA
_OPCODES: Final = (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG)
CONTROL: Final = 0x8
"""The bit that tells control frames from data."""

MAX_SHORT: Final = 125
"""Bytes of payload whose length fits the second byte; also the most of a control frame."""
MAX_MEDIUM: Final = 0xFFFF
MEDIUM, LONG = 126, 127
MASK_SIZE: Final = 4

_WHOLE_TEXT: Final = FIN | TEXT
_WHOLE_BINARY: Final = FIN | BINARY
_WHOLE: Final = (_WHOLE_TEXT, _WHOLE_BINARY)
_SMALL: Final = 1024
"""Bytes up to which one XOR of large integers is faster than four translations of every fourth byte."""

_short = struct.Struct("!BB").pack
_medium = struct.Struct("!BBH").pack
_long = struct.Struct("!BBQ").pack
_number = int.from_bytes


def unmask_in_python(data: bytes, mask: bytes) -> bytes:
    """`data` XOR the repeated `mask` (section 5.3)."""
    size = len(data)
    if size > _SMALL:
        masked = bytearray(size)
        for at, byte in enumerate(mask):
            masked[at::MASK_SIZE] = data[at::MASK_SIZE].translate(_xor_table(byte))
        return bytes(masked)
    pattern = (mask * (size // MASK_SIZE + 1))[:size]
    return (_number(data, "little") ^ _number(pattern, "little")).to_bytes(size, "little")


@cache
def _xor_table(byte: int) -> bytes:
    """Each byte xor this one."""
    return bytes(other ^ byte for other in range(256))


Unmask = Callable[[bytes, bytes], bytes]

unmask: Unmask = unmask_in_python
try:  # in C, if websockets is installed: four times faster for a small message, fifty times for a large one
    from websockets.speedups import apply_mask

    unmask = apply_mask
except ImportError:
    pass


class FrameCodec:
    """A `Codec`."""

    name = "frames"

    __slots__ = (
        "_at",
        "_data",
        "_deflater",
        "_frame",
        "_inflater",
        "_limit",
        "_max_inflated",
        "_message",
        "_over",
    )

    def __init__(
        self, max_message: int, deflate: DeflateTerms | None, max_inflated: int = MAX_INFLATED
    ) -> None:
        """`max_message`: bytes. `max_inflated`: of one that comes compressed, which `max_message` bounds too."""
        self._limit = max_message
        self._max_inflated = min(max_message, max_inflated)
        self._inflater = Inflater(deflate) if deflate is not None else None
        self._deflater = Deflater(deflate) if deflate is not None else None
        self._data = b""
        self._at = 0
        """Offset in `_data` up to which it was interpreted. At most a head and a control frame are ever left."""
        self._frame: PartialFrame | None = None
        self._message: PartialMessage | None = None
        self._over = False
        """The peer's close frame, or what broke the protocol, was seen."""

    @property
    def held(self) -> int:
        message = self._message
        return len(self._data) - self._at + (message.held if message is not None else 0)

    @property
    def unfinished(self) -> object | None:
        return self._message

    def feed(self, data: bytes) -> None:
        rest = self._data[self._at :]
        self._data = rest + data if rest else data
        self._at = 0

    def next_event(self) -> Event | None:
        if self._over:
            return None
        event: Event | None = None
        try:
            if self._message is None and self._frame is None:
                event = self._whole_message()
            if event is None:
                event = self._any_event()
        except FrameError:
            self._over = True
            raise
        if event is None:
            self._data, self._at = self._data[self._at :], 0  # an idle connection keeps nothing
        return event

    def _whole_message(self) -> Received | None:
        """The next frame if it is a whole message, not compressed and complete. Otherwise nothing is consumed."""
        data, at = self._data, self._at
        if len(data) < at + 2 + MASK_SIZE:
            return None
        first, size, start = data[at], data[at + 1] - MASKED, at + 2 + MASK_SIZE
        if size == MEDIUM:
            size, start = _number(data[at + 2 : at + 4], "big"), at + 4 + MASK_SIZE
            if size <= MAX_SHORT:
                return None
        elif not 0 <= size <= MAX_SHORT:
            return None
        end = start + size
        if first not in _WHOLE or end > len(data) or size > self._limit:
            return None
        payload = unmask(data[start:end], data[start - MASK_SIZE : start])
        self._at = end
        return Received(payload, size) if first == _WHOLE_BINARY else received_utf8(payload)

    def _any_event(self) -> Event | None:
        message = self._message
        if message is not None and message.inflater is not None and message.inflater.busy:
            return self._received(message.inflate(message.inflater)) or PART
        frame = self._frame or self._take_head()
        if frame is None:
            return None
        self._frame = frame
        return self._control(frame) if frame.opcode & CONTROL else self._payload(frame)

    # heads

    def _take_head(self) -> PartialFrame | None:
        """The head of the next frame, once it is complete. An error in it is raised as soon as it can be seen."""
        data, at = self._data, self._at
        if len(data) < at + 2:
            return None
        first, second = data[at], data[at + 1]
        opcode = first & 0x0F
        if opcode not in _OPCODES:
            raise FrameError(PROTOCOL_ERROR, f"unknown opcode {opcode:#x}")
        if opcode & CONTROL and (not first & FIN or second & ~MASKED > MAX_SHORT):
            raise FrameError(PROTOCOL_ERROR, "a control frame that is fragmented or too long")
        length = read_length(data, at + 1)
        if length is None:
            return None
        size, at = length
        message = self._message_of(first, size) if not opcode & CONTROL else None
        if first & RSV and (
            message is None or opcode == CONTINUATION or message.inflater is None or first & RSV != RSV1
        ):
            raise FrameError(PROTOCOL_ERROR, "a reserved bit is set")
        if not second & MASKED:
            raise FrameError(PROTOCOL_ERROR, "a frame without a mask")
        if len(data) < at + MASK_SIZE:
            return None
        if message is not None:
            self._message = message
            message.expect(size)
        self._at = at + MASK_SIZE
        return PartialFrame(first, size, data[at : self._at])

    def _message_of(self, first: int, size: int) -> PartialMessage:
        """The message that a data frame belongs to, which has room for it."""
        message, opcode = self._message, first & 0x0F
        if (message is not None) is not (opcode == CONTINUATION):
            raise FrameError(PROTOCOL_ERROR, "a continuation of nothing, or a new message amid another")
        if message is None:
            inflater = self._inflater if first & RSV1 else None
            message = PartialMessage(
                opcode, self._limit if inflater is None else self._max_inflated, inflater
            )
        if size > message.room and message.inflater is None:
            raise FrameError(TOO_BIG, f"a frame of {size} bytes where {message.room} are left")
        return message

    # payloads

    def _payload(self, frame: PartialFrame) -> Received | MessagePart | None:
        """As much of a data frame's payload as there is."""
        message = self._message
        assert message is not None
        piece = self._data[self._at : self._at + frame.left]
        if frame.left and not piece:
            return None
        self._at += len(piece)
        frame.left -= len(piece)
        turn = len(piece) % MASK_SIZE
        message.last = frame.final and not frame.left
        received = self._received(message.add(unmask(piece, frame.mask)))
        frame.mask = frame.mask[turn:] + frame.mask[:turn]
        if not frame.left:
            self._frame = None
        return received or (PART if piece else EMPTY_PART)

    def _received(self, received: Received | None) -> Received | None:
        if received is not None:
            self._message = None
        return received

    def _control(self, frame: PartialFrame) -> Ping | Pong | Close | None:
        """A control frame, once it is complete."""
        end = self._at + frame.left
        if len(self._data) < end:
            return None
        payload = unmask(self._data[self._at : end], frame.mask)
        self._at = end
        self._frame = None
        if frame.opcode == PING:
            return Ping(payload)
        if frame.opcode == PONG:
            return Pong(payload)
        close = read_close(payload)
        self._over = True
        return close

    # sending: one frame each, not masked

    def message(self, data: str | bytes) -> bytes:
        payload, first = (data.encode(), _WHOLE_TEXT) if isinstance(data, str) else (data, _WHOLE_BINARY)
        if self._deflater is not None and len(payload) >= DEFLATE_FROM:
            return frame(first | RSV1, self._deflater.deflate(payload))
        return frame(first, payload)

    def ping(self, payload: bytes) -> bytes:
        return frame(FIN | PING, payload)

    def pong(self, payload: bytes) -> bytes:
        return frame(FIN | PONG, payload)

    def close(self, code: int, reason: str) -> bytes:
        if code == NO_STATUS:
            return frame(FIN | CLOSE, b"")
        return frame(FIN | CLOSE, code.to_bytes(2, "big") + reason.encode())


def frame(first: int, payload: bytes) -> bytes:
    """A frame of a server (section 5.2)."""
    size = len(payload)
    if size <= MAX_SHORT:
        return _short(first, size) + payload
    if size <= MAX_MEDIUM:
        return _medium(first, MEDIUM, size) + payload
    return _long(first, LONG, size) + payload


def read_length(data: bytes, at: int) -> tuple[int, int] | None:
    """The payload length encoded at `at`, and the offset after it; None: more bytes are needed. Raises `FrameError`."""
    size = data[at] & ~MASKED
    at += 1
    if size <= MAX_SHORT:
        return size, at
    width, smallest = (2, MAX_SHORT + 1) if size == MEDIUM else (8, MAX_MEDIUM + 1)
    if len(data) < at + width:
        return None
    size = _number(data[at : at + width], "big")
    if size < smallest or size >> 63:
        raise FrameError(PROTOCOL_ERROR, f"a length of {size} in {width} bytes")
    return size, at + width


def read_close(payload: bytes) -> Close:
    """The code and reason of a close frame (sections 5.5.1 and 7.4)."""
    if not payload:
        return Close(NO_STATUS, "")
    code = _number(payload[:2], "big")
    if len(payload) < 2 or not may_be_sent(code):
        raise FrameError(PROTOCOL_ERROR, f"a close frame with {payload[:2]!r} as its code")
    try:
        return Close(code, str(payload[2:], "utf-8"))
    except UnicodeDecodeError as error:
        raise FrameError(INVALID_DATA, str(error)) from error
