"""What the messages of all WebSockets of a pool occupy. Pure.

Promises: it is bounded for all clients together; small connections are not made to pay for large ones.
"""

from typing import Final, Protocol

from hsrv.asyncpool.websocket.events import TRY_AGAIN_LATER, Close

COUNTED_FROM: Final = 16 * 1024
"""Bytes. A connection that holds less is not counted: it occupies about as much by itself, and to count each message
that comes and goes would cost more than most of them hold."""

TOO_MUCH: Final = Close(TRY_AGAIN_LATER, "too much memory in use")

MUCH: Final = 8 * 1024 * 1024
"""Bytes."""


class MemoryHolder(Protocol):
    """A connection."""

    def give_up(self) -> None:
        """Let go of all that it holds."""


class MessageMemory:
    """The bytes of messages that are not complete, or not taken by the application."""

    __slots__ = ("_holders", "_limit", "_most", "tight", "used")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._holders: dict[MemoryHolder, int] = {}
        self.used = 0
        self._most = 0
        """What was used at the same time, since much was freed last."""
        self.tight = False
        """More than a half is used: a WebSocket whose messages wait for the application should read no more."""

    def hold(self, holder: MemoryHolder, amount: int) -> int:
        """`holder` has so much now. Returns what is counted of it: all or nothing.

        Beyond the limit, those that hold most give up. That may be `holder`.
        """
        counted = self._count(holder, amount if amount > COUNTED_FROM else 0)
        while self.used > self._limit:
            largest = max(self._holders, key=self._holders.__getitem__)
            self._count(largest, 0)
            largest.give_up()
        return counted if holder in self._holders else 0

    def _count(self, holder: MemoryHolder, amount: int) -> int:
        self.used += amount - self._holders.pop(holder, 0)
        if amount:
            self._holders[holder] = amount
        self.tight = self.used > self._limit // 2
        self._most = max(self._most, self.used)
        return amount

    def much_was_freed(self) -> bool:
        """To be asked now and then: whether it is worth to look for unused memory. That takes some 0.3 ms for
        each megabyte found: while what is freed is soon needed again, as in a flood, it would only hold up others."""
        if self._most - self.used < MUCH or self.used > self._most // 2:
            return False
        self._most = self.used
        return True
