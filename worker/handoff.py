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
from hsrv.http.connection import HTTPConnection, State
from hsrv.ipc.channel import Channel, ChannelClosed, ChannelError
from hsrv.ipc.messages import StreamingHandoff, Trace, WebSocketHandoff, encode
from hsrv.net.context import later
from hsrv.net.poller import turn_of
from hsrv.system.native import mypyc_attr

RETRY_INTERVAL: Final = 0.02
"""Seconds until a full channel is tried again. ETOOMANYREFS has no readiness event, so a timer serves all causes."""


@mypyc_attr(allow_interpreted_subclasses=True)
class HandoffDesk:
    """Passes connections to the pool; keeps those in order that must wait."""

    def __init__(self, channel: Channel, loop: asyncio.AbstractEventLoop, board: Scoreboard) -> None:
        self._channel = channel
        self._loop = loop
        self._board = board
        self._waiting: deque[HTTPConnection] = deque()
        self._retry: asyncio.TimerHandle | None = None
        self.available = True
        """False while no pool has been ready for longer than a stream may wait."""
        self.sent = 0
        self.parked = 0

    def pass_on(
        self, connection: HTTPConnection, head: RequestHead, trace: Trace, *, patience: float
    ) -> bool:
        """Pass the connection with its request, or let it wait up to `patience` seconds. False: shed it; it waits."""
        if self.available and not self._waiting and self._send(connection, head, trace):
            return True
        connection.wait(head, trace, patience)
        if not self.available:
            return False
        self._waiting.append(connection)
        self._schedule()
        return True

    def park(self, connection: HTTPConnection) -> bool:
        """Pass an idle connection to the parking lot. False: there is no room at present, it stays."""
        if not self.available or self._waiting:
            return False
        try:
            connection.conn.give(self._channel, connection.parking())
        except ChannelError:
            connection.watch_again()
            return False
        self.parked += 1
        self._board.count(Count.PARKED)
        connection.drop()
        return True

    def _send(self, connection: HTTPConnection, head: RequestHead, trace: Trace) -> bool:
        kind = WebSocketHandoff if head.websocket else StreamingHandoff
        message = kind(origin=connection.origin(), head=head, buffered=bytes(connection.buffer), trace=trace)
        try:
            connection.conn.give(self._channel, encode(message))
        except ChannelClosed:
            self.available = False
            return False
        except ChannelError:  # full, or no descriptor left for a large message: both pass
            return False
        self.sent += 1
        self._board.count(Count.HANDOFFS_SENT)
        connection.drop()
        return True

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
                if not self._send(connection, head, trace):
                    connection.watch_again()
                    break
            self._waiting.popleft()

    def close(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
