"""Responses: the ASGI messages of one request to the bytes of HTTP/1.1 (RFC 9112 sections 6 and 7). Pure.

Promises: a client can always tell a complete response from one that was cut, and where the next begins. What
the application declares is what is sent, or `AppError`; a refused message changes nothing and sends nothing.
Must not write: it returns what is to be written.

Spec: ASGI HTTP 2.5, https://asgi.readthedocs.io/en/latest/specs/www.html and .../extensions.html
"""

from collections.abc import Callable, Sequence
from email.utils import formatdate
from enum import Enum, StrEnum, auto
from http import HTTPStatus
from typing import Any, Final

from hsrv.common.asgi import Message
from hsrv.common.errors import AppError
from hsrv.common.tables import Table
from hsrv.http.wire.fields import CRLF, NO_FIELDS, Fields, collect

JOIN_LIMIT: Final = 16 * 1024
"""Bytes of body up to which it is copied behind the head: one buffer is written faster than two. Beyond it
the copy costs more."""

STATUS_LINES: Final = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode()) for status in HTTPStatus
}

_PLAIN: Final = frozenset(STATUS_LINES) - {204, 205, 304, 426} - set(range(100, 200))
"""Status codes that are followed by a body and don't ask for a header line of ours."""

_LAST_CHUNK: Final = b"0\r\n\r\n"
_CLOSE: Final = b"connection: close\r\n"
_KEEP_ALIVE: Final = b"connection: keep-alive\r\n"
_CHUNKED: Final = b"transfer-encoding: chunked\r\n"


class ResponsePhase(
    StrEnum
):  # StrEnum: looked up in a table for each message, and a plain Enum hashes in Python
    """How far a response is. The value completes the sentence "... was sent ...", in `_after`."""

    EMPTY = "before http.response.start"
    HEAD = "after http.response.start, before the body"
    """The start is known, nothing is written: ASGI has the server wait for the first body message."""
    BODY = "after a part of the body"
    TRAILERS = "after the body, before the promised trailers"
    COMPLETE = "after the response was complete"


class Event(StrEnum):
    """The application's messages as far as they differ in what they lead to."""

    HINT = "http.response.early_hint"
    START = "http.response.start"
    MORE = "http.response.body with more_body"
    LAST = "http.response.body"
    LAST_BEFORE_TRAILERS = "http.response.body, trailers to follow"
    FILE = "http.response.pathsend"
    MORE_TRAILERS = "http.response.trailers with more_trailers"
    TRAILERS = "http.response.trailers"


RESPONSE: Final[Table[ResponsePhase, Event]] = {
    ResponsePhase.EMPTY: {Event.HINT: ResponsePhase.EMPTY, Event.START: ResponsePhase.HEAD},
    ResponsePhase.HEAD: {
        Event.MORE: ResponsePhase.BODY,
        Event.LAST: ResponsePhase.COMPLETE,
        Event.LAST_BEFORE_TRAILERS: ResponsePhase.TRAILERS,
        Event.FILE: ResponsePhase.COMPLETE,
    },
    ResponsePhase.BODY: {
        Event.MORE: ResponsePhase.BODY,
        Event.LAST: ResponsePhase.COMPLETE,
        Event.LAST_BEFORE_TRAILERS: ResponsePhase.TRAILERS,
    },
    ResponsePhase.TRAILERS: {
        Event.MORE_TRAILERS: ResponsePhase.TRAILERS,
        Event.TRAILERS: ResponsePhase.COMPLETE,
    },
    ResponsePhase.COMPLETE: {},
}


class Framing(Enum):
    """How the client finds the end of the body."""

    NONE = auto()
    """There is none, whatever the application sends: HEAD, 204, 205, 304. The response is complete with its head
    (RFC 9112 section 6.3)."""
    LENGTH = auto()
    CHUNKS = auto()
    CLOSE = auto()
    """By the end of the connection: HTTP/1.0 and an unknown length."""


