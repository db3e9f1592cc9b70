"""Clients that send what is dear to read, and an ordinary one beside them."""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator

from hsrv.testing import LiveServer
from tests.integration.conftest import Serve
from tests.integration.wire import Wire, request

ATTACKERS = 30
TINY_CHUNKS = b"1\r\nx\r\n" * 10_000
"""60 KB: one read."""


@contextlib.contextmanager
def flooded(server: LiveServer, target: str) -> Iterator[None]:
    """Meanwhile ATTACKERS clients send tiny chunks as fast as they are read."""
    wires = [Wire(server.host, server.port) for _ in range(ATTACKERS)]
    sent = [0] * ATTACKERS
    enough = threading.Event()

    def send() -> None:
        while not enough.wait(0.001):
            for at, wire in enumerate(wires):
                with contextlib.suppress(OSError):
                    sent[at] += wire.sock.send(TINY_CHUNKS[sent[at] % 6 :])

    for wire in wires:
        wire.send(request(target, "Transfer-Encoding: chunked", method="POST"))
        wire.sock.setblocking(False)
        wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()
        for wire in wires:
            wire.sock.close()


def slowest(server: LiveServer, times: int) -> float:
    """Seconds that the slowest of some requests took."""
    took = []
    with Wire(server.host, server.port) as wire:
        for _ in range(times):
            began = time.monotonic()
            assert wire.get("/").status == 200
            took.append(time.monotonic() - began)
    return max(took)


def test_an_ordinary_client_is_served_while_others_send_chunks_of_one_byte(serve: Serve) -> None:
    """Without a bound each 64 KB of them take a worker 20 ms: 0.6 s for all, in each turn of its loop."""
    server = serve("tests.apps.contexts:app", workers=1)
    with flooded(server, "/who?flood"):
        assert slowest(server, 12) < 0.3


def test_nor_do_such_bodies_hold_anybody_up_whose_application_takes_nothing(common: Serve) -> None:
    server = common(workers=1)
    with flooded(server, "/ignore_body"):
        assert slowest(server, 12) < 0.3


def test_a_long_body_in_chunks_of_one_byte_arrives_whole(common: Serve) -> None:
    """With the next request behind it; in the worker, and when the application takes it late."""
    server = common(workers=1)
    body = b"".join(b"1\r\n%c\r\n" % (65 + at % 26) for at in range(30_000)) + b"0\r\n\r\n"
    with Wire(server.host, server.port) as wire:
        for target in ("/echo", "/read_late?s=0.2"):
            wire.send(request(target, "Transfer-Encoding: chunked", method="POST", body=body) + request("/"))
            assert wire.response().body == bytes(65 + at % 26 for at in range(30_000))
            assert wire.response().status == 200
        wire.send(request("/ignore_body", "Transfer-Encoding: chunked", method="POST", body=body))
        assert wire.response().json == {"ignored": True}
