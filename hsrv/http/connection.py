"""One client connection, request after request.

Owns a `Conn`, what was read from it and not yet interpreted, and where in its life it is. Promises: requests
are answered in order; nothing after a refused request is interpreted; every state has a deadline; at any point between
two requests the connection can be given away with all that was read. Must not decide *where* a request runs
or whether a connection is kept when idle: its host does.

Whatever is called from outside holds `host.turn`: the poller and the sweep do, and here the methods of `Link`, which
the application calls, and what the loop calls later. While the application runs nobody does, and another thread may
take idle connections away.

    ┌────────────────────────────── keep-alive ◄────────────────────────────┐
    ▼                                                                       │
    IDLE ──► READING ──► (WAITING) ──► (BODY) ──► RUNNING ──► (WRITING) ──► (DISCARDING)
      └───────────┴────────────┴── HANDED_OFF                    any ──► LINGERING ──► CLOSED

With --proxy-protocol a connection of a trusted proxy begins in PREFACE, before IDLE.
"""

import asyncio
import math
import time
from collections.abc import Sequence
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from hsrv.board.layout import Histogram
from hsrv.common.errors import ClientDisconnected, ClientError
from hsrv.common.request import RequestHead
from hsrv.common.terms import EndReason, ProxyProtocol
from hsrv.http.exchange import DISCARD_LIMIT, Exchange
from hsrv.http.failure import error_of, follows_from_disconnect, let_go
from hsrv.http.pace import Pace
from hsrv.http.wire.body import body_decoder
from hsrv.http.wire.head import take_head
from hsrv.http.wire.proxy import ProxyError, read_proxy_header
from hsrv.http.wire.response import ResponseEncoder, simple_response
from hsrv.http.wire.trace import trace_of
from hsrv.ipc.messages import ConnectionHandoff, Origin, ParkedHandoff, Trace, encode
from hsrv.logs.logging import current_trace
from hsrv.net import eager
from hsrv.net.conn import Conn
from hsrv.net.context import at_end, soon

if TYPE_CHECKING:
    from hsrv.http.host import HTTPHost

PIPELINE_LIMIT: Final = 64 * 1024
"""Bytes read ahead of the request that runs. At this limit reading stops until the response is complete."""

LINGER_TIMEOUT: Final = 2.0
"""Seconds to read and drop what a refused client still sends. Closing at once would make the kernel reset the
connection and destroy the answer on its way (RFC 9112 section 9.6)."""

BODY_MOMENT: Final = 0.25
"""Seconds from the head on for which the application is not called when it would only wait for a short body of known
length. Nearly all are complete by then, which saves it its steps and us its memory; for a client that pauses it is
called with what is there. The sweep sees to it, so it may be SWEEP_INTERVAL more."""

END_TIMEOUT: Final = 1.0
"""Seconds a stream has to reach its end after it was asked to; then the connection is cut."""


class State(Enum):
    PREFACE = auto()
    """A PROXY header is still to come, or may be; nothing else was read."""
    IDLE = auto()
    """Between two requests; nothing of the next was read."""
    READING = auto()
    """Part of a head was read."""
    WAITING = auto()
    """A head is complete; it waits for a free place in this process, or for room in the handoff channel."""
    BODY = auto()
    """A short body of known length is read before the application is called, or what comes of it within BODY_MOMENT."""
    RUNNING = auto()
    """The application was called; its response is not complete."""
    WRITING = auto()
    """The response is complete, the client has not taken all of it."""
    DISCARDING = auto()
    """The response is written; the rest of the request's body is read and dropped."""
    LINGERING = auto()
    """We said all we will; what the client still sends is read and dropped until it closes."""
    CLOSED = auto()
    HANDED_OFF = auto()


GIVEABLE: Final = (State.IDLE, State.READING, State.PREFACE)
"""States in which the connection, with what was read, means the same in another process. A tuple: to look in a set,
an Enum is hashed, in Python."""

_OVER: Final = (State.CLOSED, State.HANDED_OFF)

_IDLE: Final = State.IDLE
_BODY: Final = State.BODY
_RUNNING: Final = State.RUNNING
_LINGERING: Final = State.LINGERING
_COMPLETED: Final = EndReason.COMPLETED
"""On the way of every request. Up to Python 3.11 a member of an enum costs ten times what a global does."""


