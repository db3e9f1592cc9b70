"""The memory limit that binds, read from trees as the kernel makes them."""

from pathlib import Path

import pytest

from hsrv.system.cgroupmemory import UNLIMITED, MemoryGroup, MemoryUse

V1 = ("memory.usage_in_bytes", "memory.limit_in_bytes", "total_inactive_file")
V2 = ("memory.current", "memory.max", "inactive_file")


def fill(directory: Path, names: tuple[str, str, str], used: int, limit: object, cache: int = 0) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    current, most, field = names
    (directory / current).write_text(f"{used}\n")
    (directory / most).write_text(f"{limit}\n")
    active = field.replace("inactive", "active")
    (directory / "memory.stat").write_text(f"anon 1\n{field} {cache // 2}\n{active} {cache // 2}\n")


def test_version_2(tmp_path: Path) -> None:
    fill(tmp_path / "pod" / "app", V2, 700, 1000, cache=200)
    group = MemoryGroup(tmp_path, {"": "/pod/app"})
    assert group.tightest() == MemoryUse(500, 1000), "the kernel gives up the cache of files first"


def test_version_1(tmp_path: Path) -> None:
    fill(tmp_path / "memory" / "app", V1, 900, 1000, cache=100)
    assert MemoryGroup(tmp_path, {"memory": "/app"}).tightest() == MemoryUse(800, 1000)


@pytest.mark.parametrize("none", ["max", UNLIMITED])
def test_the_nearest_limit_binds_and_no_limit_does_not(tmp_path: Path, none: object) -> None:
    fill(tmp_path, V2, 950, none)
    fill(tmp_path / "pod", V2, 950, 1000)
    fill(tmp_path / "pod" / "app", V2, 100, 400)
    use = MemoryGroup(tmp_path, {"": "/pod/app"}).tightest()
    assert use == MemoryUse(950, 1000)
    assert use.share == 0.95


def test_without_any_group_nothing_binds(tmp_path: Path) -> None:
    group = MemoryGroup(tmp_path, {}, vmstat=tmp_path / "vmstat")
    assert group.tightest() is None
    assert group.oom_kills() == 0


def test_kills_are_told_by_version_2_else_1_else_the_machine(tmp_path: Path) -> None:
    vmstat = tmp_path / "vmstat"
    vmstat.write_text("pgfault 9\noom_kill 3\n")
    group = MemoryGroup(tmp_path, {}, vmstat=vmstat)
    assert group.oom_kills() == 3
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")
    assert group.oom_kills() == 2
    (tmp_path / "memory.events").write_text("oom 1\noom_kill 1\n")
    assert group.oom_kills() == 1
