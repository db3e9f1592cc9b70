"""A raw HTTP client: bytes out, responses in, nothing hidden."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

DEADLINE = 20.0
"""Seconds for anything to happen."""

WHOLE_DEADLINE = 30.0
"""Seconds for all that one call reads: what never ends, though always something comes, fails instead of hanging."""


class Response:
    def __init__(self, head: bytes, body: bytes) -> None:
        line, *fields = head.decode("latin-1").split("\r\n")
        self.version, code, *_ = line.split(" ")
        self.status = int(code)
        self.headers = {k.lower(): v for k, v in (field.split(": ", 1) for field in fields if field)}
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """One client connection."""

    _end: float | None = None
    """For the call that reads."""

    def __init__(self, host: str, port: int, *, source: str = "") -> None:
        """`source`: the address to connect from; empty: the system's choice."""
        self.sock = socket.create_connection((host, port), DEADLINE, (source, 0) if source else None)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def get(self, target: str, *fields: str, method: str = "GET") -> Response:
        self.send(request(target, *fields, method=method))
        return self.response(head_only=method == "HEAD")

    @contextmanager
    def _in_time(self) -> Iterator[None]:
        """A call within another has no more time than that."""
        if self._end is not None:
            yield
            return
        self._end = time.monotonic() + WHOLE_DEADLINE
        try:
            yield
        finally:
            self._end = None

    def more(self) -> None:
        if self._end is not None and time.monotonic() > self._end:
            raise TimeoutError(f"not within {WHOLE_DEADLINE} s; read so far: {bytes(self.buffer[:200])!r}")
        data = self.sock.recv(262144)
        if not data:
            raise EOFError(f"closed; read so far: {bytes(self.buffer[:200])!r}")
        self.buffer += data

    def until(self, mark: bytes) -> bytes:
        with self._in_time():
            while mark not in self.buffer:
                self.more()
        return self._taken(self.buffer.index(mark), len(mark))

    def exactly(self, size: int) -> bytes:
        with self._in_time():
            while len(self.buffer) < size:
                self.more()
        return self._taken(size)

    def _taken(self, size: int, and_dropped: int = 0) -> bytes:
        data = bytes(self.buffer[:size])
        del self.buffer[: size + and_dropped]
        return data

    def head(self) -> Response:
        return Response(self.until(b"\r\n\r\n"), b"")

    def response(self, *, head_only: bool = False) -> Response:
        """The next final response, whole."""
        with self._in_time():
            return self._response(head_only)

    def _response(self, head_only: bool) -> Response:
        answer = self.head()
        while answer.status < 200 and answer.status != 101:
            answer = self.head()
        if head_only or answer.status in (101, 204, 304):
            return answer
        if answer.headers.get("transfer-encoding") == "chunked":
            answer.body = self.chunked()
        elif "content-length" in answer.headers:
            answer.body = self.exactly(int(answer.headers["content-length"]))
        else:
            answer.body = self.rest()
        return answer

    def chunk(self) -> bytes:
        size = int(self.until(b"\r\n"), 16)
        data = self.exactly(size)
        assert self.exactly(2) == b"\r\n"
        return data

    def chunked(self) -> bytes:
        body = bytearray()
        with self._in_time():
            while data := self.chunk():
                body += data
        return bytes(body)

    def rest(self) -> bytes:
        """Everything up to the end."""
        with self._in_time():
            while True:
                try:
                    self.more()
                except EOFError:
                    return self._taken(len(self.buffer))

    def ended(self) -> bool:
        """Wait until the server closes; whether it did so cleanly and without further bytes."""
        try:
            return not self.buffer and self.sock.recv(1) == b""
        except ConnectionResetError:
            return False


def request(target: str, *fields: str, method: str = "GET", body: bytes = b"") -> bytes:
    """The bytes of a request, with Host."""
    lines = [f"{method} {target} HTTP/1.1", "Host: test", *fields]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def upgrade(target: str, *fields: str) -> bytes:
    """The bytes of a WebSocket opening handshake."""
    return request(
        target,
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        *fields,
    )


def masked(opcode: int, payload: bytes) -> bytes:
    """A client's final WebSocket frame of less than 64 KiB, masked with zeros (RFC 6455 section 5.2)."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return bytes([0x80 | opcode]) + length + b"\0\0\0\0" + payload


def eventually(condition: Callable[[], Any], what: str, deadline: float = DEADLINE) -> Any:
    """Wait for `condition` to be true; its value. Who waits for long looks less often: each look costs both sides."""
    end, pause = time.monotonic() + deadline, 0.01
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline} s: {what}")
        time.sleep(pause)
        pause = min(0.05, pause * 1.2)
    return value
