"""Which requests will occupy this worker for long, judged by earlier ones of their paths. Pure.

Learned from what calls took in their first step, during which nothing else of the worker runs. A client can't teach
it: only the application's own time counts.
"""

from typing import Final

from hsrv.common.globs import PATTERN_LIMIT, LearnedPaths

LONG: Final = 0.01
"""Seconds. A connection with a request is better off elsewhere if it would wait here for longer."""

PER_WORKER: Final = 0.0004
"""Seconds per worker of the server, below which no call is long: a connection that goes by way of the pool costs it
about 0.1 ms, and with all workers in such calls this takes up to a quarter of its time."""

LONG_PATHS_LIMIT: Final = 128
"""Patterns kept. One more replaces the one that was learned first."""

WEIGHT: Final = 0.25
"""Of a call in the mean of its pattern. One call that was only interrupted by other processes is forgotten soon."""

FORGET: Final = 0.25
"""Part of the limit below which a mean isn't worth keeping."""


class LongCalls:
    """Of one worker."""

    def __init__(self, workers: int) -> None:
        self.limit = max(LONG, workers * PER_WORKER)
        """Seconds from which on a call is long."""
        self._means: dict[str, float] = {}
        """By pattern, in seconds."""
        self._long = LearnedPaths()
        """Those of them above the limit."""
        self.any_known = False
        """Whether the next call has to be looked at, however short."""

    def took(self, pattern: str, seconds: float) -> None:
        """A call occupied the worker for so long. Not to be called for short ones unless `any_known`."""
        mean = self._means.get(pattern, 0.0)
        if not mean and (seconds < self.limit or len(pattern) > PATTERN_LIMIT):
            return
        # The first counts half: one alone makes a path long only if it was twice as long as the limit.
        new = mean + (seconds - mean) * WEIGHT if mean else seconds / 2
        if new < self.limit * FORGET:
            del self._means[pattern]
        else:
            if not mean and len(self._means) >= LONG_PATHS_LIMIT:
                self._forget(next(iter(self._means)))
            self._means[pattern] = new
        self.any_known = bool(self._means)
        if (mean >= self.limit) != (new >= self.limit):
            self._find_long()

    def _forget(self, pattern: str) -> None:
        del self._means[pattern]
        self._find_long()

    def _find_long(self) -> None:
        self._long = LearnedPaths()
        self._long.add(pattern for pattern, mean in self._means.items() if mean >= self.limit)

    def expects(self, path: str) -> bool:
        """Whether a request of this path will take long."""
        return self._long.match(path)
