"""What people are told, as one stream: the log, the timeline, the counters, the operations and the collectors hear the
same reports, in the same order.

The plan's own reports are actions of it (`hsrv.supervisor.plan.actions.ForPeople`); here are those of what happened.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from hsrv.board.snapshot import Snapshot
from hsrv.common.terms import DeathReason, Identity
from hsrv.logs.logging import get_logger
from hsrv.supervisor.plan.actions import ForPeople, Line

log: Final = get_logger("hsrv.supervisor")

Listener = Callable[[ForPeople], None]


class Note(ForPeople, frozen=True):
    """For the timeline: the log has a line of its own about it."""

    event: str
    level: str = "info"
    details: dict[str, object] = msgspec.field(default_factory=dict)


class ReloadBegun(ForPeople, frozen=True):
    """A reload was asked for; more than once with the same id when one waits already."""


class ProcessStarted(ForPeople, frozen=True):
    identity: Identity
    pid: int


class ProcessReady(ForPeople, frozen=True):
    identity: Identity
    pid: int


class ProcessHangs(ForPeople, frozen=True):
    identity: Identity
    kind: str


class ProcessExited(ForPeople, frozen=True):
    """Its end is known. What it said before may still be heard."""

    identity: Identity
    last: Snapshot | None
    """What stands on its board."""


class ProcessReaped(ForPeople, frozen=True):
    """Nothing is heard of it any more, and the plan knows."""

    identity: Identity
    pid: int
    cause: DeathReason
    death: str
    """The same in words."""
    expected: bool
    """It was told to end, and did."""


class Stream:
    """Of one server."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = [log_line]

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)

    def tell(self, report: ForPeople) -> None:
        for listener in self._listeners:
            listener(report)


def log_line(report: ForPeople) -> None:
    if isinstance(report, Line):
        getattr(log, report.level)(report.event, **report.details)
