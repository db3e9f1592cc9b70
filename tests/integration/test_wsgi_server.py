"""What the server does around a WSGI application: threads, streams, limits, faults, reloads."""

import json
import os
import signal
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from hsrv.testing import LiveServer
from tests.integration.conftest import DEADLINE, Serve, pids, reload
from tests.integration.test_healing import is_cut
from tests.integration.wire import Wire, eventually, request, upgrade

APP = "tests.apps.wsgi_serving:app"
EVENT_STREAM = "Accept: text/event-stream"


def wire_to(server: LiveServer) -> Wire:
    return Wire(server.host, server.port)


def lines(record: Path) -> list[str]:
    return record.read_text().splitlines() if record.exists() else []


def at_once(server: LiveServer, target: str, clients: int) -> list[Any]:
    """The answers to clients that ask at the same time."""
    with ExitStack() as stack:
        wires = [stack.enter_context(wire_to(server)) for _ in range(clients)]
        for wire in wires:
            wire.send(request(target))
        return [wire.response() for wire in wires]


# threads


def test_as_many_calls_run_at_a_time_as_there_are_threads(common: Serve) -> None:
    server = common(APP, threads=2)
    answers = at_once(server, "/meet", 6)
    assert [answer.status for answer in answers] == [200] * 6
    assert all(answer.json["thread"].startswith("hsrv-worker-") for answer in answers)
    assert len({answer.json["thread"] for answer in answers}) == 2, "threads are used again"


def test_without_threads_it_runs_in_the_main_thread(common: Serve) -> None:
    with wire_to(common(APP, stream_threads=2, stream_after=60)) as wire:
        assert wire.get("/").json["thread"] == "MainThread"
        assert wire.get("/", EVENT_STREAM).json["thread"].startswith("hsrv-pool-")


def test_a_stream_gives_its_thread_back_to_the_calls(common: Serve) -> None:
    server = common(APP, threads=2)
    with ExitStack() as stack:
        for number in range(3):
            stream = stack.enter_context(wire_to(server))
            stream.send(request(f"/ticks/lent/{number}"))
            assert stream.head().status == 200
            assert b"worker" in stream.chunk()
        assert [answer.status for answer in at_once(server, "/meet", 2)] == [200] * 2


# streams


def test_a_stream_that_nobody_announced_holds_no_worker_and_is_learned(
    common: Serve, common_record: Path
) -> None:
    server = common(APP, stream_threads=2, stream_after=60)
    path = "/ticks/unannounced"
    with wire_to(server) as stream, wire_to(server) as other:
        stream.send(request(path))
        assert stream.head().status == 200
        assert stream.chunk() == b"data: 0 worker\n\n"
        for _ in range(3):
            assert other.get("/").json["role"] == "worker"
        assert stream.chunk() == b"data: 1 worker\n\n"
        again = server.wait_for_log(lambda entry: entry["event"] == "stream in a worker")
        assert again["hint"] == f"--stream '{path}'"
        other.send(request(path + "?n=2"))
        assert other.response().body == b"data: 0 pool\n\ndata: 1 pool\n\n"
    eventually(lambda: lines(common_record).count(f"ended {path}") == 2, "both are closed")


def test_a_slow_generator_of_no_stream_goes_on_in_a_thread_after_stream_after(serve: Serve) -> None:
    server = serve(APP, stream_after=0.2)
    with wire_to(server) as stream, wire_to(server) as other:
        stream.send(request("/plain-ticks?s=0.15"))
        assert stream.head().status == 200
        for _ in range(3):
            stream.chunk()
        assert other.get("/").json["role"] == "worker"
        stream.chunk()


def test_when_no_stream_thread_becomes_free_the_pool_says_so(serve: Serve, record: Path) -> None:
    server = serve(APP, stream_threads=2, handoff_timeout=0.2)
    with ExitStack() as stack:
        for number in range(2):
            stream = stack.enter_context(wire_to(server))
            stream.send(request(f"/ticks/full/{number}", EVENT_STREAM))
            assert stream.head().status == 200
            assert stream.chunk() == b"data: 0 pool\n\n"
        with wire_to(server) as third:
            answer = third.get("/ticks/full/2", EVENT_STREAM)
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
            assert third.get("/").status == 200
        shed = server.wait_for_log(lambda entry: entry["event"] == "request shed")
        assert (shed["cause"], shed["path"]) == ("no_thread", "/ticks/full/2")
    with wire_to(server) as third:
        assert third.get("/", EVENT_STREAM).status == 200, "there is room again"
    assert "began /ticks/full/2" not in lines(record)


