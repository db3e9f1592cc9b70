"""ASGI messages to the bytes of a response."""

from collections.abc import Callable
from typing import Any

import h11
import pytest

from hsrv.common.errors import AppError
from hsrv.http.wire.response import (
    JOIN_LIMIT,
    RESPONSE,
    DefaultHeaders,
    Event,
    ResponseEncoder,
    ResponsePhase,
    simple_response,
)
from tests.unit.http.wire.responses import DEFAULTS, Pairs, Sent, encoder_for, respond

# the table, cell by cell

STEPS: dict[Event, Callable[[ResponseEncoder], object]] = {
    Event.HINT: lambda encoder: encoder.early_hint({"links": [b"</a>"]}),
    Event.START: lambda encoder: encoder.start({"status": 200}),
    Event.MORE: lambda encoder: encoder.body({"body": b"x", "more_body": True}, b""),
    Event.LAST: lambda encoder: encoder.body({"body": b"x"}, b""),
    Event.LAST_BEFORE_TRAILERS: lambda encoder: encoder.body({"body": b"x"}, b""),
    Event.FILE: lambda encoder: encoder.file(1, b""),
    Event.MORE_TRAILERS: lambda encoder: encoder.trailers({"headers": [], "more_trailers": True}),
    Event.TRAILERS: lambda encoder: encoder.trailers({"headers": []}),
}


def brought_to(phase: ResponsePhase, *, trailers: bool) -> ResponseEncoder:
    encoder = encoder_for()
    if phase is ResponsePhase.EMPTY:
        return encoder
    encoder.start({"status": 200, "trailers": trailers})
    if phase is ResponsePhase.BODY:
        encoder.body({"body": b"x", "more_body": True}, b"")
    if phase in (ResponsePhase.TRAILERS, ResponsePhase.COMPLETE):
        encoder.body({"body": b"x"}, b"")
        if trailers and phase is ResponsePhase.COMPLETE:
            encoder.trailers({"headers": []})
    return encoder


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize("phase", ResponsePhase)
def test_each_message_is_allowed_exactly_where_the_table_says(phase: ResponsePhase, event: Event) -> None:
    encoder = brought_to(
        phase, trailers=phase is ResponsePhase.TRAILERS or event is Event.LAST_BEFORE_TRAILERS
    )
    before = (encoder.started, encoder.complete)
    target = RESPONSE[phase].get(event)
    if target is None:
        with pytest.raises(AppError, match=r"^http\.response\..* was sent "):
            STEPS[event](encoder)
        assert (encoder.started, encoder.complete) == before
    else:
        STEPS[event](encoder)
        assert encoder.complete is (target is ResponsePhase.COMPLETE)
        assert encoder.started is (target not in (ResponsePhase.EMPTY, ResponsePhase.HEAD))


# framing


def test_a_body_in_one_message_gets_its_length() -> None:
    sent = respond(encoder_for(), b"hello")
    assert (sent.status_line, sent.fields, sent.body) == (
        b"HTTP/1.1 200 OK",
        [b"content-length: 5"],
        b"hello",
    )
    assert sent.encoder.keep_alive
    assert not sent.encoder.streaming
    assert sent.encoder.body_bytes == 5


def test_an_empty_body_has_length_0() -> None:
    assert respond(encoder_for(), b"").fields == [b"content-length: 0"]


def test_a_body_in_parts_is_chunked() -> None:
    sent = respond(encoder_for(), b"hello", b"", b"x" * 17, b"")
    assert sent.fields == [b"transfer-encoding: chunked"]
    assert sent.body == b"5\r\nhello\r\n11\r\n" + b"x" * 17 + b"\r\n0\r\n\r\n"
    assert sent.encoder.streaming
    assert sent.encoder.body_bytes == 22


def test_the_last_part_ends_the_chunks_with_its_own_data() -> None:
    assert respond(encoder_for(), b"a", b"b").body == b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n"


def test_a_body_in_parts_to_http_1_0_ends_with_the_connection() -> None:
    sent = respond(encoder_for(version="1.0"), b"a", b"b")
    assert (sent.fields, sent.body) == ([b"connection: close"], b"ab")
    assert not sent.encoder.keep_alive


