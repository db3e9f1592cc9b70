"""Which workers are too old, and which workers or pools use too much memory. Pure."""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import inf
from typing import Final

from hsrv.common.terms import Identity

AGE_SPREAD = 0.1
"""Share of --worker-max-age that is added at random, so that workers aren't all replaced at once."""


BORN_LARGE_PAUSE: Final = 600.0
"""Minimum age at which a worker is replaced that used too much memory from its start: the next one won't use less."""

RELEVANT: Final = 0.05
"""Share of the group's limit by which a process must have grown to be replaced for memory pressure."""

RELIEF: Final = 0.01
"""Share of the limit that a replacement must free to count as useful."""

PRESSURE_PAUSE: Final = 30.0
"""Seconds between two replacements for memory pressure, for the effect of the first to show. Doubled after each that
did not help."""

LONGEST_PAUSE: Final = 3600.0


@dataclass(frozen=True, kw_only=True)
class ProcessUse:
    """Age and memory of a worker or pool that serves, and their limits."""

    identity: Identity
    pid: int
    age: float
    """Seconds."""
    memory: int
    """Bytes: with shared pages divided among their users, if known."""
    grown: int = 0
    """Bytes since it was ready."""
    max_age: float = 0.0
    """0: no limit."""
    max_memory: int = 0

    @property
    def born_large(self) -> bool:
        return 0 < self.max_memory < self.memory - self.grown


def too_old(workers: Iterable[ProcessUse]) -> Iterator[tuple[Identity, str, str]]:
    """The workers to replace: (identity, reason, why)."""
    for worker in workers:
        most = worker.max_age * (1 + AGE_SPREAD * random.Random(worker.pid).random())
        if 0 < most < worker.age:
            yield worker.identity, "age", f"{worker.age:.0f} s old (--worker-max-age)"


def too_large(workers: Iterable[ProcessUse]) -> Iterator[tuple[Identity, str, str]]:
    """The workers to replace, likewise."""
    for worker in workers:
        may_stay = worker.born_large and worker.age < BORN_LARGE_PAUSE
        if 0 < worker.max_memory < worker.memory and not may_stay:
            why = f"it holds {worker.memory} bytes (--worker-max-memory {worker.max_memory})"
            yield worker.identity, "memory", why


def most_grown(processes: Iterable[ProcessUse], limit: int) -> ProcessUse | None:
    """The process to replace if a group with this limit is short of memory; None if none of them is the cause."""
    grown = max(processes, key=lambda process: process.grown, default=None)
    return grown if grown is not None and grown.grown >= RELEVANT * limit else None


class Pressure:
    """When to replace a process of a group that is short of memory."""

    def __init__(self) -> None:
        self._pause = PRESSURE_PAUSE
        self._acted_at = -inf
        self._share_then = inf

    def eased(self) -> None:
        self._pause = PRESSURE_PAUSE
        self._share_then = inf

    def is_due(self, now: float) -> bool:
        return now - self._acted_at >= self._pause

    def acts(self, share: float, now: float) -> bool:
        """A process is being replaced. False: the replacement before it did not help."""
        helped = share <= self._share_then - RELIEF
        self._pause = PRESSURE_PAUSE if helped else min(LONGEST_PAUSE, 2 * self._pause)
        self._acted_at, self._share_then = now, share
        return helped
