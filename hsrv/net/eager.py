"""Tasks that start running at once, on the caller's stack, instead of one turn of the loop later.

An application that never waits is then finished when `start()` returns: no scheduling, no second system call.
"""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, Final

Step = Callable[[], object]

if sys.version_info >= (3, 12):

    def start(
        coro: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop, context: Context
    ) -> "asyncio.Task[None]":
        """A task of `coro`, run up to its first real wait. Call it on the running loop, outside of any task."""
        return asyncio.Task(coro, loop=loop, context=context, eager_start=True)

else:
    _steps: Final[list[Step]] = []

    def _catch(step: Step, *, context: Context | None = None) -> None:
        _steps.append(step)

    def start(
        coro: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop, context: Context
    ) -> "asyncio.Task[None]":
        """A task of `coro`, run up to its first real wait. Call it on the running loop, outside of any task.

        Python 3.11 has no eager tasks, but a task's constructor hands its first step to `loop.call_soon`: an
        instance attribute catches it, and it runs here. The task is a genuine one, so current_task() and
        cancellation work inside the first step. The loop must be a Python subclass (see `hsrv.net.loops`).
        """
        attributes = loop.__dict__
        attributes["call_soon"] = _catch
        try:
            task = asyncio.Task(coro, loop=loop, context=context)
        finally:
            del attributes["call_soon"]
        context.run(_steps.pop())
        return task
