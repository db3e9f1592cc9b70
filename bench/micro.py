"""The parts of the hot path one by one: `make bench-micro`. pytest-benchmark; compare with `--benchmark-compare`."""

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Any, Final

import pytest

from hsrv.asyncpool.websocket.codecs.codec import choose_codec
from hsrv.asyncpool.websocket.link import WebSocketLink
from hsrv.asyncpool.websocket.memory import MessageMemory
from hsrv.asyncpool.websocket.settings import WebSocketSettings
from hsrv.board.scoreboard import Scoreboard, new_board
from hsrv.http.backlog import Backlog
from hsrv.http.request.scope import ScopeBuilder
from hsrv.http.wire.forwarded import TrustedProxies
from hsrv.http.wire.head import HeadLimits, take_head
from hsrv.http.wire.parser import choose_parser
from hsrv.http.wire.response import DefaultHeaders, ResponseEncoder
from hsrv.http.wire.trace import trace_of
from hsrv.ipc.messages import Origin, StreamingHandoff, decode_handoff, encode
from hsrv.logs.accesslog import DEFAULT_FORMAT, AccessRecord, compile_format
from hsrv.net.conn import Conn
from hsrv.options.config import Config

SHORT: Final = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n"
BROWSER: Final = (
    b"GET /items/7?name=x HTTP/1.1\r\nHost: example.org\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
    b"Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nConnection: keep-alive\r\n"
    b"Cookie: theme=dark; session=0123456789abcdef0123456789abcdef\r\nUpgrade-Insecure-Requests: 1\r\n"
    b"Sec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Site: none\r\nSec-Fetch-User: ?1\r\n\r\n"
)
LIMITS: Final = HeadLimits(request_line=8190, head=65536, fields=100, body=1 << 30)
ORIGIN: Final = Origin(client=("192.0.2.7", 40000), server=("192.0.2.1", 80), accepted_at=0.0)
HEADERS: Final = [(b"content-type", b"application/json"), (b"content-length", b"13")]
BODY: Final = b"Hello, world!"

Benchmark = Callable[..., Any]


def taken(block: bytes, parser: str = "split") -> Any:
    return take_head(bytearray(block), 0, choose_parser(parser), LIMITS)


@pytest.mark.parametrize("parser", ["split", "h11"])
@pytest.mark.parametrize("block", [SHORT, BROWSER], ids=["short", "browser"])
def test_request_head(benchmark: Benchmark, block: bytes, parser: str) -> None:
    assert benchmark(taken, block, parser).method == "GET"


def test_trace(benchmark: Benchmark) -> None:
    assert len(benchmark(trace_of, ()).request_id) == 32


def test_scope(benchmark: Benchmark) -> None:
    builder = ScopeBuilder(root_path="", proxies=TrustedProxies(["127.0.0.1"]), extension={"role": "worker"})
    assert benchmark(builder.http, taken(BROWSER), ORIGIN, {})["path"] == "/items/7"


def test_response(benchmark: Benchmark) -> None:
    lines = DefaultHeaders(time.time, server=True, date=True)

    def respond() -> tuple[bytes, ...]:
        encoder = ResponseEncoder("GET", "1.1", keep_alive=True)
        encoder.start({"type": "http.response.start", "status": 200, "headers": HEADERS})
        return encoder.body({"type": "http.response.body", "body": BODY}, lines())

    assert benchmark(respond)[0].endswith(BODY)


def test_chunk_of_a_stream(benchmark: Benchmark) -> None:
    encoder = ResponseEncoder("GET", "1.1", keep_alive=True)
    encoder.start({"type": "http.response.start", "status": 200, "headers": []})
    chunk = {"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True}
    encoder.body(chunk, b"")
    assert benchmark(encoder.body, chunk, b"") == (b"9\r\ndata: 1\n\n\r\n",)


def test_handoff(benchmark: Benchmark) -> None:
    head = taken(BROWSER)
    message = StreamingHandoff(origin=ORIGIN, head=head, buffered=b"", trace=trace_of(head.headers))
    assert benchmark(lambda: decode_handoff(encode(message))) == message


def test_websocket_message(benchmark: Benchmark) -> None:
    """A small one, from the socket to the application's hand."""
    loop = asyncio.new_event_loop()
    server, client = socket.socketpair()
    server.setblocking(False)
    conn = Conn(server, loop, ORIGIN)
    settings = WebSocketSettings(
        codec="auto",
        max_message=1 << 24,
        max_inflated=1 << 20,
        message_timeout=60,
        ping_interval=20,
        ping_timeout=20,
        per_message_deflate=False,
        send_timeout=30,
        close_timeout=1,
    )
    shared: dict[str, Any] = {"backlog": Backlog(loop), "memory": MessageMemory(1 << 28)}
    link = WebSocketLink(conn, b"", settings, loop, on_change=int, on_closed=int, **shared)
    link.start()
    link.accept(b"HTTP/1.1 101 Switching Protocols\r\n\r\n", choose_codec("auto")(1 << 24, None))
    message = b"\x81\x85\x00\x00\x00\x00Hello"

    def receive() -> str | bytes:
        client.send(message)
        link._read()
        return link.take()

    try:
        assert benchmark(receive) == "Hello"
    finally:
        conn.close()
        client.close()
        loop.close()


def test_scoreboard(benchmark: Benchmark) -> None:
    board = Scoreboard(new_board())

    def update() -> None:
        board.begin(1.0, "GET", b"/items/7", "0" * 32, b"192.0.2.7")
        board.paused()
        board.responded(200, 0.001)

    benchmark(update)


def test_access_log_line(benchmark: Benchmark) -> None:
    head = taken(BROWSER)
    record = AccessRecord(
        method=head.method,
        target=head.target,
        http_version=head.http_version,
        status=200,
        body_bytes=len(BODY),
        duration=0.001,
        client=ORIGIN.client,
        headers=head.headers,
        trace=trace_of(head.headers),
        kind="http",
    )
    assert "GET /items/7" in benchmark(compile_format(Config().access_log_format or DEFAULT_FORMAT), record)
