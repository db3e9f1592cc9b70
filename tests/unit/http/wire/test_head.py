"""Bytes to request heads: what is accepted and what it means, what is refused and how."""

from dataclasses import replace

import pytest

from hsrv.common.errors import ClientError
from hsrv.common.request import RequestHead
from hsrv.common.terms import HeaderMap
from hsrv.http.wire import forwarded
from hsrv.http.wire.head import MAX_EMPTY_LINES, HeadLimits, read_head, take_head
from hsrv.http.wire.parser import choose_parser

LIMITS = HeadLimits(request_line=200, head=2000, fields=10, body=1000)
PARSE = choose_parser("auto")
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"
    b"Sec-WebSocket-Key: " + KEY + b"\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def take(data: bytes) -> RequestHead:
    """The head of `data`, which holds nothing else."""
    buffer = bytearray(data)
    head = take_head(buffer, 0, PARSE, LIMITS)
    assert head is not None
    assert not buffer
    return head


def get(*fields: bytes, line: bytes = b"GET / HTTP/1.1", host: bytes | None = b"Host: a") -> bytes:
    lines = [line, *([] if host is None else [host]), *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def refusal(data: bytes) -> int:
    with pytest.raises(ClientError) as caught:
        take_head(bytearray(data), 0, PARSE, LIMITS)
    return caught.value.status


def byte_by_byte(data: bytes) -> RequestHead | None:
    """What comes of `data` when each byte arrives alone, the way a connection calls it."""
    buffer = bytearray()
    searched = 0
    for byte in data:
        buffer.append(byte)
        head = take_head(buffer, searched, PARSE, LIMITS)
        if head is not None:
            return head
        searched = len(buffer)
    return None


# what is accepted


def test_a_head_is_read_whole() -> None:
    data = (
        b"POST /a%20b/%C3%A9?x=%20&y HTTP/1.1\r\n"
        b"Host: Example.org:80\r\nX-A:  one two\t\r\nx-a:\r\nContent-Length: 12\r\n\r\n"
    )
    assert take(data) == RequestHead(
        method="POST",
        target=b"/a%20b/%C3%A9?x=%20&y",
        path="/a b/é",
        raw_path=b"/a%20b/%C3%A9",
        query=b"x=%20&y",
        http_version="1.1",
        headers=[
            (b"host", b"Example.org:80"),
            (b"x-a", b"one two"),
            (b"x-a", b""),
            (b"content-length", b"12"),
        ],
        content_length=12,
        chunked=False,
        keep_alive=True,
        expect_continue=False,
        websocket=False,
        event_stream=False,
        marked=False,
    )


def test_what_follows_the_head_stays_in_the_buffer() -> None:
    buffer = bytearray(get() + b"rest")
    assert take_head(buffer, 0, PARSE, LIMITS) is not None
    assert buffer == b"rest"


SAMPLES = [
    get(),
    HANDSHAKE,
    b"\r\n\r\n" + get(b"Accept: text/event-stream"),
    get(b"Transfer-Encoding: chunked", b"Expect: 100-continue", line=b"PUT /x HTTP/1.1"),
    get(line=b"GET / HTTP/1.0", host=None),
    get(line=b"GET http://a:80/x?y HTTP/1.1"),
]


@pytest.mark.parametrize("data", SAMPLES)
def test_a_head_split_at_any_offset_is_the_same(data: bytes) -> None:
    whole = take_head(bytearray(data), 0, PARSE, LIMITS)
    assert whole is not None
    for at in range(len(data)):
        buffer = bytearray(data[:at])
        assert take_head(buffer, 0, PARSE, LIMITS) is None
        searched = len(buffer)
        buffer += data[at:] + b"next"
        assert take_head(buffer, searched, PARSE, LIMITS) == whole
        assert buffer == b"next"
    assert byte_by_byte(data) == whole


def test_empty_lines_before_the_request_line_are_skipped_up_to_a_bound() -> None:
    assert take(b"\r\n" * MAX_EMPTY_LINES + get()).path == "/"
    assert refusal(b"\r\n" * (MAX_EMPTY_LINES + 1) + get()) == 400
    assert refusal(b"\n" + get()) == 400
    assert refusal(b"\r\n\rGET") == 400


def test_empty_lines_that_come_one_by_one_count_together() -> None:
    assert byte_by_byte(b"\r\n" * MAX_EMPTY_LINES + get()) == take(get())
    with pytest.raises(ClientError):
        byte_by_byte(b"\r\n" * (MAX_EMPTY_LINES + 1))


def test_a_refused_head_stays_in_the_buffer() -> None:
    buffer = bytearray(b"\r\nHEAD / HTTP/1.1\r\n\r\n")
    with pytest.raises(ClientError):
        take_head(buffer, 0, PARSE, LIMITS)
    assert buffer.startswith(b"HEAD ")


@pytest.mark.parametrize(
    ("line", "path", "raw_path", "query"),
    [
        (b"GET //x HTTP/1.1", "//x", b"//x", b""),
        (b"GET /? HTTP/1.1", "/", b"/", b""),
        (b"GET /?a?b HTTP/1.1", "/", b"/", b"a?b"),
        (b"GET /%zz%2f HTTP/1.1", "/%zz/", b"/%zz%2f", b""),
        (b"GET /%ff HTTP/1.1", "/\ufffd", b"/%ff", b""),
        (b"OPTIONS * HTTP/1.1", "*", b"*", b""),
        (b"GET http://a HTTP/1.1", "/", b"/", b""),
        (b"GET HTTP://A:80/x?y HTTP/1.1", "/x", b"/x", b"y"),
        (b"GET http://a?y=/z HTTP/1.1", "/", b"/", b"y=/z"),
    ],
)
def test_every_form_of_target_is_split(line: bytes, path: str, raw_path: bytes, query: bytes) -> None:
    head = take(get(line=line))
    assert (head.path, head.raw_path, head.query) == (path, raw_path, query)
    assert head.target == line.split()[1]


@pytest.mark.parametrize(
    "host", [b"a", b"", b"A.b-c_d.org:8000", b"127.0.0.1:1", b"[::1]:80", b"[2001:db8::1]", b"%41.org", b"a:"]
)
def test_valid_hosts_are_accepted(host: bytes) -> None:
    assert take(get(host=b"Host: " + host)).header(b"host") == host


@pytest.mark.parametrize(
    ("version", "fields", "keep_alive"),
    [
        (b"1.1", [], True),
        (b"1.1", [b"Connection: close"], False),
        (b"1.1", [b"Connection: x, Close"], False),
        (b"1.1", [b"Connection: x", b"Connection: close"], False),
        (b"1.1", [b"Connection: closed"], True),
        (b"1.0", [], False),
        (b"1.0", [b"Connection: Keep-Alive"], True),
        (b"1.0", [b"Connection: keep-alive, close"], False),
    ],
)
def test_keep_alive_follows_version_and_connection(
    version: bytes, fields: list[bytes], keep_alive: bool
) -> None:
    assert take(get(*fields, line=b"GET / HTTP/" + version)).keep_alive is keep_alive


@pytest.mark.parametrize(
    ("fields", "length", "chunked"),
    [
        ([], None, False),
        ([b"Content-Length: 0"], 0, False),
        ([b"Content-Length:\t0012 "], 12, False),
        ([b"content-LENGTH: 1000"], 1000, False),
        ([b"Transfer-Encoding: Chunked"], None, True),
    ],
)
def test_framing_is_read(fields: list[bytes], length: int | None, chunked: bool) -> None:
    head = take(get(*fields))
    assert (head.content_length, head.chunked) == (length, chunked)


@pytest.mark.parametrize(
    ("version", "fields", "expected"),
    [
        (b"1.1", [b"Expect: 100-Continue", b"Content-Length: 1"], True),
        (b"1.1", [b"Expect: 100-continue", b"Transfer-Encoding: chunked"], True),
        (b"1.1", [b"Expect: 100-continue"], False),
        (b"1.1", [b"Expect: 100-continue", b"Content-Length: 0"], False),
        (b"1.0", [b"Expect: 100-continue", b"Content-Length: 1"], False),
        (b"1.0", [b"Expect: miracles", b"Content-Length: 1"], False),
    ],
)
def test_continue_is_expected_only_before_a_body(version: bytes, fields: list[bytes], expected: bool) -> None:
    assert take(get(*fields, line=b"POST / HTTP/" + version)).expect_continue is expected


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ([b"Accept: text/event-stream"], True),
        ([b"Accept: text/html, TEXT/Event-Stream;q=0.1"], True),
        ([b"Accept: text/html", b"Accept: text/event-stream"], True),
        ([b"Accept: text/event-stream ; q=0.001"], True),
        ([b"Accept: text/event-stream;q=0"], False),
        ([b"Accept: text/event-stream; charset=utf-8; q=0.000"], False),
        ([b"Accept: text/event-stream;q=0, text/event-stream"], True),
        ([b"Accept: */*"], False),
        ([b"Accept: text/*"], False),
        ([b"Accept: text/event-streams"], False),
        ([b"X-Accept: text/event-stream"], False),
    ],
)
def test_an_event_stream_is_wanted_only_by_name(accept: list[bytes], expected: bool) -> None:
    assert take(get(*accept)).event_stream is expected


