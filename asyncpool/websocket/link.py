"""One WebSocket connection: its answer, what is sent, its pings, its end. What it receives: `reading`.

Owns the socket and the codec. Promises: what the server ends, ends with a close frame; every wait is bounded
(`check_deadlines`); the first cause of the end is the one reported. Must not know ASGI, and has neither tasks nor
timers: the pool's sweep calls `check_deadlines`.

The closing handshake is RFC 6455 section 7.
"""

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from functools import partial

from hsrv.asyncpool.websocket.awaited import LATE_MESSAGE, NO_PONG, Deadlines, Pings
from hsrv.asyncpool.websocket.codecs.events import ABNORMAL, Close, Codec
from hsrv.asyncpool.websocket.memory import TOO_MUCH, MessageMemory
from hsrv.asyncpool.websocket.reading import LinkInput
from hsrv.asyncpool.websocket.settings import WebSocketSettings
from hsrv.asyncpool.websocket.states import ConnectionEvent, ConnectionState
from hsrv.common.errors import ClientDisconnected
from hsrv.common.terms import EndReason
from hsrv.http.backlog import Backlog
from hsrv.logs.floods import lines_due
from hsrv.logs.logging import get_logger
from hsrv.net.conn import Conn

log = get_logger("hsrv.asyncpool.websocket")