_EMPTY: Final = ResponsePhase.EMPTY
_HEAD: Final = ResponsePhase.HEAD
_COMPLETE: Final = ResponsePhase.COMPLETE
_LAST: Final = Event.LAST
_UNFRAMED: Final = Framing.NONE
"""On the way of every response, as in `hsrv.http.connection`."""


class ResponseEncoder:
    """One response."""

    __slots__ = (
        "_fields",
        "_framing",
        "_last",
        "_left",
        "_phase",
        "_trailers",
        "amid_chunks",
        "body_bytes",
        "complete",
        "curtailed",
        "event_stream",
        "http_version",
        "keep_alive",
        "method",
        "sends_file",
        "status",
        "streaming",
    )

    def __init__(self, method: str, http_version: str, keep_alive: bool) -> None:
        self.method = method
        self.http_version = http_version
        self.keep_alive = keep_alive
        """Whether the connection persists after this response, as far as client and server are concerned; final once
        `started`."""
        self.status = 0
        """0 before http.response.start."""
        self.event_stream = False
        self.streaming = False
        """The body comes in more than one message."""
        self.sends_file = False
        """The content of a file must follow what `file()` returned."""
        self.complete = False
        self.curtailed = False
        """It is complete with its head, which is all that the client gets, and the application has more to say."""
        self.amid_chunks = False
        """More of a body in chunks is to follow: `chunk` may be worth a try."""
        self.body_bytes = 0
        """Bytes of the body as written, without its framing."""
        self._phase = _EMPTY
        self._fields = NO_FIELDS
        self._framing = _UNFRAMED
        self._last = _LAST
        self._left = 0
        """Body bytes still to come, of a declared length."""
        self._trailers = b""

    @property
    def started(self) -> bool:
        """The head was encoded: another response is no longer possible."""
        return self._phase is not ResponsePhase.EMPTY and self._phase is not ResponsePhase.HEAD

    def force_close(self) -> None:
        """The connection closes after this response. Without effect once the head is encoded."""
        if not self.started:
            self.keep_alive = False

    # messages. Each checks everything before it changes anything.

    def early_hint(self, message: Message) -> bytes:
        """A 103 response (RFC 8297); b"" for HTTP/1.0, which has no interim responses."""
        self._after(Event.HINT)
        try:
            links = [(b"link", link) for link in message.get("links", ())]
        except TypeError:
            raise AppError(f"links must be an iterable of byte strings, not {message['links']!r}") from None
        fields = collect(links)
        return b"" if self.http_version == "1.0" else b"HTTP/1.1 103 Early Hints\r\n" + fields.lines + CRLF

    def start(self, message: Message) -> None:
        """http.response.start. Kept; the first body message decides about the framing."""
        if self._phase is not _EMPTY:
            self._after(Event.START)  # raises
        status = message.get("status")
        if not isinstance(status, int) or not 200 <= status <= 599:
            raise AppError(f"the status of a response must be an int from 200 to 599, not {status!r}")
        fields = collect(message.get("headers", ()))
        self._fields = fields
        self._phase = _HEAD
        self.status = int(status)
        self.event_stream = fields.event_stream
        if fields.close:
            self.keep_alive = False
        if message.get("trailers", False):
            self._last = Event.LAST_BEFORE_TRAILERS

    def body(self, message: Message, defaults: bytes) -> tuple[bytes, ...]:
        """http.response.body: what to write now.

        `defaults`: header lines of the server, left out where the application has its own.
        """
        data = message.get("body", b"")
        if type(data) is not bytes:
            data = as_bytes(data)
        more = bool(message.get("more_body", False))
        if not more and self._phase is _HEAD and self._last is _LAST and self.status in _PLAIN:
            whole = self._whole(data, defaults)
            if whole:
                return (whole,)
        phase = self._after(Event.MORE if more else self._last)
        first = self._phase is _HEAD
        length = self._choose_framing(len(data), more=more) if first else None
        self._check_length(len(data), more=more)
        head = b""
        if first:
            head = self._encode_head(length, defaults)
            self.streaming = more
            if self._framing is Framing.NONE:
                self.curtailed, phase = phase is not ResponsePhase.COMPLETE, ResponsePhase.COMPLETE
        self._phase = phase
        self.complete = phase is ResponsePhase.COMPLETE
        self.amid_chunks = more and self._framing is Framing.CHUNKS
        return self._frame(head, b"" if self._framing is Framing.NONE else data, last=not more)

    def chunk(self, message: Message) -> bytes:
        """The short way for the events of a stream: one more chunk, small enough to be copied. b"": it is something
        else, for `body`, and nothing has changed. Only when `amid_chunks`."""
        data = message.get("body")
        if data and type(data) is bytes and message.get("more_body"):
            size = len(data)
            if size <= JOIN_LIMIT:
                self.body_bytes += size
                return b"%x\r\n%b\r\n" % (size, data)
        return b""

    def file(self, size: int, defaults: bytes) -> bytes:
        """http.response.pathsend: the head, after which the file's `size` bytes follow if `sends_file`."""
        phase = self._after(Event.FILE)
        if self._last is Event.LAST_BEFORE_TRAILERS:
            raise AppError("http.response.pathsend can't be combined with trailers")
        length = self._choose_framing(size, more=False)
        self._check_length(size, more=False)
        head = self._encode_head(length, defaults)
        self._phase = phase
        self.complete = phase is ResponsePhase.COMPLETE
        self.sends_file = self._framing is not Framing.NONE and size > 0
        if self.sends_file:
            self.body_bytes = size
        return head

    def trailers(self, message: Message) -> bytes:
        """http.response.trailers: the end of the response. Dropped where the framing has no place for it."""
        more = message.get("more_trailers", False)
        phase = self._after(Event.MORE_TRAILERS if more else Event.TRAILERS)
        self._trailers += collect(message.get("headers", ())).lines
        self._phase = phase
        self.complete = phase is ResponsePhase.COMPLETE
        if more or self._framing is not Framing.CHUNKS:
            return b""
        return b"0\r\n" + self._trailers + CRLF

    # parts

    def _whole(self, data: bytes, defaults: bytes) -> bytes:
        """Most responses: `data` is all of the body, and nothing about them is special. b"" for the others, which take
        the long way to the same bytes."""
        fields = self._fields
        size = len(data)
        if (
            (fields.content_length is not None and fields.content_length != size)
            or size > JOIN_LIMIT
            or not self.keep_alive
            or fields.has_server
            or fields.has_date
            or self.http_version == "1.0"
            or self.method == "HEAD"
        ):
            return b""
        self._phase, self.complete = _COMPLETE, True
        self.body_bytes = size
        return b"%bcontent-length: %d\r\n%b\r\n%b" % (
            STATUS_LINES[self.status] + fields.lines,
            size,
            defaults,
            data,
        )

    def _after(self, event: Event) -> ResponsePhase:
        """The phase `event` leads to."""
        try:
            return RESPONSE[self._phase][event]
        except KeyError:
            raise AppError(f"{event.value} was sent {self._phase.value}") from None

    def _choose_framing(self, size: int, *, more: bool) -> int | None:
        """Decide the framing from the first `size` bytes of the body; the Content-Length to send, if any."""
        declared = self._fields.content_length
        modern = self.http_version != "1.0"
        whole = not more and not (modern and self._last is Event.LAST_BEFORE_TRAILERS)
        if self.status == 204:
            self._framing = Framing.NONE
            return None  # RFC 9110 section 8.6
        if self.status == 205:
            self._framing = Framing.NONE
            return 0  # RFC 9110 section 15.3.6: no content, and the client must be told so
        head_only = self.method == "HEAD"
        if head_only or self.status == 304:
            self._framing = Framing.NONE
            return size if declared is None and head_only and whole and size else declared
        if declared is not None or whole:
            self._framing = Framing.LENGTH
            self._left = size if declared is None else declared
            return self._left
        self._framing = Framing.CHUNKS if modern else Framing.CLOSE
        return None

    def _check_length(self, size: int, *, more: bool) -> None:
        if self._framing is not Framing.LENGTH:
            return
        if size > self._left:
            raise AppError(f"the body is longer than its content-length, by {size - self._left} bytes")
        if not more and size < self._left:
            raise AppError(f"the body is shorter than its content-length, by {self._left - size} bytes")

    def _encode_head(self, length: int | None, defaults: bytes) -> bytes:
        """The head. From here on `keep_alive` is final."""
        fields = self._fields
        parts = [STATUS_LINES.get(self.status) or b"HTTP/1.1 %d \r\n" % self.status, fields.lines]
        if length is not None:
            parts.append(b"content-length: %d\r\n" % length)
        elif self._framing is Framing.CHUNKS:
            parts.append(_CHUNKED)
        elif self._framing is Framing.CLOSE:
            self.keep_alive = False
        if not self.keep_alive:
            parts.append(_CLOSE)
        elif self.http_version == "1.0":
            parts.append(_KEEP_ALIVE)
        if self.status == 426:
            parts += (fields.upgrade, b"connection: upgrade\r\n")
        if fields.has_server or fields.has_date:
            defaults = _without(defaults, fields)
        parts += (defaults, CRLF)
        return b"".join(parts)

    def _frame(self, head: bytes, data: bytes, *, last: bool) -> tuple[bytes, ...]:
        """The buffers to write: `head` and the framed `data`."""
        size = len(data)
        self.body_bytes += size
        end = b""
        if self._framing is Framing.CHUNKS:
            if last and self._last is Event.LAST:
                end = _LAST_CHUNK
            if size:
                head += b"%x\r\n" % size
                end = CRLF + end
        elif self._framing is Framing.LENGTH:
            self._left -= size
        if size <= JOIN_LIMIT:
            joined = head + data + end
            return (joined,) if joined else ()
        return tuple(filter(None, (head, data, end)))


