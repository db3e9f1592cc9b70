"""A watcher where the system can't notify, and at its end."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs
from watchfiles._rust_notify import WatchfilesRustInternalError

from hsrv.develop.watchrules import WatchRules
from hsrv.supervisor.develop import watch as watching
from hsrv.supervisor.develop.watch import watch
from tests.unit.supervisor.develop.watching import (
    DEADLINE,
    Changes,
    notify_threads,
    watched,
)

pytestmark = pytest.mark.anyio

# where the system can't


def refusing(error: Exception) -> Callable[..., Any]:
    def notify(*args: Any) -> Any:
        raise error

    return notify


@pytest.mark.parametrize(
    "error",
    [
        OSError('OS file watch limit reached. about ["/x"] (Error { kind: MaxFilesWatch, paths: ["/x"] })'),
        OSError(28, "No space left on device"),
        PermissionError(13, "Permission denied"),
        WatchfilesRustInternalError("Error creating recommended watcher: Too many open files (os error 24)"),
    ],
    ids=["watches", "space", "permission", "instances"],
)
async def test_what_the_system_refuses_is_said_once_and_polled(
    app: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(watching, "RustNotify", refusing(error))
    with capture_logs() as lines:
        async with watched(WatchRules(app), native=False) as (told, _):
            (app / "main.py").write_text("2\n")
            await told.of(app / "main.py")
            (app / "main.py").write_text("3\n")  # within the same second, of the same size
            await told.more_than(1)
            (app / "late").mkdir()
            (app / "late" / "x.py").write_text("1\n")
            await told.of(app / "late" / "x.py")
    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("watching files by polling", "warning")
    ]
    assert "about" not in lines[0]["why"]


async def test_a_watch_that_fails_later_goes_on_by_polling(
    app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing:
        def __enter__(self) -> "Failing":
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def watch(self, *args: Any) -> Any:
            raise WatchfilesRustInternalError("the queue is broken")

    monkeypatch.setattr(watching, "RustNotify", lambda *args: Failing())
    with capture_logs() as lines:
        async with watched(WatchRules(app), native=False) as (told, _):
            (app / "main.py").write_text("2\n")
            await told.of(app / "main.py")
    assert [line["why"] for line in lines] == ["the queue is broken"]


async def test_folders_that_are_never_there_when_they_are_to_be_watched_are_polled(
    app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "RustNotify", refusing(FileNotFoundError("gone")))
    with capture_logs() as lines:
        async with watched(WatchRules(app), native=False) as (told, _):
            (app / "main.py").write_text("2\n")
            await told.of(app / "main.py")
    assert [line["event"] for line in lines] == ["watching files by polling"]


async def test_polling_can_be_asked_for(app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHFILES_FORCE_POLLING", "true")
    with capture_logs():
        async with watched(WatchRules(app), native=False) as (told, _):
            (app / "main.py").write_text("2\n")
            await told.of(app / "main.py")


# the end


@pytest.mark.parametrize("polling", ["false", "true"])
async def test_cancellation_ends_it_at_once_and_leaves_no_thread_waiting(
    app: Path, monkeypatch: pytest.MonkeyPatch, polling: str
) -> None:
    monkeypatch.setenv("WATCHFILES_FORCE_POLLING", polling)
    took = []
    for _ in range(5):
        async with anyio.create_task_group() as tasks:
            with capture_logs():
                tasks.start_soon(watch, WatchRules(app), Changes())
                await anyio.sleep(0.05)  # somewhere in the middle
            began = time.monotonic()
            tasks.cancel_scope.cancel()
        took.append(time.monotonic() - began)
    assert sorted(took)[2] < 0.1, took
    assert max(took) < 0.5, took  # far from IDLE
    with anyio.fail_after(DEADLINE):
        while notify_threads():  # noqa: ASYNC110  # the system's own end of a thread
            await anyio.sleep(0.005)


def test_once_the_loop_has_ended_all_threads_have(app: Path) -> None:
    before = set(threading.enumerate())

    async def story() -> None:
        with anyio.move_on_after(0.2):
            await watch(WatchRules(app), Changes())

    anyio.run(story)
    deadline = time.monotonic() + DEADLINE
    while set(threading.enumerate()) - before or notify_threads():
        assert time.monotonic() < deadline
        time.sleep(0.005)


async def test_it_may_be_cancelled_before_it_has_begun(app: Path) -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await watch(WatchRules(app), Changes())
    assert scope.cancelled_caught
    assert not notify_threads()
