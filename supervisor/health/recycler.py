"""Has workers replaced that are too old or use too much memory, and under memory pressure a pool too.

Owns the measuring of their memory. Promises: no process is replaced again and again for a limit that a fresh process
exceeds too, nor for a shortage of memory that none of them has caused; both are logged once.
"""

from collections.abc import Callable, Iterator, Mapping
from math import inf
from typing import Final

import psutil

from hsrv.common.terms import Identity, Role
from hsrv.supervisor.plan.actions import LogLine
from hsrv.supervisor.plan.fleet import ChildState
from hsrv.supervisor.plan.recycling import Pressure, ProcessUse, most_grown, too_large, too_old
from hsrv.supervisor.processes.children import ChildHandle
from hsrv.supervisor.runtime.loop import Loop
from hsrv.system.cgroupmemory import MemoryGroup

SHARED_KEPT: Final = 30.0
"""Seconds for which the amount of memory that a process shares is used again."""


class Recycler:
    """Checks the age and memory of the processes of one server."""

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
        self._memory_pressure = memory_pressure
        self._group = group
        self._pressure = Pressure()
        self._told_pressure = False
        self._told_born_large: set[int] = set()
        """Generations."""
        self._shared: dict[int, tuple[float, int]] = {}
        """By pid: when it was measured, and the bytes."""

    def look(self, now: float) -> None:
        """Once a second."""
        processes = list(self._uses(now))
        self._tell_born_large(processes)
        tired = [*too_old(processes), *too_large(processes), *self._pressed(processes, now)]
        for identity, reason, why in tired:
            self._loop.perform(self._loop.plan.recycle(identity, reason, why, now))

    def _tell_born_large(self, processes: list[ProcessUse]) -> None:
        for worker in processes:
            generation = worker.identity.generation
            if worker.born_large and generation not in self._told_born_large:
                self._told_born_large.add(generation)
                self._warn(
                    "worker is too large from its start on",
                    process=worker.identity.name,
                    bytes=worker.memory,
                    hint="raise --worker-max-memory",
                )

    def _pressed(self, processes: list[ProcessUse], now: float) -> Iterator[tuple[Identity, str, str]]:
        most = self._memory_pressure()
        use = self._group.tightest() if most else None
        if use is None or use.share < most:
            self._pressure.eased()
            self._told_pressure = False
            return
        why = f"{use.used} of {use.limit} bytes of the control group are used (--memory-pressure {most:g})"
        grown = most_grown(processes, use.limit)
        if grown is None:
            self._tell_pressure(why, "no worker or pool has grown")
        elif self._pressure.is_due(now):
            if not self._pressure.acts(use.share, now):
                self._tell_pressure(why, f"to replace a {grown.identity.role} did not help")
            yield grown.identity, "memory_pressure", why

    def _tell_pressure(self, why: str, hint: str) -> None:
        if not self._told_pressure:
            self._told_pressure = True
            self._warn("memory pressure stays", why=why, hint=hint)

    def _warn(self, event: str, **details: object) -> None:
        self._loop.tell(LogLine("warning", event, details))

    def _uses(self, now: float) -> Iterator[ProcessUse]:
        children = self._children
        self._shared = {pid: one for pid, one in self._shared.items() if pid in children}
        for child in children.values():
            known = self._loop.plan.find(child.identity)
            serves = known is not None and known.state is ChildState.SERVING
            if serves and child.identity.role in (Role.WORKER, Role.POOL):
                yield self._use(child, now)

    def _use(self, child: ChildHandle, now: float) -> ProcessUse:
        is_worker = child.identity.role is Role.WORKER
        most = child.config.worker_max_memory if is_worker else 0
        resident = resident_memory(child.pid)
        shared = self._shared_memory(child.pid, resident, now) if 0 < most < resident else 0
        return ProcessUse(
            identity=child.identity,
            pid=child.pid,
            age=now - child.forked_at,
            memory=resident - shared,
            grown=max(0, resident - child.baseline),
            max_age=child.config.worker_max_age if is_worker else 0.0,
            max_memory=most,
        )

    def _shared_memory(self, pid: int, resident: int, now: float) -> int:
        """For this the kernel walks its page tables, 14 ms per GiB, so it is not done each time."""
        at, shared = self._shared.get(pid, (-inf, 0))
        if now - at >= SHARED_KEPT:
            shared = resident - proportional_memory(pid, resident)
            self._shared[pid] = now, shared
        return shared


def resident_memory(pid: int) -> int:
    """Bytes; 0 if it has ended, or the system doesn't report it."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except (psutil.Error, OSError):
        return 0


def proportional_memory(pid: int, resident: int) -> int:
    """Bytes, with shared pages divided among their users; `resident` if the system doesn't report it."""
    try:
        return min(resident, int(getattr(psutil.Process(pid).memory_full_info(), "pss", resident)))
    except (psutil.Error, OSError):
        return resident
