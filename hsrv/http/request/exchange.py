"""One request and its response: what the application's receive() and send() do (`call`: where they wait).

Owns the request body on its way to the application and the encoder of the response. Promises: the body
arrives in order and complete or `http.disconnect` says that it never will; once nothing reaches the client any more,
what would complete the response is dropped and what would go on with it raises; a response that was cut never looks
complete. Must not touch the socket: the connection does.

Spec: ASGI HTTP 2.5, https://asgi.readthedocs.io/en/latest/specs/www.html
"""

import asyncio
import errno
import os
import time
from typing import Final, Protocol

from hsrv.common.asgi import Message, Scope
from hsrv.common.errors import AppError, ClientDisconnected
from hsrv.common.globs import pattern_of
from hsrv.common.request import RequestHead
from hsrv.http.request.boundaries import at_boundary, cut_at_boundary, tail_of
from hsrv.http.request.pace import Pace
from hsrv.http.wire.body import BodyDecoder
from hsrv.http.wire.response import DefaultHeaders, ResponseEncoder
from hsrv.ipc.messages import Origin, Trace
from hsrv.net.conn import HIGH_WATER, Conn
from hsrv.system.realthreads import RLock

DISCARD_LIMIT: Final = 256 * 1024
"""Bytes of an unread request body that are read and dropped to keep a connection. More costs more than a new one."""

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Server(Protocol):
    """What an exchange needs of the process that it is in."""

    closing: bool
    """Every further response says `Connection: close`."""
    default_headers: DefaultHeaders
    """The server's own header lines."""
    turn: RLock
    """The lock of connections. Taken here for what the application calls: each method of `ExchangeConnection` is called
    with it held."""


class ExchangeConnection(Protocol):
    """What an exchange needs of its connection."""

    conn: Conn

    @property
    def host(self) -> Server: ...
    def body_taken(self) -> None: ...
    def body_awaited(self) -> None: ...
    def held_up(self, exchange: "Exchange") -> None: ...
    def goes_on(self, exchange: "Exchange") -> None: ...
    def response_begun(self) -> None: ...
    def response_complete(self) -> None: ...
    def client_lost(self) -> None: ...
    def overdue(self) -> None: ...


