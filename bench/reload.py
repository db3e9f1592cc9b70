"""New code under load: HUP five times, while clients ask on kept and on new connections and hold streams.

Every server is told to give its streams GRACE seconds, as by default some wait for them for ever. A *failed request* got no
whole answer of status 200, or no connection; the opening of a stream is one too. A *closed connection* is a kept one
that the server ended, with or without an answer that said so. A *cut stream* ended without a close frame, without a
last chunk, or inside of an event. A reload is over when every client has heard only the new code for QUIET seconds; what
counts is the time until its last old answer. What a client loses it makes anew after RETRY seconds.
"""

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from bench.meter import Result, metered
from bench.process import Failure, Tree
from bench.stats import percentile
from bench.websocket import HANDSHAKE, MASK

KEPT, NEW, STREAMS, WEBSOCKETS = 16, 8, 20, 20
RELOADS: Final = 5
THINK: Final = 0.02
"""Most seconds between two requests."""

GRACE: Final = 2
QUIET: Final = 1.0
RETRY: Final = 0.05
PATIENCE: Final = 10.0
"""Seconds for an answer; then the request has failed."""

RELOAD_TIMEOUT: Final = 40.0

REQUEST: Final = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n"
EVENTS: Final = b"GET /events HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n\r\n"
PING: Final = b"\x82\x80" + MASK
CLOSE: Final = 8

_Lost = (OSError, asyncio.IncompleteReadError, TimeoutError)


class Wrong(Exception):
    """An answer that is none."""


class Clients:
    """All of them, and what has happened to them."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.count: Counter[str] = Counter()
        self.heard: dict[str, bytes] = {}
        """The last version, by client; of those that ask."""
        self.old_at = 0.0
        """time.monotonic() when an old one was last heard."""
        self.version = b"0"
        self.stopping = False
        self._random = random.Random(1)

    def all(self) -> list[Awaitable[None]]:
        kinds: list[tuple[int, str, Callable[[str], Awaitable[None]]]] = [
            (KEPT, "kept", self._kept),
            (NEW, "new", self._new),
            (STREAMS, "stream", self._stream),
            (WEBSOCKETS, "websocket", self._websocket),
        ]
        return [self._live(f"{kind} {n}", client) for count, kind, client in kinds for n in range(count)]

    async def _live(self, name: str, client: Callable[[str], Awaitable[None]]) -> None:
        while not self.stopping:
            failed = self._lost()
            await client(name)
            if self._lost() > failed:
                await asyncio.sleep(RETRY)

    def _lost(self) -> int:
        return self.count["failed"] + self.count["cut"]

    def all_new(self) -> bool:
        return all(version == self.version for version in self.heard.values())

    # requests

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        try:
            async with asyncio.timeout(PATIENCE):
                return await asyncio.open_connection("127.0.0.1", self._port)
        except _Lost:
            self.count["failed"] += 1
            return None

    async def _head(self, reader: asyncio.StreamReader, status: bytes = b"200") -> bytes:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.split(b" ", 2)[1] != status:
            raise Wrong
        return head.lower()

    async def _ask(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection stays."""
        try:
            async with asyncio.timeout(PATIENCE):
                writer.write(REQUEST)
                head = await self._head(reader)
                size = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
                version = await reader.readexactly(size)
        except (*_Lost, Wrong):
            self.count["failed"] += 1
            return False
        self.count["asked"] += 1
        self.heard[name] = version
        if version != self.version:
            self.old_at = time.monotonic()
        return b"connection: close" not in head

    async def _kept(self, name: str) -> None:
        opened = await self._open()
        if opened is None:
            return
        reader, writer = opened
        try:
            while not self.stopping:
                kept = await self._ask(name, reader, writer)
                if kept:
                    await asyncio.sleep(self._random.uniform(0, THINK))
                if not kept or reader.at_eof() or reader.exception():
                    self.count["closed"] += 1
                    return
        finally:
            writer.close()

    async def _new(self, name: str) -> None:
        opened = await self._open()
        if opened is not None:
            await self._ask(name, *opened)
            opened[1].close()
            await asyncio.sleep(self._random.uniform(0, THINK))

    # streams

    async def _begin(
        self, request: bytes, status: bytes
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        opened = await self._open()
        if opened is None:
            return None
        try:
            async with asyncio.timeout(PATIENCE):
                opened[1].write(request)
                await self._head(opened[0], status)
        except (*_Lost, Wrong):
            self.count["failed"] += 1
            opened[1].close()
            return None
        return opened

    async def _stream(self, name: str) -> None:
        opened = await self._begin(EVENTS, b"200")
        if opened is None:
            return
        reader, writer = opened
        tail = b""
        try:
            while not self.stopping:
                async with asyncio.timeout(PATIENCE):
                    size = int(await reader.readuntil(b"\r\n"), 16)
                    data = (await reader.readexactly(size + 2))[:-2]
                if not size:
                    self.count["ended" if tail in (b"", b"\n\n") else "cut"] += 1
                    return
                tail = (tail + data)[-2:]
        except _Lost:
            self.count["cut"] += 1
        finally:
            writer.close()

    async def _websocket(self, name: str) -> None:
        opened = await self._begin(HANDSHAKE, b"101")
        if opened is None:
            return
        reader, writer = opened
        try:
            while not self.stopping:
                writer.write(PING)
                async with asyncio.timeout(PATIENCE):
                    first, size = await reader.readexactly(2)
                    payload = await reader.readexactly(size)
                if first & 15 == CLOSE:
                    writer.write(
                        b"\x88\x82" + MASK + bytes(a ^ b for a, b in zip(payload[:2], MASK, strict=False))
                    )
                    self.count["ended"] += 1
                    return
                await asyncio.sleep(0.05)
        except _Lost:
            self.count["cut"] += 1
        finally:
            writer.close()


async def reload(tree: Tree, clients: Clients, version: int) -> float:
    """Seconds until the last old answer."""
    clients.version = b"%d" % version
    tree.log.with_name("version").write_bytes(clients.version)
    began = clients.old_at = time.monotonic()
    tree.root.send_signal(signal.SIGHUP)
    while not clients.all_new() or time.monotonic() - clients.old_at < QUIET:
        if time.monotonic() - began > RELOAD_TIMEOUT:
            raise Failure(f"reload {version}: old answers after {RELOAD_TIMEOUT:g} s")
        await asyncio.sleep(0.01)
    return clients.old_at - began


async def _measure(tree: Tree) -> Result:
    clients = Clients(tree.port)
    running = asyncio.gather(*clients.all())
    try:
        async with asyncio.timeout(PATIENCE):
            while len(clients.heard) < KEPT + NEW:  # noqa: ASYNC110  # any of many clients may be the last
                await asyncio.sleep(0.01)
        with metered(tree) as result:
            times = []
            for number in range(RELOADS):
                times.append(await reload(tree, clients, number + 1))
                await asyncio.sleep(GRACE)  # the streams of the old code come to their end
        clients.stopping = True
        found = Counter(clients.count)
        await running
    finally:
        clients.stopping = True
        running.cancel()
    for what in ("failed", "closed", "cut", "ended", "asked"):
        result[what] = found[what]
    result["new"], result["newest"] = percentile(times, 50) * 1e3, max(times) * 1e3
    return result


def measure(tree: Tree, seconds: float) -> Result:
    return asyncio.run(_measure(tree))
