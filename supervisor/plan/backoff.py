"""The delay before a dead process is replaced. Pure."""

from typing import Final

QUIET_PERIOD: Final = 60.0
"""Seconds without a death after which the next one counts as the first."""

FIRST_DELAY: Final = 0.5
LONGEST_DELAY: Final = 30.0
"""Seconds. In between the delay doubles with every death."""


class Backoff:
    """Delays for one slot: none after the first death, then longer and longer with repeated deaths."""

    __slots__ = ("_last_death", "deaths")

    def __init__(self) -> None:
        self.deaths = 0
        self._last_death = float("-inf")

    def delay(self, now: float) -> float:
        """Note a death at `now`; seconds until the replacement."""
        if now - self._last_death > QUIET_PERIOD:
            self.deaths = 0
        self._last_death = now
        self.deaths += 1
        if self.deaths == 1:
            return 0.0
        delay: float = min(LONGEST_DELAY, FIRST_DELAY * 2 ** (self.deaths - 2))
        return delay