UNDERSCORES = get(b"X_Forwarded_For: 1.1.1.1", b"Content_Length: 5", b"X-Forwarded-For: a_b")


def test_names_with_an_underscore_are_dropped() -> None:
    head = take(UNDERSCORES)
    assert head.headers == [(b"host", b"a"), (b"x-forwarded-for", b"a_b")]
    assert head.content_length is None


def test_names_with_an_underscore_can_be_kept_and_mean_nothing_to_us() -> None:
    head = read_head(UNDERSCORES, PARSE, replace(LIMITS, header_map=HeaderMap.KEEP))
    assert [name for name, _ in head.headers] == [
        b"host",
        b"x_forwarded_for",
        b"content_length",
        b"x-forwarded-for",
    ]
    assert head.content_length is None


def test_names_with_an_underscore_can_be_refused() -> None:
    limits = replace(LIMITS, header_map=HeaderMap.REFUSE)
    with pytest.raises(ClientError) as caught:
        read_head(UNDERSCORES, PARSE, limits)
    assert caught.value.status == 400
    assert read_head(get(b"X: a_b", line=b"GET /a_b HTTP/1.1"), PARSE, limits).path == "/a_b"


def test_the_host_of_an_absolute_target_is_given_where_no_field_does() -> None:
    assert take(get(line=b"GET http://A:81/x HTTP/1.0", host=None)).headers == [(b"host", b"A:81")]
    assert take(get(line=b"GET / HTTP/1.0", host=None)).headers == []


