"""What the server has counted: the totals of each slot, whoever holds it, and how processes ended.

Promises: a total never falls, whatever dies; a process is counted once, alive by its scoreboard, and from its end on by
what it left there.
"""

from collections import Counter
from collections.abc import Iterable

from hsrv.board.snapshot import NOTHING, Snapshot, Totals
from hsrv.common.terms import Identity
from hsrv.supervisor.plan.actions import ForPeople, OperationEnded, Recycled
from hsrv.supervisor.plan.fleet import Key
from hsrv.supervisor.runtime.told import ProcessExited, ProcessHangs, ProcessReaped, ReloadBegun


class ServerTotals:
    """Of one server, from its start on."""

    def __init__(self) -> None:
        self._left: dict[Key, Totals] = {}
        """What the processes that are gone have counted, by slot."""
        self.deaths: Counter[tuple[str, str]] = Counter()
        """Of processes that were to go on, or had to be killed: (role, reason)."""
        self.hangs: Counter[tuple[str, str]] = Counter()
        """Of processes that hung for a while or for good: (role, kind)."""
        self.reloads: Counter[str] = Counter()
        """By outcome: succeeded, failed."""
        self.recycled: Counter[str] = Counter()
        """Processes that were replaced, by reason."""
        self._reloads: set[str] = set()
        """The ids of those that are not over."""

    def hear(self, report: ForPeople) -> None:
        """What of the reports is counted."""
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
        """A process has ended. `last`: what stands on its board."""
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
