"""Code that knows nothing of event loops, on the thread of one.

Django refuses its database, and asgiref and asyncio.run() refuse to work, where a loop runs in the same thread: with
reason, as whoever calls them could wait for the loop that they hold up. WSGI code can't: nothing of it runs in a task.
So while it runs there is no running loop and no current task to be found. asyncio has functions for that, in its
`__all__`, for those who write event loops and tasks.
"""

import asyncio
import sys
from typing import Any

Hidden = tuple[asyncio.AbstractEventLoop, "asyncio.Task[Any] | None"]


def hide_loop() -> Hidden:
    """From now on the running loop and the current task are not to be found."""
    loop = asyncio.get_running_loop()
    task = _leave(loop)
    asyncio._set_running_loop(None)
    return loop, task


def show_loop(loop: asyncio.AbstractEventLoop, task: "asyncio.Task[Any] | None") -> None:
    """What `hide_loop` has hidden is there again. A loop that was left running meanwhile is not: it is overwritten."""
    asyncio._set_running_loop(loop)
    if task is not None:
        _enter(loop, task)


if sys.version_info >= (3, 12):
    _swap = asyncio.tasks._swap_current_task  # type: ignore[attr-defined]  # in its __all__, not in typeshed

    def _leave(loop: asyncio.AbstractEventLoop) -> "asyncio.Task[Any] | None":
        task: asyncio.Task[Any] | None = _swap(loop, None)
        return task

    def _enter(loop: asyncio.AbstractEventLoop, task: "asyncio.Task[Any]") -> None:
        _swap(loop, task)

else:

    def _leave(loop: asyncio.AbstractEventLoop) -> "asyncio.Task[Any] | None":
        task = asyncio.current_task(loop)
        if task is not None:
            asyncio.tasks._leave_task(loop, task)
        return task

    def _enter(loop: asyncio.AbstractEventLoop, task: "asyncio.Task[Any]") -> None:
        asyncio.tasks._enter_task(loop, task)