# what is refused


@pytest.mark.parametrize(
    "line",
    [
        b"GET /",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443",
        b"GET / HTTP/1",
        b"GET / HTTP/1.10",
        b"GET / http/1.1",
        b"GET / HTTP/1.1 ",
        b" GET / HTTP/1.1",
        b"GET  / HTTP/1.1",
        b"GET\t/\tHTTP/1.1",
        b"G(T / HTTP/1.1",
        b"GET /a b HTTP/1.1",
        b"GET /\x00 HTTP/1.1",
        b"GET /\x7f HTTP/1.1",
        b"GET /\xc3\xa9 HTTP/1.1",
        b"GET /\r HTTP/1.1",
        b"GET /#top HTTP/1.1",
        b"GET x HTTP/1.1",
        b"GET * HTTP/1.1",
        b"GET a:80 HTTP/1.1",
        b"GET ftp://a/ HTTP/1.1",
        b"GET http:///x HTTP/1.1",
        b"GET http://b/ HTTP/1.1",
        b"GET http://a:81/ HTTP/1.1",
        b"GET https://a:80/ HTTP/1.1",
        b"GET http://user@a/ HTTP/1.1",
        b"\x16\x03\x01\x02\x00\x01",
    ],
)
def test_a_malformed_request_line_is_a_400(line: bytes) -> None:
    assert refusal(get(line=line)) == 400