def as_bytes(data: Any) -> bytes:
    """The body of a message. Raises AppError."""
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data)
    raise AppError(f"the body must be bytes, not {type(data).__name__}")


def _without(defaults: bytes, fields: Fields) -> bytes:
    """The server's lines without those that the application gave itself."""
    given = tuple(name for name, has in ((b"server:", fields.has_server), (b"date:", fields.has_date)) if has)
    return b"".join(line for line in defaults.splitlines(keepends=True) if not line.startswith(given))


def simple_response(
    status: int,
    text: str,
    defaults: bytes,
    *,
    http_version: str = "1.1",
    head_only: bool = False,
    headers: Sequence[tuple[bytes, bytes]] = (),
) -> bytes:
    """A whole response of the server itself: one line of plain text, after which the connection closes.

    `head_only`: the answer to HEAD, with the length that the text would have.
    """
    encoder = ResponseEncoder("HEAD" if head_only else "GET", http_version, keep_alive=False)
    content_type = (b"content-type", b"text/plain; charset=utf-8")
    encoder.start({"status": status, "headers": [content_type, *headers]})
    return b"".join(encoder.body({"body": text.encode() + b"\n"}, defaults))


UNAVAILABLE: Final = (503, "Service Unavailable", ((b"retry-after", b"1"),))
"""Status, text and headers of the answer to whatever is not served for lack of room: try again a second later."""


def unavailable(defaults: bytes) -> bytes:
    """That answer, whole, before anything of a request was read."""
    status, text, headers = UNAVAILABLE
    return simple_response(status, text, defaults, headers=headers)


class DefaultHeaders:
    """The server's own header lines."""

    def __init__(self, clock: Callable[[], float], *, server: bool, date: bool) -> None:
        """`clock`: time.time"""
        self._clock = clock
        self._server = b"server: hsrv\r\n" if server else b""
        self._date = date
        self._second = -1
        self._lines = b""

    def __call__(self) -> bytes:
        """The lines of this moment. Made anew once per second."""
        second = int(self._clock())
        if second != self._second:
            self._second = second
            self._lines = self._server
            if self._date:
                self._lines += b"date: %b\r\n" % formatdate(second, usegmt=True).encode()
        return self._lines
