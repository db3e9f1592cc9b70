"""Real files, real renames: what is told, how often and how soon."""

import os
import threading
import time
from pathlib import Path

import anyio
import pytest
from structlog.testing import capture_logs

from hsrv.develop.watchrules import WatchRules
from hsrv.supervisor.develop import watch as watching
from hsrv.supervisor.develop.survey import FRESH
from hsrv.supervisor.develop.watch import Watcher, watch
from tests.pipe import held_up
from tests.unit.supervisor.develop.watching import (
    DEADLINE,
    Changes,
    age,
    hears,
    in_thread,
    quiet,
    watched,
)

pytestmark = pytest.mark.anyio

# one save


async def test_a_save_is_told_soon(app: Path) -> None:
    late = []
    async with watched(WatchRules(app)) as (told, _):
        for number in range(10):
            (app / "main.py").write_text(f"{number}\n")
            saved = time.monotonic()
            await told.more_than(number)
            late.append(told.at[-1] - saved)
    assert told.calls == [{app / "main.py"}] * 10
    assert sorted(late)[5] < 0.1, late  # by itself 0.035 to 0.06; two cores are shared with other tests


async def test_an_atomic_rename_is_one_change_of_the_file_that_it_replaces(app: Path) -> None:
    async with watched(WatchRules(app)) as (told, _):
        for number in range(3):
            temporary = app / f"main.py.{number}.tmp"
            temporary.write_text(f"{number}\n")
            temporary.rename(app / "main.py")
            await told.more_than(number)
        await quiet(told)
    assert told.calls == [{app / "main.py"}] * 3


async def test_of_an_editor_that_moves_the_file_away_first_only_the_file_is_told(app: Path) -> None:
    """As vim does: try 4913, main.py to main.py~, write main.py anew, remove main.py~. One call, or two where this
    machine takes longer than BACK_SOON for it."""
    target, backup = app / "main.py", app / "main.py~"
    async with watched(WatchRules(app)) as (told, _):
        (app / "4913").touch()
        (app / "4913").unlink()
        target.rename(backup)
        await anyio.sleep(2 * watching.QUIET)  # the editor's time
        target.write_text("2\n")
        backup.unlink()
        await told.of(target)
        await quiet(told)
    assert set(map(frozenset, told.calls)) == {frozenset({target})}


async def test_a_file_that_is_written_in_parts_is_told_when_it_is_complete(app: Path) -> None:
    target, seen = app / "main.py", list[str]()

    def read(changed: frozenset[Path]) -> None:
        told(changed)
        seen.append(target.read_text())

    told = Changes()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch, WatchRules(app), read)
        await hears(WatchRules(app), told)
        seen.clear()
        with target.open("w") as file:
            file.flush()
            await anyio.sleep(2 * watching.QUIET)  # emptied, and nothing in it yet
            for part in range(20):
                file.write(f"{part}\n")
                file.flush()
                os.fsync(file.fileno())
        await told.of(target)
        await quiet(told)
        tasks.cancel_scope.cancel()
    assert seen[-1] == "".join(f"{part}\n" for part in range(20))
    assert len(seen) <= 2


async def test_200_saves_make_few_changes_and_the_last_is_among_them(app: Path) -> None:
    target, seen = app / "main.py", list[str]()
    told = Changes()

    def read(changed: frozenset[Path]) -> None:
        told(changed)
        seen.append(target.read_text())

    def save() -> None:
        for number in range(200):
            temporary = app / "main.py.tmp"
            temporary.write_text(f"save {number}\n")
            temporary.rename(target)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch, WatchRules(app), read)
        await hears(WatchRules(app), told)
        began = time.monotonic()
        await in_thread(save)
        took = time.monotonic() - began
        await told.until(lambda _: bool(seen) and seen[-1] == "save 199\n")
        await quiet(told)
        tasks.cancel_scope.cancel()
    assert len(told.calls) <= 2 + took / watching.QUIET / 2, took
    assert told.paths == {target}


async def test_writing_without_a_pause_is_told_meanwhile(app: Path) -> None:
    log, over = app / "main.py", threading.Event()

    def scribble() -> None:
        number = 0
        while not over.wait(0.002):
            number += 1
            log.write_text(f"{number}\n")

    async with watched(WatchRules(app)) as (told, _), anyio.create_task_group() as tasks:
        tasks.start_soon(in_thread, scribble)
        try:
            await told.more_than(1)
        finally:
            over.set()
    assert told.at[1] - told.at[0] < watching.LONGEST + 1.0


