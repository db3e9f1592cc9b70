"""The directory of the application's metrics, and who removes it."""

import os
from pathlib import Path

import pytest

from hsrv.system import metricsdir


def test_it_is_ours_alone_and_empty(tmp_path: Path) -> None:
    (tmp_path / "12.metrics").mkdir(mode=0o700)
    (tmp_path / "12.metrics" / "counter_1.db").touch()
    path, hold = metricsdir.prepare(tmp_path, 12)
    assert path == tmp_path / "12.metrics"
    assert path.stat().st_mode & 0o777 == 0o700
    assert list(path.iterdir()) == []
    assert list(tmp_path.iterdir()) == [path]
    os.close(hold)


def test_what_nobody_holds_any_more_is_removed_by_the_next_server(tmp_path: Path) -> None:
    first, hold = metricsdir.prepare(tmp_path, 1)
    copy = os.dup(hold)  # as after a fork
    os.close(hold)
    second, held = metricsdir.prepare(tmp_path, 2)
    assert first.exists(), "a process of the first server lives"
    os.close(copy)
    third, last = metricsdir.prepare(tmp_path, 3)
    assert sorted(tmp_path.iterdir()) == [second, third]
    os.close(held)
    os.close(last)


def test_the_last_of_several_holders_removes_it(tmp_path: Path) -> None:
    path, first = metricsdir.prepare(tmp_path, 1)
    second = metricsdir.hold(path)
    metricsdir.remove_last(path, first)
    assert path.exists(), "the other one counts there"
    os.close(first)
    metricsdir.remove_last(path, second)
    assert not path.exists()
    os.close(second)


def test_what_is_not_named_after_a_server_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.metrics").mkdir()
    metricsdir.remove_stale(tmp_path)
    assert (tmp_path / "mine.metrics").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives directories away")
def test_nor_is_the_directory_of_somebody_else_removed(tmp_path: Path) -> None:
    theirs = tmp_path / "7.metrics"
    theirs.mkdir(mode=0o700)
    (theirs / "notes").touch()
    os.chown(theirs, 4242, 4242)
    metricsdir.remove_stale(tmp_path)
    with pytest.raises(OSError, match="not empty"):
        metricsdir.prepare(tmp_path, 7)
    assert [path.name for path in tmp_path.rglob("*")] == ["7.metrics", "notes"]


@pytest.mark.parametrize("name", ["7.metrics", "8.metrics"])
def test_what_no_server_can_have_made_stays(name: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "elsewhere" / "notes").touch()
    (tmp_path / "8.metrics").symlink_to("elsewhere")
    (tmp_path / "7.metrics").mkdir(mode=0o755)
    (tmp_path / "7.metrics" / "notes").touch()
    metricsdir.remove_stale(tmp_path)
    with pytest.raises(OSError, match=r"ot empty|ot a directory"):
        metricsdir.prepare(tmp_path, int(name.partition(".")[0]))
    names = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert {"7.metrics/notes", "8.metrics", "elsewhere/notes"} <= names
    assert not [one for one in names if one.startswith("tmp")]


def test_without_a_run_directory_it_is_a_temporary_one() -> None:
    path, hold = metricsdir.prepare(None, 1)
    try:
        assert path.stat().st_mode & 0o777 == 0o700
    finally:
        os.close(hold)
        metricsdir.remove(path)
    assert not path.exists()
