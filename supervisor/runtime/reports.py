"""The stream of reports: the log, the timeline, the counters, the operations and the collectors get the same reports,
in the same order.

The plan's own reports are actions (`hsrv.supervisor.plan.actions.Report`); those defined here come from the hands
and the health checks.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from hsrv.board.snapshot import Snapshot
from hsrv.common.terms import DeathReason, Identity
from hsrv.logs.logging import get_logger
from hsrv.supervisor.plan.actions import Line, Report

log: Final = get_logger("hsrv.supervisor")

Listener = Callable[[Report], None]


class Note(Report, frozen=True):
    """Only for the timeline: there is a separate log line."""

    event: str
    level: str = "info"
    details: dict[str, object] = msgspec.field(default_factory=dict)


class ReloadBegun(Report, frozen=True):
    """A reload was requested. Repeated with the same id if the request joins one that is queued."""


class ProcessStarted(Report, frozen=True):
    identity: Identity
    pid: int


class ProcessReady(Report, frozen=True):
    identity: Identity
    pid: int
    interface: str = ""
    """How it calls its application."""


class ProcessHangs(Report, frozen=True):
    identity: Identity
    kind: str


class ProcessExited(Report, frozen=True):
    """The process has ended. Messages that it sent before may still follow."""

    identity: Identity
    last: Snapshot | None
    """The last state of its scoreboard."""


class ProcessReaped(Report, frozen=True):
    """All of its messages were read, and the plan knows of its end."""

    identity: Identity
    pid: int
    cause: DeathReason
    death: str
    """The same in words."""
    expected: bool
    """It was told to end, and ended."""


class Stream:
    """The reports of one server."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = [log_line]

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)

    def tell(self, report: Report) -> None:
        for listener in self._listeners:
            listener(report)


def log_line(report: Report) -> None:
    if isinstance(report, Line):
        getattr(log, report.level)(report.event, **report.details)
