"""Whatever becomes of a request, nothing of it waits for the garbage collector, which is off here."""

import asyncio
import gc
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import StreamingResponse
from structlog.testing import capture_logs

from hsrv.board.scoreboard import Scoreboard
from hsrv.common.asgi import Application, Receive, Scope, Send
from hsrv.common.terms import EndReason, Identity, Role
from hsrv.http.connection import HTTPConnection
from hsrv.http.host import HTTPHost
from hsrv.http.request.call import Call
from hsrv.http.request.exchange import Exchange
from hsrv.ipc.messages import Origin
from hsrv.net.conn import Conn
from hsrv.net.loops import new_loop
from hsrv.options.config import Config
from tests.integration.wire import request

OURS = (Exchange, HTTPConnection, Conn, Call, asyncio.Task)

START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/event-stream")],
}
EVENT = {"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True}
HALF = {"type": "http.response.body", "body": b"data: 1", "more_body": True}
BLOCK = {"type": "http.response.body", "body": bytes(1 << 16), "more_body": True}
END = {"type": "http.response.body"}


class Thing:
    """What a request uses."""


Handler = Callable[[Receive, Send], Coroutine[Any, Any, None]]


def handler(handle: Handler) -> Application:
    """An application that uses something."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        thing = Thing()
        await handle(receive, send)
        assert thing is not None

    app.__name__ = handle.__name__
    return app


# what an application does


@handler
async def fails_at_once(receive: Receive, send: Send) -> None:
    raise RuntimeError("at once")


@handler
async def fails_before_its_response(receive: Receive, send: Send) -> None:
    await asyncio.sleep(0.01)
    raise RuntimeError("before")


@handler
async def fails_amid_its_response(receive: Receive, send: Send) -> None:
    await send(START)
    await send(EVENT)
    await asyncio.sleep(0.01)
    raise RuntimeError("amid")


@handler
async def fails_in_a_group(receive: Receive, send: Send) -> None:
    async def fail() -> None:
        await asyncio.sleep(0.01)
        raise RuntimeError("in a group")

    async with asyncio.TaskGroup() as group:
        group.create_task(fail())
        group.create_task(receive())  # type: ignore[arg-type]  # it is a coroutine


@handler
async def returns_nothing(receive: Receive, send: Send) -> None:
    await asyncio.sleep(0.01)


@handler
async def answers_whole(receive: Receive, send: Send) -> None:
    await asyncio.sleep(0.01)
    await send(START)
    await send(END)


@handler
async def reads_its_body(receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body"):
        pass
    await send(START)
    await send(END)


@handler
async def listens(receive: Receive, send: Send) -> None:
    await send(START)
    await send(EVENT)
    while (await receive())["type"] != "http.disconnect":
        pass


@handler
async def listens_amid_an_event(receive: Receive, send: Send) -> None:
    await send(START)
    await send(HALF)
    while (await receive())["type"] != "http.disconnect":
        pass


@handler
async def talks(receive: Receive, send: Send) -> None:
    await send(START)
    while True:
        await send(EVENT)
        await asyncio.sleep(0.01)


@handler
async def talks_too_fast(receive: Receive, send: Send) -> None:
    await send(START)
    while True:
        await send(BLOCK)


@handler
async def talks_too_fast_and_takes_a_leave_for_an_end(receive: Receive, send: Send) -> None:
    """So its error never reaches the server."""
    await send(START)
    with suppress(OSError):
        while True:
            await send(BLOCK)


@handler
async def leaves_a_task_behind(receive: Receive, send: Send) -> None:
    """Which waits for something when its call is over."""
    await receive()
    await send(START)
    await send(EVENT)
    _left.append(asyncio.ensure_future(receive()))
    await asyncio.sleep(0.01)
    raise RuntimeError("without its task")


_left: list["asyncio.Future[Any]"] = []


async def generated() -> AsyncIterator[bytes]:
    thing = Thing()
    while thing is not None:
        yield bytes(1 << 16)


async def starlette(scope: Scope, receive: Receive, send: Send) -> None:
    """Its task group has the error that its sender raised in a variable."""
    response = StreamingResponse(generated(), headers={"path": Request(scope).url.path})
    await response(scope, receive, send)


APPS = (
    fails_at_once,
    fails_before_its_response,
    fails_amid_its_response,
    fails_in_a_group,
    returns_nothing,
    answers_whole,
    reads_its_body,
    listens,
    listens_amid_an_event,
    talks,
    talks_too_fast,
    talks_too_fast_and_takes_a_leave_for_an_end,
    leaves_a_task_behind,
)


# how it ends


def host_of(connection: HTTPConnection) -> HTTPHost:
    assert isinstance(connection.host, HTTPHost)
    return connection.host


def client_leaves(connection: HTTPConnection, client: socket.socket) -> None:
    client.close()


def client_half_closes(connection: HTTPConnection, client: socket.socket) -> None:
    with suppress(OSError):
        client.shutdown(socket.SHUT_WR)


def drained(connection: HTTPConnection, client: socket.socket) -> None:
    connection.end_stream()


def cut(connection: HTTPConnection, client: socket.socket) -> None:
    host_of(connection).cut_all()


def timed_out(connection: HTTPConnection, client: socket.socket) -> None:
    for exchange in list(host_of(connection).calls.all):
        exchange.time_out(1.0)


WAYS = (client_leaves, client_half_closes, drained, cut, timed_out)


def alive(kinds: tuple[type, ...] = OURS) -> list[str]:
    return [repr(one) for one in gc.get_objects() if isinstance(one, kinds)]


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.freeze()  # what is there already is looked at no more
    gc.disable()
    yield
    gc.enable()


async def served(app: Application, asked: bytes, leave: Callable[..., None], *, half: bool) -> None:
    """One request, whose client or server leaves when it runs."""
    loop = asyncio.get_running_loop()
    ours, client = socket.socketpair()
    with client:
        ours.setblocking(False)
        identity = Identity(Role.WORKER, 1, 1)
        host = HTTPHost(identity, Config(access_log=False), app, loop, Scoreboard())
        host.answers_half_closed = half  # as a worker, or as a pool
        connection = HTTPConnection(Conn(ours, loop, Origin(client=None, server=None, accepted_at=0.0)), host)
        host.opened(connection)
        connection.start()
        client.sendall(asked)
        await asyncio.sleep(0.03)
        leave(connection, client)
        await asyncio.sleep(0.02)
        client.close()
        await asyncio.sleep(0.02)
        host.cut_all()
        connection.close(EndReason.COMPLETED)
        await asyncio.sleep(0.02)
        assert not host.calls.all


def run(*all_served: Coroutine[Any, Any, None], kinds: tuple[type, ...] = (*OURS, Thing)) -> None:
    """At the same time; after it none of `kinds` may be left."""

    async def scenario() -> None:
        async with asyncio.timeout(20):
            await asyncio.gather(*all_served)
        stray = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert not stray
        _left.clear()
        assert not alive(tuple(kind for kind in kinds if kind is not asyncio.Task))

    loop = new_loop("auto")
    with capture_logs():
        loop.run_until_complete(scenario())
    loop.close()
    assert not alive(kinds)


@pytest.mark.parametrize("leave", WAYS)
@pytest.mark.parametrize("app", APPS)
def test_nothing_of_a_request_stays(no_collector: None, app: Application, leave: Callable[..., None]) -> None:
    chunked = request("/", "Transfer-Encoding: chunked", method="POST", body=b"3\r\nabc\r\n")
    requests = (request("/"), request("/", method="HEAD"), chunked)
    run(*(served(app, asked, leave, half=half) for half in (True, False) for asked in requests))


@pytest.mark.parametrize("leave", [client_leaves, client_half_closes])
def test_a_generator_ends_with_its_request(no_collector: None, leave: Callable[..., None]) -> None:
    """Also where it was suspended while send() raised, so that nobody but its last reference can end it."""
    requests = (request("/"), request("/", method="HEAD"))
    run(*(served(starlette, asked, leave, half=False) for asked in requests))


async def keeps_everything(scope: Scope, receive: Receive, send: Send) -> None:
    """In a cycle of its own, as anyio's task groups do with the traceback of what they cancelled."""

    async def talk() -> None:
        while True:
            await send(BLOCK)

    await send(START)
    talking = asyncio.ensure_future(talk())
    listening = asyncio.ensure_future(receive())
    await asyncio.sleep(0.01)
    kept: list[object] = [scope, receive, send]
    for task in (talking, listening):
        task.cancel()
        try:
            await task
        except (asyncio.CancelledError, OSError) as error:
            kept.append(error)
    kept.append(kept)


@pytest.mark.parametrize("leave", WAYS)
def test_what_an_application_keeps_keeps_no_exchange(no_collector: None, leave: Callable[..., None]) -> None:
    asked = (request("/"), request("/", "Transfer-Encoding: chunked", method="POST"))
    kinds = (Exchange, HTTPConnection, Conn)
    run(*(served(keeps_everything, one, leave, half=False) for one in asked), kinds=kinds)
