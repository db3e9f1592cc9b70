"""Short requests beside long ones: what do 1 ms requests wait while other connections ask for 200 ms of CPU?

All connections are kept alive. A fast client pauses 10 ms between requests, a slow one 200 ms.
"""

import asyncio
import time
from typing import Final

from bench.meter import Result, metered
from bench.process import Failure, Tree
from bench.stats import percentile

FAST, SLOW = 16, 2
FAST_PAUSE: Final = 0.01
SLOW_PAUSE: Final = 0.2


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> None:
    writer.write(f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200") or await reader.readexactly(2) != b"ok":
        raise Failure(f"{path}: {head[:40]!r}")


async def client(port: int, path: str, pause: float, end: float, times: list[float]) -> int:
    """Asks until `end`; how often the connection was lost and made anew."""
    lost = 0
    while time.monotonic() < end:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            while time.monotonic() < end:
                began = time.perf_counter()
                await ask(reader, writer, path)
                times.append((time.perf_counter() - began) * 1e3)
                await asyncio.sleep(pause)
        except (asyncio.IncompleteReadError, ConnectionError):
            lost += 1
        finally:
            writer.close()
    return lost


async def _measure(tree: Tree, seconds: float) -> Result:
    fast: list[float] = []
    slow: list[float] = []
    with metered(tree) as result:
        end = time.monotonic() + seconds
        lost = await asyncio.gather(
            *(client(tree.port, "/burn?1", FAST_PAUSE, end, fast) for _ in range(FAST)),
            *(client(tree.port, "/burn?200", SLOW_PAUSE, end, slow) for _ in range(SLOW)),
        )
    if not fast or not slow:
        raise Failure("nothing was answered")
    result["p50"], result["p99"], result["max"] = percentile(fast, 50), percentile(fast, 99), max(fast)
    result["fast"], result["slow"] = len(fast) / seconds, len(slow) / seconds
    result["errors"] = sum(lost)
    return result


def measure(tree: Tree, seconds: float) -> Result:
    return asyncio.run(_measure(tree, 2 * seconds))  # a slow client asks twice a second at most
