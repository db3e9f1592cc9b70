"""Why a process ended, by its wait status and the kernel's count of out-of-memory kills."""

import os
import signal
from collections import deque
from typing import Final

from hsrv.common.terms import DeathReason
from hsrv.system.cgroupmemory import MemoryGroup

FORGOTTEN_AFTER: Final = 5.0
"""Seconds after which an out-of-memory kill without a matching death counts as that of another process in the control
group."""


class DeathExaminer:
    """Finds out why a process ended."""

    def __init__(self, group: MemoryGroup) -> None:
        self._group = group
        self._oom_kills = group.oom_kills()
        self._unexplained: deque[float] = deque()
        """When each of the kernel's kills was noticed that has no matching death yet."""

    def settle(self, now: float) -> None:
        """To be called about once a second: forget kills of other processes."""
        self._notice(now)
        while self._unexplained and now - self._unexplained[0] > FORGOTTEN_AFTER:
            self._unexplained.popleft()

    def examine(self, status: int | None, now: float) -> tuple[DeathReason, str]:
        """The reason of a death, and the same in words, for a process that we have not killed. `status`: of waitpid();
        None if it is unknown."""
        if status is None:
            return DeathReason.UNKNOWN, "ended, its exit status is unknown"
        code = os.waitstatus_to_exitcode(status)
        if code >= 0:
            return DeathReason.EXIT, f"exited with code {code}"
        if code == -signal.SIGKILL and self._killed_for_memory(now):
            maybe = "" if self._group.counts_own_kills() else "maybe "
            return DeathReason.OUT_OF_MEMORY, f"was killed {maybe}by the kernel: out of memory"
        return DeathReason.SIGNAL, f"was killed by {signal_name(-code)}"

    def _killed_for_memory(self, now: float) -> bool:
        """Whether the kernel has killed a process whose death is not explained yet."""
        self._notice(now)
        if not self._unexplained:
            return False
        self._unexplained.popleft()
        return True

    def _notice(self, now: float) -> None:
        kills = self._group.oom_kills()
        self._unexplained.extend([now] * (kills - self._oom_kills))
        self._oom_kills = kills


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def how_it_ended(status: int) -> str:
    """A wait status in words, for a process whose deaths are not counted."""
    code = os.waitstatus_to_exitcode(status)
    return f"exited with code {code}" if code >= 0 else f"was killed by {signal_name(-code)}"
