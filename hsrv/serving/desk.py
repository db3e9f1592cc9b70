"""Requests that go on to another process, before they were run: from a worker to a pool, or from a pool to a worker.

Promise: a socket is passed exactly once; while there is no room it stays ours and the client's request waits, for a
bounded time, then it is answered with 503 (by the sweep of the host).
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from hsrv.board.layout import Count
from hsrv.board.scoreboard import Scoreboard
from hsrv.common.request import RequestHead
from hsrv.events.types import Move
from hsrv.http.contract import Connection, Outcome
from hsrv.http.states import State
from hsrv.ipc.channel import Channel, ChannelClosed, ChannelError
from hsrv.ipc.messages import Trace
from hsrv.net.context import later
from hsrv.net.poller import turn_of

RETRY_INTERVAL: Final = 0.02
"""Seconds until a full channel is tried again. ETOOMANYREFS has no readiness event, so a timer serves all causes."""

RETRY_BATCH: Final = 32
"""Requests sent at once after a wait. Each takes about 20 µs."""

Pack = Callable[[Connection, RequestHead, Trace], tuple[bytes, Move]]


def to_pool(connection: Connection, head: RequestHead, trace: Trace) -> tuple[bytes, Move]:
    """The packet of a stream or WebSocket."""
    return connection.handoff(head, trace), "websocket" if head.websocket else "request"


def to_worker(connection: Connection, head: RequestHead, trace: Trace) -> tuple[bytes, Move]:
    """The packet of a request that the pool read."""
    return connection.request(head, trace), "adopt"


def is_overdue(trace: Trace, now: float, patience: float) -> bool:
    """Whether a request has waited for a worker for too long. `now`: loop.time()"""
    return bool(trace.received_at) and now - trace.received_at >= patience


class HandoffDesk:
    """Passes connections on; keeps those in order that must wait."""

    def __init__(
        self,
        channel: Channel,
        loop: asyncio.AbstractEventLoop,
        board: Scoreboard,
        *,
        pack: Pack = to_pool,
        counted: Count = Count.HANDOFFS_SENT,
    ) -> None:
        self._channel = channel
        self._loop = loop
        self._board = board
        self._pack = pack
        self._counted = counted
        self._waiting: deque[Connection] = deque()
        self._retry: asyncio.TimerHandle | None = None
        self.available = True
        """False while no process has been ready to receive for longer than a request may wait."""
        self.held = False
        """True while others go first."""

    def __len__(self) -> int:
        """Requests that wait for room."""
        return len(self._waiting)

    @property
    def is_free(self) -> bool:
        """Whether what is sent now overtakes no request that waits."""
        return self.available and not self._waiting and not self.held

    def pass_on(self, connection: Connection, head: RequestHead, trace: Trace, *, patience: float) -> Outcome:
        """Pass the connection with its request. LATER: it waits up to `patience` seconds for room. REFUSED: no process
        is there to receive it."""
        if self.is_free and self._send(connection, head, trace) is Outcome.ELSEWHERE:
            return Outcome.ELSEWHERE
        if not self.available:
            return Outcome.REFUSED
        connection.wait(head, trace, patience)
        self._waiting.append(connection)
        self._schedule(RETRY_INTERVAL)
        return Outcome.LATER

    def _send(self, connection: Connection, head: RequestHead, trace: Trace) -> Outcome:
        packet, kind = self._pack(connection, head, trace)
        try:
            connection.give(self._channel, packet, kind)
        except ChannelClosed:
            self.available = False
            return Outcome.HERE
        except ChannelError:  # full, or no descriptor left for a large message: both pass
            return Outcome.HERE
        self._board.count(self._counted)
        return Outcome.ELSEWHERE

    def _schedule(self, seconds: float) -> None:
        if self._retry is None and self._waiting:
            self._retry = later(self._loop, seconds, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        with turn_of(self._loop):
            full = self._send_waiting() is Outcome.HERE
        self._schedule(RETRY_INTERVAL if full else 0.0)

    def _send_waiting(self) -> Outcome:
        """HERE: there is no room for the first."""
        if self.held:
            return Outcome.HERE
        for _ in range(min(RETRY_BATCH, len(self._waiting))):
            connection = self._waiting[0]
            if connection.state is State.WAITING and connection.waiting is not None:
                head, trace = connection.waiting
                if self._send(connection, head, trace) is Outcome.HERE:
                    return Outcome.HERE
            self._waiting.popleft()
        return Outcome.ELSEWHERE

    def close(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
