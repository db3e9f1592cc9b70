"""A WSGI application for tests of the server around it. Side effects are lines of the file named by RECORD."""

import asyncio
import ctypes
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from tests.apps.wsgi_raw import note

Environ = dict[str, Any]
Start = Callable[..., Any]

TEXT = [("Content-Type", "text/plain")]
EVENTS = [("Content-Type", "text/event-stream")]

VERSION = Path(os.environ["VERSION_FILE"]).read_text() if "VERSION_FILE" in os.environ else "0"

meeting = threading.Barrier(2)
lock = threading.Lock()
lock.acquire()


class Request:
    def __init__(self, environ: Environ) -> None:
        self.environ = environ
        self.path = environ["PATH_INFO"]
        self.query = dict(parse_qsl(environ["QUERY_STRING"]))

    def number(self, name: str, default: float) -> float:
        return float(self.query.get(name, default))


def whoami(request: Request) -> bytes:
    """Where it runs, and which version of the code."""
    thread = threading.current_thread().name
    found = {"pid": os.getpid(), "thread": thread, "version": int(VERSION), **request.environ["hsrv.process"]}
    return json.dumps(found).encode()


def count(request: Request) -> bytes:
    note("count", request.query["key"])
    return whoami(request)


def meet(request: Request) -> bytes:
    """Two calls at a time, or none."""
    meeting.wait(10)
    return whoami(request)


def block(request: Request) -> bytes:
    time.sleep(request.number("s", 60))
    return b"slept"


def wait_for_lock(request: Request) -> bytes:
    lock.acquire()
    return b"never"


def hold_the_gil(request: Request) -> bytes:
    while True:  # a signal ends each
        ctypes.PyDLL(None).sleep(60)  # unlike CDLL it doesn't let go of it


def spin(request: Request) -> bytes:
    end = time.monotonic() + request.number("s", 60)
    while time.monotonic() < end:
        pass
    return b"span"


def loop(request: Request) -> bytes:
    """What code finds that looks for an event loop, and makes one."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        found = "none"
    else:
        found = "one"

    async def run() -> str:
        await asyncio.sleep(0)
        return "ran" if asyncio.current_task() is not None else "no task"

    return f"{found}, {asyncio.run(run())}".encode()


def upload(request: Request) -> bytes:
    return str(len(request.environ["wsgi.input"].read())).encode()


def big(request: Request) -> bytes:
    return b"x" * int(request.number("size", 1 << 20))


WHOLE: dict[str, Callable[[Request], bytes]] = {
    "/": whoami,
    "/count": count,
    "/meet": meet,
    "/block": block,
    "/lock": wait_for_lock,
    "/gil": hold_the_gil,
    "/spin": spin,
    "/loop": loop,
    "/upload": upload,
    "/big": big,
}


def ticks(request: Request) -> Iterator[bytes]:
    """?n= events, `s` seconds apart."""
    note("began", request.path)
    try:
        for number in range(int(request.number("n", 1 << 30))):
            yield f"data: {number} {request.environ['hsrv.process']['role']}\n\n".encode()
            time.sleep(request.number("s", 0.02))
    finally:
        note("ended", request.path)


def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
    request = Request(environ)
    if request.path.startswith("/ticks"):
        start_response("200 OK", EVENTS)
        return ticks(request)
    if request.path.startswith("/plain-ticks"):
        start_response("200 OK", TEXT)
        return ticks(request)
    if request.path == "/page":
        start_response("200 OK", [("Content-Type", "text/html")])
        return [b"<body>page</body>"]
    found = WHOLE.get(request.path)
    if found is None:
        start_response("404 Not Found", TEXT)
        return [b"not found"]
    body = found(request)
    start_response("200 OK", [*TEXT, ("Content-Length", str(len(body)))])
    return [body]
