"""What was read and would take too long to interpret in one turn of the loop.

Owns the queue of connections that have more. Promise: however many there are and whatever they were sent, all together
take about TURN_TIME of a turn, one slice after the other and each in its turn; so whoever sends what is dear to read
(chunks of one byte, floods of frames, messages to inflate) waits for others of that kind, and nobody waits for them.
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
    """Of one process."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.waiting: deque[Callable[[], object]] = deque()
        """At most one for each connection: who waits is not read meanwhile. Others only see whether it is empty: asked
        for every message."""
        self._due = False

    def __len__(self) -> int:
        return len(self.waiting)

    def add(self, slice_: Callable[[], object]) -> None:
        """Call it when its turn has come, holding the lock of connections. Who has still more then adds it again."""
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