def test_a_declared_length_is_kept_also_for_a_body_in_parts() -> None:
    sent = respond(encoder_for(version="1.0"), b"a", b"b", headers=[(b"Content-Length", b"2")])
    assert (sent.fields, sent.body) == ([b"content-length: 2", b"connection: keep-alive"], b"ab")
    assert sent.encoder.keep_alive


@pytest.mark.parametrize("bodies", [[b"abc"], [b"abc", b""], [b"a", b"bc"]])
def test_more_than_the_declared_length_is_refused_unsent(bodies: list[bytes]) -> None:
    encoder = encoder_for()
    encoder.start({"status": 200, "headers": [(b"content-length", b"2")]})
    *first, last = [body for body in bodies if body]
    for body in first:
        encoder.body({"body": body, "more_body": True}, b"")
    started = encoder.started
    with pytest.raises(AppError, match="longer than its content-length, by 1"):
        encoder.body({"body": last, "more_body": len(bodies) > 1}, b"")
    assert encoder.started is started
    assert not encoder.complete


def test_less_than_the_declared_length_is_refused_at_the_end() -> None:
    encoder = encoder_for()
    encoder.start({"status": 200, "headers": [(b"content-length", b"2")]})
    with pytest.raises(AppError, match="shorter"):
        encoder.body({"body": b"a"}, b"")
    assert not encoder.started  # a 500 is still possible
    encoder.body({"body": b"a", "more_body": True}, b"")
    with pytest.raises(AppError, match="shorter"):
        encoder.body({"body": b""}, b"")
    assert not encoder.complete


@pytest.mark.parametrize("bodies", [[b"hello"], [b"hel", b"lo"]])
@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 205), ("GET", 304), ("HEAD", 404)]
)
def test_a_response_without_a_body_is_complete_with_its_head(
    method: str, status: int, bodies: list[bytes]
) -> None:
    """RFC 9112 section 6.3: whatever the application still has to say."""
    encoder = encoder_for(method)
    encoder.start({"status": status, "trailers": len(bodies) > 1})
    assert encoder.body({"body": bodies[0], "more_body": len(bodies) > 1}, b"")
    assert (encoder.complete, encoder.curtailed, encoder.amid_chunks) == (True, len(bodies) > 1, False)


@pytest.mark.parametrize("bodies", [[b"hello"], [b"hel", b"lo"]])
@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 205), ("GET", 304), ("HEAD", 404)]
)
def test_where_no_body_may_follow_it_is_swallowed(method: str, status: int, bodies: list[bytes]) -> None:
    sent = respond(encoder_for(method), *bodies, status=status)
    assert sent.body == b""
    assert sent.encoder.body_bytes == 0
    assert sent.encoder.keep_alive
    assert b"transfer-encoding: chunked" not in sent.fields


@pytest.mark.parametrize(
    ("method", "status", "headers", "bodies", "fields"),
    [
        ("HEAD", 200, [(b"content-length", b"99")], [b""], [b"content-length: 99"]),
        ("HEAD", 200, [(b"content-length", b"99")], [b"x", b""], [b"content-length: 99"]),
        ("HEAD", 200, [], [b"hello"], [b"content-length: 5"]),
        ("HEAD", 200, [], [b""], []),
        ("GET", 304, [(b"content-length", b"99")], [b""], [b"content-length: 99"]),
        ("GET", 304, [], [b""], []),
        ("GET", 204, [(b"content-length", b"0")], [b""], []),
        ("HEAD", 204, [], [b"x"], []),
        ("GET", 205, [], [b"x"], [b"content-length: 0"]),
        ("GET", 205, [(b"content-length", b"2")], [b"x", b"y"], [b"content-length: 0"]),
    ],
)
def test_the_length_of_a_body_that_is_not_sent(
    method: str, status: int, headers: Pairs, bodies: list[bytes], fields: list[bytes]
) -> None:
    assert respond(encoder_for(method), *bodies, status=status, headers=headers).fields == fields