class HTTPConnection:
    """One client connection of this process."""

    __slots__ = (
        "_advance_due",
        "_feed_due",
        "_loop",
        "buffer",
        "cause",
        "conn",
        "deadline",
        "discarded",
        "exchange",
        "host",
        "opened_at",
        "parkable",
        "peer",
        "searched",
        "served",
        "state",
        "waiting",
    )

    def __init__(self, conn: Conn, host: "HTTPHost") -> None:
        self.conn = conn
        self.host = host
        self.served = conn.origin.requests_served
        """Requests answered on this connection, in whichever process."""
        self.opened_at = host.loop.time()
        """loop.time() when this process got it."""
        self.peer = b""
        """The client's address on the scoreboard; made for the first request."""
        self.parkable = True
        """Whether the parking lot may have it when it is idle."""
        self._loop = host.loop
        self.buffer = bytearray()
        """Read, not yet interpreted."""
        self.searched = 0
        """Bytes at the front of `buffer` known not to hold the end of a head."""
        self.state = State.IDLE
        self.deadline = math.inf
        """loop.time() at which `timed_out` is due."""
        self.exchange: Exchange | None = None
        self.waiting: tuple[RequestHead, Trace] | None = None
        """The request of state WAITING."""
        self._advance_due = False
        self.discarded = 0
        """Bytes of the body that is read and dropped in state DISCARDING."""
        self._feed_due = False
        """More of the body was read than may be interpreted at once. Nothing is read before that is done."""
        self.cause: EndReason | None = None
        """Why it was refused. Counted then, so no more when it closes."""
        conn.on_broken = self._on_broken

    # entering: a new connection, one from another process, one with a request that was not run yet

    def start(self, buffered: bytes = b"", deadline: float | None = None, *, at_once: bool = False) -> None:
        """Serve from between two requests on.

        `buffered`: what was read already. `deadline`: loop.time() at which it is closed if nothing comes; None: as for
        a new connection, or one that has just become idle. `at_once`: also what it has sent by now is read before the
        loop turns. A connection that is over by then is never watched.
        """
        if deadline is None:
            settings = self.host.settings
            deadline = self._loop.time() + (settings.keep_alive if self.served else settings.header_timeout)
        self.deadline = deadline
        if self.conn.origin.proxy_header:
            self.state = State.PREFACE
        self.buffer += buffered
        try:
            if self.state is State.PREFACE:
                self._read_preface()
            elif buffered:
                self._advance()
            if at_once and self.state in GIVEABLE and not self._advance_due:
                self._on_readable()
        except BaseException:
            self.abort(EndReason.PROTOCOL_ERROR)  # not watched yet: nothing else would ever end it
            raise
        if self.state in GIVEABLE:
            self._read_on()

    def resume(self, head: RequestHead, buffered: bytes, trace: Trace) -> None:
        """Serve a request whose head another process read. `buffered`: everything after the head."""
        self.conn.watch(self._on_readable)
        self.buffer += buffered
        self._begin_late(head, trace)

    # reading

    def _on_readable(self) -> None:
        data = self.conn.receive()
        if data is None:
            return
        if not data:
            self._on_end_of_input()
            return
        state = self.state
        if state is _LINGERING:
            return
        self.buffer += data
        if state is _IDLE or state is State.READING:
            self._advance()
            if len(self.buffer) >= PIPELINE_LIMIT and self.state is not State.READING:
                self.conn.unwatch()
        elif state is State.BODY:
            self._read_body()
        elif state is State.DISCARDING:
            self._discard()
        elif state is State.PREFACE:
            self._read_preface()
        else:
            self._read_ahead()

    def _read_on(self) -> None:
        """Unless enough is there that has to be served first."""
        if not self.conn.reading and len(self.buffer) < PIPELINE_LIMIT:
            self.conn.watch(self._on_readable)

    def _read_preface(self) -> None:
        """Take the PROXY header from the buffer, if it is complete: from then on its addresses are the connection's."""
        try:
            header = read_proxy_header(self.buffer, self.host.settings.proxy_protocol)
        except ProxyError as error:
            self._refuse_preface(str(error))
            return
        if header is None:
            return
        del self.buffer[: header.consumed]
        origin = self.conn.origin
        self.conn.origin = msgspec.structs.replace(
            origin,
            client=header.client or origin.client,
            server=header.server or origin.server,
            proxy_header=False,
        )
        self.state = State.IDLE
        if self.host.identified(self) and self.buffer:
            self._advance()

    def _refuse_preface(self, why: str) -> None:
        """There is nobody to answer: a proxy that doesn't say for whom it speaks speaks no HTTP to us either."""
        self.close(EndReason.PROXY_HEADER)
        self.host.proxy_refused(self, why)

    def _end_preface(self, why: str, otherwise: EndReason) -> None:
        """Nothing more comes. A header that was begun is a fault; a connection without a byte, or one that needs none,
        is not."""
        if self.buffer and self.host.settings.proxy_protocol is not ProxyProtocol.AUTO:
            self._refuse_preface(why)
        else:
            self.close(otherwise)

    @property
    def unused(self) -> bool:
        """Nothing of a request was read that is not answered."""
        return self.state is State.IDLE or (self.state is State.PREFACE and not self.buffer)

    def _read_ahead(self) -> None:
        """Bytes came while a request waits or runs: its body, or later requests."""
        exchange = self.exchange
        if self._feed_due:
            return
        if exchange is not None and not exchange.decoder.done:
            try:
                self._feed(exchange, self.host.settings.body_buffer)
            except ClientError as error:
                self._refuse(error)
                return
            now = self._loop.time()
            self.deadline = now + self.host.settings.body_timeout
            if len(exchange.body) >= self.host.settings.body_buffer:
                self.conn.unwatch()
                if exchange.pace is not None:
                    exchange.pace.pause(now)
        if len(self.buffer) >= PIPELINE_LIMIT:
            self.conn.unwatch()

    def _feed(self, exchange: Exchange, room: int) -> None:
        """Decode what was read of the body, or a part of it that takes little time. Raises ClientError."""
        exchange.feed(self.buffer, room)
        if exchange.decoder.paused and not self._feed_due:
            self._feed_due = True
            self.conn.unwatch()
            if exchange.pace is not None:
                exchange.pace.pause(self._loop.time())
            self.host.backlog.add(self._feed_on)

    def _feed_on(self) -> None:
        """The next part."""
        self._feed_due = False
        if self.state is State.BODY:
            self._read_body()
        elif self.state is State.RUNNING or self.state is State.WRITING:
            self._read_ahead()
            self._read_more()

    def _read_more(self) -> None:
        """Unless there is more to interpret, or for the application to take."""
        exchange = self.exchange
        if exchange is None or self._feed_due or len(exchange.body) >= self.host.settings.body_buffer:
            return
        self._read_on()
        if exchange.pace is not None:
            exchange.pace.run(self._loop.time())

    def _watch_body(self) -> None:
        """Read more, unless what was read is enough for now."""
        if not self._feed_due:
            self.conn.watch(self._on_readable)

    def body_taken(self) -> None:
        """The application took the body bytes that waited: make room for more. (`Link`)"""
        with self.host.turn:
            if self.buffer:
                self._read_ahead()
            if self.state is State.RUNNING and self.exchange is not None and not self.exchange.half_closed:
                now = self._loop.time()
                self.deadline = now + self.host.settings.body_timeout
                self._watch_body()
                if self.exchange.pace is not None and not self._feed_due:
                    self.exchange.pace.run(now)

    def body_awaited(self) -> None:
        """The application waits for body bytes: from now on, at the latest, their client is timed. (`Link`)"""
        exchange = self.exchange
        if exchange is not None and exchange.pace is not None:
            now = self._loop.time()
            if not self._feed_due:
                exchange.pace.run(now)
            if self.deadline == math.inf:
                self.deadline = now + self.host.settings.body_timeout

    def _on_end_of_input(self) -> None:
        """The client closed its side. What it asked for completely is still answered where the host allows it: a
        half-closed connection can't be told from a closed one until a write fails."""
        self.conn.unwatch()
        exchange = self.exchange
        if self._advance_due:
            return  # pipelined requests come first; reading resumes after them
        if self.state is State.LINGERING:
            self.close(EndReason.COMPLETED)
        elif self.state is State.PREFACE:
            self._end_preface("the PROXY header is incomplete", EndReason.CLIENT_GONE)
        elif self.state is State.RUNNING and exchange is not None:
            if exchange.decoder.done and self.host.answers_half_closed and not exchange.is_stream:
                exchange.client_half_closed()
            else:
                self._lose()
        elif self.state is not State.WRITING and self.state is not State.WAITING:
            self.close(EndReason.CLIENT_GONE)  # those two find out when they read again

    def _advance(self) -> None:
        """Take the next head from the buffer, if it is complete, and serve it."""
        self._advance_due = False
        if self.state is not _IDLE and self.state is not State.READING:
            return
        try:
            head = take_head(self.buffer, self.searched, self.host.parse, self.host.limits)
        except ClientError as error:
            self._refuse(error, head_only=self.buffer.startswith(b"HEAD "))
            return
        if head is None:
            self._await_head()
            return
        self.searched = 0
        trace = trace_of(head.headers if head.marked else (), time.monotonic())
        if not self.host.take(self, head, trace):
            self._begin(head, trace)

    def _advance_later(self) -> None:
        with self.host.turn:
            self._advance()

    def _await_head(self) -> None:
        self.searched = len(self.buffer)
        self.conn.watch(self._on_readable)
        if self.state is State.IDLE and self.buffer.strip(b"\r\n"):  # empty lines are no request yet
            self.state = State.READING
            self.deadline = self._loop.time() + self.host.settings.header_timeout

    def wait(self, head: RequestHead, trace: Trace, seconds: float) -> None:
        """Hold the request back until `proceed()`, `give_request()` or the deadline. For the host."""
        self.state = State.WAITING
        self.waiting = (head, trace)
        self.deadline = self._loop.time() + seconds
        self._read_on()

    def proceed(self) -> None:
        """Serve the request that waited."""
        if self.waiting is not None and self.state is State.WAITING:
            head, trace = self.waiting
            self.waiting = None
            self._begin_late(head, trace)

    # running

    def _begin_late(self, head: RequestHead, trace: Trace) -> None:
        """Serve a request that had to wait, here or in another process."""
        now = time.monotonic()
        if trace.received_at:
            self.host.board.observe(Histogram.QUEUE_WAIT, now - trace.received_at)
        self._begin(head, trace, now)

    def _begin(self, head: RequestHead, trace: Trace, now: float = 0.0) -> None:
        settings = self.host.settings
        self.state = _BODY
        self.deadline = math.inf
        now = now or trace.received_at
        decoder = body_decoder(head, settings.limit_request_body)
        encoder = ResponseEncoder(head.method, head.http_version, head.keep_alive)
        exchange = self.exchange = Exchange(self, head, trace, decoder, encoder, started_at=now)
        if decoder.done:
            self._run(exchange)
            return
        exchange.pace = Pace(settings.body_min_rate, settings.body_timeout)
        if head.expect_continue or (head.content_length or 0) > settings.body_buffer:
            self._run(exchange)
        else:
            self._read_body()

    def _read_body(self) -> None:
        exchange = self.exchange
        assert exchange is not None
        room = self.host.settings.body_buffer
        try:
            self._feed(exchange, room)
        except ClientError as error:
            self._refuse(error)
            return
        if exchange.decoder.done or len(exchange.body) >= room or exchange.head.chunked:
            self._run(exchange)  # what comes in chunks may be half of a dialogue
        else:
            now = self._loop.time()
            if exchange.pace is not None and not self._feed_due:
                exchange.pace.run(now)
            self.deadline = now + self.host.settings.body_timeout
            self._watch_body()  # it may have waited for a place with a full buffer, unread

    def _run(self, exchange: Exchange) -> None:
        self.state = _RUNNING
        self.deadline = math.inf
        bodiless = exchange.decoder.done
        if not bodiless:
            self._watch_body()
            self._read_ahead()
            if self.exchange is not exchange:
                return  # the body is malformed and was refused
        host = self.host
        context = host.context.copy()
        context.run(current_trace.set, exchange.trace)
        head = exchange.head
        exchange.scope = host.scopes.http(head, self.conn.origin, host.state)
        peer = self.peer or self._name_peer()
        if exchange.pace is not None:
            exchange.busy_since = time.monotonic()  # to read the first of it took the client's time
        host.board.begin(exchange.busy_since, head.method, head.raw_path, exchange.trace.request_id, peer)
        host.turn.release()
        try:
            task = exchange.task = eager.start(host.call(exchange), self._loop, context)
        finally:
            host.turn.acquire()
        host.board.paused()
        if task.done():
            self._on_returned(exchange, task)
            if exchange.begun_at:
                host.returned(exchange)  # it may have been found to be a stream meanwhile
        else:
            host.started(self, exchange)
            at_end(task, partial(self._on_task_done, exchange))
        if bodiless and self.exchange is exchange:
            self._read_on()  # not before: until it waits, nobody could tell us of anything

    def _name_peer(self) -> bytes:
        client = self.conn.origin.client
        self.peer = client[0].encode() if client is not None else b"-"
        return self.peer

    def _on_task_done(self, exchange: Exchange, task: "asyncio.Task[None]") -> None:
        with self.host.turn:
            self._on_returned(exchange, task)
            self.host.returned(exchange)

    def _on_returned(self, exchange: Exchange, task: "asyncio.Task[None]") -> None:
        """The application returned, raised or was cancelled."""
        exchange.task = None  # an error in it leads by its traceback back to the exchange: a cycle
        error = error_of(task)
        if error is not None:
            self._end_call(exchange, error)
            let_go(error)
        elif not exchange.encoder.complete:  # else all is well
            self._end_call(exchange, None)

    def _end_call(self, exchange: Exchange, error: BaseException | None) -> None:
        cancelled = isinstance(error, asyncio.CancelledError)  # by us, or raised by the application itself
        if exchange.encoder.complete or exchange.gone:
            failed = error is not None and not cancelled
            if failed and not (exchange.released and follows_from_disconnect(error)):
                self.host.report_app_error(exchange, error)
            return
        if (error is None or cancelled) and (exchange.half_closed or exchange.ending):
            self._lose(EndReason.CLIENT_GONE if exchange.half_closed else EndReason.DRAINED)
            return  # it was told http.disconnect: to return is the right answer
        self.host.report_app_error(exchange, error)
        if exchange.encoder.started:
            self.exchange = None
            exchange.client_gone()  # tasks of the application's may still wait for something
            self.host.finished(self, exchange, EndReason.APP_ERROR)
            self.abort(EndReason.APP_ERROR)
        else:
            self._answer(exchange, 500, "Internal Server Error")

    # writing (Link)

    @property
    def closing(self) -> bool:
        """Whether the connection closes after the response that is to begin. (`Link`)"""
        return self.host.closing

    def defaults(self) -> bytes:
        """The server's own header lines. (`Link`)"""
        return self.host.default_headers()

    def response_begun(self) -> None:
        """Part of the response is written and more will follow. (`Link`, once)"""
        if self.exchange is not None:
            with self.host.turn:
                self.host.response_begun(self, self.exchange)

    def response_complete(self) -> None:
        """The application has sent its response whole. (`Link`)"""
        with self.host.turn:
            if self.conn.pending_bytes:
                self.state = State.WRITING
                self.conn.on_flushed = self._on_flushed
            else:
                self._after_response()

    def held_up(self, exchange: Exchange) -> None:
        """The application call waits for its client. (`Link`)"""
        with self.host.turn:
            self.host.held_up(exchange)

    def goes_on(self, exchange: Exchange) -> None:
        """It does so no more. (`Link`)"""
        with self.host.turn:
            self.host.goes_on(exchange)

    def client_lost(self) -> None:
        """A write failed. (`Link`)"""
        with self.host.turn:
            self._lose()

    def overdue(self) -> None:
        """The application has taken too long for its response. (`Link`)"""
        exchange = self.exchange
        if exchange is None or exchange.encoder.started:
            self._lose(EndReason.REQUEST_TIMEOUT)
        else:
            self._answer(exchange, 504, "Gateway Timeout")

    def _on_flushed(self) -> None:
        self.conn.on_flushed = None
        if self.state is State.WRITING:
            self._after_response()

    def _after_response(self) -> None:
        exchange = self.exchange
        assert exchange is not None
        self.host.finished(self, exchange, _COMPLETED)
        self.served += 1
        if not exchange.encoder.keep_alive or exchange.half_closed or self.host.closing:
            self._close_politely()
        elif exchange.decoder.done:
            self._become_idle()
        else:
            self.state = State.DISCARDING
            self.discarded = 0
            self.deadline = self._loop.time() + self.host.settings.body_timeout
            self.conn.watch(self._on_readable)
            self._discard()

    def _discard(self) -> None:
        exchange = self.exchange
        assert exchange is not None
        try:
            self.discarded += len(exchange.body)
            exchange.body.clear()
            exchange.feed(self.buffer, DISCARD_LIMIT)
        except ClientError:
            self._close_politely()
            return
        if exchange.decoder.done:
            self._become_idle()
        elif self.discarded + len(exchange.body) >= DISCARD_LIMIT:  # a body in chunks has no end in sight
            self._close_politely()

    def _become_idle(self) -> None:
        self.state = _IDLE
        self.exchange = None
        self.searched = 0
        self.deadline = self._loop.time() + self.host.settings.keep_alive
        self._read_on()
        if self.host.idle(self):
            return
        if self.buffer and not self._advance_due:
            # One turn of the loop per pipelined request: they don't nest, and other clients get their turn.
            self._advance_due = True
            soon(self._loop, self._advance_later)

    # leaving

    def _refuse(
        self, error: ClientError, cause: EndReason = EndReason.PROTOCOL_ERROR, *, head_only: bool = False
    ) -> None:
        """Answer a request that can't be served. Nothing after it is interpreted.

        `head_only`: it was a HEAD, as far as its head can be read. The answer to that has no content.
        """
        exchange = self.exchange
        self.cause = cause
        self.host.refused(self, error, cause)
        if exchange is None or not exchange.encoder.started:
            self._answer(exchange, error.status, str(error), error.headers, head_only=head_only)
        else:
            self._lose()

    def answer(self, status: int, text: str, *, retry_after: int | None = None) -> None:
        """Answer the request that waits, or whoever has just come, with an error of the server, and close."""
        headers = [] if retry_after is None else [(b"retry-after", b"%d" % retry_after)]
        self._answer(None, status, text, headers)

    def _answer(
        self,
        exchange: Exchange | None,
        status: int,
        text: str,
        headers: Sequence[tuple[bytes, bytes]] = (),
        *,
        head_only: bool = False,
    ) -> None:
        head_only |= self.waiting is not None and self.waiting[0].method == "HEAD"
        self.waiting = None
        if exchange is not None:
            exchange.client_gone()  # whatever the application still sends has no reader
            exchange.encoder.status = status
            self.host.finished(self, exchange, EndReason.COMPLETED)
            head_only = exchange.head.method == "HEAD"
        try:
            self.conn.write(
                simple_response(status, text, self.defaults(), head_only=head_only, headers=headers)
            )
        except ClientDisconnected:
            self.close(EndReason.CLIENT_GONE)
        else:
            self._linger()

    def _close_politely(self) -> None:
        exchange = self.exchange
        if self.buffer or (exchange is not None and not exchange.decoder.done):
            self._linger()
        else:
            self.close(EndReason.COMPLETED)

    def _linger(self) -> None:
        """Say no more, and read until the client has seen it."""
        self.exchange = None
        self.buffer.clear()
        self.state = State.LINGERING
        self.deadline = self._loop.time() + LINGER_TIMEOUT
        self.conn.watch(self._on_readable)
        if self.conn.pending_bytes:
            self.conn.on_flushed = self.conn.finish_writing
        else:
            self.conn.finish_writing()

    def _on_broken(self) -> None:
        if self.state is State.RUNNING or self.state is State.WRITING:
            self._lose()
        else:
            self.close(EndReason.CLIENT_GONE)

    def look(self) -> None:
        """Read what has arrived and act on it, without waiting for the loop to say so."""
        if self.conn.reading:
            self._on_readable()

    def cut(self, reason: EndReason) -> None:
        """End it now, whatever it does."""
        self._lose(reason)

    def _lose(self, reason: EndReason = EndReason.CLIENT_GONE) -> None:
        """The client is gone, or to be cut: the application, if it runs, is told and goes on alone."""
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.client_gone()
            if self.state is not State.DISCARDING:
                self.host.finished(self, exchange, reason)
        self.abort(reason)

    def abort(self, reason: EndReason) -> None:
        """Close with a reset: nothing that was cut may look complete."""
        self.conn.abort()
        self.close(reason)

    def close(self, reason: EndReason) -> None:
        """Close, from any state. May be called again."""
        if self.state in _OVER:
            return
        self.state = State.CLOSED
        self.deadline = math.inf
        self.waiting = None
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.client_gone()
        self.conn.close()
        self.host.closed(self, reason)

    def watch_again(self) -> None:
        """Go on here: the connection could not be given."""
        self.conn.watch(self._on_readable)

    def drop(self) -> None:
        """Another process owns the socket now. For the host, after `conn.give()` succeeded."""
        self.state = State.HANDED_OFF
        self.deadline = math.inf
        self.waiting = None
        self.host.closed(self, EndReason.HANDED_OFF)

    def release(self) -> tuple[Conn, bytes]:
        """Let go of an idle connection: it is the caller's now, unwatched, with what was read of the next request."""
        conn, buffered = self.conn, bytes(self.buffer)
        conn.unwatch()
        conn.on_broken = conn.on_flushed = None
        conn.origin = self.origin()
        deadline = self.deadline
        self.drop()
        self.deadline = deadline
        return conn, buffered

    def rests_since(self, now: float) -> float:
        """Seconds for which it has been idle, with nothing read: what the parking lot takes. 0: it isn't."""
        if self.state is not State.IDLE or self.buffer:
            return 0.0
        settings = self.host.settings
        limit = settings.keep_alive if self.served else settings.header_timeout
        return now - (self.deadline - limit)

    def parking(self) -> bytes:
        """The packet that moves this connection to the parking lot."""
        return encode(ParkedHandoff(origin=self.origin(), deadline=self.deadline))

    def adoption(self) -> bytes:
        """The packet that moves this connection, in a state of `GIVEABLE`, to another process."""
        return encode(ConnectionHandoff(origin=self.origin(), buffered=bytes(self.buffer)))

    def origin(self) -> Origin:
        """What another process must know of this connection."""
        origin = self.conn.origin
        if self.served == origin.requests_served:
            return origin
        generation = self.host.identity.generation
        return msgspec.structs.replace(origin, requests_served=self.served, generation=generation)

    # time

    @property
    def unanswered(self) -> bool:
        """The application is called, or will be, and has not begun its response."""
        return self.exchange is not None and not self.exchange.encoder.started

    def end_stream(self) -> None:
        """Ask a running response to end; it is cut END_TIMEOUT later. May be called again."""
        if self.state is State.RUNNING and self.exchange is not None and not self.exchange.ending:
            self.deadline = self._loop.time() + END_TIMEOUT
            self.exchange.end()

    def check(self, now: float) -> None:
        """Act on what is overdue. Called by the host's sweep."""
        if self.conn.stalled(now, self.host.send_timeout):
            self._lose(EndReason.SEND_TIMEOUT)
        elif now >= self.deadline:
            self._timed_out()
        elif self.exchange is not None and self._awaits_body(self.exchange):
            self._check_pace(self.exchange, now)
            if self.state is _BODY and now - self.exchange.started_at >= BODY_MOMENT:
                self._run(self.exchange)

    def _awaits_body(self, exchange: Exchange) -> bool:
        """Whether nothing goes on before more of the body has come. Once the response has begun, both sides talk, and
        how fast is their matter."""
        if self.state is State.RUNNING:
            return exchange.waits_for_body and not exchange.encoder.started
        return self.state is State.BODY

    def _check_pace(self, exchange: Exchange, now: float) -> None:
        if exchange.pace is not None and exchange.pace.too_slow(now):
            self._refuse(ClientError(408, "the request body arrived too slowly"), EndReason.BODY_RATE)

    def _timed_out(self) -> None:
        state = self.state
        if state is State.IDLE or state is State.LINGERING:
            self.close(self._idle_reason() if state is State.IDLE else EndReason.COMPLETED)
        elif state is State.PREFACE:
            self._preface_timed_out()
        elif state is State.READING:
            self._refuse(ClientError(408, "the request head did not arrive in time"), EndReason.HEAD_TIMEOUT)
        elif state is State.BODY:
            self._refuse(ClientError(408, "the request body did not arrive in time"), EndReason.BODY_TIMEOUT)
        elif state is State.WAITING:
            self.host.waited_too_long(self)
        elif state is State.RUNNING and self.exchange is not None and self.exchange.ending:
            self._lose(EndReason.DRAINED)
        elif state is State.RUNNING and self.exchange is not None and self.exchange.waits_for_body:
            self._refuse(ClientError(408, "the request body did not arrive in time"), EndReason.BODY_TIMEOUT)
        elif state is State.DISCARDING:
            self.close(EndReason.BODY_TIMEOUT)
        else:
            self.deadline = math.inf

    def _idle_reason(self) -> EndReason:
        return EndReason.IDLE_TIMEOUT if self.served else EndReason.FIRST_BYTE_TIMEOUT

    def _preface_timed_out(self) -> None:
        if self.host.settings.proxy_protocol is ProxyProtocol.AUTO:
            self.close(EndReason.FIRST_BYTE_TIMEOUT)
        else:
            self._refuse_preface("no PROXY header within --header-timeout")
