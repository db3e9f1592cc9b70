"""An application that replaces parts of the standard library when it is imported, as `gevent.monkey.patch_all()` does.

Its parts end whoever uses them: nothing of hsrv may, for with gevent's they would wait for a loop that never runs.
"""

import os
import select
import sys
import threading
from typing import Any


def replaced(original: Any) -> Any:
    """What serves everybody but hsrv."""

    def replacement(*arguments: Any, **named: Any) -> Any:
        frame = sys._getframe(1)
        while frame.f_back is not None and frame.f_globals["__name__"] == "threading":
            if frame.f_code.co_name == "_after_fork":  # Python's own, whoever forks
                return original(*arguments, **named)
            frame = frame.f_back
        if frame.f_globals["__name__"].startswith("hsrv."):
            raise SystemExit(f"{original} was used")
        return original(*arguments, **named)

    return replacement


for module, names in {
    threading: ("Lock", "RLock", "_start_new_thread"),
    os: ("fork", "waitpid"),
    select: ("epoll", "select", "poll"),
}.items():
    for name in names:
        setattr(module, name, replaced(getattr(module, name)))


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"patched"})
