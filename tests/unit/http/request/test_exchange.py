"""The end of an event stream, wherever its messages are cut."""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from pathlib import Path

import h11
import msgspec
import pytest

from hsrv.common.errors import ClientDisconnected
from hsrv.common.request import RequestHead
from hsrv.http.request.call import Call
from hsrv.http.request.exchange import Exchange
from hsrv.http.wire.body import SizedBody, body_decoder
from hsrv.http.wire.response import DefaultHeaders, ResponseEncoder
from hsrv.ipc.messages import Origin, Trace
from hsrv.net.conn import Conn
from hsrv.system.realthreads import RLock

START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/event-stream")],
}
HEAD = RequestHead(
    method="GET",
    target=b"/events",
    path="/events",
    raw_path=b"/events",
    query=b"",
    http_version="1.1",
    headers=[(b"host", b"a")],
    content_length=None,
    chunked=False,
    keep_alive=True,
    expect_continue=False,
    websocket=False,
    event_stream=True,
)


class Server:
    """A process that adds nothing to a response."""

    def __init__(self) -> None:
        self.closing = False
        self.default_headers = DefaultHeaders(lambda: 0.0, server=False, date=False)
        self.turn = RLock()


class ExchangeConnection:
    """A connection that counts what it is told."""

    def __init__(self, conn: Conn) -> None:
        self.conn = conn
        self.host = Server()
        self.begun = self.completed = self.lost = self.awaited = self.waiting = 0

    def body_taken(self) -> None:
        raise AssertionError("there is no body")

    def body_awaited(self) -> None:
        self.awaited += 1

    def held_up(self, exchange: Exchange) -> None:
        self.waiting += 1

    def goes_on(self, exchange: Exchange) -> None:
        self.waiting -= 1

    def response_begun(self) -> None:
        self.begun += 1

    def response_complete(self) -> None:
        self.completed += 1

    def client_lost(self) -> None:
        self.lost += 1

    def overdue(self) -> None:
        raise AssertionError("it takes no time")


def new_exchange(method: str = "GET") -> tuple[Exchange, ExchangeConnection, socket.socket]:
    ours, client = socket.socketpair()
    ours.setblocking(False)
    origin = Origin(client=None, server=None, accepted_at=0.0)
    link = ExchangeConnection(Conn(ours, asyncio.get_running_loop(), origin))
    encoder = ResponseEncoder(method, "1.1", keep_alive=True)
    trace = Trace(request_id="r-1")
    return Exchange(link, HEAD, trace, body_decoder(HEAD, 0), encoder, started_at=0.0), link, client


def body_of(client: socket.socket) -> tuple[bytes, bool]:
    """What came, by h11: the content, and whether it is complete."""
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    reader.send(h11.EndOfMessage())
    reader.receive_data(client.recv(1 << 16))
    content = b""
    while True:
        event = reader.next_event()
        if event is h11.NEED_DATA or isinstance(event, h11.EndOfMessage):
            return content, event is not h11.NEED_DATA
        if isinstance(event, h11.Data):
            content += event.data


@pytest.mark.parametrize(
    ("parts", "at_boundary"),
    [
        ([b"data: 1\n\n"], True),
        ([b"data: 1\n\n", b"data: 2\n\n"], True),
        ([b"data: 1\n", b"\n"], True),
        ([b"a", b"b", b"\n", b"\n"], True),
        ([b"data: 1\r\n", b"\r", b"\n"], True),
        ([b"data: 1\n\n", b"data: 2\n"], False),
        ([b"\n\n", b"a"], False),
        ([b"1", b"\n"], False),
    ],
)
def test_an_event_stream_ends_at_once_only_at_an_event_boundary(
    parts: list[bytes], at_boundary: bool
) -> None:
    async def run() -> None:
        exchange, link, client = new_exchange()
        with client:
            await Call(exchange).send(START)
            for part in parts:
                await Call(exchange).send({"type": "http.response.body", "body": part, "more_body": True})
            exchange.end()
            assert body_of(client) == (b"".join(parts), at_boundary)
            assert (link.begun, link.completed) == (1, int(at_boundary))
            link.conn.close()

    asyncio.run(run())


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_stream_that_is_to_end_is_cut_behind_the_next_event(kind: Callable[[bytes], object]) -> None:
    async def run() -> None:
        exchange, link, client = new_exchange()
        with client:
            await Call(exchange).send(START)
            for part in (b"data: 1", b"a\n"):
                await Call(exchange).send({"type": "http.response.body", "body": part, "more_body": True})
            exchange.end()
            await Call(exchange).send(
                {"type": "http.response.body", "body": kind(b"\ndata: 2\n\n"), "more_body": True}
            )
            assert body_of(client) == (b"data: 1a\n\n", True)
            assert link.completed == 1
            link.conn.close()

    asyncio.run(run())


