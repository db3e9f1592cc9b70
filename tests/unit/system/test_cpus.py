"""`--workers auto`."""

import os
from pathlib import Path

import pytest

from hsrv.options.config import Config
from hsrv.system.cpus import least, memory, own_groups, quota, resolve_workers


def test_a_number_is_taken_as_it_is() -> None:
    assert resolve_workers(Config(workers=7)) == (7, "")


def test_auto_says_what_limits() -> None:
    count, why = resolve_workers(Config(workers="auto"))
    assert count >= 1
    assert why.startswith("auto: limited by")


@pytest.mark.parametrize(
    ("own", "above", "expected"),
    [
        ("max 100000", "max 100000", None),
        ("250000 100000", "max 100000", 2),
        ("max 100000", "400000 100000", 4),
        ("600000 100000", "300000 100000", 3),
        ("50000 100000", None, 1),
        ("nonsense", None, None),
    ],
)
def test_the_tightest_quota_of_the_hierarchy_binds(
    tmp_path: Path, own: str, above: str | None, expected: int | None
) -> None:
    group = tmp_path / "above" / "own"
    group.mkdir(parents=True)
    (group / "cpu.max").write_text(own)
    if above is not None:
        (tmp_path / "above" / "cpu.max").write_text(above)
    assert quota(tmp_path, "/above/own") == expected


def test_the_older_hierarchy_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("300000")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000")
    assert quota(tmp_path, "/") == 3
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1")
    assert quota(tmp_path, "/") is None


def test_memory_is_what_the_group_may_have(tmp_path: Path) -> None:
    everything = memory(tmp_path, "/")
    (tmp_path / "memory.max").write_text("max")
    assert memory(tmp_path, "/") > 0
    (tmp_path / "memory.max").write_text("1000000")
    assert memory(tmp_path, "/") == 1_000_000 < everything


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"CPUs": 8, "CPU quota": 2, "memory": 30}, (2, "auto: limited by CPU quota; CPUs: 8, memory: 30")),
        ({"CPUs": 8, "CPU quota": None, "memory": 3}, (3, "auto: limited by memory; CPUs: 8")),
        ({"CPUs": 2, "CPU quota": 2, "memory": 2}, (2, "auto: limited by CPUs; CPU quota: 2, memory: 2")),
        ({"CPUs": 1, "CPU quota": None}, (1, "auto: limited by CPUs")),
    ],
)
def test_the_least_is_taken_and_the_others_are_told(
    limits: dict[str, int | None], expected: tuple[int, str]
) -> None:
    assert least(limits) == expected


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity masks here")
def test_the_affinity_mask_counts() -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert resolve_workers(Config(workers="auto"))[0] == 1
    finally:
        os.sched_setaffinity(0, before)


def test_our_groups_are_known_per_controller(tmp_path: Path) -> None:
    path = tmp_path / "cgroup"
    path.write_text("4:cpu,cpuacct:/docker/a:b\n3:memory:/docker/m\n0::/system.slice\n")
    assert own_groups(path) == {
        "cpu": "/docker/a:b",
        "cpuacct": "/docker/a:b",
        "memory": "/docker/m",
        "": "/system.slice",
    }
    assert own_groups(tmp_path / "none") == {}


def test_limits_bind_from_above_in_the_older_hierarchy_too(tmp_path: Path) -> None:
    for name, limit in (("own", "400000"), ("", "200000")):
        group = tmp_path / "cpu" / "above" / name
        group.mkdir(parents=True, exist_ok=True)
        (group / "cpu.cfs_quota_us").write_text(limit)
        (group / "cpu.cfs_period_us").write_text("100000")
    (tmp_path / "memory" / "above" / "own").mkdir(parents=True)
    (tmp_path / "memory" / "above" / "memory.limit_in_bytes").write_text("5000000")
    assert quota(tmp_path, "/", "/above/own") == 2
    assert memory(tmp_path, "/", "/above/own") == 5_000_000


@pytest.mark.parametrize("text", ["100000 0", "max", "", "x y"])
def test_a_quota_that_makes_no_sense_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert quota(tmp_path, "/") is None