def test_one_that_waits_for_a_thread_is_closed_when_its_client_leaves(serve: Serve, record: Path) -> None:
    server = serve(APP, stream_threads=1)
    with wire_to(server) as first:
        first.send(request("/ticks/first"))
        assert first.head().status == 200
        assert first.chunk()
        with wire_to(server) as second:
            second.send(request("/ticks/second"))
            assert second.head().status == 200
            assert second.chunk() == b"data: 0 worker\n\n"
        eventually(lambda: "ended /ticks/second" in lines(record), "it is closed")
        assert "ended /ticks/first" not in lines(record)
    eventually(lambda: "ended /ticks/first" in lines(record), "it is closed")


@pytest.mark.parametrize("fields", [(), (EVENT_STREAM,)], ids=["worker", "pool"])
def test_a_stop_ends_streams_at_the_boundary_of_an_event(
    serve: Serve, record: Path, fields: tuple[str, ...]
) -> None:
    server = serve(APP, stream_grace=0.1)
    with wire_to(server) as stream:
        stream.send(request("/ticks/stopped", *fields))
        assert stream.head().status == 200
        assert stream.chunk()
        os.kill(server.pid, signal.SIGTERM)
        assert stream.chunked().endswith(b"\n\n"), "it ends as it should"
    assert server.process.wait(DEADLINE) == 0
    assert lines(record) == ["began /ticks/stopped", "ended /ticks/stopped"]


def test_an_upgrade_is_answered_as_a_request_like_any_other(common: Serve) -> None:
    with wire_to(common(APP, stream_threads=2, stream_after=60)) as wire:
        wire.send(upgrade("/"))
        answer = wire.response()
        assert (answer.status, answer.json["role"]) == (200, "pool")


@pytest.mark.parametrize("fields", [(), (EVENT_STREAM,)], ids=["worker", "pool"])
def test_no_event_loop_is_to_be_found(common: Serve, fields: tuple[str, ...]) -> None:
    """Where one is, Django refuses its database, and asyncio.run() refuses to run."""
    with wire_to(common(APP, stream_threads=2, stream_after=60)) as wire:
        for _ in range(2):
            assert wire.get("/loop", *fields).body == b"none, ran"
            wire.send(request("/loop", *fields, "Content-Length: 3", "Expect: 100-continue"))
            assert wire.head().status == 100
            wire.send(b"abc")
            assert wire.response().body == b"none, ran"


# what options put around the application


def test_server_timing_and_events(serve: Serve, tmp_path: Path) -> None:
    folder = tmp_path / "events"
    folder.mkdir()
    env = {"EVENTS": str(folder)}
    server = serve(APP, server_timing=True, collector=["tests.apps.observers:Writer"], env=env)
    with wire_to(server) as wire:
        assert "app;dur=" in wire.get("/").headers["server-timing"]
        wire.send(request("/ticks/told?n=2", EVENT_STREAM))
        assert "app;dur=" in wire.response().headers["server-timing"]

    def told() -> list[str]:
        rows = [json.loads(line) for file in folder.iterdir() for line in file.read_text().splitlines()]
        rows.sort(key=lambda row: row["clock"])
        return [row["type"] for row in rows if "request" in row]

    streamed = ["RequestStarted", "ResponseStarted", "StreamOpened", "StreamClosed", "ResponseCompleted"]
    eventually(lambda: told() == ["RequestStarted", "ResponseCompleted", *streamed], "all is told")


def test_pages_refresh_themselves_in_development(serve: Serve) -> None:
    server = serve(APP, reload=True, reload_browser=True, reload_exclude=["*"])
    with wire_to(server) as wire, wire_to(server) as browser:
        assert b"<script>" in wire.get("/page").body
        assert wire.get("/page", method="HEAD").status == 200
        browser.send(request("/__hsrv__/reload", EVENT_STREAM))
        assert browser.head().status == 200
        assert b"data: 1" in browser.chunk()
        listening = server.wait_for_log(lambda entry: entry["event"] == "listening")
        assert listening["interface"] == "wsgi"


# faults

QUICK = {"request_timeout": 0.6, "gil_timeout": 0.9, "hang_grace": 0.2}


