"""`hsrv.leadership()`: one process at a time, for a scheduler or a consumer.

Owns this process's use of a lock that all processes of a server share, including old generations and the server before
an upgrade: a record lock (fcntl(2)) of a file without a name. Promises: the kernel frees it with the process, however
that ends; within a process, requests are granted in order; a wait blocks no event loop, and ends with its task.

A record lock belongs to a process, so a fork doesn't inherit it; it would be lost if any descriptor of the file were
closed in this process, so there is one, which is never closed.
"""

import fcntl
import os
from _thread import allocate_lock
from collections import deque
from time import sleep
from types import TracebackType
from typing import Final, Self

import anyio

LOOK_INTERVAL: Final = 0.25
"""Seconds between two attempts: how long there may be no leader after one has ended. A thread blocked in the kernel
would notice at once, but most processes would wait for ever, and one that forks should have no thread."""


class Leadership:
    """What `leadership()` returns: a context manager for `async with` and for `with`. To be entered once."""

    async def __aenter__(self) -> Self:
        _candidacy.join(self)
        try:
            while not _candidacy.leads(self):  # noqa: ASYNC110  # the kernel has no notification
                await anyio.sleep(LOOK_INTERVAL)
        except BaseException:  # cancelled, or the lock failed
            _candidacy.leave(self)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        _candidacy.leave(self)

    def __enter__(self) -> Self:
        _candidacy.join(self)
        try:
            while not _candidacy.leads(self):
                sleep(LOOK_INTERVAL)
        except BaseException:
            _candidacy.leave(self)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        _candidacy.leave(self)


def leadership() -> Leadership:
    """`async with hsrv.leadership():` waits until no other process of the server leads, and leads within the block. In
    a thread `with` does the same. Without hsrv (a test, another server) only this process's own blocks wait for each
    other."""
    return Leadership()


def use(fd: int) -> None:
    """Compete with the processes that lock this file; it stays open. -1: there is none."""
    _candidacy.fd = fd


class _Candidacy:
    """The blocks of this process that lead or wait."""

    def __init__(self) -> None:
        self.fd = -1
        self._turns: deque[Leadership] = deque()
        """The first one leads, or tries to."""
        self._guard = allocate_lock()
        os.register_at_fork(after_in_child=self._start_anew)

    def _start_anew(self) -> None:
        """In a forked process, which has none of the parent's tasks and none of its locks."""
        self._turns.clear()
        self._guard = allocate_lock()

    def join(self, one: Leadership) -> None:
        with self._guard:
            if one in self._turns:
                raise RuntimeError("this leadership() was entered already")
            self._turns.append(one)

    def leads(self, one: Leadership) -> bool:
        """Whether it is its turn, here and among the processes. Raises OSError."""
        with self._guard:
            return self._turns[0] is one and self._lock()

    def leave(self, one: Leadership) -> None:
        with self._guard:
            if one not in self._turns:  # this is a fork within its block
                return
            led = self._turns[0] is one
            self._turns.remove(one)
            if led and self.fd >= 0:
                fcntl.lockf(self.fd, fcntl.LOCK_UN)

    def _lock(self) -> bool:
        if self.fd >= 0:
            try:
                fcntl.lockf(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):  # EAGAIN or EACCES: another process has it
                return False
        return True


_candidacy: Final = _Candidacy()
