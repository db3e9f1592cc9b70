"""WebSockets, each kind below /NAME: what becomes of them when their client or their application leaves.

Before its process ends it records what lives in it. The collector is off.
"""

import asyncio
import gc
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

import hsrv
from hsrv.common.asgi import Message, Receive, Scope, Send
from tests.apps.living import alive, begun
from tests.apps.raw import record

# Starlette


async def _echo(ws: WebSocket) -> None:
    await ws.accept()
    async for text in ws.iter_text():
        await ws.send_text(text)


async def _alive(request: Request) -> JSONResponse:
    return JSONResponse(alive())


starlette = Starlette(routes=[WebSocketRoute("/echo/{role}", _echo), Route("/alive/{role}", _alive)])


# raw ASGI


async def messages(key: str, receive: Receive) -> AsyncGenerator[Message, None]:
    """Until the end."""
    begun.add(key)
    try:
        while (message := await receive())["type"] != "websocket.disconnect":
            yield message
    finally:
        begun.remove(key)


ACCEPT = {"type": "websocket.accept"}


async def sink(scope: Scope, receive: Receive, send: Send) -> None:
    """Accepts, and takes what comes."""
    async with aclosing(messages(scope["query_string"].decode(), receive)) as coming:
        async for message in coming:
            if message["type"] == "websocket.connect":
                await send(ACCEPT)


async def talks(scope: Scope, receive: Receive, send: Send) -> None:
    """Sends more than anybody takes."""
    await send(ACCEPT)
    while True:
        await send({"type": "websocket.send", "bytes": bytes(100_000)})


async def returns(scope: Scope, receive: Receive, send: Send) -> None:
    await send(ACCEPT)


async def raises(scope: Scope, receive: Receive, send: Send) -> None:
    """Amid the messages."""
    async for message in messages(scope["query_string"].decode(), receive):
        if message["type"] != "websocket.connect":
            raise RuntimeError("on purpose")
        await send(ACCEPT)


async def raises_early(scope: Scope, receive: Receive, send: Send) -> None:
    raise RuntimeError("on purpose")


async def refuses(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "websocket.close"})


async def denies(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "websocket.http.response.start", "status": 401, "headers": []})
    await send({"type": "websocket.http.response.body", "body": b"no"})


async def deaf(scope: Scope, receive: Receive, send: Send) -> None:
    """Never learns of its end."""
    await send(ACCEPT)
    async with aclosing(messages(scope["query_string"].decode(), receive)) as coming:
        await anext(coming)
        await asyncio.Event().wait()


APPS: dict[str, Any] = {
    "alive": starlette,
    "echo": starlette,
    "sink": sink,
    "talks": talks,
    "returns": returns,
    "raises": raises,
    "raises-early": raises_early,
    "refuses": refuses,
    "denies": denies,
    "deaf": deaf,
}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "lifespan":
        await APPS[scope["path"].split("/")[1]](scope, receive, send)
        return
    gc.disable()
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    record(f"left {hsrv.process().role} {json.dumps(alive())}")
    await send({"type": "lifespan.shutdown.complete"})
