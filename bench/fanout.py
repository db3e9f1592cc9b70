"""One publisher, 500 event-stream clients: how long from publishing an event until a client has read it."""

import asyncio
import re
import time
from typing import Final, cast

from bench.apps.raw import FAN_OUT
from bench.meter import Result, metered, per_unit
from bench.process import Failure, Tree
from bench.stats import percentile

CLIENTS: Final = 500
REQUEST: Final = b"GET /events HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n\r\n"
EVENT: Final = re.compile(rb"data: (\d+) (\d+)\n\n")


class Subscriber(asyncio.Protocol):
    """Finds events wherever chunks and reads begin and end."""

    def __init__(self) -> None:
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.delays: list[float] = []
        self.numbers: list[int] = []
        self._head = True
        self._buffer = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by birth
        self.transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        self._buffer += data
        if self._head and not self._take_head():
            return
        end = 0
        for found in EVENT.finditer(self._buffer):
            self.numbers.append(int(found[1]))
            self.delays.append((now - int(found[2])) / 1e6)
            end = found.end()
        self._buffer = self._buffer[end:]
        if self.numbers and not self.ready.done():
            self.ready.set_result(None)

    def _take_head(self) -> bool:
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return False
        self._buffer, self._head = rest, False
        if not head.startswith(b"HTTP/1.1 200") and not self.ready.done():
            self.ready.set_exception(Failure(f"event stream: {head[:60]!r}"))
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ready.done():
            self.ready.set_exception(Failure("the event stream was closed at once"))

    def restart(self) -> None:
        self.delays.clear()
        self.numbers.clear()


async def subscribe(port: int) -> list[Subscriber]:
    loop = asyncio.get_running_loop()
    subscribers: list[Subscriber] = []
    while len(subscribers) < CLIENTS:
        some = [loop.create_connection(Subscriber, "127.0.0.1", port) for _ in range(50)]
        subscribers += [protocol for _, protocol in await asyncio.gather(*some)]
    async with asyncio.timeout(20):
        await asyncio.gather(*(subscriber.ready for subscriber in subscribers))
    return subscribers


def gaps(numbers: list[int], first: int, last: int) -> int:
    """How many events from `first` to `last` are not there."""
    return last - first + 1 - len({number for number in numbers if first <= number <= last})


async def _measure(tree: Tree, seconds: float) -> Result:
    subscribers = await subscribe(tree.port)
    for subscriber in subscribers:
        subscriber.restart()
    with metered(tree) as result:
        await asyncio.sleep(seconds)
        delays = [delay for subscriber in subscribers for delay in subscriber.delays]
    # What is on its way when we stop reading isn't lost: judge up to the event that half of the clients have.
    seen = sorted(max(subscriber.numbers, default=-1) for subscriber in subscribers)
    firsts = sorted(min(subscriber.numbers, default=0) for subscriber in subscribers)
    await asyncio.sleep(5 * FAN_OUT)
    result["lost"] = sum(
        gaps(subscriber.numbers, firsts[-1], seen[len(seen) // 2]) for subscriber in subscribers
    )
    for subscriber in subscribers:
        subscriber.transport.close()
    await asyncio.sleep(0.1)
    if not delays:
        raise Failure("no event arrived")
    result["rate"] = len(delays) / result["seconds"]
    result["p50"], result["p99"] = percentile(delays, 50), percentile(delays, 99)
    per_unit(result, len(delays))
    return result


def measure(tree: Tree, seconds: float) -> Result:
    return asyncio.run(_measure(tree, seconds))
