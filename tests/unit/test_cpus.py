"""`--workers auto`."""

from pathlib import Path

import pytest

from hsrv.config import Config
from hsrv.cpus import memory, quota, resolve_workers


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
