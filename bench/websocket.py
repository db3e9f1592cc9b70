"""A WebSocket client that costs little: the handshake and one fixed message of 64 bytes, compared byte by byte."""

import asyncio
import time
from typing import Final, cast

from bench.meter import Result, metered, per_unit
from bench.process import Failure, Tree
from bench.stats import percentile

ECHO_CLIENTS: Final = 64
WARM, IDLE = 100, 1000
"""Connections before the first look at the memory, and between the two looks."""

PAYLOAD: Final = bytes(range(64))
MASK: Final = b"\x37\xfa\x21\x3d"
SENT: Final = b"\x82\xc0" + MASK + bytes(byte ^ MASK[i % 4] for i, byte in enumerate(PAYLOAD))
EXPECTED: Final = b"\x82\x40" + PAYLOAD
HANDSHAKE: Final = (
    b"GET /ws HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
ACCEPT: Final = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""RFC 6455, 1.3: what belongs to that key."""


class Client(asyncio.Protocol):
    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = loop.create_future()
        self.latencies: list[float] = []
        self.running = False
        self.failed = False
        self._buffer = b""
        self._sent = 0.0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by birth
        self._transport.write(HANDSHAKE)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self.ready.done():
            self._handshake()
        elif len(self._buffer) >= len(EXPECTED):
            self._answer()

    def _handshake(self) -> None:
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        if separator:
            self._buffer = rest
            if head.startswith(b"HTTP/1.1 101") and ACCEPT in head:
                self.ready.set_result(None)
            else:
                self.ready.set_exception(Failure(f"WebSocket handshake: {head[:60]!r}"))

    def _answer(self) -> None:
        """Compared as a whole; what is not the echo (a ping, say) ends this client and is counted."""
        if self._buffer != EXPECTED:
            self.failed, self.running = True, False
            return
        self._buffer = b""
        self.latencies.append(time.perf_counter() - self._sent)
        if self.running:
            self.ask()

    def ask(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(SENT)

    def connection_lost(self, exc: Exception | None) -> None:
        self.failed = self.failed or self.running
        if not self.ready.done():
            self.ready.set_exception(Failure("the WebSocket was closed during its handshake"))

    def close(self) -> None:
        self.running = False
        self._transport.close()


async def connect(port: int, count: int) -> list[Client]:
    """A few at a time, so that no server's backlog is the measure."""
    clients: list[Client] = []
    loop = asyncio.get_running_loop()
    while len(clients) < count:
        some = [
            loop.create_connection(Client, "127.0.0.1", port) for _ in range(min(50, count - len(clients)))
        ]
        batch = [protocol for _, protocol in await asyncio.gather(*some)]
        async with asyncio.timeout(20):
            await asyncio.gather(*(client.ready for client in batch))
        clients += batch
    return clients


async def once(client: Client) -> None:
    """One echo, checked."""
    client.ask()
    for _ in range(500):
        if client.latencies or client.failed:
            break
        await asyncio.sleep(0.01)
    if client.failed or not client.latencies:
        raise Failure("the WebSocket didn't echo what it got")
    client.latencies.clear()


async def _echo(tree: Tree, seconds: float) -> Result:
    clients = await connect(tree.port, ECHO_CLIENTS)
    await once(clients[0])
    with metered(tree) as result:
        for client in clients:
            client.running = True
            client.ask()
        await asyncio.sleep(seconds)
        for client in clients:
            client.running = False
    latencies = [latency for client in clients for latency in client.latencies]
    result["errors"] = sum(client.failed for client in clients)
    for client in clients:
        client.close()
    await asyncio.sleep(0.1)
    if not latencies:
        raise Failure("no WebSocket message was echoed")
    result["rate"] = len(latencies) / result["seconds"]
    result["p50"], result["p99"] = (percentile(latencies, percent) * 1e3 for percent in (50, 99))
    per_unit(result, len(latencies))
    return result


async def _idle(tree: Tree) -> Result:
    clients = await connect(tree.port, WARM)
    await once(clients[0])
    await asyncio.sleep(0.3)
    before = tree.pss()
    clients += await connect(tree.port, IDLE)
    await asyncio.sleep(0.5)
    after = tree.pss()
    await once(clients[-1])
    for client in clients:
        client.close()
    await asyncio.sleep(0.1)
    return {"kib": (after - before) / IDLE / 1024, "errors": float(sum(client.failed for client in clients))}


def echo(tree: Tree, seconds: float) -> Result:
    return asyncio.run(_echo(tree, seconds))


def idle(tree: Tree, seconds: float) -> Result:
    return asyncio.run(_idle(tree))
