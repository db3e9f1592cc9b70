"""How many functions of hsrv one request calls, and how often that changes the file: what a reader has to follow.

Counted in a real server with sys.setprofile (bench/apps/counted.py). Each number is the median of ROUNDS.
"""

import os
import re
import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Final
from urllib.parse import urlsplit

from hsrv.testing import LiveServer

APPS: Final = Path(__file__).parent / "apps"
ROUNDS: Final = 25
TIMEOUT: Final = 10.0
"""Seconds for whatever is awaited from the server."""

GET: Final = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n"
CLOSE: Final = b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
STREAM: Final = (
    b"GET /stream HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\nConnection: close\r\n\r\n"
)
UPGRADE: Final = (
    b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
MESSAGE: Final = b"\x81\x85\x00\x00\x00\x00hello"
"""A masked text frame; the mask changes nothing."""

COUNTS: Final = re.compile(rb"\[(\d+), (\d+)\]")
Walk = tuple[float, float]
"""Calls, changes of file."""


def walks(tree: Path) -> dict[str, Walk]:
    """Of the hsrv in a checkout."""
    env = {**os.environ, "PYTHONPATH": f"{tree}{os.pathsep}{APPS}"}
    server = LiveServer("counted:app", cwd=tree, env=env, workers=1, access_log=False, park_after=0)
    with server:
        url = urlsplit(server.url)
        address = str(url.hostname), int(url.port or 0)
        with closing(_connect(address)) as kept:
            keep = _middle(lambda: _ask(kept, GET))
            both = _middle(lambda: _through(address, kept))
        return {
            "a GET on a connection that stays": keep,
            "a GET on a connection of its own": _middle(lambda: _once(address, CLOSE)),
            "a stream, in the worker that hands it off": (both[0] - keep[0], both[1] - keep[1]),
            "a stream, in the pool": _middle(lambda: _once(address, STREAM)),
            "a WebSocket message": _messages(address),
        }


def _connect(address: tuple[str, int]) -> socket.socket:
    return socket.create_connection(address, timeout=TIMEOUT)


def _middle(ask: Callable[[], Walk]) -> Walk:
    found = [ask() for _ in range(ROUNDS + 1)][1:]  # the first one counts what was before
    return median(calls for calls, _ in found), median(changes for _, changes in found)


def _counts(sock: socket.socket) -> Walk:
    data = b""
    while (match := COUNTS.search(data)) is None:
        got = sock.recv(65536)
        if not got:
            raise RuntimeError(f"the server closed after {data!r}")
        data += got
    return int(match[1]), int(match[2])


def _ask(sock: socket.socket, request: bytes) -> Walk:
    sock.sendall(request)
    return _counts(sock)


def _once(address: tuple[str, int], request: bytes) -> Walk:
    with closing(_connect(address)) as sock:
        found = _ask(sock, request)
        while sock.recv(65536):
            pass
        return found


def _through(address: tuple[str, int], kept: socket.socket) -> Walk:
    """What the worker does between two of its own requests, when a stream comes in that it hands off."""
    _once(address, STREAM)
    return _ask(kept, GET)


def _messages(address: tuple[str, int]) -> Walk:
    with closing(_connect(address)) as sock:
        sock.sendall(UPGRADE)
        data = b""
        while b"\r\n\r\n" not in data:
            data += sock.recv(65536)
        return _middle(lambda: _ask(sock, MESSAGE))


def report(tree: Path) -> str:
    found = walks(tree)
    lines = ["one request                                calls  changes of file"]
    lines += [f"{name:<42} {calls:>5.0f}  {changes:>15.0f}" for name, (calls, changes) in found.items()]
    return "\n".join(lines)
