"""A raw ASGI application: what is measured is the server."""

import asyncio
import hashlib
import time
from typing import Any

HELLO = b"Hello, world!"
LARGE = bytes(range(256)) * 4096  # 1 MiB
TICK = 0.1
FAN_OUT = 0.05
RANGE_PER_SECOND = 20_000_000
"""Numbers of a range that max() takes in a second, roughly."""
HELD_STEP = 200_000


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await ROUTES[scope["path"]](scope, receive, send)
    elif scope["type"] == "websocket":
        await websocket(receive, send)
    else:
        await lifespan(receive, send)


async def lifespan(receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def respond(send: Any, body: bytes) -> None:
    length = b"%d" % len(body)
    headers = [(b"content-type", b"text/plain"), (b"content-length", length)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await respond(send, HELLO)


async def large(scope: Any, receive: Any, send: Any) -> None:
    await respond(send, LARGE)


async def echo(scope: Any, receive: Any, send: Any) -> None:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    await respond(send, body)


async def wait(scope: Any, receive: Any, send: Any) -> None:
    await asyncio.sleep(0.05)
    await respond(send, HELLO)


async def burn(scope: Any, receive: Any, send: Any) -> None:
    """As many milliseconds of this thread's CPU as the query says: a busy machine doesn't make the work smaller."""
    end = time.thread_time() + int(scope["query_string"] or b"1") / 1000
    while time.thread_time() < end:
        pass
    await respond(send, b"ok")


async def busy(scope: Any, receive: Any, send: Any) -> None:
    """200 ms by the clock."""
    end = time.perf_counter() + 0.2
    while time.perf_counter() < end:
        pass
    await respond(send, b"ok")


async def blocked(scope: Any, receive: Any, send: Any) -> None:
    """The mistake of so many handlers: 200 ms in which the loop stands still."""
    time.sleep(0.2)  # noqa: ASYNC251  # to block is what it is for
    await respond(send, b"ok")


def python(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def c(seconds: float) -> None:
    """C code that releases the GIL."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 10_000)


def gil(seconds: float) -> None:
    """One call of C code that keeps the GIL, of about that time."""
    max(range(int(seconds * RANGE_PER_SECOND)))


LONG = {b"python": python, b"sleep": time.sleep, b"c": c, b"gil": gil}


async def turn(scope: Any, receive: Any, send: Any) -> None:
    """Short, unless the query says for how many milliseconds it computes or sleeps. The body: when it was sent."""
    kind, _, length = scope["query_string"].partition(b"=")
    if kind:
        LONG[kind](int(length) / 1000)
    await respond(send, b"%020d" % time.monotonic_ns())


async def held(scope: Any, receive: Any, send: Any) -> None:
    """200 ms in C code that never lets go of the GIL: no other thread of the process runs."""
    began = time.perf_counter()
    sum(range(HELD_STEP))
    steps = max(1, int(0.2 / (time.perf_counter() - began)))
    sum(range(HELD_STEP * (steps - 1)))
    await respond(send, b"ok")


async def begin_stream(send: Any) -> None:
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def ticks(scope: Any, receive: Any, send: Any) -> None:
    """Ten times a second, the number of the tick and when it was due."""
    began, number = time.monotonic(), 0
    await begin_stream(send)
    while True:
        due = began + number * TICK
        body = b"data: %d %d\n\n" % (number, due * 1e9)
        await send({"type": "http.response.body", "body": body, "more_body": True})
        number += 1
        await asyncio.sleep(max(0.0, due + TICK - time.monotonic()))


class Feed:
    """One publisher, as many queues as there are subscribers."""

    def __init__(self) -> None:
        self.queues: set[asyncio.Queue[bytes]] = set()
        self.publisher: asyncio.Task[None] | None = None

    async def publish(self) -> None:
        """On a schedule: a server that is late gets no fewer events."""
        began, number = time.monotonic(), 0
        while self.queues:
            event = b"data: %d %d\n\n" % (number, time.monotonic_ns())
            for queue in self.queues:
                queue.put_nowait(event)
            number += 1
            await asyncio.sleep(max(0.0, began + number * FAN_OUT - time.monotonic()))

    async def subscribe(self, send: Any) -> None:
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        self.queues.add(queue)
        if self.publisher is None or self.publisher.done():
            self.publisher = asyncio.ensure_future(self.publish())
        try:
            while True:
                await send({"type": "http.response.body", "body": await queue.get(), "more_body": True})
        finally:
            self.queues.discard(queue)


FEED = Feed()


async def events(scope: Any, receive: Any, send: Any) -> None:
    """What `FEED` publishes, until the client leaves."""
    await begin_stream(send)
    stream = asyncio.ensure_future(FEED.subscribe(send))
    gone = asyncio.ensure_future(until_gone(receive))
    try:
        await asyncio.wait((stream, gone), return_when=asyncio.FIRST_COMPLETED)
    finally:
        stream.cancel()
        gone.cancel()


async def until_gone(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def websocket(receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        await send({"type": "websocket.send", "bytes": message["bytes"]})


ROUTES = {
    "/": hello,
    "/large": large,
    "/echo": echo,
    "/wait": wait,
    "/burn": burn,
    "/busy": busy,
    "/blocked": blocked,
    "/held": held,
    "/ticks": ticks,
    "/events": events,
    "/turn": turn,
}
