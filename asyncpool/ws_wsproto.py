"""The reference codec, on wsproto's frame layer. Pure."""

import io

from wsproto.frame_protocol import Frame, FrameProtocol, Opcode, ParseFailed

from hsrv.asyncpool.ws_deflate import DeflateTerms, MessageExtension
from hsrv.asyncpool.ws_events import NO_STATUS, Close, Event, FrameError, Ping, Pong, Received


class WsprotoCodec:
    """A `Codec`. Every frame passes through a dozen objects: for reading, not for speed."""

    name = "wsproto"

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
