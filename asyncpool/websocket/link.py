"""One WebSocket connection: its answer, its frames, its pings, its end.

Owns the socket, the codec and what was received and not taken yet. Promises: what we end, ends with a close
frame; every wait for the peer is bounded (`check_deadlines`); while enough waits to be taken, nothing is
read; the first cause of the end is the one reported. Must not know ASGI, and has neither tasks nor timers:
the pool's sweep tells the time.

The closing handshake is RFC 6455 section 7.
"""

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from time import perf_counter
from typing import Final

import msgspec

from hsrv.asyncpool.websocket.events import (
    ABNORMAL,
    INTERNAL_ERROR,
    POLICY_VIOLATION,
    TRY_AGAIN_LATER,
    Close,
    Codec,
    FrameError,
    Part,
    Ping,
    Pong,
    Received,
)
from hsrv.asyncpool.websocket.inbox import Inbox
from hsrv.asyncpool.websocket.memory import COUNTED_FROM, MessageMemory
from hsrv.asyncpool.websocket.states import WIRE, Turn, Wire
from hsrv.common.errors import ClientDisconnected
from hsrv.common.tables import Machine
from hsrv.common.terms import EndReason
from hsrv.http.backlog import Backlog
from hsrv.logs.floods import worth_a_line
from hsrv.logs.logging import get_logger
from hsrv.net.conn import Conn

EARLY_LIMIT: Final = 64 * 1024
"""Bytes of frames kept before the application has accepted. At this limit reading stops."""

PING_PAYLOAD: Final = 4
"""Bytes. The payload is a counter, so that a late pong isn't taken for the answer to a later ping."""

FRAMES_PER_TURN: Final = 64
"""Frames of one connection that are interpreted in a turn of the loop: some 0.1 ms. A read may bring 10,900."""

SHARE: Final = 0.0005
"""Seconds of a turn for one connection whose frames take long: large ones, and those to be inflated."""

CROWD: Final = 32
"""Connections in the backlog, from which on those are not served whose peers have gone without a word: whoever
connects, sends what is expensive, and leaves, could else have it done faster than we do it."""

PONGS: Final = 10
"""Pings that are each answered of those that come together, as Autobahn has it; of more, the last is."""

FLOOD: Final = 1000
"""Control frames and empty ones that a peer may send between two looks, a second apart, beyond its messages: each is
worth nothing to the application and some work to us. Clients send one ping in many seconds; one that sends a ping with
each message never comes near, however many these are."""

_OPEN: Final = Wire.OPEN
_CLOSING: Final = Wire.CLOSING
"""Read for every message. Up to Python 3.11 a member of an enum costs ten times what a global does."""

log = get_logger("hsrv.asyncpool.websocket")


class WebSocketSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The options of every WebSocket of a pool. Times in seconds."""

    codec: str
    """`hsrv.asyncpool.websocket.codec` knows it by this name."""
    max_message: int
    """Bytes of one received message."""
    max_inflated: int
    """The same of one that came compressed."""
    message_timeout: float
    """From a message's first frame to its last; 0: any time."""
    ping_interval: float
    """0: no pings."""
    ping_timeout: float
    """0: an unanswered ping is no reason to end."""
    per_message_deflate: bool
    send_timeout: float
    """A peer that takes nothing of what waits for so long is cut."""
    close_timeout: float
    """How long the peer's close frame, and then its end of the connection, is awaited."""


