"""Deadlines for a WebSocket's peer: the answer to a ping, the rest of a message, its part of the closing handshake. And
which of its own pings are answered. Pure.

RFC 6455 section 5.5.3 allows answering only the last of several pings. So a flood of them neither costs a system call
each nor fills the memory with pongs.
"""

from typing import Final

from hsrv.asyncpool.websocket.codecs.events import INTERNAL_ERROR, POLICY_VIOLATION, Close
from hsrv.asyncpool.websocket.settings import WebSocketSettings

PING_PAYLOAD: Final = 4
"""Bytes. The payload is a counter, so that a late pong isn't taken for the answer to a later ping."""

PONGS: Final = 10
"""Pings that came together and are each answered, as Autobahn requires; of further ones, only the last is."""

NO_PONG: Final = Close(INTERNAL_ERROR, "ping timeout")
LATE_MESSAGE: Final = Close(POLICY_VIOLATION, "message timeout")


class Pings:
    """Of one connection."""

    __slots__ = ("_number", "_sent", "_sent_at", "_together", "due")

    def __init__(self, now: float) -> None:
        self.due: bytes | None = None
        """Payload of the ping that is to be answered."""
        self._together = 0
        """Pings that came in this turn."""
        self._number = 0
        self._sent: bytes | None = None
        """Payload of our ping that was not answered yet."""
        self._sent_at = now
        """loop.time() of our last one."""

    # the peer's

    def came(self, payload: bytes) -> bool:
        """Whether to answer it at once; otherwise after all that came with it was read."""
        self.due = payload
        self._together += 1
        return self._together <= PONGS

    def all_read(self) -> None:
        """The next ping starts a new count."""
        self._together = 0

    def pong(self) -> bytes | None:
        """The payload to answer now."""
        payload, self.due = self.due, None
        return payload

    # ours

    def answered(self, payload: bytes) -> None:
        if payload == self._sent:
            self._sent = None

    def overdue(self, now: float, settings: WebSocketSettings, *, reading: bool) -> bool:
        """Whether the peer has not answered in time. While we don't read, its answer may wait behind messages."""
        if self._sent is None or not settings.ping_timeout:
            return False
        if not reading:
            self._sent_at = now
        return now - self._sent_at >= settings.ping_timeout

    def next_ping(self, now: float, settings: WebSocketSettings) -> bytes | None:
        """The payload of a ping to send now."""
        awaited = self._sent is not None and settings.ping_timeout
        if awaited or not settings.ping_interval or now - self._sent_at < settings.ping_interval:
            return None
        self._number += 1
        self._sent = self._number.to_bytes(PING_PAYLOAD, "big")
        self._sent_at = now
        return self._sent


class Deadlines:
    """Of one connection. Times are loop.time()."""

    __slots__ = ("_end_by", "_message", "_message_at", "_settings")

    def __init__(self, settings: WebSocketSettings) -> None:
        self._settings = settings
        self._end_by = 0.0
        self._message: object | None = None
        """The message that was incomplete at the last check; `_message_at`: when it was first seen."""
        self._message_at = 0.0

    def message_overdue(self, now: float, message: object | None, *, held_back: bool) -> bool:
        """`message`: the incomplete one. `held_back`: its rest is not being read."""
        if message is None or message is not self._message or held_back:
            self._message, self._message_at = message, now
            return False
        return 0 < self._settings.message_timeout <= now - self._message_at

    def forget_message(self) -> None:
        """It will not be completed."""
        self._message = None

    def extend_end(self, now: float) -> None:
        """The peer's time for its part of the closing handshake starts now."""
        self._end_by = now + self._settings.close_timeout

    def end_overdue(self, now: float) -> bool:
        return now >= self._end_by
