"""What a WebSocket codec is: bytes to events and back. Pure.

Promises of every codec: fragments are joined; a message never grows beyond its limit, compressed or not; a
violation of the protocol raises `FrameError` with its close code, as early as it can be seen. None knows sockets, ASGI
or the closing handshake.
"""

from typing import Final, NamedTuple, Protocol

import msgspec

from hsrv.asyncpool.websocket.codecs.deflate import MAX_INFLATED, DeflateTerms

NORMAL: Final = 1000
PROTOCOL_ERROR: Final = 1002
NO_STATUS: Final = 1005
ABNORMAL: Final = 1006
INVALID_DATA: Final = 1007
TOO_BIG: Final = 1009
POLICY_VIOLATION: Final = 1008
TRY_AGAIN_LATER: Final = 1013
INTERNAL_ERROR: Final = 1011
SERVICE_RESTART: Final = 1012

_OF_AN_ENDPOINT: Final = frozenset({*range(1000, 1004), *range(1007, 1014)})
"""Registered codes that a close frame may carry. Others, 1005, 1006 and 1015, are only for local use."""

MAX_REASON: Final = 123
"""Bytes of UTF-8: a control frame holds 125, two of which are the code (RFC 6455 section 5.5)."""

_REASONS: Final = {
    PROTOCOL_ERROR: "protocol error",
    INVALID_DATA: "invalid data",
    TOO_BIG: "message too big",
}


class Received(msgspec.Struct, frozen=True, gc=False):
    """A whole message. A struct, because one is created per message: three times as fast as a named tuple."""

    data: str | bytes
    size: int
    """Bytes it occupies, about."""


def received_text(text: str) -> Received:
    """With its size: one character beyond Latin-1 makes every character take two bytes, or four."""
    return Received(text, len(text) if text.isascii() else text.__sizeof__())


class MessagePart(NamedTuple):
    """A step of a message that is not complete: the caller may continue at once or later."""

    empty: bool
    """A frame without content, which does not end its message."""


PART: Final = MessagePart(empty=False)
EMPTY_PART: Final = MessagePart(empty=True)


class Ping(NamedTuple):
    payload: bytes


class Pong(NamedTuple):
    payload: bytes


class Close(NamedTuple):
    """The peer's close frame; the last event."""

    code: int
    """1005 when the frame had none."""
    reason: str


Event = Received | MessagePart | Ping | Pong | Close


class FrameError(Exception):
    """The peer broke the protocol, or a limit: `code` and `reason` for the close frame. No
    event follows."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.reason = _REASONS.get(code, "protocol error")


def received_utf8(data: bytes | bytearray) -> Received:
    """Raises `FrameError`."""
    try:
        return received_text(str(data, "utf-8"))
    except UnicodeDecodeError as error:
        raise FrameError(INVALID_DATA, str(error)) from error


class Codec(Protocol):
    """The server's end of one connection's frames."""

    @property
    def held(self) -> int:
        """Bytes that were fed and not returned in an event yet, partly decompressed."""

    @property
    def unfinished(self) -> object | None:
        """The incomplete message, a different object for each; None: there is none."""

    def feed(self, data: bytes) -> None:
        """Take bytes from the peer. Interprets nothing yet."""

    def next_event(self) -> Event | None:
        """The next event of what was fed; None: more bytes are needed. Raises `FrameError`, once.

        One call takes about a millisecond at most: what would take longer is done in `MessagePart`s.
        """

    def message(self, data: str | bytes) -> bytes: ...
    def ping(self, payload: bytes) -> bytes: ...
    def pong(self, payload: bytes) -> bytes: ...

    def close(self, code: int, reason: str) -> bytes:
        """A close frame; empty for 1005. `reason`: at most MAX_REASON bytes."""


class NewCodec(Protocol):
    """Makes the codec of one connection."""

    def __call__(
        self, max_message: int, deflate: DeflateTerms | None, max_inflated: int = MAX_INFLATED
    ) -> Codec:
        """`max_message`: bytes. `max_inflated`: of one that comes compressed, which `max_message` bounds too."""


def may_be_sent(code: int) -> bool:
    """Whether a close frame of ours may carry `code` (RFC 6455 section 7.4)."""
    return 3000 <= code <= 4999 or code in _OF_AN_ENDPOINT
