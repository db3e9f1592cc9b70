"""One WebSocket connection: its answer, its frames, its pings, its end.

Owns the socket, the codec and what was received and not taken yet. Promises: what we end, ends with a close
frame; every wait is bounded (`check_deadlines`); while enough waits to be taken, nothing is read; the first cause of
the end is the one reported. Must not know ASGI, and has neither tasks nor timers: the pool's sweep tells the time.

The closing handshake is RFC 6455 section 7.
"""

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from time import perf_counter
from typing import Final

from hsrv.asyncpool.websocket.awaited import LATE_MESSAGE, NO_PONG, Deadlines, Pings
from hsrv.asyncpool.websocket.events import (
    ABNORMAL,
    Close,
    Codec,
    FrameError,
    MessagePart,
    Ping,
    Pong,
    Received,
)
from hsrv.asyncpool.websocket.inbox import Inbox
from hsrv.asyncpool.websocket.memory import COUNTED_FROM, TOO_MUCH, MessageMemory
from hsrv.asyncpool.websocket.settings import (
    CROWD,
    EARLY_LIMIT,
    FLOOD,
    FLOODED,
    FRAMES_PER_TURN,
    SHARE,
    WebSocketSettings,
)
from hsrv.asyncpool.websocket.states import CONNECTION_STATES, ConnectionEvent, ConnectionState
from hsrv.common.errors import ClientDisconnected
from hsrv.common.tables import Machine
from hsrv.common.terms import EndReason
from hsrv.http.backlog import Backlog
from hsrv.logs.floods import lines_due
from hsrv.logs.logging import get_logger
from hsrv.net.conn import Conn

_OPEN: Final = ConnectionState.OPEN
_CLOSING: Final = ConnectionState.CLOSING
"""Read for every message. Up to Python 3.11 a member of an enum costs ten times what a global does."""

log = get_logger("hsrv.asyncpool.websocket")


