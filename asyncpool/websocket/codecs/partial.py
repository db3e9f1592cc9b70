"""What has been received in part: a frame, and the message that its frames make up. Pure.

A message is decompressed, checked for UTF-8 and counted as its pieces come.
"""

import zlib
from codecs import IncrementalDecoder, getincrementaldecoder
from typing import Final

from hsrv.asyncpool.websocket.codecs.deflate import STEP_OUT, Inflater, most_inflated
from hsrv.asyncpool.websocket.codecs.events import INVALID_DATA, TOO_BIG, FrameError, Received, received_utf8

FIN: Final = 0x80
TEXT, BINARY = 0x1, 0x2

_new_decoder = getincrementaldecoder("utf-8")


class PartialFrame:
    """A frame whose payload is not complete."""

    __slots__ = ("final", "left", "mask", "opcode")

    def __init__(self, first: int, size: int, mask: bytes) -> None:
        self.opcode = first & 0x0F
        self.final = bool(first & FIN)
        self.left = size
        """Bytes of payload to come."""
        self.mask = mask
        """Rotated: it begins with the byte for the next byte of payload."""


class PartialMessage:
    """A message whose frames are not complete."""

    __slots__ = ("_data", "_decoder", "_is_text", "_limit", "_wire", "inflater", "last", "room")

    def __init__(self, opcode: int, limit: int, inflater: Inflater | None) -> None:
        """`inflater`: if it is compressed."""
        self._limit = limit
        self.room = limit if inflater is None else most_inflated(limit, 0)
        """Bytes it may still bring."""
        self._wire = 0
        """Bytes of its frames, if it is compressed."""
        self.inflater = inflater
        self.last = False
        """All of its last frame was read."""
        self._is_text = opcode == TEXT
        # Created for the first of several pieces, and grows in place: with a list of pieces a peer could make us keep
        # an object for each byte that it sends. Text stays UTF-8: decoded, one character can make it four times larger.
        self._data: bytearray | None = None
        self._decoder: IncrementalDecoder | None = None

    @property
    def held(self) -> int:
        waiting = self.inflater.waiting if self.inflater is not None else 0
        return waiting + (len(self._data) if self._data is not None else 0)

    def expect(self, size: int) -> None:
        """Another frame of it has begun."""
        if self.inflater is not None:
            before = most_inflated(self._limit, self._wire)
            self._wire += size
            self.room += most_inflated(self._limit, self._wire) - before

    def add(self, data: bytes) -> Received | None:
        """The message, with its last piece. Raises `FrameError`."""
        if self.inflater is not None:
            self.inflater.feed(data, last=self.last)
            return self.inflate(self.inflater)
        self.room -= len(data)  # the head was checked against it
        return self._add(data, last=self.last)

    def inflate(self, inflater: Inflater) -> Received | None:
        """Decompress a step: at most one byte more than there is room for."""
        try:
            plain = inflater.step(min(self.room + 1, STEP_OUT))
        except zlib.error as error:
            raise FrameError(INVALID_DATA, str(error)) from error
        self.room -= len(plain)
        if self.room < 0:
            raise FrameError(TOO_BIG, "the message is larger than its limit, decompressed")
        return self._add(plain, last=self.last and not inflater.busy)

    def _add(self, piece: bytes, *, last: bool) -> Received | None:
        data = self._data
        if last and data is None:
            return received_utf8(piece) if self._is_text else Received(piece, len(piece))
        if data is None:
            data = self._data = bytearray()
            self._decoder = _new_decoder() if self._is_text else None
        data += piece
        if last:
            return received_utf8(data) if self._is_text else Received(bytes(data), len(data))
        if self._decoder is not None:
            try:
                self._decoder.decode(piece)  # only a check: the whole is decoded at the end
            except UnicodeDecodeError as error:
                raise FrameError(INVALID_DATA, str(error)) from error
        return None
