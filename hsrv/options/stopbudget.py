"""How long a start of the whole server takes at most, and a stop, from TERM to the exit of its first process. Pure.

    --drain-delay + the larger of --graceful-timeout and --stream-grace + --lifespan-shutdown-timeout + STOP_MARGIN

Whoever kills the server after a time of its own (`terminationGracePeriodSeconds`, `TimeoutStopSec`) must allow for it.
What STOP_MARGIN is made of stands here, or is held against it by a test.
"""

from typing import Final

from hsrv.options.config import Config

START_STAGES: Final = 3
"""Each of which has --startup-timeout: the template's import, the leader's start, and that of the processes that wait
for it (--leader-first)."""

END_SPREAD: Final = 2.0
"""Seconds over which a pool tells its streams that they are over, at most."""

STREAM_END: Final = 5.0
"""Seconds beyond --stream-grace after which no stream is left: all are told, and what ignores it is cut."""

KILL_MARGIN: Final = 3.0
"""Seconds beyond its budgets that a process has before it is killed: tasks and generators that the application left
behind are given a moment each."""

STOP_MARGIN: Final = 12.0
"""Seconds: STREAM_END, KILL_MARGIN, to take the stacks of a process before it is killed, and for the template to
exit."""


def longest_stop(
    *, drain_delay: float, graceful: float, stream_grace: float, lifespan_shutdown: float
) -> float:
    return drain_delay + max(graceful, stream_grace) + lifespan_shutdown + STOP_MARGIN


def longest_stop_of(config: Config) -> float:
    return longest_stop(
        drain_delay=config.drain_delay,
        graceful=config.graceful_timeout,
        stream_grace=config.stream_grace,
        lifespan_shutdown=config.lifespan_shutdown_timeout,
    )
