"""`tests.apps.raw` with workers that accept nothing: every connection is accepted by the pool."""

import os
import socket
from pathlib import Path

from hsrv.common.asgi import Receive, Scope, Send
from tests.apps import raw


def accept_nothing() -> None:
    """Put other sockets in the places of this process's listening sockets: nobody connects to these."""
    for entry in list(Path("/proc/self/fd").iterdir()):
        fd = int(entry.name)
        try:
            if not entry.readlink().name.startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(fd)) as one:
                family, listens = one.family, one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        except OSError:
            continue
        if listens:
            with socket.socket(family) as other:
                other.bind("" if family == socket.AF_UNIX else ("localhost", 0))
                other.listen()
                other.setblocking(False)
                os.dup2(other.fileno(), fd, inheritable=False)


def accept_nothing_in_a_worker(scope: Scope) -> None:
    """To be called at lifespan startup."""
    if scope["extensions"]["hsrv"]["role"] == "worker":
        accept_nothing()


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        accept_nothing_in_a_worker(scope)
    await raw.app(scope, receive, send)
