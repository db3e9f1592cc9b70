"""Server-Timing in responses (`--server-timing`): the server's timings of a request, for the browser's developer tools.

An ASGI application around the user's. `queue`: how long the request waited before the application was called (for its
body, a place, or another process); `app`: how long the application took to begin its response.
https://www.w3.org/TR/server-timing/
"""

import time
from typing import Any

from hsrv.common.asgi import Application, Message, Receive, Scope, Send
from hsrv.logs.logging import current_trace

NAME = b"server-timing"


def with_server_timing(inner: Application) -> Application:
    """The application, wrapped so that its HTTP responses carry the header."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await inner(scope, receive, _Timer(send).send)
        else:
            await inner(scope, receive, send)

    return app


class _Timer:
    """One request, from its call on."""

    __slots__ = ("_called_at", "_send")

    def __init__(self, send: Send) -> None:
        self._send = send
        self._called_at = time.monotonic()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            message = _with_metrics(message, self._metrics())
        await self._send(message)

    def _metrics(self) -> bytes:
        trace = current_trace.get()
        took = b"app;dur=%.3f" % ((time.monotonic() - self._called_at) * 1000)
        if trace is None or not trace.received_at:
            return took
        return b"queue;dur=%.3f, " % ((self._called_at - trace.received_at) * 1000) + took


def _with_metrics(message: Message, metrics: bytes) -> Message:
    """Append the metrics to the application's own, if it has any. Malformed headers are left alone: they cause an error
    later."""
    try:
        headers = list(message.get("headers", ()))
    except TypeError:
        return message
    for index in range(len(headers) - 1, -1, -1):
        name, value = _pair(headers[index])
        if name.lower() == NAME:
            headers[index] = name, value + b", " + metrics if value.strip() else metrics
            break
    else:
        headers.append((NAME, metrics))
    return {**message, "headers": headers}


def _pair(header: Any) -> tuple[bytes, bytes]:
    """Name and value; empty if it is not a header."""
    well = isinstance(header, list | tuple) and [type(part) for part in header] == [bytes, bytes]
    return (header[0], header[1]) if well else (b"", b"")
