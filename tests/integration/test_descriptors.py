"""No descriptor is lost, whatever clients do."""

import contextlib
import random
import socket
import struct
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from hsrv.system.descriptors import IDLE_ENOUGH
from tests.conftest import LONG
from tests.integration.conftest import Serve, descriptors, pids, reasons, workers_only
from tests.integration.conftest import parked as parked_in
from tests.integration.wire import Wire, eventually, request, upgrade

CONNECTIONS = 20_000 if LONG else 1_500
EVENT_STREAM = "Accept: text/event-stream"

SCRIPTS = [
    request("/"),
    request("/echo", "Content-Length: 2000", method="POST", body=b"x" * 2000),
    request("/big?size=200000"),
    request("/sse?n=50&interval=0.001", EVENT_STREAM),
    upgrade("/ws"),
]


def shape(pid: int) -> Counter[str]:
    """What a process holds open, by kind: sockets and files that come and go have no stable names."""
    return Counter(name.split(":")[0] for name in descriptors(pid))


def test_many_connections_a_third_aborted_leave_no_descriptor(serve: Serve) -> None:
    server = serve(workers=4, access_log=False)
    with Wire(server.host, server.port) as wire:
        for script in SCRIPTS[:3]:
            wire.send(script)
            wire.response()
        wire.get("/sse?n=2", EVENT_STREAM)
    everyone = [server.pid, *pids(server, "worker"), *pids(server, "pool"), *pids(server, "template")]
    before = eventually_stable(everyone)

    def batch(seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(CONNECTIONS // 100):
            script = dice.choices(SCRIPTS, weights=[20, 4, 2, 2, 2])[0]
            if dice.random() < 1 / 3:
                abort(server.host, server.port, script, dice)
            else:
                complete(server.host, server.port, script)

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(batch, range(100)))
    eventually(lambda: {pid: shape(pid) for pid in everyone} == before, "each has what it started with")


def eventually_stable(everyone: list[int]) -> dict[int, Counter[str]]:
    """Descriptors once the warm-up's connections are gone: twice the same."""
    seen = {pid: shape(pid) for pid in everyone}

    def stable() -> bool:
        nonlocal seen
        last, seen = seen, {pid: shape(pid) for pid in everyone}
        return last == seen

    eventually(stable, "descriptors settle")
    return seen


def abort(host: str, port: int, script: bytes, dice: random.Random) -> None:
    """Send part of the script or all, read part of the answer or none, and go: politely or with a reset."""
    with socket.create_connection((host, port), timeout=20) as sock:
        sock.sendall(script[: dice.randint(0, len(script))])
        if dice.random() < 0.5:
            sock.settimeout(0.01)
            with contextlib.suppress(TimeoutError):
                sock.recv(dice.randint(1, 1000))
        if dice.random() < 0.5:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def complete(host: str, port: int, script: bytes) -> None:
    with Wire(host, port) as wire:
        wire.send(script)
        assert wire.response().status in (200, 101)


# without descriptors

FEW = 96
"""The limit on open files of every process of these servers: it leaves about 60 connections to each."""


def few_descriptors(folder: Path) -> str:
    """A python that may open FEW files."""
    script = folder / "python"
    script.write_text(f'#!/bin/sh\nulimit -n {FEW}\nexec {sys.executable} "$@"\n')
    script.chmod(0o755)
    return str(script)


def told_to_come_back(host: str, port: int) -> bool:
    """Whether a new client is told 503, at once or when it has asked. False: it is served."""
    with Wire(host, port) as wire:
        wire.send(request("/"))
        answer = wire.response()
        assert answer.status in (200, 503)
        assert (answer.status == 503) == ("retry-after" in answer.headers)
        return answer.status == 503


def test_a_worker_without_descriptors_serves_on_sheds_and_recovers(serve: Serve, tmp_path: Path) -> None:
    server = serve(
        workers=1, python=few_descriptors(tmp_path), park_after=0, header_timeout=60, queue_timeout=1
    )
    where = (server.host, server.port)
    with ExitStack() as stack:
        stack.enter_context(workers_only(server))  # or the pool would accept what a full worker doesn't
        wires = [stack.enter_context(Wire(*where)) for _ in range(60)]
        served = wires[:4]
        for wire in served:
            assert wire.get("/").status == 200
        for wire in wires[4:]:
            wire.send(b"GET / HTTP/1.1\r\n")  # they are not idle
        time.sleep(IDLE_ENOUGH)  # before that, newcomers don't count more than they
        more = [stack.enter_context(Wire(*where)) for _ in range(8)]
        for wire in more:
            wire.send(b"GET / HTTP/1.1\r\n")
        eventually(lambda: sum(closed(wire) for wire in served) == len(served), "idle ones have gone")
        eventually(lambda: told_to_come_back(*where), "it is full")
        for wire in (wires[10], more[1]):
            wire.send(b"Host: a\r\n\r\n")
            assert wire.response().status == 200
            wire.send(b"GET / HTTP/1.1\r\n")
        for wire in wires[30:]:
            wire.sock.close()
        eventually(lambda: not told_to_come_back(*where), "it has recovered")
    server.wait_for_log(lambda entry: entry["event"] == "descriptors again")
    eventually(lambda: reasons(server)["descriptors"] > len(served), "each was counted")


def closed(wire: Wire) -> bool:
    wire.sock.setblocking(False)
    try:
        return wire.sock.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def test_an_application_that_takes_all_descriptors_takes_no_connection(serve: Serve, tmp_path: Path) -> None:
    """The limit of the kernel itself: accept() fails, and what is served goes on."""
    server = serve(workers=1, python=few_descriptors(tmp_path), park_after=0, queue_timeout=1)
    where = (server.host, server.port)
    with Wire(*where) as wire, workers_only(server):
        assert wire.get("/hog").json["descriptors"] > 10
        for path in ("/", "/let-go"):
            wire.send(f"GET {path} HTTP/1.1\r\n".encode())  # so it is not idle
            eventually(lambda: told_to_come_back(*where), "new ones are told so")
            wire.send(b"Host: a\r\n\r\n")
            assert wire.response().status == 200
        eventually(lambda: not told_to_come_back(*where), "it has recovered")


def test_a_pool_without_descriptors_streams_on_sheds_and_recovers(serve: Serve, tmp_path: Path) -> None:
    server = serve(workers=2, python=few_descriptors(tmp_path), park_after=0.1, handoff_timeout=0.5)
    where = (server.host, server.port)
    with ExitStack() as stack:
        parked = [stack.enter_context(Wire(*where)) for _ in range(20)]
        for wire in parked:
            assert wire.get("/").status == 200
        eventually(lambda: parked_in(server) >= len(parked), "they stand in the pool")
        time.sleep(IDLE_ENOUGH)
        streams: list[Wire] = []
        while (stream := begin_stream(stack, *where)) is not None:
            streams.append(stream)
        assert len(streams) > FEW / 2, "a stream is worth more than who is idle"
        for wire in streams:
            wire.until(b"\n\n")
        assert not told_to_come_back(*where), "requests are not concerned"
        for wire in streams[:5]:
            wire.sock.close()
        eventually(lambda: can_stream(*where), "it has recovered")
    eventually(lambda: reasons(server)["descriptors"] > len(parked), "each was counted")


def begin_stream(stack: ExitStack, host: str, port: int) -> Wire | None:
    """None: it was told to come back."""
    wire = stack.enter_context(Wire(host, port))
    wire.send(request("/sse", EVENT_STREAM))
    status = wire.head().status
    assert status in (200, 503)
    return wire if status == 200 else None


def can_stream(host: str, port: int) -> bool:
    with Wire(host, port) as wire:
        return wire.get("/sse?n=1", EVENT_STREAM).status == 200
