"""The memory that the messages of all WebSockets of a pool occupy. Pure.

Promises: the total is bounded; at the limit the connections that hold most are ended, not the small ones.
"""

from typing import Final, Protocol

from hsrv.asyncpool.websocket.codecs.events import TRY_AGAIN_LATER, Close

COUNTED_FROM: Final = 16 * 1024
"""Bytes. A connection that holds less is not counted: its own objects occupy about as much, and counting every small
message would cost more than it is worth."""

TOO_MUCH: Final = Close(TRY_AGAIN_LATER, "too much memory in use")

MUCH: Final = 8 * 1024 * 1024
"""Bytes that must have been freed before memory is returned to the operating system."""


class MemoryHolder(Protocol):
    """A connection."""

    def release(self) -> None:
        """Drop all messages and end the connection."""


class MessageMemory:
    """The bytes of messages that are not complete, or not taken by the application."""

    __slots__ = ("_holders", "_limit", "_most", "tight", "used")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._holders: dict[MemoryHolder, int] = {}
        self.used = 0
        self._most = 0
        """The peak of `used` since `much_was_freed` last returned true."""
        self.tight = False
        """More than half is used: a connection with messages that wait to be taken should stop reading."""

    def hold(self, holder: MemoryHolder, amount: int) -> int:
        """`holder` now holds `amount` bytes. Returns how many of them are counted: all or none.

        Above the limit, the largest holders are released; `holder` may be one of them.
        """
        counted = self._count(holder, amount if amount > COUNTED_FROM else 0)
        while self.used > self._limit:
            largest = max(self._holders, key=self._holders.__getitem__)
            self._count(largest, 0)
            largest.release()
        return counted if holder in self._holders else 0

    def _count(self, holder: MemoryHolder, amount: int) -> int:
        self.used += amount - self._holders.pop(holder, 0)
        if amount:
            self._holders[holder] = amount
        self.tight = self.used > self._limit // 2
        self._most = max(self._most, self.used)
        return amount

    def much_was_freed(self) -> bool:
        """Whether it is worth returning unused memory to the operating system; call periodically. That takes about
        0.3 ms per megabyte found: in a flood, where freed memory is soon needed again, it would only delay others."""
        if self._most - self.used < MUCH or self.used > self._most // 2:
            return False
        self._most = self.used
        return True
