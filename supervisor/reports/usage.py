"""Resources of the server's processes.

Promises: the system is read in a thread, because it walks page tables and directories, and at most once per USAGE_TTL,
however many callers there are; CPU time belongs to the slot, so it never decreases when a process ends.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import anyio
import psutil

from hsrv.logs.logging import get_logger
from hsrv.supervisor.plan.fleet import Key
from hsrv.supervisor.reports.resources import Usage
from hsrv.supervisor.runtime.threads import in_thread

USAGE_TTL: Final = 0.5
"""Seconds for which an answer is used again."""

PSS_TTL: Final = 5.0
"""Seconds for which the proportional memory of a process is used again: the kernel walks its page tables for it, 14 ms
per GiB."""

log = get_logger("hsrv.supervisor")


class Usages(NamedTuple):
    by_pid: dict[int, Usage]
    cpu_seconds: dict[Key, float]
    """Of every slot: of its processes, and of those that have ended at their last measurement."""


@dataclass
class _Known:
    key: Key
    process: psutil.Process
    usage: Usage | None = None
    pss: int | None = None
    pss_at: float = -PSS_TTL


class UsageReader:
    """Reads the resources of the processes of one server."""

    def __init__(self, slots: Callable[[], Mapping[int, Key]]) -> None:
        """`slots`: those of the processes that live, by pid."""
        self._slots = slots
        self._known: dict[int, _Known] = {}
        self._left: dict[Key, float] = {}
        """CPU seconds of processes that have ended, by slot."""
        self._asking = anyio.Lock()
        self._seen: Mapping[int, Key] = {}
        """The processes at the last measurement."""
        self._at = -USAGE_TTL

    async def read(self) -> Usages:
        """At most USAGE_TTL old."""
        async with self._asking:
            slots = self._slots()
            if time.monotonic() - self._at >= USAGE_TTL or slots != self._seen:
                await in_thread(self._look, slots)
                self._seen, self._at = slots, time.monotonic()
            found = {pid: one.usage for pid, one in self._known.items() if one.usage is not None}
            return Usages(found, self._cpu_seconds())

    def _cpu_seconds(self) -> dict[Key, float]:
        total = dict(self._left)
        for one in self._known.values():
            if one.usage is not None:
                total[one.key] = total.get(one.key, 0.0) + one.usage.cpu_seconds
        return total

    # in the thread

    def _look(self, slots: Mapping[int, Key]) -> None:
        for pid in [pid for pid, one in self._known.items() if slots.get(pid) != one.key]:
            self._forget(pid)
        for pid, key in slots.items():
            self._look_at(pid, key)

    def _look_at(self, pid: int, key: Key) -> None:
        try:
            if pid in self._known and not self._known[pid].process.is_running():
                self._forget(pid)  # another process has its pid
            if pid not in self._known:
                self._known[pid] = _Known(key, psutil.Process(pid))
            one = self._known[pid]
            one.usage = _usage_of(one)
        except psutil.Error:  # it has ended, or the system doesn't report it
            return
        except OSError as error:  # no descriptor is free: the last values stay
            log.debug("usage unknown", pid=pid, error=str(error))

    def _forget(self, pid: int) -> None:
        one = self._known.pop(pid)
        if one.usage is not None:
            self._left[one.key] = self._left.get(one.key, 0.0) + one.usage.cpu_seconds


def _usage_of(one: _Known) -> Usage:
    """Raises psutil.Error."""
    process, now = one.process, time.monotonic()
    with process.oneshot():
        memory, cpu = process.memory_info(), process.cpu_times()
        percent = process.cpu_percent()
    if now - one.pss_at >= PSS_TTL:
        one.pss, one.pss_at = _pss(process), now
    return Usage(memory.rss, one.pss, cpu.user + cpu.system, percent, _descriptors(process))


def _pss(process: psutil.Process) -> int | None:
    try:
        return getattr(process.memory_full_info(), "pss", None)
    except psutil.AccessDenied:  # only root may read it of a process that has dropped privileges
        return None


def _descriptors(process: psutil.Process) -> int | None:
    try:
        return int(process.num_fds())
    except psutil.AccessDenied:
        return None
