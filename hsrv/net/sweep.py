"""The sweep: one timer per process, by which all deadlines of its connections are kept."""

import asyncio
from collections.abc import Callable
from typing import Final

from hsrv.net.context import later
from hsrv.system.realthreads import RLock

SWEEP_INTERVAL: Final = 0.5
"""Seconds between two checks of all deadlines: how late a timeout may act. One timer per process instead of one
per request."""


class Sweep:
    """Calls `act` with loop.time() every SWEEP_INTERVAL, holding the lock of connections."""

    def __init__(self, loop: asyncio.AbstractEventLoop, turn: RLock, act: Callable[[float], None]) -> None:
        self._loop = loop
        self._turn = turn
        self._act = act
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._put_off = False

    def start(self) -> None:
        self._due = self._loop.time() + SWEEP_INTERVAL
        self._timer = later(self._loop, SWEEP_INTERVAL, self._sweep)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _sweep(self) -> None:
        """After a time in which the process did not run, the loop comes to its timers before its sockets: no deadline
        is judged before data that came in time is read. Postponed only once, or a worker that computes all the time
        would never sweep."""
        now = self._loop.time()
        late = now - self._due > SWEEP_INTERVAL
        self._put_off = late and not self._put_off
        self.start()
        if not self._put_off:
            with self._turn:
                self._act(now)
