"""What applications raise when their WebSocket has ended is no error of theirs; what else they raise is."""

import asyncio
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from starlette.websockets import WebSocket, WebSocketDisconnect
from structlog.testing import capture_logs
from wsproto.events import CloseConnection

from hsrv.asyncpool.websocket import session as websocket
from hsrv.asyncpool.websocket.aftermath import is_aftermath
from hsrv.asyncpool.websocket.session import DISCONNECTS
from hsrv.common.asgi import Application, Receive, Scope, Send
from hsrv.common.errors import ClientDisconnected
from tests.unit.asyncpool.websocket.peer import Peer, on_loop, until

ACCEPT: dict[str, Any] = {"type": "websocket.accept"}
SEND: dict[str, Any] = {"type": "websocket.send", "text": "late"}
CLOSE: dict[str, Any] = {"type": "websocket.close"}


async def until_the_end(receive: Receive) -> None:
    while (await receive())["type"] != "websocket.disconnect":
        pass


async def sends_on(scope: Scope, receive: Receive, send: Send) -> None:
    await send(ACCEPT)
    await until_the_end(receive)
    await send(SEND)


async def closes_at_last(scope: Scope, receive: Receive, send: Send) -> None:
    await send(ACCEPT)
    try:
        await until_the_end(receive)
    finally:
        await send(CLOSE)
        await send(CLOSE)


async def closes_and_sends(scope: Scope, receive: Receive, send: Send) -> None:
    await send(ACCEPT)
    await send(CLOSE)
    await send(CLOSE)
    await send(SEND)


async def starlette_is_left(scope: Scope, receive: Receive, send: Send) -> None:
    socket = WebSocket(scope, receive, send)
    await socket.accept()
    while True:
        await socket.receive_text()


async def starlette_closes_at_last(scope: Scope, receive: Receive, send: Send) -> None:
    socket = WebSocket(scope, receive, send)
    await socket.accept()
    try:
        while True:
            await socket.receive_text()
    except WebSocketDisconnect:
        pass
    finally:
        await socket.close()
        await socket.close()


async def starlette_sends_on(scope: Scope, receive: Receive, send: Send) -> None:
    socket = WebSocket(scope, receive, send)
    await socket.accept()
    await until_the_end(receive)
    try:
        await socket.send_text("late")
    finally:
        await socket.close()


async def in_a_task_group(scope: Scope, receive: Receive, send: Send) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(starlette_is_left(scope, receive, send))
        tasks.create_task(asyncio.sleep(1000))


async def in_a_task_group_of_anyio(scope: Scope, receive: Receive, send: Send) -> None:
    async with anyio.create_task_group() as outer, anyio.create_task_group() as tasks:
        outer.start_soon(anyio.sleep, 1000)
        tasks.start_soon(sends_on, scope, receive, send)


GOOD: list[Application] = [
    sends_on,
    closes_at_last,
    closes_and_sends,
    starlette_is_left,
    starlette_closes_at_last,
    starlette_sends_on,
    in_a_task_group,
    in_a_task_group_of_anyio,
]


def errors_of(app: Application, code: int = 1000) -> list[Any]:
    logged: list[Any] = []

    @on_loop
    async def test() -> None:
        with capture_logs() as logs:
            peer = Peer(app)
            await peer.head()
            await peer.send(CloseConnection(code=code))
            await peer.ended()
        logged.extend(logs)

    test("asyncio")
    return logged


@pytest.mark.parametrize("app", GOOD, ids=lambda app: app.__name__)
def test_what_follows_from_the_end_is_no_error(app: Application) -> None:
    assert errors_of(app) == []


async def fails_after_the_end(scope: Scope, receive: Receive, send: Send) -> None:
    await send(ACCEPT)
    await until_the_end(receive)
    try:
        await send(SEND)
    except OSError:
        raise KeyError("a fault") from None


async def fails_in_a_group(scope: Scope, receive: Receive, send: Send) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(starlette_is_left(scope, receive, send))
        tasks.create_task(fails_at_its_end())


async def fails_at_its_end() -> None:
    try:
        await asyncio.sleep(1000)
    finally:
        raise KeyError("a fault")


async def fails_by_itself(scope: Scope, receive: Receive, send: Send) -> None:
    await send(ACCEPT)
    await until_the_end(receive)
    raise RuntimeError("a fault")


@pytest.mark.parametrize("app", [fails_after_the_end, fails_in_a_group, fails_by_itself])
def test_a_fault_after_the_end_is_an_error(app: Application) -> None:
    assert [entry["event"] for entry in errors_of(app)] == ["application raised"]


@on_loop
async def test_a_disconnect_that_the_application_made_up_is_an_error() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        raise WebSocketDisconnect(code=1000)

    with capture_logs() as logs:
        peer = Peer(app)
        await peer.head()
        assert await peer.event() == CloseConnection(code=1011, reason="")
        await peer.ended()
    assert [entry["event"] for entry in logs] == ["application raised"]


def test_a_group_is_what_all_of_its_members_are() -> None:
    gone: Callable[[], BaseException] = lambda: ClientDisconnected(32, "gone")  # noqa: E731  # one for each
    assert is_aftermath(BaseExceptionGroup("", [gone(), BaseExceptionGroup("", [asyncio.CancelledError()])]))
    assert not is_aftermath(BaseExceptionGroup("", [gone(), BaseExceptionGroup("", [KeyError()])]))


# receive() after the end


def test_an_application_that_receives_after_the_end_for_ever_is_slowed_and_told_of_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(websocket, "DISCONNECT_PAUSE", 0.05)
    told = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal told
        await send(ACCEPT)
        while told < 10 * DISCONNECTS:
            try:
                await receive()
            except ClientDisconnected:
                told += DISCONNECTS  # and go on
            told += 1

    @on_loop
    async def test() -> None:
        with capture_logs() as logs:
            peer = Peer(app)
            await peer.head()
            began = peer.loop.time()
            await peer.send(CloseConnection(code=1000))
            await peer.ended()
            assert peer.loop.time() - began >= 8 * 0.05
        assert [entry["event"] for entry in logs] == ["application receives after websocket.disconnect"]

    test("asyncio")


def test_an_application_that_only_receives_is_ended() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        while True:
            await receive()

    @on_loop
    async def test() -> None:
        with capture_logs() as logs:
            peer = Peer(app)
            await peer.head()
            await peer.send(CloseConnection(code=1000))
            assert (await peer.ended())[1] == 1000
        assert len(logs) == 1

    test("asyncio")


@on_loop
async def test_many_tasks_that_wait_for_messages_are_all_told_of_the_end() -> None:
    told: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        many = [asyncio.ensure_future(receive()) for _ in range(DISCONNECTS // 2)]
        told.extend([(await one)["type"] for one in many])

    peer = Peer(app)
    await peer.head()
    await until(lambda: len(peer.session._waiters) == DISCONNECTS // 2)
    await peer.ended()
    assert set(told) == {"websocket.disconnect"}
    assert len(told) == DISCONNECTS // 2


@on_loop
async def test_an_error_that_came_from_another_task_of_the_application_leaves_that_task_alone() -> None:
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    go_on = asyncio.Event()

    async def reader() -> str:
        try:
            raise RuntimeError("of one message")
        except RuntimeError as error:
            failed.set_exception(error)
        await go_on.wait()
        return "goes on"

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        await failed

    task = asyncio.create_task(reader())
    with capture_logs():
        peer = Peer(app)
        await peer.head()
        await peer.ended()
    go_on.set()
    assert await task == "goes on"
