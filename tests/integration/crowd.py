"""Many short-lived clients of every kind, for tests that look at what the server says of them."""

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator

import uvloop

from tests.integration.wire import masked, request, upgrade

PATIENCE = 200.0
Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter
Kind = Callable[[Reader, Writer], Awaitable[None]]
EVENT_STREAM = "Accept: text/event-stream"


async def head(reader: Reader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


async def answer(reader: Reader) -> None:
    found = (await head(reader)).lower()
    length = int(found.partition(b"content-length: ")[2].partition(b"\r\n")[0])
    await reader.readexactly(length)


async def short(reader: Reader, writer: Writer) -> None:
    writer.write(request("/"))
    await answer(reader)


async def kept(reader: Reader, writer: Writer) -> None:
    for _ in range(3):
        await short(reader, writer)


async def closed_by_the_server(reader: Reader, writer: Writer) -> None:
    writer.write(request("/", "Connection: close"))
    await reader.read()


async def pipelined(reader: Reader, writer: Writer) -> None:
    writer.write(request("/") * 3)
    for _ in range(3):
        await answer(reader)


async def posted(reader: Reader, writer: Writer) -> None:
    writer.write(request("/echo", "Content-Length: 6", method="POST", body=b"abc"))
    await asyncio.sleep(0.01)
    writer.write(b"def")
    await answer(reader)


async def half_posted(reader: Reader, writer: Writer) -> None:
    writer.write(request("/echo", "Content-Length: 6", method="POST", body=b"abc"))
    await asyncio.sleep(0.01)


async def malformed(reader: Reader, writer: Writer) -> None:
    writer.write(b"GET / HTTP/9\r\n\r\n")
    await reader.read()


async def malformed_at_once(reader: Reader, writer: Writer) -> None:
    writer.write(request("/echo", "Transfer-Encoding: chunked", method="POST", body=b"no size\r\n"))
    await reader.read()


async def malformed_body(reader: Reader, writer: Writer) -> None:
    writer.write(request("/echo", "Transfer-Encoding: chunked", "Expect: 100-continue", method="POST"))
    await head(reader)
    writer.write(b"no size\r\n")
    await reader.read()


async def streamed(reader: Reader, writer: Writer) -> None:
    writer.write(request("/sse?n=2", EVENT_STREAM))
    await reader.readuntil(b"\r\n0\r\n\r\n")
    await short(reader, writer)


async def left_a_stream(reader: Reader, writer: Writer) -> None:
    writer.write(request("/sse", EVENT_STREAM))
    await reader.readuntil(b"id: 1")


async def left_a_request(reader: Reader, writer: Writer) -> None:
    writer.write(request("/sleep?s=0.2"))
    await asyncio.sleep(0.02)


async def left_before_an_answer(reader: Reader, writer: Writer) -> None:
    writer.write(request("/sleep?s=0.2", EVENT_STREAM))
    await asyncio.sleep(0.02)


async def left_a_download(reader: Reader, writer: Writer) -> None:
    writer.write(request("/big?size=8000000"))
    await reader.read(1000)


async def chunked(reader: Reader, writer: Writer) -> None:
    writer.write(request("/chunks"))
    await reader.readuntil(b"\r\n0\r\n\r\n")


async def unannounced(reader: Reader, writer: Writer) -> None:
    writer.write(request("/unannounced?n=60"))
    await reader.readuntil(b"\r\n0\r\n\r\n")


async def raised(reader: Reader, writer: Writer) -> None:
    writer.write(request("/fail"))
    await reader.read()


async def raised_late(reader: Reader, writer: Writer) -> None:
    writer.write(request("/fail-late"))
    await reader.read()


async def websocket(reader: Reader, writer: Writer) -> None:
    writer.write(upgrade("/ws"))
    await head(reader)
    writer.write(masked(1, b"hello"))
    await reader.readexactly(7)
    writer.write(masked(8, struct.pack("!H", 1000)))
    await reader.read()


async def denied(reader: Reader, writer: Writer) -> None:
    writer.write(upgrade("/deny"))
    await reader.read()


async def rested(reader: Reader, writer: Writer) -> None:
    for _ in range(2):
        await short(reader, writer)
        await asyncio.sleep(random.uniform(0.4, 1.6))
    await short(reader, writer)


async def hung_up_at_rest(reader: Reader, writer: Writer) -> None:
    await short(reader, writer)
    await asyncio.sleep(random.uniform(0.4, 1.6))


KINDS: dict[Kind, int] = {
    short: 16,
    kept: 10,
    chunked: 3,
    closed_by_the_server: 8,
    pipelined: 6,
    posted: 6,
    half_posted: 3,
    malformed: 2,
    malformed_at_once: 1,
    malformed_body: 2,
    streamed: 8,
    left_a_stream: 4,
    left_a_request: 3,
    left_before_an_answer: 2,
    left_a_download: 1,
    unannounced: 1,
    raised: 2,
    raised_late: 2,
    websocket: 6,
    denied: 2,
    rested: 8,
    hung_up_at_rest: 4,
}
"""And how often each comes, in percent."""


class Crowd:
    """`count` connections, `at_once` at a time, from a thread of its own."""

    def __init__(self, host: str, port: int, count: int, *, at_once: int, seed: int = 1) -> None:
        self._address = (host, port)
        self._at_once = at_once
        self._plan = random.Random(seed).choices(list(KINDS), list(KINDS.values()), k=count)
        self.done = 0
        self.broken: Counter[str] = Counter()
        """How often a client of this kind did not get what it asked for: its server was killed."""
        self._under_way: Counter[str] = Counter()
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="crowd", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wait_for(self, share: float) -> None:
        """Until this share of the clients is done."""
        with self._news:
            wanted = int(len(self._plan) * share)
            if not self._news.wait_for(lambda: self.done >= wanted, PATIENCE):
                raise AssertionError(f"only {self.done} of {wanted}; under way: {+self._under_way}")

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._all())

    async def _all(self) -> None:
        plan = iter(self._plan)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._at_once):
                tasks.create_task(self._some(plan))

    async def _some(self, plan: Iterator[Kind]) -> None:
        for kind in plan:
            self._under_way[kind.__name__] += 1
            try:
                await asyncio.wait_for(self._one(kind), 2 * PATIENCE)
            except (
                Exception
            ) as error:  # of the socket, of uvloop, of what an answer lacked: not the end of all
                self.broken[f"{kind.__name__}: {type(error).__name__}"] += 1
            self._under_way[kind.__name__] -= 1
            with self._news:
                self.done += 1
                self._news.notify_all()

    async def _one(self, kind: Kind) -> None:
        sock = socket.socket()
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, self._address)
        except BaseException:
            sock.close()
            raise
        reader, writer = await asyncio.open_connection(sock=sock)
        try:
            await kind(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
