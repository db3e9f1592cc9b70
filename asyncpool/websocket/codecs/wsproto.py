"""The reference codec: wsproto's frame layer, with an extension in place of wsproto's own.

wsproto's own inflates without a bound (64 KiB of input become 64 MiB), forgets that a fragmented message is compressed
when a ping comes between its frames, and accepts offers that RFC 7692 section 7 says to decline. Pure.
"""

import zlib
from typing import Final

from wsproto.extensions import Extension
from wsproto.frame_protocol import (
    CloseReason,
    Frame,
    FrameDecoder,
    FrameProtocol,
    Opcode,
    ParseFailed,
    RsvBits,
)

from hsrv.asyncpool.websocket.codecs.deflate import (
    DEFLATE_FROM,
    MAX_INFLATED,
    STEP_IN,
    Deflater,
    DeflateTerms,
    Inflater,
    most_inflated,
)
from hsrv.asyncpool.websocket.codecs.events import (
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
"""Bytes passed to wsproto at a time: it inflates all that it has in one call."""

_NO_BITS: Final = RsvBits(False, False, False)
_RSV1: Final = RsvBits(True, False, False)


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
    """A `Codec`. Every frame passes through a dozen objects: it is a reference, not fast."""

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
        """Offset in `_data` up to which wsproto has it."""
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


class MessageExtension(Extension):
    """Counts the bytes of each received message, and (de)compresses if there are terms.

    Too large a message ends in `CloseReason.MESSAGE_TOO_BIG`, which wsproto raises as ParseFailed. So does, with the
    header already, a frame that doesn't belong where it stands: wsproto would find it only behind its payload.
    """

    name = "permessage-deflate"

    def __init__(self, limit: int, terms: DeflateTerms | None, max_inflated: int = MAX_INFLATED) -> None:
        self._limit = limit
        self._max_inflated = min(limit, max_inflated)
        self._inflater = Inflater(terms) if terms is not None else None
        self._deflater = Deflater(terms) if terms is not None else None
        self.room = limit
        """Bytes the current message may still bring."""
        self._wire = self._coming = self._plain = 0
        """Bytes of its frames, of the current one, and of what they became, if it is compressed."""
        self._within = False
        """Frames of the current message are to follow."""
        self._control = False
        """The current frame is a control frame, maybe amid the frames of a message."""
        self._deflated = False
        """The current message is compressed."""

    def enabled(self) -> bool:
        return True

    def offer(self) -> bool | str:
        raise NotImplementedError("the server side of an extension offers nothing")

    def frame_inbound_header(
        self, proto: FrameDecoder | FrameProtocol, opcode: Opcode, rsv: RsvBits, payload_length: int
    ) -> CloseReason | RsvBits:
        """Start of a frame. Returns the reserved bits that this extension understands in it."""
        self._control = opcode.iscontrol()
        if self._control:
            return _NO_BITS
        if self._within is not (opcode is Opcode.CONTINUATION):
            return CloseReason.PROTOCOL_ERROR
        if opcode is not Opcode.CONTINUATION:
            self.room = self._limit
            self._deflated = self._inflater is not None and rsv.rsv1
            self._wire = self._plain = 0
        self._coming = payload_length  # wsproto may ask again for the same header, until its mask is there
        if self._deflated:
            self.room = most_inflated(self._max_inflated, self._wire + self._coming) - self._plain
        elif payload_length > self.room:
            return CloseReason.MESSAGE_TOO_BIG
        return _RSV1 if self._deflated and opcode is not Opcode.CONTINUATION else _NO_BITS

    def frame_inbound_payload_data(
        self, proto: FrameDecoder | FrameProtocol, data: bytes
    ) -> bytes | CloseReason:
        if self._control:
            return data
        if self._deflated and self._inflater is not None:
            return self._inflate(self._inflater, data, last=False)
        self.room -= len(data)
        return data

    def frame_inbound_complete(
        self, proto: FrameDecoder | FrameProtocol, fin: bool
    ) -> bytes | CloseReason | None:
        if self._control:
            return None
        self._within = not fin
        self._wire += self._coming
        if not fin or not self._deflated or self._inflater is None:
            return None
        return self._inflate(self._inflater, b"", last=True)

    def _inflate(self, inflater: Inflater, data: bytes, *, last: bool) -> bytes | CloseReason:
        """At most one byte more than there is room for. The codec sees to it that `data` is short."""
        plain = bytearray()
        inflater.feed(data, last=last)
        while inflater.busy:
            try:
                piece = inflater.step(self.room + 1)
            except zlib.error:
                return CloseReason.INVALID_FRAME_PAYLOAD_DATA
            self.room -= len(piece)
            self._plain += len(piece)
            if self.room < 0:
                return CloseReason.MESSAGE_TOO_BIG
            plain += piece
        return bytes(plain)

    def frame_outbound(
        self, proto: FrameDecoder | FrameProtocol, opcode: Opcode, rsv: RsvBits, data: bytes, fin: bool
    ) -> tuple[RsvBits, bytes]:
        if self._deflater is None or opcode.iscontrol() or len(data) < DEFLATE_FROM:
            return rsv, data
        return _RSV1, self._deflater.deflate(data)
