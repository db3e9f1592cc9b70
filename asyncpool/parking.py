"""The parking lot: idle keep-alive connections, held cheaply, given to whichever worker is free when they speak.

Owns each connection from its arrival to the moment that its client sends something: then the pool reads it. Promises:
nothing is read here; a connection that can't stay goes to a worker through `adopt`; one that hangs up is closed, one
that stays silent too long as well; the lot never takes more descriptors than its limit, so that streams always find
some. Must not touch the application.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from itertools import islice
from typing import Final

from hsrv.common.terms import EndReason
from hsrv.http.observer import Observer, give
from hsrv.ipc.channel import Channel, ChannelError
from hsrv.ipc.messages import ConnectionHandoff, encode
from hsrv.net.conn import Conn
from hsrv.net.context import later
from hsrv.system.descriptors import IDLE_ENOUGH, most_connections

ADOPT_RETRY: Final = 0.02
"""Seconds until a connection that found the adopt channel full is passed again."""

SHARE: Final = 0.5
"""Of the connections that this process may hold: the most that the lot takes. The others are for streams."""


def most_parked() -> int:
    """How many connections may be parked, by the limit on open files."""
    return int(most_connections() * SHARE)


class _Gate(Enum):
    OPEN = auto()
    LEAVING = auto()
    """Another generation has a lot of its own: connections that arrive now are sent to the workers."""
    CLOSED = auto()
    """The server stops: connections that arrive now are closed."""


class Parked:
    """One connection of the lot."""

    __slots__ = ("buffered", "conn", "deadline", "parkable", "since")

    def __init__(self, conn: Conn, deadline: float, buffered: bytes = b"") -> None:
        self.conn = conn
        self.deadline = deadline
        self.buffered = buffered
        self.since = 0.0
        """loop.time() when it came."""
        self.parkable = True
        """Whether a worker may send it here again."""

    @property
    def end_of_time(self) -> EndReason:
        served = self.conn.origin.requests_served
        return EndReason.IDLE_TIMEOUT if served else EndReason.FIRST_BYTE_TIMEOUT

    def adoption(self) -> bytes:
        """The packet that moves it to a worker."""
        return encode(
            ConnectionHandoff(
                origin=self.conn.origin,
                buffered=self.buffered,
                deadline=self.deadline,
                parkable=self.parkable,
            )
        )


class ParkingLot:
    """All parked connections of this process."""

    def __init__(
        self,
        adopt: Channel,
        loop: asyncio.AbstractEventLoop,
        limit: int,
        on_readable: Callable[[Conn, float], None],
        observer: Observer | None = None,
    ) -> None:
        """`limit`: the most connections that are held; more go on to the workers, which keep them. `on_readable`: takes
        over a connection whose client has sent something, with its deadline."""
        self._adopt = adopt
        self._loop = loop
        self._limit = limit
        self._spoke = on_readable
        self._observer = observer
        self._gate = _Gate.OPEN
        self._parked: dict[Parked, None] = {}
        self._leaving: deque[Parked] = deque()
        """Unwatched, waiting for room in the adopt channel: they have to leave."""
        self._retry: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._parked) + len(self._leaving)

    def park(self, conn: Conn, deadline: float) -> None:
        """Hold an idle, unwatched connection until its client sends something, or until `deadline` (loop.time())."""
        parked = Parked(conn, deadline)
        if self._gate is _Gate.OPEN and len(self) < self._limit:
            self._hold(parked)
        else:
            parked.parkable = self._gate is not _Gate.OPEN
            self._send(parked)

    def give_back(self, conn: Conn, deadline: float, buffered: bytes) -> None:
        """Pass an unwatched connection to a worker. `buffered`: what was read of the next request."""
        self._send(Parked(conn, deadline, buffered))

    def sweep(self, now: float) -> list[EndReason]:
        """Close those whose time is over; why, for each."""
        overdue = [parked for parked in self._parked if now >= parked.deadline]
        for parked in overdue:
            self._end(parked, parked.end_of_time)
        return [parked.end_of_time for parked in overdue]

    def evict(self, count: int) -> int:
        """Close up to `count` of those that have stood here for longest, and for IDLE_ENOUGH; how many."""
        before = self._loop.time() - IDLE_ENOUGH
        longest = [
            parked
            for parked in islice(self._parked, count)
            if parked.since <= before and not parked.conn.readable()
        ]
        for parked in longest:
            self._end(parked, EndReason.DESCRIPTORS)
        return len(longest)

    def send_away(self) -> None:
        """From now on every connection goes to the workers."""
        self._gate = _Gate.LEAVING
        parked, self._parked = self._parked, {}
        for one in parked:
            one.conn.unwatch()
            self._send(one)

    def close(self) -> None:
        """From now on every connection is closed: there is no process to adopt it."""
        self._gate = _Gate.CLOSED
        for parked in [*self._parked, *self._leaving]:
            self._end(parked, EndReason.DRAINED)
        self._leaving.clear()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _hold(self, parked: Parked) -> None:
        parked.since = self._loop.time()
        self._parked[parked] = None
        parked.conn.watch(lambda: self._on_readable(parked))
        if self._observer is not None:
            self._observer.parked(parked.conn.origin)

    def _on_readable(self, parked: Parked) -> None:
        if parked.conn.at_end():
            self._end(parked, EndReason.CLIENT_GONE)
            return
        del self._parked[parked]
        parked.conn.unwatch()
        self._spoke(parked.conn, parked.deadline)

    def _end(self, parked: Parked, reason: EndReason) -> None:
        self._parked.pop(parked, None)
        parked.conn.close()
        if self._observer is not None:
            self._observer.closed(parked.conn, reason, parked.conn.origin.requests_served)

    def _give(self, parked: Parked) -> None:
        """Raises ChannelError."""
        give(parked.conn, self._adopt, parked.adoption(), "adopt", self._observer)

    def _send(self, parked: Parked) -> None:
        if self._gate is _Gate.CLOSED:
            self._end(parked, EndReason.DRAINED)
            return
        self._leaving.append(parked)
        if self._retry is None:
            self._send_all()

    def _send_all(self) -> None:
        self._retry = None
        while self._leaving:
            parked = self._leaving[0]
            try:
                self._give(parked)
            except ChannelError:  # full: in order, when there is room
                self._retry = later(self._loop, ADOPT_RETRY, self._send_all)
                return
            self._leaving.popleft()
