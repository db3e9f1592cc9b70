"""How late are stream ticks and WebSocket echoes while every worker is busy?

200 event-stream clients, ten ticks a second each, and 50 WebSockets that send a message to be echoed ten times a second;
meanwhile 8 clients ask for 200 ms of pure-Python work over and over, and 8 for a `time.sleep` of 200 ms in an async handler.
Every tick says when it was due by the clock of the machine; its lateness is the time from then until the client read it.
A tick that never came is as late as the end of the measurement: leaving it out would reward whoever stalls longest.
A stream whose handler starts late is told apart, by the time to its first tick. For echoes the same, from the moment that
the message was due to be sent, even if the one before was still on its way.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench.apps.raw import TICK
from bench.fairness import client
from bench.meter import Result, metered
from bench.process import Failure, Tree
from bench.stats import percentile
from bench.websocket import EXPECTED, HANDSHAKE, SENT

CLIENTS: Final = 200
SOCKETS: Final = 50
BURNERS: Final = 8
SLEEPERS: Final = 8
REQUEST: Final = b"GET /ticks HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n\r\n"


@dataclass(frozen=True)
class Tick:
    number: int
    due: float
    read: float


@dataclass(frozen=True)
class Verdict:
    late: list[float]
    """Seconds, one for each tick that was due."""
    first: float
    """Seconds from asking to the first tick."""
    lost: int


def judge(ticks: Sequence[Tick], asked: float, end: float) -> Verdict:
    """Pure. A stream that never began had its first tick due when it was asked for."""
    origin = ticks[0].due - ticks[0].number * TICK if ticks else asked
    came = {tick.number: tick.read - tick.due for tick in ticks}
    late = list(came.values())
    absent = [number for number in range(max(0, int((end - origin) / TICK))) if number not in came]
    late += [end - (origin + number * TICK) for number in absent]
    return Verdict(late, (ticks[0].read if ticks else end) - asked, len(absent))


async def stream(port: int, end: float) -> Verdict:
    asked, ticks = time.monotonic(), []
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(end - time.monotonic()):
            writer.write(REQUEST)
            await reader.readuntil(b"\r\n\r\n")
            while line := await reader.readline():
                if line.startswith(b"data: "):
                    number, due = line[6:].split()
                    ticks.append(Tick(int(number), int(due) / 1e9, time.monotonic()))
    except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()
    return judge(ticks, asked, end)


async def socket(port: int, end: float) -> Verdict:
    asked, echoes = time.monotonic(), []
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(end - time.monotonic()):
            writer.write(HANDSHAKE)
            await reader.readuntil(b"\r\n\r\n")
            began, number = time.monotonic(), 0
            while True:
                due = began + number * TICK
                await asyncio.sleep(due - time.monotonic())
                writer.write(SENT)
                if await reader.readexactly(len(EXPECTED)) != EXPECTED:
                    raise Failure("a wrong echo")
                echoes.append(Tick(number, due, time.monotonic()))
                number += 1
    except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()
    return judge(echoes, asked, end)


async def _measure(tree: Tree, seconds: float) -> Result:
    with metered(tree) as result:
        end = time.monotonic() + seconds
        burns: list[float] = []
        naps: list[float] = []
        burners = asyncio.gather(*(client(tree.port, "/busy", 0, end, burns) for _ in range(BURNERS)))
        sleepers = asyncio.gather(*(client(tree.port, "/blocked", 0, end, naps) for _ in range(SLEEPERS)))
        sockets = asyncio.gather(*(socket(tree.port, end) for _ in range(SOCKETS)))
        streams = await asyncio.gather(*(stream(tree.port, end) for _ in range(CLIENTS)))
        result["closed"] = sum(await burners) + sum(await sleepers)
        result["burns"], result["naps"] = len(burns), len(naps)
        echoes = await sockets
    late = [value * 1e3 for verdict in streams for value in verdict.late]
    if not late:
        raise Failure("no tick arrived")
    result["p50"], result["p99"], result["max"] = percentile(late, 50), percentile(late, 99), max(late)
    result["first"] = percentile([verdict.first * 1e3 for verdict in streams], 99)
    result["lost"], result["due"] = sum(verdict.lost for verdict in streams), len(late)
    echo = [value * 1e3 for verdict in echoes for value in verdict.late]
    result["echo_p99"], result["echo_max"] = percentile(echo, 99), max(echo)
    result["echo_lost"] = sum(verdict.lost for verdict in echoes)
    return result


def measure(tree: Tree, seconds: float) -> Result:
    return asyncio.run(
        _measure(tree, max(8.0, 4 * seconds))
    )  # in less, what queues has hardly begun to queue
