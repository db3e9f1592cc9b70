"""Finished responses beside a call that turns out long: how long do they wait, when it computes, sleeps or runs C code?

FAST kept-alive connections ask without a pause, for calls that take some microseconds. One more asks for the same path,
and its call takes 20 or 200 ms. Each response says when the application sent it (time.monotonic_ns(), which is the same
for client and server); its wait ends when the client has read it. The client's own delay is included.
"""

import asyncio
import time
from typing import Final

from bench.meter import Result, metered
from bench.process import Failure, Tree
from bench.stats import percentile

FAST: Final = 16
KINDS: Final = ("python", "sleep", "c", "gil")
"""It computes in Python, sleeps, computes in C without the GIL, or in C with it (apps/raw.py)."""
LENGTHS: Final = (20, 200)
"""Milliseconds."""
PAUSE: Final = 0.1
"""Seconds between two long calls."""
WARM_UP: Final = 0.3
"""Seconds in which the path becomes known to be short."""


class Waits:
    """Milliseconds that responses waited, and those that requests took."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.times: list[float] = []


async def ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, query: str, found: Waits | None
) -> None:
    began = time.monotonic_ns()
    writer.write(f"GET /turn{query} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise Failure(f"/turn{query}: {head[:40]!r}")
    sent = int(await reader.readexactly(20))
    if found is not None:
        now = time.monotonic_ns()
        found.waits.append((now - sent) / 1e6)
        found.times.append((now - began) / 1e6)


async def fast(port: int, end: float, found: Waits) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    count_from = time.monotonic() + WARM_UP
    try:
        while (now := time.monotonic()) < end:
            await ask(reader, writer, "", found if now > count_from else None)
    finally:
        writer.close()


async def slow(port: int, query: str, end: float) -> None:
    await asyncio.sleep(WARM_UP)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        while time.monotonic() < end:
            await ask(reader, writer, query, None)
            await asyncio.sleep(PAUSE)
    finally:
        writer.close()


async def _measure(port: int, query: str, seconds: float) -> Waits:
    found, end = Waits(), time.monotonic() + seconds + WARM_UP
    await asyncio.gather(slow(port, query, end), *(fast(port, end, found) for _ in range(FAST)))
    if not found.waits:
        raise Failure("nothing was answered")
    return found


def measure(tree: Tree, seconds: float) -> Result:
    with metered(tree) as result:
        for kind in KINDS:
            found = Waits()
            for length in LENGTHS:
                one = asyncio.run(_measure(tree.port, f"?{kind}={length}", seconds / 2))
                found.waits += one.waits
                found.times += one.times
            result[f"{kind}_p99"], result[f"{kind}_max"] = percentile(found.waits, 99), max(found.waits)
            if kind == KINDS[0]:
                result["p50"], result["p99"] = percentile(found.times, 50), percentile(found.times, 99)
                result["wait_p50"] = percentile(found.waits, 50)
    return result
