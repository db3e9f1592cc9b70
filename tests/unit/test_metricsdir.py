"""The directory of the application's metrics, and who removes it."""

import os
from pathlib import Path

from hsrv import metricsdir


def test_it_is_ours_alone_and_empty(tmp_path: Path) -> None:
    (tmp_path / "12.metrics").mkdir()
    (tmp_path / "12.metrics" / "counter_1.db").touch()
    path, hold = metricsdir.prepare(tmp_path, 12)
    assert path == tmp_path / "12.metrics"
    assert path.stat().st_mode & 0o777 == 0o700
    assert list(path.iterdir()) == []
    assert list(tmp_path.iterdir()) == [path]
    os.close(hold)


def test_what_nobody_holds_any_more_is_removed_by_the_next_server(tmp_path: Path) -> None:
    first, hold = metricsdir.prepare(tmp_path, 1)
    heir = os.dup(hold)  # as after a fork
    os.close(hold)
    second, held = metricsdir.prepare(tmp_path, 2)
    assert first.exists(), "a process of the first server lives"
    os.close(heir)
    third, last = metricsdir.prepare(tmp_path, 3)
    assert sorted(tmp_path.iterdir()) == [second, third]
    os.close(held)
    os.close(last)


def test_what_is_not_named_after_a_server_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.metrics").mkdir()
    metricsdir.remove_stale(tmp_path)
    assert (tmp_path / "mine.metrics").exists()


def test_without_a_run_directory_it_is_a_temporary_one() -> None:
    path, hold = metricsdir.prepare(None, 1)
    try:
        assert path.stat().st_mode & 0o777 == 0o700
    finally:
        os.close(hold)
        metricsdir.remove(path)
    assert not path.exists()