@pytest.mark.parametrize("version", [b"0.9", b"1.2", b"2.0", b"3.0", b"0.0"])
def test_other_versions_are_a_505(version: bytes) -> None:
    assert refusal(get(line=b"GET / HTTP/" + version)) == 505


def test_connect_is_a_501() -> None:
    assert refusal(get(line=b"CONNECT a:443 HTTP/1.1")) == 501


@pytest.mark.parametrize(
    "field",
    [
        b"X-A : b",
        b" X-A: b",
        b": b",
        b"X-A",
        b"X A: b",
        b"X(A): b",
        b"X\x00A: b",
        b"X-\xe9: b",
        b"X-A: b\r\n folded",
        b"X-A: b\r\n\tfolded",
        b"X-A: b\r\n ",
        b"X-A: b\nX-B: c",
        b"X-A: b\rX-B: c",
        b"X-A: b\x00c",
        b"X-A: b\x01c",
        b"X-A: b\x0bc",
        b"X-A: b\x7f",
    ],
)
def test_a_malformed_field_is_a_400(field: bytes) -> None:
    assert refusal(get(field)) == 400
    assert refusal(get(field, b"X-Last: 1")) == 400


@pytest.mark.parametrize("separator", [b"\n", b"\n\n", b"\r\n\n"])
def test_a_head_ended_by_bare_line_feeds_is_refused_at_once(separator: bytes) -> None:
    assert refusal(b"GET / HTTP/1.1" + separator + b"Host: a" + separator) == 400


