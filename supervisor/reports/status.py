"""The whole server at one moment, for `hsrv status`.

Promises: the cost doesn't depend on the number of callers (an answer is used again for STATUS_TTL); a process that
doesn't answer delays nobody for longer than REPORT_TIMEOUT.
"""

import os
import platform
import socket
import struct
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

import anyio
from anyio.abc import TaskGroup

from hsrv.board.layout import BOUNDS
from hsrv.board.snapshot import Totals
from hsrv.common.terms import Identity, Role
from hsrv.common.version import __version__
from hsrv.rpc.methods import ChildReport
from hsrv.rpc.operator import (
    STATUS_VERSION,
    GenerationStatus,
    ListenerStatus,
    ProcessStatus,
    ServerStatus,
)
from hsrv.supervisor.plan.capacity import not_ready
from hsrv.supervisor.plan.fleet import Child, Generation, Key
from hsrv.supervisor.plan.state import View
from hsrv.supervisor.processes.children import ChildHandle
from hsrv.supervisor.reports.boards import board_status, by_role, with_counters
from hsrv.supervisor.reports.resources import Usage
from hsrv.supervisor.reports.timeline import Timeline
from hsrv.supervisor.reports.totals import ServerTotals
from hsrv.supervisor.reports.usage import UsageReader
from hsrv.supervisor.sockets.listeners import Listener

STATUS_TTL: Final = 0.5
"""Seconds for which an answer is used again."""

REPORT_TIMEOUT: Final = 0.5
"""Seconds for a process to say what it is doing."""

_TCP_INFO_QUEUE: Final = struct.Struct("24xII")
"""struct tcp_info of a listening socket: tcpi_unacked is the accept queue, tcpi_sacked its limit (linux/tcp.h)."""


