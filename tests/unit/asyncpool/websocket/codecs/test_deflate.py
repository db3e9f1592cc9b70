"""permessage-deflate: what is agreed on (RFC 7692 section 7.1), and that nothing inflates without a bound."""

import zlib

import pytest
from wsproto.frame_protocol import CloseReason, Frame, FrameProtocol, Opcode, ParseFailed, XorMaskerSimple

from hsrv.asyncpool.websocket.codecs.deflate import DEFLATE_FROM, DeflateTerms, negotiate
from hsrv.asyncpool.websocket.codecs.wsproto import MessageExtension

MASK = b"\x01\x02\x03\x04"


def frame(first_byte: int, payload: bytes) -> bytes:
    """A client's frame."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return bytes([first_byte]) + length + MASK + bytes(XorMaskerSimple(MASK).process(bytearray(payload)))


def deflate(data: bytes, *, final: bool = False) -> bytes:
    compressor = zlib.compressobj(wbits=-12)
    if final:
        return compressor.compress(data) + compressor.flush(zlib.Z_FINISH) + b"\x00"
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def receiver(limit: int = 1000, terms: DeflateTerms | None = None) -> FrameProtocol:
    return FrameProtocol(client=False, extensions=[MessageExtension(limit, terms)])


def received(protocol: FrameProtocol, *frames: bytes) -> list[Frame]:
    for data in frames:
        protocol.receive_bytes(data)
    return list(protocol.received_frames())


def joined(frames: list[Frame]) -> str | bytes:
    payloads = [frame.payload for frame in frames if not frame.opcode.iscontrol()]
    if isinstance(payloads[0], str):
        return "".join(map(str, payloads))
    return b"".join(payloads)  # type: ignore[arg-type]  # the rest of a message is of the kind of its first frame


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        (b"permessage-deflate", b"permessage-deflate; server_max_window_bits=12"),
        (
            b"permessage-deflate; client_max_window_bits",
            b"permessage-deflate; server_max_window_bits=12; client_max_window_bits=12",
        ),
        (
            b"permessage-deflate; client_max_window_bits=10; server_max_window_bits=9",
            b"permessage-deflate; server_max_window_bits=9; client_max_window_bits=10",
        ),
        (
            b'permessage-deflate; client_max_window_bits="15"',
            b"permessage-deflate; server_max_window_bits=12; client_max_window_bits=12",
        ),
        (
            b"permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            (
                b"permessage-deflate; server_no_context_takeover; client_no_context_takeover"
                b"; server_max_window_bits=12"
            ),
        ),
        (b"x-unknown; a=1, permessage-deflate", b"permessage-deflate; server_max_window_bits=12"),
        (
            b"permessage-deflate; server_max_window_bits=8, permessage-deflate",
            b"permessage-deflate; server_max_window_bits=12",
        ),
    ],
)
def test_an_acceptable_offer_is_answered_with_its_terms(offer: bytes, answer: bytes) -> None:
    terms = negotiate([offer])
    assert terms is not None
    assert terms.header() == answer


@pytest.mark.parametrize(
    "offer",
    [
        b"",
        b"x-webkit-deflate-frame",
        b"permessage-deflate; unknown",
        b"permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        b"permessage-deflate; server_no_context_takeover=1",
        b"permessage-deflate; client_no_context_takeover_",
        b"permessage-deflate; server_max_window_bits",
        b"permessage-deflate; server_max_window_bits=8",
        b"permessage-deflate; server_max_window_bits=16",
        b"permessage-deflate; client_max_window_bits=x",
        b"permessage-deflate; client_max_window_bits=",
        b"permessage-deflate; client_max_window_bits=010",
    ],
)
def test_an_offer_with_anything_wrong_is_declined(offer: bytes) -> None:
    assert negotiate([offer]) is None


def test_the_second_field_line_is_looked_at_too() -> None:
    assert negotiate([b"x-unknown", b"permessage-deflate"]) is not None


def test_compressed_messages_are_inflated_with_the_context_of_those_before() -> None:
    compressor = zlib.compressobj(wbits=-12)
    protocol = receiver(terms=DeflateTerms())
    for _ in range(3):
        data = (compressor.compress(b"hello hello hello") + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
        assert joined(received(protocol, frame(0xC1, data))) == "hello hello hello"


def test_without_client_context_takeover_each_message_stands_alone() -> None:
    protocol = receiver(terms=DeflateTerms(client_no_context_takeover=True))
    for _ in range(2):
        assert joined(received(protocol, frame(0xC2, deflate(b"hello")))) == b"hello"


def test_a_plain_message_between_compressed_ones_is_left_alone() -> None:
    protocol = receiver(terms=DeflateTerms())
    frames = received(protocol, frame(0xC2, deflate(b"one")), frame(0x82, b"two"))
    assert joined(frames) == b"onetwo"


def test_a_ping_between_the_fragments_leaves_the_message_compressed() -> None:
    data = deflate(b"hello world")
    protocol = receiver(terms=DeflateTerms())
    frames = received(protocol, frame(0x42, data[:4]), frame(0x89, b"ping"), frame(0x80, data[4:]))
    assert joined(frames) == b"hello world"
    assert [frame.payload for frame in frames if frame.opcode is Opcode.PING] == [b"ping"]


def test_a_final_block_ends_its_message_and_not_the_next() -> None:
    protocol = receiver(terms=DeflateTerms())
    for text in (b"first", b"second"):
        assert joined(received(protocol, frame(0xC2, deflate(text, final=True)))) == text


@pytest.mark.parametrize("terms", [None, DeflateTerms()])
def test_a_message_of_exactly_the_limit_passes_and_one_byte_more_does_not(terms: DeflateTerms | None) -> None:
    def message(size: int) -> bytes:
        return frame(0x82, bytes(size)) if terms is None else frame(0xC2, deflate(bytes(size)))

    assert joined(received(receiver(1000, terms), message(1000))) == bytes(1000)
    with pytest.raises(ParseFailed) as failure:
        received(receiver(1000, terms), message(1001))
    assert failure.value.code is CloseReason.MESSAGE_TOO_BIG


def test_the_limit_counts_all_fragments_of_a_message_and_none_of_the_next() -> None:
    protocol = receiver(10)
    received(protocol, frame(0x02, bytes(6)), frame(0x80, bytes(4)), frame(0x02, bytes(6)))
    with pytest.raises(ParseFailed) as failure:
        received(protocol, frame(0x80, bytes(5)))
    assert failure.value.code is CloseReason.MESSAGE_TOO_BIG


def test_a_frame_that_announces_too_much_fails_before_its_payload() -> None:
    announced = b"\x82\xff" + (1 << 40).to_bytes(8, "big") + MASK
    with pytest.raises(ParseFailed) as failure:
        received(receiver(1000), announced)
    assert failure.value.code is CloseReason.MESSAGE_TOO_BIG


def test_a_bomb_is_never_inflated_beyond_one_byte_over_the_limit() -> None:
    extension = MessageExtension(1000, DeflateTerms())
    bomb = deflate(bytes(50_000_000))
    decoder = FrameProtocol(client=False, extensions=[extension])
    with pytest.raises(ParseFailed) as failure:
        received(decoder, frame(0xC2, bomb[:60_000]))
    assert failure.value.code is CloseReason.MESSAGE_TOO_BIG
    assert extension.room == -1


def test_what_does_not_inflate_is_invalid_data() -> None:
    with pytest.raises(ParseFailed) as failure:
        received(receiver(terms=DeflateTerms()), frame(0xC2, b"\xff\xff\xff\xff"))
    assert failure.value.code is CloseReason.INVALID_FRAME_PAYLOAD_DATA


@pytest.mark.parametrize("first_byte", [0xC0, 0xC9, 0xA1, 0x91])
def test_a_reserved_bit_without_meaning_is_a_protocol_error(first_byte: int) -> None:
    protocol = receiver(terms=DeflateTerms())
    with pytest.raises(ParseFailed) as failure:
        received(protocol, frame(0x01, b"a"), frame(first_byte, b""))
    assert failure.value.code is CloseReason.PROTOCOL_ERROR


def test_the_compression_bit_without_terms_is_a_protocol_error() -> None:
    with pytest.raises(ParseFailed) as failure:
        received(receiver(), frame(0xC1, b"a"))
    assert failure.value.code is CloseReason.PROTOCOL_ERROR


@pytest.mark.parametrize("no_takeover", [False, True])
def test_sent_messages_are_compressed_within_the_agreed_window(no_takeover: bool) -> None:
    protocol = receiver(terms=DeflateTerms(server_no_context_takeover=no_takeover, server_bits=9))
    inflater = zlib.decompressobj(-9)
    for _ in range(2):
        if no_takeover:
            inflater = zlib.decompressobj(-9)
        text = "hello " * 300
        sent = bytes(protocol.send_data(text))
        assert sent[0] == 0xC1
        assert len(sent) < 100
        payload = sent[2:] if sent[1] < 126 else sent[4:]
        assert inflater.decompress(payload + b"\x00\x00\xff\xff") == text.encode()


def test_short_messages_and_control_frames_are_sent_plain() -> None:
    protocol = receiver(terms=DeflateTerms())
    assert protocol.send_data(b"x" * (DEFLATE_FROM - 1))[0] == 0x82
    assert protocol.ping(b"x" * 100)[0] == 0x89