def test_a_large_body_is_not_copied() -> None:
    body = b"x" * (JOIN_LIMIT + 1)
    encoder = encoder_for()
    encoder.start({"status": 200})
    head, data = encoder.body({"body": body}, b"")
    assert head.endswith(b"content-length: %d\r\n\r\n" % len(body))
    assert data is body
    encoder = encoder_for()
    encoder.start({"status": 200})
    head, data, end = encoder.body({"body": body, "more_body": True}, b"")
    assert head.endswith(b"\r\n\r\n4001\r\n")
    assert data is body
    assert end == b"\r\n"
    assert encoder.body({"body": body}, b"") == (b"4001\r\n", body, b"\r\n0\r\n\r\n")


def test_a_small_body_leaves_with_the_head_in_one_buffer() -> None:
    encoder = encoder_for()
    encoder.start({"status": 200})
    assert len(encoder.body({"body": b"x" * JOIN_LIMIT}, b"")) == 1


def test_nothing_to_write_is_no_buffer() -> None:
    encoder = encoder_for()
    encoder.start({"status": 200})
    encoder.body({"more_body": True}, b"")
    assert encoder.body({"body": b"", "more_body": True}, b"") == ()


@pytest.mark.parametrize("body", [bytearray(b"hello"), memoryview(b"hello")])
def test_a_body_may_be_any_buffer(body: Any) -> None:
    assert respond(encoder_for(), body).body == b"hello"


@pytest.mark.parametrize("body", ["hello", None, 5, [b"hello"]])
def test_a_body_that_is_no_buffer_is_refused(body: Any) -> None:
    encoder = encoder_for()
    encoder.start({"status": 200})
    with pytest.raises(AppError, match=f"must be bytes, not {type(body).__name__}"):
        encoder.body({"body": body}, b"")
    assert not encoder.started


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("length", [False, True])
@pytest.mark.parametrize("bodies", [[b"hello"], [b"hel", b"lo"], [b"hello", b""], [b"", b"", b"hello"]])
def test_an_independent_client_reads_what_was_sent(bodies: list[bytes], length: bool, version: str) -> None:
    encoder = encoder_for(version=version)
    headers = [(b"content-length", b"5")] if length else []
    encoder.start({"status": 200, "headers": headers})
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("host", "a")]))
    client.send(h11.EndOfMessage())
    for body in bodies:
        for part in encoder.body({"body": body, "more_body": body is not bodies[-1]}, DEFAULTS):
            client.receive_data(part)
    if not encoder.keep_alive:
        client.receive_data(b"")
    received = b""
    while not isinstance(event := client.next_event(), h11.EndOfMessage):
        assert isinstance(event, h11.Response | h11.Data)
        if isinstance(event, h11.Data):
            received += event.data
    assert received == b"hello"


# keep-alive


@pytest.mark.parametrize(
    ("version", "keep_alive", "headers", "fields", "kept"),
    [
        ("1.1", True, [], [], True),
        ("1.1", False, [], [b"connection: close"], False),
        ("1.1", True, [(b"Connection", b"Close")], [b"connection: close"], False),
        ("1.1", True, [(b"connection", b"x, close")], [b"connection: close"], False),
        ("1.1", True, [(b"connection", b"keep-alive")], [], True),
        ("1.1", False, [(b"connection", b"keep-alive")], [b"connection: close"], False),
        ("1.0", True, [], [b"connection: keep-alive"], True),
        ("1.0", True, [(b"connection", b"close")], [b"connection: close"], False),
        ("1.0", False, [], [b"connection: close"], False),
    ],
)
def test_the_connection_field_tells_what_becomes_of_the_connection(
    version: str, keep_alive: bool, headers: Pairs, fields: list[bytes], kept: bool
) -> None:
    sent = respond(encoder_for(version=version, keep_alive=keep_alive), b"", headers=headers)
    assert sent.fields == [b"content-length: 0", *fields]
    assert sent.encoder.keep_alive is kept