class StatusReader:
    """Asks every process and the system, at most once per STATUS_TTL."""

    def __init__(
        self,
        plan: View,
        listeners: list[Listener],
        handles: Mapping[int, ChildHandle],
        totals: ServerTotals,
        timeline: Timeline,
        *,
        template_pids: Mapping[int, int],
        log_level: Callable[[], str],
    ) -> None:
        """`handles`: by pid, all that live; `template_pids`: by generation."""
        self.usage = UsageReader(self.slots)
        self._plan = plan
        self._totals = totals
        self._timeline = timeline
        self._listeners = listeners
        self._handles = handles
        self.started_at = time.time()
        self._asking = anyio.Lock()
        self._last: ServerStatus | None = None
        self._last_at = -1e9
        self._template_pids = template_pids
        self._log_level = log_level
        self.tasks: TaskGroup
        """Set before the first request: for requests to processes that nobody waits for any more."""
        self.app = ""

    def forget(self) -> None:
        """Something has changed: the last answer must not be used again."""
        self._last = None

    async def read(self) -> ServerStatus:
        """At most STATUS_TTL old."""
        async with self._asking:
            if self._last is not None and time.monotonic() - self._last_at < STATUS_TTL:
                return self._last
            reports = await self._ask_all()
            found = self._last = self._put_together(reports, (await self.usage.read()).by_pid)
            self._last_at = time.monotonic()
            return found

    async def _ask_all(self) -> dict[int, ChildReport | None]:
        """By pid: the report of each; None if it is not ready yet. Absent: no answer."""
        reports: dict[int, ChildReport | None] = {}

        async def ask(pid: int, handle: ChildHandle) -> None:
            with suppress(TimeoutError):
                reports[pid] = await handle.report(self.tasks, timeout=REPORT_TIMEOUT)

        async with anyio.create_task_group() as tasks:
            for pid, handle in self._handles.items():
                tasks.start_soon(ask, pid, handle)
        return reports

    def _put_together(
        self, reports: Mapping[int, ChildReport | None], usage: Mapping[int, Usage]
    ) -> ServerStatus:
        plan, why = self._plan, not_ready(self._plan)
        pids = {id(handle.identity): (pid, handle) for pid, handle in self._handles.items()}
        return ServerStatus(
            status_version=STATUS_VERSION,
            hsrv=__version__,
            python=platform.python_version(),
            pid=os.getpid(),
            app=self.app,
            started_at=round(self.started_at, 3),
            uptime=round(time.time() - self.started_at, 3),
            phase=plan.phase.name.lower(),  # type: ignore[arg-type]  # the names are those of the enumeration
            ready=not why,
            not_ready_because=why,
            workers=plan.workers,
            pools=plan.pools,
            log_level=self._log_level(),
            listeners=self.listeners(),
            generations=[self._generation(one, pids, reports, usage) for one in plan.generations.values()],
            bounds=list(BOUNDS),
            totals=by_role(self.totals()),
            deaths={" ".join(key): count for key, count in self._totals.deaths.items()},
            events=list(self._timeline),
        )

    def totals(self) -> dict[Key, Totals]:
        """The totals of every slot, at this moment."""
        return self._totals.by_slot(
            (handle.identity, handle.look()) for handle in self._handles.values() if not handle.counted
        )

    def listeners(self) -> list[ListenerStatus]:
        return [_listener(listener) for listener in self._listeners]

    def slots(self) -> dict[int, Key]:
        """The slot of every process of the server that lives, by pid."""
        children = {pid: (one.identity.role, one.identity.slot) for pid, one in self._handles.items()}
        templates = dict.fromkeys(self._template_pids.values(), (Role.TEMPLATE, 0))
        return {os.getpid(): (Role.SUPERVISOR, 0), **templates, **children}

    def _generation(
        self,
        generation: Generation,
        pids: Mapping[int, tuple[int, ChildHandle]],
        reports: Mapping[int, ChildReport | None],
        usage: Mapping[int, Usage],
    ) -> GenerationStatus:
        return GenerationStatus(
            number=generation.number,
            state=generation.state.name.lower(),  # type: ignore[arg-type]  # the names are those of the enumeration
            reload_id=generation.operation,
            template_pid=self._template_pids.get(generation.number, 0),
            processes=[
                self._child(child, *pids.get(id(child.identity), (0, None)), reports=reports, usage=usage)
                for child in sorted(generation.everyone(), key=_order)
            ],
        )

    def _child(
        self,
        child: Child,
        pid: int,
        handle: ChildHandle | None,
        *,
        reports: Mapping[int, ChildReport | None],
        usage: Mapping[int, Usage],
    ) -> ProcessStatus:
        taken, report = usage.get(pid), reports.get(pid)
        snapshot = handle.look() if handle is not None else None
        identity, left = child.identity, child.deadline - time.monotonic()
        return ProcessStatus(
            name=identity.name,
            role=str(identity.role),
            slot=identity.slot,
            generation=identity.generation,
            pid=pid,
            state=child.state.name.lower(),  # type: ignore[arg-type]  # the names are those of the enumeration
            leader=identity.leader,
            age=round(time.monotonic() - handle.forked_at, 3) if handle is not None else 0.0,
            answers=pid in reports,
            report=with_counters(report, snapshot) if report is not None else None,
            deadline=round(left, 3) if left < 1e9 else None,
            board=board_status(snapshot, time.monotonic()),
            rss=taken.rss if taken is not None else None,
            pss=taken.pss if taken is not None else None,
            cpu_seconds=round(taken.cpu_seconds, 2) if taken is not None else None,
            cpu_percent=taken.cpu_percent if taken is not None else None,
        )


def _order(child: Child) -> tuple[bool, int]:
    identity: Identity = child.identity
    return identity.role != "pool", identity.slot


def _listener(listener: Listener) -> ListenerStatus:
    waiting = backlog = None
    if sys.platform == "linux" and listener.info.unix_inode is None:
        try:
            info = listener.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_QUEUE.size)
            waiting, backlog = _TCP_INFO_QUEUE.unpack(info)
        except (OSError, struct.error):
            waiting = backlog = None  # closed, or no TCP socket
    return ListenerStatus(url=listener.info.url, waiting=waiting, backlog=backlog)
