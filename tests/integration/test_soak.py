"""Streams and WebSockets that are left in every way, many of them: afterwards nothing of them lives. The collector is
off.

A few hundred each time; with HSRV_TEST_LONG=1 20,000 of either.
"""

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from itertools import product
from pathlib import Path

import pytest

from hsrv.testing import LiveServer
from tests.apps.raw import recorded
from tests.conftest import LONG
from tests.fuzz.frames import deflated, frame
from tests.integration.conftest import Serve, reasons
from tests.integration.wire import Wire, eventually, request, upgrade

COUNT = 20_000 if LONG else 200
AT_ONCE = 32
SILENT_AT_ONCE = 256
"""Of those that do nothing but wait."""

# Not Litestar's ServerSentEvent: its iterator and the generator that this makes are a cycle of their own, so what is
# inside ends with the next collection.
FRAMEWORKS = ("raw", "starlette", "plain", "fastapi", "sse-starlette", "django", "litestar", "fails")
ROLES = ("pool", "worker")
PACES = ("0", "0.01")
WAYS = ("fin", "rst", "half", "unread", "amid the request", "head")

KINDS = tuple(product(WAYS, PACES, ROLES, FRAMEWORKS))

SILENT = ("sink", "no pong")
WEBSOCKET_KINDS = (
    *product(
        ("sink", "echo"),
        (
            "close",
            "close at once",
            "fin",
            "rst",
            "amid a frame",
            "amid a message",
            "amid a compressed message",
        ),
    ),
    *product(("talks",), ("fin", "rst", "close at once")),
    ("raises", "message"),
    ("returns", "read"),
    ("raises-early", "read"),
    ("refuses", "read"),
    ("refuses", "rst"),
    ("denies", "read"),
    ("sink", "wrong frame"),
    SILENT,
)
"""The application, and how it is left."""

DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate"
CLOSE = frame(0x88, b"\x03\xe8")
TEXT = frame(0x81, b"text")
LAST = {
    "close": CLOSE,
    "close at once": TEXT + CLOSE,
    "amid a frame": TEXT + frame(0x81, b"text" * 1000)[:1000],
    "amid a message": frame(0x01, b"text" * 1000),
    "amid a compressed message": frame(0x41, deflated(b"text" * 1000)),
    "message": TEXT,
    "wrong frame": b"\x81\x01a",
}
"""What a client sends before it leaves, if anything."""

WAITS = ("close", "message", "read", "wrong frame")
"""Ways in which it answers the end, and waits for it."""


def alive(server: LiveServer, role: str) -> dict[str, int]:
    with Wire(server.host, server.port) as wire:
        found: dict[str, int] = wire.get(f"/alive/{role}").json
        return found


async def stream(server: LiveServer, number: int) -> None:
    way, every, role, name = KINDS[number % len(KINDS)]
    method = "HEAD" if way == "head" else "POST" if way == "amid the request" else "GET"
    chunks = [] if method != "POST" else ["Transfer-Encoding: chunked"]
    asked = request(f"/{name}/{role}?key={number}&every={every}", *chunks, method=method)
    reader, writer = await asyncio.open_connection(server.host, server.port)
    try:
        writer.write(asked)
        if way in ("fin", "rst", "half"):
            await reader.readuntil(b"event")
        elif way == "head":
            await reader.readuntil(b"\r\n\r\n")
        if way == "half":
            writer.write_eof()
            await reader.read()
        elif way == "rst":
            reset(writer)
    except (OSError, asyncio.IncompleteReadError):
        assert name == "fails" or way == "half"  # what is cut is reset
    finally:
        writer.close()


def reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def websocket(server: LiveServer, number: int) -> None:
    name, way = WEBSOCKET_KINDS[number % len(WEBSOCKET_KINDS)]
    reader, writer = await asyncio.open_connection(server.host, server.port)
    try:
        writer.write(upgrade(f"/{name}/pool?{number}", DEFLATE))
        if way != "read":
            await reader.readuntil(b"\r\n\r\n")
        writer.write(LAST.get(way, b""))
        if way == "rst":
            reset(writer)
        elif way == "no pong":
            await reader.read()
        elif way in WAITS:
            while await reader.read(1000):
                writer.write(CLOSE)
    except ConnectionError:
        assert way in ("message", "no pong")  # what fails is reset
    finally:
        writer.close()


