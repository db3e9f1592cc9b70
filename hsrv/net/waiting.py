"""Coroutines for modules that may be compiled (see hatch_build.py), which must not contain any.

A compiled coroutine doesn't expose what it awaits, so the stack of a task would end there; and a cancellation that
passes through one takes a form that Python 3.12 warns about.
"""

import asyncio
from collections.abc import Callable


async def until(waiter: "asyncio.Future[None] | None") -> None:
    """Wait for the future, if there is one. A cancellation doesn't cancel it: others may be waiting too."""
    if waiter is not None:
        try:
            await asyncio.shield(waiter)
        finally:
            del waiter  # the traceback of its exception refers to this frame: a reference cycle


async def after(event: asyncio.Event, action: Callable[[], None]) -> None:
    """Wait for the event, then act."""
    await event.wait()
    action()
