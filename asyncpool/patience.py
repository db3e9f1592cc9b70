"""Whether connections have waited in the accept queue for so long that the pool accepts them. Pure.

The age of a connection in the queue can't be asked for. What is known: that the queue isn't empty, since when it has
been so whenever the pool looked, and when a worker last accepted. The queue is first in, first out; so while workers
accept, they get on, and the pool leaves them alone. Nothing is accepted for a while although something waits: then
workers are busy, or get no CPU. The latter shows when they take at once what the pool has passed on to them: to accept
for them only adds to the load, and the pool waits for longer.
"""

from math import inf
from typing import Final

PATIENCE: Final = 0.004
"""Seconds. An idle worker accepts within a fraction of a millisecond, unless other processes have the CPU."""

MOST: Final = 0.008
"""Seconds, while workers get too little CPU."""

FORGET: Final = 0.5
"""Seconds after which that is no longer assumed."""

PAUSE: Final = 0.001
"""Seconds between two batches: a worker that was waiting for the same CPU comes first."""

BUSY: Final = 0.02
"""Seconds since a worker accepted, for which the next connection is expected soon: to look regularly costs less than to
be woken by each."""

NOW: Final = 0.0
NEVER: Final = inf


class Patience:
    """Of one pool with the accept queues."""

    def __init__(self) -> None:
        self._since = inf
        """When the queue was first seen to be not empty; inf: it was empty at the last look."""
        self._free_at = -inf
        """When workers last turned out to have been free."""

    def look(self, now: float, accepted_at: float, *, waits: bool) -> float:
        """After how many seconds to look again, or NOW: accept; or NEVER: watch the queue instead.

        `accepted_at`: when a worker last accepted. `waits`: whether the queue is not empty."""
        seconds = MOST if now - self._free_at < FORGET else PATIENCE
        if not waits:
            self._since = inf
            return PATIENCE if now - accepted_at < BUSY else NEVER
        self._since = min(self._since, now)
        return max(NOW, max(self._since, accepted_at) + seconds - now)

    def passed_on(self, now: float, *, taken: bool) -> None:
        """What was passed on to workers a moment ago is `taken`, or still waits."""
        self._free_at = now if taken else -inf
