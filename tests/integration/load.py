"""Clients that go on while the server changes, and write down whatever they shouldn't have seen.

Each is a loop: ask, check the answer, think, ask again. Nothing is tried again: a refused connection, an answer that is
not whole, a kept connection that was closed, a stream without a proper end, a version older than the last one of
the same connection, all are `problems`. They run on an event loop in a thread of its own.
"""

import asyncio
import contextlib
import json
import random
import socket
import threading
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Self

import uvloop

from tests.apps.versioned import PIECE, PIECES
from tests.integration.wire import masked, request, upgrade

PATIENCE = 20.0
"""Seconds for an answer: more is a failed request."""

EVENT_STREAM = "Accept: text/event-stream"
SERVICE_RESTART = 1012
PING, PONG = 9, 10
LARGE_CRC = zlib.crc32(PIECE * PIECES)
UPLOAD = PIECE * PIECES
SMALL_BUFFER = 16 * 1024
"""Of a slow reader's socket, so that most of a large response waits in the server."""

Answer = dict[str, Any]


class Problem(Exception):
    """Something that must not happen to a client."""


class Line:
    """One connection of a client, and the newest version it has seen on it."""

    def __init__(self, load: "Load", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._load = load
        self.reader = reader
        self.writer = writer
        self.version = 0
        self.asked = 0
        self.at = "nothing"
        """What it waits for, for messages."""

    def saw(self, answer: Answer) -> Answer:
        """Note the version of an answer. Raises Problem when an older one was newer."""
        version = answer["version"]
        self._load.latest = max(self._load.latest, version)
        if version < self.version:
            raise Problem(f"version {version} after {self.version} on one connection")
        self.version = version
        return answer

    async def ask(self, data: bytes) -> Answer:
        """Send a request; its answer, whole."""
        self.send(data)
        return await self.answer()

    def send(self, data: bytes) -> None:
        self.writer.write(data)
        self.asked += 1
        self.at = f"the answer to request {self.asked}"

    async def head(self, status: int = 200) -> dict[str, str]:
        try:
            raw = await self.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise Problem(f"closed inside of a head: {error.partial!r}") from error
            what = "a kept connection was closed" if self.asked > 1 else "closed without an answer"
            raise Problem(what) from error
        line, *fields = raw.decode("latin-1").rstrip("\r\n").split("\r\n")
        if int(line.split(" ")[1]) != status:
            raise Problem(f"answered {line!r}")
        headers = {name.lower(): value for name, value in (field.split(": ", 1) for field in fields)}
        closing = headers.get("connection", "").lower() == "close"
        if status == 200 and closing and not self._load.may_close:
            raise Problem("a kept connection is to be closed")
        return headers

    async def answer(self) -> Answer:
        headers = await self.head()
        body = await self.reader.readexactly(int(headers["content-length"]))
        self._load.done["request"] += 1
        return self.saw(json.loads(body))

    async def chunk(self) -> bytes:
        size = int(await self.reader.readuntil(b"\r\n"), 16)
        return (await self.reader.readexactly(size + 2))[:-2]

    async def events(self) -> int:
        """An event stream to its end; how many events. Raises Problem when that is no proper one."""
        data, count, self.at = b"", 0, "events"
        try:
            while piece := await asyncio.wait_for(self.chunk(), PATIENCE):
                data += piece
                while b"\n\n" in data:
                    event, data = data.split(b"\n\n", 1)
                    self.saw(json.loads(event.removeprefix(b"data: ")))
                    count += 1
                    self._load.done["event"] += 1
        except asyncio.IncompleteReadError as error:
            raise Problem(f"an event stream was cut: {(data + error.partial)!r}") from error
        if data:
            raise Problem(f"an event stream ended inside of an event: {data!r}")
        return count

    async def frame(self) -> tuple[int, bytes]:
        """Opcode and payload of the server's next frame; a ping is answered on the way."""
        while True:
            first, size = await self.reader.readexactly(2)
            if size == 126:
                size = int.from_bytes(await self.reader.readexactly(2), "big")
            opcode, payload = first & 15, await self.reader.readexactly(size)
            if opcode != PING:
                return opcode, payload
            self.writer.write(masked(PONG, payload))


Client = Callable[[], Awaitable[None]]


class Load:
    """Clients of one server, while the `with` block lasts."""

    def __init__(self, host: str, port: int, *, seed: int = 1, may_close: bool = False) -> None:
        """`may_close`: a kept connection may be announced to be closed, as proxies do."""
        self.address = (host, port)
        self.may_close = may_close
        self.problems: list[str] = []
        self.done: Counter[str] = Counter()
        """How often what went well."""
        self.latest = 0
        """The newest version that anybody has seen."""
        self.stopping = False
        self.resting: set[asyncio.Task[None]] = set()
        """Clients that stand still because of `pause()`."""
        self._random = random.Random(seed)
        self._plans: list[tuple[str, Callable[[], Awaitable[None]]]] = []
        self._loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        self._going: asyncio.Event = asyncio.Event()
        self._over: asyncio.Event = asyncio.Event()
        self._pausing = 0
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def add(self, count: int, kind: str, client: Client) -> Self:
        """So many clients, each with `client` as its loop's body."""
        self._plans += [(f"{kind} {number}", client) for number in range(count)]
        return self

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Let every client finish what it is at, and end."""
        self.stopping = True
        with contextlib.suppress(
            RuntimeError
        ):  # every client has failed, and the loop is closed: `problems` tells
            self.resume()
            self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(2 * PATIENCE)
        assert not self._thread.is_alive(), "a client hangs"

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._going.set()
        try:
            self._loop.run_until_complete(self._story())
        finally:
            self._loop.close()

    async def _story(self) -> None:
        await asyncio.gather(*(self._live(name, client) for name, client in self._plans))

    async def _live(self, name: str, client: Client) -> None:
        try:
            while not self.stopping:
                await client()
        except Problem as problem:
            self.problems.append(f"{name}: {problem}")
        except Exception as error:  # a test's own fault is a failure too
            self.problems.append(f"{name}: {error!r}")

    # pauses

    def pause(self) -> None:
        """Clients that `think` stand still at their next thought."""
        self._loop.call_soon_threadsafe(self._going.clear)

    def resume(self) -> None:
        self._loop.call_soon_threadsafe(self._going.set)

    async def think(self, least: float, most: float) -> None:
        """Between two requests."""
        await asyncio.sleep(self._random.uniform(least, most))
        task = asyncio.current_task()
        if not self._going.is_set() and task is not None:
            self.resting.add(task)
            await self._going.wait()
            self.resting.discard(task)

    # clients

    @asynccontextmanager
    async def line(self, buffer: int = 0) -> AsyncIterator[Line]:
        """A new connection, closed afterwards. Errors are told with its port, as in the server log."""
        sock = socket.socket()
        sock.setblocking(False)
        if buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        try:
            await asyncio.wait_for(self._loop.sock_connect(sock, self.address), PATIENCE)
        except OSError as error:
            sock.close()
            raise Problem(f"not connected: {error!r}") from error
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        port = sock.getsockname()[1]
        line = Line(self, *await asyncio.open_connection(sock=sock, limit=buffer or 1 << 16))
        try:
            yield line
        except (Problem, OSError, asyncio.IncompleteReadError) as error:
            now = datetime.now(UTC).time()
            what = error if isinstance(error, Problem) else repr(error)
            raise Problem(
                f"{what} (port {port}, version {line.version}, waited for {line.at}, {now})"
            ) from error
        finally:
            line.writer.close()

    def keep_alive(self, least: float = 0.0, most: float = 0.02) -> Client:
        async def client() -> None:
            async with self.line() as line:
                while not self.stopping:
                    await asyncio.wait_for(line.ask(request(f"/?n={line.asked}")), PATIENCE)
                    await self.think(least, most)
                    if line.reader.at_eof():
                        raise Problem("a kept connection was closed")

        return client

    def new_connections(self, least: float = 0.01, most: float = 0.03) -> Client:
        async def client() -> None:
            async with self.line() as line:
                await asyncio.wait_for(line.ask(request("/?n=0")), PATIENCE)
            self.done["connection"] += 1
            await self.think(least, most)

        return client

    def event_streams(self, query: str = "") -> Client:
        """Stream after stream, on the same connection each other time, with a plain request between two."""

        async def client() -> None:
            async with self.line() as line:
                for _ in range(2):
                    line.send(request(f"/sse?{query}", EVENT_STREAM))
                    await asyncio.wait_for(line.head(), PATIENCE)
                    if not await self.until_over(line.events()):
                        return
                    self.done["stream end"] += 1
                    await asyncio.wait_for(line.ask(request("/")), PATIENCE)

        return client

    async def until_over(self, stream: "Awaitable[int]") -> bool:
        """False: the test ended before the stream did."""
        reading, over = asyncio.ensure_future(stream), asyncio.ensure_future(self._over.wait())
        await asyncio.wait((reading, over), return_when=asyncio.FIRST_COMPLETED)
        over.cancel()
        if reading.done():
            reading.result()
            return True
        while (
            not reading.done()
        ):  # wait_for() of Python 3.11 forgets a cancel that comes together with a result
            reading.cancel()
            await asyncio.wait((reading,), timeout=0.1)
        return False

    def websockets(self, query: str = "", pause: float = 0.05) -> Client:
        async def client() -> None:
            async with self.line() as line:
                line.send(upgrade(f"/ws?{query}"))
                await asyncio.wait_for(line.head(101), PATIENCE)
                if await self.until_over(self._echoes(line, pause)):
                    self.done["websocket end"] += 1

        return client

    async def _echoes(self, line: Line, pause: float) -> int:
        """Until the server closes; how many. Raises Problem when it doesn't close properly."""
        count = 0
        while True:
            line.writer.write(masked(1, str(count).encode()))
            try:
                opcode, payload = await asyncio.wait_for(line.frame(), PATIENCE)
            except asyncio.IncompleteReadError as error:
                raise Problem("a WebSocket was cut") from error
            if opcode == 8:
                break
            if line.saw(json.loads(payload))["echo"] != str(count):
                raise Problem(f"another echo: {payload!r}")
            count += 1
            self.done["echo"] += 1
            await asyncio.sleep(pause)
        code = int.from_bytes(payload[:2], "big")
        if code != SERVICE_RESTART:
            raise Problem(f"a WebSocket was closed with {code}")
        line.writer.write(masked(8, payload[:2]))
        if await asyncio.wait_for(line.reader.read(1), PATIENCE):
            raise Problem("bytes after a close frame")
        return count

    def byte_by_byte(self, pause: float = 0.002) -> Client:
        async def client() -> None:
            async with self.line() as line:
                while not self.stopping:
                    body = b"0123456789"
                    data = request("/upload", f"Content-Length: {len(body)}", method="POST", body=body)
                    for byte in data:
                        line.writer.write(bytes((byte,)))
                        await asyncio.sleep(pause)
                    line.asked += 1
                    found = await asyncio.wait_for(line.answer(), PATIENCE)
                    if found["crc"] != zlib.crc32(body):
                        raise Problem(f"another body arrived: {found}")

        return client

    def pipelines(self, depth: int = 10, pause: float = 0.02) -> Client:
        """`depth` requests at once, answered in order; one in the middle is a short event stream."""

        async def client() -> None:
            async with self.line() as line:
                while not self.stopping:
                    first, middle = line.asked, depth // 2
                    asked = [request(f"/?n={first + turn}&s=0.005") for turn in range(depth)]
                    asked[middle] = request("/sse?n=2", EVENT_STREAM)
                    line.writer.write(b"".join(asked))
                    line.asked += depth
                    for turn in range(depth):
                        if turn == middle:
                            await asyncio.wait_for(line.head(), PATIENCE)
                            await line.events()
                        elif (await asyncio.wait_for(line.answer(), PATIENCE))["n"] != str(first + turn):
                            raise Problem("an answer out of order")
                    self.done["pipeline"] += 1
                    await self.think(0, pause)

        return client

    def uploads(self, *, chunked: bool = False, pause: float = 0.02) -> Client:
        size = 64 * 1024

        async def client() -> None:
            field = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(UPLOAD)}"
            async with self.line() as line:
                while not self.stopping:
                    line.send(request("/upload", field, method="POST"))
                    for at in range(0, len(UPLOAD), size):
                        piece = UPLOAD[at : at + size]
                        line.writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                        await asyncio.wait_for(line.writer.drain(), PATIENCE)
                        await asyncio.sleep(pause)
                    if chunked:
                        line.writer.write(b"0\r\n\r\n")
                    found = await asyncio.wait_for(line.answer(), PATIENCE)
                    if (found["size"], found["crc"]) != (len(UPLOAD), LARGE_CRC):
                        raise Problem(f"another body arrived: {found}")
                    self.done["upload"] += 1

        return client

    def slow_readers(self, pause: float = 0.01) -> Client:
        async def client() -> None:
            async with self.line(SMALL_BUFFER) as line:
                while not self.stopping:
                    line.send(request("/large"))
                    headers = await asyncio.wait_for(line.head(), PATIENCE)
                    line.saw(json.loads(headers["x-me"]))
                    left, crc = int(headers["content-length"]), 0
                    while left:
                        data = await asyncio.wait_for(line.reader.read(min(left, SMALL_BUFFER)), PATIENCE)
                        if not data:
                            raise Problem(f"a response was cut {left} bytes before its end")
                        left, crc = left - len(data), zlib.crc32(data, crc)
                        await asyncio.sleep(pause)
                    if crc != LARGE_CRC:
                        raise Problem("another body arrived")
                    self.done["download"] += 1

        return client
