"""Lifespan in every process: state, leader, who begins when, and each way in which it may fail."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from hsrv.common.errors import ExitCode
from tests.apps.raw import recorded
from tests.integration.conftest import DEADLINE, ROOT, Serve, hsrv, pids, reload
from tests.integration.wire import eventually

TABLE = "tests.apps.lifespans:creates_a_table"


def test_startup_and_shutdown_run_in_every_process_with_one_leader(serve: Serve, record: Path) -> None:
    server = serve(workers=3)
    started = [line for line in recorded(record) if line.startswith("startup ")]
    assert {line.split()[1] for line in started} == {"worker-1", "worker-2", "worker-3", "pool-1"}
    assert sum("leader=True" in line for line in started) == 1
    server.stop()
    stopped = {line.split()[1] for line in recorded(record) if line.startswith("shutdown ")}
    assert stopped == {"worker-1", "worker-2", "worker-3", "pool-1"}


def test_state_reaches_requests_in_workers_and_pool(serve: Serve) -> None:
    server = serve(workers=1)
    for fields, role in (({}, "worker"), ({"accept": "text/event-stream"}, "pool")):
        state = httpx.get(f"{server.url}/scope", headers=fields).json()["state"]
        assert int(state["started_by"]) in pids(server, role)
        httpx.get(f"{server.url}/set-state", headers=fields)
        assert "mine" not in httpx.get(f"{server.url}/scope", headers=fields).json()["state"]


@pytest.mark.parametrize(
    ("app", "options", "said"),
    [
        ("raises", [], "the database said no"),
        ("hangs", ["--lifespan-startup-timeout", "0.2"], "lifespan"),
    ],
)
def test_a_failed_startup_is_exit_code_3_with_the_reason(app: str, options: list[str], said: str) -> None:
    done = hsrv("start", f"tests.apps.lifespans:{app}", "-b", "127.0.0.1:0", "-w", "2", *options)
    """What is said of each failure: tests/unit/app/test_lifespan.py."""
    assert done.returncode == ExitCode.APP, done.stderr
    assert said in done.stderr
    assert done.stderr.count('"event": "application could not be started"') == 1, (
        "told once, not by every process"
    )
    if app == "raises":
        assert "lifespans.py" in done.stderr


@pytest.mark.parametrize("preload", ["app", "libraries", "none"])
def test_the_leaders_startup_is_complete_before_the_others_begin(
    serve: Serve, record: Path, tmp_path: Path, preload: str
) -> None:
    """So what must be done once may stand in the lifespan, as in most applications: `create_all()` with SQLite."""
    database = tmp_path / "database"
    server = serve(TABLE, workers=3, preload=preload, env={"DATABASE": str(database)})
    [listening] = [entry for entry in server.logs if entry["event"] == "listening"]
    assert listening["preload"].startswith(preload)
    check_order(record, 1)
    database.unlink()
    reload(server)
    check_order(record, 2)
    for name in ("worker-1", "worker-2"):
        [pid] = pids(server, f"{name} g2")
        os.kill(pid, signal.SIGKILL)
    eventually(
        lambda: all(recorded(record).count(f"complete 2 {name}") == 2 for name in ("worker-1", "worker-2")),
        "a replacement waits for nobody",
    )
    server.stop()


def check_order(record: Path, generation: int) -> None:
    lines = [line for line in recorded(record) if line.split()[1] == str(generation)]
    assert lines[:2] == [f"begins {generation} worker-1", f"complete {generation} worker-1"]
    begun = {line.split()[2] for line in lines if line.startswith("begins")}
    assert begun == {"worker-1", "worker-2", "worker-3", "pool-1"}
    completed = next(at for at, line in enumerate(lines[2:], 2) if line.startswith("complete"))
    assert completed > 3, "the others run theirs at the same time"


def test_all_begin_at_once_where_the_leader_is_not_to_be_first(tmp_path: Path) -> None:
    done = hsrv(
        *("start", TABLE, "-b", "127.0.0.1:0", "-w", "3", "--no-leader-first"),
        env={"DATABASE": str(tmp_path / "database"), "RECORD": str(tmp_path / "record")},
    )
    assert done.returncode == ExitCode.APP
    assert "OperationalError: table items already exists" in done.stderr.splitlines()[-1], (
        "the reason comes last"
    )


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_who_waits_for_the_leader_ends_with_the_supervisor(tmp_path: Path, signum: int) -> None:
    with starting("tests.apps.lifespans:hangs", tmp_path) as process:
        family = psutil.Process(process.pid)
        everyone = eventually(
            lambda: len(found := family.children(recursive=True)) == 5 and found, "all processes are there"
        )
        process.send_signal(signum)
        assert process.wait(DEADLINE) in (ExitCode.OK, -signal.SIGKILL)
        assert not psutil.wait_procs(everyone, timeout=DEADLINE)[1]


@contextmanager
def starting(app: str, folder: Path) -> "Iterator[subprocess.Popen[bytes]]":
    """A server of which nobody waits for the start."""
    command = [sys.executable, "-m", "hsrv", "start", app, "-b", "127.0.0.1:0", "-w", "3"]
    with subprocess.Popen(
        [*command, "--run-dir", str(folder)], cwd=ROOT, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_shutdown_that_hangs_is_cut_and_reported(serve: Serve) -> None:
    server = serve("tests.apps.lifespans:hangs_at_shutdown", lifespan_shutdown_timeout=0.3)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(20) == ExitCode.OK
    server.wait_for_log(lambda entry: "shutdown" in entry["event"] and entry["level"] in ("error", "warning"))
