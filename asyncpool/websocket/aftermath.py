"""Exceptions that an application raises only because its WebSocket has ended: they are not errors.

ASGI: servers should not log what they raise in `send()` of a closed connection. Frameworks turn it, and
`websocket.disconnect`, into exceptions of their own; task groups wrap them.
"""

import asyncio
from typing import Final

from hsrv.common.errors import ClientDisconnected

DISCONNECTS: Final = frozenset({"WebSocketDisconnect"})
"""Class names of Starlette, FastAPI and Litestar, none of which can be imported here."""

SENDING_MODULES: Final = frozenset({"starlette.websockets"})
"""Modules that raise RuntimeError on sending after the end, as `finally: await ws.close()` does."""


def is_aftermath(error: BaseException) -> bool:
    """Whether the end of the connection is the only cause of `error`."""
    if isinstance(error, BaseExceptionGroup):
        return all(is_aftermath(one) for one in error.exceptions)
    if isinstance(error, ClientDisconnected | asyncio.CancelledError):
        return True
    if any(kind.__name__ in DISCONNECTS for kind in type(error).__mro__):
        return True
    return isinstance(error, RuntimeError) and _raised_by(error) in SENDING_MODULES


def _raised_by(error: BaseException) -> object:
    """The name of the module whose code raised it."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    return at.tb_frame.f_globals.get("__name__") if at is not None else None
