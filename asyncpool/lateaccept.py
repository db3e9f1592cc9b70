"""Accepts connections that no worker accepts in time (`hsrv.asyncpool.patience`).

Owns the pool's watch on the listening sockets. Promises: while workers accept, nothing is accepted here, and the pool
is woken at most once per PATIENCE, however many connections come; a bounded number is accepted per turn of the loop.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from hsrv.asyncpool.patience import NEVER, PAUSE, Patience
from hsrv.board.lasttaken import LastTaken
from hsrv.net.context import later
from hsrv.net.poller import ReadyCheck, poller_of, turn_of
from hsrv.serving.accept import Acceptor

LATE_BATCH: Final = 8
"""Connections accepted per turn of the loop and listener, at most."""

RETRY_INTERVAL: Final = 0.1
"""Seconds until the next attempt when nothing could be accepted: there are no descriptors."""


class LateAcceptor:
    """Of one pool."""

    def __init__(
        self,
        fds: list[int],
        loop: asyncio.AbstractEventLoop,
        acceptor: Acceptor,
        *,
        last_taken: LastTaken,
        taken: Callable[[], bool | None],
    ) -> None:
        """`fds`: the listening sockets, owned by `acceptor`, which is of this process and never opened.
        `last_taken`: by workers. `taken`: whether they have taken what was passed on to them; None: nothing was."""
        self._fds = fds
        self._loop = loop
        self._poller = poller_of(loop)
        self._turn = turn_of(loop)
        self._acceptor = acceptor
        self._last_taken = last_taken
        self._taken = taken
        self._patience = Patience()
        self._waits = ReadyCheck(*fds)
        self._watching = False
        self._timer: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Accept from now on what workers don't."""
        self._watch()

    def close(self) -> None:
        """Leave everything to others, for good. May be called again."""
        self._unwatch()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._acceptor.close(last=0)
        self._waits.close()
        self._fds = []

    def _watch(self) -> None:
        if not self._watching:
            for fd in self._fds:
                self._poller.add_reader(fd, self._on_waiting)
            self._watching = True

    def _unwatch(self) -> None:
        if self._watching:
            for fd in self._fds:
                self._poller.remove_reader(fd)
            self._watching = False

    def _on_waiting(self) -> None:
        """Something waits. Not watched for now, or the loop would spin."""
        if self._timer is None:
            self._unwatch()
            self._look()

    def _on_time(self) -> None:
        self._timer = None
        with self._turn:
            self._look()

    def _look(self) -> None:
        now = time.monotonic()
        if (taken := self._taken()) is not None:
            self._patience.passed_on(now, taken=taken)
        due = self._patience.look(now, self._last_taken.accepted_at, waits=bool(self._waits))
        if due == NEVER:
            self._watch()
            return
        if due <= 0:
            due = PAUSE if self._acceptor.accept_some(LATE_BATCH) else RETRY_INTERVAL
        self._timer = later(self._loop, due, self._on_time)