class WebSocketLink:
    """The connection of one WebSocket, from the unanswered upgrade request on."""

    __slots__ = (
        "_backlog",
        "_cheap",
        "_codec",
        "_conn",
        "_context",
        "_counted",
        "_deadlines",
        "_early",
        "_idle",
        "_inbox",
        "_loop",
        "_memory",
        "_on_change",
        "_on_closed",
        "_others_wait",
        "_pings",
        "_postponed",
        "_settings",
        "_wire",
        "ended",
        "reason",
    )

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
        self._conn = conn
        self._settings = settings
        self._loop = loop
        self._backlog = backlog
        self._others_wait = backlog.waiting
        self._memory = memory
        self._on_change = on_change
        self._on_closed = on_closed
        self._wire = Machine(CONNECTION_STATES, ConnectionState.UNANSWERED)
        self.reason: EndReason | None = None
        """Why it ends: the first reason there was."""
        self.ended: Close | None = None
        """How it ended. From then on nothing that is sent can arrive."""
        self._early = bytearray(early)
        self._inbox = Inbox()
        self._codec: Codec | None = None
        self._postponed = False
        """There is more to interpret, in a later turn."""
        self._cheap = False
        """What it sent last was small messages, few and whole: the next is interpreted at once, before the backlog."""
        self._counted = 0
        """Bytes that the pool counts as ours."""
        self._idle = 0
        """Frames without content since the last look, less the messages."""
        self._deadlines = Deadlines(settings)
        self._pings = Pings(loop.time())

    def start(self) -> None:
        """Begin to read. What is read is handled in the caller's context."""
        self._context = copy_context()
        self._conn.on_broken = partial(self._lose, EndReason.CLIENT_GONE)
        self._conn.on_flushed = self._on_flushed
        self._watch()

    @property
    def state(self) -> ConnectionState:
        return self._wire.state

    def __len__(self) -> int:
        """Messages that can be taken."""
        return len(self._inbox)

    def take(self) -> str | bytes:
        """The next message."""
        data = self._inbox.take().data
        if self._counted:
            self._count()
        if not self._conn.reading:
            self._go_on()
        return data

    def drop_messages(self) -> None:
        """The application will not receive them."""
        self._inbox.clear()
        self._count()

    # what we say

    def accept(self, response: bytes, codec: Codec) -> None:
        """Answer 101 and begin with the frames. Raises `ClientDisconnected`."""
        self._write(response)
        self._wire.move(ConnectionEvent.ACCEPTED)
        self._pings = Pings(self._loop.time())
        self._codec = codec
        codec.feed(bytes(self._early))
        self._early.clear()
        self._go_on()
        self._cheap = False  # it has sent nothing yet that tells

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

    # reading

    def _watch(self) -> None:
        """Read, unless enough waits. What comes then is seen only afterwards, also the end of the peer's
        side."""
        enough = self._wire.state is _OPEN and self._inbox.enough(tight=self._memory.tight)
        if self._postponed or enough or len(self._early) >= EARLY_LIMIT:
            self._conn.unwatch()
        else:
            self._conn.watch(self._read)

    def _read(self) -> None:
        self._context.run(self._on_readable)

    def _on_readable(self) -> None:
        data = self._conn.receive()
        if data is None:
            return
        codec = self._codec
        if not data:
            self._on_end_of_input()
        elif codec is not None:
            codec.feed(data)
            if self._others_wait and not self._cheap:
                self._go_on()
            elif not self._interpret(codec):
                self._watch()
        elif self._wire.state is ConnectionState.UNANSWERED:
            self._early += data
            self._count()
            self._watch()

    def _on_end_of_input(self) -> None:
        if self._wire.state is ConnectionState.LINGERING and self._conn.pending_bytes:
            self._conn.unwatch()  # it may still read our last bytes; when they are flushed, this comes again
        else:
            self._lose(EndReason.CLIENT_GONE)

    def _go_on(self) -> None:
        """Act on the frames that were read, as far as there is room for messages and it is our turn; the codec keeps
        the rest."""
        codec = self._codec
        if codec is not None and not self._postponed:
            if self._others_wait and not self._cheap:
                self._postpone()
            else:
                self._interpret(codec)
        self._watch()

    def _postpone(self) -> None:
        self._postponed = True
        self._backlog.add(self._on_turn)

    def _on_turn(self) -> None:
        self._postponed = False
        if self._codec is not None:
            if len(self._backlog) >= CROWD and self._conn.at_end():
                self._lose(EndReason.CLIENT_GONE)
            else:
                self._context.run(self._interpret, self._codec)
        self._watch()  # also when it ended meanwhile: until the peer hangs up

    def _interpret(self, codec: Codec) -> bool:
        """Act on some frames. Returns whether that was all: a few small messages, and there is room for more."""
        try:
            self._cheap = plain = self._act(codec)
        except FrameError as error:
            if count := lines_due("websocket protocol error", error.code):
                log.info("websocket protocol error", code=error.code, detail=str(error), count=count)
            self._fail(Close(error.code, error.reason), EndReason.PROTOCOL_ERROR)
            return False
        if plain and not self._counted and self._inbox.bytes <= COUNTED_FROM:
            return not self._memory.tight
        self._after_frames()
        return False

    def _act(self, codec: Codec) -> bool:
        """Act on some frames. Returns whether there was nothing but whole messages, all of which are here."""
        plain, end, inbox, wire = True, 0.0, self._inbox, self._wire
        for _ in range(FRAMES_PER_TURN):
            if inbox.full or wire.state is not _OPEN:
                plain = False
                if wire.state is not _CLOSING:
                    return False
            event = codec.next_event()
            if event is None:
                return plain
            if isinstance(event, Received):
                if wire.state is _OPEN:
                    inbox.put(event)
                    self._on_change()
                if self._idle or not event.size:
                    plain = plain and event.size > 0
                    self._idle = max(0, self._idle - 1) if event.size else self._idle + 1
                continue
            plain = False
            self._on_event(event)
            if isinstance(event, MessagePart):  # whatever takes long is in parts
                now = perf_counter()
                end = end or now + SHARE
                if now >= end:
                    break
        self._postpone()
        return False

    def _after_frames(self) -> None:
        if not self._postponed:
            self._pings.all_read()
            self._answer_ping()
        if self._idle > FLOOD:
            self._fail(FLOODED, EndReason.FLOOD)
        self._count()

    def _on_event(self, event: MessagePart | Ping | Pong | Close) -> None:
        if isinstance(event, MessagePart):
            self._idle += event.empty
        elif isinstance(event, Close):
            self._on_close_frame(event)
        else:
            self._idle += 1
            if isinstance(event, Pong):
                self._pings.answered(event.payload)
            elif self._pings.came(event.payload):
                self._answer_ping()

    def _on_close_frame(self, event: Close) -> None:
        self._answer_ping()
        self.ended = self.ended or event
        self._finish_after_close_frame(event.code, "", EndReason.COMPLETED)

    def _fail(self, close: Close, end: EndReason) -> None:
        """Fail the connection (section 7.1.7): nothing the peer still sends is interpreted."""
        if self._codec is not None:
            self.ended = self.ended or close
            self._finish_after_close_frame(close.code, close.reason, end)

    def give_up(self) -> None:
        """Of all WebSockets of the pool it holds most, and that is too much."""
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

    def _count(self) -> None:
        """Tell the pool what we hold."""
        held = len(self._early) + self._inbox.bytes + (self._codec.held if self._codec is not None else 0)
        if self._counted or held > COUNTED_FROM:
            self._counted = self._memory.hold(self, held)

    # pings

    def _answer_ping(self) -> None:
        """While the peer doesn't read, none is answered, but the last that came once it does."""
        if self._wire.state is not _OPEN or self._codec is None or self._conn.pending_bytes:
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
        """Write, for no caller that could be told of an error. False: the peer is gone."""
        try:
            self._write(data)
        except ClientDisconnected:
            return False
        return True

    def _on_flushed(self) -> None:
        if self._wire.state is ConnectionState.LINGERING:
            self._say_no_more()
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
        if state is _OPEN and self._deadlines.message_overdue(now, message, held_back=held_back):
            self._fail(LATE_MESSAGE, EndReason.MESSAGE_TIMEOUT)
        elif self._conn.stalled(now, self._settings.send_timeout):
            self.cut(EndReason.SEND_TIMEOUT)
        elif self._conn.pending_bytes:
            self._deadlines.extend_end(now)  # the peer is still taking what comes before our end
        elif state is _OPEN and self._codec is not None:
            self._check_ping(now, self._codec)
        elif (state is _CLOSING or state is ConnectionState.LINGERING) and self._deadlines.end_overdue(now):
            self._lose(EndReason.COMPLETED)

    def cut(self, end: EndReason) -> None:
        """Close with a reset, from any state: what was cut must not look complete."""
        self._conn.abort()
        self._lose(end)

    def _finish(self, end: EndReason) -> None:
        """All is said. The server closes first (section 7.1.1), but not before the peer has seen it: closing
        with unread input would reset the connection and destroy our last bytes on their way."""
        self._end(ConnectionEvent.FINISHED, end)
        if not self._conn.pending_bytes:
            self._say_no_more()

    def _say_no_more(self) -> None:
        self._deadlines.extend_end(self._loop.time())
        self._conn.finish_writing()
        self._watch()

    def _lose(self, end: EndReason) -> None:
        """The connection is over, from any state. May be called again."""
        if self._wire.state is not ConnectionState.CLOSED:
            self._end(ConnectionEvent.LOST, end)
            self._conn.close()
            self._on_closed()
            self._on_change = self._on_closed = _nothing  # without a circle it needs no garbage collector

    def _end(self, turn: ConnectionEvent, end: EndReason) -> None:
        self._wire.move(turn)
        self._deadlines.extend_end(self._loop.time())
        self.reason = self.reason or end
        self.ended = self.ended or Close(ABNORMAL, "")
        if (
            turn is not ConnectionEvent.CLOSE_SENT
        ):  # nothing more is interpreted; what is complete may still be taken
            self._codec = None
            self._deadlines.forget_message()
            self._early.clear()
            self._count()
        self._on_change()


def _nothing() -> None:
    """In place of callbacks that are not to be called any more."""
