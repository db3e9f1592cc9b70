"""Stopping: what was begun is finished, streams end properly, nothing is left."""

import signal
import socket
import threading
import time
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from hsrv.common.errors import ExitCode
from hsrv.options.stopbudget import STREAM_END
from hsrv.testing import LiveServer
from tests.apps.raw import recorded
from tests.integration.conftest import DEADLINE, Serve, is_busy_with, operate, reload
from tests.integration.wire import Response, Wire, eventually, request

EVENT_STREAM = "Accept: text/event-stream"


def test_a_stop_finishes_requests_and_ends_streams_properly(serve: Serve, record: Path) -> None:
    server = serve(workers=2, stream_grace=0.5)
    slow, stream = Wire(server.host, server.port), Wire(server.host, server.port)
    slow.send(request("/sleep?s=1.5"))
    stream.send(request("/sse?halves", EVENT_STREAM))
    stream.until(b"\r\n\r\n")
    first = stream.chunk()
    eventually(lambda: "sleep-start " in recorded(record), "the request runs")
    with connect(f"{server.ws_url}/ws?hello") as websocket:
        websocket.recv(timeout=DEADLINE)
        server.process.send_signal(signal.SIGINT)  # elsewhere it is SIGTERM
        events = first + stream.chunked()
        assert events.endswith(b"\n\n"), "an event stream ends at an event boundary"
        assert events.count(b"data: ") == events.count(b"\n\n")
        with pytest.raises(ConnectionClosed) as closed:
            websocket.recv(timeout=10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
    answer = slow.response()
    assert answer.status == 200
    assert answer.headers["connection"] == "close"
    told = server.wait_for_log(lambda entry: entry["event"] == "waiting")
    assert told["what"].startswith("1 request (at most 30 s)")
    assert told["hint"] == "Ctrl-C again ends them at once"
    assert server.process.wait(20) == ExitCode.OK
    lines = recorded(record)
    for name in ("worker-1", "worker-2", "pool-1"):
        assert f"shutdown {name}" in lines, "lifespan shutdown ran in every process"
    for wire in (slow, stream):
        wire.sock.close()


IGNORES_ITS_END = """
import asyncio

async def app(scope, receive, send):
    if scope["type"] != "http":
        raise ValueError(scope["type"])
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    await send({"type": "http.response.body", "body": b"data: 1\\n\\n", "more_body": True})
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass
"""


def test_a_call_that_ignores_its_end_takes_no_more_of_a_stop_than_was_promised(
    serve: Serve, tmp_path: Path
) -> None:
    (tmp_path / "stubborn.py").write_text(IGNORES_ITS_END)
    server = serve("stubborn:app", app_dir=str(tmp_path), workers=1, graceful_timeout=1.0, stream_grace=1.0)
    with Wire(server.host, server.port) as stream:
        stream.send(request("/", EVENT_STREAM))
        stream.until(b"data: 1\n\n")
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == ExitCode.OK
        assert time.monotonic() - began < 1.0 + STREAM_END
    assert not [entry for entry in server.logs if entry["event"] == "killing"]


def test_idle_connections_are_closed_and_new_ones_refused(serve: Serve) -> None:
    server = serve(workers=2)
    with Wire(server.host, server.port) as idle:
        idle.get("/")
        server.process.send_signal(signal.SIGTERM)
        assert idle.ended()
    assert server.process.wait(20) == ExitCode.OK
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((server.host, server.port))


def test_the_drain_delay_keeps_accepting_and_says_close(serve: Serve) -> None:
    server = serve(workers=2, drain_delay=1.0)
    with Wire(server.host, server.port) as kept:
        assert kept.get("/").headers.get("connection") != "close"
        server.process.send_signal(signal.SIGTERM)
        server.wait_for_log(lambda entry: "drain" in entry["event"] or "stopping" in entry["event"])

        def said_close() -> Response | None:
            with Wire(server.host, server.port) as new:
                answer = new.get("/")
            return answer if answer.headers.get("connection") == "close" else None

        answer = eventually(said_close, "new connections are served, and asked to close")
        assert answer.status == 200
    assert server.process.wait(20) == ExitCode.OK


def test_a_request_past_the_budget_of_the_last_reload_is_cut_not_waited_for(
    serve: Serve, record: Path, tmp_path: Path
) -> None:
    config = tmp_path / "hsrv.toml"
    config.write_text("graceful_timeout = 60.0\n")
    server = serve(config=str(config), workers=1)
    config.write_text("graceful_timeout = 0.5\n")
    reload(server, wait=True)
    with Wire(server.host, server.port) as wire:
        wire.send(request("/sleep?s=60"))
        eventually(lambda: "sleep-start " in recorded(record), "the request runs")
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == ExitCode.OK
        assert 0.5 <= time.monotonic() - began < 7
    server.wait_for_log(lambda entry: entry["event"] == "connection cut")


def test_a_second_signal_ends_it_at_once(serve: Serve, record: Path) -> None:
    server = serve(workers=2, graceful_timeout=60.0)
    with Wire(server.host, server.port) as wire:
        wire.send(request("/sleep?s=60"))
        eventually(lambda: "sleep-start " in recorded(record), "the request runs")
        server.process.send_signal(signal.SIGTERM)
        server.wait_for_log(lambda entry: "stopping" in entry["event"])
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == ExitCode.FORCED


def test_clients_that_come_while_it_stops_are_answered_or_refused_never_reset(serve: Serve) -> None:
    """New connections until the very end: each gets a whole answer, or none could be made."""
    server = serve(workers=2)
    failures: list[str] = []
    answered = 0
    stopping = threading.Event()

    def client() -> None:
        nonlocal answered
        while True:
            try:
                with Wire(server.host, server.port) as wire:
                    if wire.get("/").status == 200:
                        answered += 1
            except ConnectionRefusedError:
                return
            except (EOFError, ConnectionResetError) as error:
                failures.append(repr(error))
            if answered > 50:
                stopping.set()

    threads = [threading.Thread(target=client) for _ in range(4)]
    for thread in threads:
        thread.start()
    stopping.wait(20)
    server.process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join(20)
    assert server.process.wait(20) == ExitCode.OK
    assert failures == []


def test_who_comes_while_the_last_requests_finish_is_refused_at_once(serve: Serve) -> None:
    """And not left waiting until they have: another server could have answered long ago."""
    server = serve(workers=2)
    with Wire(server.host, server.port) as slow:
        slow.send(request("/sleep?s=3"))
        eventually(lambda: busy(server), "the request runs")
        server.process.send_signal(signal.SIGTERM)
        server.wait_for_log(lambda entry: entry["event"] == "draining")
        eventually(lambda: refused(server), "newcomers are refused")
        assert server.process.poll() is None
        assert slow.response().status == 200
    assert server.process.wait(20) == ExitCode.OK


def busy(server: LiveServer) -> bool:
    return is_busy_with(server, "/sleep")


def refused(server: LiveServer) -> bool:
    try:
        Wire(server.host, server.port).sock.close()
    except ConnectionRefusedError:
        return True
    return False


def test_no_thread_but_the_first_of_the_supervisor_takes_a_signal(serve: Serve) -> None:
    """Else the stop of an upgraded server could go to one that nobody listens to."""
    server = serve(workers=1, reload=True)  # which watches files, in a thread
    assert operate(server, "status").returncode == 0  # and that reads what processes use, in another
    tasks = Path(f"/proc/{server.pid}/task")

    def blocked(thread: Path) -> int:
        (mask,) = (
            line.split()[1]
            for line in (thread / "status").read_text().splitlines()
            if line.startswith("SigBlk")
        )
        return int(mask, 16)

    others = [thread for thread in tasks.iterdir() if int(thread.name) != server.pid]
    assert len(others) > 1
    for signum in (
        signal.SIGTERM,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGHUP,
        signal.SIGUSR2,
        signal.SIGCHLD,
    ):
        bit = 1 << (signum - 1)
        assert [thread.name for thread in others if not blocked(thread) & bit] == [], signal.Signals(signum)
        assert not blocked(tasks / str(server.pid)) & bit
