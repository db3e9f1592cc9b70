"""Data that was read and would take too long to interpret in one turn of the loop.

Owns the queue of connections that have such data. Promise: however many they are and whatever they contain, they
together take about TURN_TIME of a turn, one slice after the other in the order of the queue. A client that sends data
that is expensive to interpret (chunks of one byte, floods of frames, messages to inflate) waits for others that do
the same; no other client waits for it.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from hsrv.net.context import soon
from hsrv.net.poller import turn_of

TURN_TIME: Final = 0.001
"""Seconds of a turn of the loop, beside the slice that is running when they are over."""


class Backlog:
    """The queue of one process."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.waiting: deque[Callable[[], object]] = deque()
        """At most one for each connection, which is not read while it waits. Other modules only check whether it is
        empty, for every message."""
        self._due = False

    def __len__(self) -> int:
        return len(self.waiting)

    def add(self, slice_: Callable[[], object]) -> None:
        """Call it when its turn has come, holding the lock of connections. It adds itself again if there is more."""
        self.waiting.append(slice_)
        self._schedule()

    def _schedule(self) -> None:
        if self.waiting and not self._due:
            self._due = True
            soon(self._loop, self._work)

    def _work(self) -> None:
        self._due = False
        end = time.monotonic() + TURN_TIME
        try:
            with turn_of(self._loop):
                for _ in range(len(self.waiting)):  # each at most once: what it adds has its turn in the next
                    self.waiting.popleft()()
                    if time.monotonic() >= end:
                        return
        finally:
            self._schedule()
