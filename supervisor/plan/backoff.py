"""How soon a dead process is replaced. Pure."""

from typing import Final

QUIET_PERIOD: Final = 60.0
"""Seconds of life after which a death counts as the first again."""

FIRST_DELAY: Final = 0.5
LONGEST_DELAY: Final = 30.0
"""Seconds. The delay doubles from death to death in between."""


class Backoff:
    """Delays for one slot: at once after the first death, then longer and longer while it dies young."""

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