@pytest.mark.parametrize(
    "data",
    [
        get(host=None),
        get(b"host: a"),
        get(b"Host: b"),
        get(host=b"Host: a b"),
        get(host=b"Host: a/b"),
        get(host=b"Host: a@b"),
        get(host=b"Host: a,b"),
        get(host=b"Host: a\xe9"),
        get(host=b"Host: a:x"),
        get(host=b"Host: a:123456"),
        get(host=b"Host: [::1"),
        get(host=b"Host: %4"),
        get(host=b"Host: a\r\nHost: b", line=b"GET / HTTP/1.0"),
    ],
)
def test_a_missing_doubled_or_malformed_host_is_a_400(data: bytes) -> None:
    assert refusal(data) == 400


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([b"Content-Length: +1"], 400),
        ([b"Content-Length: -1"], 400),
        ([b"Content-Length: 0x1"], 400),
        ([b"Content-Length: 1_0"], 400),
        ([b"Content-Length: 1.0"], 400),
        ([b"Content-Length: 1 1"], 400),
        ([b"Content-Length: "], 400),
        ([b"Content-Length: \xb2"], 400),
        ([b"Content-Length: 5, 5"], 400),
        ([b"Content-Length: 5", b"Content-Length: 5"], 400),
        ([b"Content-Length: 5", b"content-length: 6"], 400),
        ([b"Content-Length: 1001"], 413),
        ([b"Content-Length: 18446744073709551621"], 413),
        ([b"Content-Length: " + b"9" * 200], 413),
        ([b"Content-Length: 5", b"Transfer-Encoding: chunked"], 400),
        ([b"Transfer-Encoding: chunked", b"Content-Length: 0"], 400),
        ([b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"], 400),
        ([b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"], 400),
        ([b"Transfer-Encoding: chunked, chunked"], 400),
        ([b"Transfer-Encoding: chunked, gzip"], 400),
        ([b"Transfer-Encoding: chunked,"], 400),
        ([b"Transfer-Encoding: "], 400),
        ([b"Transfer-Encoding: chunked;q=1"], 400),
        ([b'Transfer-Encoding: "chunked"'], 400),
        ([b"Transfer-Encoding: \x0bchunked"], 400),
        ([b"Transfer-Encoding: gzip, chunked"], 501),
        ([b"Transfer-Encoding: gzip"], 501),
        ([b"Transfer-Encoding: identity"], 501),
        ([b"Transfer-Encoding: xchunked"], 501),
        ([b"Expect: 200-ok", b"Content-Length: 1"], 417),
    ],
)
def test_framing_that_could_be_read_in_two_ways_is_refused(fields: list[bytes], status: int) -> None:
    assert refusal(get(*fields, line=b"POST / HTTP/1.1")) == status


def test_transfer_encoding_in_http_1_0_is_refused() -> None:
    assert refusal(get(b"Transfer-Encoding: chunked", line=b"POST / HTTP/1.0")) == 400


# sizes


def test_a_request_line_may_be_as_long_as_the_limit() -> None:
    line = b"GET /" + b"x" * (LIMITS.request_line - 14) + b" HTTP/1.1"
    assert len(line) == LIMITS.request_line
    assert byte_by_byte(get(line=line)) == take(get(line=line))
    longer = line.replace(b"/x", b"/xx")
    assert refusal(get(line=longer)) == 414
    assert refusal(longer + b"\r") == 414  # not yet complete


def test_a_head_may_be_as_long_as_the_limit() -> None:
    room = LIMITS.head - len(get(b"X: "))
    full = get(b"X: " + b"y" * room)
    assert len(full) == LIMITS.head
    assert byte_by_byte(full) == take(full)
    longer = get(b"X: " + b"y" * (room + 1))
    assert refusal(longer) == 431
    assert refusal(longer[:-1]) == 431  # not yet complete


def test_a_head_may_have_as_many_fields_as_the_limit() -> None:
    fields = [b"X: y"] * (LIMITS.fields - 1)
    assert len(take(get(*fields)).headers) == LIMITS.fields
    longer = get(*fields, b"X: y")
    assert refusal(longer) == 431
    assert refusal(longer[:-2]) == 431  # not yet complete


def test_a_refused_head_is_refused_also_byte_by_byte() -> None:
    for data, status in [
        (get(b"X: " + b"y" * LIMITS.head), 431),
        (get(*[b"X: y"] * LIMITS.fields), 431),
        (get(line=b"GET /" + b"x" * LIMITS.request_line + b" HTTP/1.1"), 414),
        (get(b"X-A : b"), 400),
        (get(b"X: y\n"), 400),
    ]:
        with pytest.raises(ClientError) as caught:
            byte_by_byte(data)
        assert caught.value.status == status


# WebSocket handshakes


def test_a_handshake_is_recognized() -> None:
    assert take(HANDSHAKE).websocket


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Connection: keep-alive, Upgrade\r\n", b""),
        (b"Upgrade: WebSocket", b"Upgrade: h2c"),
        (b"HTTP/1.1", b"HTTP/1.0"),
    ],
)
def test_what_asks_for_no_websocket_is_a_plain_request(old: bytes, new: bytes) -> None:
    assert old in HANDSHAKE
    assert not take(HANDSHAKE.replace(old, new)).websocket


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"GET", b"POST"),
        (b"Sec-WebSocket-Key: " + KEY + b"\r\n", b""),
        (KEY, b"c2hvcnQ="),
        (KEY, b"!" + KEY[1:]),
        (KEY, KEY + b"\r\nSec-WebSocket-Key: " + KEY),
        (b"Sec-WebSocket-Version: 13\r\n", b""),
        (b"Host: a", b"Host: a\r\nContent-Length: 1"),
        (b"Host: a", b"Host: a\r\nTransfer-Encoding: chunked"),
    ],
)
def test_a_faulty_handshake_is_a_400(old: bytes, new: bytes) -> None:
    assert old in HANDSHAKE
    assert refusal(HANDSHAKE.replace(old, new)) == 400


def test_another_websocket_version_is_a_426_that_names_ours() -> None:
    with pytest.raises(ClientError) as caught:
        take(HANDSHAKE.replace(b"Version: 13", b"Version: 8"))
    assert caught.value.status == 426
    assert caught.value.headers == [(b"sec-websocket-version", b"13")]


@pytest.mark.parametrize("name", sorted(forwarded._FIELDS | {b"x-request-id", b"traceparent"}))
def test_what_trace_and_proxies_look_at_is_marked(name: bytes) -> None:
    """Nobody looks for a field that isn't: a new one must be one of MARKS."""
    head = take(b"GET / HTTP/1.1\r\nHost: a\r\n%b: b\r\n\r\n" % name.title())
    assert head is not None
    assert head.marked
