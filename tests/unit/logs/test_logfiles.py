"""Log files that are renamed, removed and unwritable while lines are written."""

import os
from pathlib import Path

import pytest

from hsrv.logs.logfiles import LogFile, file_writer, prepare


def test_after_a_rename_the_next_line_is_in_a_new_file_and_none_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writer = file_writer(str(path))
    for number in range(30):
        writer.write(b"%d\n" % number)
        if number % 10 == 9:
            path.rename(tmp_path / f"log.{number}")
    found = [(tmp_path / f"log.{number}").read_text().split() for number in (9, 19, 29)]
    assert found == [[str(number) for number in range(begin, begin + 10)] for begin in (0, 10, 20)]
    assert not path.exists(), "it appears with the next line"
    assert writer.dropped == 0


def test_a_file_that_was_put_in_its_place_is_used(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writer = file_writer(str(path))
    writer.write(b"1\n")
    path.unlink()
    path.write_bytes(b"0\n")
    writer.write(b"2\n")
    assert path.read_bytes() == b"0\n2\n"


def test_a_relative_path_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    writer = file_writer("log")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    writer.write(b"1\n")
    assert (tmp_path / "log").read_bytes() == b"1\n"


def test_a_name_that_can_not_be_opened_again_loses_no_line_and_is_told_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "log"
    writer = file_writer(str(path))
    writer.write(b"1\n")
    path.rename(tmp_path / "renamed")
    path.mkdir()
    writer.write(b"2\n")
    writer.write(b"3\n")
    assert (tmp_path / "renamed").read_bytes() == b"1\n2\n3\n"
    assert (
        capfd.readouterr().err
        == f"hsrv: {path} can't be opened again, the renamed file is used: Is a directory\n"
    )
    path.rmdir()
    writer.write(b"4\n")
    assert path.read_bytes() == b"4\n"


def test_a_file_that_can_not_be_opened_at_all_costs_lines_that_are_counted(tmp_path: Path) -> None:
    writer = file_writer(str(tmp_path / "none" / "log"))
    writer.write(b"1\n")
    assert writer.dropped == 1
    with pytest.raises(FileNotFoundError):
        prepare(str(tmp_path / "none" / "log"), None)


def test_a_new_file_is_readable_for_few_and_an_old_one_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "log"
    before = os.umask(0o022)
    try:
        prepare(str(path), None)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640
    path.write_bytes(b"kept\n")
    prepare(str(path), (0, 0))
    assert path.read_bytes() == b"kept\n"


def test_a_pipe_that_nobody_reads_holds_nothing_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="No such device"):
        LogFile(str(tmp_path / "pipe")).write(b"1\n")
