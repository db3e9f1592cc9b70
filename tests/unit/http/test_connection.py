"""One connection, by its own methods, over a socket pair."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from hsrv.board.scoreboard import Scoreboard
from hsrv.common.asgi import Application, Receive, Scope, Send
from hsrv.common.terms import EndReason, Identity, Role
from hsrv.http.connection import PIPELINE_LIMIT, HTTPConnection
from hsrv.http.host import HTTPHost
from hsrv.ipc.messages import Origin
from hsrv.net.conn import Conn
from hsrv.net.loops import new_loop
from hsrv.options.config import Config

ASKED = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % 10**40


async def at_once(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


async def after_a_turn(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.sleep(0)
    await at_once(scope, receive, send)


@contextmanager
def connected(
    app: Application, loop: asyncio.AbstractEventLoop
) -> Iterator[tuple[HTTPConnection, socket.socket]]:
    ours, client = socket.socketpair()
    with client:
        for end in (ours, client):
            end.setblocking(False)
        host = HTTPHost(Identity(Role.WORKER, 1, 1), Config(access_log=False), app, loop, Scoreboard())
        origin = Origin(client=("192.0.2.1", 1), server=("192.0.2.2", 2), accepted_at=loop.time())
        connection = HTTPConnection(Conn(ours, loop, origin), host)
        host.opened(connection)
        connection.start()
        yield connection, client
        connection.close(EndReason.COMPLETED)


@pytest.mark.parametrize("app", [at_once, after_a_turn])
def test_a_client_that_asks_faster_than_it_is_answered_fills_no_memory(app: Application) -> None:
    """It reads the answers: nothing else holds it back."""
    requests = 6 * PIPELINE_LIMIT // len(ASKED)
    loop = new_loop("auto")

    async def ask(connection: HTTPConnection, client: socket.socket) -> tuple[int, int]:
        unsent, answers, most = memoryview(ASKED * requests), bytearray(), 0
        while not answers.endswith(b"\r\n\r\nok") or answers.count(b"HTTP/1.1 200") < requests:
            if unsent:
                with suppress(BlockingIOError):
                    unsent = unsent[client.send(unsent) :]
            await asyncio.sleep(0)
            with suppress(BlockingIOError):
                answers += client.recv(1 << 20)
            most = max(most, len(connection.buffer))
        return answers.count(b"HTTP/1.1 200"), most

    with connected(app, loop) as (connection, client):
        answered, most = loop.run_until_complete(asyncio.wait_for(ask(connection, client), 60))
    loop.close()
    assert answered == requests
    assert PIPELINE_LIMIT < most <= 3 * PIPELINE_LIMIT


async def streams_late(scope: Scope, receive: Receive, send: Send) -> None:
    """And never asks for its client."""
    await asyncio.sleep(0.05)
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    while True:
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("begun", [False, True])
def test_a_stream_in_a_worker_ends_when_its_client_half_closes(begun: bool) -> None:
    """Before the response has begun, nobody knows that it is a stream: then as soon as it is."""
    loop = new_loop("auto")

    async def ask(connection: HTTPConnection, client: socket.socket) -> None:
        client.sendall(ASKED)
        await asyncio.sleep(0.1 if begun else 0.01)
        assert bool(connection.exchange and connection.exchange.encoder.started) is begun
        client.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(20):
            while connection.host.exchanges:  # noqa: ASYNC110  # nothing tells when it is empty
                await asyncio.sleep(0.01)

    with connected(streams_late, loop) as (connection, client):
        loop.run_until_complete(ask(connection, client))
    loop.close()