async def test_what_does_not_change_the_file_is_not_told(app: Path) -> None:
    async with watched(WatchRules(app)) as (told, _):
        (app / "main.py").chmod(0o600)
        (app / "main.py").read_text()
        (app / "data.sqlite3").write_text("x")
        (app / "pkg" / "__pycache__").mkdir()
        (app / "pkg" / "__pycache__" / "views.cpython-311.pyc").write_text("x")
        (app / "passing.py").touch()
        (app / "passing.py").unlink()
        (app / "pkg" / "views.py").write_text("2\n")
        await told.of(app / "pkg" / "views.py")
        await quiet(told)
    assert told.calls == [{app / "pkg" / "views.py"}]


async def test_a_file_that_goes_or_comes_is_a_change(app: Path) -> None:
    async with watched(WatchRules(app)) as (told, _):
        (app / "pkg" / "views.py").unlink()
        await told.of(app / "pkg" / "views.py")
        (app / "pkg" / "other.py").write_text("")
        await told.of(app / "pkg" / "other.py")


# folders


async def test_a_new_folder_is_watched_with_all_that_is_in_it(app: Path) -> None:
    async with watched(WatchRules(app)) as (told, _):
        new = app / "new" / "deep"
        new.mkdir(parents=True)
        (new / "one.py").write_text("1\n")
        await told.of(new / "one.py")
        (new / "two.py").write_text("1\n")
        await told.of(new / "two.py")


async def test_a_folder_that_is_replaced_is_watched_anew(app: Path) -> None:
    async with watched(WatchRules(app)) as (told, _):
        (app / "pkg").rename(app / "old")
        (app / "pkg").mkdir()
        (app / "pkg" / "views.py").write_text("2\n")
        await told.of(app / "pkg" / "views.py", app / "pkg" / "deep" / "models.py", app / "old" / "views.py")
        await quiet(told)
        told.calls.clear()
        (app / "pkg" / "views.py").write_text("34\n")
        await told.of(app / "pkg" / "views.py")


async def test_the_applications_folder_may_go_and_come_back(app: Path) -> None:
    async with watched(WatchRules(app)) as (told, _):
        with capture_logs() as lines:
            app.rename(app.with_name("away"))  # noqa: ASYNC240  # nothing else runs in this loop
            await told.of(app / "main.py")
        assert [line["event"] for line in lines] == ["watched folder is gone, waiting for it"]
        told.calls.clear()
        app.with_name("away").rename(app)
        await told.of(app / "main.py", app / "pkg" / "deep" / "models.py")
        await quiet(told)
        told.calls.clear()
        (app / "pkg" / "views.py").write_text("34\n")
        await told.of(app / "pkg" / "views.py")


async def test_a_move_of_the_folder_above_is_noticed(app: Path) -> None:
    """The system tells nothing of that: the watch is on the folder, wherever it is."""
    async with watched(WatchRules(app)) as (told, _):
        app.parent.rename(app.parent.with_name("elsewhere"))
        try:
            await told.of(app / "main.py")
        finally:
            app.parent.with_name("elsewhere").rename(app.parent)


async def test_a_symbolic_link_to_another_release_is_a_change(app: Path, tmp_path: Path) -> None:
    current, other = tmp_path / "current", tmp_path / "other"
    current.symlink_to(app)
    other.mkdir()
    (other / "main.py").write_text("other\n")
    async with watched(WatchRules(current)) as (told, _):
        (tmp_path / "next").symlink_to(other)
        (tmp_path / "next").rename(current)
        await told.of(current / "main.py", current / "pkg" / "views.py")
        await quiet(told)
        told.calls.clear()
        (other / "main.py").write_text("other again\n")
        await told.of(current / "main.py")