class Exchange:
    """One call of the application."""

    __slots__ = (
        "_body_delivered",
        "_continued",
        "_pattern",
        "_tail",
        "_waiter",
        "begun_at",
        "body",
        "busy_since",
        "decoder",
        "encoder",
        "ending",
        "gone",
        "half_closed",
        "head",
        "held_up",
        "is_stream",
        "link",
        "overdue",
        "pace",
        "receiving",
        "scope",
        "started_at",
        "task",
        "trace",
    )

    def __init__(
        self,
        link: ExchangeConnection,
        head: RequestHead,
        trace: Trace,
        decoder: BodyDecoder,
        encoder: ResponseEncoder,
        *,
        started_at: float,
    ) -> None:
        self.link = link
        self.head = head
        self.trace = trace
        self.decoder = decoder
        self.encoder = encoder
        self.started_at = started_at
        """time.monotonic(), which is finer than the time of a loop."""
        self.busy_since = started_at
        """The same, or when it last stopped waiting for its client: what --request-timeout counts from."""
        self.pace: Pace | None = None
        """None for a request without a body."""
        self.body = bytearray()
        """Decoded, not yet taken by the application."""
        self.is_stream = False
        """Its response turned out to be long-lived."""
        self.overdue = 0.0
        """time.monotonic() when it was cancelled because it took longer than --request-timeout; 0: it was not."""
        self.begun_at = 0.0
        """time.monotonic() when part of the response was written and more was to come; 0 before."""
        self.scope: Scope = {}
        self.task: asyncio.Task[None] | None = None
        self.gone = False
        """Nothing that the application sends reaches the client any more."""
        self.half_closed = False
        """The client sends nothing any more; it may still read (or be gone: only a write can tell)."""
        self.ending = False
        """We want this stream to end."""
        self.held_up = 0
        """How many times the application call waits for its client. As long as it does, it occupies no place."""
        self.receiving = 0
        """How many receive() of the application wait. One that was cancelled does so no more."""
        self._body_delivered = False
        self._continued = False
        """100 (Continue) was sent."""
        self._waiter: asyncio.Future[None] | None = None
        self._tail = b""
        self._pattern: str | None = None

    @property
    def origin(self) -> Origin:
        """The origin of its connection."""
        return self.link.conn.origin

    def pattern(self) -> str:
        """The glob of its path, kept once the response has begun: by then the framework has routed it."""
        if self._pattern is not None:
            return self._pattern
        pattern = pattern_of(
            self.head.path, self.scope.get("path_params") or self.scope.get("hsrv.path_params") or {}
        )
        if self.encoder.started:
            self._pattern = pattern
        return pattern

    # for the connection

    def feed(self, buffer: bytearray, room: int) -> None:
        """Decode body bytes from the front of `buffer`, up to `room` waiting, or until the decoder pauses. Raises
        ClientError."""
        before = len(self.body)
        while not self.decoder.done and len(self.body) < room:
            data = self.decoder.decode(buffer, room - len(self.body))
            if not data:
                break
            self.body += data
            if self.pace is not None:
                self.pace.received(len(data))
            if self.decoder.paused:
                break
        if len(self.body) > before or self.decoder.done:
            self.wake()

    def client_gone(self) -> None:
        """Nothing reaches the client any more."""
        self.gone = True
        self.wake()

    def client_half_closed(self) -> None:
        """The client sends nothing any more."""
        self.half_closed = True
        self.wake()

    def end(self) -> None:
        """Ask the stream to end: the application sees http.disconnect; an event stream ends at the next event boundary,
        at once when it stands at one, and is told only then: frameworks would leave the event in two."""
        self.ending = True
        if self._boundary_counts() and at_boundary(self._tail):
            self._terminate()
        self.wake()

    @property
    def _continue_due(self) -> bool:
        return self.head.expect_continue and not self._continued

    @property
    def released(self) -> bool:
        """Nothing that the application may still send has a reader: the client is gone, has all it may get, or we ended
        the stream."""
        return self.gone or (self.ending and self.encoder.complete)

    @property
    def waits_for_body(self) -> bool:
        """The application is inside receive() for body bytes."""
        return (
            self.receiving > 0
            and not self.decoder.done
            and self._waiter is not None
            and not self._waiter.done()
        )

    @property
    def waits_for_client(self) -> bool:
        """The client is slow: with the request's body, or to read the response."""
        return self.waits_for_body or self.link.conn.pending_bytes > HIGH_WATER

    def time_out(self, now: float) -> None:
        """It has taken too long: answer in its stead, or cut what was begun, and cancel the call."""
        self.overdue = now
        if not self.gone:
            self.link.overdue()
        if self.task is not None:
            self.task.cancel()

    def wake(self) -> None:
        """There is something to be told, or to be asked for again: `message_waiter()` is done."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # for the application

    def message_waiter(self) -> "asyncio.Future[None]":
        """Done when `next_message()` should be asked again."""
        if self._waiter is None or self._waiter.done():
            self._waiter = asyncio.get_running_loop().create_future()
        if not self.decoder.done:
            with self.link.host.turn:
                self._await_body()
        return self._waiter

    def _await_body(self) -> None:
        if self._continue_due:
            self._continued = True
            if not self.encoder.started:
                self.link.conn.write(CONTINUE)
        self.link.body_awaited()

    def hold_up(self) -> None:
        """The application call waits for its client from now on."""
        self.held_up += 1
        if self.held_up == 1:
            with self.link.host.turn:
                self.link.held_up(self)

    def go_on(self) -> None:
        """It does so no more."""
        self.held_up -= 1
        if not self.held_up:
            with self.link.host.turn:
                self.link.goes_on(self)

    def next_message(self) -> Message | None:
        """What receive() returns; None: it has to wait."""
        if self.gone or self.encoder.complete:
            return {"type": "http.disconnect"}
        if not self._body_delivered and (self.body or self.decoder.done):
            body = bytes(self.body)
            self.body.clear()
            self._body_delivered = self.decoder.done
            if not self._body_delivered:
                with self.link.host.turn:
                    self.link.body_taken()
            return {"type": "http.request", "body": body, "more_body": not self._body_delivered}
        if self.half_closed or (self.ending and not self._boundary_counts()):
            return {"type": "http.disconnect"}
        return None

    def take(self, message: Message) -> bool:
        """Act on a message of send(). True: the client should take something before the application says more.

        Raises AppError on misuse, ClientDisconnected when nothing reaches the client any more and the message is not
        the last: an application that sends a whole response never notices, and what follows it (background tasks) runs;
        a stream must end."""
        if (self.gone or self.ending) and self.released:
            # Also when we ended the response in its stead, maybe while it slept: that is no misuse of its.
            drop(message)
            return False
        kind = message["type"]
        try:
            if kind == "http.response.body":
                if not (self.encoder.amid_chunks and self._send_chunk(message)):
                    with self.link.host.turn:
                        self._send_body(message)
            elif kind == "http.response.start":
                self._send_start(message)
            else:
                with self.link.host.turn:
                    self._send_other(kind, message)
        except ClientDisconnected:
            drop(message)
        return self.link.conn.pending_bytes > HIGH_WATER and not self.encoder.complete

    def _send_other(self, kind: str, message: Message) -> None:
        if kind == "http.response.pathsend":
            self._send_path(message)
        elif kind == "http.response.zerocopysend":  # of WSGI: the descriptor stays the application's
            self._send_file(os.dup(message["file"]), message["offset"], message["count"])
        elif kind == "http.response.early_hint":
            self._write_if_any(self.encoder.early_hint(message))
        elif kind == "http.response.trailers":
            self._write_if_any(self.encoder.trailers(message))
            self._after_write()
        else:
            raise AppError(f"unexpected ASGI message type {kind!r}")

    def _send_start(self, message: Message) -> None:
        self.encoder.start(message)
        if self.link.host.closing:
            self.encoder.force_close()
        if not self.decoder.done and (self._continue_due or (self.head.content_length or 0) > DISCARD_LIMIT):
            self.encoder.force_close()  # what is left of the body is not worth reading, or will never come

    def _send_chunk(self, message: Message) -> bool:
        """One more event of a stream, the short way. False: it is something else, and nothing was done.

        Without the lock, which would cost an event five percent: it moves nothing, and while the application runs its
        connection is used by no other code."""
        if self.ending:
            return False
        encoder = self.encoder
        chunk = encoder.chunk(message)
        if not chunk:
            return False
        self._write((chunk,))
        if encoder.event_stream:
            data = message["body"]
            self._tail = data[-4:] if len(data) >= 4 else tail_of(self._tail, data)
        return True

    def _send_body(self, message: Message) -> None:
        if self.ending and self._boundary_counts():
            message = cut_at_boundary(message, self._tail)
        encoder = self.encoder
        self._write(encoder.body(message, self.link.host.default_headers()))
        if encoder.event_stream:
            self._tail = tail_of(self._tail, message.get("body", b""))
        self._after_write()

    def _send_path(self, message: Message) -> None:
        """`http.response.pathsend`: the whole file. Raises AppError when it can't be read."""
        try:
            fd = os.open(message["path"], os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise AppError(f"http.response.pathsend: {error}") from error
        self._send_file(fd, 0, os.fstat(fd).st_size)

    def _send_file(self, fd: int, offset: int, size: int) -> None:
        """Part of an open file is the whole body, by sendfile(2). Takes ownership of `fd`."""
        try:
            head = self.encoder.file(size, self.link.host.default_headers())
            self._write((head,))
        except BaseException:
            os.close(fd)
            raise
        if self.encoder.sends_file:
            self.link.conn.write_file(fd, offset, size)
        else:
            os.close(fd)
        self._after_write()

    def _write_if_any(self, data: bytes) -> None:
        if data:
            self._write((data,))

    def _write(self, parts: tuple[bytes, ...]) -> None:
        """Write `parts`, none of them empty; there may be none at all."""
        if not parts:
            return
        try:
            encoder = self.encoder
            self.link.conn.write(*parts, last=encoder.complete and not encoder.keep_alive)
        except ClientDisconnected:
            with self.link.host.turn:
                self.link.client_lost()
            raise

    def _after_write(self) -> None:
        if self.encoder.complete:
            if self.encoder.curtailed:
                self.gone = True
            if self._waiter is not None:
                self.wake()
            self.link.response_complete()
        elif not self.begun_at:
            self.begun_at = time.monotonic()
            self.link.response_begun()

    # ending an event stream cleanly

    def _boundary_counts(self) -> bool:
        return self.encoder.event_stream and self.encoder.started and not self.encoder.complete

    def _terminate(self) -> None:
        try:
            self._write(self.encoder.body({"type": "http.response.body"}, self.link.host.default_headers()))
        except ClientDisconnected:
            return
        self._after_write()


def drop(message: Message) -> None:
    """Nothing reaches the client any more. Raises ClientDisconnected if more of the response is to follow."""
    if message.get("more_body") or message.get("more_trailers"):
        raise ClientDisconnected(errno.EPIPE, "the client is gone")
