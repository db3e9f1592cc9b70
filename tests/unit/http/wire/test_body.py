"""Bytes to request bodies, however they are split."""

import pytest

from hsrv.common.errors import ClientError
from hsrv.common.request import RequestHead
from hsrv.http.wire.body import (
    FRAMING_ALLOWANCE,
    LINES_AT_ONCE,
    MAX_SIZE_LINE,
    MAX_TRAILERS,
    BodyDecoder,
    body_decoder,
)

PLENTY = 1 << 20


def head(*, length: int | None = None, chunked: bool = False) -> RequestHead:
    return RequestHead("POST", b"/", "/", b"/", b"", "1.1", [], length, chunked, True, False, False, False)


def chunked(limit: int = 1000) -> BodyDecoder:
    return body_decoder(head(chunked=True), limit)


def drain(decoder: BodyDecoder, buffer: bytearray, most: int = PLENTY) -> bytes:
    """All that `decoder` has to give, asked for in pieces of `most`."""
    body = b""
    while (data := decoder.decode(buffer, most)) or decoder.paused:
        assert len(data) <= most
        body += data
    return body


SAMPLES = [
    (b"0\r\n\r\n", b""),
    (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
    (b'5;ext\r\nhello\r\n01 ; a=b;c="d\\"\xe9"\r\n!\r\n000;last=1\r\nT: x\r\nU:\r\n\r\n', b"hello!"),
    (b"A\r\n0123\r\n5678\r\n0\r\n\r\n", b"0123\r\n5678"),
    (b"a\r\n0123456789\r\nB\r\n01234567890\r\n0\r\n\r\n", b"012345678901234567890"),
]


@pytest.mark.parametrize("most", [1, 3, PLENTY])
@pytest.mark.parametrize(("data", "body"), SAMPLES)
def test_a_chunked_body_split_at_any_offset_is_the_same(data: bytes, body: bytes, most: int) -> None:
    for at in range(len(data) + 1):
        decoder = chunked()
        buffer = bytearray(data[:at])
        got = drain(decoder, buffer, most)
        assert decoder.done is (at == len(data))
        buffer += data[at:] + b"GET"
        got += drain(decoder, buffer, most)
        assert (got, decoder.done, bytes(buffer)) == (body, True, b"GET")


@pytest.mark.parametrize(("data", "body"), SAMPLES)
def test_a_chunked_body_may_come_byte_by_byte(data: bytes, body: bytes) -> None:
    decoder = chunked()
    buffer = bytearray()
    got = b""
    for byte in data:
        assert not decoder.done
        buffer.append(byte)
        got += drain(decoder, buffer)
    assert (got, decoder.done, bytes(buffer)) == (body, True, b"")


@pytest.mark.parametrize("most", [1, 4, PLENTY])
def test_a_sized_body_split_at_any_offset_is_the_same(most: int) -> None:
    data = b"0123456789"
    for at in range(len(data) + 1):
        decoder = body_decoder(head(length=len(data)), 1000)
        buffer = bytearray(data[:at])
        got = drain(decoder, buffer, most)
        assert decoder.done is (at == len(data))
        buffer += data[at:] + b"GET"
        got += drain(decoder, buffer, most)
        assert (got, decoder.done, bytes(buffer)) == (data, True, b"GET")


@pytest.mark.parametrize("length", [None, 0])
def test_a_head_without_body_is_done_at_once(length: int | None) -> None:
    decoder = body_decoder(head(length=length), 1000)
    buffer = bytearray(b"GET")
    assert decoder.done
    assert decoder.decode(buffer, PLENTY) == b""
    assert buffer == b"GET"


def test_no_more_than_asked_for_is_taken() -> None:
    decoder = chunked()
    buffer = bytearray(b"5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n")
    assert decoder.decode(buffer, 0) == b""
    assert decoder.decode(buffer, 7) == b"hellowo"
    assert buffer == b"rld\r\n0\r\n\r\n"
    assert decoder.decode(buffer, 3) == b"rld"
    assert decoder.done  # without being asked for a byte that doesn't exist


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n",
        b"g\r\n",
        b"-1\r\n",
        b"+1\r\n",
        b"0x1\r\n",
        b"1_0\r\n",
        b" 1\r\n",
        b"1 \r\n",
        b"1\n",
        b"1;a\nb\r\n",
        b"1;a\rb\r\n",
        b"1;\r\n",
        b"1;=b\r\n",
        b"1;a=\r\n",
        b'1;a="b\r\n',
        b"1;a=\x00\r\n",
        b"1 a\r\n",
        b"00000000000000001\r\n",
        b"1\r\nab\r\n",
        b"1\r\na\n",
        b"1\r\na\r\r\n",
        b"1\r\na0\r\n\r\n",
        b"0\r\nX : y\r\n\r\n",
        b"0\r\n folded: y\r\n\r\n",
        b"0\r\nX: y\nZ: z\r\n\r\n",
        b"0\r\nno colon\r\n\r\n",
        b"0\r\n\n",
        b"0\r\nX: \x00\r\n\r\n",
        b"0\r\nContent-Length: 5\r\n\r\n",
        b"0\r\ntransfer-encoding: chunked\r\n\r\n",
        b"0\r\nX: y\r\nHOST:b\r\n\r\n",
    ],
)
def test_malformed_chunks_are_a_400_however_they_are_split(data: bytes) -> None:
    for at in range(len(data)):
        decoder = chunked()
        buffer = bytearray(data[:at])
        with pytest.raises(ClientError) as caught:
            drain(decoder, buffer)
            buffer += data[at:]
            drain(decoder, buffer)
        assert caught.value.status == 400


