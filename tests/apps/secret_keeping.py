"""`tests.apps.contexts`, and beside it FastAPI under /dep: a dependency's cache, threads, and WebSockets."""

import threading
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, WebSocket
from structlog.contextvars import bind_contextvars

from hsrv.common.asgi import Receive, Scope, Send
from tests.apps import contexts

api = FastAPI()
per_thread = threading.local()


class Holder:
    """One per request: FastAPI keeps it for whoever else depends on it there."""

    def __init__(self) -> None:
        self.found: list[str] = []


Held = Annotated[Holder, Depends(Holder)]


def leave(request: Request, holder: Held) -> str:
    """Runs in a thread, as does `in_thread`: each with a copy of the request's context."""
    mine = request.url.query
    holder.found += [*contexts.seen(), *([request.state.secret] if hasattr(request.state, "secret") else [])]
    request.state.secret = per_thread.secret = mine
    contexts.secret.set(mine)
    bind_contextvars(secret=mine)
    return str(per_thread.secret)


Mine = Annotated[str, Depends(leave)]


@api.get("/dep/thread")
def in_thread(request: Request, mine: Mine, holder: Held) -> dict[str, Any]:
    per_thread.secret = mine
    return {
        "me": per_thread.secret,
        "before": [*holder.found, *contexts.seen()],
        "after": [request.state.secret, mine],
    }


@api.get("/dep/loop")
async def on_loop(request: Request, mine: Mine, holder: Held) -> dict[str, Any]:
    return {"me": mine, "before": [*holder.found, *contexts.seen()], "after": [request.state.secret, mine]}


@api.websocket("/dep/ws")
async def websocket(socket: WebSocket, holder: Held) -> None:
    mine = socket.url.query
    holder.found += contexts.seen()
    contexts.secret.set(mine)
    bind_contextvars(secret=mine)
    await socket.accept()
    async for _ in socket.iter_text():
        await socket.send_json({"me": mine, "before": holder.found, "after": contexts.seen()})


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    inner = api if scope.get("path", "").startswith("/dep") else contexts.app
    await inner(scope, receive, send)
