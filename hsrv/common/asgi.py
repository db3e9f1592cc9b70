"""ASGI types (https://asgi.readthedocs.io, spec 3.0). No behaviour. Pure."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
AnyApplication = Application | Callable[[dict[str, Any], Any], Any]
"""ASGI or WSGI."""

HTTP_SPEC_VERSION = "2.3"
"""The version announced; more is supported: send() raises as in 2.4, and the extensions of 2.5 exist. With 2.4 or later
Starlette relies on send() alone and stops listening for http.disconnect, so a stream that has nothing to send would
never learn that its client has disconnected. uvicorn announces 2.3 too."""

WEBSOCKET_SPEC_VERSION = "2.5"
LIFESPAN_SPEC_VERSION = "2.0"
