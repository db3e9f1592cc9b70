"""permessage-deflate (RFC 7692).

Promises: a message is never inflated further than one byte beyond the limit; an offer is accepted exactly or
declined. Pure.
"""

import zlib
from collections.abc import Iterable
from typing import Final

import msgspec

WINDOW_BITS: Final = 12
"""Largest LZ77 window of either side. With zlib's 15 and memory level 8, each connection would hold some 300
KiB for compression; with 12 and 5 it is a tenth of that, for messages that compress a few percent less."""

MEMORY_LEVEL: Final = 5

SMALLEST_WINDOW_BITS: Final = 9
"""zlib makes no raw deflate stream with a window of 8 bits."""

DEFLATE_FROM: Final = 64
"""Bytes; a shorter message is sent as it is (section 6.1 allows that for each message)."""

_TAIL: Final = b"\x00\x00\xff\xff"
"""The end of a flushed block, which is not transmitted (section 7.2.1)."""

MAX_INFLATED: Final = 1 << 20
"""Bytes of a message that came compressed, unless an option says otherwise: a thousand bytes can expand to that."""

INFLATED_FREELY: Final = 128 * 1024
INFLATE_RATIO: Final = 100
"""Above INFLATED_FREELY, a message may be at most this many times as large as its frames. JSON and markup reach about
30; the format allows 1032, for data without content."""

STEP_IN: Final = 2 * 1024
STEP_OUT: Final = 32 * 1024
"""Maximum input and output of one step of inflating, in bytes: a fraction of a millisecond, even if the input consists
of block headers only."""

_FLAGS: Final = frozenset({"server_no_context_takeover", "client_no_context_takeover"})
_BITS: Final = frozenset({"server_max_window_bits", "client_max_window_bits"})


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
        """Offset in `_data` up to which it was inflated."""
        self._last = False
        self.busy = False
        """More of what was fed may be left to inflate."""

    @property
    def waiting(self) -> int:
        """Bytes that were fed and not inflated yet."""
        return len(self._data) - self._at

    def feed(self, data: bytes, *, last: bool) -> None:
        """The next part of a message, once it is not `busy` with the one before."""
        self._data, self._at, self._last = data + _TAIL if last else data, 0, last
        self.busy = True

    def step(self, most: int) -> bytes:
        """The next part, at most `most` (at least 1) bytes. Raises `zlib.error`.

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
    """Bytes that a message may expand to; `wire`: bytes of its frames that have begun."""
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
