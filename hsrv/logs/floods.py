"""Limits the log lines of similar events.

Events that a client can provoke at will must not fill the log. Promises: the 1st, 2nd, 4th, 8th ... event of a kind is
logged, with the count so far; after a quiet time the next one is logged again. One table per process, as there is one
log.
"""

import time
from collections.abc import Hashable
from typing import Final

QUIET: Final = 60.0
"""Seconds without an event after which the next one is logged again."""

KINDS: Final = 256
"""Kinds of events that are counted separately. Callers name a kind by something that a client can't choose, so there
are fewer."""


class _Kind:
    __slots__ = ("count", "last", "lately")

    def __init__(self) -> None:
        self.count = 0
        self.lately = 0
        """Since it was quiet."""
        self.last = 0.0


_kinds: Final[dict[Hashable, _Kind]] = {}


def lines_due(*kind: Hashable) -> int:
    """Count one more event of this kind. Returns the count so far if it should be logged; else 0."""
    now = time.monotonic()
    key: Hashable = kind if kind in _kinds or len(_kinds) < KINDS else None
    one = _kinds.setdefault(key, _Kind())
    if now - one.last > QUIET:
        one.lately = 0
    one.last = now
    one.count += 1
    one.lately += 1
    return 0 if one.lately & (one.lately - 1) else one.count


def forget() -> None:
    """Reset: for tests."""
    _kinds.clear()
