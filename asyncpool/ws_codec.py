"""WebSocket frames: bytes to events and back, behind an interface small enough for a codec in C.

Promises: fragments are joined; a message never grows beyond its limit, compressed or not; what breaks the
protocol is `FrameError` with the close code that says so. Must not know sockets, ASGI or the closing
handshake. Pure.
"""

import io
from typing import Final, NamedTuple, Protocol

from wsproto.frame_protocol import (
    LOCAL_ONLY_CLOSE_REASONS,
    CloseReason,
    Frame,
    FrameProtocol,
    Opcode,
    ParseFailed,
)

from hsrv.asyncpool.ws_deflate import DeflateTerms, MessageExtension

NORMAL: Final = int(CloseReason.NORMAL_CLOSURE)
PROTOCOL_ERROR: Final = int(CloseReason.PROTOCOL_ERROR)
NO_STATUS: Final = int(CloseReason.NO_STATUS_RCVD)
ABNORMAL: Final = int(CloseReason.ABNORMAL_CLOSURE)
INVALID_DATA: Final = int(CloseReason.INVALID_FRAME_PAYLOAD_DATA)
TOO_BIG: Final = int(CloseReason.MESSAGE_TOO_BIG)
INTERNAL_ERROR: Final = int(CloseReason.INTERNAL_ERROR)
SERVICE_RESTART: Final = int(CloseReason.SERVICE_RESTART)

MAX_REASON: Final = 123
"""Bytes of UTF-8: a control frame holds 125, two of which are the code (RFC 6455 section 5.5)."""

_REASONS: Final = {
    PROTOCOL_ERROR: "protocol error",
    INVALID_DATA: "invalid data",
    TOO_BIG: "message too big",
}


class Received(NamedTuple):
    """A whole message."""

    data: str | bytes
    size: int
    """Bytes it occupies, about."""


class Ping(NamedTuple):
    payload: bytes


class Pong(NamedTuple):
    payload: bytes


class Close(NamedTuple):
    """The peer's close frame; the last event there is."""

    code: int
    """1005 when the frame had none."""
    reason: str


Event = Received | Ping | Pong | Close


class FrameError(Exception):
    """The peer broke the protocol, or a limit: `code` and `reason` for the close frame. Nothing can
    follow."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.reason = _REASONS.get(code, "protocol error")


class Codec(Protocol):
    """The server's end of one connection's frames."""

    def feed(self, data: bytes) -> None:
        """Take bytes from the peer. Interprets nothing yet."""

    def next_event(self) -> Event | None:
        """The next event of what was fed; None: more bytes are needed. Raises `FrameError`, once."""

    def message(self, data: str | bytes) -> bytes: ...
    def ping(self, payload: bytes) -> bytes: ...
    def pong(self, payload: bytes) -> bytes: ...

    def close(self, code: int, reason: str) -> bytes:
        """A close frame; empty for 1005. `reason`: at most MAX_REASON bytes."""


def may_be_sent(code: int) -> bool:
    """Whether a close frame of ours may carry `code` (RFC 6455 section 7.4)."""
    if 3000 <= code <= 4999:
        return True
    return code in CloseReason.__members__.values() and code not in LOCAL_ONLY_CLOSE_REASONS


class WsprotoCodec:
    """The codec in pure Python, on wsproto's frame layer."""

    __slots__ = ("_binary", "_frames", "_text")

    def __init__(self, max_message: int, deflate: DeflateTerms | None) -> None:
        """`max_message`: bytes, after decompression."""
        self._frames = FrameProtocol(client=False, extensions=[MessageExtension(max_message, deflate)])
        # Buffers that grow in place: a list of fragments would cost a peer one byte and us an object each.
        self._text: io.StringIO | None = None
        self._binary: bytearray | None = None

    def feed(self, data: bytes) -> None:
        self._frames.receive_bytes(data)

    def next_event(self) -> Event | None:
        while True:
            try:
                frame = next(self._frames.received_frames(), None)
            except ParseFailed as error:
                raise FrameError(int(error.code), str(error)) from error
            if frame is None:
                return None
            event = self._event(frame)
            if event is not None:
                return event

    def _event(self, frame: Frame) -> Event | None:
        payload = frame.payload
        if isinstance(payload, tuple):
            return Close(int(payload[0]), payload[1])
        if isinstance(payload, str):
            return self._join_text(payload, frame.message_finished)
        if frame.opcode is Opcode.PING:
            return Ping(payload)
        if frame.opcode is Opcode.PONG:
            return Pong(payload)
        return self._join_binary(payload, frame.message_finished)

    def _join_text(self, piece: str, finished: bool) -> Received | None:
        if self._text is not None:
            self._text.write(piece)
        elif finished:
            return Received(piece, len(piece))
        else:
            self._text = io.StringIO()
            self._text.write(piece)
        if not finished:
            return None
        text = self._text.getvalue()
        self._text = None
        return Received(text, len(text))

    def _join_binary(self, piece: bytes, finished: bool) -> Received | None:
        if self._binary is not None:
            self._binary += piece
        elif finished:
            return Received(piece, len(piece))
        else:
            self._binary = bytearray(piece)
        if not finished:
            return None
        data = bytes(self._binary)
        self._binary = None
        return Received(data, len(data))

    def message(self, data: str | bytes) -> bytes:
        return bytes(self._frames.send_data(data))

    def ping(self, payload: bytes) -> bytes:
        return bytes(self._frames.ping(payload))

    def pong(self, payload: bytes) -> bytes:
        return bytes(self._frames.pong(payload))

    def close(self, code: int, reason: str) -> bytes:
        if code == NO_STATUS:
            return bytes(self._frames.close())
        return bytes(self._frames.close(code, reason))
