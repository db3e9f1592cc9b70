"""The 101 response."""

import pytest

from hsrv.asyncpool.websocket.codecs.deflate import DeflateTerms
from hsrv.asyncpool.websocket.handshake import accept_response, deflate_terms
from hsrv.common.asgi import Message
from hsrv.common.errors import AppError
from hsrv.common.request import Headers, RequestHead

KEY = (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ==")
DEFAULTS = b"server: hsrv\r\ndate: today\r\n"


def head(*headers: tuple[bytes, bytes]) -> RequestHead:
    return RequestHead(
        method="GET",
        target=b"/",
        path="/",
        raw_path=b"/",
        query=b"",
        http_version="1.1",
        headers=[KEY, *headers],
        content_length=None,
        chunked=False,
        keep_alive=True,
        expect_continue=False,
        websocket=True,
        event_stream=False,
    )


def response(
    message: Message, *, offered: tuple[str, ...] = (), deflate: DeflateTerms | None = None
) -> bytes:
    return accept_response(head(), {"subprotocols": list(offered)}, message, deflate, DEFAULTS)


def test_the_sample_key_of_the_rfc_gets_the_sample_answer() -> None:
    assert response({}) == (
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
        b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" + DEFAULTS + b"\r\n"
    )


def test_subprotocol_extension_and_headers_of_the_application_are_stated() -> None:
    message = {"subprotocol": "b", "headers": [(b"X-One", b"1"), (b"x-one", b"2")]}
    lines = response(message, offered=("a", "b"), deflate=DeflateTerms()).split(b"\r\n")
    assert b"sec-websocket-protocol: b" in lines
    assert b"sec-websocket-extensions: permessage-deflate; server_max_window_bits=12" in lines
    assert lines.index(b"X-One: 1") < lines.index(b"x-one: 2")


def test_a_header_of_the_application_replaces_the_server_s_own() -> None:
    lines = response({"headers": [(b"Server", b"mine")]}).split(b"\r\n")
    assert b"Server: mine" in lines
    assert b"server: hsrv" not in lines
    assert b"date: today" in lines


@pytest.mark.parametrize(
    "headers",
    [
        [(b"x", b"a\r\nset-cookie: b")],
        [(b"x", b"a\nb")],
        [(b"x", b"a\x00b")],
        [(b"x y", b"a")],
        [(b"x\r\ny", b"a")],
        [(b"", b"a")],
        [("x", b"a")],
        [(b"x", "a")],
        [(b"Sec-WebSocket-Accept", b"a")],
        [(b"sec-websocket-protocol", b"a")],
        [(b"Sec-WebSocket-Extensions", b"a")],
        [(b"Connection", b"close")],
        [(b"content-length", b"0")],
    ],
)
def test_headers_that_would_break_the_response_are_the_application_s_error(headers: Headers) -> None:
    with pytest.raises(AppError):
        response({"headers": headers})


def test_a_subprotocol_that_was_not_offered_is_the_application_s_error() -> None:
    with pytest.raises(AppError, match="did not offer"):
        response({"subprotocol": "c"}, offered=("a", "b"))


def test_compression_is_negotiated_only_when_enabled_and_offered() -> None:
    offering = head((b"sec-websocket-extensions", b"permessage-deflate"))
    assert deflate_terms(offering, enabled=True) == DeflateTerms()
    assert deflate_terms(offering, enabled=False) is None
    assert deflate_terms(head(), enabled=True) is None
