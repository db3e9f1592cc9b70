"""Lifecycle events of the real server: who is told, where, and what a bad collector costs."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hsrv.common.errors import ExitCode
from hsrv.testing import LiveServer
from tests.integration import paths
from tests.integration.conftest import ROOT, Serve, hsrv, reload
from tests.integration.wire import Wire, eventually, masked, request, upgrade

APP = "tests.apps.observers:app"
WRITER = "tests.apps.observers:Writer"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "events"
    found.mkdir()
    return found


def told(folder: Path, role: str = "") -> list[dict[str, Any]]:
    """All events of the processes of a role, in order."""
    rows = [json.loads(line) for file in folder.glob(f"{role}*-*") for line in file.read_text().splitlines()]
    return sorted(rows, key=lambda row: row["clock"])


def names(folder: Path, role: str = "") -> list[str]:
    return [row["type"] for row in told(folder, role)]


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LiveServer, Path]]:
    """For tests that look at one connection."""
    folder = tmp_path_factory.mktemp("observed")
    env = {"EVENTS": str(folder), "RECORD": ""}
    with LiveServer(APP, cwd=ROOT, env=env, workers=1, collector=[WRITER], park_after=0.2) as server:
        yield server, folder


def since(before: list[dict[str, Any]], folder: Path, role: str = "") -> list[dict[str, Any]]:
    return [row for row in told(folder, role) if row not in before]


def was_told(before: list[dict[str, Any]], folder: Path, name: str) -> bool:
    return name in [row["type"] for row in since(before, folder)]


def test_one_connection_through_all_processes(observed: tuple[LiveServer, Path]) -> None:
    server, folder = observed
    before = told(folder)
    with Wire(server.host, server.port) as wire:
        wire.get("/", "User-Agent: test/1", "X-Request-Id: mine")
        wire.get("/sse?n=2", "Accept: text/event-stream")
        eventually(lambda: was_told(before, folder, "ConnectionParked"), "it is parked")
        wire.get("/")
    eventually(lambda: was_told(before, folder, "ConnectionClosed"), "it is closed")
    rows = since(before, folder)
    assert len({row["connection"] for row in rows}) == 1, "one name in all processes"
    assert [(row["source"]["role"], row["type"], row.get("kind", "")) for row in rows] == [
        ("worker", "ConnectionOpened", ""),
        ("worker", "RequestStarted", "http"),
        ("worker", "ResponseCompleted", ""),
        ("worker", "HandoffSent", "request"),
        ("pool", "HandoffAdopted", "request"),
        ("pool", "RequestStarted", "http"),
        ("pool", "ResponseStarted", ""),
        ("pool", "StreamOpened", "event-stream"),
        ("pool", "StreamClosed", "event-stream"),
        ("pool", "ResponseCompleted", ""),
        ("pool", "ConnectionParked", ""),
        ("pool", "HandoffSent", "adopt"),
        ("worker", "HandoffAdopted", "adopt"),
        ("worker", "RequestStarted", "http"),
        ("worker", "ResponseCompleted", ""),
        ("worker", "ConnectionClosed", ""),
    ]
    assert rows[1]["request"] == rows[2]["request"] == "mine"
    assert rows[1]["user_agent"] == "test/1"
    assert rows[5]["waited"] > 0
    assert rows[-1]["requests"] == 3


def test_a_websocket_is_a_stream_with_a_close_code(observed: tuple[LiveServer, Path]) -> None:
    server, folder = observed
    before = told(folder)
    with Wire(server.host, server.port) as wire:
        wire.send(upgrade("/ws"))
        assert wire.head().status == 101
        wire.send(masked(1, b"close"))
        wire.exactly(9)
    eventually(lambda: was_told(before, folder, "ConnectionClosed"), "it is closed")
    rows = since(before, folder, "pool")
    assert [row["type"] for row in rows] == [
        "HandoffAdopted",
        "RequestStarted",
        "StreamOpened",
        "StreamClosed",
        "ResponseCompleted",
        "ConnectionClosed",
    ]
    assert [row.get("kind") for row in rows[:4]] == ["websocket"] * 4
    assert (rows[3]["code"], rows[4]["status"]) == (4001, 101)


def test_the_supervisor_tells_of_processes_and_reloads(serve: Serve, folder: Path) -> None:
    server = serve(APP, env={"EVENTS": str(folder)}, supervisor_collector=[WRITER])
    start = ["WorkerStarted"] * 2 + ["WorkerReady"] * 2 + ["GenerationServes"]
    eventually(lambda: names(folder) == start, "it serves")
    (worker,) = server.children("worker")
    os.kill(worker.pid, signal.SIGKILL)
    eventually(lambda: names(folder).count("WorkerReady") == 3, "another one is ready")
    died = next(row for row in told(folder) if row["type"] == "WorkerDied")
    assert died["process"] == {"role": "worker", "slot": 1, "generation": 1, "pid": worker.pid}
    assert "SIGKILL" in died["reason"]
    reload(server, wait=True)
    eventually(lambda: names(folder).count("WorkerEnded") == 2, "the old ones have ended")
    assert server.stop() == 0
    rows = told(folder)
    reloads = [row for row in rows if row["type"].startswith("Reload")]
    assert [(row["type"], row.get("error")) for row in reloads] == [
        ("ReloadStarted", None),
        ("ReloadFinished", ""),
    ]
    assert len({row["reload"] for row in reloads}) == 1
    kinds = [row["type"] for row in rows]
    assert kinds.count("WorkerStarted") == kinds.count("WorkerDied") + kinds.count("WorkerEnded") == 5
    assert {row["source"]["role"] for row in rows} == {"supervisor"}


FAULTS = (
    ("raise ValueError('broken by hand')", "broken by hand"),
    ("import os; os._exit(3)", "exited with code 3 while starting"),
)


def test_a_reload_that_fails_says_why(serve: Serve, folder: Path, tmp_path: Path) -> None:
    module = tmp_path / "breaking.py"
    module.write_text("from tests.apps.raw import app\n")
    env = {"EVENTS": str(folder), "PYTHONPATH": str(Path.cwd())}
    options = {"app_dir": str(tmp_path), "env": env, "preload": "none"}
    server = serve("breaking:app", **options, supervisor_collector=[WRITER])
    for times, (code, why) in enumerate(FAULTS, start=1):
        module.write_text(f"{code}\n")
        os.kill(server.pid, signal.SIGHUP)
        eventually(lambda: names(folder).count("ReloadFinished") == times, "it is over")  # noqa: B023  # called at once
        *_, finished = [row for row in told(folder) if row["type"] == "ReloadFinished"]
        assert why in finished["error"]
    assert server.stop() == 0
    kinds = names(folder)
    assert kinds.count("WorkerStarted") == kinds.count("WorkerDied") + kinds.count("WorkerEnded") >= 4


def test_the_application_subscribes_for_some_of_its_processes(serve: Serve) -> None:
    server = serve(APP, env={"SUBSCRIBE": "1"})
    with Wire(server.host, server.port) as wire:
        in_worker = wire.get("/seen").json["seen"]
        assert len(in_worker) > 8, (
            "the name of the connection, left in the request's context by the collector"
        )
        assert wire.get("/seen", "Accept: text/event-stream").json["seen"] == "nothing", "not in the pool"
        assert wire.get("/seen").json["seen"] == in_worker


def test_a_collector_that_raises_costs_a_line_per_kind_and_one_that_does_not_close_holds_up_no_end(
    serve: Serve,
) -> None:
    collectors = ["tests.apps.observers:raiser", "tests.apps.observers:sleeper"]
    server = serve(APP, collector=collectors, lifespan_shutdown_timeout=1)
    for _ in range(3):
        with Wire(server.host, server.port) as wire:
            assert wire.get("/").status == 200
            assert wire.get("/sse?n=2", "Accept: text/event-stream").status == 200
    assert server.stop() == ExitCode.OK, "nothing had to be killed"
    assert sum(entry["event"] == "collector not closed in time" for entry in server.logs) == 2
    raised = [entry for entry in server.logs if entry["event"] == "collector raised"]
    assert all("a fault of the collector" in entry["exception"] for entry in raised)
    told = [(entry["role"], entry["at"]) for entry in raised]
    assert len(told) == len(set(told))
    assert ("worker", "RequestStarted") in told
    assert ("pool", "StreamOpened") in told


def test_collectors_that_cannot_be_had_are_errors_of_the_start() -> None:
    here = ("--bind", "127.0.0.1:0")
    failed = hsrv("start", APP, *here, "--collector", "tests.apps.observers:unwilling")
    assert failed.returncode == ExitCode.APP
    assert "a fault of the factory" in failed.stderr
    failed = hsrv("start", APP, *here, "--supervisor-collector", "no_such_module:make")
    assert failed.returncode == ExitCode.USAGE
    assert "--supervisor-collector: collector no_such_module:make" in failed.stderr


def test_spans_are_exported_at_the_end_by_threads_of_the_children(serve: Serve, folder: Path) -> None:
    server = serve(APP, env={"EVENTS": str(folder)}, collector=["tests.apps.observers:otel"], preload="app")
    assert not [entry for entry in server.logs if entry["event"] == "preload given up"]
    parent = "b7ad6b7169203331"
    trace = "0af7651916cd43dd8448eb211c80319c"
    with Wire(server.host, server.port) as wire:
        wire.get("/span", f"traceparent: 00-{trace}-{parent}-01")
        wire.get("/sse?n=2", "Accept: text/event-stream", f"traceparent: 00-{trace}-{parent}-01")
    assert server.stop() == 0
    spans = [json.loads(line) for file in folder.glob("spans-*") for line in file.read_text().splitlines()]
    assert {span["trace"] for span in spans} == {trace}
    inside = next(span for span in spans if span["name"] == "inside")
    outer = [span for span in spans if span["name"] == "GET"]
    assert [span["parent"] for span in outer] == [parent] * 2, "one of the worker's, one of the pool's"
    assert inside["parent"] in {span["id"] for span in outer}


def test_server_timing_counts_the_way_to_the_pool(serve: Serve) -> None:
    server: LiveServer = serve(APP, server_timing=True)
    with Wire(server.host, server.port) as wire:
        for fields in ((), ("Accept: text/event-stream",)):
            value = wire.get("/sleep?s=0.1", *fields).headers["server-timing"]
            queue, app = (float(part.partition("dur=")[2]) for part in value.split(", "))
            assert queue > 0
            assert 90 <= app < 10_000, "but for the grain of timers"
        wire.send(request("/timed"))
        head = wire.until(b"\r\n\r\n").decode()
        assert "server-timing: cache, queue;dur=" in head


def test_who_is_turned_away_is_told_of_too(serve: Serve, folder: Path) -> None:
    server = serve(APP, env={"EVENTS": str(folder)}, collector=[WRITER], limit_connections=2, limit_streams=1)
    with Wire(server.host, server.port) as stream, Wire(server.host, server.port) as other:
        stream.send(request("/sse", "Accept: text/event-stream"))
        stream.head()
        with Wire(server.host, server.port) as third:
            assert third.response().status == 503
        other.send(request("/sse", "Accept: text/event-stream"))
        assert other.response().status == 503
    eventually(lambda: names(folder).count("ConnectionClosed") == 3, "all are closed")
    problems, steps = paths.check(told(folder), set())
    assert problems == []
    assert steps["idle", "RequestRefused"] == steps["handed over", "RequestRefused"] == 1
