"""What Python does at the end of a process happens in each; signals to all of them are the supervisor's matter."""

import os
import signal
import time
from pathlib import Path
from threading import Thread
from typing import Any

import psutil
import pytest

from hsrv.common.errors import ExitCode
from hsrv.common.terms import Role
from tests.integration.conftest import Serve
from tests.integration.wire import Wire, eventually

APP = "tests.apps.endings:app"
POLICIES = pytest.mark.parametrize("preload", ["app", "none"])


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    (tmp_path / "temporary").mkdir()
    return tmp_path / "temporary" / "notes"


@POLICIES
def test_exit_functions_run_in_every_child_and_buffered_spans_are_written(
    serve: Serve, notes: Path, preload: str
) -> None:
    server = serve(APP, workers=1, preload=preload, env={"NOTES": str(notes)})
    pids = []
    for fields in ((), ("Accept: text/event-stream",)):
        with Wire(server.host, server.port) as wire:
            pids.append(wire.get("/span", *fields).json)
    assert len(set(pids)) == 2, "a worker and a pool"
    assert len(list(notes.parent.glob("made-*"))) == 2
    assert server.stop() == ExitCode.OK
    lines = notes.read_text().splitlines()
    for pid in pids:
        assert {f"imported {pid}", f"handler {pid}", f"span of-{pid}"} <= set(lines)
    assert list(notes.parent.iterdir()) == [notes], "every temporary directory is gone"


def test_a_temporary_directory_of_the_import_outlives_a_worker(serve: Serve, notes: Path) -> None:
    server = serve(APP, workers=2, preload="app", env={"NOTES": str(notes)})
    os.kill(server.pid, signal.SIGTTOU)
    eventually(lambda: len(server.children(Role.WORKER)) == 1, "one worker less")
    assert "imported" in notes.read_text()
    assert len(list(notes.parent.glob("imported-*"))) == 1


def test_exit_functions_have_the_time_of_the_lifespans_shutdown(serve: Serve, notes: Path) -> None:
    server = serve(
        APP, workers=1, preload="none", lifespan_shutdown_timeout=1, env={"NOTES": str(notes), "SLOW": "1"}
    )
    before = time.monotonic()
    assert server.stop() == ExitCode.OK
    assert time.monotonic() - before < 10
    assert server.wait_for_log(lambda entry: entry["event"] == "exit functions timed out")


@POLICIES
def test_a_signal_to_all_processes_leaves_requests_alone_whoever_has_taken_it(
    serve: Serve, notes: Path, preload: str
) -> None:
    server = serve(APP, workers=1, preload=preload, env={"NOTES": str(notes)})
    [worker] = server.children(Role.WORKER)
    answers: list[Any] = []

    def ask() -> None:
        with Wire(server.host, server.port) as wire:
            answers.append(wire.get("/wait"))

    asking = Thread(target=ask)
    asking.start()
    eventually(lambda: notes.exists() and "waiting" in notes.read_text(), "the request runs")
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(worker.pid, signum)
    asking.join()
    assert [answer.status for answer in answers] == [200]
    assert psutil.pid_exists(worker.pid)


def test_a_process_that_the_application_forks_can_be_terminated(serve: Serve, notes: Path) -> None:
    server = serve(APP, workers=1, env={"NOTES": str(notes)})
    with Wire(server.host, server.port) as wire:
        assert wire.get("/terminate").json == -signal.SIGTERM


def test_signals_that_whoever_started_us_had_blocked_are_heard(serve: Serve, notes: Path) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD})
    try:
        server = serve(APP, workers=1, env={"NOTES": str(notes)})
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    [worker] = server.children(Role.WORKER)
    blocked = next(
        line for line in Path(f"/proc/{worker.pid}/status").read_text().splitlines() if "SigBlk" in line
    )
    assert int(blocked.split()[1], 16) == 0
    assert server.stop() == ExitCode.OK
