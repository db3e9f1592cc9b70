"""No client's context variables reach another's request: whoever made room for it, and whatever the way it came."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from hsrv.testing import LiveServer
from tests.integration.conftest import Serve, is_busy_with, status_of
from tests.integration.wire import Wire, eventually, masked, request, upgrade

APP = "tests.apps.contexts:app"
ONE_PLACE = {"worker_concurrency": 1, "queue_timeout": 20, "graceful_timeout": 2}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "events"
    found.mkdir()
    return found


def told(folder: Path) -> list[dict[str, Any]]:
    """What the collectors found, in each process."""
    return [json.loads(line) for file in folder.iterdir() for line in file.read_text().splitlines()]


def own(name: str) -> dict[str, Any]:
    """What a request should see: itself, once it has begun."""
    return {"me": name, "before": [], "after": [name, name]}


def kept(server: LiveServer, stack: ExitStack, count: int) -> list[Wire]:
    """Connections after a request."""
    wires = [stack.enter_context(Wire(server.host, server.port)) for _ in range(count)]
    for wire in wires:
        wire.get("/who?kept")
    return wires


def waiting(server: LiveServer) -> int:
    """Requests that wait for a place."""
    processes = [one for generation in status_of(server).generations for one in generation.processes]
    return sum(process.report.waiting for process in processes if process.report)


def queued_behind(server: LiveServer, path: str, others: list[Wire], record: Path) -> list[Any]:
    """The answers to requests that wait until the one of `path`, which has the only place, waits for its client."""
    eventually(lambda: is_busy_with(server, path), "it has the place")
    for at, wire in enumerate(others):
        wire.send(request(f"/who?bob{at}"))
    eventually(lambda: waiting(server) == len(others), "they wait for it")
    record.touch()
    return [wire.response().json for wire in others]


@pytest.mark.parametrize("preload", ["app", "none"])
def test_a_request_finds_nothing_of_the_slow_reader_whose_place_it_gets(
    serve: Serve, record: Path, preload: str
) -> None:
    server = serve(APP, workers=1, preload=preload, **ONE_PLACE)
    with ExitStack() as stack:
        others = kept(server, stack, 4)
        (hog,) = kept(server, stack, 1)
        hog.send(request("/hold/big?ALICE"))
        assert queued_behind(server, "/hold/big", others, record) == [own(f"bob{at}") for at in range(4)]
        assert hog.response().json == own("ALICE")


def test_a_request_finds_nothing_of_the_slow_upload_whose_place_it_gets(serve: Serve, record: Path) -> None:
    server = serve(APP, workers=1, **ONE_PLACE)
    with ExitStack() as stack:
        others = kept(server, stack, 4)
        (hog,) = kept(server, stack, 1)
        hog.send(request("/hold/upload?ALICE", "Expect: 100-continue", "Content-Length: 4", method="POST"))
        assert queued_behind(server, "/hold/upload", others, record) == [own(f"bob{at}") for at in range(4)]
        assert hog.head().status == 100
        hog.send(b"abcd")
        assert hog.response().json == own("ALICE")


def test_pipelined_requests_find_nothing_of_each_other(common: Serve) -> None:
    server = common(APP, workers=1, **ONE_PLACE)
    with Wire(server.host, server.port) as wire:
        wire.send(b"".join(request(f"/who?{at}") for at in range(5)))
        assert [wire.response().json for _ in range(5)] == [own(str(at)) for at in range(5)]


def stream(wire: Wire, name: str) -> Any:
    wire.send(request(f"/sse?{name}", "Accept: text/event-stream"))
    assert wire.head().headers["content-type"] == "text/event-stream"
    return json.loads(wire.chunked().removeprefix(b"data: "))


def said(wire: Wire) -> Any:
    """What a WebSocket says next."""
    head = wire.exactly(2)
    size = head[1] if head[1] < 126 else int.from_bytes(wire.exactly(2), "big")
    return json.loads(wire.exactly(size))


def test_streams_and_websockets_on_a_connection_that_was_others_before_begin_empty(common: Serve) -> None:
    server = common(APP, workers=1, **ONE_PLACE)
    with Wire(server.host, server.port) as wire:
        for name in ("one", "two", "three"):
            assert stream(wire, name) == own(name)
            assert wire.get(f"/who?{name}").json == own(name)
        wire.send(upgrade("/ws?four"))
        assert wire.head().status == 101
        for _ in range(3):
            wire.send(masked(1, b"tell"))
            assert said(wire) == own("four")
        wire.send(masked(1, b"raise"))
    line = server.wait_for_log(lambda line: line["event"] == "application raised" and line["path"] == "/ws")
    assert "secret" not in line
    assert line["request_id"]


def test_no_collector_runs_in_the_context_of_a_client_but_at_the_start_of_its_request(
    serve: Serve, folder: Path
) -> None:
    server = serve(
        APP,
        workers=1,
        park_after=0.2,
        env={"EVENTS": str(folder)},
        collector=["tests.apps.contexts:Spy"],
        **ONE_PLACE,
    )
    with Wire(server.host, server.port) as wire:
        wire.send(b"".join(request(f"/who?{at}") for at in range(3)))
        assert [wire.response().json for _ in range(3)] == [own(str(at)) for at in range(3)]
        assert wire.get("/cut?A").status == 500
    with Wire(server.host, server.port) as wire:
        wire.get(
            "/who?B"
        )  # in a worker: a new connection can be accepted by the pool, and then nothing is handed off
        assert stream(wire, "B") == own("B")
        eventually(lambda: "ConnectionParked" in {row["event"] for row in told(folder)}, "it is parked")
        wire.send(upgrade("/ws?C"))
        wire.head()
        wire.send(masked(1, b"tell"))
        assert said(wire) == own("C")
    eventually(
        lambda: [row["event"] for row in told(folder)].count("ConnectionClosed") == 2, "both are closed"
    )
    rows = told(folder)
    assert [row for row in rows if row["found"]] == []
    assert {row["event"] for row in rows} >= {
        "ConnectionOpened",
        "RequestStarted",
        "ResponseStarted",
        "ResponseCompleted",
        "RequestFailed",
        "StreamOpened",
        "StreamClosed",
        "HandoffSent",
        "HandoffAdopted",
        "ConnectionParked",
        "ConnectionClosed",
    }
    assert [row for row in rows if row["as"] != row["request"]] == [], (
        "its log lines name the event's request"
    )


@pytest.mark.parametrize("last", ["/log", "/big"])
def test_what_a_process_says_of_itself_names_no_client(serve: Serve, last: str) -> None:
    """It wears out at the end of a response: within that client's send(), or when the last of it is written."""
    server = serve(APP, workers=1, worker_max_requests=3, worker_max_requests_jitter=0)
    with Wire(server.host, server.port) as wire:
        for at, path in enumerate(["/log", "/log", last]):
            assert wire.get(f"{path}?{at}").json == own(str(at))
        server.wait_for_log(lambda line: line["event"] == "recycling")
    assert server.stop() == 0
    named = [line for line in server.logs if "secret" in line]
    assert {line["event"] for line in named} == {"logged"}
    assert [(line["mine"], line["secret"]) for line in named] == [(str(at),) * 2 for at in range(len(named))]
