"""A raw ASGI application with one path per behaviour.

Side effects are lines appended to the file named by RECORD: one O_APPEND write each, so that any process may.
"""

import asyncio
import contextlib
import ctypes
import json
import os
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from hsrv.common.asgi import Message, Receive, Scope, Send


def record(line: str) -> None:
    path = os.environ.get("RECORD")
    if path:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(fd, f"{line}\n".encode())
        os.close(fd)


BLOCK = b"0123456789abcdef" * 4096

_hogged: list[int] = []


def whoami(scope: Scope) -> dict[str, Any]:
    return {"pid": os.getpid(), **scope["extensions"]["hsrv"]}


def hold_the_gil() -> None:
    while True:  # a signal ends each
        ctypes.PyDLL(None).sleep(60)  # unlike CDLL it doesn't let go of it


class Request:
    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        self.query = {
            k: v[0] for k, v in parse_qs(scope["query_string"].decode(), keep_blank_values=True).items()
        }

    async def start(self, status: int = 200, *headers: tuple[bytes, bytes]) -> None:
        await self.send({"type": "http.response.start", "status": status, "headers": list(headers)})

    async def body(self, data: bytes = b"", more: bool = False) -> None:
        await self.send({"type": "http.response.body", "body": data, "more_body": more})

    async def json(self, value: Any, status: int = 200) -> None:
        await self.start(status, (b"content-type", b"application/json"))
        await self.body(json.dumps(value).encode())

    async def read(self) -> bytes:
        data = bytearray()
        while True:
            message: Message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ConnectionAbortedError("disconnected")
            data += message.get("body", b"")
            if not message.get("more_body"):
                return bytes(data)

    # paths

    async def root(self) -> None:
        await self.json({**whoami(self.scope), "version": os.environ.get("VERSION", "")})

    async def scope_(self) -> None:
        keys = (
            "type",
            "http_version",
            "method",
            "scheme",
            "path",
            "query_string",
            "root_path",
            "client",
            "server",
        )
        shown = {key: self.scope.get(key) for key in keys}
        shown["query_string"] = self.scope["query_string"].decode()
        shown["headers"] = [[k.decode("latin-1"), v.decode("latin-1")] for k, v in self.scope["headers"]]
        shown["extensions"] = sorted(self.scope["extensions"])
        shown["state"] = {k: repr(v) for k, v in self.scope["state"].items()}
        await self.json(shown)

    async def echo(self) -> None:
        data = await self.read()
        await self.start(200, (b"content-type", b"application/octet-stream"))
        await self.body(data)

    async def drop(self) -> None:
        """Reads all, and keeps none of it."""
        while (await self.receive()).get("more_body"):
            pass
        await self.json({})

    async def echo_recorded(self) -> None:
        """Tells of the first part of the body as soon as it is here."""
        message = await self.receive()
        record(f"received {self.query['key']}")
        rest = await self.read() if message.get("more_body") else b""
        await self.start(200)
        await self.body(message.get("body", b"") + rest)

    async def read_late(self) -> None:
        await asyncio.sleep(float(self.query["s"]))
        await self.echo()

    async def read_think_read(self) -> None:
        """The first part of the body, then `s` seconds without reading, then the rest of it."""
        message = await self.receive()
        await asyncio.sleep(float(self.query["s"]))
        if message.get("more_body"):
            await self.read()
        await self.json(whoami(self.scope))

    async def read_then_sleep(self) -> None:
        await self.read()
        await asyncio.sleep(float(self.query["s"]))
        await self.json(whoami(self.scope))

    async def echo_chunked(self) -> None:
        await self.start(200)
        more = True
        while more:
            message = await self.receive()
            more = message.get("more_body", False)
            await self.body(message.get("body", b""), True)
        await self.body()

    async def count(self) -> None:
        record(f"count {self.query.get('key', '')}")
        await self.json(whoami(self.scope))

    async def big(self) -> None:
        size = int(self.query["size"])
        await self.start(200, (b"content-length", str(size).encode()))
        await self.body(b"0123456789abcdef" * (size // 16) + b"x" * (size % 16))

    async def chunks(self) -> None:
        await self.start(200)
        for number in range(int(self.query.get("n", "3"))):
            await self.body(f"{number},".encode(), True)
        await self.body(b"end")

    async def blocks(self) -> None:
        """`n` pieces of 64 KiB, as fast as the client takes them."""
        await self.start(200)
        for _ in range(int(self.query["n"])):
            await self.body(BLOCK, True)
        await self.body(b"" if int(self.query["n"]) else self.scope["extensions"]["hsrv"]["role"].encode())

    async def hog(self) -> None:
        """Take every descriptor of this process, until /let-go."""
        with contextlib.suppress(OSError):
            while True:
                _hogged.append(os.dup(0))
        await self.json({"descriptors": len(_hogged)})

    async def let_go(self) -> None:
        while _hogged:
            os.close(_hogged.pop())
        await self.json({})

    async def sleep(self) -> None:
        record(f"sleep-start {self.query.get('key', '')}")
        await asyncio.sleep(float(self.query["s"]))
        record(f"sleep-end {self.query.get('key', '')}")
        await self.json(whoami(self.scope))

    async def burn(self) -> None:
        end = time.perf_counter() + float(self.query["s"])
        n = 0
        while time.perf_counter() < end:
            n += 1
        await self.json(whoami(self.scope))

    async def held(self) -> None:
        """As `burn`, in C code that never lets go of the GIL."""
        ctypes.PyDLL(None).usleep(int(float(self.query["s"]) * 1e6))
        await self.json(whoami(self.scope))

    async def spin(self) -> None:
        while True:
            pass

    async def gil(self) -> None:
        hold_the_gil()

    async def sse(self) -> None:
        """Events until `n` or until the client is gone. `plain` hides what they are from the content type."""
        record(f"count {self.query.get('key', '')}")
        kind = b"text/plain" if "plain" in self.query else b"text/event-stream"
        await self.start(200, (b"content-type", kind))
        number, n = 0, int(self.query.get("n", "1000000000"))
        interval = float(self.query.get("interval", "0.02"))
        gone = asyncio.ensure_future(self._gone())
        try:
            while number < n and not gone.done():
                event = {"n": number, **whoami(self.scope)}
                data = f"id: {number}\ndata: {json.dumps(event)}\n\n".encode()
                if "halves" in self.query:
                    await self.body(data[:10], True)
                    await asyncio.wait([gone], timeout=interval)
                    await self.body(data[10:], True)
                else:
                    await self.body(data, True)
                number += 1
                if number < n:
                    await asyncio.wait([gone], timeout=interval)
            await self.body()
        finally:
            gone.cancel()
            record(f"sse-end {self.query.get('key', '')}")

    async def sse_late(self) -> None:
        """An event stream whose first event takes its time."""
        await self.start(200, (b"content-type", b"text/event-stream"))
        await asyncio.sleep(float(self.query.get("s", "1")))
        await self.body(b"data: late\n\n")

    async def _gone(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def until_disconnect(self) -> None:
        record(f"waiting {self.scope['extensions']['hsrv']['role']}")
        await self._gone()
        record("disconnected")

    async def file(self) -> None:
        await self.start(200, (b"content-type", b"application/octet-stream"))
        await self.send({"type": "http.response.pathsend", "path": self.query["path"]})

    async def hint(self) -> None:
        await self.send({"type": "http.response.early_hint", "links": [b"</style.css>; rel=preload"]})
        await self.json({})

    async def fail(self) -> None:
        raise RuntimeError("before the response")

    async def cancel(self) -> None:
        if "late" in self.query:
            await asyncio.sleep(0)
        raise asyncio.CancelledError("of the application")

    async def fail_late(self) -> None:
        await self.start(200)
        await self.body(b"part", True)
        raise RuntimeError("after the response started")

    async def silent(self) -> None:
        """Returns without a response."""

    async def background(self) -> None:
        await self.json(whoami(self.scope))
        await asyncio.sleep(float(self.query.get("s", "0.2")))
        record(f"background {self.query.get('key', '')}")

    async def ignore_body(self) -> None:
        await self.json({"ignored": True})

    async def set_state(self) -> None:
        self.scope["state"]["mine"] = "changed"
        self.scope["state"].setdefault("shared", []).append(1)
        await self.json({"shared": len(self.scope["state"]["shared"])})


async def websocket(scope: Scope, receive: Receive, send: Send) -> None:
    query = {k: v[0] for k, v in parse_qs(scope["query_string"].decode(), keep_blank_values=True).items()}
    record(f"count {query.get('key', '')}")
    await receive()
    if scope["path"] == "/deny":
        await send({"type": "websocket.http.response.start", "status": 401, "headers": [(b"x-why", b"no")]})
        await send({"type": "websocket.http.response.body", "body": b"who are you?"})
        return
    if scope["path"] == "/reject":
        await send({"type": "websocket.close", "code": 4000})
        return
    subprotocols = scope["subprotocols"]
    await send({"type": "websocket.accept", "subprotocol": subprotocols[0] if subprotocols else None})
    if "hello" in query:
        await send({"type": "websocket.send", "text": json.dumps(whoami(scope))})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            record(f"ws-end {message['code']}")
            return
        if message.get("text") == "cancel":
            raise asyncio.CancelledError("of the application")
        if message.get("text") == "close":
            await send({"type": "websocket.close", "code": 4001, "reason": "asked"})
            return
        if "sink" in query:
            continue
        reply = {k: message[k] for k in ("text", "bytes") if message.get(k) is not None}
        await send({"type": "websocket.send", **reply})


async def lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    extension = scope["extensions"]["hsrv"]
    name = f"{extension['role']}-{extension['slot']}"
    await receive()
    scope["state"]["started_by"] = os.getpid()
    scope["state"]["shared"] = []
    record(f"startup {name} leader={extension['leader']}")
    await send({"type": "lifespan.startup.complete"})
    await receive()
    record(f"shutdown {name}")
    await send({"type": "lifespan.shutdown.complete"})


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await lifespan(scope, receive, send)
    elif scope["type"] == "websocket":
        await websocket(scope, receive, send)
    else:
        request = Request(scope, receive, send)
        name = (
            scope["path"].removeprefix(scope["root_path"]).strip("/").replace("-", "_").split("/")[0]
            or "root"
        )
        handler = getattr(request, "scope_" if name == "scope" else name, None)
        if handler is None:
            await request.start(404)
            await request.body(b"not found")
        else:
            await handler()


def recorded(path: Path) -> list[str]:
    """The lines that `record` wrote."""
    return path.read_text().splitlines() if path.exists() else []
