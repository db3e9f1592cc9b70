"""An application whose pool can't start while the file named by BROKEN exists; otherwise `tests.apps.raw`."""

import os
from pathlib import Path

from hsrv.common.asgi import Receive, Scope, Send
from tests.apps import raw


def broken() -> bool:
    return Path(os.environ["BROKEN"]).exists()


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan" and scope["extensions"]["hsrv"]["role"] == "pool" and broken():
        await receive()
        raise RuntimeError("broken on purpose")
    await raw.app(scope, receive, send)
