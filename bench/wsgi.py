"""WSGI under what sync servers suffer from: slow clients, and streams beside work.

`slow`: what 16 ordinary clients get, one request after the other, while 8 read a response of 1 MiB slowly and 8 send a body of 64 KiB slowly.
`streams`: how late the ticks of 64 event streams are beside 8 clients that ask for 200 ms of pure-Python work over and over.
"""

import asyncio
import contextlib
import socket
import time
from typing import Final

from bench.fairness import client
from bench.lateness import stream
from bench.meter import Result, metered
from bench.process import Tree
from bench.stats import percentile

ORDINARY: Final = 16
READERS: Final = 8
SENDERS: Final = 8
STREAMS: Final = 64
BURNERS: Final = 8
PAUSE: Final = 0.1
"""Seconds between two sips or drops of a slow client."""

PATIENCE: Final = 2.0
"""Seconds after which an ordinary client gives a request up."""


async def read_slowly(port: int, end: float) -> None:
    """16 KiB at a time of a response of 1 MiB, by a small receive buffer."""
    while time.monotonic() < end:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        with contextlib.closing(sock), contextlib.suppress(OSError):
            await loop.sock_connect(sock, ("127.0.0.1", port))
            await loop.sock_sendall(sock, b"GET /large HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
            for _ in range(64):
                if time.monotonic() >= end or not await loop.sock_recv(sock, 16 * 1024):
                    break
                await asyncio.sleep(PAUSE)


async def send_slowly(port: int, end: float) -> None:
    """2 KiB at a time of a body of 64 KiB."""
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"POST /sink HTTP/1.1\r\nHost: bench\r\nContent-Length: 65536\r\n\r\n")
            for _ in range(32):
                if time.monotonic() >= end:
                    break
                writer.write(b"x" * 2048)
                await writer.drain()
                await asyncio.sleep(PAUSE)
            writer.close()


async def ordinary(port: int, end: float, times: list[float]) -> int:
    """How many of its requests failed, or took longer than PATIENCE."""
    failed = 0
    while time.monotonic() < end:
        began = time.perf_counter()
        try:
            async with asyncio.timeout(PATIENCE):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                with contextlib.closing(writer):
                    writer.write(b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
                    failed += not (await reader.read()).startswith(b"HTTP/1.1 200")
        except (TimeoutError, OSError):
            failed += 1
        times.append((time.perf_counter() - began) * 1e3)
    return failed


def slow(tree: Tree, seconds: float) -> Result:
    return asyncio.run(_slow(tree, seconds))


async def _slow(tree: Tree, seconds: float) -> Result:
    times: list[float] = []
    end = time.monotonic() + seconds + 1.0
    others = [
        asyncio.ensure_future(one(tree.port, end))
        for one, count in ((read_slowly, READERS), (send_slowly, SENDERS))
        for _ in range(count)
    ]
    await asyncio.sleep(1.0)  # they are at it
    with metered(tree) as result:
        failed = await asyncio.gather(*(ordinary(tree.port, end, times) for _ in range(ORDINARY)))
    await asyncio.gather(*others)
    result["rate"], result["errors"] = (len(times) - sum(failed)) / seconds, sum(failed)
    result["p50"], result["p99"] = percentile(times, 50), percentile(times, 99)
    return result


def streams(tree: Tree, seconds: float) -> Result:
    return asyncio.run(_streams(tree, seconds))


async def _streams(tree: Tree, seconds: float) -> Result:
    burns: list[float] = []
    with metered(tree) as result:
        end = time.monotonic() + seconds
        ticking = asyncio.gather(*(stream(tree.port, end) for _ in range(STREAMS)))
        burning = asyncio.gather(*(client(tree.port, "/burn?200", 0.0, end, burns) for _ in range(BURNERS)))
        verdicts, _ = await asyncio.gather(ticking, burning, return_exceptions=False)
    late = [seconds * 1e3 for verdict in verdicts for seconds in verdict.late]
    result["p50"], result["p99"], result["max"] = percentile(late, 50), percentile(late, 99), max(late)
    result["lost"], result["burns"] = sum(verdict.lost for verdict in verdicts), len(burns)
    return result
