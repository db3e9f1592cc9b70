"""One client connection, request after request: what is done in each state of its life (`hsrv.http.states`).

Owns a `Conn`, what was read from it and not yet interpreted, and where in its life it is. Promises: requests
are answered in order; nothing after a refused request is interpreted; every state has a deadline; at any point between
two requests the connection can be given away with all that was read. Must not decide *where* a request runs
or whether a connection is kept when idle: the delegate of its host does (`hsrv.http.contract`, also about the lock).
"""

import math
import time
from collections.abc import Callable
from typing import Final

from hsrv.common.errors import ClientError
from hsrv.common.request import RequestHead
from hsrv.common.terms import EndReason
from hsrv.http.bodies import PIPELINE_LIMIT
from hsrv.http.calling import CallingConnection
from hsrv.http.contract import Host, Outcome
from hsrv.http.preface import end_preface, preface_timed_out, read_preface
from hsrv.http.states import GIVEABLE, ROWS, EndOfInput, Event, Lateness, Reading, State
from hsrv.http.wire.head import take_head
from hsrv.http.wire.trace import trace_of
from hsrv.ipc.messages import Trace
from hsrv.net.conn import Conn

BODY_MOMENT: Final = 0.25
"""Seconds from the head on for which the application is not called when it would only wait for a short body of known
length. Nearly all are complete by then, which saves it its steps and us its memory; for a client that pauses it is
called with what is there. The sweep sees to it, so it may be SWEEP_INTERVAL more."""

END_TIMEOUT: Final = 1.0
"""Seconds a stream has to reach its end after it was asked to; then the connection is cut."""

_IDLE: Final = State.IDLE
_READING: Final = State.READING
_FINISHED: Final = Event.FINISHED
_HERE: Final = Outcome.HERE
_COMPLETED: Final = EndReason.COMPLETED
"""On the way of every request. Up to Python 3.11 a member of an enum costs ten times what a global does."""


class HTTPConnection(CallingConnection):
    """One client connection of this process."""

    __slots__ = ("_advance_due", "searched")

    def __init__(self, conn: Conn, host: Host) -> None:
        super().__init__(conn, host)
        self.searched = 0
        """Bytes at the front of `buffer` known not to hold the end of a head."""
        self._advance_due = False
        conn.on_broken = self._on_broken
        conn.on_kept = self._on_kept

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
        """Serve a request; another process has read its head. `buffered`: everything after the head."""
        self.conn.watch(self._on_readable)
        self.buffer += buffered
        self._begin_late(head, trace)

    def take_over(self, head: RequestHead, buffered: bytes, trace: Trace) -> None:
        """The same, unless the request has to wait here too, or goes on to yet another process."""
        self.buffer += buffered
        try:
            if self.host.delegate.take(self, head, trace) is _HERE:
                self._begin_late(head, trace)
        except BaseException:
            self.abort(EndReason.PROTOCOL_ERROR)  # not watched yet: nothing else would ever end it
            raise

    # reading

    def _on_readable(self) -> None:
        data = self.conn.receive()
        if data:
            self.buffer += data
            _READS[self.state](self)
            if len(self.buffer) >= PIPELINE_LIMIT and self.state is not _READING:
                self.conn.unwatch()
        elif data is not None:
            self._on_end_of_input()

    def _read_preface(self) -> None:
        if read_preface(self) is Outcome.HERE and self.buffer:
            self._advance()

    def _drop_input(self) -> None:
        self.buffer.clear()

    def _on_end_of_input(self) -> None:
        """The client closed its side. What it asked for completely is still answered where the host allows it: a
        half-closed connection can't be told from a closed one until a write fails."""
        self.conn.unwatch()
        if not self._advance_due:  # pipelined requests come first; reading resumes after them
            _ENDS[self.state](self)

    def _half_closed(self) -> None:
        exchange = self.exchange
        answers = exchange is not None and exchange.decoder.done and self.host.answers_half_closed
        if exchange is not None and answers and not exchange.is_stream:
            exchange.client_half_closed()
        else:
            self.cut()

    def _client_gone(self) -> None:
        self.close(EndReason.CLIENT_GONE)

    def _close_done(self) -> None:
        self.close(_COMPLETED)

    def _leave_it(self) -> None:
        """Until it is read again."""

    def _advance(self) -> None:
        """Take the next head from the buffer, if it is complete, and serve it."""
        self._advance_due = False
        if self.state is not _IDLE and self.state is not _READING:
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
        if self.host.delegate.take(self, head, trace) is _HERE:
            self._begin(head, trace)

    def _await_head(self) -> None:
        self.searched = len(self.buffer)
        self.conn.watch(self._on_readable)
        if self.state is State.IDLE and self.buffer.strip(b"\r\n"):  # empty lines are no request yet
            self.move(Event.HEAD_BEGUN)
            self.deadline = self._loop.time() + self.host.settings.header_timeout

    def wait(self, head: RequestHead, trace: Trace, seconds: float) -> None:
        self.move(Event.HELD)
        self.waiting = (head, trace)
        self.deadline = self._loop.time() + seconds
        self._read_on()

    def proceed(self) -> None:
        if self.waiting is not None and self.state is State.WAITING:
            head, trace = self.waiting
            self.waiting = None
            self._begin_late(head, trace)

    def _become_idle(self) -> None:
        self.move(_FINISHED)
        self.exchange = None
        self.searched = 0
        self.deadline = self._loop.time() + self.host.settings.keep_alive
        if not self.conn.reading:
            self._read_on()
        if self.host.delegate.idle(self) is _HERE and self.buffer and not self._advance_due:
            # Not here: pipelined requests don't nest, and other clients have their turn first.
            self._advance_due = True
            self.conn.outbox.go_on(self._advance)

    def look(self) -> None:
        """Read what has arrived and act on it, without waiting for the loop to say so."""
        if self.conn.reading:
            self._on_readable()

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
            self.cut(EndReason.SEND_TIMEOUT)
        elif now >= self.deadline:
            _LATE[self.state](self)
        elif self.exchange is not None and self._awaits_body(self.exchange):
            self._check_pace(self.exchange, now)
            if self.state is State.BODY and now - self.exchange.started_at >= BODY_MOMENT:
                self._run(self.exchange)

    # when a deadline is over

    def _close_idle(self) -> None:
        self.close(EndReason.IDLE_TIMEOUT if self.served else EndReason.FIRST_BYTE_TIMEOUT)

    def _refuse_head(self) -> None:
        self._refuse(ClientError(408, "the request head did not arrive in time"), EndReason.HEAD_TIMEOUT)

    def _waited_too_long(self) -> None:
        self.host.waited_too_long(self)

    def _end_running(self) -> None:
        exchange = self.exchange
        if exchange is not None and exchange.ending:
            self.cut(EndReason.DRAINED)
        elif exchange is not None and exchange.waits_for_body:
            self._refuse_body()
        else:
            self._no_deadline()

    def _no_deadline(self) -> None:
        self.deadline = math.inf

    def _close_unread(self) -> None:
        self.close(EndReason.BODY_TIMEOUT)


