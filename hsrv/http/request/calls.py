"""The application calls of a process that are not finished.

Owns the set of calls that have begun to wait and have not returned, also those that have completed their response, and
their gauges on the scoreboard.
"""

import asyncio
import sys
from collections.abc import Iterator
from typing import Any

from hsrv.board.layout import Count, Gauge, Occupant
from hsrv.board.scoreboard import Scoreboard
from hsrv.http.request.exchange import Exchange
from hsrv.ipc.messages import Trace
from hsrv.logs.logging import current_trace


class RunningCalls:
    """Those of one process."""

    def __init__(self, board: Scoreboard) -> None:
        self.all: set[Exchange] = set()
        self._board = board
        self._streams = 0

    def __len__(self) -> int:
        return len(self.all)

    def add(self, exchange: Exchange) -> None:
        self.all.add(exchange)
        self._board.gauge(Gauge.IN_FLIGHT, len(self.all))

    def remove(self, exchange: Exchange) -> None:
        """The call has returned. It may be one that never waited, if its response was found to be a stream."""
        self.all.discard(exchange)
        self._board.gauge(Gauge.IN_FLIGHT, len(self.all))
        if exchange.is_stream:
            self._streams -= 1
            self._board.gauge(Gauge.STREAMS, self._streams)

    def found_stream(self, exchange: Exchange) -> bool:
        """The response of a call that has not returned is long-lived. False: that was known, or it is over."""
        if exchange.is_stream or exchange.encoder.complete or exchange.gone:
            return False
        exchange.is_stream = True
        self._streams += 1
        self._board.count(Count.STREAMS_OPENED)
        self._board.gauge(Gauge.STREAMS, self._streams)
        self._board.responded(exchange.encoder.status, exchange.begun_at - exchange.started_at)
        return True

    def unfinished(self) -> Iterator[Exchange]:
        """Those that have a response to complete, without streams: also without those that announced one and have not
        sent an event yet."""
        return (
            exchange
            for exchange in self.all
            if not exchange.is_stream and not exchange.encoder.complete and not exchange.encoder.event_stream
        )

    def occupant(self, task: "asyncio.Task[Any]") -> Occupant | None:
        """The request that this task serves. Called from another thread, while the loop is blocked."""
        running, trace = list(self.all), trace_of_task(task)
        found = [one for one in running if one.task is task or one.trace is trace]
        if not found and len(running) == 1:
            found = running  # a task that the application created, and the only request that it can belong to
        return occupant_of(found[0]) if found else None

    def cancel(self) -> None:
        """Cancel each."""
        for exchange in list(self.all):
            if exchange.task is not None:
                exchange.task.cancel()


def trace_of_task(task: "asyncio.Task[Any]") -> Trace | None:
    """The trace of the request in whose context a task was created: middlewares call their application in tasks of
    their own. None where the context of a task can't be read (Python 3.11)."""
    if sys.version_info >= (3, 12):
        return task.get_context().get(current_trace)
    return None


def occupant_of(exchange: Exchange) -> Occupant:
    """Its request as the scoreboard shows it."""
    head, client = exchange.head, exchange.origin.client
    peer = client[0].encode() if client else b"-"
    return Occupant(exchange.busy_since, head.method, head.raw_path, exchange.trace.request_id, peer)
