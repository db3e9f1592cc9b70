"""Lifespan in every process: state, leader, and each way in which it may fail."""

import signal
from pathlib import Path

import httpx
import pytest

from hsrv.common.errors import ExitCode
from tests.apps.raw import recorded
from tests.integration.conftest import Serve, hsrv, pids


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


@pytest.mark.parametrize("app", ["unsupported", "returns"])
def test_auto_serves_an_application_without_lifespan(serve: Serve, app: str) -> None:
    server = serve(f"tests.apps.lifespans:{app}")
    assert httpx.get(server.url).text == "ok"


@pytest.mark.parametrize(
    ("app", "options", "said"),
    [
        ("unsupported", ["--lifespan", "on"], "lifespan"),
        ("failed", [], "no database at db.example:5432"),
        ("raises", [], "the database said no"),
        ("hangs", ["--lifespan-startup-timeout", "0.5"], "lifespan"),
        ("exits", [], "7"),
    ],
)
def test_a_failed_startup_is_exit_code_3_with_the_reason(app: str, options: list[str], said: str) -> None:
    done = hsrv("start", f"tests.apps.lifespans:{app}", "-b", "127.0.0.1:0", "-w", "2", *options)
    assert done.returncode == ExitCode.APP, done.stderr
    assert said in done.stderr
    assert done.stderr.count("application could not be started") == 1, "told once, not by every process"
    if app == "raises":
        assert "lifespans.py" in done.stderr


def test_off_never_calls_the_application(serve: Serve) -> None:
    server = serve("tests.apps.lifespans:raises", lifespan="off")
    assert httpx.get(server.url).text == "ok"


def test_a_shutdown_that_hangs_is_cut_and_reported(serve: Serve) -> None:
    server = serve("tests.apps.lifespans:hangs_at_shutdown", lifespan_shutdown_timeout=0.3)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(20) == ExitCode.OK
    server.wait_for_log(lambda entry: "shutdown" in entry["event"] and entry["level"] in ("error", "warning"))
