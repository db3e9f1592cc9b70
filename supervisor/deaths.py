"""Why a process ended, by its exit status and what the kernel counts."""

import os
import signal

from hsrv.cgroupmemory import MemoryGroup
from hsrv.terms import DeathReason


class Coroner:
    """Finds out why a process ended."""

    def __init__(self, group: MemoryGroup) -> None:
        self._group = group
        self._oom_kills = group.oom_kills()

    def examine(self, status: int | None) -> tuple[DeathReason, str]:
        """The reason, and the same in words. `status`: of waitpid(); None when nobody knows it."""
        if status is None:
            return DeathReason.UNKNOWN, "ended, its exit status is unknown"
        code = os.waitstatus_to_exitcode(status)
        if code >= 0:
            return DeathReason.EXIT, f"exited with code {code}"
        if code == -signal.SIGKILL and self._killed_for_memory():
            return DeathReason.OUT_OF_MEMORY, "was killed by the kernel: out of memory"
        return DeathReason.SIGNAL, f"was killed by {signal_name(-code)}"

    def _killed_for_memory(self) -> bool:
        """Whether the kernel has killed one more than we know of."""
        kills = self._group.oom_kills()
        if kills > self._oom_kills:
            self._oom_kills += 1
            return True
        return False


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def how_it_ended(status: int) -> str:
    """A wait status in words, for a process of which no reason is counted."""
    code = os.waitstatus_to_exitcode(status)
    return f"exited with code {code}" if code >= 0 else f"was killed by {signal_name(-code)}"
