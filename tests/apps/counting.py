"""`tests.apps.raw`, counting with prometheus-client as any application would; made before the processes are forked.

While the file named by HOLD holds the name of a role, processes of this role don't finish starting.
"""

import asyncio
import os
import time
from pathlib import Path

from prometheus_client import Counter, Gauge, Histogram

from hsrv.common.asgi import Receive, Scope, Send
from tests.apps import raw

REQUESTS = Counter("orders", "Requests, as the application counts them.", ["path"])
OPEN = Gauge("orders_open", "Of the living.", multiprocess_mode="livesum")
SIZE = Histogram("orders_size", "Of each.", buckets=(1, 2))
OURS = Counter("hsrv_orders", "Under a name that isn't for applications.")
IMPORTED = Counter("imports", "Counted while it is imported.")
IMPORTED.inc()


def held(role: str) -> bool:
    path = os.environ.get("HOLD", "")
    return bool(path) and Path(path).exists() and role in Path(path).read_text()


def keep_a_copy_of_everything() -> None:
    """In a process that outlives this one by a moment."""
    if os.fork() == 0:
        time.sleep(3)
        os._exit(0)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        while held(scope["extensions"]["hsrv"]["role"]):  # noqa: ASYNC110  # a file tells nobody
            await asyncio.sleep(0.02)
    elif scope["type"] == "http":
        REQUESTS.labels(scope["path"]).inc()
        OPEN.set(1)
        SIZE.observe(1.5)
        OURS.inc()
    if scope["type"] == "http" and scope["path"] == "/environ":
        await raw.Request(scope, receive, send).json(sorted(os.environ))
    elif scope["type"] == "http" and scope["path"] == "/helper":
        keep_a_copy_of_everything()
        await raw.Request(scope, receive, send).json(raw.whoami(scope))
    else:
        await raw.app(scope, receive, send)
