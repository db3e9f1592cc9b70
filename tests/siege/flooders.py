"""Clients that do their worst. A process of its own, as `tests.siege.besiegers`:

    python -m tests.siege.flooders HOST PORT SECONDS KIND=COUNT ...

Prints a line of JSON when all are connected, and one at the end: how often each kind was connected, and how the server
ended it.
"""

import asyncio
import contextlib
import json
import random
import socket
import struct
import sys
import time
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable

import uvloop

from tests.fuzz.frames import frame

UPGRADE = (
    b"GET /ws?sink HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
)
COMPUTES = b"GET /burn?s=0.02 HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n"
UPLOAD = b"POST /drop HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

MESSAGE = 16 * 1024 * 1024

PATIENCE = 10.0
"""Seconds for which one that sends nothing more waits for its end."""


def packed(data: bytes) -> bytes:
    deflater = zlib.compressobj(9, wbits=-15)
    return (deflater.compress(data) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]


BOMB = packed(b"x" * (MESSAGE - 4) + "\U0001f600".encode())
"""16 KB that inflate to a text of 16 MiB, which Python stores in 64."""

_NEWS = random.Random(1)
LARGEST = packed(
    b"".join(b"0123456789abcdef" * 40 + _NEWS.randbytes(4).hex().encode() for _ in range(1500))
    + "\U0001f600".encode()
)
"""Almost 1 MiB of text, as dense as is accepted."""

SMALLER_BOMB = packed(b"x" * (1 << 20))

PINGS = frame(0x89, b"") * 10_000
EMPTY_FRAGMENTS = frame(0x01, b"a") + frame(0x00, b"") * 10_000
SMALL_FRAGMENTS = frame(0x01, b"a") + frame(0x00, b"a") * 10_000
SMALL_CHUNKS = b"1\r\na\r\n" * 10_000


class Flooder:
    """One client, again and again."""

    def __init__(self, flood: "Flood", kind: str, number: int) -> None:
        self._flood = flood
        self._number = number
        self.kind = kind

    async def live(self) -> None:
        while time.monotonic() < self._flood.end:
            end = "refused"
            try:
                end = await self._attack_once()
            except ConnectionAbortedError:
                end = "left"
            except OSError:
                pass
            self._flood.ends[f"{self.kind}: {end}"] += 1

    async def _attack_once(self) -> str:
        loop = self._flood.loop
        with socket.socket() as sock:
            sock.setblocking(False)
            await loop.sock_connect(sock, self._flood.address)
            if self.kind not in PLAIN:
                await loop.sock_sendall(sock, UPGRADE)
                if not (await loop.sock_recv(sock, 4096)).startswith(b"HTTP/1.1 101"):
                    return "no upgrade"
            self._flood.connected(self)
            with contextlib.suppress(ConnectionResetError, BrokenPipeError, TimeoutError):
                async with asyncio.timeout(max(0.0, self._flood.end - time.monotonic())):
                    await KINDS[self.kind](self, sock)
            return await self._see_the_end(sock)

    async def _see_the_end(self, sock: socket.socket) -> str:
        """The code of the close frame, if there was one among the pongs."""
        data = b""
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(max(0.5, self._flood.end - time.monotonic())):
                while piece := await self._flood.loop.sock_recv(sock, 65536):
                    data = (data + piece)[-200:]
        for code in (1008, 1009, 1013):
            if b"\x03" + bytes([code - 768]) in data:
                return str(code)
        return "closed"

    async def unfinished(self, sock: socket.socket) -> None:
        """A message that does not end: a half leaves at once, a half stays."""
        await self._flood.loop.sock_sendall(sock, frame(0x41, self._text()))
        if self._number % 2:
            await asyncio.sleep(PATIENCE)
        else:
            raise ConnectionAbortedError

    def _text(self) -> bytes:
        """A half is too large, a half as large as may be."""
        return BOMB if self._number % 4 < 2 else LARGEST

    async def uncompressed(self, sock: socket.socket) -> None:
        """The same, on the wire as large as in memory."""
        head = frame(0x02, b"")[:1] + b"\xff" + MESSAGE.to_bytes(8, "big") + bytes(4)
        await self._flood.loop.sock_sendall(sock, head + bytes(MESSAGE // 2))
        await asyncio.sleep(PATIENCE)

    async def _repeat(self, sock: socket.socket, data: bytes) -> None:
        while True:
            await self._flood.loop.sock_sendall(sock, data)

    async def pings(self, sock: socket.socket) -> None:
        await self._repeat(sock, PINGS)

    async def empty_fragments(self, sock: socket.socket) -> None:
        await self._flood.loop.sock_sendall(sock, EMPTY_FRAGMENTS)
        await self._repeat(sock, EMPTY_FRAGMENTS[7:])

    async def small_fragments(self, sock: socket.socket) -> None:
        await self._flood.loop.sock_sendall(sock, SMALL_FRAGMENTS)
        await self._repeat(sock, SMALL_FRAGMENTS[7:])

    async def computing(self, sock: socket.socket) -> None:
        """Requests that say they are streams, and compute."""
        while True:
            await self._flood.loop.sock_sendall(sock, COMPUTES)
            if not await self._flood.loop.sock_recv(sock, 65536):
                return

    async def small_chunks(self, sock: socket.socket) -> None:
        """Leaves with a reset: else what the kernel holds of it, some megabytes, would be read for seconds after."""
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await self._flood.loop.sock_sendall(sock, UPLOAD)
        await self._repeat(sock, SMALL_CHUNKS)

    async def bombs(self, sock: socket.socket) -> None:
        """Whole messages: a half of 16 MiB, a half of one."""
        await self._repeat(sock, frame(0xC1, BOMB if self._number % 2 else SMALLER_BOMB))


KINDS: dict[str, Callable[[Flooder, socket.socket], Awaitable[None]]] = {
    "unfinished": Flooder.unfinished,
    "uncompressed": Flooder.uncompressed,
    "pings": Flooder.pings,
    "empty fragments": Flooder.empty_fragments,
    "small fragments": Flooder.small_fragments,
    "bombs": Flooder.bombs,
    "computing": Flooder.computing,
    "small chunks": Flooder.small_chunks,
}

PLAIN = {"computing", "small chunks"}
"""Those that are no WebSockets."""


class Flood:
    """All of them."""

    def __init__(self, address: tuple[str, int], seconds: float, counts: dict[str, int]) -> None:
        self.address = address
        self.end = time.monotonic() + seconds
        self.ends: Counter[str] = Counter()
        self._everybody = [Flooder(self, kind, n) for kind, count in counts.items() for n in range(count)]
        self._missing = set(self._everybody)

    async def run(self) -> None:
        self.loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            for one in self._everybody:
                tasks.create_task(one.live())
        say(self.ends)

    def connected(self, one: Flooder) -> None:
        if one in self._missing:
            self._missing.remove(one)
            if not self._missing:
                say({"in place": len(self._everybody)})


def say(what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main() -> None:
    host, port, seconds, *kinds = sys.argv[1:]
    counts = {kind: int(count) for kind, _, count in (text.partition("=") for text in kinds)}

    async def run() -> None:
        await Flood((host, int(port)), float(seconds), counts).run()

    uvloop.run(run())


if __name__ == "__main__":
    main()
