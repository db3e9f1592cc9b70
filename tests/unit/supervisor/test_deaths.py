"""Why a process ended."""

import signal
from pathlib import Path

import pytest

from hsrv.cgroupmemory import MemoryGroup
from hsrv.supervisor.deaths import Coroner
from hsrv.terms import DeathReason

KILLED = int(signal.SIGKILL)


def group(tmp_path: Path, kills: int) -> MemoryGroup:
    (tmp_path / "memory.events").write_text(f"low 0\nhigh 0\nmax 3\noom 1\noom_kill {kills}\n")
    return MemoryGroup(tmp_path, {"": "/"})


@pytest.mark.parametrize(
    ("status", "reason", "words"),
    [
        (None, DeathReason.UNKNOWN, "ended, its exit status is unknown"),
        (0, DeathReason.EXIT, "exited with code 0"),
        (3 << 8, DeathReason.EXIT, "exited with code 3"),
        (int(signal.SIGSEGV), DeathReason.SIGNAL, "was killed by SIGSEGV"),
        (KILLED, DeathReason.SIGNAL, "was killed by SIGKILL"),
        (63, DeathReason.SIGNAL, "was killed by signal 63"),
    ],
)
def test_by_its_exit_status(tmp_path: Path, status: int | None, reason: DeathReason, words: str) -> None:
    assert Coroner(group(tmp_path, 5)).examine(status) == (reason, words)


def test_each_kill_of_the_kernel_explains_one_death(tmp_path: Path) -> None:
    coroner = Coroner(group(tmp_path, 5))
    group(tmp_path, 6)
    assert coroner.examine(int(signal.SIGTERM))[0] is DeathReason.SIGNAL, "the kernel kills with SIGKILL"
    assert coroner.examine(KILLED) == (DeathReason.OUT_OF_MEMORY, "was killed by the kernel: out of memory")
    assert coroner.examine(KILLED)[0] is DeathReason.SIGNAL
