"""An application that says which code it is: the number in the file named by VERSION_FILE, read at import."""

import asyncio
import json
import os
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from hsrv.common.asgi import Receive, Scope, Send

FILE = Path(os.environ.get("VERSION_FILE", os.devnull))
TICK = 0.1
PIECE = bytes(range(256)) * 64
PIECES = 64
"""Of PIECE in /large: 1 MiB."""


def written() -> int:
    """What the file says now."""
    return int(FILE.read_text() or 0)


VERSION = written()


def me(scope: Scope, **more: Any) -> bytes:
    own = scope["extensions"]["hsrv"]
    return json.dumps({"version": VERSION, "pid": os.getpid(), "role": own["role"], **more}).encode()


async def answer(send: Send, body: bytes) -> None:
    length = str(len(body)).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
    await send({"type": "http.response.body", "body": body})


async def plain(scope: Scope, receive: Receive, send: Send, query: dict[str, str]) -> None:
    if "s" in query:
        await asyncio.sleep(float(query["s"]))
    await answer(send, me(scope, n=query.get("n", "")))


async def upload(scope: Scope, receive: Receive, send: Send, query: dict[str, str]) -> None:
    size, crc, more = 0, 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body = message.get("body", b"")
        size, crc, more = size + len(body), zlib.crc32(body, crc), message.get("more_body", False)
    await answer(send, me(scope, size=size, crc=crc))


async def large(scope: Scope, receive: Receive, send: Send, query: dict[str, str]) -> None:
    """In pieces, so that the application waits for a slow reader; the version is in the header."""
    headers = [(b"content-length", str(len(PIECE) * PIECES).encode()), (b"x-me", me(scope))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for number in range(PIECES):
        more = number < PIECES - 1
        await send({"type": "http.response.body", "body": PIECE, "more_body": more})


async def sse(scope: Scope, receive: Receive, send: Send, query: dict[str, str]) -> None:
    """`n` events, or until the file says `until`; with `halves` each in two parts with time between; with `late`
    nothing at all for so long."""
    await asyncio.sleep(float(query.get("late", 0)))
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    last, until, number = int(query.get("n", 1 << 30)) - 1, int(query.get("until", 0)), -1
    while number < last:
        number += 1
        if until and written() >= until:
            last = number
        event = b"data: " + me(scope, n=number) + b"\n\n"
        if "halves" in query:
            await send({"type": "http.response.body", "body": event[:9], "more_body": True})
            await asyncio.sleep(TICK / 2)
            event = event[9:]
        await send({"type": "http.response.body", "body": event, "more_body": number < last})
        if number < last:
            await asyncio.sleep(TICK)


async def websocket(scope: Scope, receive: Receive, send: Send, query: dict[str, str]) -> None:
    """Echoes, with our version; with `late` it accepts only after so long."""
    await receive()
    await asyncio.sleep(float(query.get("late", 0)))
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] != "websocket.disconnect":
        await send({"type": "websocket.send", "text": me(scope, echo=message["text"]).decode()})


async def lifespan(receive: Receive, send: Send) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


PATHS = {"/": plain, "/upload": upload, "/large": large, "/sse": sse, "/ws": websocket}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    else:
        query = dict(parse_qsl(scope["query_string"].decode(), keep_blank_values=True))
        await PATHS[scope["path"]](scope, receive, send, query)