@pytest.mark.parametrize("path", ["/block", "/lock", "/gil", "/block?late"])
def test_a_worker_that_hangs_is_explained_and_replaced(serve: Serve, path: str) -> None:
    server = serve(APP, **(QUICK | ({"request_timeout": 1.5} if path in ("/gil", "/block?late") else {})))
    with wire_to(server) as wire:
        if path == "/block?late":  # its call begins only in a later turn of the loop
            path = "/block"
            fields = ("X-Request-ID: the-culprit", "Content-Length: 3", "Expect: 100-continue")
            wire.send(request(path, *fields))
            assert wire.head().status == 100
            wire.send(b"abc")
        else:
            wire.send(request(path, "X-Request-ID: the-culprit"))
        hang = server.wait_for_log(lambda entry: entry["event"] == "process hangs", timeout=DEADLINE)
        assert (hang["path"], hang["method"], hang["request_id"]) == (path, "GET", "the-culprit")
        assert hang["kind"] == ("gil_held" if path == "/gil" else "loop_blocked")
        guilty = {"/block": "block", "/lock": "wait_for_lock", "/gil": "hold_the_gil"}[path]
        assert f"in {guilty}" in hang["stacks"]
        assert is_cut(wire)
    eventually(lambda: pids(server, "worker") - {hang["child"]}, "it is replaced")
    with wire_to(server) as wire:
        assert wire.get("/").status == 200


def test_a_call_that_hangs_in_a_thread_is_answered_and_its_worker_replaced_in_peace(serve: Serve) -> None:
    server = serve(APP, threads=2, graceful_timeout=1.0, **QUICK)
    with wire_to(server) as wire, wire_to(server) as other:
        wire.send(request("/lock"))
        assert wire.response().status == 504
        assert other.get("/").status == 200, "the other thread goes on"
        line = server.wait_for_log(lambda entry: entry["event"] == "a cancelled call goes on in its thread")
        assert "wait_for_lock" in line["stacks"]
        hang = server.wait_for_log(lambda entry: entry["event"] == "process hangs")
        assert (hang["kind"], hang["path"]) == ("call_stuck", "/lock")
        assert "in wait_for_lock" in hang["stacks"]
    eventually(lambda: pids(server, "worker") - {hang["child"]}, "it is replaced")


def test_a_kill_loses_only_what_ran(serve: Serve, record: Path) -> None:
    server = serve(APP, workers=2)
    with wire_to(server) as victim, wire_to(server) as stream:
        stream.send(request("/ticks/goes-on", EVENT_STREAM))
        assert stream.head().status == 200
        victim.send(request("/block"))
        ill = eventually(lambda: [pid for pid in pids(server, "worker") if _is_busy(server, pid)], "it runs")
        os.kill(ill[0], signal.SIGKILL)
        assert is_cut(victim)
        for number in range(10):
            with wire_to(server) as other:
                assert other.get(f"/count?key={number}").status == 200
        assert stream.chunk()
    assert [line for line in lines(record) if line.startswith("count")] == [f"count {n}" for n in range(10)]


def _is_busy(server: LiveServer, pid: int) -> bool:
    from tests.integration.conftest import status_of

    processes = [one for generation in status_of(server).generations for one in generation.processes]
    return any(one.pid == pid and not one.answers for one in processes)


# reloads


@pytest.mark.parametrize("options", [{}, {"threads": 4}], ids=["worker", "threads"])
def test_reloads_lose_nothing_and_run_each_request_once(
    serve: Serve, record: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    version = tmp_path / "version"
    version.write_text("1")
    server = serve(APP, workers=2, env={"VERSION_FILE": str(version)}, **options)
    problems: list[str] = []
    sent: list[str] = []
    stop = threading.Event()

    def client(name: int) -> None:
        try:
            with wire_to(server) as wire:
                seen = number = 0
                while not stop.is_set():
                    key = f"{name}-{number}"
                    sent.append(key)
                    answer = wire.get(f"/count?key={key}")
                    if answer.status != 200 or answer.json["version"] < seen:
                        problems.append(f"{answer.status} {answer.body!r}")
                    seen, number = answer.json["version"], number + 1
        except (OSError, EOFError) as error:
            problems.append(repr(error))

    threads = [threading.Thread(target=client, args=(name,)) for name in range(6)]
    for thread in threads:
        thread.start()
    try:
        for number in range(2, 4):
            version.write_text(str(number))
            reload(server, wait=True)
        before = len(sent)
        eventually(lambda: problems or len(sent) > before + 20, "all are served")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert problems == []
    counted = [line.removeprefix("count ") for line in lines(record) if line.startswith("count")]
    assert sorted(counted) == sorted(sent), "each once"