def test_a_client_that_is_gone_is_found_at_the_next_chunk() -> None:
    async def run() -> None:
        exchange, link, client = new_exchange()
        message = {"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True}
        await Call(exchange).send(START)
        await Call(exchange).send(message)
        client.close()
        with pytest.raises(ClientDisconnected):
            await Call(exchange).send(message)
        assert link.lost == 1
        link.conn.close()

    asyncio.run(run())


WHOLE = {"type": "http.response.body", "body": b"data: 1\n\n"}
"""Completes a response."""


@pytest.mark.parametrize("told", [False, True], ids=["found by the write", "told before"])
@pytest.mark.parametrize("kind", ["http.response.body", "http.response.pathsend"])
def test_what_completes_the_response_of_a_client_that_is_gone_is_dropped(
    kind: str, told: bool, tmp_path: Path
) -> None:
    """So whoever answers in one piece never notices, and background tasks run."""
    message = {**WHOLE, "type": kind, "path": str(tmp_path / "nowhere" if told else Path(__file__))}

    async def run() -> None:
        exchange, link, client = new_exchange()
        client.close()
        if told:
            exchange.client_gone()
        await Call(exchange).send(START)
        await Call(exchange).send(message)
        assert (link.lost, link.completed) == (int(not told), 0)
        link.conn.close()

    asyncio.run(run())


@pytest.mark.parametrize("told", [False, True], ids=["found by the write", "told before"])
def test_what_goes_on_with_the_response_of_a_client_that_is_gone_raises(told: bool) -> None:
    async def run() -> None:
        exchange, link, client = new_exchange()
        client.close()
        if told:
            exchange.client_gone()
        await Call(exchange).send(START)
        for _ in range(2):
            with pytest.raises(ClientDisconnected):
                await Call(exchange).send({**WHOLE, "more_body": True})
            exchange.client_gone()
        with pytest.raises(ClientDisconnected):
            await Call(exchange).send({"type": "http.response.trailers", "more_trailers": True})
        assert link.lost == int(not told)
        link.conn.close()

    asyncio.run(run())


def test_the_answer_to_head_is_complete_with_its_head() -> None:
    """RFC 9110 section 9.3.2: an endless stream is told at once that nobody listens."""

    async def run() -> None:
        exchange, link, client = new_exchange("HEAD")
        with client:
            await Call(exchange).send(START)
            await Call(exchange).send({**WHOLE, "more_body": True})
            assert client.recv(1 << 16).endswith(b"\r\n\r\n")
            assert (link.begun, link.completed) == (0, 1)
            assert await Call(exchange).receive() == {"type": "http.disconnect"}
            with pytest.raises(ClientDisconnected):
                await Call(exchange).send({**WHOLE, "more_body": True})
            await Call(exchange).send(WHOLE)
            assert (link.completed, link.lost) == (1, 0)
            link.conn.close()

    asyncio.run(run())


def test_an_event_stream_amid_an_event_is_not_told_of_its_end_before_it() -> None:
    """Who was told would stop at once (Starlette does), and its client would have half an event."""

    async def run() -> None:
        exchange, link, client = new_exchange()
        with client:
            call = Call(exchange)
            assert (await call.receive())["type"] == "http.request"
            await call.send(START)
            await call.send({**WHOLE, "body": b"data: ", "more_body": True})
            listening = asyncio.ensure_future(call.receive())
            await asyncio.sleep(0)
            exchange.end()
            await asyncio.sleep(0.01)
            assert not listening.done()
            await call.send({**WHOLE, "body": b"1\n\ndata: 2", "more_body": True})
            assert await asyncio.wait_for(listening, 5) == {"type": "http.disconnect"}
            assert body_of(client) == (b"data: 1\n\n", True)
            link.conn.close()

    asyncio.run(run())


def test_a_receive_that_was_cancelled_waits_for_nothing_any_more() -> None:
    async def run() -> None:
        exchange, link, client = new_exchange()
        with client:
            exchange.decoder = SizedBody(5)
            receiving = asyncio.ensure_future(Call(exchange).receive())
            await asyncio.sleep(0)
            before = exchange.waits_for_body, link.awaited, link.waiting
            receiving.cancel()
            await asyncio.wait((receiving,))
            assert before == (True, 1, 1)
            assert (exchange.waits_for_body, link.waiting) == (False, 0)
            link.conn.close()

    asyncio.run(run())


def test_nothing_is_asked_for_any_more_once_the_body_is_complete() -> None:
    """100 (Continue) would be an answer to nothing (RFC 9110 section 10.1.1)."""

    async def run() -> None:
        for arrived, asked_for in ((b"", True), (b"whole", False)):
            exchange, link, client = new_exchange()
            with client:
                exchange.head = msgspec.structs.replace(HEAD, expect_continue=True, content_length=5)
                exchange.decoder = SizedBody(5)
                exchange.feed(bytearray(arrived), 100)
                if arrived:
                    assert (await Call(exchange).receive())["body"] == arrived
                receiving = asyncio.ensure_future(Call(exchange).receive())
                await asyncio.sleep(0)
                client.setblocking(False)
                found = b""
                with contextlib.suppress(BlockingIOError):
                    found = client.recv(100)
                assert found.startswith(b"HTTP/1.1 100 ") == asked_for
                receiving.cancel()
                await asyncio.wait((receiving,))
                link.conn.close()

    asyncio.run(run())
