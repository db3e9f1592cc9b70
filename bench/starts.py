"""How soon does a stream begin while the workers are busy?

So many clients ask over and over on kept connections for what takes a worker 200 ms. Beside them an event stream and a
WebSocket begin every 100 ms each, on a new connection, and the same on one on which a plain request was answered before:
either half a second ago at most, if it was, or before the others came. Measured is the time from connecting, or on a kept connection from asking, to the first event, or to
the complete answer of the handshake. A stream that hasn't begun at the end has taken until then: leaving it out would
reward whoever never begins one.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from typing import Final

from bench.fairness import ask, client
from bench.meter import Result, metered
from bench.process import Failure, Tree
from bench.stats import percentile
from bench.websocket import HANDSHAKE

CROWDS: Final = (8, 24, 64)
"""Busy clients."""

INTERVAL: Final = 0.1
"""Seconds between two beginnings of each kind."""

REST: Final = 0.5
"""Seconds at most for which a kept connection is idle."""

WARM_UP: Final = 3.0

LAST_WORD: Final = 2.0
"""Seconds for which what was begun last may still begin."""

HELLO: Final = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n"
EVENTS: Final = b"GET /ticks HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n\r\n"
ASKED: Final = {"stream": (EVENTS, b"data: "), "socket": (HANDSHAKE, b"\r\n\r\n")}
"""What is sent, and what the answer must contain to count as begun."""


Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def begin(
    port: int, kind: str, end: float, found: list[float], *, kept: bool, old: Pair | None = None
) -> None:
    """Begin one, on `old` or a connection of its own. Nothing is added where a kept connection had no answer to its plain
    request before the end."""
    request, sign = ASKED[kind]
    asked = time.monotonic()
    writer = None
    try:
        async with asyncio.timeout(end - asked):
            reader, writer = old or await asyncio.open_connection("127.0.0.1", port)
            if kept and old is None:
                asked = 0.0
                await plain(reader, writer)
                await asyncio.sleep(random.random() * REST)
                asked = time.monotonic()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 101")):
                raise Failure(f"{kind}: {head[:40]!r}")
            if sign not in head:
                await reader.readuntil(sign)
            found.append((time.monotonic() - asked) * 1e3)
    except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
        if asked:
            found.append((end - asked) * 1e3)
    finally:
        if writer is not None:
            writer.close()


async def kept_before(port: int) -> Pair:
    """A connection on which a plain request was answered."""
    pair = await asyncio.open_connection("127.0.0.1", port)
    await plain(*pair)
    return pair


async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A short request, answered."""
    writer.write(HELLO)
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    await reader.readexactly(int(length.partition(b":")[2]))


async def _crowd(tree: Tree, path: str, crowd: int, seconds: float, result: Result) -> None:
    times: dict[bool, list[float]] = {False: [], True: []}
    answered: list[float] = []
    olds = [await kept_before(tree.port) for _ in range(int(seconds / INTERVAL))]
    end = time.monotonic() + seconds
    busy = asyncio.gather(*(client(tree.port, path, 0, end, answered) for _ in range(crowd)))
    await asyncio.sleep(0.5)  # what queues has to begin to queue
    async with asyncio.TaskGroup() as beginnings:
        while time.monotonic() < end - LAST_WORD:
            for kind in ASKED:
                for kept, found in times.items():
                    beginnings.create_task(begin(tree.port, kind, end, found, kept=kept))
            beginnings.create_task(
                begin(tree.port, random.choice([*ASKED]), end, times[True], kept=True, old=olds.pop())
            )
            await asyncio.sleep(INTERVAL)
    for _, writer in olds:
        writer.close()
    result["closed"] = result.get("closed", 0.0) + sum(await busy)
    result["answered"] = result.get("answered", 0.0) + len(answered)
    for kept, found in times.items():
        for percent in (50, 99):
            name = f"{'kept' if kept else 'new'}{crowd}_p{percent}"
            result[name] = percentile(found, percent)


async def _measure(tree: Tree, path: str, seconds: float) -> Result:
    await warm(tree, path)
    with metered(tree) as result:
        for crowd in CROWDS:
            await _crowd(tree, path, crowd, seconds, result)
    return result


async def warm(tree: Tree, path: str) -> None:
    """What makes the workers busy, checked once; then so often that each has done it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", tree.port)
    with contextlib.closing(writer):
        await ask(reader, writer, path)
    end = time.monotonic() + WARM_UP
    await asyncio.gather(*(client(tree.port, path, 0, end, []) for _ in range(2 * CROWDS[0])))


def measure(path: str) -> Callable[[Tree, float], Result]:
    """`path`: what the busy clients ask for."""

    def run(tree: Tree, seconds: float) -> Result:
        return asyncio.run(_measure(tree, path, max(LAST_WORD + 4.0, 4 * seconds)))

    return run
