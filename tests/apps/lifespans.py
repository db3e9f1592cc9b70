"""Applications that differ in their lifespan. Each answers 200 to anything else."""

import asyncio
import sys

from hsrv.common.asgi import Receive, Scope, Send


async def answer(send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


async def unsupported(scope: Scope, receive: Receive, send: Send) -> None:
    """Django's way: anything but http is an error."""
    if scope["type"] != "http":
        raise ValueError(f"only http, not {scope['type']}")
    await answer(send)


async def returns(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await answer(send)


async def failed(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database at db.example:5432"})
    else:
        await answer(send)


async def raises(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        raise ConnectionError("the database said no")
    await answer(send)


async def hangs(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await asyncio.sleep(3600)
    await answer(send)


async def hangs_at_shutdown(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await asyncio.sleep(3600)
    await answer(send)


async def exits(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        sys.exit(7)
    await answer(send)
