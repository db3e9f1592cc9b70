"""Where requests run: short ones in workers, streams in the pool; and who holds the socket."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect

from hsrv.testing import LiveServer
from tests.apps.raw import recorded
from tests.conftest import PARSER
from tests.integration.conftest import DEADLINE, ROOT, Serve, pids
from tests.integration.wire import Wire, eventually

EVENT_STREAM = "Accept: text/event-stream"


@pytest.fixture(scope="module")
def shared() -> Iterator[LiveServer]:
    """For tests that teach it nothing."""
    env = {"HSRV_HTTP": PARSER}
    # Nobody is parked while a busy machine takes its time.
    with LiveServer("tests.apps.raw:app", cwd=ROOT, workers=2, park_after=60, env=env) as server:
        yield server


def holders(port: int, peer_port: int) -> set[int]:
    """The processes that hold the server's side of a connection: by socket inode, from /proc."""
    inode = None
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        local, remote = (int(address.split(":")[1], 16) for address in fields[1:3])
        if (local, remote) == (port, peer_port):
            inode = fields[9]
    assert inode is not None, "the connection is not in /proc/net/tcp"
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            links = {str(entry.readlink()) for entry in (process / "fd").iterdir()}
        except (FileNotFoundError, PermissionError):
            continue
        if f"socket:[{inode}]" in links:
            found.add(int(process.name))
    return found


def test_streams_run_in_the_pool_and_requests_in_workers(shared: LiveServer) -> None:
    server = shared
    assert httpx.get(f"{server.url}/").json()["pid"] in pids(server, "worker")
    with httpx.stream("GET", f"{server.url}/sse?n=3", headers={"accept": "text/event-stream"}) as response:
        events = [json.loads(line[6:]) for line in response.iter_lines() if line.startswith("data: ")]
    assert [event["n"] for event in events] == [0, 1, 2]
    assert {event["pid"] for event in events} == pids(server, "pool")
    with connect(f"{server.ws_url}/ws?hello") as websocket:
        assert json.loads(websocket.recv(timeout=DEADLINE))["pid"] in pids(server, "pool")
        websocket.send("text")
        assert websocket.recv(timeout=DEADLINE) == "text"
        websocket.send(b"bytes")
        assert websocket.recv(timeout=DEADLINE) == b"bytes"


def test_the_worker_closes_its_copy_of_a_passed_socket(shared: LiveServer) -> None:
    server = shared
    with Wire(server.host, server.port) as wire:
        peer_port = wire.sock.getsockname()[1]
        wire.get("/")
        assert holders(server.port, peer_port) <= pids(server, "worker")
        wire.send(f"GET /sse HTTP/1.1\r\nHost: x\r\n{EVENT_STREAM}\r\n\r\n".encode())
        wire.until(b"id: 1\n")
        assert holders(server.port, peer_port) == pids(server, "pool")


def test_a_finished_stream_goes_on_as_a_kept_connection_of_a_worker(shared: LiveServer) -> None:
    server = shared
    with Wire(server.host, server.port) as wire:
        assert wire.get("/").json["role"] == "worker"
        for _ in range(3):
            stream = wire.get("/sse?n=2", EVENT_STREAM)
            assert b'"role": "pool"' in stream.body
            assert wire.get("/").json["role"] == "worker"


def test_the_operator_decides_by_globs(serve: Serve) -> None:
    """Which rule wins: tests/unit/worker/test_route.py."""
    server = serve(stream=["/sse*"])
    with Wire(server.host, server.port) as wire:
        assert b'"role": "pool"' in wire.get("/sse?n=1&plain").body


def test_no_stream_beats_accept_but_not_an_upgrade(serve: Serve) -> None:
    server = serve(workers=1, no_stream=["*"])
    with Wire(server.host, server.port) as wire:
        assert b'"role": "worker"' in wire.get("/sse?n=1", EVENT_STREAM).body
    with connect(f"{server.ws_url}/ws?hello") as websocket:
        assert json.loads(websocket.recv(timeout=DEADLINE))["role"] == "pool"


def test_an_unannounced_stream_ends_where_it_is_and_its_path_is_learned(serve: Serve, record: Path) -> None:
    server = serve(workers=2)
    with Wire(server.host, server.port) as wire:
        first = wire.get("/sse?n=5&key=first")
    assert b'"role": "worker"' in first.body
    assert first.body.count(b"id: ") == 5

    def next_is_in_the_pool() -> bool:
        with Wire(server.host, server.port) as wire:
            return b'"role": "pool"' in wire.get("/sse?n=1").body

    eventually(next_is_in_the_pool, "the path is learned")
    for _ in range(10):
        assert next_is_in_the_pool(), "every worker has learned it"
    assert recorded(record).count("count first") == 1
    warning = server.wait_for_log(lambda entry: entry["event"] == "stream in a worker")
    assert warning["hint"] == "--stream '/sse'"


def test_a_response_that_stays_open_is_a_stream_whatever_its_type(serve: Serve) -> None:
    server = serve(workers=1, stream_after=0.5)
    with Wire(server.host, server.port) as wire:
        wire.send(b"GET /sse?plain HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b'"role": "worker"' in wire.until(b"\n\n")
        server.wait_for_log(lambda entry: entry["event"] == "stream in a worker")
    with Wire(server.host, server.port) as wire:
        assert b'"role": "pool"' in wire.get("/sse?plain&n=1").body


def test_a_claim_of_the_client_teaches_nothing(shared: LiveServer) -> None:
    server = shared
    with Wire(server.host, server.port) as wire:
        assert wire.get("/", EVENT_STREAM).json["role"] == "pool"
        assert wire.get("/").json["role"] == "worker"


def test_the_pool_sees_a_client_leave_at_once(serve: Serve, record: Path) -> None:
    server = serve(workers=1)
    with Wire(server.host, server.port) as wire:
        wire.send(f"GET /until-disconnect HTTP/1.1\r\nHost: x\r\n{EVENT_STREAM}\r\n\r\n".encode())
        eventually(lambda: "waiting pool" in recorded(record), "the application runs")
    eventually(lambda: "disconnected" in recorded(record), "the application learns it")


def test_ticks_arrive_in_order_while_every_worker_burns(serve: Serve) -> None:
    """What workers do doesn't reach the streams."""
    server = serve(workers=2)
    clients = []
    for _ in range(50):
        wire = Wire(server.host, server.port)
        wire.send(f"GET /sse?n=10&interval=0.1 HTTP/1.1\r\nHost: x\r\n{EVENT_STREAM}\r\n\r\n".encode())
        clients.append(wire)
    burners = [Wire(server.host, server.port) for _ in range(2)]
    end = time.monotonic() + 0.4
    burnt = 0
    while time.monotonic() < end:
        for burner in burners:
            burner.send(b"GET /burn?s=0.2 HTTP/1.1\r\nHost: x\r\n\r\n")
        burnt += sum(burner.response().status == 200 for burner in burners)
    assert burnt >= 2
    for wire in clients:
        body = wire.response().body
        assert [line for line in body.split(b"\n") if line.startswith(b"id: ")] == [
            b"id: %d" % number for number in range(10)
        ]
        wire.sock.close()
    for burner in burners:
        burner.sock.close()
