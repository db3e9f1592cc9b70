"""Which of many events alike are worth a line of the log.

What a client can provoke as often as it likes must not fill the log. Promises: the first is told, then the 2nd, 4th,
8th ..., each with the number so far; after a quiet time the next one is told again. One table for the process, as there
is one log.
"""

import time
from collections.abc import Hashable
from typing import Final

QUIET: Final = 60.0
"""Seconds without one after which the next is news again."""

KINDS: Final = 256
"""Kinds of events that are kept apart. Whoever asks names them by what a client can't choose, so there are fewer."""


class _Kind:
    __slots__ = ("count", "last", "lately")

    def __init__(self) -> None:
        self.count = 0
        self.lately = 0
        """Since it was quiet."""
        self.last = 0.0


_kinds: Final[dict[Hashable, _Kind]] = {}


def worth_a_line(*kind: Hashable) -> int:
    """One more of this kind: how many there were so far, if that is worth a line; else 0."""
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
    """Begin anew: for tests."""
    _kinds.clear()
