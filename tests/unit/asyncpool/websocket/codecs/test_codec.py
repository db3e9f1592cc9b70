"""Bytes to events and back: each case whole and cut at every byte."""

import pytest
from wsproto.frame_protocol import FrameProtocol, XorMaskerSimple

from hsrv.asyncpool.websocket.codecs.codec import CODECS, Codec, NewCodec, choose_codec
from hsrv.asyncpool.websocket.codecs.deflate import DeflateTerms
from hsrv.asyncpool.websocket.codecs.events import (
    Close,
    Event,
    FrameError,
    MessagePart,
    Ping,
    Pong,
    Received,
    received_text,
)
from hsrv.asyncpool.websocket.codecs.frames import FrameCodec
from hsrv.asyncpool.websocket.codecs.wsproto import WsprotoCodec

MASK = b"\x05\x06\x07\x08"


def frame(first_byte: int, payload: bytes) -> bytes:
    """A short frame of a client."""
    masked = bytes(XorMaskerSimple(MASK).process(bytearray(payload)))
    return bytes([first_byte, 0x80 | len(payload)]) + MASK + masked


@pytest.fixture(params=sorted(CODECS))
def new(request: pytest.FixtureRequest) -> NewCodec:
    """Each of the codecs."""
    return choose_codec(request.param)


def events(codec: Codec, *pieces: bytes) -> list[Event]:
    found: list[Event] = []
    for piece in pieces:
        codec.feed(piece)
        while (event := codec.next_event()) is not None:
            if not isinstance(event, MessagePart):
                found.append(event)
    return found


CASES: dict[str, tuple[bytes, list[Event]]] = {
    "text": (frame(0x81, "grüße\r\n".encode()), [received_text("grüße\r\n")]),
    "empty text": (frame(0x81, b""), [Received("", 0)]),
    "binary": (frame(0x82, b"\x00\xff"), [Received(b"\x00\xff", 2)]),
    "fragmented text, cut within a character": (
        frame(0x01, b"\r\ngr\xc3") + frame(0x00, b"\xbc\xc3\x9f") + frame(0x00, b"") + frame(0x80, b"e"),
        [received_text("\r\ngrüße")],
    ),
    "fragmented binary": (frame(0x02, b"a") + frame(0x80, b"b"), [Received(b"ab", 2)]),
    "ping between fragments": (
        frame(0x02, b"a") + frame(0x89, b"p") + frame(0x80, b"b"),
        [Ping(b"p"), Received(b"ab", 2)],
    ),
    "two messages": (frame(0x81, b"a") + frame(0x82, b"b"), [Received("a", 1), Received(b"b", 1)]),
    "pong": (frame(0x8A, b"p"), [Pong(b"p")]),
    "close with reason": (frame(0x88, b"\x03\xe9" + "tschüß".encode()), [Close(1001, "tschüß")]),
    "close of an application": (frame(0x88, b"\x0f\xa0"), [Close(4000, "")]),
    "close without code": (frame(0x88, b""), [Close(1005, "")]),
    "nothing after a close": (frame(0x88, b"") + frame(0x81, b"late"), [Close(1005, "")]),
}


@pytest.mark.parametrize("case", CASES)
def test_frames_become_the_same_events_wherever_they_are_cut(new: NewCodec, case: str) -> None:
    data, expected = CASES[case]
    assert events(new(100, None), data) == expected
    for cut in range(1, len(data)):
        assert events(new(100, None), data[:cut], data[cut:]) == expected
    assert events(new(100, None), *(bytes([byte]) for byte in data)) == expected


