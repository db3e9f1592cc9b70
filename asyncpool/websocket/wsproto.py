"""The reference codec, on wsproto's frame layer. Pure."""

from typing import Final

from wsproto.frame_protocol import Frame, FrameProtocol, Opcode, ParseFailed

from hsrv.asyncpool.websocket.deflate import MAX_INFLATED, STEP_IN, DeflateTerms, MessageExtension
from hsrv.asyncpool.websocket.events import (
    EMPTY_PART,
    NO_STATUS,
    PART,
    Close,
    Event,
    FrameError,
    Ping,
    Pong,
    Received,
    received_text,
)

SLICE: Final = STEP_IN
"""Bytes that wsproto is given at a time: it inflates in one go what it has."""


class _Message:
    """A message whose frames are not complete. It grows in place, and a text stays UTF-8: one character can make it
    four times as large."""

    __slots__ = ("data", "is_text")

    def __init__(self, *, is_text: bool) -> None:
        self.is_text = is_text
        self.data = bytearray()

    def received(self) -> Received:
        return (
            received_text(self.data.decode()) if self.is_text else Received(bytes(self.data), len(self.data))
        )


class WsprotoCodec:
    """A `Codec`. Every frame passes through a dozen objects: for reading, not for speed."""

    name = "wsproto"

    __slots__ = ("_at", "_data", "_frames", "_message")

    def __init__(
        self, max_message: int, deflate: DeflateTerms | None, max_inflated: int = MAX_INFLATED
    ) -> None:
        """`max_message`: bytes. `max_inflated`: of one that comes compressed, which `max_message` bounds too."""
        extension = MessageExtension(max_message, deflate, max_inflated)
        self._frames = FrameProtocol(client=False, extensions=[extension])
        self._data = b""
        self._at = 0
        """How far wsproto has it."""
        self._message: _Message | None = None

    @property
    def held(self) -> int:
        return len(self._data) - self._at + (len(self._message.data) if self._message is not None else 0)

    @property
    def unfinished(self) -> object | None:
        return self._message

    def feed(self, data: bytes) -> None:
        self._data, self._at = self._data[self._at :] + data, 0

    def next_event(self) -> Event | None:
        while True:
            try:
                frame = next(self._frames.received_frames(), None)
            except ParseFailed as error:
                raise FrameError(int(error.code), str(error)) from error
            if frame is not None:
                return self._event(frame)
            piece = self._data[self._at : self._at + SLICE]
            if not piece:
                self._data, self._at = b"", 0
                return None
            self._at += len(piece)
            self._frames.receive_bytes(piece)

    def _event(self, frame: Frame) -> Event:
        payload = frame.payload
        if isinstance(payload, tuple):
            return Close(int(payload[0]), payload[1])
        if not isinstance(payload, str):
            if frame.opcode is Opcode.PING:
                return Ping(bytes(payload))
            if frame.opcode is Opcode.PONG:
                return Pong(bytes(payload))
        return self._join(payload, finished=frame.message_finished)

    def _join(self, piece: str | bytes, *, finished: bool) -> Event:
        message = self._message
        if message is None:
            if finished:
                return received_text(piece) if isinstance(piece, str) else Received(piece, len(piece))
            message = self._message = _Message(is_text=isinstance(piece, str))
        message.data += piece.encode() if isinstance(piece, str) else piece
        if finished:
            self._message = None
            return message.received()
        return PART if piece else EMPTY_PART

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
