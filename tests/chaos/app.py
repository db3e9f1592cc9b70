"""What the storm is served by. Each call is recorded first, by one O_APPEND write to a descriptor that is opened
once: a server without descriptors must not make the recorder fail."""

import asyncio
import json
import os

from hsrv.common.asgi import Receive, Scope, Send

_record = os.open(os.environ["CHAOS_RECORD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    _, kind, key, *arguments = scope["path"].split("/")
    scope["path_params"] = {"key": key}  # so that what is learned of a path is not the key
    os.write(_record, f"{key} {os.getpid()}\n".encode())
    if scope["type"] == "websocket":
        await _websocket(key, scope, receive, send)
    elif kind == "sse":
        await _events(key, int(arguments[0]), scope, receive, send)
    else:
        await _answer(key, [kind, *arguments], scope, receive, send)


def _whoami(key: str, scope: Scope) -> dict[str, object]:
    return {"key": key, "pid": os.getpid(), "generation": scope["extensions"]["hsrv"]["generation"]}


async def _answer(key: str, wanted: list[str], scope: Scope, receive: Receive, send: Send) -> None:
    kind, *arguments = wanted
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message["body"])
        more = message["more_body"]
    if kind == "wait":
        await asyncio.sleep(float(arguments[0]))
    padding = "x" * int(arguments[0]) if kind == "big" else ""
    body = json.dumps({**_whoami(key, scope), "size": size, "padding": padding}).encode()
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]}
    )
    await send({"type": "http.response.body", "body": body})


async def _events(key: str, count: int, scope: Scope, receive: Receive, send: Send) -> None:
    kind = (b"content-type", b"text/event-stream")
    await send({"type": "http.response.start", "status": 200, "headers": [kind]})
    for number in range(count):
        event = json.dumps({**_whoami(key, scope), "number": number})
        await send({"type": "http.response.body", "body": f"data: {event}\n\n".encode(), "more_body": True})
        await asyncio.sleep(0.02)
    await send({"type": "http.response.body", "body": b""})


async def _websocket(key: str, scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": json.dumps(_whoami(key, scope))})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})
