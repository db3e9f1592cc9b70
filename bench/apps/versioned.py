"""A raw ASGI application that says which code it is: what stood in a file when it was imported."""

import asyncio
import os
from pathlib import Path
from typing import Any

FILE = Path(os.environ["BENCH_FOLDER"]) / "version"
VERSION = FILE.read_bytes() if FILE.exists() else b"0"
TICK = 0.1


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "websocket":
        await websocket(receive, send)
    elif scope["path"] == "/events":
        await events(send)
    else:
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(VERSION))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": VERSION})


async def lifespan(receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def events(send: Any) -> None:
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    while True:
        await send({"type": "http.response.body", "body": b"data: %s\n\n" % VERSION, "more_body": True})
        await asyncio.sleep(TICK)


async def websocket(receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] != "websocket.disconnect":
        await send({"type": "websocket.send", "bytes": VERSION})