def test_force_close_counts_until_the_head_is_encoded() -> None:
    encoder = encoder_for()
    encoder.start({"status": 200})
    encoder.force_close()
    assert b"connection: close" in b"".join(encoder.body({}, b""))
    assert not encoder.keep_alive
    late = encoder_for()
    late.start({"status": 200})
    late.body({"more_body": True}, b"")
    late.force_close()
    assert late.keep_alive


# start


@pytest.mark.parametrize("status", [None, 0, 100, 101, 199, 600, -200, "200", 200.0])
def test_a_status_that_is_none_is_refused(status: Any) -> None:
    encoder = encoder_for()
    with pytest.raises(AppError, match="status"):
        encoder.start({"status": status})
    encoder.start({"status": 200})


def test_an_unknown_status_has_no_reason() -> None:
    assert respond(encoder_for(), b"", status=299).status_line == b"HTTP/1.1 299 "


def test_a_refused_start_changes_nothing() -> None:
    encoder = encoder_for()
    with pytest.raises(AppError):
        encoder.start({"status": 200, "headers": [(b"x", b"a\r\nb: c")]})
    assert encoder.status == 0
    assert respond(encoder, b"x").fields == [b"content-length: 1"]


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [(b"text/event-stream", True), (b"Text/Event-Stream; charset=utf-8", True), (b"text/html", False)],
)
def test_an_event_stream_is_known_by_its_type(content_type: bytes, expected: bool) -> None:
    encoder = encoder_for()
    encoder.start({"status": 200, "headers": [(b"content-type", content_type)]})
    assert encoder.event_stream is expected


@pytest.mark.parametrize(
    ("headers", "fields"),
    [
        ([], DEFAULTS.split(b"\r\n")[:2]),
        ([(b"Server", b"mine")], [b"server: mine", b"date: Thu, 01 Jan 1970 00:00:00 GMT"]),
        ([(b"date", b"now")], [b"date: now", b"server: hsrv"]),
        ([(b"date", b"now"), (b"server", b"mine")], [b"date: now", b"server: mine"]),
    ],
)
def test_the_applications_server_and_date_beat_ours(headers: Pairs, fields: list[bytes]) -> None:
    encoder = encoder_for()
    encoder.start({"status": 200, "headers": headers})
    sent = Sent(encoder, b"".join(encoder.body({}, DEFAULTS)))
    assert [field for field in sent.fields if field != b"content-length: 0"] == fields


def test_an_upgrade_is_offered_with_426_alone() -> None:
    headers = [(b"upgrade", b"websocket")]
    assert respond(encoder_for(), b"", headers=headers).fields == [b"content-length: 0"]
    assert respond(encoder_for(), b"", status=426, headers=headers).fields == [
        b"content-length: 0",
        b"upgrade: websocket",
        b"connection: upgrade",
    ]


# responses of the server itself


def test_a_simple_response_is_whole() -> None:
    assert simple_response(503, "Busy", DEFAULTS, headers=[(b"retry-after", b"1")]) == (
        b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\nretry-after: 1\r\n"
        b"content-length: 5\r\nconnection: close\r\n" + DEFAULTS + b"\r\nBusy\n"
    )


def test_a_simple_response_to_head_has_the_length_alone() -> None:
    data = simple_response(404, "Not Found", b"", head_only=True)
    assert data.endswith(b"content-length: 10\r\nconnection: close\r\n\r\n")


@pytest.mark.parametrize(
    ("server", "date", "lines"),
    [
        (True, True, b"server: hsrv\r\ndate: Sun, 09 Sep 2001 01:46:40 GMT\r\n"),
        (True, False, b"server: hsrv\r\n"),
        (False, True, b"date: Sun, 09 Sep 2001 01:46:40 GMT\r\n"),
        (False, False, b""),
    ],
)
def test_default_headers_are_what_was_asked_for(server: bool, date: bool, lines: bytes) -> None:
    assert DefaultHeaders(lambda: 1_000_000_000.9, server=server, date=date)() == lines


def test_default_headers_are_made_once_per_second() -> None:
    times = iter([5.1, 5.9, 6.0])
    headers = DefaultHeaders(lambda: next(times), server=True, date=True)
    first = headers()
    assert headers() is first
    assert headers() != first
