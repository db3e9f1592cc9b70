"""An application whose background tasks try to exit, and that can't start while the file named by BROKEN exists."""

import asyncio
import os
import sys
from pathlib import Path

from hsrv.common.asgi import Receive, Scope, Send

tasks: set[asyncio.Task[None]] = set()


def is_broken() -> bool:
    return Path(os.environ["BROKEN"]).exists()


async def leave() -> None:
    await asyncio.sleep(0.01)
    sys.exit("enough")


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        if is_broken():
            raise RuntimeError("broken on purpose")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    if "exit" in scope["path"]:
        task = asyncio.create_task(leave())
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        await asyncio.sleep(0.3)
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
