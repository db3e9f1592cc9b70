"""Streams that are left in every way, many of them: afterwards nothing of them lives. The collector is off.

A few hundred each time; with HSRV_TEST_LONG=1 20,000.
"""

import asyncio
import socket
import struct
from functools import partial
from itertools import product

import pytest

from hsrv.testing import LiveServer
from tests.conftest import LONG
from tests.integration.conftest import Serve
from tests.integration.wire import Wire, eventually, request

STREAMS = 20_000 if LONG else 320
AT_ONCE = 32

# Not Litestar's ServerSentEvent: its iterator and the generator that this makes are a cycle of their own, so what is
# inside ends with the next collection.
FRAMEWORKS = ("raw", "starlette", "plain", "fastapi", "sse-starlette", "django", "litestar", "fails")
ROLES = ("pool", "worker")
PACES = ("0", "0.01")
WAYS = ("fin", "rst", "half", "unread", "amid the request", "head")

KINDS = tuple(product(WAYS, PACES, ROLES, FRAMEWORKS))


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
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except (OSError, asyncio.IncompleteReadError):
        assert name == "fails" or way == "half"  # what is cut is reset
    finally:
        writer.close()


async def streams(server: LiveServer, count: int) -> None:
    numbers = iter(range(count))

    async def some() -> None:
        for number in numbers:
            async with asyncio.timeout(30):
                await stream(server, number)

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))


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
    asyncio.run(streams(server, STREAMS))
    for role in ROLES:
        eventually(partial(alive_again, server, role, before[role]), f"{before[role]} in the {role}")


def alive_again(server: LiveServer, role: str, before: dict[str, int]) -> bool:
    return alive(server, role) == before


def settled(server: LiveServer, role: str) -> dict[str, int]:
    """What lives when only whoever asks does."""

    def only_this() -> dict[str, int] | None:
        found = alive(server, role)
        return (
            found if found["Exchange"] == found["HTTPConnection"] == 1 and not found["generators"] else None
        )

    found: dict[str, int] = eventually(only_this, f"everything of the {role} has ended")
    return found
