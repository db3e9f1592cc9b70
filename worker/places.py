"""How many requests a worker runs at a time, and which ones wait for a place."""

import asyncio
from collections import deque
from collections.abc import Callable

from hsrv.http.contract import Connection
from hsrv.http.request.exchange import Exchange
from hsrv.http.states import State
from hsrv.net.context import soon
from hsrv.net.poller import turn_of
from hsrv.serving.accept import Acceptor


class Places:
    """`limit` places for application calls that wait for something. A call that became a stream, or that waits for its
    own client, holds none: what is limited is what a client can't prolong.

    When all are taken the worker stops accepting; requests on connections it has already wait in order.
    """

    def __init__(
        self,
        limit: int,
        acceptor: Acceptor,
        loop: asyncio.AbstractEventLoop,
        on_change: Callable[[int], None],
    ) -> None:
        """`on_change(places that are taken, and requests that wait for one)`"""
        self._limit = limit
        self._acceptor = acceptor
        self._loop = loop
        self._held: set[Exchange] = set()
        self._queue: deque[Connection] = deque()
        self._on_change = on_change
        self.free = limit > 0
        """Whether a request may run at once. False as long as others wait."""

    def _changed(self) -> None:
        self.free = not self._queue and len(self._held) < self._limit
        self._on_change(len(self._held) + len(self._queue))

    def queue(self, connection: Connection) -> None:
        """`connection` waits for a place (state WAITING)."""
        self._queue.append(connection)
        self._changed()

    def take(self, exchange: Exchange) -> None:
        self._held.add(exchange)
        self._changed()
        if len(self._held) >= self._limit:
            self._acceptor.pause()

    def give_back(self, exchange: Exchange) -> None:
        """The call returned, or is a stream from now on. May be called again."""
        if exchange in self._held:
            self._held.remove(exchange)
            self._changed()
            if self._queue:
                soon(self._loop, self._serve_queue)
            else:
                self._acceptor.resume()

    def _serve_queue(self) -> None:
        with turn_of(self._loop):
            self._let_in()

    def _let_in(self) -> None:
        while self._queue and len(self._held) < self._limit:
            connection = self._queue.popleft()
            if connection.state is State.WAITING:
                connection.proceed()
        self._changed()
        if self.free:
            self._acceptor.resume()
