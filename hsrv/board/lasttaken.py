"""When the workers of a generation last took something, in memory that they share with their pool.

A template creates it before its first fork, so its children inherit it: no descriptor and no message. Two words, each
written by whichever worker was last; a word is written atomically, so there is no lock. Promises: a write costs less
than 100 ns, and a reader sees a time that was right a moment ago. 0.0: nothing yet.
"""

import mmap


class LastTaken:
    """Times of time.monotonic(), of which loop.time() is the same clock."""

    __slots__ = ("_times",)

    def __init__(self) -> None:
        self._times = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("d")

    @property
    def accepted_at(self) -> float:
        """A worker last accepted a connection."""
        return self._times[0]

    @accepted_at.setter
    def accepted_at(self, now: float) -> None:
        self._times[0] = now

    @property
    def adopted_at(self) -> float:
        """A worker last received a packet of the adopt channel."""
        return self._times[1]

    @adopted_at.setter
    def adopted_at(self, now: float) -> None:
        self._times[1] = now
