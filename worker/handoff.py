"""Requests that go to the pool.

Promise: a socket is passed exactly once, before the application was called; while there is no room it stays ours
and the client's request waits, at most `--handoff-timeout`, then it is answered with 503.
"""

import asyncio
from collections import deque
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


class HandoffDesk:
    """Passes connections to the pool; keeps those in order that must wait."""

    def __init__(self, channel: Channel, loop: asyncio.AbstractEventLoop, board: Scoreboard) -> None:
        self._channel = channel
        self._loop = loop
        self._board = board
        self._waiting: deque[Connection] = deque()
        self._retry: asyncio.TimerHandle | None = None
        self.available = True
        """False while no pool has been ready for longer than a stream may wait."""

    @property
    def is_free(self) -> bool:
        """Whether what is sent now overtakes no request that waits."""
        return self.available and not self._waiting

    def pass_on(self, connection: Connection, head: RequestHead, trace: Trace, *, patience: float) -> Outcome:
        """Pass the connection with its request. LATER: it waits up to `patience` seconds for room. REFUSED: there is no
        pool."""
        if self.is_free and self._send(connection, head, trace) is Outcome.ELSEWHERE:
            return Outcome.ELSEWHERE
        if not self.available:
            return Outcome.REFUSED
        connection.wait(head, trace, patience)
        self._waiting.append(connection)
        self._schedule()
        return Outcome.LATER

    def _send(self, connection: Connection, head: RequestHead, trace: Trace) -> Outcome:
        try:
            kind: Move = "websocket" if head.websocket else "request"
            connection.give(self._channel, connection.handoff(head, trace), kind)
        except ChannelClosed:
            self.available = False
            return Outcome.HERE
        except ChannelError:  # full, or no descriptor left for a large message: both pass
            return Outcome.HERE
        self._board.count(Count.HANDOFFS_SENT)
        return Outcome.ELSEWHERE

    def _schedule(self) -> None:
        if self._retry is None and self._waiting:
            self._retry = later(self._loop, RETRY_INTERVAL, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        with turn_of(self._loop):
            self._send_waiting()
        self._schedule()

    def _send_waiting(self) -> None:
        while self._waiting:
            connection = self._waiting[0]
            if connection.state is State.WAITING and connection.waiting is not None:
                head, trace = connection.waiting
                if self._send(connection, head, trace) is Outcome.HERE:
                    break
            self._waiting.popleft()

    def close(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
