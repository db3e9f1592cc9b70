"""No descriptor is lost, whatever clients do."""

import contextlib
import random
import socket
import struct
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from tests.integration.conftest import Serve, descriptors, pids
from tests.integration.wire import Wire, eventually, request, upgrade

CONNECTIONS = 20_000
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


def test_twenty_thousand_connections_a_third_aborted_leave_no_descriptor(serve: Serve) -> None:
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
