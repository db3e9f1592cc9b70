"""Clients that take their time. A process of its own, so that what it costs is not taken for the server's slowness:

    python -m tests.siege.besiegers HOST PORT KIND=COUNT ...

Prints a line of JSON when all are in place, and one when the last has been cut. Whoever is cut comes back, until a line
on standard input says that it is enough.
"""

import asyncio
import contextlib
import json
import random
import socket
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop

INTERVAL = 2.0
"""Seconds between two drops of a slow client."""

ARRIVALS = 100
"""Clients that connect at the same time: more would only measure the accept queue."""

PATIENCE = 300.0
"""Seconds. One that was not cut by then makes the siege fail."""

BLOCKS = 160
"""Of 64 KiB: a response of 10 MB."""


class Besieger:
    """One client, cut once or more often."""

    def __init__(self, siege: "Besiegers", kind: str, number: int) -> None:
        self._siege = siege
        self.kind = kind
        self._number = number
        self._dice = random.Random(f"{kind} {number}")

    async def live(self) -> None:
        while True:
            began = time.monotonic()
            end = await self._attack_once()
            self._siege.cut(self.kind, end, time.monotonic() - began)
            if self._siege.enough.is_set():
                return

    async def _attack_once(self) -> str:
        sock = await self._connect()
        try:
            async with asyncio.timeout(PATIENCE):
                await KINDS[self.kind](self, sock)
                return await self._see_the_end(sock)
        except TimeoutError:
            return "never cut"
        except ConnectionError:
            return "reset"
        finally:
            sock.close()

    async def _connect(self) -> socket.socket:
        async with self._siege.arrivals:
            sock = socket.socket()
            sock.setblocking(False)
            if self.kind == "slow readers":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            await self._siege.loop.sock_connect(sock, self._siege.address)
        return sock

    async def _send(self, sock: socket.socket, data: bytes) -> None:
        await self._siege.loop.sock_sendall(sock, data)

    async def _see_the_end(self, sock: socket.socket) -> str:
        """The status of the last answer, or how it ended without one."""
        data = b""
        while piece := await self._siege.loop.sock_recv(sock, 65536):
            data = piece
        return data[9:12].decode() if data.startswith(b"HTTP/1.1 ") else "closed"

    async def _drip(self, sock: socket.socket, data: bytes) -> None:
        """Send a byte now and then until something comes back, which is left unread."""
        self._siege.arrived(self)
        while True:
            await self._send(sock, data)
            await asyncio.sleep(INTERVAL * self._dice.uniform(0.8, 1.2))
            with contextlib.suppress(BlockingIOError):
                sock.recv(1, socket.MSG_PEEK)
                return

    async def slow_head(self, sock: socket.socket) -> None:
        await self._send(sock, b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ")
        await self._drip(sock, b"x")

    async def slow_body(self, sock: socket.socket) -> None:
        """Half of them a small one, which the server reads first, and half a large one, which the application reads."""
        length = 1000 if self._number % 2 else 2_000_000
        await self._send(sock, b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % length)
        await self._drip(sock, b"x")

    async def slow_reader(self, sock: socket.socket) -> None:
        """A response of 10 MB, of which a little is taken now and then: until the connection is reset."""
        await self._send(sock, b"GET /blocks?n=%d HTTP/1.1\r\nHost: a\r\n\r\n" % BLOCKS)
        self._siege.arrived(self)
        while await self._siege.loop.sock_recv(sock, 50):
            await asyncio.sleep(INTERVAL)
            if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise ConnectionResetError  # what came before it would be delivered first, for minutes

    async def idle(self, sock: socket.socket) -> None:
        """Half of them after a request, half without one."""
        if self._number % 2:
            await self._send(sock, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            while not (await self._siege.loop.sock_recv(sock, 65536)).endswith(b"}"):
                pass
        self._siege.arrived(self)


KINDS: dict[str, Callable[[Besieger, socket.socket], Awaitable[None]]] = {
    "slow heads": Besieger.slow_head,
    "slow bodies": Besieger.slow_body,
    "slow readers": Besieger.slow_reader,
    "idle": Besieger.idle,
}


class Besiegers:
    """All of them."""

    def __init__(self, address: tuple[str, int], counts: dict[str, int]) -> None:
        self.address = address
        self._everybody = [Besieger(self, kind, n) for kind, count in counts.items() for n in range(count)]
        self._missing = set(self._everybody)
        self.enough = asyncio.Event()
        self.arrivals = asyncio.Semaphore(ARRIVALS)
        self._ends: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._longest: Counter[str] = Counter()
        """Seconds until the last one of a kind was cut, rounded up."""

    async def run(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.loop.add_reader(0, self._hear)
        async with asyncio.TaskGroup() as tasks:
            for one in self._everybody:
                tasks.create_task(one.live())
        say({"ends": self._ends, "longest": self._longest})

    def _hear(self) -> None:
        self.loop.remove_reader(0)
        self.enough.set()

    def arrived(self, besieger: Besieger) -> None:
        if besieger in self._missing:
            self._missing.remove(besieger)
            if not self._missing:
                say({"in place": len(self._everybody)})

    def cut(self, kind: str, end: str, seconds: float) -> None:
        self._ends[kind][end] += 1
        self._longest[kind] = max(self._longest[kind], int(seconds) + 1)


def say(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main() -> None:
    host, port, *kinds = sys.argv[1:]
    counts = {kind: int(count) for kind, _, count in (text.partition("=") for text in kinds)}

    async def run() -> None:
        await Besiegers((host, int(port)), counts).run()

    uvloop.run(run())


if __name__ == "__main__":
    main()
