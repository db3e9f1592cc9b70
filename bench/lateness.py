"""How late are stream ticks while every worker burns CPU?

200 event-stream clients, ten ticks a second each; meanwhile 8 clients ask for 200 ms of pure-Python work over and over.
A tick's lateness is the time from when it was due, counted from the client's first tick, to when the client read it.
Ticks that never came count as lost.
"""

import asyncio
import time
from typing import Final

from bench.apps.raw import TICK
from bench.fairness import ask
from bench.meter import Result, metered
from bench.process import Failure, Tree
from bench.stats import percentile

CLIENTS: Final = 200
BURNERS: Final = 8
REQUEST: Final = b"GET /ticks HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n\r\n"


async def stream(port: int, seconds: float, late: list[float]) -> int:
    """Read ticks for `seconds`; how many should have come and did not."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(REQUEST)
    count, offset = 0, None
    try:
        async with asyncio.timeout(seconds):
            await reader.readuntil(b"\r\n\r\n")
            while True:
                line = await reader.readline()
                if not line:
                    break
                if line.startswith(b"data: "):
                    now = time.monotonic()
                    number = int(line[6:])
                    offset = now if offset is None else offset
                    late.append((now - (offset + number * TICK)) * 1e3)
                    count += 1
    except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
        pass
    writer.close()
    return max(0, int(seconds / TICK) - count)


async def burner(port: int, end: float) -> int:
    """Ask for CPU work on one connection until `end`; the number of answers."""
    answers = 0
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.monotonic() < end:
        await ask(reader, writer, "/busy")
        answers += 1
    writer.close()
    return answers


async def _measure(tree: Tree, seconds: float) -> Result:
    late: list[float] = []
    with metered(tree) as result:
        end = time.monotonic() + seconds
        done = await asyncio.gather(
            *(stream(tree.port, seconds, late) for _ in range(CLIENTS)),
            *(burner(tree.port, end) for _ in range(BURNERS)),
        )
    if not late:
        raise Failure("no tick arrived")
    result["p50"], result["p99"], result["max"] = percentile(late, 50), percentile(late, 99), max(late)
    result["lost"], result["burns"] = sum(done[:CLIENTS]), sum(done[CLIENTS:])
    return result


def measure(tree: Tree, seconds: float) -> Result:
    return asyncio.run(
        _measure(tree, max(8.0, 4 * seconds))
    )  # in less, what queues has hardly begun to queue
