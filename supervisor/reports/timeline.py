"""Recent events of the server, for `status`, `hsrv top` and the dashboard.

Promise: bounded, and in order. The log has the same events and more.
"""

import time
from collections import deque
from collections.abc import Iterator
from itertools import count
from typing import Final

from hsrv.rpc.operator import TimelineEvent
from hsrv.supervisor.plan.actions import Announce, Line, Report
from hsrv.supervisor.runtime.reports import Note, ProcessReady

KEPT: Final = 200
"""Events."""


class Timeline:
    """The last KEPT events."""

    def __init__(self) -> None:
        self._events: deque[TimelineEvent] = deque(maxlen=KEPT)
        self._numbers = count(1)

    def note(self, event: str, level: str = "info", **details: object) -> None:
        """`event`: as in the log; `details`: its fields."""
        self._events.append(
            TimelineEvent(
                number=next(self._numbers),
                at=round(time.time(), 3),
                level=level,
                event=event,
                details={name: str(value) for name, value in details.items() if name != "exception"},
            )
        )

    def hear(self, report: Report) -> None:
        """Add a report, if it belongs to the timeline."""
        if isinstance(report, Line | Note):
            self.note(report.event, report.level, **report.details)
        elif isinstance(report, Announce):
            self.note("serving", generation=report.generation)
        elif isinstance(report, ProcessReady):
            self.note("process ready", process=report.identity.name, child=report.pid)

    def __iter__(self) -> Iterator[TimelineEvent]:
        """Oldest first."""
        return iter(self._events)
