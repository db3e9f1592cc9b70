"""WebSocket frames: whatever comes and however it is cut, the same events, and FrameError for the same frame."""

import zlib

from hypothesis import strategies as st
from wsproto.frame_protocol import XorMaskerSimple

from hsrv.asyncpool.ws_codec import Close, Event, FrameError, Ping, Pong, Received, WsprotoCodec, may_be_sent
from hsrv.asyncpool.ws_deflate import DeflateTerms
from tests.fuzz import past
from tests.fuzz.targets import PLACES, Target, cut, mutated

LIMIT = 300

TERMS = [
    None,
    DeflateTerms(),
    DeflateTerms(
        client_no_context_takeover=True, server_no_context_takeover=True, client_bits=9, server_bits=9
    ),
]

Input = tuple[bytes, list[int], DeflateTerms | None]


def read(pieces: list[bytes], terms: DeflateTerms | None) -> tuple[list[Event], int]:
    """Events, and the close code of what broke the protocol or 0."""
    codec, found = WsprotoCodec(LIMIT, terms), []
    for piece in pieces:
        codec.feed(piece)
        try:
            while (event := codec.next_event()) is not None:
                found.append(event)
        except FrameError as error:
            assert error.code in (1002, 1007, 1009)
            assert may_be_sent(error.code)
            return found, error.code
    return found, 0


def check(data: Input) -> None:
    stream, places, terms = data
    events, code = read([stream], terms)
    for pieces in (cut(stream, places), [bytes([byte]) for byte in stream]):
        again, other_code = read(pieces, terms)
        assert again == events
        assert bool(other_code) is bool(
            code
        )  # a frame may be wrong in two ways; the cut says which shows first
    for number, event in enumerate(events):
        if isinstance(event, Received):
            assert len(event.data if isinstance(event.data, bytes) else event.data.encode()) <= LIMIT
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


_payload = st.one_of(
    st.binary(max_size=130),
    st.text(max_size=40).map(str.encode),
    st.sampled_from([b"\xc3", b"\xff", bytes(299), bytes(301), b"\x03\xe8bye", b"\x03\xed", b"\x0f\xa0"]),
    (st.binary(max_size=40) | st.sampled_from([bytes(299), bytes(301), bytes(100_000)])).map(deflated),
)
_first = st.sampled_from(
    [0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0xC1, 0xC2, 0x41, 0x42, 0x88, 0x89, 0x8A]
) | st.integers(0, 255)
_frames = st.lists(st.builds(frame, _first, _payload), max_size=6).map(b"".join)

TARGET = Target(
    "frames",
    st.tuples(_frames | mutated(_frames) | st.binary(max_size=80), PLACES, st.sampled_from(TERMS)),
    check,
    past.FRAMES,
)