@pytest.mark.parametrize(
    ("data", "code", "reason"),
    [
        (frame(0x81, b"\xff"), 1007, "invalid data"),
        (frame(0x81, b"\xc3"), 1007, "invalid data"),
        (frame(0x01, b"a") + frame(0x80, b"\xff"), 1007, "invalid data"),
        (frame(0x88, b"\x03\xe8\xff"), 1007, "invalid data"),
        (frame(0x80, b"a"), 1002, "protocol error"),
        (frame(0x01, b"a") + frame(0x81, b"b"), 1002, "protocol error"),
        (frame(0x83, b"a"), 1002, "protocol error"),
        (frame(0x09, b"a"), 1002, "protocol error"),
        (frame(0x88, b"\x03"), 1002, "protocol error"),
        (frame(0x88, b"\x03\xed"), 1002, "protocol error"),
        (frame(0xC1, b"a"), 1002, "protocol error"),
        (b"\x81\x01a", 1002, "protocol error"),
        (b"\x82\xfe\x00\x03" + frame(0x82, b"abc")[2:], 1002, "protocol error"),
        (b"\x82\xff" + (126).to_bytes(8, "big") + MASK, 1002, "protocol error"),
        (b"\x82\xff\x80" + bytes(7) + MASK, 1002, "protocol error"),
        (frame(0x82, bytes(101)), 1009, "message too big"),
        (frame(0x02, bytes(60)) + frame(0x80, bytes(60)), 1009, "message too big"),
    ],
)
def test_what_breaks_the_protocol_says_which_close_code_tells_so(
    new: NewCodec, data: bytes, code: int, reason: str
) -> None:
    with pytest.raises(FrameError) as failure:
        events(new(100, None), data)
    assert (failure.value.code, failure.value.reason) == (code, reason)


def test_the_limit_is_in_bytes_not_in_characters(new: NewCodec) -> None:
    with pytest.raises(FrameError) as failure:
        events(new(100, None), frame(0x81, "ü".encode() * 51))
    assert failure.value.code == 1009


@pytest.mark.parametrize("terms", [None, DeflateTerms(server_bits=15, client_bits=15)])
@pytest.mark.parametrize("data", ["grüße", "x" * 100_000, b"", b"\x00" * 70_000])
def test_a_sent_message_is_what_the_client_reads(
    new: NewCodec, data: str | bytes, terms: DeflateTerms | None
) -> None:
    sent = new(0, terms).message(data)
    assert _client_reads(sent, terms) == data


def _client_reads(sent: bytes, terms: DeflateTerms | None) -> str | bytes:
    from wsproto.extensions import PerMessageDeflate

    extension = PerMessageDeflate()
    if terms is not None:
        extension.finalize("permessage-deflate")
    client = FrameProtocol(client=True, extensions=[extension])
    client.receive_bytes(sent)
    payloads = [frame.payload for frame in client.received_frames()]
    if isinstance(payloads[0], str):
        return "".join(str(payload) for payload in payloads)
    return b"".join(payload for payload in payloads if isinstance(payload, bytes))


def test_control_frames_are_written_as_the_rfc_lays_them_out(new: NewCodec) -> None:
    codec = new(100, None)
    assert codec.ping(b"p") == b"\x89\x01p"
    assert codec.pong(b"p") == b"\x8a\x01p"
    assert codec.close(1001, "bye") == b"\x88\x05\x03\xe9bye"
    assert codec.close(4000, "") == b"\x88\x02\x0f\xa0"
    assert codec.close(1005, "") == b"\x88\x00"


def test_the_usual_codec_is_ours_and_each_is_found_by_its_name() -> None:
    assert choose_codec("auto") is FrameCodec
    assert choose_codec("wsproto") is WsprotoCodec
    with pytest.raises(KeyError):
        choose_codec("none")


@pytest.mark.parametrize("terms", [None, DeflateTerms()])
@pytest.mark.parametrize("data", [b"", "ü" * 60, "x" * 125, b"y" * 126, bytes(70_000)])
def test_both_write_the_same_bytes(data: str | bytes, terms: DeflateTerms | None) -> None:
    ours, reference = FrameCodec(0, terms), WsprotoCodec(0, terms)
    for _ in range(2):
        assert ours.message(data) == reference.message(data)
    payload = b"p" * 125
    assert ours.ping(payload) == reference.ping(payload)
    assert ours.pong(payload) == reference.pong(payload)
    assert ours.close(1012, "bye") == reference.close(1012, "bye")
    assert ours.close(1005, "") == reference.close(1005, "")