async def test_environments_and_ignored_folders_are_not_even_watched(app: Path) -> None:
    for folder in ("env/lib", "build/lib", "node_modules/x", ".git/objects"):
        (app / folder).mkdir(parents=True)
    (app / "env" / "pyvenv.cfg").touch()
    (app / ".git").mkdir(exist_ok=True)
    (app / ".gitignore").write_text("build/\n")
    async with watched(WatchRules(app)) as (told, watcher):
        assert set(watcher._found.folders) == {str(app / name) for name in ("", "pkg", "pkg/deep")}
        for folder in ("env/lib", "build/lib", "node_modules/x", ".git/objects"):
            (app / folder / "x.py").touch()
        (app / ".gitignore").write_text("env/\n")
        await told.of(app / "build" / "lib" / "x.py")
        await quiet(told)
    assert told.paths == {app / "build" / "lib" / "x.py"}


async def test_new_rules_hold_at_once_and_what_they_add_is_taken_as_it_is(app: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "tools.py").write_text("1\n")
    (shared / "other.py").write_text("1\n")
    age(shared / "tools.py")
    age(shared / "other.py")
    async with watched(WatchRules(app)) as (told, watcher):
        watcher.change_rules(WatchRules(app, packages=(shared,)))
        with anyio.fail_after(DEADLINE):
            while str(shared) not in watcher._found.folders:  # noqa: ASYNC110  # it tells nobody
                await anyio.sleep(0.005)
        assert not told.calls
        (shared / "tools.py").write_text("2\n")
        await told.of(shared / "tools.py")
    assert told.paths == {shared / "tools.py"}


@pytest.mark.parametrize("polling", ["false", "true"])
async def test_what_has_changed_since_it_may_have_been_imported_is_told(
    app: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, polling: str
) -> None:
    monkeypatch.setenv("WATCHFILES_FORCE_POLLING", polling)
    shared, told = tmp_path / "shared", Changes()
    shared.mkdir()
    await anyio.sleep(2 * FRESH)  # what is there was there before
    began = time.time()
    for file in (app / "main.py", shared / "tools.py"):
        draft = file.with_suffix(".tmp")
        draft.write_text("2\n")
        age(draft)
        draft.rename(file)
    watcher = Watcher(WatchRules(app), told, began)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watcher.run)
        await told.of(app / "main.py")
        watcher.change_rules(WatchRules(app, packages=(shared,)), began)
        await told.of(shared / "tools.py")
        tasks.cancel_scope.cancel()
    assert told.calls == [{app / "main.py"}, {shared / "tools.py"}]


async def test_what_comes_while_new_rules_are_taken_is_told(app: Path, tmp_path: Path) -> None:
    """And rules that come meanwhile hold too."""
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        (folder / "tools.py").write_text("1\n")
    async with watched(WatchRules(app)) as (told, watcher):
        with held_up(app / "pkg" / ".gitignore") as is_read:
            watcher.change_rules(WatchRules(app, packages=(first,)))
            with anyio.fail_after(DEADLINE):
                while not is_read():  # noqa: ASYNC110  # it tells nobody
                    await anyio.sleep(0.005)
            (app / "new.py").write_text("1\n")  # its folder has been looked at
            age(app / "new.py")
            watcher.change_rules(WatchRules(app, packages=(first, second)))
        await told.of(app / "new.py")
        with anyio.fail_after(DEADLINE):
            while str(second) not in watcher._found.folders:  # noqa: ASYNC110  # it tells nobody
                await anyio.sleep(0.005)


async def test_a_file_of_its_own_is_watched_also_before_it_exists(app: Path, tmp_path: Path) -> None:
    env = tmp_path / "settings" / "dev.env"
    env.parent.mkdir()
    async with watched(WatchRules(app, files=(env,))) as (told, _):
        (env.parent / "beside.py").write_text("1\n")
        env.write_text("A=1\n")
        await told.of(env)
        env.write_text("A=2\nB=3\n")
        await told.more_than(1)
    assert told.paths == {env}


async def test_installing_a_library_is_one_change(app: Path, tmp_path: Path) -> None:
    installed = tmp_path / "env" / "site-packages"
    installed.mkdir(parents=True)

    def install() -> None:
        for number in range(30):
            (installed / "lib").mkdir(exist_ok=True)
            (installed / "lib" / f"{number}.py").write_text("1\n")
            time.sleep(0.005)
        (installed / "lib-1.dist-info").mkdir()
        (installed / "lib-1.dist-info" / "RECORD").write_text("lib\n")

    async with watched(WatchRules(app, libraries=(installed, installed / "lib"))) as (told, _):
        await in_thread(install)
        await told.of(installed / "lib-1.dist-info" / "RECORD")
        await quiet(told)
    assert len(told.calls) == 1