class WebSocketLink(LinkInput):
    """The connection of one WebSocket, from the unanswered upgrade request on."""

    __slots__ = ("_deadlines", "_loop", "_on_closed", "_settings", "ended", "reason")

    def __init__(
        self,
        conn: Conn,
        early: bytes,
        settings: WebSocketSettings,
        loop: asyncio.AbstractEventLoop,
        *,
        backlog: Backlog,
        memory: MessageMemory,
        on_change: Callable[[], None],
        on_closed: Callable[[], None],
    ) -> None:
        """`early`: bytes read after the request. `on_change`: there is a message to take, or `ended` is set.
        `on_closed`: the socket is closed."""
        super().__init__(conn, early, loop.time(), backlog=backlog, memory=memory, on_change=on_change)
        self._settings = settings
        self._loop = loop
        self._on_closed = on_closed
        self._deadlines = Deadlines(settings)
        self.reason: EndReason | None = None
        """Why it ends: the first reason there was."""
        self.ended: Close | None = None
        """How it ended. From then on nothing that is sent can arrive."""

    def start(self) -> None:
        """Begin to read. What is read is handled in the caller's context."""
        self._context = copy_context()
        self._conn.on_broken = partial(self._lose, EndReason.CLIENT_GONE)
        self._conn.on_flushed = self._on_flushed
        self._watch()

    @property
    def state(self) -> ConnectionState:
        return self._wire.state

    # sending

    def accept(self, response: bytes, codec: Codec) -> None:
        """Answer 101 and begin with the frames. Raises `ClientDisconnected`."""
        self._write(response)
        self._wire.move(ConnectionEvent.ACCEPTED)
        self._pings = Pings(self._loop.time())
        self._codec = codec
        codec.feed(bytes(self._early))
        self._early.clear()
        self._go_on()
        self._cheap = False  # what it has sent so far does not show it

    def answer(self, response: bytes, end: EndReason) -> None:
        """Answer with a whole HTTP response instead."""
        if self._try_write(response):
            self._finish(end)

    def respond(self, *parts: bytes, last: bool) -> None:
        """Write a part of an HTTP response. Raises `ClientDisconnected`."""
        if self._wire.state is ConnectionState.UNANSWERED:
            self._wire.move(ConnectionEvent.RESPONSE_BEGUN)
        self._write(b"".join(parts))
        if last:
            self._finish(EndReason.COMPLETED)

    def send(self, data: str | bytes) -> None:
        """Raises `ClientDisconnected`."""
        assert self._codec is not None
        self._write(self._codec.message(data))

    def close(self, code: int, reason: str, end: EndReason) -> None:
        """Begin the closing handshake."""
        assert self._codec is not None
        self.ended = Close(code, reason)
        if self._try_write(self._codec.close(code, reason)):
            self._end(ConnectionEvent.CLOSE_SENT, end)
            self._go_on()

    def _on_close_frame(self, event: Close) -> None:
        self._answer_ping()
        self.ended = self.ended or event
        self._finish_after_close_frame(event.code, "", EndReason.COMPLETED)

    def _fail(self, close: Close, end: EndReason) -> None:
        """Fail the connection (section 7.1.7): nothing the peer still sends is interpreted."""
        if self._codec is not None:
            self.ended = self.ended or close
            self._finish_after_close_frame(close.code, close.reason, end)

    def release(self) -> None:
        """Drop all messages and end: the pool's limit is reached, and this connection holds most."""
        held, self._counted = self._counted, 0
        if count := lines_due("websocket memory"):
            log.warning("websockets hold too much memory", bytes=held, option="ws_memory", count=count)
        self._inbox.clear()
        if self._codec is not None:
            self._fail(TOO_MUCH, EndReason.MESSAGE_MEMORY)
        elif self._wire.state is ConnectionState.UNANSWERED:
            self.cut(EndReason.MESSAGE_MEMORY)

    def _finish_after_close_frame(self, code: int, reason: str, end: EndReason) -> None:
        assert self._codec is not None
        self.reason = self.reason or end  # also when the peer doesn't wait for our close frame
        if self._wire.state is ConnectionState.CLOSING or self._try_write(self._codec.close(code, reason)):
            self._finish(end)

    # pings

    def _answer_ping(self) -> None:
        """While the peer doesn't read, none is answered; once it does, only the last one."""
        if self._wire.state is not ConnectionState.OPEN or self._codec is None or self._conn.pending_bytes:
            return
        payload = self._pings.pong()
        if payload is not None:
            self._try_write(self._codec.pong(payload))

    def _check_ping(self, now: float, codec: Codec) -> None:
        if self._pings.overdue(now, self._settings, reading=self._conn.reading):
            self.ended = NO_PONG
            self._try_write(codec.close(*NO_PONG))
            self._lose(EndReason.PING_TIMEOUT)
        elif payload := self._pings.next_ping(now, self._settings):
            self._try_write(codec.ping(payload))

    # writing

    def _write(self, data: bytes) -> None:
        if not data:
            return
        try:
            self._conn.write(data)
        except ClientDisconnected:
            self._lose(EndReason.CLIENT_GONE)
            raise

    def _try_write(self, data: bytes) -> bool:
        """Write where no caller handles the error. False: the peer is gone."""
        try:
            self._write(data)
        except ClientDisconnected:
            return False
        return True

    def _on_flushed(self) -> None:
        if self._wire.state is ConnectionState.LINGERING:
            self._finish_writing()
        else:
            self._answer_ping()

    # the end

    def check_deadlines(self, now: float) -> None:
        """Act on what is overdue at `now` (loop.time())."""
        state = self._wire.state
        if state is ConnectionState.CLOSED:
            return
        self._idle = 0
        message = self._codec.unfinished if self._codec is not None else None
        held_back = not self._conn.reading and not self._postponed
        if state is ConnectionState.OPEN and self._deadlines.message_overdue(
            now, message, held_back=held_back
        ):
            self._fail(LATE_MESSAGE, EndReason.MESSAGE_TIMEOUT)
        elif self._conn.stalled(now, self._settings.send_timeout):
            self.cut(EndReason.SEND_TIMEOUT)
        elif self._conn.pending_bytes:
            self._deadlines.extend_end(now)  # the peer is still taking what comes before our end
        elif state is ConnectionState.OPEN and self._codec is not None:
            self._check_ping(now, self._codec)
        elif (
            state is ConnectionState.CLOSING or state is ConnectionState.LINGERING
        ) and self._deadlines.end_overdue(now):
            self._lose(EndReason.COMPLETED)

    def cut(self, end: EndReason) -> None:
        """Close with a reset, from any state: what was cut must not look complete."""
        self._conn.abort()
        self._lose(end)

    def _finish(self, end: EndReason) -> None:
        """Nothing more will be sent. The server closes first (section 7.1.1), but not before the peer has seen that:
        closing with unread input would reset the connection and destroy our last bytes in flight."""
        self._end(ConnectionEvent.FINISHED, end)
        if not self._conn.pending_bytes:
            self._finish_writing()

    def _finish_writing(self) -> None:
        self._deadlines.extend_end(self._loop.time())
        self._conn.finish_writing()
        self._watch()

    def _lose(self, end: EndReason) -> None:
        """The connection is over, from any state. May be called again."""
        if self._wire.state is not ConnectionState.CLOSED:
            self._end(ConnectionEvent.LOST, end)
            self._conn.close()
            self._on_closed()
            self._on_change = self._on_closed = _nothing  # breaks the reference cycle: no garbage collection

    def _end(self, turn: ConnectionEvent, end: EndReason) -> None:
        self._wire.move(turn)
        self._deadlines.extend_end(self._loop.time())
        self.reason = self.reason or end
        self.ended = self.ended or Close(ABNORMAL, "")
        if turn is not ConnectionEvent.CLOSE_SENT:
            self._codec = None  # nothing more is interpreted; complete messages may still be taken
            self._deadlines.forget_message()
            self._early.clear()
            self._count()
        self._on_change()


def _nothing() -> None:
    """No callback is left to call."""
