"""What a look at real folders finds."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from hsrv.develop.watchrules import WatchRules
from hsrv.supervisor.develop import survey as surveying
from hsrv.supervisor.develop.survey import SurveyResult, stamp_of, survey


def look(rules: WatchRules) -> SurveyResult:
    return survey(rules, lambda: False)


def write(path: Path, text: str = "1\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def names(found: SurveyResult, folder: Path) -> set[str]:
    return {os.path.relpath(path, folder) for path in found.stamps}


def test_every_file_that_counts_has_a_stamp(tmp_path: Path) -> None:
    for name in ("main.py", "a/b.py", "a/b.txt", "venv/x.py", "env/pyvenv.cfg", "env/x.py", "a/c.py/d.py"):
        write(tmp_path / name)
    found = look(WatchRules(tmp_path))
    assert names(found, tmp_path) == {"main.py", "a/b.py", "a/c.py/d.py"}
    assert found.counts(str(tmp_path / "a" / "later.py"))
    assert not found.counts(str(tmp_path / "venv" / "x.py"))


def test_links_may_lead_in_circles_and_each_folder_is_seen_once(tmp_path: Path) -> None:
    app, shared = tmp_path / "app", tmp_path / "shared"
    write(app / "main.py")
    write(shared / "x.py")
    (app / "circle").symlink_to(app)
    (shared / "back").symlink_to(app)
    (app / "one").symlink_to(shared)
    (app / "two").symlink_to(shared)
    (app / "nowhere.py").symlink_to(tmp_path / "nowhere")
    found = look(WatchRules(app, packages=(shared,)))
    assert names(found, app) in ({"main.py", "one/x.py"}, {"main.py", "two/x.py"})
    assert len(found.folders) == 2


def test_the_gitignore_files_above_hold_up_to_the_repository(tmp_path: Path) -> None:
    write(tmp_path / ".gitignore", "main.py\n")
    repository = tmp_path / "repository"
    (repository / ".git").mkdir(parents=True)
    write(repository / ".gitignore", "*.gen.py\nlocal.py\n")
    write(repository / "src" / ".gitignore", "!kept.gen.py\n")
    app = repository / "src" / "app"
    for name in ("main.py", "x.gen.py", "kept.gen.py", "local.py"):
        write(app / name)
    assert names(look(WatchRules(app)), app) == {"main.py", "kept.gen.py"}


def test_without_a_repository_only_those_inside_hold(tmp_path: Path) -> None:
    write(tmp_path / ".gitignore", "main.py\n")
    write(tmp_path / "app" / ".gitignore", "other.py\n")
    write(tmp_path / "app" / "main.py")
    write(tmp_path / "app" / "other.py")
    assert names(look(WatchRules(tmp_path / "app")), tmp_path) == {"app/main.py"}


def test_a_folder_that_can_not_be_read_is_named_and_the_others_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "closed" / "x.py")
    write(tmp_path / "open" / "x.py")
    scandir = os.scandir

    def guarded(path: str) -> Any:  # root may read everything
        if path.endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    found = look(WatchRules(tmp_path))
    assert names(found, tmp_path) == {"open/x.py"}
    assert found.unreadable == {str(tmp_path / "closed"): "Permission denied"}


def test_a_root_that_is_not_there_is_noted(tmp_path: Path) -> None:
    app = tmp_path / "app"
    found = look(WatchRules(app))
    assert found.roots == {str(app): None}
    assert not found.roots_moved()
    write(app / "main.py")
    assert found.roots_moved()


def test_the_number_of_folders_has_a_bound_and_the_nearest_win(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "main.py")
    for number in range(5):
        write(tmp_path / f"p{number}" / "deep" / "x.py")
    monkeypatch.setattr(surveying, "FOLDERS_LIMIT", 6)
    found = look(WatchRules(tmp_path))
    assert found.is_cut
    assert len(found.folders) == 6
    assert names(found, tmp_path) == {"main.py"}


def test_a_stopped_survey_ends(tmp_path: Path) -> None:
    write(tmp_path / "main.py")
    assert not survey(WatchRules(tmp_path), lambda: True).stamps


def test_a_stamp_of_a_file_just_written_is_like_no_other(tmp_path: Path) -> None:
    path = write(tmp_path / "x.py")
    now = time.time()
    os.utime(path, (now, now))
    assert stamp_of(str(path)) != stamp_of(str(path))
    os.utime(path, (now - 60, now - 60))
    assert stamp_of(str(path)) == stamp_of(str(path))
    path.chmod(0o600)
    old = stamp_of(str(path))
    write(tmp_path / "new").replace(path)
    os.utime(path, (now - 60, now - 60))
    assert stamp_of(str(path)) != old


def test_folders_and_names_that_can_not_be_have_no_stamp(tmp_path: Path) -> None:
    assert stamp_of(str(tmp_path)) is None
    assert stamp_of(str(tmp_path / "gone")) is None
    assert stamp_of("a\0b") is None
