"""Threads in which WSGI calls run: made when needed, kept for the next call, never more than a limit at a time.

They are daemon threads: one that never comes back can't keep its process from ending. Jobs that find no free thread
wait in order. A job that turned out to be a stream is lent its thread: it counts among the streams from then on, and
another thread may take its place.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Final

IDLE_TIMEOUT: Final = 10.0
"""Seconds after which a thread without work ends."""

Job = Callable[[], None]


class Crew:
    """At most `limit` threads for calls, and `lendable` more for those that became streams."""

    def __init__(self, limit: int, lendable: int = 0, *, name: str) -> None:
        self._limit = limit
        self._lendable = lendable
        self._name = name
        self._news = threading.Condition()
        self._jobs: deque[Job] = deque()
        self._threads = 0
        self._idle = 0
        self._lent = 0
        self._numbers = 0

    def do(self, job: Job) -> bool:
        """Run it in a thread, as soon as there is one: whether there is one now. It must not raise."""
        with self._news:
            self._jobs.append(job)
            if self._idle >= len(self._jobs):
                self._news.notify()
                return True
            return self._grow()

    def withdraw(self, job: Job) -> bool:
        """Don't run it after all, if it has not begun."""
        with self._news:
            try:
                self._jobs.remove(job)
            except ValueError:
                return False
            return True

    def lend(self) -> bool:
        """A job keeps its thread for long. Whether another may run beside it; then `give_back` must follow."""
        with self._news:
            if self._lent >= self._lendable:
                return False
            self._lent += 1
            if self._jobs:
                self._grow()
            return True

    def give_back(self) -> None:
        """A job to which a thread was lent is over."""
        with self._news:
            self._lent -= 1
            self._news.notify_all()  # one that is idle may be too many

    def _grow(self) -> bool:
        if self._threads >= self._limit + self._lent:
            return False
        self._threads += 1
        self._numbers += 1
        try:
            name = f"{self._name}-{self._numbers}"
            threading.Thread(target=self._work, name=name, daemon=True).start()
        except RuntimeError:  # a limit of the system: the jobs wait for the threads that there are
            self._threads -= 1
            return False
        return True

    def _work(self) -> None:
        while (job := self._next()) is not None:
            job()
            del job

    def _next(self) -> Job | None:
        with self._news:
            while not self._jobs and self._threads <= self._limit + self._lent:
                self._idle += 1
                woken = self._news.wait(IDLE_TIMEOUT)
                self._idle -= 1
                if not woken and not self._jobs:
                    break
            if self._jobs and self._threads <= self._limit + self._lent:
                return self._jobs.popleft()
            self._threads -= 1
            return None