async def crowd(
    live: Callable[[LiveServer, int], Awaitable[None]],
    server: LiveServer,
    numbers: Iterable[int],
    at_once: int = AT_ONCE,
) -> None:
    left = iter(numbers)

    async def some() -> None:
        for number in left:
            async with asyncio.timeout(30):
                await live(server, number)

    await asyncio.gather(*(some() for _ in range(at_once)))


async def streams(server: LiveServer, count: int) -> None:
    await crowd(stream, server, range(count))


async def websockets(server: LiveServer, count: int) -> None:
    silent = range(WEBSOCKET_KINDS.index(SILENT), count, len(WEBSOCKET_KINDS))
    others = (number for number in range(count) if number not in silent)
    await asyncio.gather(crowd(websocket, server, silent, SILENT_AT_ONCE), crowd(websocket, server, others))


@pytest.mark.timeout(600)
def test_nothing_lives_of_streams_that_were_left(serve: Serve) -> None:
    server = serve(
        "tests.apps.leaving:app",
        workers=1,
        preload="app",
        stream="/*/pool",
        no_stream="/*/worker",
        worker_concurrency=1000,
        access_log=False,
    )
    asyncio.run(streams(server, len(KINDS)))  # what a framework makes once, it has made
    before = {role: settled(server, role) for role in ROLES}
    for role in ROLES:
        assert {name: before[role][name] for name in ("Exchange", "generators")} == {
            "Exchange": 1,
            "generators": 0,
        }
    asyncio.run(streams(server, COUNT))
    for role in ROLES:
        eventually(partial(alive_again, server, role, before[role]), f"{before[role]} in the {role}")


AT_ONCE_OVER = {"ws_ping_interval": 0.3, "ws_ping_timeout": 0.3, "stream_grace": 0, "stream": "/*/pool"}


@pytest.mark.timeout(600)
def test_nothing_lives_of_websockets_that_were_left(serve: Serve, record: Path) -> None:
    server = serve("tests.apps.leaving_ws:app", workers=1, access_log=False, **AT_ONCE_OVER)
    asyncio.run(websockets(server, len(WEBSOCKET_KINDS) - 1))  # all but the silent
    eventually(
        lambda: no_websocket_lives(server), "all of them are over: the last ones when their ping times out"
    )
    before = settled(server, "pool")
    asyncio.run(websockets(server, COUNT))
    eventually(partial(alive_again, server, "pool", before), f"{before} in the pool")
    counted = reasons(server)
    assert counted["ping_timeout"] >= COUNT // len(WEBSOCKET_KINDS)
    assert counted["protocol_error"] >= COUNT // len(WEBSOCKET_KINDS)
    assert counted["client_gone"] >= COUNT // len(WEBSOCKET_KINDS)
    left_by_a_stop(server)
    left = words_of_the_pool(record)
    for kind in left:
        assert left[kind] <= (before[kind] if kind in ("tasks", "descriptors") else 0), left


def left_by_a_stop(server: LiveServer) -> None:
    """Some are there when the server stops, of which some applications do not hear it."""
    clients = []
    for number, name in enumerate(("sink", "echo", "deaf", "talks", "deaf") * 4):
        wire = Wire(server.host, server.port)
        wire.send(upgrade(f"/{name}/pool?{number}", DEFLATE))
        assert wire.head().status == 101
        clients.append(wire)
    assert server.stop() == 0
    for wire in clients:
        wire.sock.close()


def words_of_the_pool(record: Path) -> dict[str, int]:
    """What lived in it when it said its last."""
    (line,) = (line for line in recorded(record) if line.startswith("left pool "))
    found: dict[str, int] = json.loads(line.removeprefix("left pool "))
    return found


def alive_again(server: LiveServer, role: str, before: dict[str, int]) -> bool:
    return alive(server, role) == before


def no_websocket_lives(server: LiveServer) -> bool:
    found = alive(server, "pool")
    return found["WebSocketSession"] == found["WebSocketLink"] == found["FrameCodec"] == 0


def settled(server: LiveServer, role: str) -> dict[str, int]:
    """What lives when only whoever asks does."""

    def only_this() -> dict[str, int] | None:
        found = alive(server, role)
        ones = found["Exchange"], found["HTTPConnection"], found["Conn"]
        return found if ones == (1, 1, 1) and not found["generators"] else None

    found: dict[str, int] = eventually(only_this, f"everything of the {role} has ended")
    return found