def test_a_body_may_be_as_long_as_the_limit() -> None:
    assert drain(chunked(limit=6), bytearray(b"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n")) == b"hello!"


@pytest.mark.parametrize(
    "data", [b"5\r\nhello\r\n2\r\n", b"7\r\n", b"ffffffffffffffff\r\n", b"8000000000000005\r\n"]
)
def test_a_body_over_the_limit_is_a_413_as_soon_as_its_size_is_known(data: bytes) -> None:
    with pytest.raises(ClientError) as caught:
        drain(chunked(limit=6), bytearray(data))
    assert caught.value.status == 413


@pytest.mark.parametrize(
    "data",
    [
        b"1;" + b"a" * MAX_SIZE_LINE,
        b"1" + b"\r" * (2 * MAX_SIZE_LINE),
        (b"1;" + b"a" * 300 + b"\r\nx\r\n") * (FRAMING_ALLOWANCE // 300 + 1),
        b"0\r\nX: " + b"y" * MAX_TRAILERS,
        b"0\r\n" + b"X: y\r\n" * (MAX_TRAILERS // 4 + 1),
    ],
)
def test_what_surrounds_the_data_is_bounded(data: bytes) -> None:
    with pytest.raises(ClientError) as caught:
        drain(chunked(), bytearray(data))
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("chunk", "times"),
    [
        (b"1\r\nx\r\n", 20_000),  # what somebody types
        (b"00000002\r\nxy\r\n", 20_000),
        (b"a0\r\n" + b"s" * 160 + b"\r\n", 5000),  # speech, 20 ms each
        (b"1000;chunk-signature=" + b"f" * 64 + b"\r\n" + b"x" * 4096 + b"\r\n", 1000),
    ],
)
def test_small_and_signed_chunks_may_come_for_ever(chunk: bytes, times: int) -> None:
    decoder = chunked(limit=1 << 30)
    for _ in range(times // 500):
        drain(decoder, bytearray(chunk * 500))
    drain(decoder, bytearray(b"0\r\n\r\n"))
    assert decoder.done


@pytest.mark.parametrize("chunk", [b"0000000000000001\r\nx\r\n", b"2;a=bcdefghijkl\r\nxy\r\n"])
def test_a_stream_that_is_mostly_framing_is_refused(chunk: bytes) -> None:
    with pytest.raises(ClientError, match="framing") as caught:
        drain(chunked(limit=1 << 30), bytearray(chunk * 8000))
    assert caught.value.status == 400


def test_of_many_small_chunks_only_some_are_read_at_once() -> None:
    decoder, buffer = (
        chunked(limit=1 << 30),
        bytearray(b"1\r\nx\r\n" * 300 + b"0\r\n" + b"a:\r\n" * 300 + b"\r\n"),
    )
    sizes = []
    while not decoder.done:
        before = len(buffer)
        sizes.append(len(decoder.decode(buffer, PLENTY)))
        assert before - len(buffer) <= 4 * LINES_AT_ONCE + sizes[-1]
        assert decoder.paused is not decoder.done
    assert sizes[:4] == [LINES_AT_ONCE // 2] * 4
    assert sum(sizes) == 300
