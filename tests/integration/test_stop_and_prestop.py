"""`hsrv stop` and `hsrv prestop`: the end, as an operator asks for it. By signals: test_stop.py."""

import subprocess
import sys
import threading
import time

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.integration.conftest import DEADLINE, Serve, hsrv, is_busy_with, operate
from tests.integration.conftest import status_of as status
from tests.integration.wire import Wire, eventually, request

EVENT_STREAM = "Accept: text/event-stream"


def test_stop_ends_the_server_and_waits_for_it(serve: Serve) -> None:
    server = serve()
    done = hsrv("stop", "--run-dir", server.run_dir)
    assert (done.returncode, done.stdout) == (0, "stopped\n")
    assert server.process.wait(DEADLINE) == 0


def test_stop_says_what_it_waits_for_and_now_waits_for_nobody(serve: Serve) -> None:
    server = serve(workers=1)
    with Wire(server.host, server.port) as wire:
        wire.send(request("/sleep?s=25"))
        eventually(lambda: is_busy_with(server, "/sleep"), "the request runs")
        command = [sys.executable, "-m", "hsrv", "stop", "--run-dir", server.run_dir]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as stopping:
            assert stopping.stderr is not None
            assert "waiting for 1 request" in stopping.stderr.readline()
            assert "worker-1 of generation 1" in operate(server, "status", "--why").stdout
            assert operate(server, "stop", "--now").returncode == 0
            assert stopping.wait(DEADLINE) == 0
    assert server.process.wait(DEADLINE) == 5


def test_prestop_waits_until_new_connections_stop(serve: Serve) -> None:
    server = serve(workers=1)
    stop = threading.Event()

    def newcomers() -> None:
        while not stop.wait(0.02):
            with Wire(server.host, server.port) as wire:
                wire.get("/")

    client = threading.Thread(target=newcomers)
    client.start()
    try:
        busy = operate(server, "prestop", "--delay", "0", "--quiet", "1", "--timeout", "1.5")
    finally:
        stop.set()
        client.join()
    assert busy.returncode == 0
    assert "still arrive" in busy.stdout
    assert status(server).not_ready_because == "drained by the operator"
    began = time.monotonic()
    calm = operate(server, "prestop", "--delay", "1.2", "--quiet", "0.2", "--timeout", "15")
    assert "no new connections" in calm.stdout
    assert time.monotonic() - began >= 1.2, "however quiet it is"


def test_prestop_can_end_the_streams_while_requests_are_served(serve: Serve) -> None:
    server = serve(workers=1, stream_grace=0.5)
    with (
        Wire(server.host, server.port) as stream,
        Wire(server.host, server.port) as plain,
        connect(f"{server.ws_url}/ws?hello") as websocket,
    ):
        websocket.recv(timeout=DEADLINE)
        stream.send(request("/sse?halves", EVENT_STREAM))
        first = stream.head()
        done = operate(server, "prestop", "--delay", "0", "--quiet", "0.1", "--timeout", "5", "--end-streams")
        assert done.returncode == 0, done.stderr
        events = stream.chunked()
        assert first.status == 200
        assert events.endswith(b"\n\n"), "an event stream ends at an event boundary"
        with pytest.raises(ConnectionClosed) as closed:
            websocket.recv(timeout=DEADLINE)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
        assert plain.get("/").status == 200
    assert server.process.poll() is None
    with Wire(server.host, server.port) as late:
        late.send(request("/sse?n=2", EVENT_STREAM))
        assert late.response().status == 200, "who comes late is served too"
