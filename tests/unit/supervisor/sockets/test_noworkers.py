"""Clients of a real socket while no worker accepts."""

import socket
from collections.abc import Iterator

import anyio
import pytest

from hsrv.supervisor.sockets import noworkers
from hsrv.supervisor.sockets.listeners import Listener, close_listeners, open_listeners
from hsrv.supervisor.sockets.noworkers import NoWorkerResponder

pytestmark = pytest.mark.anyio
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def listeners(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Listener]]:
    monkeypatch.setattr(noworkers, "INTERVAL", 0.01)
    listeners = open_listeners(["127.0.0.1:0"], backlog=10, unix_mode=0)
    yield listeners
    close_listeners(listeners)


class Plan:
    lacks_worker = True


async def answered(listener: Listener, request: bytes) -> bytes:
    host, port = listener.sock.getsockname()
    async with await anyio.connect_tcp(host, port) as client:
        await client.send(request)
        data = b""
        with anyio.fail_after(10):
            async for chunk in client:
                data += chunk
        return data


async def test_a_client_is_answered_with_503_and_the_worker_that_returns_gets_the_next(
    listeners: list[Listener],
) -> None:
    plan = Plan()
    responder = NoWorkerResponder(listeners, lambda: plan.lacks_worker, lambda: 0.0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(responder.run)
        answer = await answered(listeners[0], GET)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nretry-after: 1\r\n" in answer
        plan.lacks_worker = False
        await anyio.sleep(0.05)
        client = socket.create_connection(listeners[0].sock.getsockname(), 5)
        client.sendall(GET)
        with anyio.fail_after(5):
            await anyio.wait_readable(listeners[0].sock)
        accepted, _ = listeners[0].sock.accept()
        for sock in (client, accepted):
            sock.close()
        tasks.cancel_scope.cancel()


async def test_nobody_is_answered_before_the_queue_timeout(listeners: list[Listener]) -> None:
    responder = NoWorkerResponder(listeners, lambda: True, lambda: 60.0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(responder.run)
        with anyio.move_on_after(0.1) as waited:
            await answered(listeners[0], GET)
        assert waited.cancelled_caught
        tasks.cancel_scope.cancel()


async def test_clients_that_send_nothing_make_room_for_others(
    listeners: list[Listener], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(noworkers, "MOST", 1)
    monkeypatch.setattr(noworkers, "ANSWER_TIMEOUT", 0.1)
    responder = NoWorkerResponder(listeners, lambda: True, lambda: 0.0)
    with socket.create_connection(listeners[0].sock.getsockname(), 5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(responder.run)
            assert (await answered(listeners[0], GET)).startswith(b"HTTP/1.1 503 ")
            tasks.cancel_scope.cancel()
