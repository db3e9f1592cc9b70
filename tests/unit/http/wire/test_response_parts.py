"""Early hints, files, trailers, and the short way of a chunk."""

from typing import Any

import pytest

from hsrv.common.errors import AppError
from hsrv.http.wire.response import (
    JOIN_LIMIT,
    ResponseEncoder,
)
from tests.unit.http.wire.responses import Pairs, Sent, encoder_for, respond

# early hints, files, trailers


def test_early_hints_are_an_interim_response() -> None:
    encoder = encoder_for()
    assert encoder.early_hint({"links": [b"</a>; rel=preload", b"</b>"]}) == (
        b"HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\nlink: </b>\r\n\r\n"
    )
    assert not encoder.started
    assert encoder_for(version="1.0").early_hint({"links": [b"</a>"]}) == b""
    with pytest.raises(AppError):
        encoder.early_hint({"links": [b"a\r\nb"]})


@pytest.mark.parametrize(
    ("method", "status", "size", "sends", "fields"),
    [
        ("GET", 200, 7, True, [b"content-length: 7"]),
        ("GET", 200, 0, False, [b"content-length: 0"]),
        ("HEAD", 200, 7, False, [b"content-length: 7"]),
        ("GET", 204, 7, False, []),
        ("GET", 304, 7, False, []),
    ],
)
def test_a_file_is_announced_with_its_size(
    method: str, status: int, size: int, sends: bool, fields: list[bytes]
) -> None:
    encoder = encoder_for(method)
    encoder.start({"status": status})
    sent = Sent(encoder, encoder.file(size, b""))
    assert (sent.fields, sent.body, encoder.sends_file) == (fields, b"", sends)
    assert encoder.complete
    assert encoder.body_bytes == (size if sends else 0)


def test_a_file_of_another_size_than_declared_is_refused() -> None:
    encoder = encoder_for()
    encoder.start({"status": 200, "headers": [(b"content-length", b"8")]})
    with pytest.raises(AppError, match="shorter"):
        encoder.file(7, b"")
    assert not encoder.started


def test_a_file_with_trailers_is_refused() -> None:
    encoder = encoder_for()
    encoder.start({"status": 200, "trailers": True})
    with pytest.raises(AppError, match="trailers"):
        encoder.file(7, b"")


@pytest.mark.parametrize("bodies", [[b"a"], [b"a", b""]])
def test_trailers_stand_after_the_last_chunk(bodies: list[bytes]) -> None:
    sent = respond(encoder_for(), *bodies, trailers=[(b"X-Sum", b"1"), (b"content-length", b"5")])
    assert sent.fields == [b"transfer-encoding: chunked"]
    assert sent.body == b"1\r\na\r\n0\r\nx-sum: 1\r\n\r\n"


def test_trailers_may_come_in_parts() -> None:
    encoder = encoder_for()
    encoder.start({"status": 200, "trailers": True})
    encoder.body({}, b"")
    assert encoder.trailers({"headers": [(b"a", b"1")], "more_trailers": True}) == b""
    assert not encoder.complete
    assert encoder.trailers({"headers": [(b"b", b"2")]}) == b"0\r\na: 1\r\nb: 2\r\n\r\n"


@pytest.mark.parametrize(
    ("method", "version", "headers", "body"),
    [
        ("HEAD", "1.1", [], b""),
        ("GET", "1.0", [], b"a"),
        ("GET", "1.1", [(b"content-length", b"1")], b"a"),
    ],
)
def test_trailers_are_dropped_where_the_framing_has_no_place_for_them(
    method: str, version: str, headers: Pairs, body: bytes
) -> None:
    assert respond(encoder_for(method, version), b"a", headers=headers, trailers=[(b"x", b"y")]).body == body


# the short way of a chunk

START: dict[str, Any] = {"type": "http.response.start", "status": 200}


def streaming(method: str = "GET", version: str = "1.1", **start: Any) -> ResponseEncoder:
    """An encoder whose first chunk is out."""
    encoder = encoder_for(method, version)
    encoder.start({**START, **start})
    encoder.body({"body": b"first", "more_body": True}, b"")
    return encoder


@pytest.mark.parametrize("data", [b"x", b"data: 1\n\n", bytes(16), bytes(JOIN_LIMIT)])
def test_the_short_way_of_a_chunk_leads_to_the_same_bytes(data: bytes) -> None:
    short, long = streaming(), streaming()
    message = {"type": "http.response.body", "body": data, "more_body": True}
    assert short.amid_chunks
    assert (short.chunk(message),) == long.body(message, b"")
    assert short.body_bytes == long.body_bytes == len(b"first") + len(data)
    assert short.body({"body": b"last"}, b"") == long.body({"body": b"last"}, b"")
    assert not short.amid_chunks


@pytest.mark.parametrize(
    "message",
    [
        {"more_body": True},
        {"body": b"", "more_body": True},
        {"body": b"last"},
        {"body": b"last", "more_body": False},
        {"body": bytearray(b"x"), "more_body": True},
        {"body": memoryview(b"x"), "more_body": True},
        {"body": "text", "more_body": True},
        {"body": bytes(JOIN_LIMIT + 1), "more_body": True},
    ],
)
def test_what_is_not_a_small_chunk_amid_the_body_goes_the_long_way(message: dict[str, Any]) -> None:
    encoder = streaming()
    assert encoder.chunk(message) == b""
    assert encoder.body_bytes == len(b"first")


@pytest.mark.parametrize(
    "encoder",
    [
        encoder_for(),
        streaming("HEAD"),
        streaming(version="1.0"),
        streaming(headers=[(b"content-length", b"100")]),
        streaming(status=204),
    ],
)
def test_only_a_body_in_chunks_has_a_short_way(encoder: ResponseEncoder) -> None:
    assert not encoder.amid_chunks
