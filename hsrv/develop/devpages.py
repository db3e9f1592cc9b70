"""ASGI applications for development (`hsrv start --reload`) that wrap or replace the user's.

The error page for broken code, and the script that lets pages refresh themselves (`--reload-browser`).
"""

import linecache
from pathlib import Path
from typing import Final

from hsrv.app.preload import is_library
from hsrv.common.asgi import Application, Message, Receive, Scope, Send
from hsrv.develop.brokenpage import Broken, answer, frames_of, inject
from hsrv.ipc.messages import Failure

REFRESH_PATH: Final = "/__hsrv__/reload"
"""Requested by the script: an event stream with the serving generation, which ends when that generation ends."""

RETRY_MS: Final = 100
"""Interval after which the script reconnects. While a generation starts the request waits, like any other."""


def script_of(generation: int) -> bytes:
    """The script for a page of this generation. It contains the number, because another generation may serve before the
    script's first request."""
    return (
        f"(()=>{{new EventSource('{REFRESH_PATH}').onmessage="
        f"e=>{{if(e.data!=='{generation}')location.reload()}}}})()"
    ).encode()


def broken_application(failure: Failure) -> Application:
    """Answers every request with 500 and the reason."""
    frames = frames_of(failure.traceback, linecache.getlines, lambda path: not is_library(Path(path)))
    broken = Broken(failure.message, failure.traceback, frames)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1011, "reason": "the code is broken"})
            return
        accept = b",".join(value for name, value in scope["headers"] if name == b"accept")
        found = answer(broken, accept.decode("latin-1"))
        headers = [*found.headers, (b"content-length", b"%d" % len(found.body))]
        await send({"type": "http.response.start", "status": 500, "headers": headers})
        await send({"type": "http.response.body", "body": found.body})

    return app


def with_refresh(inner: Application, generation: int) -> Application:
    """The application, with HTML pages that reload once another generation serves."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == REFRESH_PATH:
            await tell_generation(generation, receive, send)
        elif scope["type"] == "http" and scope["method"] != "HEAD":
            await inner(scope, receive, _Injector(send, script_of(generation)))
        else:
            await inner(scope, receive, send)

    return app


async def tell_generation(generation: int, receive: Receive, send: Send) -> None:
    """The answer to REFRESH_PATH."""
    headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    event = f"retry: {RETRY_MS}\ndata: {generation}\n\n".encode()
    await send({"type": "http.response.body", "body": event, "more_body": True})
    while (await receive())["type"] != "http.disconnect":
        continue
    await send({"type": "http.response.body"})


class _Injector:
    """A `send` that injects the script into HTML."""

    def __init__(self, send: Send, script: bytes) -> None:
        self._send = send
        self._script = script
        self._html = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._html = _takes_a_script(message)
            if self._html:
                kept = [
                    field for field in message.get("headers", ()) if field[0].lower() != b"content-length"
                ]
                message = {**message, "headers": kept}
        elif message["type"] == "http.response.body" and self._html and not message.get("more_body"):
            body = message.get("body", b"")
            message = {**message, "body": inject(body, self._script)}
        await self._send(message)


def _takes_a_script(start: Message) -> bool:
    """Whether it is an HTML page without content encoding and Content-Security-Policy."""
    headers = {name.lower(): value for name, value in start.get("headers", ())}
    return (
        headers.get(b"content-type", b"").lower().startswith(b"text/html")
        and b"content-encoding" not in headers
        and b"content-security-policy" not in headers
        and start["status"] not in (204, 304)
    )
