"""The process's own context (PEP 567), and callbacks in it.

Owns the context in which all callbacks of hsrv run, and from which every request, WebSocket and collector of a process
starts: the context variables as the import of the application left them. Promise: nothing that an application sets in a
call is visible outside of it. asyncio copies the current context for each callback and task, and hsrv's code often runs
on an application's stack, within its receive() or send(); so no other module calls `call_soon` and similar functions
(`tests/test_contexts.py`).
"""

import asyncio
import contextlib
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any


def own_context(loop: asyncio.AbstractEventLoop) -> Context:
    """The context of the process that runs `loop`, captured on the first call. An application call gets a copy, whose
    cost doesn't depend on its size; only hsrv's callbacks run in the context itself, and they set nothing."""
    found: Context | None = getattr(loop, "hsrv_context", None)
    if found is None:
        found = copy_context()
        if hasattr(loop, "__dict__"):
            loop.hsrv_context = found  # type: ignore[attr-defined]  # our loops take attributes
    return found


def soon(loop: asyncio.AbstractEventLoop, callback: Callable[..., object], *args: Any) -> asyncio.Handle:
    """Call back in the next turn of the loop."""
    return loop.call_soon(callback, *args, context=own_context(loop))


def soon_from_thread(loop: asyncio.AbstractEventLoop, callback: Callable[..., object], *args: Any) -> None:
    """Call back in the loop's thread, from another one. Nothing happens once the loop is closed."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(callback, *args, context=own_context(loop))


def later(
    loop: asyncio.AbstractEventLoop, seconds: float, callback: Callable[..., object], *args: Any
) -> asyncio.TimerHandle:
    """Call back after `seconds`."""
    return loop.call_later(seconds, callback, *args, context=own_context(loop))


def at_end(task: "asyncio.Task[Any]", callback: Callable[["asyncio.Task[Any]"], object]) -> None:
    """Call back with the task when it is done."""
    task.add_done_callback(callback, context=own_context(task.get_loop()))
