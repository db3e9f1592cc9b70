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
from typing import Final

import msgspec

from hsrv.asyncpool.ws_events import (
    ABNORMAL,
    INTERNAL_ERROR,
    Close,
    Codec,
    Event,
    FrameError,
    Ping,
    Pong,
    Received,
)
from hsrv.asyncpool.ws_inbox import Inbox
from hsrv.asyncpool.ws_states import WIRE, Turn, Wire
from hsrv.conn import Conn
from hsrv.errors import ClientDisconnected
from hsrv.logging import get_logger
from hsrv.tables import Machine
from hsrv.terms import EndReason

EARLY_LIMIT: Final = 64 * 1024
"""Bytes of frames kept before the application has accepted. At this limit reading stops."""

PING_PAYLOAD: Final = 4
"""Bytes. The payload is a counter, so that a late pong isn't taken for the answer to a later ping."""

_OPEN: Final = Wire.OPEN
_CLOSING: Final = Wire.CLOSING
"""Read for every message. Up to Python 3.11 a member of an enum costs ten times what a global does."""

log = get_logger("hsrv.asyncpool.websocket")


class WebSocketSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The options of every WebSocket of a pool. Times in seconds."""

    codec: str
    """`hsrv.asyncpool.ws_codec` knows it by this name."""
    max_message: int
    """Bytes of one received message, decompressed."""
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
        "_codec",
        "_conn",
        "_context",
        "_deadline",
        "_early",
        "_inbox",
        "_loop",
        "_on_change",
        "_on_closed",
        "_ping",
        "_ping_at",
        "_pings",
        "_pong_due",
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
        on_change: Callable[[], None],
        on_closed: Callable[[], None],
    ) -> None:
        """`early`: bytes read after the request. `on_change`: there is a message to take, or `ended` is set.
        `on_closed`: the socket is closed."""
        self._conn = conn
        self._settings = settings
        self._loop = loop
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
        self._pong_due: bytes | None = None
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
        was_full = self._inbox.full
        data = self._inbox.take().data
        if was_full:
            self._interpret()
        return data

    def drop_messages(self) -> None:
        """Nobody will take them."""
        self._inbox.clear()

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
        enough = len(self._early) >= EARLY_LIMIT or (self._wire.state is _OPEN and self._inbox.full)
        if enough:
            self._conn.unwatch()
        else:
            self._conn.watch(self._read)

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
            self._watch()

    def _on_end_of_input(self) -> None:
        if self._wire.state is Wire.LINGERING and self._conn.pending_bytes:
            self._conn.unwatch()  # it may still read our last bytes; when they are flushed, this comes again
        else:
            self._lose(EndReason.CLIENT_GONE)

    def _interpret(self) -> None:
        """Act on the frames that were read, as far as there is room for messages; the codec keeps the
        rest."""
        codec = self._codec
        assert codec is not None
        try:
            while self._has_room():
                event = codec.next_event()
                if event is None:
                    break
                self._on_event(event)
        except FrameError as error:
            log.info("websocket protocol error", code=error.code, detail=str(error))
            self._fail(error)
        self._watch()

    def _has_room(self) -> bool:
        state = self._wire.state
        return not self._inbox.full if state is _OPEN else state is _CLOSING

    def _on_event(self, event: Event) -> None:
        if isinstance(event, Received):
            if self._wire.state is _OPEN:
                self._inbox.put(event)
                self._on_change()
        elif isinstance(event, Ping):
            self._answer_ping(event.payload)
        elif isinstance(event, Pong):
            if event.payload == self._ping:
                self._ping = None
        else:
            self._on_close_frame(event)

    def _on_close_frame(self, event: Close) -> None:
        self.ended = self.ended or event
        self._finish_after_close_frame(event.code, "", EndReason.COMPLETED)

    def _fail(self, error: FrameError) -> None:
        """Fail the connection (section 7.1.7): nothing the peer still sends is interpreted."""
        self.ended = self.ended or Close(error.code, error.reason)
        self._finish_after_close_frame(error.code, error.reason, EndReason.PROTOCOL_ERROR)

    def _finish_after_close_frame(self, code: int, reason: str, end: EndReason) -> None:
        assert self._codec is not None
        self.reason = self.reason or end  # also when the peer doesn't wait for our close frame
        if self._wire.state is Wire.CLOSING or self._try_write(self._codec.close(code, reason)):
            self._finish(end)

    # pings

    def _answer_ping(self, payload: bytes) -> None:
        """Of pings that come while the peer doesn't read, only the last is answered (section 5.5.3 allows
        it), so that a flood of pings can't fill our memory with pongs."""
        if self._wire.state is not Wire.OPEN or self._codec is None:
            return
        if self._conn.pending_bytes:
            self._pong_due = payload
        else:
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
        payload, self._pong_due = self._pong_due, None
        if self._wire.state is Wire.LINGERING:
            self._say_no_more()
        elif payload is not None:
            self._answer_ping(payload)

    def _on_broken(self) -> None:
        self._lose(EndReason.CLIENT_GONE)

    # the end

    def check_deadlines(self, now: float) -> None:
        """Act on what is overdue at `now` (loop.time())."""
        state = self._wire.state
        if state is Wire.CLOSED:
            return
        if self._conn.stalled(now, self._settings.send_timeout):
            self.cut(EndReason.SEND_TIMEOUT)
        elif self._conn.pending_bytes:
            self._extend(now)  # the peer is still taking what comes before our end
        elif state is Wire.OPEN and self._codec is not None:
            self._check_ping(now, self._codec)
        elif (state is Wire.CLOSING or state is Wire.LINGERING) and now >= self._deadline:
            self._lose(EndReason.COMPLETED)

    def cut(self, end: EndReason) -> None:
        """Close with a reset, from any state: what was cut must not look complete."""
        self._conn.abort()
        self._lose(end)

    def _finish(self, end: EndReason) -> None:
        """All is said. The server closes first (section 7.1.1), but not before the peer has seen it: closing
        with unread input would reset the connection and destroy our last bytes on their way."""
        self._end(Turn.FINISHED, end)
        self._early.clear()
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

    def _end(self, turn: Turn, end: EndReason) -> None:
        self._wire.move(turn)
        self._extend(self._loop.time())
        self.reason = self.reason or end
        self.ended = self.ended or Close(ABNORMAL, "")
        self._on_change()
