"""WebSocket frames: whatever comes and however it is cut, the same events, and FrameError for the same frame.

Both codecs read each input, and must have made the same of it after every piece.
"""

import zlib
from itertools import pairwise

from hypothesis import strategies as st
from wsproto.frame_protocol import XorMaskerSimple

from hsrv.asyncpool.websocket.codecs.codec import CODECS, NewCodec, choose_codec
from hsrv.asyncpool.websocket.codecs.deflate import DeflateTerms
from hsrv.asyncpool.websocket.codecs.events import (
    Close,
    Event,
    FrameError,
    MessagePart,
    Ping,
    Pong,
    Received,
    may_be_sent,
)
from tests.fuzz import past
from tests.fuzz.targets import PLACES, Target, cut, mutated

LIMITS = [300, 80_000]

TERMS = [
    None,
    DeflateTerms(),
    DeflateTerms(
        client_no_context_takeover=True, server_no_context_takeover=True, client_bits=9, server_bits=9
    ),
]

Input = tuple[bytes, list[int], DeflateTerms | None, int]
Outcome = tuple[list[list[Event]], int]
"""The events after each piece, and the close code of what broke the protocol or 0. That piece is the last."""

BYTE_BY_BYTE = 3000
"""Bytes of a stream up to which it is also read so."""


def read(new: NewCodec, pieces: list[bytes], terms: DeflateTerms | None, limit: int) -> Outcome:
    codec = new(limit, terms)
    found: list[list[Event]] = []
    for piece in pieces:
        codec.feed(piece)
        found.append([])
        try:
            while (event := codec.next_event()) is not None:
                if not isinstance(event, MessagePart):
                    found[-1].append(event)
        except FrameError as error:
            assert error.code in (1002, 1007, 1009)
            assert may_be_sent(error.code)
            assert codec.next_event() is None
            return found, error.code
    return found, 0


def agreed(pieces: list[bytes], terms: DeflateTerms | None, limit: int) -> tuple[list[Event], int]:
    """The events and the close code, of which no codec has another opinion."""
    first, *others = (read(new, pieces, terms, limit) for new in map(choose_codec, CODECS))
    for other in others:
        assert other == first
    return [event for events in first[0] for event in events], first[1]


def check(data: Input) -> None:
    stream, places, terms, limit = data
    events, code = agreed([stream], terms, limit)
    cuts = [cut(stream, places)]
    if len(stream) <= BYTE_BY_BYTE:
        cuts.append([bytes([byte]) for byte in stream])
    for pieces in cuts:
        again, other_code = agreed(pieces, terms, limit)
        assert again == events
        assert bool(other_code) is bool(
            code
        )  # a frame may be wrong in two ways; the cut says which shows first
    for number, event in enumerate(events):
        if isinstance(event, Received):
            assert len(event.data if isinstance(event.data, bytes) else event.data.encode()) <= limit
        elif isinstance(event, Ping | Pong):
            assert len(event.payload) <= 125
        else:
            assert isinstance(event, Close)
            assert (number, code) == (len(events) - 1, 0)
            assert event.code == 1005 or may_be_sent(event.code)


def frame(first: int, payload: bytes, mask: bytes = b"\x05\x06\x07\x08") -> bytes:
    size = len(payload)
    if size < 126:
        length = bytes([0x80 | size])
    elif size < 1 << 16:
        length = b"\xfe" + size.to_bytes(2, "big")
    else:
        length = b"\xff" + size.to_bytes(8, "big")
    return bytes([first]) + length + mask + bytes(XorMaskerSimple(mask).process(bytearray(payload)))


def deflated(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-9)
    return (deflater.compress(data) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]


def fragments(opcode: int, payload: bytes, places: list[int], between: bytes) -> bytes:
    """A message in as many frames as there are pieces, with `between` before the last."""
    edges = sorted({0, len(payload), *(place % (len(payload) + 1) for place in places)})
    pieces = [payload[start:end] for start, end in pairwise(edges)] or [b""]
    firsts = [opcode, *[0] * (len(pieces) - 1)]
    firsts[-1] |= 0x80
    frames = [frame(first, piece) for first, piece in zip(firsts, pieces, strict=True)]
    return b"".join([*frames[:-1], between, frames[-1]])


_mask = st.sampled_from([b"\x05\x06\x07\x08", bytes(4), b"\xff\x00\x80\x7f"])
_payload = st.one_of(
    st.binary(max_size=130),
    st.text(max_size=40).map(str.encode),
    st.sampled_from(
        [b"\xc3", b"\xff", b"\xed\xa0\x80", bytes(126), bytes(299), bytes(301), bytes(70_000), b"\x03\xe8bye"]
    ),
    st.sampled_from(
        [b"\x03\xe8\xff", b"\x03", b"\x03\xed", b"\x0f\xa0", "gr\xfc\xdfe \U0001f600".encode() * 5]
    ),
    (st.binary(max_size=40) | st.sampled_from([bytes(299), bytes(301), bytes(100_000)])).map(deflated),
)
_first = st.sampled_from(
    [0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0xC1, 0xC2, 0x41, 0x42, 0x88, 0x89, 0x8A]
) | st.integers(0, 255)
_message = st.builds(
    fragments,
    st.sampled_from([0x01, 0x02, 0x41, 0x42]),
    st.one_of(_payload, st.text(max_size=40).map(str.encode).map(deflated)),
    st.lists(st.integers(0, 100), max_size=3),
    st.sampled_from([b"", frame(0x89, b"ping"), frame(0x8A, b"pong"), frame(0x88, b"")]),
)
_wasteful = st.sampled_from(
    [b"\x82\xfe\x00\x03" + bytes(7), b"\x81\xff" + (200).to_bytes(8, "big") + bytes(204)]
)
"""A length in more bytes than it needs."""
_large = st.sampled_from([frame(0x82, bytes(70_000)), frame(0x81, b"\xc3\xbc" * 35_000)])
_frame = st.builds(frame, _first, _payload, _mask)
_frames = st.lists(_frame | _message | _large | _wasteful, max_size=6).map(b"".join)

TARGET = Target(
    "frames",
    st.tuples(
        _frames | mutated(_frames) | st.binary(max_size=80),
        PLACES,
        st.sampled_from(TERMS),
        st.sampled_from(LIMITS),
    ),
    check,
    past.FRAMES,
)