class WebSocketLink:
    """The connection of one WebSocket, from the unanswered upgrade request on."""

    __slots__ = (
        "_answered",
        "_backlog",
        "_codec",
        "_conn",
        "_context",
        "_counted",
        "_deadline",
        "_early",
        "_idle",
        "_inbox",
        "_loop",
        "_memory",
        "_on_change",
        "_on_closed",
        "_ping",
        "_ping_at",
        "_pings",
        "_pong_due",
        "_postponed",
        "_settings",
        "_unfinished",
        "_unfinished_at",
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
        self._memory = memory
        self._on_change = on_change
        self._on_closed = on_closed
        self._wire = Machine(WIRE, Wire.UNANSWERED)
        self.reason: EndReason | None = None
        """Why it ends: the first reason there was."""
        self.ended: Close | None = None
        """How it ended. From then on nothing that is sent can arrive."""
        self._early = bytearray(early)
        self._inbox = Inbox()
        self._codec: Codec | None = None
        self._postponed = False
        """There is more to interpret, in a later turn."""
        self._counted = 0
        """Bytes that the pool counts as ours."""
        self._unfinished: object | None = None
        self._unfinished_at = 0.0
        """The message that was not complete at the last look, and loop.time() of the first that saw it."""
        self._idle = 0
        """Frames without content since the last look, less the messages."""
        self._pong_due: bytes | None = None
        self._answered = 0
        """Pings of those that came together."""
        self._pings = 0
        self._ping: bytes | None = None
        """Payload of the ping that was not answered yet."""
        self._ping_at = 0.0
        """loop.time() of the last ping."""
        self._deadline = 0.0
        """loop.time() until which the peer has to do its part of the end."""

    def start(self) -> None:
        """Begin to read. What is read is handled in the caller's context."""
        self._context = copy_context()
        self._conn.on_broken = self._on_broken
        self._conn.on_flushed = self._on_flushed
        self._watch()

    @property
    def state(self) -> Wire:
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
            self._interpret()
        return data

    def drop_messages(self) -> None:
        """Nobody will take them."""
        self._inbox.clear()
        self._count()

    # the answer to the upgrade request

    def accept(self, response: bytes, codec: Codec) -> None:
        """Answer 101 and begin with the frames. Raises `ClientDisconnected`."""
        self._write(response)
        self._wire.move(Turn.ACCEPTED)
        self._ping_at = self._loop.time()
        self._codec = codec
        codec.feed(bytes(self._early))
        self._early.clear()
        self._interpret()

    def answer(self, response: bytes, end: EndReason) -> None:
        """Answer with a whole HTTP response instead."""
        if self._try_write(response):
            self._finish(end)

    def respond(self, *parts: bytes, last: bool) -> None:
        """Write a part of an HTTP response. Raises `ClientDisconnected`."""
        if self._wire.state is Wire.UNANSWERED:
            self._wire.move(Turn.RESPONSE_BEGUN)
        self._write(b"".join(parts))
        if last:
            self._finish(EndReason.COMPLETED)

    # open

    def send(self, data: str | bytes) -> None:
        """Write one message. Raises `ClientDisconnected`."""
        assert self._codec is not None
        self._write(self._codec.message(data))

    def close(self, code: int, reason: str, end: EndReason) -> None:
        """Begin the closing handshake."""
        assert self._codec is not None
        self.ended = Close(code, reason)
        if self._try_write(self._codec.close(code, reason)):
            self._end(Turn.CLOSE_SENT, end)
            self._interpret()

    async def drained(self) -> None:
        """Wait until the peer has taken enough. Raises `ClientDisconnected`."""
        await self._conn.drained()

    # reading

    def _watch(self) -> None:
        """Read, unless enough waits. What comes then is seen only afterwards, also the end of the peer's
        side."""
        if (
            self._postponed
            or len(self._early) >= EARLY_LIMIT
            or (self._wire.state is _OPEN and self._enough())
        ):
            self._conn.unwatch()
        else:
            self._conn.watch(self._read)

    def _enough(self) -> bool:
        inbox = self._inbox
        return inbox.full or (self._memory.tight and len(inbox) > 0)

    def _read(self) -> None:
        self._context.run(self._on_readable)

    def _on_readable(self) -> None:
        data = self._conn.receive()
        if data is None:
            return
        if not data:
            self._on_end_of_input()
        elif self._codec is not None:
            if self._wire.state is not Wire.LINGERING:
                self._codec.feed(data)
                self._interpret()
        elif self._wire.state is Wire.UNANSWERED:
            self._early += data
            self._count()
            self._watch()

    def _on_end_of_input(self) -> None:
        if self._wire.state is Wire.LINGERING and self._conn.pending_bytes:
            self._conn.unwatch()  # it may still read our last bytes; when they are flushed, this comes again
        else:
            self._lose(EndReason.CLIENT_GONE)

    def _interpret(self) -> None:
        """Act on the frames that were read, as far as there is room for messages and it is our turn; the codec keeps
        the rest."""
        if self._postponed or self._codec is None:
            return
        if self._backlog:
            self._postpone()
        else:
            self._interpret_some(self._codec)
        self._watch()

    def _postpone(self) -> None:
        self._postponed = True
        self._backlog.add(self._go_on)

    def _go_on(self) -> None:
        self._postponed = False
        if self._codec is not None:
            if len(self._backlog) >= CROWD and self._conn.at_end():
                self._lose(EndReason.CLIENT_GONE)
            else:
                self._context.run(self._interpret_some, self._codec)
        self._watch()  # also when it ended meanwhile: until the peer hangs up

    def _interpret_some(self, codec: Codec) -> None:
        try:
            plain = self._act(codec)
        except FrameError as error:
            if count := worth_a_line("websocket protocol error", error.code):
                log.info("websocket protocol error", code=error.code, detail=str(error), count=count)
            self._fail(Close(error.code, error.reason), EndReason.PROTOCOL_ERROR)
        else:
            if not plain or self._counted or self._inbox.bytes > COUNTED_FROM:
                self._after_frames()

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
                    self._idle = max(0, self._idle - 1) if event.size else self._idle + 1
                continue
            plain = False
            self._on_event(event)
            if isinstance(event, Part):  # whatever takes long is in parts
                now = perf_counter()
                end = end or now + SHARE
                if now >= end:
                    break
        self._postpone()
        return False

    def _after_frames(self) -> None:
        if not self._postponed:
            self._answered = 0
            self._answer_ping()
        if self._idle > FLOOD:
            self._fail(Close(POLICY_VIOLATION, "too many frames without content"), EndReason.FLOOD)
        self._count()

    def _on_event(self, event: Part | Ping | Pong | Close) -> None:
        if isinstance(event, Part):
            self._idle += event.empty
        elif isinstance(event, Close):
            self._on_close_frame(event)
        else:
            self._idle += 1
            if isinstance(event, Ping):
                self._pong_due = event.payload
                if self._answered < PONGS:
                    self._answered += 1
                    self._answer_ping()
            elif event.payload == self._ping:
                self._ping = None

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
        log.warning(
            "websocket messages of the pool take too much memory", bytes=self._counted, option="ws_memory"
        )
        self._counted = 0
        self._inbox.clear()
        if self._codec is not None:
            self._fail(Close(TRY_AGAIN_LATER, "too much memory in use"), EndReason.MESSAGE_MEMORY)
        elif self._wire.state is Wire.UNANSWERED:
            self.cut(EndReason.MESSAGE_MEMORY)

    def _finish_after_close_frame(self, code: int, reason: str, end: EndReason) -> None:
        assert self._codec is not None
        self.reason = self.reason or end  # also when the peer doesn't wait for our close frame
        if self._wire.state is Wire.CLOSING or self._try_write(self._codec.close(code, reason)):
            self._finish(end)

    def _count(self) -> None:
        """Tell the pool what we hold."""
        held = len(self._early) + self._inbox.bytes + (self._codec.held if self._codec is not None else 0)
        if self._counted or held > COUNTED_FROM:
            self._counted = self._memory.hold(self, held)

    # pings

    def _answer_ping(self) -> None:
        """Of pings that come together, or while the peer doesn't read, only the last is answered (section 5.5.3
        allows it): a flood of pings is not worth a system call each, and can't fill our memory with pongs."""
        if self._pong_due is None or self._wire.state is not _OPEN or self._codec is None:
            return
        if not self._conn.pending_bytes:  # else when that is flushed
            payload, self._pong_due = self._pong_due, None
            self._try_write(self._codec.pong(payload))

    def _check_ping(self, now: float, codec: Codec) -> None:
        waited = now - self._ping_at
        if self._ping is not None and self._settings.ping_timeout:
            if not self._conn.reading:
                self._ping_at = now  # the pong may wait behind messages that nobody takes
            elif waited >= self._settings.ping_timeout:
                self.ended = Close(INTERNAL_ERROR, "ping timeout")
                self._try_write(codec.close(INTERNAL_ERROR, "ping timeout"))
                self._lose(EndReason.PING_TIMEOUT)
        elif self._settings.ping_interval and waited >= self._settings.ping_interval:
            self._pings += 1
            self._ping_at = now
            self._ping = self._pings.to_bytes(PING_PAYLOAD, "big")
            self._try_write(codec.ping(self._ping))

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
        """Write what nobody waits for. False: the peer is gone."""
        try:
            self._write(data)
        except ClientDisconnected:
            return False
        return True

    def _on_flushed(self) -> None:
        if self._wire.state is Wire.LINGERING:
            self._say_no_more()
        else:
            self._answer_ping()

    def _on_broken(self) -> None:
        self._lose(EndReason.CLIENT_GONE)

    # the end

    def check_deadlines(self, now: float) -> None:
        """Act on what is overdue at `now` (loop.time())."""
        state = self._wire.state
        if state is Wire.CLOSED:
            return
        self._idle = 0
        if self._codec is not None and state is _OPEN and self._message_overdue(now, self._codec):
            self._fail(Close(POLICY_VIOLATION, "message timeout"), EndReason.MESSAGE_TIMEOUT)
        elif self._conn.stalled(now, self._settings.send_timeout):
            self.cut(EndReason.SEND_TIMEOUT)
        elif self._conn.pending_bytes:
            self._extend(now)  # the peer is still taking what comes before our end
        elif state is Wire.OPEN and self._codec is not None:
            self._check_ping(now, self._codec)
        elif (state is Wire.CLOSING or state is Wire.LINGERING) and now >= self._deadline:
            self._lose(EndReason.COMPLETED)

    def _message_overdue(self, now: float, codec: Codec) -> bool:
        message = codec.unfinished
        held_back = not self._conn.reading and not self._postponed
        if message is None or message is not self._unfinished or held_back:
            self._unfinished, self._unfinished_at = message, now
            return False
        return 0 < self._settings.message_timeout <= now - self._unfinished_at

    def cut(self, end: EndReason) -> None:
        """Close with a reset, from any state: what was cut must not look complete."""
        self._conn.abort()
        self._lose(end)

    def _finish(self, end: EndReason) -> None:
        """All is said. The server closes first (section 7.1.1), but not before the peer has seen it: closing
        with unread input would reset the connection and destroy our last bytes on their way."""
        self._end(Turn.FINISHED, end)
        if not self._conn.pending_bytes:
            self._say_no_more()

    def _say_no_more(self) -> None:
        self._extend(self._loop.time())
        self._conn.finish_writing()
        self._watch()

    def _extend(self, now: float) -> None:
        self._deadline = now + self._settings.close_timeout

    def _lose(self, end: EndReason) -> None:
        """The connection is over, from any state. May be called again."""
        if self._wire.state is not Wire.CLOSED:
            self._end(Turn.LOST, end)
            self._conn.close()
            self._on_closed()
            self._on_change = self._on_closed = _nothing  # without a circle it needs no garbage collector

    def _end(self, turn: Turn, end: EndReason) -> None:
        self._wire.move(turn)
        self._extend(self._loop.time())
        self.reason = self.reason or end
        self.ended = self.ended or Close(ABNORMAL, "")
        if turn is not Turn.CLOSE_SENT:
            self._drop_input()
        self._on_change()

    def _drop_input(self) -> None:
        """Nothing more is interpreted. What is complete may still be taken."""
        self._codec = self._unfinished = self._pong_due = None
        self._early.clear()
        self._count()


def _nothing() -> None:
    """Nobody is to be told any more."""
