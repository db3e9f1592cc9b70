"""Unexpected errors that must not end the server: logged, and the work goes on.

Promise: each is logged with its traceback the first time, then at most once per REMINDER with the number of repeats; so
an error in every round doesn't fill the log.
"""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from hsrv.logs.logging import get_logger

REMINDER: Final = 60.0
"""Seconds."""

log = get_logger("hsrv.supervisor")

_Place = tuple[str, ...]


@dataclass
class _Repeated:
    error: str
    """The latest."""
    where: str
    again: int = 0
    """Repeats since it was last logged."""


class ErrorLog:
    """The unexpected errors of one part of the supervisor."""

    def __init__(self, part: str) -> None:
        self._part = part
        self._known: dict[_Place, _Repeated] = {}
        """By the stack of the error, so their number is bounded by the code."""
        self._remind_at = 0.0

    @contextmanager
    def logged(self) -> Iterator[None]:
        """Exceptions end here and are logged."""
        try:
            yield
        except Exception as error:  # any error of the supervisor's own code
            self._tell(error)

    def _tell(self, error: Exception) -> None:
        frames = traceback.extract_tb(error.__traceback__)
        place = (type(error).__name__, *(f"{frame.filename}:{frame.lineno}" for frame in frames))
        known = self._known.get(place)
        if known is None:
            self._known[place] = _Repeated(repr(error), f"{frames[-1].filename}:{frames[-1].lineno}")
            log.exception(f"defect in {self._part}")
        else:
            known.error = repr(error)
            known.again += 1

    def remind(self, now: float) -> None:
        """Log repeats, when that is due. To be called often. `now`: time.monotonic()."""
        if now < self._remind_at:
            return
        self._remind_at = now + REMINDER
        for one in self._known.values():
            if one.again:
                log.error(
                    f"defect in {self._part} goes on", error=one.error, where=one.where, times=one.again
                )
                one.again = 0
