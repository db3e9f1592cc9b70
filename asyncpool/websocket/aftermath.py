"""What an application raises because its WebSocket has ended, which is no error of it; and what that holds.

ASGI: servers should not log what they raise in `send()` of a closed connection. Frameworks make exceptions of their own
of it, and of `websocket.disconnect`; task groups wrap them.
"""

import asyncio
from traceback import clear_frames
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


def forget(error: BaseException) -> None:
    """Free what the functions that `error` went through had in their hands, once it is told.

    A task group, or a handler that keeps what it caught, makes a circle of an exception and its traceback. All that a
    connection had would wait in it for the garbage collector.
    """
    seen: set[int] = set()
    open_: list[BaseException | None] = [error]
    while open_:
        one = open_.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        clear_frames(one.__traceback__)
        open_ += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            open_ += one.exceptions


def _raised_by(error: BaseException) -> object:
    """The name of the module whose code has raised it."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    return at.tb_frame.f_globals.get("__name__") if at is not None else None
