"""Promise 1: the application is called exactly once for each request, whatever its path through the processes."""

import random
import socket
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.apps.raw import recorded
from tests.integration.conftest import Serve
from tests.integration.wire import Wire, eventually, masked, request, upgrade

REQUESTS = 480
EVENT_STREAM = "Accept: text/event-stream"


def plain(wire: Wire, key: str) -> None:
    assert wire.get(f"/count?key={key}").status == 200


def post(wire: Wire, key: str) -> None:
    wire.send(request(f"/count?key={key}", "Content-Length: 5", method="POST", body=b"12345"))
    assert wire.response().status == 200


def chunked(wire: Wire, key: str) -> None:
    wire.send(
        request(
            f"/count?key={key}", "Transfer-Encoding: chunked", method="POST", body=b"3\r\nabc\r\n0\r\n\r\n"
        )
    )
    assert wire.response().status == 200


def by_accept(wire: Wire, key: str) -> None:
    assert wire.get(f"/sse?n=3&interval=0&key={key}", EVENT_STREAM).status == 200


def by_glob(wire: Wire, key: str) -> None:
    assert wire.get(f"/sse/globbed?n=3&interval=0&plain&key={key}").status == 200


def unclassified(wire: Wire, key: str) -> None:
    assert wire.get(f"/sse?n=3&interval=0&plain&key={key}").status == 200


def learned(wire: Wire, key: str) -> None:
    assert wire.get(f"/sse?n=3&interval=0&key={key}").status == 200


def websocket(wire: Wire, key: str) -> None:
    wire.send(upgrade(f"/ws?key={key}"))
    assert wire.head().status == 101
    wire.send(masked(1, b"hello"))
    assert wire.exactly(7) == b"\x81\x05hello"
    wire.send(masked(8, b"\x03\xe8"))
    wire.rest()


def aborted_stream(wire: Wire, key: str) -> None:
    wire.send(request(f"/sse?n=1000&key={key}", EVENT_STREAM))
    wire.until(b"\n\n")


def pipelined(wire: Wire, key: str) -> None:
    wire.send(request(f"/count?key={key}") + request("/"))
    assert wire.response().status == 200
    assert wire.response().status == 200


KINDS = [
    plain,
    post,
    chunked,
    by_accept,
    by_glob,
    unclassified,
    learned,
    websocket,
    aborted_stream,
    pipelined,
]
REUSABLE = {plain, post, chunked, by_accept, by_glob, unclassified, learned, pipelined}


def test_hundreds_of_mixed_requests_run_once_each(serve: Serve, record: Path) -> None:
    server = serve(workers=4, stream=["/sse/globbed"])
    local = threading.local()
    wires: list[Wire] = []

    def one(number: int) -> None:
        kind = KINDS[number % len(KINDS)]
        wire: Wire | None = getattr(local, "wire", None)
        if wire is None or random.Random(number).random() < 0.3:
            if wire is not None:
                wire.sock.close()
            wire = Wire(server.host, server.port)
            wires.append(wire)
        kind(wire, str(number))
        local.wire = wire
        if kind not in REUSABLE:
            wire.sock.close()
            local.wire = None

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(one, range(REQUESTS)))
    for wire in wires:
        wire.sock.close()

    def counts() -> Counter[str]:
        return Counter(line for line in recorded(record) if line.startswith("count "))

    expected = Counter(f"count {number}" for number in range(REQUESTS))
    eventually(lambda: counts() == expected, f"{REQUESTS} calls, one each; differing: {counts() - expected}")


def test_a_request_aborted_before_its_head_is_complete_never_runs(common: Serve, common_record: Path) -> None:
    server = common(workers=2)
    whole = request("/count?key=cut")
    for cut in range(1, len(whole), 7):
        with socket.create_connection((server.host, server.port)) as sock:
            sock.sendall(whole[:cut])
    with Wire(server.host, server.port) as wire:
        wire.get("/count?key=after")
    assert recorded(common_record).count("count after") == 1
    assert "count cut" not in recorded(common_record)


def test_a_request_whose_short_body_never_comes_never_runs(common: Serve, common_record: Path) -> None:
    server = common(workers=2)
    for _ in range(5):
        with socket.create_connection((server.host, server.port)) as sock:
            sock.sendall(request("/count?key=part", "Content-Length: 100", method="POST", body=b"12345"))
    with Wire(server.host, server.port) as wire:
        wire.get("/count?key=last")
    assert "count last" in recorded(common_record)
    assert "count part" not in recorded(common_record)
