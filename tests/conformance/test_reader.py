"""The reader that judges forgives nothing: what it must reject, it rejects."""

import pytest

from tests.conformance.case import Framing
from tests.conformance.reader import ResponseReader, WireFault

OK = b"HTTP/1.1 200 OK\r\n"


def read(data: bytes, *methods: str, modern: bool = True) -> ResponseReader:
    reader = ResponseReader(list(methods), modern=modern)
    for byte in data:
        reader.feed(bytes([byte]))
    reader.end()
    return reader


def test_responses_are_told_apart_however_they_arrive() -> None:
    data = (
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"content-length: 2\r\n\r\nhi"
        b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n"
        + OK
        + b"transfer-encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\nx-t: a\r\n\r\n"
        + OK
        + b"connection: close\r\n\r\nrest"
    )
    reader = read(data)
    assert [(r.status, r.framing, r.body) for r in reader.final] == [
        (200, Framing.LENGTH, b"hi"),
        (304, Framing.NONE, b""),
        (200, Framing.CHUNKED, b"0123456789"),
        (200, Framing.CLOSE, b"rest"),
    ]
    assert reader.interim[0] == [100]
    assert reader.final[2].trailers == {"x-t": ["a"]}


@pytest.mark.parametrize(
    "data", [OK + b"content-length: 3\r\n\r\nhi", OK + b"transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n"]
)
def test_a_cut_response_is_not_complete(data: bytes) -> None:
    assert [r.complete for r in read(data).final] == [False]


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 200\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        OK,
        OK + b"X-A: upper case\r\n\r\n",
        OK + b"x-a:b\r\n\r\n",
        OK + b"x-a: b\n\r\n\r\n",
        OK + b"x-a: b \r\n\r\n",
        OK + b"content-length: 1\r\ncontent-length: 1\r\n\r\nx",
        OK + b"content-length: 1\r\ntransfer-encoding: chunked\r\n\r\nx",
        OK + b"content-length: +1\r\n\r\nx",
        OK + b"transfer-encoding: gzip\r\n\r\n",
        OK + b"transfer-encoding: chunked\r\n\r\n01\r\nx\r\n0\r\n\r\n",
        OK + b"transfer-encoding: chunked\r\n\r\n1\r\nxy\r\n0\r\n\r\n",
        OK + b"connection: close\r\ncontent-length: 0\r\n\r\n" + OK + b"content-length: 0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n",
    ],
)
def test_what_is_no_response_is_a_fault(data: bytes) -> None:
    with pytest.raises(WireFault):
        read(data)


def test_old_clients_get_neither_chunks_nor_interim_responses() -> None:
    for data in (b"HTTP/1.1 100 Continue\r\n\r\n", OK + b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n"):
        with pytest.raises(WireFault):
            read(data, modern=False)


def test_head_has_no_body() -> None:
    with pytest.raises(WireFault):
        read(OK + b"content-length: 2\r\n\r\nhi", "HEAD")
