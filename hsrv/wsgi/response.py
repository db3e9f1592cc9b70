"""The response of one WSGI call: start_response, write and what the iterable yields, as ASGI messages. Pure.

Promises: what PEP 3333 has the server check raises in the application, where its traceback tells of the place; headers
leave with the first byte of the body, and until then exc_info may replace them; each block is passed on before the next
is asked for; a body of declared length is complete with its last byte, whatever the application does then.
Must not write: `send` does, and says so by raising when the client is gone.
"""

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Final

from hsrv.common.asgi import Message
from hsrv.common.errors import AppError
from hsrv.wsgi.environ import note_route

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]

HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailers",
        "transfer-encoding",
        "upgrade",
    }
)
"""Fields that are the server's to send (PEP 3333, "Other HTTP Features"; wsgiref has the same)."""

_CACHE_SIZE: Final = 1024
"""Field names remembered as checked."""

JOIN_LIMIT: Final = 1 << 20
"""Bytes of a list up to which its blocks become one: they are all there, and the response has a length then."""


class Response:
    """`start_response`, and what follows."""

    __slots__ = (
        "_environ",
        "_headers",
        "_left",
        "_send",
        "_status",
        "_wait",
        "begun",
        "complete",
        "event_stream",
        "wrote",
    )

    def __init__(self, environ: Any, send: Callable[[Message], bool], wait: Callable[[], None]) -> None:
        """`send`: acts on a message; true when the client should take something before there is more. `wait`: blocks
        until it has."""
        self._environ = environ
        self._send = send
        self._wait = wait
        self._status = 0
        """0 before start_response."""
        self._headers: list[tuple[bytes, bytes]] = []
        self._left = -1
        """Body bytes still to come, of a declared length; -1: none is."""
        self.wrote = False
        """write() has sent part of the body."""
        self.begun = False
        """The headers are sent."""
        self.complete = False
        """The body is."""
        self.event_stream = False

    # for the application

    def __call__(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        """start_response. Raises AppError on misuse, and what `exc_info` has once the headers are sent."""
        if exc_info is not None:
            try:
                if self.begun and exc_info[1] is not None:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # a cycle by the frame of its traceback (PEP 3333)
        elif self._status:
            raise AppError("start_response was called twice, the second time without exc_info")
        code = _code(status)
        note_route(self._environ)
        self._headers, self._left, self.event_stream = _encoded(headers)
        self._status = code
        return self.write

    def write(self, data: bytes) -> None:
        """The callable that start_response returns."""
        if not self._status:
            raise AppError("write was called before start_response")
        if data:
            self.wrote = True
            if self.chunk(data):
                self._wait()
        elif type(data) is not bytes:
            raise AppError(_no_bytes(data))

    def early_hints(self, headers: Iterable[tuple[str, str]]) -> None:
        """`environ["wsgi.early_hints"]`: a 103 response with the Link fields (RFC 8297)."""
        links = [value.encode("latin-1") for name, value in headers if name.lower() == "link"]
        if links and not self.begun:
            self._send({"type": "http.response.early_hint", "links": links})

    # for the call

    def redirect(self, send: Callable[[Message], bool], wait: Callable[[], None]) -> None:
        """From now on it is said elsewhere."""
        self._send = send
        self._wait = wait

    def check(self, data: object) -> None:
        """A block that is empty: nothing to send (PEP 3333), but it should be bytes."""
        if type(data) is not bytes:
            raise AppError(_no_bytes(data))

    def whole(self, blocks: list[Any] | tuple[Any, ...]) -> bool:
        """All of the body at once, unless it is too large to be copied: then nothing was done. Like an iterable that
        has a length of one, one whose blocks are all there tells the length of the body."""
        if len(blocks) == 1:
            data = blocks[0]
        else:
            try:
                if sum(map(len, blocks)) > JOIN_LIMIT:
                    return False
                data = b"".join(blocks)
            except TypeError:
                raise AppError(_no_bytes(next(one for one in blocks if not isinstance(one, bytes)))) from None
        if type(data) is not bytes:
            raise AppError(_no_bytes(data))
        if self.wrote:  # it is only the rest
            if data:
                self.chunk(data)
            self.finish()
            return True
        self._begin()
        self.complete = True
        self._send({"type": "http.response.body", "body": data})
        return True

    def chunk(self, data: Any) -> bool:
        """The next block of the body, which is not empty. Whether to wait for the client before there is more."""
        if type(data) is not bytes:
            raise AppError(_no_bytes(data))
        if self.complete:
            raise AppError("the body is longer than its content-length")
        if not self.begun:
            self._begin()
        if self._left >= 0:
            self._left -= len(data)
            self.complete = self._left <= 0  # if it is less, `send` raises
        return self._send({"type": "http.response.body", "body": data, "more_body": not self.complete})

    def file(self, fd: int, offset: int, size: int) -> None:
        """All of the body is a part of an open file, which stays the caller's. Nobody may have written before."""
        if self._left >= 0:
            size = min(size, self._left)
        self._begin()
        self.complete = True
        self._send({"type": "http.response.zerocopysend", "file": fd, "offset": offset, "count": size})

    def finish(self) -> None:
        """The iterable has ended."""
        if self.complete:
            return
        if not self.begun:
            self._begin()
        self.complete = True
        self._send({"type": "http.response.body"})

    def _begin(self) -> None:
        if not self._status:
            raise AppError("the application did not call start_response")
        self.begun = True
        self._send({"type": "http.response.start", "status": self._status, "headers": self._headers})


def _code(status: object) -> int:
    """Of "200 OK". The phrase is no part of the protocol any more (RFC 9112 section 4), and not sent."""
    if not isinstance(status, str):
        raise AppError(f"the status must be a str, not {type(status).__name__}")
    if (
        len(status) < 3
        or not status[:3].isascii()
        or not status[:3].isdigit()
        or status[3:4] not in ("", " ")
    ):
        raise AppError(f"the status must begin with a code of three digits and a blank, not {status!r}")
    if not status.isprintable():
        raise AppError(f"control character in the status {status!r}")
    return int(status[:3])


def _encoded(headers: object) -> tuple[list[tuple[bytes, bytes]], int, bool]:
    """The headers as bytes, the declared length or -1, and whether it is an event stream. What is wrong with a value is
    found by whoever makes lines of them (`hsrv.http.wire.fields`)."""
    if type(headers) is not list:
        raise AppError(f"the headers must be a list, not {type(headers).__name__}")
    fields: list[tuple[bytes, bytes]] = []
    length, event_stream = -1, False
    try:
        for name, value in headers:
            raw = _names.get(name) or _learn(name)
            data = value.encode("latin-1")
            if raw == b"content-length":
                length = int(data) if data.isdigit() else length
            elif raw == b"content-type":
                event_stream = data[:17].lower() == b"text/event-stream"
            fields.append((raw, data))
    except (TypeError, ValueError, AttributeError):
        raise AppError(_fault(headers)) from None
    return fields, length, event_stream


def _learn(name: object) -> bytes:
    """The name as bytes. Raises AppError, and TypeError or ValueError for what is no latin-1 text."""
    if not isinstance(name, str):
        raise TypeError(name)
    lower = name.lower()
    if lower in HOP_BY_HOP:
        raise AppError(f"{name} is a hop-by-hop field, which only the server may send (PEP 3333)")
    raw = lower.encode("latin-1")
    if len(_names) < _CACHE_SIZE:
        _names[name] = raw
    return raw


_names: Final[dict[str, bytes]] = {}


def _fault(headers: list[Any]) -> str:
    for pair in headers:
        if not isinstance(pair, tuple) or len(pair) != 2:
            return f"a header must be a tuple of two str, not {pair!r}"
        for part in pair:
            if not isinstance(part, str):
                return f"header names and values must be str, not {type(part).__name__}: {pair!r}"
            if not part.isascii() and max(part) > "\xff":
                return f"header names and values must be latin-1 (PEP 3333): {pair!r}"
    return f"invalid headers {headers!r}"


def _no_bytes(data: object) -> str:
    return f"the body must be bytes, not {type(data).__name__}"
