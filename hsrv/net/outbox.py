"""Data that is written at the end of a turn of the loop, for all connections together.

Why: after a system call that sends, the caches are cold and a client was woken. Responses that are sent one after the
other at the end of a turn cost much less than each in the middle of the work for the next request.

Promises: nothing waits while only one socket is ready; nothing waits for longer than PATIENCE for work that is done in
slices or known to be short (`overdue`, `hsrv.http.budget`); what turns out to take longer doesn't delay it for longer
than OVERTAKEN_AFTER plus the switch interval of the GIL, because another thread sends it meanwhile
(`hsrv.net.flushtimer`). What waits counts as pending data of its connection.

The lock: code that sends or settles holds `turn`; the other thread sends, and nothing else: counting and callbacks are
left to the thread of the loop.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Final

from hsrv.net.context import soon
from hsrv.net.flushtimer import FlushTimer
from hsrv.system.native import mypyc_attr
from hsrv.system.realthreads import RLock

PATIENCE: Final = 0.001
"""Seconds that a write may wait for others."""

OVERTAKEN_AFTER: Final = 0.0015
"""Seconds after which another thread sends what still waits. Above PATIENCE, so that it mostly has nothing to do."""

GOING_ON_TIME: Final = 0.001
"""Seconds of a turn for pipelined requests, beside the one that runs when they are over: what they wait for each other
they don't keep from other clients."""

TURN_TIMEOUT: Final = 0.05
"""Seconds that the other thread waits for the lock. While the loop's thread holds it, it is about to send by itself."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Writer:
    """What waits in an outbox: a connection."""

    __slots__ = ()

    def send_out(self) -> None:
        """Send what waits, as far as the kernel accepts it. Called in any thread."""
        raise NotImplementedError

    def settle(self) -> None:
        """Do the same, count it and call back. It has left the outbox."""
        raise NotImplementedError


class Outbox:
    """Of one event loop."""

    __slots__ = (
        "_expires",
        "_flushing",
        "_loop",
        "_timer",
        "dispatching",
        "due",
        "more",
        "open",
        "turn",
        "waiting",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, turn: RLock) -> None:
        self._loop = loop
        self.turn = turn
        self.open = False
        """Whether writes are to wait. They are not when only one socket is ready: there is nothing to wait for."""
        self.dispatching = False
        """The poller calls back, and will flush."""
        self.waiting: deque[Writer] = deque()
        """Appended to without the lock."""
        self.more: deque[Callable[[], object]] = deque()
        self.due = 0.0
        """time.monotonic() at which what waits must be sent."""
        self._expires = 0.0
        self._flushing = False
        self._timer: FlushTimer | None = None

    def prepare(self) -> None:
        """From now on it may be open, where the system has what that takes."""
        if self._timer is None:
            with contextlib.suppress(OSError):
                self._timer = FlushTimer(self.send_late)

    def begin(self, *, several: bool) -> None:
        """Some sockets are ready."""
        self.open = several and self._timer is not None

    def add(self, writer: Writer) -> None:
        """It has something to send."""
        if self.waiting:
            self.waiting.append(writer)
            if self.overdue(monotonic()):
                self.flush()
            return
        self.due = due = monotonic() + PATIENCE
        if not due < self._expires < due + OVERTAKEN_AFTER - PATIENCE and self._timer is not None:
            self._timer.move_to(OVERTAKEN_AFTER)
            self._expires = due - PATIENCE + OVERTAKEN_AFTER
        self.waiting.append(writer)
        if not self.dispatching:
            soon(self._loop, self.flush)

    def go_on(self, callback: Callable[[], object]) -> None:
        """Call it within this turn, after all sockets that are ready, if that doesn't take long."""
        self.more.append(callback)
        if not self.dispatching and len(self.more) == 1:
            soon(self._loop, self._next_turn)

    def later(self, callback: Callable[[], object]) -> None:
        """The same, called in another thread; at the end of the next turn if this one has ended."""
        self.more.append(callback)

    def end_turn(self) -> None:
        """All sockets that were ready are served."""
        more = self.more
        self.dispatching = True
        if more:
            end = monotonic() + GOING_ON_TIME
            while more and monotonic() < end:
                more.popleft()()
            if more:
                soon(self._loop, self._next_turn)
        self.dispatching = False
        self.flush()

    def _next_turn(self) -> None:
        with self.turn:
            self.dispatching = True
            self.end_turn()

    def overdue(self, now: float) -> bool:
        return now >= self.due

    def flush(self) -> None:
        """Send all, then count and call back."""
        waiting = self.waiting
        if self._flushing or not waiting:
            return
        with self.turn:
            self._flushing = True
            try:
                for writer in list(waiting):
                    writer.send_out()
                while waiting:
                    waiting.popleft().settle()
            finally:
                self._flushing = False

    def send_late(self) -> None:
        """Called in the other thread: what waits must not wait for what runs."""
        if self.waiting and self.turn.acquire(timeout=TURN_TIMEOUT):
            try:
                for writer in list(self.waiting):
                    writer.send_out()
            finally:
                self.turn.release()
