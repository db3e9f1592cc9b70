"""Totals of the server: of each slot, whatever process holds it, and of the ends of processes.

Promises: a total never decreases, whatever dies; a process is counted once: while it lives by its scoreboard, after its
end by the last state of that.
"""

from collections import Counter
from collections.abc import Iterable

from hsrv.board.snapshot import NOTHING, Snapshot, Totals
from hsrv.common.terms import Identity
from hsrv.supervisor.plan.actions import OperationEnded, Recycled, Report
from hsrv.supervisor.plan.fleet import Key
from hsrv.supervisor.runtime.reports import ProcessExited, ProcessHangs, ProcessReaped, ReloadBegun


class ServerTotals:
    """The totals of one server since its start."""

    def __init__(self) -> None:
        self._left: dict[Key, Totals] = {}
        """Totals of the processes that have ended, by slot."""
        self.deaths: Counter[tuple[str, str]] = Counter()
        """Unexpected ends of processes, and kills: (role, reason)."""
        self.hangs: Counter[tuple[str, str]] = Counter()
        """Hangs of processes, whether they recovered or not: (role, kind)."""
        self.reloads: Counter[str] = Counter()
        """By outcome: succeeded, failed."""
        self.recycled: Counter[str] = Counter()
        """Processes that were replaced, by reason."""
        self._reloads: set[str] = set()
        """The ids of reloads in progress."""

    def hear(self, report: Report) -> None:
        """Count a report, if it belongs to the totals."""
        if isinstance(report, ProcessExited):
            self.gone(report.identity, report.last)
        elif isinstance(report, ProcessReaped) and not report.expected:
            self.deaths[report.identity.role, report.cause] += 1
        elif isinstance(report, ProcessHangs):
            self.hangs[report.identity.role, report.kind] += 1
        elif isinstance(report, Recycled):
            self.recycled[report.reason] += 1
        elif isinstance(report, ReloadBegun):
            self._reloads.add(report.operation)
        elif isinstance(report, OperationEnded) and report.operation in self._reloads:
            self._reloads.discard(report.operation)
            self.reloads["failed" if report.error else "succeeded"] += 1

    def gone(self, identity: Identity, last: Snapshot | None) -> None:
        """A process has ended. `last`: the last state of its scoreboard."""
        if last is not None:
            key = identity.role, identity.slot
            self._left[key] = self._left.get(key, NOTHING) + last.totals

    def by_slot(self, alive: Iterable[tuple[Identity, Snapshot | None]]) -> dict[Key, Totals]:
        """The totals of every slot there ever was."""
        totals = dict(self._left)
        for identity, snapshot in alive:
            if snapshot is not None:
                key = identity.role, identity.slot
                totals[key] = totals.get(key, NOTHING) + snapshot.totals
        return totals
