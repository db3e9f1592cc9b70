"""The WebSockets that have more to interpret than their share of a turn of the loop, one after the other.

Promises: all of them together take little of a turn, and none is passed over. Runs nothing in the context of whoever
happened to ask.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from time import perf_counter
from typing import Final

FRAMES_PER_TURN: Final = 64
"""Frames of one connection that are interpreted in a turn: some 0.1 ms. A read may bring 10,900."""

SHARE: Final = 0.0005
"""Seconds of a turn for one connection whose frames take long: large ones, and those to be inflated."""

TURN: Final = 0.001
"""Seconds of a turn for all that wait here: an event stream beside them is hardly late."""

CROWD: Final = 32
"""Connections that wait, from which on those are not served whose peers have gone without a word: whoever connects,
sends what is expensive, and leaves, could else have it done faster than we do it."""


class Turns:
    """Of one loop."""

    __slots__ = ("_context", "_loop", "_scheduled", "waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._context = copy_context()
        self.waiting: deque[Callable[[], None]] = deque()
        """Not empty: whoever comes now should wait too."""
        self._scheduled = False

    def later(self, work: Callable[[], None]) -> None:
        """Call it, once, when it is its turn."""
        self.waiting.append(work)
        self._schedule()

    def _schedule(self) -> None:
        if self.waiting and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._run, context=self._context)

    def _run(self) -> None:
        end = perf_counter() + TURN
        try:
            for _ in range(len(self.waiting)):
                self.waiting.popleft()()
                if perf_counter() >= end:
                    break
        finally:
            self._scheduled = False
            self._schedule()