Step = Callable[[HTTPConnection], None]

_FOR_READING: Final[dict[Reading, Step]] = {
    Reading.PREFACE: HTTPConnection._read_preface,
    Reading.HEAD: HTTPConnection._advance,
    Reading.AHEAD: HTTPConnection._read_ahead,
    Reading.BODY: HTTPConnection._read_body,
    Reading.DISCARD: HTTPConnection._discard,
    Reading.DROP: HTTPConnection._drop_input,
}
_FOR_END: Final[dict[EndOfInput, Step]] = {
    EndOfInput.PREFACE: end_preface,
    EndOfInput.GONE: HTTPConnection._client_gone,
    EndOfInput.HALF_CLOSED: HTTPConnection._half_closed,
    EndOfInput.UNKNOWN: HTTPConnection._leave_it,
    EndOfInput.DONE: HTTPConnection._close_done,
}
_FOR_LATENESS: Final[dict[Lateness, Step]] = {
    Lateness.PREFACE: preface_timed_out,
    Lateness.CLOSE_IDLE: HTTPConnection._close_idle,
    Lateness.REFUSE_HEAD: HTTPConnection._refuse_head,
    Lateness.ASK_HOST: HTTPConnection._waited_too_long,
    Lateness.REFUSE_BODY: HTTPConnection._refuse_body,
    Lateness.END_CALL: HTTPConnection._end_running,
    Lateness.CLOSE_UNREAD: HTTPConnection._close_unread,
    Lateness.CLOSE_DONE: HTTPConnection._close_done,
    Lateness.NEVER: HTTPConnection._no_deadline,
}

_READS: Final[dict[State, Step]] = {state: _FOR_READING[row.read] for state, row in ROWS.items()}
_ENDS: Final[dict[State, Step]] = {state: _FOR_END[row.end] for state, row in ROWS.items()}
_LATE: Final[dict[State, Step]] = {state: _FOR_LATENESS[row.late] for state, row in ROWS.items()}
"""What the table says, as methods."""
