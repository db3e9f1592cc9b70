"""The application under test: echoes what it saw, misbehaves where the path says so.

Every call is recorded as one line of the file named by RECORD, when it has its request whole: of a body in chunks, or
one that takes its time, the application sees the beginning before anybody can tell what follows.
"""

import json
import os
from typing import Any

from hsrv.common.asgi import Message, Receive, Scope, Send
from tests.apps.late import accept_nothing_in_a_worker

Pairs = tuple[tuple[Any, Any], ...]

PATH_LENGTH = len("/work/000000")


def start(status: Any = 200, *headers: Any, trailers: bool = False) -> Message:
    return {"type": "http.response.start", "status": status, "headers": headers, "trailers": trailers}


def body(data: Any = b"", *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


def trailers(*headers: Any) -> Message:
    return {"type": "http.response.trailers", "headers": headers}


def hint(*links: bytes) -> Message:
    return {"type": "http.response.early_hint", "links": links}


class Failure(Exception):
    """Raised instead of the message that would come next."""


TEXT = (b"content-type", b"text/plain")


def length(size: int) -> tuple[bytes, bytes]:
    return (b"content-length", str(size).encode())


SCRIPTS: dict[str, list[Message | type[Failure]]] = {
    # framing
    "whole": [start(200, TEXT), body(b"hello")],
    "empty": [start(200), body()],
    "parts": [start(200), body(b"hel", more=True), body(b"lo", more=True), body()],
    "parts-last": [start(200), body(b"hel", more=True), body(b"lo")],
    "parts-empty": [
        start(200),
        body(b"", more=True),
        body(b"hel", more=True),
        body(b"", more=True),
        body(b"lo"),
    ],
    "parts-length": [start(200, length(5)), body(b"hel", more=True), body(b"lo")],
    "length": [start(200, length(5)), body(b"hello")],
    "length-twice-equal": [start(200, length(5), length(5)), body(b"hello")],
    "length-twice-different": [start(200, length(5), length(6)), body(b"hello")],
    "length-plus": [start(200, (b"content-length", b"+5")), body(b"hello")],
    "length-list": [start(200, (b"content-length", b"5, 5")), body(b"hello")],
    "length-negative": [start(200, (b"content-length", b"-1")), body(b"hello")],
    "length-empty": [start(200, (b"content-length", b"")), body(b"hello")],
    "length-huge": [start(200, (b"content-length", b"9" * 5000)), body(b"hello")],
    "too-long": [start(200, length(4)), body(b"hello")],
    "too-long-parts": [start(200, length(3)), body(b"hel", more=True), body(b"lo")],
    "too-short": [start(200, length(6)), body(b"hello")],
    "too-short-parts": [start(200, length(6)), body(b"hel", more=True), body(b"lo")],
    "too-short-silent": [start(200, length(6)), body(b"hel", more=True)],
    "coding": [start(200, (b"transfer-encoding", b"chunked")), body(b"hello")],
    "coding-parts": [start(200, (b"Transfer-Encoding", b"gzip")), body(b"hel", more=True), body(b"lo")],
    "coding-length": [start(200, (b"transfer-encoding", b"chunked"), length(5)), body(b"hello")],
    # statuses without a body
    "204": [start(204), body(b"hello")],
    "204-length": [start(204, length(5)), body(b"hello")],
    "204-parts": [start(204), body(b"hel", more=True), body(b"lo")],
    "205": [start(205), body(b"hello")],
    "205-parts": [start(205, length(5)), body(b"hel", more=True), body(b"lo")],
    "304": [start(304), body(b"hello")],
    "304-length": [start(304, length(5)), body(b"hello")],
    "304-parts": [start(304), body(b"hel", more=True), body(b"lo")],
    "426": [start(426, (b"upgrade", b"h9")), body(b"hello")],
    "499": [start(499), body(b"hello")],
    # injection
    "value-crlf": [start(200, (b"x-a", b"b\r\nset-cookie: c=d")), body(b"hello")],
    "value-crlf-body": [start(200, (b"x-a", b"b\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")), body(b"hello")],
    "value-cr": [start(200, (b"x-a", b"b\rset-cookie: c=d")), body(b"hello")],
    "value-lf": [start(200, (b"x-a", b"b\nset-cookie: c=d")), body(b"hello")],
    "value-nul": [start(200, (b"x-a", b"b\0c")), body(b"hello")],
    "value-vt": [start(200, (b"x-a", b"b\x0bc")), body(b"hello")],
    "value-del": [start(200, (b"x-a", b"b\x7fc")), body(b"hello")],
    "value-type-crlf": [start(200, (b"content-type", b"text/plain\r\nx: y")), body(b"hello")],
    "value-date-crlf": [start(200, (b"date", b"x\r\ny: z")), body(b"hello")],
    "value-upgrade-crlf": [start(426, (b"upgrade", b"x\r\ny: z")), body(b"hello")],
    "value-dropped-crlf": [start(200, (b"keep-alive", b"x\r\ny: z")), body(b"hello")],
    "name-crlf": [start(200, (b"x-a: b\r\nset-cookie", b"c=d")), body(b"hello")],
    "name-lf": [start(200, (b"x-a\n", b"c=d")), body(b"hello")],
    "name-colon": [start(200, (b"x-a:", b"b")), body(b"hello")],
    "name-space": [start(200, (b"x a", b"b")), body(b"hello")],
    "name-trailing-space": [start(200, (b"content-length ", b"9")), body(b"hello")],
    "name-empty": [start(200, (b"", b"b")), body(b"hello")],
    "name-latin": [start(200, (b"x-\xe9", b"b")), body(b"hello")],
    "name-text": [start(200, ("x-a", b"b")), body(b"hello")],
    "value-text": [start(200, (b"x-a", "b")), body(b"hello")],
    "no-pair": [start(200, (b"x-a",)), body(b"hello")],
    "hint-crlf": [hint(b"</a>\r\nx: y"), start(200), body(b"hello")],
    "trailer-crlf": [start(200, trailers=True), body(b"hello"), trailers((b"x-t", b"a\r\n\r\nGET /"))],
    # statuses
    "status-99": [start(99), body(b"hello")],
    "status-100": [start(100), body(b"hello")],
    "status-101": [start(101), body(b"hello")],
    "status-600": [start(600), body(b"hello")],
    "status-1000": [start(1000), body(b"hello")],
    "status-text": [start("200 OK\r\nx: y"), body(b"hello")],
    "status-none": [start(None), body(b"hello")],
    # order
    "silent": [],
    "raise": [Failure],
    "raise-started": [start(200), Failure],
    "raise-parts": [start(200), body(b"hel", more=True), Failure],
    "raise-complete": [start(200), body(b"hello"), Failure],
    "unfinished": [start(200), body(b"hel", more=True)],
    "body-first": [body(b"hello")],
    "start-twice": [start(200), start(200), body(b"hello")],
    "start-late": [start(200), body(b"hel", more=True), start(200), body(b"lo")],
    "body-late": [start(200), body(b"hello"), body(b"more")],
    "body-text": [start(200), body("hello")],
    "unknown": [{"type": "http.response.nonsense"}],
    # fields
    "close": [start(200, (b"connection", b"Close")), body(b"hello")],
    "keep": [start(200, (b"connection", b"keep-alive")), body(b"hello")],
    "hops": [
        start(
            200,
            (b"connection", b"x-hop"),
            (b"keep-alive", b"timeout=9"),
            (b"proxy-connection", b"keep-alive"),
            (b"te", b"trailers"),
            (b"upgrade", b"h2c"),
        ),
        body(b"hello"),
    ],
    "date": [start(200, (b"Date", b"Thu, 01 Jan 1970 00:00:00 GMT"), (b"server", b"mine")), body(b"hello")],
    "latin": [start(200, (b"x-a", b"caf\xe9\ttab")), body(b"hello")],
    "hint": [hint(b"</a>; rel=preload"), start(200), body(b"hello")],
    "trailers": [start(200, trailers=True), body(b"hello"), trailers((b"x-t", b"end"))],
    "big": [start(200), *[body(b"x" * 50_000, more=True)] * 3, body()],
}
"""What the application sends to /respond/NAME, whatever the request's body."""


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        if "LATE" in os.environ:
            accept_nothing_in_a_worker(scope)
        while True:
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return
    if scope["type"] == "websocket":
        record(scope)
        await receive()
        await send({"type": "websocket.close"})
        return
    _, marker, name = scope["raw_path"][PATH_LENGTH:].decode("latin-1").partition("/respond/")
    if marker:
        record(scope)
        await respond(name, send)
    else:
        await echo(scope, receive, send)


def record(scope: Scope) -> None:
    fd = os.open(os.environ["RECORD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, scope.get("method", "WEBSOCKET").encode() + b" " + scope["raw_path"] + b"\n")
    os.close(fd)


async def respond(name: str, send: Send) -> None:
    for message in SCRIPTS[name]:
        if not isinstance(message, dict):
            raise Failure(name)
        await send(message)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    data = b""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        data += message["body"]
        more = message["more_body"]
    record(scope)
    seen = {
        "role": scope["extensions"]["hsrv"]["role"],
        "method": scope["method"],
        "path": scope["raw_path"].decode("latin-1"),
        "query": scope["query_string"].decode("latin-1"),
        "version": scope["http_version"],
        "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]],
        "body": data.decode("latin-1"),
    }
    await send(start(200, (b"content-type", b"application/json")))
    await send(body(json.dumps(seen).encode()))
