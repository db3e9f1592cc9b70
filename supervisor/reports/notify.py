"""Notifies the service manager of the server's state, as decided in `hsrv.supervisor.reports.unitstate`.

Promises: signs of life come from the supervisor's own loop, and only while workers and pools serve; the manager is told
of every change, also of one that ends at once; nothing is sent after another server has become the main process.
"""

import math
import os
import time
from collections.abc import Callable, Sequence
from typing import Final

import anyio

from hsrv.logs.logging import get_logger
from hsrv.supervisor.plan.actions import Report
from hsrv.supervisor.plan.state import View
from hsrv.supervisor.reports import unitstate
from hsrv.supervisor.reports.unitstate import UnitState
from hsrv.supervisor.runtime.reports import ReloadBegun
from hsrv.supervisor.sockets.addresses import Addresses
from hsrv.supervisor.upgrade.upgradestate import ManagerDuties
from hsrv.system.sdnotify import Manager

RETRY: Final = 1.0
"""Seconds until a message that did not reach the manager is sent again."""

log = get_logger("hsrv.supervisor")


class ManagerNotifier:
    """Sends notifications; does nothing if there is no manager."""

    def __init__(self, duties: ManagerDuties, plan: View, addresses: Addresses) -> None:
        """`addresses`: stored with the manager, if it stores descriptors, as soon as the server is ready."""
        self._plan = plan
        self._addresses = addresses
        self._said = UnitState.STARTING
        self._status = ""
        self._next_beat = self._next_sign = 0.0
        self._starving = False
        self._assume(duties)

    def _assume(self, duties: ManagerDuties) -> None:
        self.duties = duties
        self._manager = Manager(duties.notify)

    @property
    def is_main_process(self) -> bool:
        """Whether there is a manager for which this is the main process, and which can be told of another one. In a
        container process 1 is always the main process."""
        return bool(self.duties.notify) and os.getpid() != 1

    def become_main(self, duties: ManagerDuties, *, main: bool = False) -> None:
        """This is the main process now, and ready. `main`: the manager has to be told."""
        self._manager.close()
        self._assume(duties)
        if main and self.is_main_process:
            self._manager.tell(f"MAINPID={os.getpid()}")
        self._said, self._status = UnitState.STARTING, ""
        self.look()

    def hand_over(self, pid: int) -> ManagerDuties | None:
        """Another process becomes the main one. Returns the duties that it takes over; None if the manager was not
        reached: for it our end would be that of the service."""
        duties = self.duties
        if self.is_main_process and not self._manager.tell(f"MAINPID={pid}"):
            return None
        self._manager.close()
        self._assume(ManagerDuties())
        return duties

    def hear(self, report: Report) -> None:
        if isinstance(report, ReloadBegun):
            self._reloading()

    def _reloading(self) -> None:
        """A reload was requested. Sent at once: it may have ended before the next look."""
        if self._said in (UnitState.READY, UnitState.RELOADING):
            self._manager.tell(*unitstate.reloading_lines(time.monotonic()))
            self._said = UnitState.RELOADING

    async def run(self, changed: Callable[[], anyio.Event]) -> None:
        """`changed`: the event that is set when something changes next."""
        while True:
            event = changed()
            due = self.look()
            with anyio.move_on_after(None if due == math.inf else max(0.0, due - time.monotonic())):
                await event.wait()

    def look(self) -> float:
        """Send what is due; returns the time of the next call, at the latest."""
        if not self.duties.notify:
            return math.inf
        now = time.monotonic()
        retry = math.inf if self._tell_changes(now) else now + RETRY
        return min(retry, self._beat(now), self._live(now))

    def _tell_changes(self, now: float) -> bool:
        """False when the manager was not reached."""
        state, text = unitstate.unit_state(self._plan), unitstate.status_text(self._plan)
        lines = unitstate.change_lines(self._said, state, now)
        if state is UnitState.READY and lines and self.duties.store:
            self._keep_listeners()
        if text != self._status:
            lines.append(f"STATUS={text}")
        if not self._manager.tell(*lines):
            return False
        self._said, self._status = state, text
        return True

    def _keep_listeners(self) -> None:
        """For the next start. The manager ignores those that it has already; those that it opened itself it has
        anyway."""
        for listener in self._addresses.all():
            if listener.keepable:
                self._manager.keep(listener.name, listener.sock.fileno())

    def _beat(self, now: float) -> float:
        """Request more time while a timeout of the manager runs."""
        lines = unitstate.extension_lines(self._said)
        if not lines:
            return math.inf
        if now >= self._next_beat:
            self._manager.tell(*lines)
            self._next_beat = now + unitstate.BEAT
        return self._next_beat

    def _live(self, now: float) -> float:
        if not self.duties.watchdog:
            return math.inf
        if now >= self._next_sign:
            why = unitstate.why_starved(self._plan)
            if not why:
                self._manager.tell("WATCHDOG=1")
            elif not self._starving:
                log.error("no sign of life", why=why, watchdog=self.duties.watchdog)
            self._starving = bool(why)
            self._next_sign = now + self.duties.watchdog * unitstate.WATCHDOG_SHARE
        return self._next_sign

    def forget(self, names: Sequence[str]) -> None:
        """Let the manager close these."""
        for name in names:
            self._manager.forget(name)

    def close(self) -> None:
        self._manager.close()
