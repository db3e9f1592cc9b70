"""The reading half of a WebSocket's connection: from the socket through the codec to the inbox.

Owns what was received and not taken yet. Promises: while enough waits to be taken, nothing is read; a connection whose
frames take long has its share of a turn, and continues in a later one; the pool's memory for messages knows what is
held. What a frame means for the connection (a ping, a close frame, an error) is decided by `link`, the other half: both
are one object, because an idle WebSocket should cost little, and garbage collection should not be needed for it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextvars import Context
from time import perf_counter
from typing import Final

from hsrv.asyncpool.websocket.awaited import Pings
from hsrv.asyncpool.websocket.codecs.events import Close, Codec, FrameError, MessagePart, Ping, Pong, Received
from hsrv.asyncpool.websocket.inbox import Inbox
from hsrv.asyncpool.websocket.memory import COUNTED_FROM, MessageMemory
from hsrv.asyncpool.websocket.settings import CROWD, EARLY_LIMIT, FLOOD, FLOODED, FRAMES_PER_TURN, SHARE
from hsrv.asyncpool.websocket.states import CONNECTION_STATES, ConnectionState
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


class LinkInput(ABC):
    """What `WebSocketLink` does with what it receives."""

    __slots__ = (
        "_backlog",
        "_cheap",
        "_codec",
        "_conn",
        "_context",
        "_counted",
        "_early",
        "_idle",
        "_inbox",
        "_memory",
        "_on_change",
        "_others_wait",
        "_pings",
        "_postponed",
        "_wire",
    )

    _context: Context

    def __init__(
        self,
        conn: Conn,
        early: bytes,
        now: float,
        *,
        backlog: Backlog,
        memory: MessageMemory,
        on_change: Callable[[], None],
    ) -> None:
        self._conn = conn
        self._backlog = backlog
        self._others_wait = backlog.waiting
        self._memory = memory
        self._on_change = on_change
        self._wire = Machine(CONNECTION_STATES, ConnectionState.UNANSWERED)
        self._pings = Pings(now)
        self._early = bytearray(early)
        """Received before the application has accepted."""
        self._inbox = Inbox()
        self._codec: Codec | None = None
        self._postponed = False
        """There is more to interpret, in a later turn."""
        self._cheap = False
        """What was received last was small messages, few and whole: the next is interpreted at once, even if others
        wait for their turn."""
        self._counted = 0
        """Bytes that the pool's memory for messages counts for this connection."""
        self._idle = 0
        """Frames without content since the last sweep, less the messages."""

    @abstractmethod
    def release(self) -> None:
        """Drop all messages and end the connection."""

    @abstractmethod
    def _on_close_frame(self, event: Close) -> None: ...
    @abstractmethod
    def _answer_ping(self) -> None: ...
    @abstractmethod
    def _fail(self, close: Close, end: EndReason) -> None: ...
    @abstractmethod
    def _lose(self, end: EndReason) -> None: ...

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
        """They will not be taken."""
        self._inbox.clear()
        self._count()

    # receiving

    def _watch(self) -> None:
        """Read, unless enough waits. What arrives during such a pause is noticed only afterwards, even the end of the
        peer's side."""
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
            self._conn.unwatch()  # it may still read our last bytes; once they are flushed, this is called again
        else:
            self._lose(EndReason.CLIENT_GONE)

    def _go_on(self) -> None:
        """Act on the frames that were read, as far as the inbox has room and it is this connection's turn; the codec
        keeps the rest."""
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
        self._watch()  # also if it ended meanwhile: reads until the peer closes

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
        """Act on some frames. Returns whether all were whole messages, and none is left."""
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
            if isinstance(event, MessagePart):  # only what takes long comes in parts
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

    def _count(self) -> None:
        """Report to the pool how many bytes this connection holds."""
        held = len(self._early) + self._inbox.bytes + (self._codec.held if self._codec is not None else 0)
        if self._counted or held > COUNTED_FROM:
            self._counted = self._memory.hold(self, held)
