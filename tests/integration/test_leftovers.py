"""Processes that the application started: none stays behind when the process that started it has ended, however that
came, but what was started to outlive it."""

import os
import signal
import sys
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import psutil

from hsrv.common.errors import ExitCode
from hsrv.testing import LiveServer
from tests.integration.conftest import DEADLINE, ROOT, Serve, pids, reload
from tests.integration.wire import Wire, eventually

APP = "tests.apps.starting:app"
WAYS = (
    "process-fork",
    "process-spawn",
    "process-forkserver",
    "pool-fork",
    "pool-spawn",
    "manager",
    "subprocess",
)
FEW = ("process-fork", "pool-forkserver", "subprocess")


def start(server: LiveServer, *ways: str, stream: bool = False) -> set[int]:
    """The processes that a worker, or the pool, has started by now."""
    fields = ("Accept: text/event-stream",) if stream else ()
    with Wire(server.host, server.port) as wire:
        answers = [wire.get(f"/{way}", *fields) for way in ways]
    assert all(answer.status == 200 for answer in answers), [answer.body for answer in answers]
    return {pid for answer in answers for pid in answer.json["started"]}


def living(found: Iterable[int]) -> set[int]:
    return {pid for pid in found if psutil.pid_exists(pid) and not is_zombie(pid)}


def is_zombie(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def eventually_none(found: Iterable[int]) -> None:
    eventually(lambda: not living(found), f"all of {sorted(found)} have ended")


def test_a_stop_leaves_none_takes_no_longer_and_is_no_failure(serve: Serve) -> None:
    server = serve(APP, workers=1)
    started = start(server, *WAYS) | start(server, "process-fork", "pool-fork", stream=True)
    assert len(living(started)) > 10
    before = time.monotonic()
    assert server.stop() == ExitCode.OK
    assert time.monotonic() - before < 2
    eventually_none(started)
    # A thread of the executors may fail when their processes end: that is logged, and is no fault of the stop.
    failed = [entry for entry in server.logs if entry["level"] in ("warning", "error")]
    ours = [entry for entry in failed if entry["event"] != "thread failed"]
    assert not ours, [entry.get("exception", entry) for entry in ours]
    told = [entry for entry in server.logs if entry["event"] == "left behind, told to end"]
    assert all(len(entry["processes"]) <= 5 for entry in told)


def test_the_death_of_a_worker_leaves_none_and_those_of_others_go_on(serve: Serve) -> None:
    server = serve(APP, workers=1)
    of_pool = start(server, "process-fork", "subprocess", "background", stream=True)
    of_worker = start(server, *WAYS)
    with Wire(server.host, server.port) as wire:
        worker = wire.get("/").json["me"]
    time.sleep(1.1)  # the pool's orphan is known to be there before
    os.kill(worker, signal.SIGKILL)
    eventually_none(of_worker)
    server.wait_for_log(lambda entry: entry["event"] == "process died")
    assert living(of_pool) == of_pool
    names = [name for entry in server.logs if "left behind" in entry["event"] for name in entry["processes"]]
    assert any(name.startswith("hsrv: worker-1") for name in names), "a fork tells whose it was"
    assert server.stop() == ExitCode.OK
    eventually_none(of_pool)


def test_a_reload_leaves_none(serve: Serve) -> None:
    server = serve(APP, workers=1)
    started = start(server, *FEW)
    reload(server)
    eventually_none(started)


def test_a_save_leaves_none_whether_the_template_stays_or_not(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "saved.py").write_text("from tests.apps.starting import app\n")
    (tmp_path / "pyproject.toml").write_text("")
    server = serve("saved:app", cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, workers=1, reload=True)
    for generation, name in enumerate(("saved.py", "pyproject.toml"), 2):
        started = start(server, *FEW)
        assert living(started)
        with (tmp_path / name).open("a") as file:
            file.write("# changed\n")
        eventually(partial(pids, server, f"worker-1 g{generation}"), "the new code serves")
        eventually_none(started)


def test_what_left_our_session_is_left_alone_and_holds_up_nothing(serve: Serve) -> None:
    """Also where it has all descriptors of its worker, the control channel among them."""
    server = serve(APP, workers=1)
    outliving = start(server, "outlives", "leaves")
    assert len(outliving) == 2
    try:
        eventually(lambda: all(os.getsid(pid) == pid for pid in outliving), "each has a session of its own")
        before = time.monotonic()
        server.process.terminate()
        assert server.process.wait(DEADLINE) == ExitCode.OK
        assert time.monotonic() - before < 1.5
        assert living(outliving) == outliving
    finally:
        for pid in outliving:
            os.kill(pid, signal.SIGKILL)


def test_what_ignores_term_is_killed_and_named(serve: Serve) -> None:
    server = serve(APP, workers=1)
    started = start(server, "stubborn")
    assert server.stop() == ExitCode.OK
    eventually_none(started)
    [killed] = [entry for entry in server.logs if entry["event"] == "left behind, killed"]
    assert killed["level"] == "warning"
    assert killed["processes"] == [f"{Path(sys.executable).name} ({min(started)})"]
