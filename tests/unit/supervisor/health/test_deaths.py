"""Why a process ended."""

import signal
from pathlib import Path

import pytest

from hsrv.common.terms import DeathReason
from hsrv.supervisor.health.deaths import FORGOTTEN_AFTER, DeathExaminer
from hsrv.system.cgroupmemory import MemoryGroup

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
    assert DeathExaminer(group(tmp_path, 5)).examine(status, 1.0) == (reason, words)


def test_each_kill_of_the_kernel_explains_one_death(tmp_path: Path) -> None:
    deaths = DeathExaminer(group(tmp_path, 5))
    group(tmp_path, 6)
    assert deaths.examine(int(signal.SIGTERM), 1.0)[0] is DeathReason.SIGNAL, "the kernel kills with SIGKILL"
    words = "was killed by the kernel: out of memory"
    assert deaths.examine(KILLED, 1.0) == (DeathReason.OUT_OF_MEMORY, words)
    assert deaths.examine(KILLED, 1.0)[0] is DeathReason.SIGNAL


def test_a_kill_of_another_process_in_the_group_explains_no_later_death(tmp_path: Path) -> None:
    deaths = DeathExaminer(group(tmp_path, 5))
    group(tmp_path, 7)
    deaths.settle(10.0)
    deaths.settle(10.0 + FORGOTTEN_AFTER)
    assert deaths.examine(KILLED, 10.0 + FORGOTTEN_AFTER)[0] is DeathReason.OUT_OF_MEMORY, (
        "it may be told late"
    )
    deaths.settle(11.0 + FORGOTTEN_AFTER)
    assert deaths.examine(KILLED, 11.0 + FORGOTTEN_AFTER)[0] is DeathReason.SIGNAL


def test_where_only_the_machine_is_counted_it_is_not_sure(tmp_path: Path) -> None:
    vmstat = tmp_path / "vmstat"
    vmstat.write_text("oom_kill 1\n")
    deaths = DeathExaminer(MemoryGroup(tmp_path, {}, vmstat=vmstat))
    vmstat.write_text("oom_kill 2\n")
    words = "was killed maybe by the kernel: out of memory"
    assert deaths.examine(KILLED, 1.0) == (DeathReason.OUT_OF_MEMORY, words)
