"""What an application raises because its WebSocket has ended, which is no error of it.

ASGI: servers should not log what they raise in `send()` of a closed connection. Frameworks make exceptions of their own
of it, and of `websocket.disconnect`; task groups wrap them.
"""

import asyncio
from typing import Final

from hsrv.common.errors import ClientDisconnected

DISCONNECTS: Final = frozenset({"WebSocketDisconnect"})
"""Classes by name, of Starlette, FastAPI and Litestar: none of them can be imported here."""

SPEAKERS: Final = frozenset({"starlette.websockets"})
"""Modules that raise RuntimeError when they are to send on what has ended: by `finally: await ws.close()`."""


def is_aftermath(error: BaseException) -> bool:
    """Whether there is nothing in `error` but the end of the connection."""
    if isinstance(error, BaseExceptionGroup):
        return all(is_aftermath(one) for one in error.exceptions)
    if isinstance(error, ClientDisconnected | asyncio.CancelledError):
        return True
    if any(kind.__name__ in DISCONNECTS for kind in type(error).__mro__):
        return True
    return isinstance(error, RuntimeError) and _raised_by(error) in SPEAKERS


def _raised_by(error: BaseException) -> object:
    """The name of the module whose code has raised it."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    return at.tb_frame.f_globals.get("__name__") if at is not None else None
