"""kill -9 of every kind of process under load: what must survive does, replacements come, nothing is left."""

import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest
from websockets.sync.client import connect

from hsrv.testing import LiveServer
from tests.apps.raw import recorded
from tests.integration.conftest import Serve, pids
from tests.integration.test_admin import samples, total
from tests.integration.wire import Wire, eventually, request

EVENT_STREAM = "Accept: text/event-stream"


@contextmanager
def load(host: str, port: int) -> Iterator[list[str]]:
    """Clients with a new connection per request; yields what went wrong (not: a connection cut by a kill)."""
    wrong: list[str] = []
    stop = threading.Event()

    def client() -> None:
        while not stop.is_set():
            try:
                with Wire(host, port) as wire:
                    status = wire.get("/").status
                    if status != 200:
                        wrong.append(str(status))
            except (EOFError, ConnectionResetError):
                continue  # the killed worker's own requests
            except OSError as error:
                wrong.append(repr(error))

    threads = [threading.Thread(target=client) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield wrong
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def kill_one(server: LiveServer, role: str) -> int:
    victim = min(pids(server, role))
    os.kill(victim, signal.SIGKILL)
    return victim


def test_a_killed_worker_is_replaced_and_streams_go_on(serve: Serve) -> None:
    server = serve(workers=2)
    with Wire(server.host, server.port) as stream, load(server.host, server.port) as wrong:
        stream.send(request("/sse", EVENT_STREAM))
        stream.until(b"\n\n")
        victim = kill_one(server, "worker")
        death = server.wait_for_log(lambda entry: entry.get("child") == victim and "died" in entry["event"])
        assert "SIGKILL" in json.dumps(death)
        eventually(lambda: len(pids(server, "worker") - {victim}) == 2, "the worker is replaced")
        for _ in range(20):
            stream.until(b"\n\n")
    assert wrong == []


def test_a_killed_pool_is_replaced_and_queued_handoffs_are_served_by_the_next(serve: Serve) -> None:
    server = serve(workers=2)
    with load(server.host, server.port) as wrong:
        os.kill(min(pids(server, "pool")), signal.SIGSTOP)
        victim = min(pids(server, "pool"))
        streams = [Wire(server.host, server.port) for _ in range(5)]
        for stream in streams:
            stream.send(request("/sse?n=2", EVENT_STREAM))
        websocket = threading.Thread(target=echo_once, args=(server.ws_url,))
        websocket.start()
        os.kill(victim, signal.SIGKILL)
        for stream in streams:
            answer = stream.response()
            assert answer.status == 200
            assert b'"role": "pool"' in answer.body
            assert str(victim).encode() not in answer.body
            stream.sock.close()
        websocket.join(20)
        assert not websocket.is_alive()
    assert wrong == []


def test_requests_that_no_pool_has_taken_are_answered_when_the_server_stops_at_once(serve: Serve) -> None:
    server = serve(workers=1, admin="127.0.0.1:0")
    os.kill(min(pids(server, "pool")), signal.SIGSTOP)
    with ExitStack() as stack:
        streams = [stack.enter_context(Wire(server.host, server.port)) for _ in range(5)]
        for stream in streams:
            stream.send(request("/sse", EVENT_STREAM))
        eventually(
            lambda: total(samples(server), "hsrv_handoffs_total", outcome="sent") == 5, "they are sent"
        )
        server.process.send_signal(signal.SIGQUIT)
        assert [stream.response().status for stream in streams] == [503] * 5
    assert server.wait_for_log(lambda entry: entry["event"] == "handoffs refused")["count"] == 5


def echo_once(url: str) -> None:
    with connect(f"{url}/ws", open_timeout=20) as websocket:
        websocket.send("x")
        assert websocket.recv(timeout=20) == "x"


def test_a_killed_template_is_replaced_and_its_children_go_on(serve: Serve) -> None:
    server = serve(workers=2)
    workers, pool = pids(server, "worker"), pids(server, "pool")
    with Wire(server.host, server.port) as stream, load(server.host, server.port) as wrong:
        stream.send(request("/sse", EVENT_STREAM))
        victim = kill_one(server, "template")
        eventually(lambda: pids(server, "template") - {victim}, "the template is replaced")
        for _ in range(20):
            stream.until(b"\n\n")
        assert pids(server, "worker") == workers
        assert pids(server, "pool") == pool
        orphan = kill_one(server, "worker")
        eventually(
            lambda: len(pids(server, "worker") - {orphan}) == 2, "the new template forks a replacement"
        )
    assert wrong == []


@pytest.mark.parametrize("unix", [False, True])
def test_after_a_killed_supervisor_nothing_stays(
    serve: Serve, tmp_path: Path, record: Path, unix: bool
) -> None:
    path = tmp_path / "app.sock"
    bind = ["127.0.0.1:0", f"unix:{path}"] if unix else ["127.0.0.1:0"]
    server = serve(workers=2, stream_grace=0.5, bind=bind)
    family = psutil.Process(server.pid).children(recursive=True)
    assert len(family) == 4
    with Wire(server.host, server.port) as slow, Wire(server.host, server.port) as stream:
        slow.send(request("/sleep?s=1"))
        stream.send(request("/sse", EVENT_STREAM))
        stream.until(b"\n\n")
        eventually(lambda: "sleep-start " in recorded(record), "the request runs")
        os.kill(server.pid, signal.SIGKILL)
        assert slow.response().status == 200, "what was begun is finished"
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((server.host, server.port))
    assert not path.exists()
    assert "shutdown worker-1" in recorded(record)


def test_a_worker_stuck_in_a_loop_does_not_outlive_the_supervisor(serve: Serve) -> None:
    server = serve(workers=1, stream_grace=0.2, graceful_timeout=0.5, lifespan_shutdown_timeout=0.5)
    family = psutil.Process(server.pid).children(recursive=True)
    worker = psutil.Process(min(pids(server, "worker")))
    before = worker.cpu_times().user
    with Wire(server.host, server.port) as wire:
        wire.send(request("/burn?s=60"))
        eventually(lambda: worker.cpu_times().user > before + 0.5, "it burns")
        os.kill(server.pid, signal.SIGKILL)
        _, alive = psutil.wait_procs(family, timeout=30)
        assert not alive


def test_a_crash_loop_backs_off_and_says_so(serve: Serve) -> None:
    server = serve(workers=2)
    for _ in range(6):
        victim = kill_one(server, "worker")
        psutil.wait_procs([process for process in server.seen_processes() if process.pid == victim], 10)
        eventually(lambda: pids(server, "worker"), "one serves")
    server.wait_for_log(lambda entry: entry.get("delay", 0) >= 1)
    delays = [entry["delay"] for entry in server.logs if "delay" in entry]
    assert sorted(set(delays))[:3] == [0, 0.5, 1], "the later, the longer"
    eventually(lambda: len(pids(server, "worker")) == 2, "both are back")
    with Wire(server.host, server.port) as wire:
        assert wire.get("/").status == 200
