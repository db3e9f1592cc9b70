"""How long calls of the application occupy the process, by path: what the next one of a path is expected to take. Pure.

Promises: a path that was called seldom, or took long not long ago, is not expected to be short; the memory is bounded.
"""

import math
import re
from typing import Final

PATHS: Final = 1024
"""Paths remembered. When there are more, all are forgotten and learned anew, which takes some calls of each."""

UNKNOWN: Final = math.inf
"""Expected of a path without a call."""

AT_FIRST: Final = 0.001
"""Seconds expected after the first call: as long as a response may wait for others (`hsrv.net.outbox`)."""

WEIGHT: Final = 0.125
"""Of a call that was shorter than expected, in the running mean. A longer one is expected again at once."""

_ids: Final = re.compile(rb"(?<![^/])[^/0-9]*+[0-9][^/]*+")
"""Segments of a path that are probably different each time. Tried at the start of each segment only, so that the time
is linear."""


class CallTimes:
    """Of one process."""

    __slots__ = ("_expected",)

    def __init__(self) -> None:
        self._expected: dict[bytes, float] = {}

    def expected(self, raw_path: bytes) -> float:
        """Seconds that a call of this path takes before it waits or returns."""
        found = self._expected.get(raw_path)
        return self._expected.get(_ids.sub(b"*", raw_path), UNKNOWN) if found is None else found

    def took(self, raw_path: bytes, seconds: float) -> None:
        """A call of this path has returned, or begun to wait."""
        known = self._expected
        expected = known.get(raw_path)
        if expected is None:
            raw_path = _ids.sub(b"*", raw_path)
            expected = known.get(raw_path)
            if expected is None:
                if len(known) >= PATHS:
                    known.clear()
                expected = AT_FIRST
        known[raw_path] = seconds if seconds > expected else expected + (seconds - expected) * WEIGHT
