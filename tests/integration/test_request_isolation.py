"""Thousands of requests, each with a secret, in whatever way a connection can be served: nobody sees another's.

The secret lies in a context variable, the log context, `scope["state"]`, a variable of the thread and the cache of a
dependency. Who looks is the application, before it leaves its own there and after its response.
"""

import asyncio
import contextlib
import json
import random
import socket
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from typing import Any

from hsrv.testing import LiveServer
from tests.conftest import LONG
from tests.integration.conftest import Serve, reload
from tests.integration.wire import masked, request, upgrade

REQUESTS = 5000 if LONG else 600
CLIENTS = 24
RELOADS = 5 if LONG else 1
PATIENCE = 120.0
SMALL_WINDOW = 8192

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter


class Crowd:
    """What all clients have in common."""

    def __init__(self, server: LiveServer) -> None:
        self.server = server
        self.answered: Counter[str] = Counter()
        self._secrets = count()

    def secret(self) -> str:
        return f"secret{next(self._secrets)}"

    def check(self, kind: str, mine: str, answer: Any) -> None:
        assert answer == {"me": mine, "before": [], "after": [mine, mine]}, kind
        self.answered[kind] += 1


async def body(reader: Reader) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    assert head.startswith(b"http/1.1 200 "), head
    if b"transfer-encoding: chunked" not in head:
        return await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
    whole = b""
    while size := int(await reader.readline(), 16):
        whole += (await reader.readexactly(size + 2))[:-2]
    await reader.readline()
    return whole


async def one(crowd: Crowd, kind: str, path: str, reader: Reader, writer: Writer, *fields: str) -> None:
    mine = crowd.secret()
    writer.write(request(f"{path}?{mine}", *fields))
    crowd.check(kind, mine, json.loads((await body(reader)).removeprefix(b"data: ")))


async def kept(crowd: Crowd, reader: Reader, writer: Writer) -> None:
    for path in ("/who", "/log", "/dep/loop", "/who", "/dep/thread", "/who") * 3:
        await one(crowd, "kept", path, reader, writer)


async def parked(crowd: Crowd, reader: Reader, writer: Writer) -> None:
    for _ in range(3):
        await one(crowd, "parked", "/who", reader, writer)
        await asyncio.sleep(0.8)


async def pipelined(crowd: Crowd, reader: Reader, writer: Writer) -> None:
    mine = [crowd.secret() for _ in range(20)]
    writer.write(b"".join(request(f"/who?{secret}") for secret in mine))
    for secret in mine:
        crowd.check("pipelined", secret, json.loads(await body(reader)))


async def handed_off(crowd: Crowd, reader: Reader, writer: Writer) -> None:
    for _ in range(4):
        await one(crowd, "handed off", "/sse", reader, writer, "Accept: text/event-stream")
        await one(crowd, "given back", "/who", reader, writer)


async def slow_reader(crowd: Crowd, reader: Reader, writer: Writer) -> None:
    mine = crowd.secret()
    writer.write(request(f"/big?{mine}"))
    await asyncio.sleep(0.2)
    crowd.check("slow reader", mine, json.loads(await body(reader)))
    await one(crowd, "kept", "/who", reader, writer)


async def slow_upload(crowd: Crowd, reader: Reader, writer: Writer) -> None:
    for _ in range(3):
        mine = crowd.secret()
        fields = ("Content-Length: 6", "Expect: 100-continue")
        writer.write(request(f"/who?{mine}", *fields, method="POST"))
        await reader.readuntil(b"\r\n\r\n")
        for part in (b"abc", b"def"):
            await asyncio.sleep(0.05)
            writer.write(part)
        crowd.check("slow upload", mine, json.loads(await body(reader)))


async def websocket(crowd: Crowd, reader: Reader, writer: Writer) -> None:
    mine = crowd.secret()
    writer.write(upgrade(f"{random.choice(('/ws', '/dep/ws'))}?{mine}"))
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    for _ in range(20):
        writer.write(masked(1, b"tell"))
        head = await reader.readexactly(2)
        size = head[1] if head[1] < 126 else int.from_bytes(await reader.readexactly(2), "big")
        crowd.check("websocket", mine, json.loads(await reader.readexactly(size)))


Kind = Callable[[Crowd, Reader, Writer], Awaitable[None]]
KINDS: list[Kind] = [kept, kept, parked, pipelined, handed_off, slow_reader, slow_upload, websocket]


async def client(crowd: Crowd, kinds: Iterator[Kind]) -> None:
    while crowd.answered.total() < REQUESTS:
        kind = next(kinds)
        sock = socket.socket()
        sock.setblocking(False)
        if kind is slow_reader:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_WINDOW)
        await asyncio.get_running_loop().sock_connect(sock, (crowd.server.host, crowd.server.port))
        reader, writer = await asyncio.open_connection(sock=sock)
        try:
            await kind(crowd, reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def visit(crowd: Crowd) -> None:
    kinds = (KINDS[at % len(KINDS)] for at in count())
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        for _ in range(CLIENTS):
            tasks.create_task(client(crowd, kinds))


def test_nobody_sees_anothers_secret_while_the_code_is_reloaded(serve: Serve) -> None:
    server = serve(
        "tests.apps.secret_keeping:app", workers=2, worker_concurrency=2, park_after=0.3, queue_timeout=60
    )
    crowd = Crowd(server)
    reloads = threading.Thread(target=lambda: [reload(server, wait=True) for _ in range(RELOADS)])
    reloads.start()
    try:
        asyncio.run(visit(crowd))
    finally:
        reloads.join()
    assert server.stop() == 0
    kinds = {
        "kept",
        "parked",
        "pipelined",
        "handed off",
        "given back",
        "slow reader",
        "slow upload",
        "websocket",
    }
    assert {kind for kind, times in crowd.answered.items() if times >= 3} == kinds
    logged = [line for line in server.logs if "secret" in line]
    assert {line["event"] for line in logged} == {"logged"}, "no line of ours names a client's secret"
    assert [line for line in logged if line["secret"] != line["mine"]] == []
    assert len({line["request_id"] for line in logged}) == len(logged) > 20
    assert [line for line in server.logs if line.get("level") == "error"] == []
