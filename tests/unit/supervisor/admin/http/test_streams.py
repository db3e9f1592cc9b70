"""Answers that go on, at the admin address: who watches, leaves or fails costs nobody else anything."""

import socket
import struct
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import anyio.to_thread
import pytest

from hsrv.supervisor.admin.http import server as module
from hsrv.supervisor.admin.http.guard import Guard
from hsrv.supervisor.admin.http.route import AdminRoute, Answer, Request, Response, Stream
from hsrv.supervisor.admin.http.server import AdminServer
from hsrv.supervisor.sockets.listeners import close_listeners, open_listeners

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


closed: list[str] = []


async def endless() -> AsyncGenerator[bytes, None]:
    try:
        while True:
            yield b"x" * 65536
            await anyio.sleep(0.001)
    finally:
        closed.append("endless")


async def failing() -> AsyncGenerator[bytes, None]:
    yield b"begun"
    raise ValueError("a defect")


@asynccontextmanager
async def serving(
    *streams: Callable[[], AsyncGenerator[bytes, None]],
) -> AsyncIterator[tuple[AdminServer, int]]:
    def route(make: Callable[[], AsyncGenerator[bytes, None]]) -> AdminRoute:
        async def handle(request: Request) -> Answer:
            return Stream(make(), "text/event-stream")

        return AdminRoute(handle)

    async def fine(request: Request) -> Answer:
        return Response(b"fine")

    closed.clear()
    listeners = open_listeners(("127.0.0.1:0",), backlog=64, unix_mode=0o600)
    routes = {f"/{make.__name__}": route(make) for make in streams}
    server = AdminServer(listeners, {**routes, "/": AdminRoute(fine)}, Guard())
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.serve)
            yield server, listeners[0].sock.getsockname()[1]
            tasks.cancel_scope.cancel()
    finally:
        close_listeners(listeners)


def asked(port: int, path: str) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=20)
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    return sock


def whole(port: int, path: str) -> bytes:
    end = time.monotonic() + 20
    with asked(port, path) as sock:
        data = b""
        while more := sock.recv(65536):
            data += more
            assert time.monotonic() < end, "it never ends"
        return data


async def until(condition: Callable[[], object]) -> None:
    with anyio.fail_after(20):
        while not condition():  # noqa: ASYNC110  # somebody else changes it
            await anyio.sleep(0.01)


async def test_a_viewer_that_resets_is_forgotten() -> None:
    async with serving(endless) as (server, port):
        for _ in range(5):
            sock = asked(port, "/endless")
            assert await anyio.to_thread.run_sync(sock.recv, 100)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
        await until(lambda: len(closed) == 5 and server.streams == 0)
        assert (await anyio.to_thread.run_sync(whole, port, "/")).endswith(b"fine")


async def test_a_viewer_that_takes_nothing_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEND_TIMEOUT", 0.2)
    async with serving(endless) as (server, port):
        with asked(port, "/endless"):
            await until(lambda: server.streams == 1)
            await until(lambda: server.streams == 0)
        assert closed == ["endless"]
        assert (await anyio.to_thread.run_sync(whole, port, "/")).endswith(b"fine")


async def test_a_stream_that_fails_is_cut_and_costs_nobody_else_anything() -> None:
    async with serving(failing) as (server, port):
        answer = await anyio.to_thread.run_sync(whole, port, "/failing")
        assert b"begun" in answer
        assert not answer.endswith(b"0\r\n\r\n"), "it is not made to look complete"
        assert (await anyio.to_thread.run_sync(whole, port, "/")).endswith(b"fine")
        assert server.streams == 0


async def test_more_viewers_than_there_may_be_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_STREAMS", 2)
    async with serving(endless) as (server, port):
        with asked(port, "/endless"), asked(port, "/endless"):
            await until(lambda: server.streams == 2)
            answer = await anyio.to_thread.run_sync(whole, port, "/endless")
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert (await anyio.to_thread.run_sync(whole, port, "/")).endswith(b"fine")
