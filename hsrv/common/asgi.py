"""ASGI types (https://asgi.readthedocs.io, spec 3.0). No behaviour. Pure."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

HTTP_SPEC_VERSION = "2.3"
"""What is stated, not all that is kept: send() raises as from 2.4 on, and the extensions of 2.5 are there. From 2.4 on
Starlette relies on that alone and stops listening for http.disconnect, so a stream that has nothing to send would never
learn that its client has left. uvicorn states 2.3 too."""

WEBSOCKET_SPEC_VERSION = "2.5"
LIFESPAN_SPEC_VERSION = "2.0"
