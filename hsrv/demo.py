"""A demo application that shows hsrv working: raw ASGI, no framework.

`hsrv start hsrv.demo:app --workers 8`, then open the page: ticks and the WebSocket come from the pool, the
rest from workers.
"""

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

from hsrv.common.asgi import Message, Receive, Scope, Send

PAGE: Final = Path(__file__).with_name("demo.html").read_bytes()
TICK_INTERVAL: Final = 0.1
"""Seconds between two ticks."""

MAX_BURN: Final = 10.0
"""Seconds of CPU that one request may use."""

MAX_FORM: Final = 64 * 1024
"""Bytes of a posted form."""

Header = tuple[bytes, bytes]
Handler = Callable[[Scope, Receive, Send], Awaitable[None]]


def whoami(scope: Scope) -> dict[str, Any]:
    """The process that answers: pid, and hsrv's role, slot, generation and leader."""
    return {"pid": os.getpid(), **scope.get("extensions", {}).get("hsrv", {})}


async def respond(send: Send, body: bytes, content_type: bytes, status: int = 200, *more: Header) -> None:
    headers = [(b"content-type", content_type), (b"cache-control", b"no-store"), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def respond_json(send: Send, value: dict[str, Any], status: int = 200, *more: Header) -> None:
    await respond(send, json.dumps(value).encode(), b"application/json", status, *more)


async def page(scope: Scope, receive: Receive, send: Send) -> None:
    await respond(send, PAGE, b"text/html; charset=utf-8")


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await respond(send, b"Hello from hsrv\n", b"text/plain; charset=utf-8")


async def who(scope: Scope, receive: Receive, send: Send) -> None:
    await respond_json(send, whoami(scope))


async def burn(scope: Scope, receive: Receive, send: Send) -> None:
    """Pure-Python work for `seconds` without waiting: it would block streams in the same process."""
    wanted = parse_qs(scope["query_string"].decode()).get("seconds", ["1"])[0]
    try:
        seconds = min(MAX_BURN, max(0.0, float(wanted)))
    except ValueError:
        await respond_json(send, {"error": "seconds must be a number"}, 400)
        return
    end = time.perf_counter() + seconds
    rounds = 0
    while time.perf_counter() < end:
        rounds += 1
    await respond_json(send, {"burnt": seconds, "rounds": rounds, **whoami(scope)})


async def form(scope: Scope, receive: Receive, send: Send) -> None:
    body = bytearray()
    more = True
    while more and len(body) <= MAX_FORM:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message.get("body", b"")
        more = message.get("more_body", False)
    if len(body) > MAX_FORM:
        await respond_json(send, {"error": "form too large"}, 413)
        return
    fields = {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}
    await respond_json(send, {"received": fields, **whoami(scope)})


async def ticks(scope: Scope, receive: Receive, send: Send) -> None:
    """An event every tenth of a second: its number, its delay in ms, and the sending process."""
    headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if scope["method"] == "HEAD":
        await send({"type": "http.response.body"})
        return
    gone = asyncio.ensure_future(_disconnected(receive))
    began = time.monotonic()
    number = 0
    try:
        while not gone.done():
            due = began + number * TICK_INTERVAL
            late = max(0.0, time.monotonic() - due) * 1000
            event = json.dumps({"n": number, "late": round(late, 2), **whoami(scope)})
            data = f"data: {event}\n\n".encode()
            await send({"type": "http.response.body", "body": data, "more_body": True})
            number += 1
            await asyncio.wait([gone], timeout=max(0.0, began + number * TICK_INTERVAL - time.monotonic()))
    finally:
        gone.cancel()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


ROUTES: Final[dict[tuple[str, str], Handler]] = {
    ("GET", "/"): page,
    ("GET", "/hello"): hello,
    ("GET", "/who"): who,
    ("GET", "/burn"): burn,
    ("GET", "/ticks"): ticks,
    ("POST", "/form"): form,
}


async def http(scope: Scope, receive: Receive, send: Send) -> None:
    method = "GET" if scope["method"] == "HEAD" else scope["method"]
    handler = ROUTES.get((method, scope["path"]))
    allowed = [method for method, path in ROUTES if path == scope["path"]]
    if handler is not None:
        await handler(scope, receive, send)
    elif allowed:
        allow = (b"allow", ", ".join(allowed).encode())
        await respond_json(send, {"error": "method not allowed"}, 405, allow)
    else:
        await respond_json(send, {"error": "not found"}, 404)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """A WebSocket that echoes each text with the identity of the process."""
    await receive()
    if scope["path"] != "/echo":
        await send({"type": "websocket.close", "code": 1000})
        return
    await send({"type": "websocket.accept"})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        reply = {"echo": message.get("text") or "", **whoami(scope)}
        await send({"type": "websocket.send", "text": json.dumps(reply)})


async def lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    while True:
        message: Message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


KINDS: Final[dict[str, Handler]] = {"http": http, "websocket": echo, "lifespan": lifespan}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """The application."""
    await KINDS[scope["type"]](scope, receive, send)
