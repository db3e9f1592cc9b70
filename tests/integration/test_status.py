"""`hsrv status`: processes, listeners, streams, and what a drain waits for."""

import json
import signal
import subprocess
import sys

import msgspec

from hsrv.rpc import operator
from tests.integration.conftest import DEADLINE, Serve, hsrv, is_busy_with, is_stuck, operate, reload
from tests.integration.conftest import status_of as status
from tests.integration.wire import Wire, eventually, masked, request, upgrade

EVENT_STREAM = "Accept: text/event-stream"


def test_status_shows_processes_listeners_and_streams(common: Serve) -> None:
    server = common(workers=2)
    with Wire(server.host, server.port) as stream:
        stream.send(request("/sse", EVENT_STREAM))
        stream.until(b"\n\n")
        done = operate(server, "status", "--json")
        assert done.returncode == 0, done.stderr
        found = msgspec.json.decode(done.stdout, type=operator.ServerStatus)
        [generation] = found.generations
        assert (found.pid, found.ready, found.phase, found.workers) == (server.pid, True, "running", 2)
        assert [one.url for one in found.listeners] == [server.url]
        assert {one.name: one.pid for one in generation.processes} == {
            f"{child.role}-{child.slot}": child.pid for child in server.children() if child.role != "template"
        }
        pool = generation.processes[0]
        assert pool.report is not None
        assert [(path, one.count) for path, one in pool.report.streams.items()] == [("/sse", 1)]
        assert [(one.kind, one.path, one.method) for one in pool.report.oldest] == [("stream", "/sse", "GET")]
        assert pool.report.handoffs_received == 1
        assert all(one.rss and one.state == "serving" and one.answers for one in generation.processes)
        text = operate(server, "status").stdout
        for word in ("worker-1", "worker-2", "pool-1", "/sse", server.url, "serving", "ready"):
            assert word in text


def test_status_tells_what_a_worker_is_at_and_that_a_busy_one_does_not_answer(serve: Serve) -> None:
    server = serve(workers=2)
    with Wire(server.host, server.port) as waiting, Wire(server.host, server.port) as busy:
        waiting.send(request("/sleep?s=20"))
        eventually(lambda: is_busy_with(server, "/sleep"), "the request is known")
        assert "GET /sleep for" in operate(server, "status").stdout
        busy.send(request("/spin"))
        eventually(lambda: is_stuck(server), "it is busy")
        assert "no answer" in operate(server, "status").stdout
        [silent] = [one for one in status(server).generations[0].processes if not one.answers]
        assert silent.role == "worker"
        assert silent.report is None
    server.process.send_signal(signal.SIGQUIT)


def test_status_why_names_what_a_drain_waits_for(serve: Serve) -> None:
    server = serve(workers=1, stream_grace=30)
    with Wire(server.host, server.port) as stream:
        stream.send(request("/sse", EVENT_STREAM))
        stream.until(b"\n\n")
        assert "nothing drains" in operate(server, "status", "--why").stdout
        reload(server)
        why = operate(server, "status", "--why").stdout
        assert "pool-1 of generation 1" in why
        assert "stream GET /sse for" in why
        assert "from 127.0.0.1:" in why


def test_status_ready_is_an_exit_code(common: Serve) -> None:
    server = common(workers=2)
    assert operate(server, "drain").stdout == "not ready: drained by the operator\n"
    done = hsrv("status", "--ready", env={"HSRV_RUN_DIR": server.run_dir})
    assert done.returncode == 1
    assert "drained by the operator" in done.stderr
    with Wire(server.host, server.port) as wire:
        assert wire.get("/").status == 200, "only readiness is gone"
    assert operate(server, "undrain").stdout == "ready\n"
    assert operate(server, "status", "--ready").returncode == 0


def test_status_watch_goes_on_until_it_is_stopped(common: Serve) -> None:
    server = common(workers=2)
    command = [sys.executable, "-m", "hsrv", "status", "--watch", "--json", "--run-dir", server.run_dir]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watch:
        assert watch.stdout is not None
        uptimes = [json.loads(watch.stdout.readline())["uptime"] for _ in range(2)]
        assert uptimes == sorted(set(uptimes))
        watch.send_signal(signal.SIGINT)
        assert "Traceback" not in watch.communicate(timeout=DEADLINE)[1]


def test_an_answer_that_fits_no_line_is_cut_and_not_lost(common: Serve) -> None:
    server = common(workers=2, pools=2)
    wires = [Wire(server.host, server.port) for _ in range(120)]
    try:
        for number, wire in enumerate(wires):
            wire.send(request(f"/sse/{'x' * 7500}?key={number}", EVENT_STREAM))
        for wire in wires:
            wire.until(b"\n\n")
        found = status(server)
        assert (
            sum(one.report.running for one in found.generations[0].processes if one.report is not None) == 120
        )
        assert operate(server, "stacks").returncode == 0
    finally:
        for wire in wires:
            wire.sock.close()


def test_paths_that_clients_make_up_cost_the_supervisor_nothing(common: Serve) -> None:
    server = common(workers=2, pools=2)
    for number in range(150):
        with Wire(server.host, server.port) as wire:
            wire.send(request(f"/sse/{number}/{'y' * 7000}", EVENT_STREAM))
            wire.until(b"\n\n")
        with Wire(server.host, server.port) as wire:
            wire.send(request(f"/sse/{number}/short", EVENT_STREAM))
            wire.until(b"\n\n")
    assert operate(server, "status", "--answer-timeout", "2").returncode == 0
    reload(server)


def test_an_accepted_websocket_is_no_request_and_a_refused_one_is(serve: Serve) -> None:
    server = serve(workers=1)
    with Wire(server.host, server.port) as wire:
        wire.send(upgrade("/ws") + masked(1, b"close"))
        wire.rest()
    with Wire(server.host, server.port) as wire:
        wire.send(upgrade("/deny"))
        assert wire.response().status == 401

    def answered() -> dict[str, int]:
        return {kind: count for kind, count in status(server).totals["pool"].requests.items() if count}

    eventually(answered, "the second is counted, and ended after the first")
    assert answered() == {"4xx": 1}
