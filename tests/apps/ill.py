"""An ASGI application with one path per way to fall ill."""

import asyncio
import contextlib
import ctypes
import os
import threading
import time
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs

from hsrv.common.asgi import Receive, Scope, Send
from tests.apps.raw import hold_the_gil, record

MIB = 1 << 20

_never_released = threading.Lock()
_never_released.acquire()
_leaked: list[bytearray] = []


async def answer(send: Send, body: bytes = b"ok", kind: bytes = b"text/plain", *, more: bool = False) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def spin() -> None:
    while True:
        pass


async def block() -> None:
    time.sleep(1e9)  # noqa: ASYNC251  # that is the illness


async def later() -> None:
    """Not in the first step."""
    await asyncio.sleep(0.05)
    time.sleep(1e9)  # noqa: ASYNC251  # that is the illness


async def child() -> None:
    """In a task of its own, as middlewares do it."""
    await asyncio.create_task(block())


async def gil() -> None:
    hold_the_gil()


async def deadlock() -> None:
    _never_released.acquire()


async def thread() -> None:
    """As a framework runs a plain function: in a thread, which a cancellation doesn't reach."""
    waiting = asyncio.ensure_future(asyncio.to_thread(_never_released.acquire))
    while not waiting.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(waiting)


async def leave() -> None:
    os._exit(1)


async def segfault() -> None:
    ctypes.string_at(0)


ILL: dict[str, Callable[[], Awaitable[None]]] = {
    f"/{function.__name__}": function
    for function in (spin, block, later, child, gil, deadlock, thread, leave, segfault)
}


Ask = Callable[[dict[str, str], Scope, Receive, Send], Awaitable[None]]


async def stall(query: dict[str, str], scope: Scope, receive: Receive, send: Send) -> None:
    """A stream that stands still, and the loop with it."""
    await answer(send, b"data: 1\n\n", b"text/event-stream", more=True)
    await asyncio.sleep(0.1)
    time.sleep(float(query["s"]))  # noqa: ASYNC251  # that is the illness
    await send({"type": "http.response.body", "body": b"data: 2\n\n"})


async def background(query: dict[str, str], scope: Scope, receive: Receive, send: Send) -> None:
    await answer(send)
    await asyncio.sleep(float(query["s"]))


async def upload(query: dict[str, str], scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body"):
        pass
    await asyncio.sleep(float(query.get("s", "0")))
    await answer(send)


async def download(query: dict[str, str], scope: Scope, receive: Receive, send: Send) -> None:
    """A stream whose last piece is so large that it waits for its client when the call has returned."""
    await answer(send, b"data: 1\n\n", b"text/event-stream", more=True)
    await send({"type": "http.response.body", "body": b"x" * (int(query["mib"]) * MIB)})
    record("downloaded")


async def odd_scope(query: dict[str, str], scope: Scope, receive: Receive, send: Send) -> None:
    del scope["client"]
    time.sleep(float(query["s"]))  # noqa: ASYNC251  # that is the illness
    await answer(send)


async def wait(query: dict[str, str], scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.sleep(float(query["s"]))
    await answer(send)


async def begun(query: dict[str, str], scope: Scope, receive: Receive, send: Send) -> None:
    await answer(send, b"part", more=True)
    await asyncio.sleep(float(query["s"]))


async def burn(query: dict[str, str], scope: Scope, receive: Receive, send: Send) -> None:
    end = time.monotonic() + float(query["s"])
    while time.monotonic() < end:
        pass
    await answer(send)


async def leak(query: dict[str, str], scope: Scope, receive: Receive, send: Send) -> None:
    _leaked.append(bytearray(os.urandom(MIB)) * int(query["mib"]))
    await answer(send)


ODD: dict[str, Ask] = {
    f"/{function.__name__}": function
    for function in (stall, background, upload, download, odd_scope, wait, begun, burn, leak)
}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"
    query = {key: values[0] for key, values in parse_qs(scope["query_string"].decode()).items()}
    path = scope["path"]
    if path in ILL:
        await ILL[path]()
    elif path in ODD:
        await ODD[path](query, scope, receive, send)
    else:
        await answer(send, str(os.getpid()).encode())
