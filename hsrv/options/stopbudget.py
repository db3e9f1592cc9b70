"""How long a start of the whole server takes at most, and a stop, from TERM to the exit of its first process. Pure.

    --drain-delay + the larger of --graceful-timeout and --stream-grace + 2 x --lifespan-shutdown-timeout + STOP_MARGIN

Twice, because the pools shut down after the workers: as long as one of these lives, it may hand over a stream.

A process manager that kills the server after a timeout (`terminationGracePeriodSeconds`, `TimeoutStopSec`) must allow
this time. The parts of STOP_MARGIN are defined here or compared with it by a test.
"""

from typing import Final

from hsrv.options.config import Config

START_STAGES: Final = 3
"""Each of which has --startup-timeout: the template's import, the leader's start, and that of the processes that wait
for it (--leader-first)."""

SHUTDOWNS: Final = 2
"""Lifespan shutdowns one after the other: of the workers, which all have theirs at a time, then of the pools."""

END_SPREAD: Final = 2.0
"""Maximum seconds over which a pool spreads telling its streams to end."""

STREAM_END: Final = 5.0
"""Seconds beyond --stream-grace after which no stream is left: all have been told, and those that ignore it are cut
off."""

KILL_MARGIN: Final = 3.0
"""Seconds beyond its budgets before a process is killed: time to finish tasks and generators that the application left
behind."""

STOP_MARGIN: Final = 12.0
"""Seconds: STREAM_END, KILL_MARGIN, time to record the stacks of a process before it is killed, and for the template to
exit."""


def longest_stop(
    *, drain_delay: float, graceful: float, stream_grace: float, lifespan_shutdown: float
) -> float:
    return drain_delay + max(graceful, stream_grace) + SHUTDOWNS * lifespan_shutdown + STOP_MARGIN


def longest_stop_of(config: Config) -> float:
    return longest_stop(
        drain_delay=config.drain_delay,
        graceful=config.graceful_timeout,
        stream_grace=config.stream_grace,
        lifespan_shutdown=config.lifespan_shutdown_timeout,
    )
