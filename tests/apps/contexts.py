"""An application whose clients leave a secret wherever a request can, and a collector that looks for it.

The secret is the query string. Each answer tells what was there before the request began.
"""

import asyncio
import json
import os
import threading
from contextvars import ContextVar
from pathlib import Path

import structlog
from structlog.contextvars import bind_contextvars, get_contextvars

from hsrv.common.asgi import Receive, Scope, Send
from hsrv.events import Event, Source
from hsrv.logs.logging import current_trace

secret: ContextVar[str] = ContextVar("secret", default="")
at_import: ContextVar[str] = ContextVar("at_import", default="")
at_startup: ContextVar[str] = ContextVar("at_startup", default="")
per_thread = threading.local()

at_import.set("here")


class Spy:
    """Writes the name of each event with the secret that its context holds, and leaves one itself."""

    def __init__(self, source: Source) -> None:
        path = Path(os.environ["EVENTS"]) / f"{source.role}-{source.pid}"
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def collect(self, event: Event) -> None:
        trace, request = current_trace.get(), getattr(event, "request", "")
        row = {
            "event": type(event).__name__,
            "found": seen(),
            "traced": trace is not None,
            "as": trace.request_id if trace is not None else "",
            "request": request,
        }
        os.write(self._fd, json.dumps(row).encode() + b"\n")
        if not request:
            secret.set(f"of {type(event).__name__}")


def seen() -> list[str]:
    """All that this context says of clients."""
    found = [secret.get(), *(str(value) for name, value in get_contextvars().items() if name == "secret")]
    return [text for text in found if text]


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    mine = scope["query_string"].decode()
    before = [*seen(), *([scope["state"]["secret"]] if "secret" in scope["state"] else [])]
    if at_import.get() != "here" or at_startup.get():
        before.append(f"import: {at_import.get()}, startup: {at_startup.get()}")
    secret.set(mine)
    bind_contextvars(secret=mine)
    scope["state"]["secret"] = mine
    if scope["type"] == "websocket":
        await _websocket(mine, before, receive, send)
    else:
        await _http(scope, mine, before, receive, send)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        at_startup.set("there")
        await send({"type": f"{message['type']}.complete"})


async def _http(scope: Scope, mine: str, before: list[str], receive: Receive, send: Send) -> None:
    path = scope["path"]
    while path.startswith("/hold") and not _released():  # noqa: ASYNC110  # the test is another process
        await asyncio.sleep(0.01)  # it keeps its place until it has to wait for its client
    while (await receive()).get("more_body"):
        pass
    kind = b"text/event-stream" if path == "/sse" else b"application/json"
    if path == "/log":
        structlog.get_logger("contexts").info("logged", mine=mine)
    answer = json.dumps({"me": mine, "before": before, "after": seen()}).encode()
    headers = [(b"content-type", kind)]
    if path == "/cut":
        raise RuntimeError("as wanted")
    if path.endswith("/big"):
        headers.append((b"content-length", b"%d" % (len(answer) + 64 * 262144)))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for _ in range(64):
            await send({"type": "http.response.body", "body": b" " * 262144, "more_body": True})
    elif path == "/sse":
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"data: " + answer + b"\n\n", "more_body": True})
        answer = b""
    else:
        headers.append((b"content-length", b"%d" % len(answer)))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
    per_thread.secret = mine
    await send({"type": "http.response.body", "body": answer})
    if not path.endswith("/big") and per_thread.secret != mine:
        raise RuntimeError(f"{per_thread.secret} ran within a send() of {mine}")
    if seen() != [mine, mine] or scope["state"]["secret"] != mine:
        raise RuntimeError(f"{seen()} in the context of {mine}")


def _released() -> bool:
    return Path(os.environ["RECORD"]).exists()


async def _websocket(mine: str, before: list[str], receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        if message["text"] == "raise":
            raise RuntimeError("as wanted")
        per_thread.secret = mine
        answer = json.dumps({"me": mine, "before": before, "after": seen()})
        await send({"type": "websocket.send", "text": answer})
        if per_thread.secret != mine:
            raise RuntimeError(f"{per_thread.secret} ran within a send() of {mine}")
