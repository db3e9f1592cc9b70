"""Tells the service manager how the server is. What it says is decided in `hsrv.supervisor.reports.unitstate`.

Promises: a sign of life is given by the supervisor's own loop, and only while workers and pools serve; the manager
hears of every change, also of one that is over at once; nothing is told any more once another server is the main one.
"""

import math
import os
import time
from collections.abc import Callable, Sequence
from typing import Final

import anyio

from hsrv.logs.logging import get_logger
from hsrv.supervisor.plan.actions import ForPeople
from hsrv.supervisor.plan.state import View
from hsrv.supervisor.reports import unitstate
from hsrv.supervisor.reports.unitstate import UnitState
from hsrv.supervisor.runtime.told import ReloadBegun
from hsrv.supervisor.sockets.addresses import Addresses
from hsrv.supervisor.upgrade.upgradestate import ManagerDuties
from hsrv.system.sdnotify import Manager

RETRY: Final = 1.0
"""Seconds until what did not reach the manager is told again."""

log = get_logger("hsrv.supervisor")


class ManagerNotifier:
    """The server's voice to its manager; silent when there is none."""

    def __init__(self, duties: ManagerDuties, plan: View, addresses: Addresses) -> None:
        """`addresses`: they are kept with the manager when it keeps descriptors, from the first moment
        of being ready on."""
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
        """Whether there is a manager that takes us for the main process, and can be told of another one. In a container
        process 1 is the main one whatever we tell."""
        return bool(self.duties.notify) and os.getpid() != 1

    def become_main(self, duties: ManagerDuties, *, main: bool = False) -> None:
        """We are the main process now, and ready. `main`: the manager still thinks of another one."""
        self._manager.close()
        self._assume(duties)
        if main and self.is_main_process:
            self._manager.tell(f"MAINPID={os.getpid()}")
        self._said, self._status = UnitState.STARTING, ""
        self.look()

    def hand_over(self, pid: int) -> ManagerDuties | None:
        """Another process is the main one; the duties that it takes. None when the manager was not reached: it would
        take our end for that of the service."""
        duties = self.duties
        if self.is_main_process and not self._manager.tell(f"MAINPID={pid}"):
            return None
        self._manager.close()
        self._assume(ManagerDuties())
        return duties

    def hear(self, report: ForPeople) -> None:
        if isinstance(report, ReloadBegun):
            self._reloading()

    def _reloading(self) -> None:
        """A reload was asked for. Told at once: it may be over before anybody looks."""
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
        """Tell what is to be told by now; when there is more at the latest."""
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
        """For the next start. The manager drops what it has already. Those that it opened itself it has anyhow."""
        for listener in self._addresses.all():
            if listener.keepable:
                self._manager.keep(listener.name, listener.sock.fileno())

    def _beat(self, now: float) -> float:
        """While the manager counts seconds, ask for more of them."""
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
        """The manager need not keep these any more."""
        for name in names:
            self._manager.forget(name)

    def close(self) -> None:
        self._manager.close()
