"""Checks every process, reports one that hangs, and has it replaced.

Owns the check: one round over the scoreboards per INTERVAL. Promises: a process that hangs is reported once, with the
stacks of its threads and the request that occupies it, before anything is done to it; a process that is slow because
the whole machine is slow is left alone. The plan decides what to do with a process.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import anyio
import psutil

from hsrv.board import stacks as dump
from hsrv.common.terms import DeathReason, Role
from hsrv.logs.logging import get_logger
from hsrv.options.config import Config
from hsrv.rpc.messages import RpcError
from hsrv.supervisor.health.deaths import DeathExaminer
from hsrv.supervisor.health.health import Hang, Kind, Limits, judge
from hsrv.supervisor.health.recycler import Recycler
from hsrv.supervisor.plan.actions import LogLine
from hsrv.supervisor.plan.fleet import ChildState
from hsrv.supervisor.processes.children import ChildHandle
from hsrv.supervisor.runtime.errorlog import ErrorLog
from hsrv.supervisor.runtime.loop import Loop
from hsrv.supervisor.runtime.reports import Note, ProcessHangs
from hsrv.system.cgroupmemory import MemoryGroup

INTERVAL: Final = 0.5
"""Seconds between two rounds."""

LATE: Final = 1.0
"""Seconds that a round may be late. If it is later, the supervisor did not run, so other processes may not have run
either."""

RECOVERY: Final = 10.0
"""Maximum seconds that other processes then have for new heartbeats."""

HOLDINGS_EVERY: Final = 2
"""Rounds between two checks of age and memory."""

TASKS_TIMEOUT: Final = 2.0
"""Seconds for a process to send the stacks of its tasks."""

CRASH: Final = "Fatal Python error"
"""How a dump of `faulthandler` begins."""

HELD: Final = (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)

log = get_logger("hsrv.supervisor")


@dataclass
class Incident:
    """A process that hangs."""

    hang: Hang
    seen_at: float
    treated: bool = False
    """Its replacement was requested, so it ends with the process."""
    reported: bool = False
    """Its stacks were taken, as far as possible: it may be replaced now."""

    def is_due(self, now: float, grace: float) -> bool:
        """Whether the process is to be replaced. True in each round, because the plan may not be able to yet. A call
        that is stuck had its grace after it was cancelled."""
        waited = self.hang.kind is Kind.CALL_STUCK or now - self.seen_at >= grace
        return self.reported and waited


class HangMonitor:
    """The health checks of one server."""

    def __init__(
        self,
        loop: Loop,
        children: Mapping[int, ChildHandle],
        group: MemoryGroup,
        memory_pressure: Callable[[], float],
    ) -> None:
        """`children`: by pid, all that live. `memory_pressure`: --memory-pressure as it is."""
        self._loop = loop
        self._children = children
        self._recycler = Recycler(loop, children, group, memory_pressure)
        self.deaths = DeathExaminer(group)
        self._incidents: dict[int, Incident] = {}
        """By pid."""
        self._blind_until = 0.0
        self._rounds = 0
        self._errors = ErrorLog("healing")

    async def run(self) -> None:
        """Check until cancelled."""
        while True:
            due = time.monotonic() + INTERVAL
            await anyio.sleep(INTERVAL)
            self.round(due, time.monotonic())

    def round(self, due: float, now: float) -> None:
        """The round that was due at `due`."""
        self._errors.remind(now)
        if now - due > LATE:
            self._blind_until = now + min(now - due, RECOVERY)
        with self._errors.logged():
            self.deaths.settle(now)
            self._look(now)
        self._rounds += 1
        if self._rounds % HOLDINGS_EVERY == 0:
            with self._errors.logged():
                self._recycler.look(now)

    # hangs

    def _look(self, now: float) -> None:
        children = dict(self._children)
        self._incidents = {pid: one for pid, one in self._incidents.items() if pid in children}
        if now < self._blind_until:
            return
        for pid, child in children.items():
            hang = self._judge(child, now)
            if hang is None:
                self._recovered(pid, child, now)
            else:
                self._handle(pid, child, hang, now)

    def _judge(self, child: ChildHandle, now: float) -> Hang | None:
        snapshot = child.look() if self._is_at_work(child) else None
        return (
            judge(child.identity.role, snapshot, _limits(child.config), now) if snapshot is not None else None
        )

    def _is_at_work(self, child: ChildHandle) -> bool:
        """A process that starts or ends has deadlines of its own."""
        known = self._loop.plan.find(child.identity)
        return known is not None and known.state in (ChildState.SERVING, ChildState.DRAINING)

    def _recovered(self, pid: int, child: ChildHandle, now: float) -> None:
        incident = self._incidents.pop(pid, None)
        if incident is not None and not incident.treated and self._is_at_work(child):
            seconds = round(now - incident.hang.since, 3)
            details = {"process": child.identity.name, "child": pid, "seconds": seconds}
            self._loop.tell(LogLine("warning", "process goes on", details))

    def _handle(self, pid: int, child: ChildHandle, hang: Hang, now: float) -> None:
        incident = self._incidents.get(pid)
        if incident is None or incident.hang.kind is not hang.kind or incident.hang.since != hang.since:
            incident = self._incidents[pid] = Incident(hang, now)
            self._loop.tell(ProcessHangs(child.identity, hang.kind))
            self._loop.tasks.start_soon(self._report, child, incident)
        if incident.is_due(now, child.config.hang_grace) and _may_replace(child):
            incident.treated = True
            self._replace(child, hang, now)

    def _replace(self, child: ChildHandle, hang: Hang, now: float) -> None:
        """A process that can still finish its other requests is replaced first; another one is killed."""
        plan, why = self._loop.plan, f"it hangs for {now - hang.since:.0f} s ({hang.option})"
        if hang.kind is Kind.CALL_STUCK:
            self._loop.perform(plan.recycle(child.identity, "hung", why, now))
        else:
            self._loop.perform(plan.hung(child.identity, why, now))

    async def _report(self, child: ChildHandle, incident: Incident) -> None:
        try:
            with self._errors.logged():
                known = _described(child, incident.hang, incident.seen_at)
                self._loop.tell(Note("process hangs", "error", known))
                stacks = await self._stacks(child, tasks=incident.hang.kind is Kind.CALL_STUCK)
                log.error("process hangs", **known, stacks=stacks)
        finally:
            incident.reported = True

    async def _stacks(self, child: ChildHandle, *, tasks: bool) -> str:
        text = await child.thread_stacks()
        if tasks:
            with suppress(RpcError):  # it can't answer: then only the threads' stacks are known
                text += "\n" + await child.task_stacks(timeout=TASKS_TIMEOUT)
        return text

    async def kill_with_stacks(self, child: ChildHandle, reason: DeathReason, why: str) -> None:
        """Log what it was doing, then kill it."""
        try:
            with self._errors.logged():
                stacks = await self._stacks(child, tasks=False)
                name = child.identity.name
                log.error("process is late", process=name, child=child.pid, why=why, stacks=stacks)
        finally:
            child.kill(reason, why)

    def report_crash(self, child: ChildHandle) -> None:
        """Log what `faulthandler` wrote at the end of a process that crashed."""
        text = dump.read_dump(child.dump) if child.reason is DeathReason.SIGNAL else ""
        begin = text.find(CRASH)  # an operator may have asked for stacks before
        if begin >= 0:
            log.error("process crashed", process=child.identity.name, child=child.pid, stacks=text[begin:])


def _state(pid: int) -> str:
    """Running, sleeping, stopped, ..."""
    try:
        return str(psutil.Process(pid).status())
    except psutil.NoSuchProcess:
        return "gone"
    except (psutil.Error, OSError):
        return "unknown"


def _limits(config: Config) -> Limits:
    return Limits(
        request=config.request_timeout,
        stall=config.stall_timeout,
        gil=config.gil_timeout,
    )


def _may_replace(child: ChildHandle) -> bool:
    """In development, or when it was stopped by a signal, it may be in a debugger."""
    config = child.config
    action = config.hang_action if child.identity.role is Role.WORKER else config.pool_hang_action
    return action == "replace" and not config.reload and _state(child.pid) not in HELD


def _described(child: ChildHandle, hang: Hang, now: float) -> dict[str, object]:
    """The details of a hang, for the log."""
    request = hang.request
    return {
        "process": child.identity.name,
        "child": child.pid,
        "kind": str(hang.kind),
        "seconds": round(now - hang.since, 3),
        "limit": hang.option,
        **({"where": hang.note} if hang.note else {}),
        **(
            {
                "method": request.method,
                "path": request.path,
                "request_id": request.request_id,
                "client": request.client,
            }
            if request is not None
            else {}
        ),
        "state": _state(child.pid),
    }
