"""What no worker accepts or reads in time, the pool does: streams begin, requests wait, and each gets an answer."""

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path

import psutil
import pytest

from hsrv.testing import LiveServer
from tests.apps.raw import recorded
from tests.integration.conftest import Serve, parked, pids, status_of
from tests.integration.test_exactly_once import KINDS, REUSABLE
from tests.integration.wire import Wire, eventually, masked, request, upgrade

EVENT_STREAM = "Accept: text/event-stream"
REQUESTS = 1000


@contextmanager
def stopped(server: LiveServer) -> Iterator[None]:
    """Workers that do nothing at all."""
    workers = [psutil.Process(pid) for pid in pids(server, "worker")]
    for worker in workers:
        worker.suspend()
    try:
        yield
    finally:
        for worker in workers:
            worker.resume()


def accepted(server: LiveServer) -> Counter[str]:
    """Connections, by role."""
    processes = [one for generation in status_of(server).generations for one in generation.processes]
    counts: Counter[str] = Counter()
    for one in processes:
        if one.report is not None:
            counts[one.role] += one.report.accepted
    return counts


def admin_status(server: LiveServer, path: str) -> int:
    host, _, port = server.admin_urls[0].removeprefix("http://").partition(":")
    connection = HTTPConnection(host, int(port), timeout=20)
    with closing(connection):
        connection.request("GET", path)
        return connection.getresponse().status


def begin_stream(wire: Wire) -> None:
    wire.send(request("/sse?interval=0.05", EVENT_STREAM))
    assert wire.head().status == 200
    wire.until(b"\n\n")


def echo(wire: Wire) -> None:
    wire.send(upgrade("/ws"))
    assert wire.head().status == 101
    wire.send(masked(1, b"hello"))
    assert wire.exactly(7) == b"\x81\x05hello"


def test_while_all_workers_are_stuck_streams_begin_and_requests_get_503(serve: Serve, record: Path) -> None:
    server = serve(workers=2, queue_timeout=1, park_after=0.1, admin="127.0.0.1:0")
    with Wire(server.host, server.port) as idle, Wire(server.host, server.port) as other:
        for wire in (idle, other):
            assert wire.get("/").status == 200
        eventually(lambda: parked(server) == 2, "both are idle for a while")
        with stopped(server), Wire(server.host, server.port) as new, Wire(server.host, server.port) as socket:
            begin_stream(new)
            echo(socket)
            began = time.monotonic()
            idle.send(request("/count?key=idle"))
            begin_stream(other)
            with Wire(server.host, server.port) as plain:
                answer = plain.get("/count?key=new")
                assert (answer.status, answer.headers["retry-after"]) == (503, "1")
            assert idle.response().status == 503
            assert time.monotonic() - began < 6
            assert status_of(server).generations, "an operator is answered"
            assert admin_status(server, "/livez") == admin_status(server, "/metrics") == 200
            new.until(b"\n\n")
        with Wire(server.host, server.port) as later:
            assert later.get("/count?key=later").status == 200
    assert [line for line in recorded(record) if line.startswith("count ") and line != "count "] == [
        "count later"
    ]


@pytest.mark.parametrize("path", ["/burn?s=0.7", "/held?s=0.7"])
def test_streams_begin_on_new_and_on_kept_connections_while_the_worker_computes(
    common: Serve, path: str
) -> None:
    server = common(workers=1, park_after=60)
    with Wire(server.host, server.port) as busy, Wire(server.host, server.port) as kept:
        assert busy.get(path.replace("0.7", "0.05")).status == 200
        assert kept.get("/").status == 200
        busy.send(request(path))
        time.sleep(0.1)  # the call has begun
        began = time.monotonic()
        kept.send(request("/sse?interval=0.05", EVENT_STREAM))
        with Wire(server.host, server.port) as new, Wire(server.host, server.port) as socket:
            begin_stream(new)
            echo(socket)
        assert kept.head().status == 200
        kept.until(b"\n\n")
        assert time.monotonic() - began < 0.55, "they did not wait for the call"
        assert busy.response().status == 200


def test_while_a_worker_is_free_the_pool_accepts_nothing_and_a_request_takes_no_other_way(
    serve: Serve,
) -> None:
    server = serve(workers=2, park_after=60)
    for _ in range(50):
        with Wire(server.host, server.port) as wire:
            assert wire.get("/").status == 200
    counts = accepted(server)
    assert counts["worker"] + counts["pool"] == 50
    assert counts["worker"] >= 45, "but for those whose worker had no CPU for 4 ms"


def test_a_thousand_mixed_requests_run_once_while_workers_stop_die_and_are_replaced(
    serve: Serve, record: Path
) -> None:
    server = serve(workers=3, stream=["/sse/globbed"], park_after=0.1)
    over = threading.Event()
    disturber = threading.Thread(target=disturb, args=(server, over))
    disturber.start()
    answered: set[int] = set()
    local = threading.local()
    wires: list[Wire] = []

    def one(number: int) -> None:
        kind = KINDS[number % len(KINDS)]
        wire: Wire | None = getattr(local, "wire", None)
        try:
            if wire is None or random.Random(number).random() < 0.3:
                local.wire = wire = Wire(server.host, server.port)
                wires.append(wire)
            kind(wire, str(number))
            answered.add(number)
        except (OSError, EOFError):  # its worker was killed
            local.wire = None
        if kind not in REUSABLE:
            local.wire = None

    try:
        with ThreadPoolExecutor(16) as threads:
            list(threads.map(one, range(REQUESTS)))
    finally:
        over.set()
        disturber.join()
        for wire in wires:
            wire.sock.close()
    assert len(answered) > REQUESTS * 0.9

    def counts() -> Counter[int]:
        lines = (line.removeprefix("count ") for line in recorded(record) if line.startswith("count "))
        return Counter(int(line) for line in lines if line.isdecimal())

    eventually(lambda: answered <= counts().keys(), "each that was answered has run")
    assert [number for number, times in counts().items() if times > 1] == []
    assert accepted(server)["pool"] > 0


def disturb(server: LiveServer, over: threading.Event) -> None:
    """Stop all workers for a moment, or kill one."""
    dice = random.Random(7)
    while not over.wait(0.03):
        with suppress(psutil.NoSuchProcess):
            workers = sorted(pids(server, "worker"))
            if dice.random() < 0.25 and workers:
                psutil.Process(dice.choice(workers)).kill()
            else:
                with stopped(server):
                    over.wait(0.1)
