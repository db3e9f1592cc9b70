"""How a drain ends the streams of a pool, by its age. Pure.

Streams end --stream-grace seconds after the drain began: not all at once but spread, because their clients reconnect
immediately. A request without an answer yet is not a stream: ending it would be refusing it, so it has the time of
requests, less what its end may take.
"""

from typing import Final, NamedTuple

from hsrv.options.stopbudget import END_SPREAD

END_SPREAD_SHARE: Final = 0.2
"""Seconds over which a drain ends the streams, as a share of --stream-grace: without a grace they end at once."""


class DrainSteps(NamedTuple):
    """What is due now."""

    share: float
    """The streams whose `lot_of` is at most this are told to end. 0: none."""
    also_unanswered: bool
    """Including those whose application has not answered yet."""
    cut: bool
    """The rest is cut."""


def steps(
    age: float, *, stream_grace: float, graceful_timeout: float, end_timeout: float, any_unanswered: bool
) -> DrainSteps:
    """`age`: seconds since the drain began. `end_timeout`: seconds that a stream has to end once it is told to."""
    answer_by = max(stream_grace, graceful_timeout - end_timeout)
    spread = min(END_SPREAD, stream_grace * END_SPREAD_SHARE)
    late = age - stream_grace
    share = 0.0 if late < 0 else 1.0 if late >= spread else late / spread
    end_by = max(stream_grace + spread, answer_by if any_unanswered else 0.0)
    return DrainSteps(share, age >= answer_by, age >= end_by + end_timeout)


def lot_of(stream: object) -> float:
    """A constant of each stream, in (0, 1]: it is told to end once the share has reached it."""
    return ((id(stream) >> 4) * 2654435761 % 2**32 + 1) / 2**32
