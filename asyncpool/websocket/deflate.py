"""permessage-deflate (RFC 7692), and for wsproto with the size limit of received messages as one extension.

wsproto's own extension inflates without a bound (64 KiB of input become 64 MiB), forgets that a fragmented
message is compressed when a ping comes between its frames, and accepts offers that section 7 says to decline.
Promises: a message is never inflated further than one byte beyond the limit; an offer is accepted exactly or
declined. Pure.
"""

import zlib
from collections.abc import Iterable
from typing import Final

import msgspec
from wsproto.extensions import Extension
from wsproto.frame_protocol import CloseReason, FrameDecoder, FrameProtocol, Opcode, RsvBits

WINDOW_BITS: Final = 12
"""Largest LZ77 window of either side. With zlib's 15 and memory level 8, each connection would hold some 300
KiB for compression; with 12 and 5 it is a tenth of that, for messages that compress a few percent less."""

MEMORY_LEVEL: Final = 5

SMALLEST_WINDOW_BITS: Final = 9
"""zlib makes no raw deflate stream with a window of 8 bits."""

DEFLATE_FROM: Final = 64
"""Bytes; a shorter message is sent as it is (section 6.1 allows that for each message)."""

_TAIL: Final = b"\x00\x00\xff\xff"
"""The end of a flushed block, which travels with no message (section 7.2.1)."""

MAX_INFLATED: Final = 1 << 20
"""Bytes of a message that came compressed, unless an option says otherwise: a thousand bytes can ask for them."""

INFLATED_FREELY: Final = 128 * 1024
INFLATE_RATIO: Final = 100
"""Beyond the first, a message may be only so many times as large as its frames. JSON and markup reach some 30; the
format allows 1032, for what has no content."""

STEP_IN: Final = 2 * 1024
STEP_OUT: Final = 32 * 1024
"""Bytes that one step of inflating takes and makes, at most: a fraction of a millisecond, also where the input is made
of nothing but headers of blocks."""

_FLAGS: Final = frozenset({"server_no_context_takeover", "client_no_context_takeover"})
_BITS: Final = frozenset({"server_max_window_bits", "client_max_window_bits"})
_NO_BITS: Final = RsvBits(False, False, False)
_RSV1: Final = RsvBits(True, False, False)


class DeflateTerms(msgspec.Struct, frozen=True, kw_only=True):
    """What client and server agreed on (RFC 7692 section 7.1)."""

    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False
    server_bits: int = WINDOW_BITS
    client_bits: int | None = None
    """None: the client didn't say that it can limit its window, so it is 15."""

    def header(self) -> bytes:
        """The value of Sec-WebSocket-Extensions in the response."""
        parts = ["permessage-deflate"]
        if self.server_no_context_takeover:
            parts.append("server_no_context_takeover")
        if self.client_no_context_takeover:
            parts.append("client_no_context_takeover")
        parts.append(f"server_max_window_bits={self.server_bits}")
        if self.client_bits is not None:
            parts.append(f"client_max_window_bits={self.client_bits}")
        return "; ".join(parts).encode("ascii")


def negotiate(values: Iterable[bytes]) -> DeflateTerms | None:
    """The terms for the first acceptable offer in the Sec-WebSocket-Extensions field values; None: there is
    none."""
    for value in values:
        for offer in value.decode("latin-1").split(","):
            name, *parameters = (part.strip() for part in offer.split(";"))
            if name == "permessage-deflate":
                terms = _accept(parameters)
                if terms is not None:
                    return terms
    return None


def _accept(parameters: list[str]) -> DeflateTerms | None:
    """Decline what section 7 says to decline: unknown, repeated and malformed parameters."""
    asked: dict[str, str | None] = {}
    for parameter in parameters:
        name, equals, value = parameter.partition("=")
        name = name.strip()
        if name in asked or not _is_valid(name, value := value.strip().strip('"'), bool(equals)):
            return None
        asked[name] = value if equals else None
    server_bits = int(asked.get("server_max_window_bits") or WINDOW_BITS)
    if server_bits < SMALLEST_WINDOW_BITS:
        return None
    client_bits = None
    if "client_max_window_bits" in asked:
        client_bits = min(int(asked["client_max_window_bits"] or WINDOW_BITS), WINDOW_BITS)
    return DeflateTerms(
        server_no_context_takeover="server_no_context_takeover" in asked,
        client_no_context_takeover="client_no_context_takeover" in asked,
        server_bits=min(server_bits, WINDOW_BITS),
        client_bits=client_bits,
    )


def _is_valid(name: str, value: str, has_value: bool) -> bool:
    if name in _FLAGS:
        return not has_value
    if name not in _BITS:
        return False
    if not has_value:
        return name == "client_max_window_bits"
    return value in {"8", "9", "10", "11", "12", "13", "14", "15"}


class Inflater:
    """The messages of one peer, decompressed."""

    __slots__ = ("_at", "_bits", "_data", "_forgets", "_last", "_zlib", "busy")

    def __init__(self, terms: DeflateTerms) -> None:
        self._bits = max(terms.client_bits or zlib.MAX_WBITS, SMALLEST_WINDOW_BITS)
        self._forgets = terms.client_no_context_takeover
        self._zlib: zlib._Decompress | None = None
        self._data = b""
        self._at = 0
        """How far it was inflated."""
        self._last = False
        self.busy = False
        """There may be more to inflate of what was fed."""

    @property
    def waiting(self) -> int:
        """Bytes that were fed and not inflated yet."""
        return len(self._data) - self._at

    def feed(self, data: bytes, *, last: bool) -> None:
        """The next part of a message, once it is not `busy` with the one before."""
        self._data, self._at, self._last = data + _TAIL if last else data, 0, last
        self.busy = True

    def step(self, most: int) -> bytes:
        """Some of it, at most `most` bytes, of which there is at least one. Raises `zlib.error`.

        After a final block (section 7.2.3.4) the rest of the message is padding, and ignored.
        """
        inflater = self._zlib
        if inflater is None:
            inflater = self._zlib = zlib.decompressobj(-self._bits)
        plain = b""
        if not inflater.eof:
            taken = self._data[self._at : self._at + STEP_IN]
            plain = inflater.decompress(taken, most)
            self._at += len(taken) - len(inflater.unconsumed_tail)
        if inflater.eof or (self._at >= len(self._data) and len(plain) < most):
            self._end(inflater)
        return plain

    def _end(self, inflater: "zlib._Decompress") -> None:
        self.busy = False
        self._data, self._at = b"", 0
        if self._last and (self._forgets or inflater.eof):
            self._zlib = None


def most_inflated(limit: int, wire: int) -> int:
    """Bytes that a message may become whose frames, as far as they have begun, have `wire`."""
    return min(limit, max(INFLATED_FREELY, INFLATE_RATIO * wire))


class Deflater:
    """Our messages, compressed."""

    __slots__ = ("_bits", "_forgets", "_zlib")

    def __init__(self, terms: DeflateTerms) -> None:
        self._bits = terms.server_bits
        self._forgets = terms.server_no_context_takeover
        self._zlib: zlib._Compress | None = None

    def deflate(self, data: bytes) -> bytes:
        """A whole message. Each is one frame: hsrv sends no fragments."""
        if self._zlib is None or self._forgets:
            self._zlib = zlib.compressobj(wbits=-self._bits, memLevel=MEMORY_LEVEL)
        deflated = self._zlib.compress(data) + self._zlib.flush(zlib.Z_SYNC_FLUSH)
        return deflated[: -len(_TAIL)]


class MessageExtension(Extension):
    """For wsproto: counts the bytes of each received message, and (de)compresses if there are terms.

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
