"""Coroutines of modules that may be compiled (see hatch_build.py), which have none of their own.

A compiled coroutine doesn't tell what it waits for, so the stack of a task would end there; and on its way through one
a cancellation takes a form that Python 3.12 warns of.
"""

import asyncio
from collections.abc import Callable


async def until(waiter: "asyncio.Future[None] | None") -> None:
    """Wait for it, if there is any. A cancellation leaves it alone: others may wait too."""
    if waiter is not None:
        try:
            await asyncio.shield(waiter)
        finally:
            del waiter  # its error leads by the traceback back to this frame: a cycle


async def after(event: asyncio.Event, action: Callable[[], None]) -> None:
    """Wait for the event, then act."""
    await event.wait()
    action()
