"""Takes what waits on readable descriptors: new connections (`hsrv.serving.accept`) or packets (`hsrv.net.intake`).

Promises: a bounded batch per turn of the event loop, so that existing connections are served meanwhile and other
processes can take the rest; during a pause for lack of descriptors nothing is watched, so that the loop doesn't spin,
and nothing is lost, because it waits in the kernel.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final, Generic, Protocol, TypeVar

from hsrv.net.context import later
from hsrv.net.poller import poller_of

PAUSE: Final = 0.1
"""Seconds without taking anything after EMFILE or ENFILE."""

BATCH_TIME: Final = 0.001
"""Seconds after which nothing more is taken in this turn of the loop."""


class Watchable(Protocol):
    """A socket or channel."""

    def fileno(self) -> int: ...


S = TypeVar("S", bound=Watchable)


class TakeLoop(Generic[S]):
    """Calls `take(source)` for each readable source while it is open and not paused."""

    def __init__(
        self,
        sources: Sequence[S],
        loop: asyncio.AbstractEventLoop,
        take: Callable[[S], bool],
        *,
        batch: int,
        batch_time: float = BATCH_TIME,
        may_resume: Callable[[], bool] = lambda: True,
    ) -> None:
        """`take`: take one; returns whether the next may follow in this turn. `batch`, `batch_time`: how many follow
        at most, and for how many seconds. `may_resume`: called at the end of a pause; if it returns False, the pause
        goes on."""
        self._sources = sources
        self._loop = loop
        self._poller = poller_of(loop)
        self._take = take
        self._batch = batch
        self._batch_time = batch_time
        self._may_resume = may_resume
        self._watching = False
        self._timer: asyncio.TimerHandle | None = None
        self.is_open = False

    @property
    def paused(self) -> bool:
        return self._timer is not None

    def open(self) -> None:
        """Take from now on, or from the end of a pause on. May be called again."""
        self.is_open = True
        if self._timer is None and not self._watching:
            for source in self._sources:
                self._poller.add_reader(source.fileno(), self._take_some, source)
            self._watching = True

    def close(self) -> None:
        """Take nothing. A pause goes on. May be called again."""
        self.is_open = False
        self._unwatch()

    def end(self) -> None:
        """Close for good."""
        self.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def pause(self) -> bool:
        """Take nothing for PAUSE seconds. Returns whether the pause begins now."""
        begins = self._timer is None
        if begins:
            self._unwatch()
            self._timer = later(self._loop, PAUSE, self._on_pause_over)
        return begins

    def _unwatch(self) -> None:
        if self._watching:
            for source in self._sources:
                self._poller.remove_reader(source.fileno())
            self._watching = False

    def _take_some(self, source: S) -> None:
        began = time.monotonic()
        for _ in range(self._batch):
            if not self._take(source) or not self._watching:
                return
            if time.monotonic() - began > self._batch_time:
                return

    def _on_pause_over(self) -> None:
        if not self._may_resume():
            self._timer = later(self._loop, PAUSE, self._on_pause_over)
            return
        self._timer = None
        if self.is_open:
            self.open()
